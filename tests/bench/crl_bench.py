"""A revocation list of many lines: what it costs, and how long a login page waits while it is made.

Run as ``python -m tests.bench.crl_bench [--revoked N] [--workers N] [--seconds S]``. Certificates are put
into the register of a demo's directory as revoked ones; then the gateway is started on it, ``/login`` is
asked over new connections all the time, and one more certificate is revoked again and again, so that list
after list is made. The same without any change is measured before it: only the difference is ours.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from ca import datadir
from ca.crls import frame_of
from ca.listfiles import draft, folder_of
from ca.sqlite import SqliteSource
from gateway.serving.config import FILE_NAME
from gateway.serving.database import DATABASE
from tests.cli.processes import change, get_plain, pem_of, process, tls, until
from tests.ports import free_port
from tests.started import forked

_HOST = "service.localhost"
# Aims: seconds of CPU and MiB for a list of so many lines; milliseconds that a login page waits.
_AIMS = {50_000: (0.2, 250), 1_000_000: (3.0, 250)}
_PAGE_MS = 50.0
_FILL = (
    "INSERT INTO certificates (serial, issuer_id, profile, status, subject_cn, spki_sha256, not_before_at,"
    " not_after_at, reserved_at, issued_at, template, der, fingerprint, revoked_at, revocation_reason,"
    " change_number) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
    # Little more than what a list says: the rest of a row is not looked at.
    " SELECT lower(hex(randomblob(16))), :issuer, 'client-person', 'revoked', 'S' || i,"
    " 's', :at, :at + 90000000, :at, :at, '{}', x'00',"
    " lower(hex(randomblob(32))), :at - i % 30000000, 4, i + (SELECT coalesce(max(change_number), 0)"
    " FROM certificates) FROM n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revoked", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        told = _demo(place)
        _fill(place / "data", told["passphrase_file"], options.revoked)
        _cost(place / "data", told["passphrase_file"], options.revoked)
        _serve(place, told, options.workers, options.seconds)


def _demo(place: Path) -> dict[str, Any]:
    summary, log = place / "summary.json", place / "log"
    words = ("demo", "--data", str(place / "data"), "--port", "0", "--summary", str(summary))
    with process(*words, log=log) as demo:
        until(summary.exists, log, demo)
        os.kill(demo.pid, signal.SIGINT)
        demo.wait(60)
    found: dict[str, Any] = json.loads(summary.read_text())
    return found


def _fill(data: Path, passphrase_file: str, count: int) -> None:
    issuer = datadir.load(data, Path(passphrase_file).read_text().strip()).authority.current
    filled(data / DATABASE, issuer.issuer_id, count)


def filled(database: Path, issuer_id: str, count: int) -> None:
    """Puts so many revoked certificates of an issuer into a register."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(_FILL, {"count": count, "issuer": issuer_id, "at": int(time.time())})
        db.execute("UPDATE counters SET value = (SELECT max(change_number) FROM certificates)")


def _cost(data: Path, passphrase_file: str, count: int) -> None:
    """One list, made in a process of its own, as the gateway does."""
    issuer = datadir.load(data, Path(passphrase_file).read_text().strip()).authority.current
    frame, database = frame_of(issuer.certificate, 1, 1_900_000_000, 1_900_600_000), data / DATABASE

    def make() -> int:
        draft(SqliteSource(database), folder_of(data), frame, issuer.issuer_id, 0).path.unlink()
        return 0

    with forked(make) as child:
        _, status, used = os.wait4(child.pid, 0)
    assert status == 0
    seconds, mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    aim = _AIMS.get(count)
    said = "" if aim is None else f"   aims: {aim[0]} s, {aim[1]} MiB"
    print(f"{count} lines: {seconds:.2f} s of CPU, {mib:.0f} MiB at most{said}")


def _serve(place: Path, told: dict[str, Any], workers: int, seconds: float) -> None:
    data, log, port, inside = place / "data", place / "serve.log", free_port(), free_port()
    settings = {
        ("listen", "port"): str(port),
        ("internal", "port"): str(inside),
        ("sites", "mailbox"): "[]",
        ("log", "level"): '"info"',
    }
    change(data / FILE_NAME, settings)
    users = [each for each in told["users"] if each["state"] == "active" and each["p12"]]
    pem = pem_of(users[0]["p12"], users[0]["p12_password"], place / "user.pem")
    words = ("serve", "--data", str(data), "--workers", str(workers))
    given = {"SEKISHO_PASSPHRASE": Path(told["passphrase_file"]).read_text().strip()}
    with process(*words, log=log, **given) as running:
        until(
            lambda: "workers are ready" in log.read_text() or "ready on port" in log.read_text(), log, running
        )
        until(lambda: _up(inside), log, running)
        time.sleep(8)  # keys are made in advance, by other processes
        _pages(port, data, pem, 2)
        quiet = _pages(port, data, pem, seconds)
        _tell("nothing changes", quiet)
        before, busy, end = len(_made(log)), list[float](), time.monotonic() + seconds
        while time.monotonic() < end:
            _revoke_another(data / DATABASE)
            busy += _pages(port, data, pem, 0.5)
        lists = _made(log)[before:]
        _tell("lists are made", busy)
        print(f"{len(lists)} lists meanwhile, of {', '.join(f'{each} s' for each in lists[:5])}")
        stuck = log.read_text().count("is stuck")
        late = sum(each > _PAGE_MS for each in busy), sum(each > _PAGE_MS for each in quiet)
        print(
            f"pages above {_PAGE_MS:.0f} ms: {late[0]} of {len(busy)}, {late[1]} of {len(quiet)} while quiet"
        )
        print(f"workers that looked stuck: {stuck}")


def _up(port: int) -> bool:
    try:
        return get_plain(port, "/readyz")[0] == 200
    except OSError:
        return False


def _made(log: Path) -> list[str]:
    return re.findall(r"revocation list \d+ of [^:]+: \d+ lines, ([\d.]+) s", log.read_text())


def _revoke_another(database: Path) -> None:
    """A change, as a command of an operator's makes it."""
    with closing(sqlite3.connect(database, timeout=30)) as db, db:
        number = "(SELECT 1 + max(change_number) FROM certificates WHERE change_number IS NOT NULL)"
        db.execute(f"UPDATE certificates SET change_number = {number} WHERE subject_cn = 'S1'")


def _pages(port: int, data: Path, pem: Path, seconds: float) -> list[float]:
    """Milliseconds from a request to the whole login page, each on a connection of its own."""
    found, end = list[float](), time.monotonic() + seconds
    while time.monotonic() < end:
        connection = HTTPSConnection(_HOST, port, timeout=60)
        connection.sock = tls(_HOST, port, data / "servers" / "ca.pem", pem)
        begun = time.perf_counter()
        connection.request("GET", "/login")
        got = connection.getresponse()
        got.read()
        found.append((time.perf_counter() - begun) * 1_000)
        assert got.status == 200, got.status
        connection.close()
    return found


def _tell(when: str, times: list[float]) -> None:
    ordered = sorted(times)
    p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    said = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {ordered[-1]:.1f} ms"
    print(f"{when:<18}{len(times):>6} login pages: {said}")


if __name__ == "__main__":
    main()
