"""Backups and drills while programs and people enroll, renew and revoke, and what has to be so afterwards.

Run as ``python -m tests.soak.drilling [--seconds 120] [--clients 6]``; exit code 1 if a promise is broken.
A real ``sekisho serve`` is asked by real clients; meanwhile ``sekisho backup`` and ``sekisho drill`` are
typed one after the other. At the end each backup is restored with the journal, and has to be
the running register.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.bench.acme_load import Client, Target, clients_of, one_order, prepare_csrs
from tests.bench.pickup_bench import mails, pick_up
from tests.cli.processes import SEKISHO, process, until
from tests.enroll.acme.signing import b64
from tests.ports import free_port
from tests.started import started_async

_PASSPHRASE, _ORGANISATION, _PROGRAM = "a passphrase for the drill", "12345678", "K12345678"
# Of its certificates a program revokes each third.
_REVOKED = 3
# Seconds between two orders of a program, and two lists that are read: clients that wait, not a race.
_PAUSE = 0.1

#: Serial -> fingerprint and status, of all certificates.
Register = Mapping[str, tuple[str | None, str]]


@dataclass
class Load:
    """What was answered to clients while it went on."""

    target: Target
    origin: str
    lists: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    #: Serial -> fingerprint, of certificates that somebody has.
    issued: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    #: Numbers of the revocation lists that were read, in their order.
    numbers: list[int] = field(default_factory=list)
    picked_up: int = 0
    faults: list[str] = field(default_factory=list)
    last_listed: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Place:
    """A data directory with its server's address."""

    folder: Path
    port: int
    plain: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def type(self, *words: str, data: Path | None = None) -> Any:
        """A command, as an operator types it; what it answers. AssertionError unless it succeeds."""
        line = [str(SEKISHO), *words, "--data", str(data or self.data), "--json"]
        given = os.environ | {"SEKISHO_PASSPHRASE": _PASSPHRASE}
        async with started_async(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=given) as run:
            out, _ = await run.communicate()
        assert run.returncode == 0, f"{words}: {out.decode()}"
        return json.loads(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--people", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        told = asyncio.run(drilled(Path(name), options.seconds, options.clients, options.people))
    print(", ".join(f"{count} {what}" for what, count in told["counts"].items()))
    for each in told["broken"]:
        print(f"BROKEN: {each}")
    return 1 if told["broken"] else 0


async def drilled(folder: Path, seconds: float, clients: int, people: int) -> dict[str, Any]:
    """All of it: counts of what was done, and each promise that was broken."""
    place = Place(folder, free_port(), free_port())
    target = await _prepared(place, clients, people)
    log = folder / "log"
    with process("serve", "--data", str(place.data), log=log, SEKISHO_PASSPHRASE=_PASSPHRASE) as running:
        await asyncio.to_thread(until, lambda: "ready on port" in log.read_text(), log, running)
        load = Load(target, f"https://pickup.localhost:{place.port}", await _list_path(place))
        async with _under_load(load, place, clients, people):
            done = await _drills(place, seconds)
            if not load.faults and len(load.issued) < clients:
                load.faults.append("the clients were given nothing meanwhile")
        broken = [*load.faults, *done["broken"], *await _kept(place, load, done["files"])]
    counts = Counter(
        {
            "orders": len(load.issued),
            "revoked": len(load.revoked),
            "picked up": load.picked_up,
            "lists": len(set(load.numbers)),
            "backups": len(done["files"]),
            "drills": done["drills"],
        }
    )
    return {"counts": counts, "broken": broken}


async def _prepared(place: Place, clients: int, people: int) -> Target:
    url = f"http://127.0.0.1:{place.plain}"
    await place.type("init", "--port", str(place.port), "--revocation-url", url)
    file = place.data / "sekisho.toml"
    # All the load comes from one address.
    limits = r"(?m)^#? ?(protocol_address|burst_seconds|per_hour|address) = [0-9]+"
    file.write_text(re.sub(limits, r"\1 = 1000000", file.read_text()))
    await place.type("org", "add", _ORGANISATION, "Drill")
    await place.type("user", "add", _ORGANISATION, "Taro", "taro@example.jp", "--user-id", _PROGRAM)
    rows = "".join(f"P{n:07d},利用者{n},p{n}@example.jp,{_ORGANISATION}\n" for n in range(people))
    (place.folder / "people.csv").write_text("user_id,name,mail,policy_number\n" + rows, "utf-8")
    await place.type("user", "import", str(place.folder / "people.csv"))
    made = await place.type("eab", "create", _PROGRAM, "--count", str(clients), "--quota", "100000")
    credentials = made["credentials"]
    return Target(
        f"https://pickup.localhost:{place.port}/acme/directory",
        str(place.data / "servers" / "ca.pem"),
        0,
        credentials[0]["identifiers"][0]["value"],
        tuple((each["kid"], _decode(each["hmac_key"])) for each in credentials),
    )


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def _list_path(place: Place) -> str:
    url: str = (await place.type("ca", "list"))["cas"][0]["crl_url"]
    return url.partition(str(place.plain))[2]


# -- the load ------------------------------------------------------------------------------------------


@asynccontextmanager
async def _under_load(load: Load, place: Place, clients: int, people: int) -> AsyncIterator[None]:
    """What was begun is ended before this is: a client that was left would be nobody's."""
    letters = await mails(place.data / "outbox", people + 1)
    tls = ssl.create_default_context(cafile=load.target.ca_file)
    persons = [each for each in letters if each["user_id"] != _PROGRAM]
    works = [_program(load, client) for client in await clients_of(load.target, clients)]
    works += [_people(load, tls, persons), _reader(load, place)]
    running = [asyncio.create_task(_watched(load, each)) for each in works]
    try:
        yield
    finally:
        load.stop.set()
        await asyncio.gather(*running)


async def _watched(load: Load, work: Any) -> None:
    try:
        await work
    except Exception as error:
        load.faults.append(f"a client was refused: {error!r}")


async def _program(load: Load, client: Client) -> None:
    """Enrolls, then renews again and again; what it does not need any more it revokes."""
    for count in range(1_000_000):
        if load.stop.is_set():
            return
        chain = await one_order(client, prepare_csrs(load.target.name, 1)[0], {})
        leaf = x509.load_pem_x509_certificates(chain)[0]
        serial = f"{leaf.serial_number:032x}"
        if serial in load.issued:
            load.faults.append(f"serial {serial} was given twice")
        load.issued[serial] = leaf.fingerprint(hashes.SHA256()).hex()
        if count % _REVOKED == 0:
            wanted = {"certificate": b64(leaf.public_bytes(Encoding.DER)), "reason": 4}
            status, _, body = await client.post(client.urls["revokeCert"], wanted)
            assert status == 200, body
            load.revoked.add(serial)
        await asyncio.sleep(_PAUSE)


async def _people(load: Load, tls: ssl.SSLContext, letters: list[dict[str, str]]) -> None:
    for letter in letters:
        if load.stop.is_set():
            return
        await pick_up(tls, load.origin, letter)
        load.picked_up += 1


async def _reader(load: Load, place: Place) -> None:
    """Whoever relies on the lists: no number goes back, and nobody who is on one is missing from the next."""
    while not load.stop.is_set():
        await _read_list(load, place)
        await asyncio.sleep(_PAUSE)


async def _read_list(load: Load, place: Place) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.plain)
    writer.write(f"GET {load.lists} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    said = await reader.read()
    writer.close()
    number, listed = _listed(said.partition(b"\r\n\r\n")[2])
    if load.numbers and number < load.numbers[-1]:
        load.faults.append(f"list {number} came after {load.numbers[-1]}")
    if missing := load.last_listed - listed:
        load.faults.append(f"{len(missing)} certificates are on list {number} no more")
    load.numbers.append(number)
    load.last_listed = listed


def _listed(der: bytes) -> tuple[int, set[str]]:
    found = x509.load_der_x509_crl(der)
    number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return number, {f"{each.serial_number:032x}" for each in found}


# -- backups and drills --------------------------------------------------------------------------------


async def _drills(place: Place, seconds: float) -> dict[str, Any]:
    """One of each at the least, and again until the time is over."""
    key = place.folder / "key"
    public = (await place.type("restore", "key", str(key)))["key"]["recipient"]
    files, broken, drills = list[Path](), list[str](), 0
    end = time.monotonic() + seconds
    while not drills or time.monotonic() < end:
        file = place.folder / f"backup-{len(files)}.age"
        await place.type("backup", "--to", str(file), "--recipient", public)
        files.append(file)
        for each in (await place.type("drill"))["proofs"]:
            if not each["kept"]:
                broken.append(f"drill: {each['promise']}: {each['seen']}")
        drills += 1
    return {"files": files, "broken": broken, "drills": drills}


# -- afterwards ----------------------------------------------------------------------------------------


async def _kept(place: Place, load: Load, files: list[Path]) -> list[str]:
    """Every promise that the running register, or one that a backup and the journal brought back, breaks."""
    await _read_list(load, place)
    running = _register(place.data)
    found = [f"running: {each}" for each in await _broken(place, load, place.data, running)]
    for number, file in enumerate(files):
        data = place.folder / f"restored-{number}"
        await place.type(
            "restore", "backup", str(file), "--identity", str(place.folder / "key"),
            "--journal", str(place.data / "journal"), data=data,
        )  # fmt: skip
        restored = _register(data)
        if differ := {serial for serial in running if restored.get(serial) != running[serial]}:
            found.append(f"backup {number}: {len(differ)} certificates are other ones: {sorted(differ)[:3]}")
        listed = (await place.type("cert", "crl", str(data / "list.crl"), data=data))["crl"]["number"]
        if listed <= load.numbers[-1]:
            found.append(f"backup {number}: list {listed} comes after {load.numbers[-1]}")
        found += [f"backup {number}: {each}" for each in await _broken(place, load, data, restored)]
    return found


async def _broken(place: Place, load: Load, data: Path, register: Register) -> list[str]:
    found = lost(load, register)
    try:
        await place.type("audit", "verify", data=data)
    except AssertionError as error:
        found.append(f"the record: {error}")
    return found


def lost(load: Load, register: Register) -> list[str]:
    """What clients were told that a register does not know, and what it has not ended."""
    other = [serial for serial, whose in load.issued.items() if register.get(serial, (None, ""))[0] != whose]
    good = [serial for serial in load.revoked if register.get(serial, (None, ""))[1] != "revoked"]
    left = [serial for serial, (_, status) in register.items() if status == "reserved"]
    found = [f"{len(other)} certificates that somebody has are not there"] if other else []
    found += [f"{len(good)} that were revoked are good"] if good else []
    return found + ([f"{len(left)} were begun and never ended"] if left else [])


def _register(data: Path) -> Register:
    with closing(sqlite3.connect(f"file:{data / 'sekisho.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT serial, fingerprint, status FROM certificates").fetchall()
    return {serial: (fingerprint, status) for serial, fingerprint, status in rows}


if __name__ == "__main__":
    sys.exit(main())
