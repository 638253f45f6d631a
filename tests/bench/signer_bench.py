"""Signatures a second through the signer, by where its issuing key is: a sealed file, or a token (SoftHSM 2),
and by how many certificates are stored.

Run as ``python -m tests.bench.signer_bench [--signatures N] [--askers N] [--stored N]``. For each kind and
place a data directory is made, its key moved into a token where the row says so, and `sekisho signer` started
on it; certificates are reserved, and their signatures asked for over its socket, several at once: with none
stored, and then beside so many. Each is verified, as in earnest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import ca.store
from ca import datadir
from ca.certificates import public_key_of
from ca.keys import generate, spki
from ca.signerlink import RemoteSigner
from ca.signing import ToSign, signature
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.database import DATABASE
from tests.cli.processes import SEKISHO, process, until
from tests.datadirs import CHEAP, PASSPHRASE, open_office
from tests.softhsm import MODULE, PIN, made

_KINDS = ("ec-p256", "rsa-3072")
# Rows as large as in life; serials are random, so that their index pages are hit all over.
_FILL = (
    "INSERT INTO certificates (serial, issuer_id, profile, status, subject_cn, spki_sha256, not_before_at,"
    " not_after_at, reserved_at, issued_at, template, der, fingerprint)"
    " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
    " SELECT lower(hex(randomblob(16))), 'stored', 'client-person', 'issued', 'S' || i,"
    " lower(hex(randomblob(32))), :at, :at + 90000000, :at, :at, hex(randomblob(260)), randomblob(620),"
    " lower(hex(randomblob(32))) FROM n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signatures", type=int, default=2_000)
    parser.add_argument("--askers", type=int, default=8)
    parser.add_argument("--stored", type=int, default=1_000_000)
    options = parser.parse_args()
    print(f"{'key':<10} {'place':<8} {'stored':>9} {'signatures/s':>12} {'p50 ms':>8} {'p99 ms':>8}")
    for kind in _KINDS:
        for place in ("file", "token"):
            if place == "token" and not MODULE:
                print(f"{kind:<10} {place:<8} softhsm2 is not here")
                continue
            with tempfile.TemporaryDirectory() as name:
                _rows(Path(name), kind, place, options)


def _rows(folder: Path, kind: str, place: str, options: argparse.Namespace) -> None:
    data = folder / "data"
    made_here = datadir.create(data, PASSPHRASE, int(time.time()) - 86_400, issuing_key=kind, cost=CHEAP)
    (data / FILE_NAME).write_text(toml_of(Config()))
    environment = {"SEKISHO_PASSPHRASE": PASSPHRASE, "SOFTHSM2_CONF": str(folder / "hsm/softhsm2.conf")}
    if place == "token":
        _move(data, folder, made_here.authority.current.issuer_id, environment)
    for stored in (0, options.stored):
        if stored:
            _store(data / DATABASE, stored)
        p50, p99, a_second = asyncio.run(_measure(folder, options.signatures, options.askers, environment))
        print(f"{kind:<10} {place:<8} {stored:>9,} {a_second:>12.0f} {p50:>8.1f} {p99:>8.1f}", flush=True)


def _store(database: Path, count: int) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(_FILL, {"count": count, "at": int(time.time())})


def _move(data: Path, folder: Path, issuer_id: str, environment: dict[str, str]) -> None:
    made(folder / "hsm", "sekisho")
    (folder / "pin").write_text(f"{PIN}\n")
    with (data / FILE_NAME).open("a") as settings:
        settings.write(f'\n[tokens.hsm]\nmodule = "{MODULE}"\nlabel = "sekisho"\npin_file = "{folder}/pin"\n')
    words = [SEKISHO, "ca", "key", "move", f"issuing-{issuer_id[:16]}", "--token", "hsm", "--data", str(data)]
    subprocess.run(words, check=True, capture_output=True, env=os.environ | environment)


async def _measure(
    folder: Path, count: int, askers: int, environment: dict[str, str]
) -> tuple[float, float, float]:
    """How long a signature takes, p50 and p99 in ms, and how many there are a second."""
    async with open_office(folder, int(time.time())) as ra:
        key, at = spki(generate("ec-p256").public_key()), ra.now()
        planned = [
            ra.authority.plan("client-person", f"K{n:08}", (), key, None, at, os.urandom(16))
            for n in range(count)
        ]
        await ra.database.write(lambda db: [ca.store.reserve(db, each) for each in planned])
        issuing, log = public_key_of(ra.authority.current.certificate), folder / "log"
        log.touch()
        (folder / "data/run/signer.sock").unlink(missing_ok=True)  # of the one before it
        with process("signer", "--data", str(folder / "data"), log=log, **environment) as running:
            until((folder / "data/run/signer.sock").exists, log, running)
            signer, waiting, took = RemoteSigner(folder / "data/run"), list(planned), list[float]()

            async def ask() -> None:
                while waiting:
                    each = waiting.pop()
                    begun = time.perf_counter()
                    asked = ToSign(each.issuer_id, "certificate", each.tbs, each.serial)
                    await signature(signer, issuing, asked)
                    took.append(time.perf_counter() - begun)

            begun = time.perf_counter()
            await asyncio.gather(*(ask() for _ in range(askers)))
            a_second = count / (time.perf_counter() - begun)
    took.sort()
    p50, p99 = (1_000 * took[int(each * len(took))] for each in (0.5, 0.99))
    return p50, p99, a_second


if __name__ == "__main__":
    main()
