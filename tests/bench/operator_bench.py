"""An operator's large day: 20,000 users imported, 100,000 certificates listed, and what it takes.

``python -m tests.bench.operator_bench [--users N] [--certificates N] [--import ROWS]``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ca import datadir
from ca.sqlite import Database
from enroll.people.sameness import mail_key, name_key
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.database import DATABASE
from gateway.serving.deployment import SCHEMAS
from tests.datadirs import CHEAP, PASSPHRASE, POLICY_NUMBER, START

_YEAR = 365 * 86_400
_DER = bytes(1_100)


def fill(data: Path, users: int, certificates: int) -> None:
    """A register as it is after years, by the tables' own statements; its certificates open nothing."""
    database = Database(data / DATABASE, SCHEMAS)
    try:
        database.write_now(lambda db: _insert(db, users, certificates))
    finally:
        database.close()


def _insert(db: Any, users: int, certificates: int) -> None:
    db.execute(
        "INSERT INTO organisations(policy_number, name, created_at) VALUES (:number, '霞が関商事', :at)",
        {"number": POLICY_NUMBER, "at": START},
    )
    db.conn.executemany(
        "INSERT INTO users(user_id, policy_number, name, mail, role, notice_by, password_hash, created_at,"
        " name_key, mail_key) VALUES (?, ?, ?, ?, 'member', 'mail', 'none', ?, ?, ?)",
        (
            (f"K{n:08d}", POLICY_NUMBER, f"年金 {n}郎", mail, START, name_key(f"年金 {n}郎"), mail_key(mail))
            for n, mail in ((n, f"user{n}@example.jp") for n in range(users))
        ),
    )
    db.conn.executemany(
        "INSERT INTO enrollments(request_id, kind, user_id, state, common_name, profile, door, revoke_old,"
        " serial, not_after_at, created_at) VALUES (?, 'reissue', ?, 'in_use', ?, 'client-person', 'page',"
        " 'never', ?, ?, ?)",
        (
            (f"{n:016d}", _owner(n, users), _cn(n, users), f"{n:032x}", START + _YEAR, START + n)
            for n in range(certificates)
        ),
    )
    db.conn.executemany(
        "INSERT INTO certificates(serial, issuer_id, profile, status, holder, subject_cn, spki_sha256,"
        " not_before_at, not_after_at, reserved_at, issued_at, template, der, fingerprint, order_id)"
        " VALUES (?, 'issuer', 'client-person', 'issued', ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?)",
        _certificates(users, certificates),
    )
    (before,) = db.conn.execute("SELECT coalesce(max(id), 0) FROM audit").fetchone()
    db.conn.executemany(
        "INSERT INTO audit(id, at, actor, action, subject, why, result, detail, digest, hash)"
        " VALUES (?, ?, 'test', 'certificate.issued', ?, '', 'done', '{}', '', '')",
        ((before + n + 1, START + n, f"{n:032x}") for n in range(certificates)),
    )
    db.conn.execute("UPDATE counters SET value = (SELECT max(id) FROM audit) WHERE name = 'audit'")


def _owner(number: int, users: int) -> str:
    return f"K{number % users:08d}"


def _cn(number: int, users: int) -> str:
    return f"{_owner(number, users)}{number // users + 1:04d}"


def _certificates(users: int, certificates: int) -> Iterator[tuple[Any, ...]]:
    for n in range(certificates):
        print_ = hashlib.sha256(str(n).encode()).hexdigest()
        yield (
            f"{n:032x}", _owner(n, users), _cn(n, users), START, START + _YEAR, START, START, "x" * 1_500,
            _DER, print_, f"{n:016d}",
        )  # fmt: skip


# Linux counts the parent's memory into a child's maximum up to its exec: a small parent stands between.
_SMALL = """
import json, os, subprocess, sys, tempfile, time
with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[1:], stdout=out, stderr=err)
    _, status, used = os.wait4(process.pid, 0)
    print(json.dumps({
        "code": os.waitstatus_to_exitcode(status),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "most_mib": used.ru_maxrss // 1024,
        "bytes": os.fstat(out.fileno()).st_size,
        # What went wrong is said there, and nowhere else.
        "said": err.seek(0) or err.read().decode(errors="replace")[-2000:] if status else "",
    }))
"""


def measure(data: Path, *words: str) -> dict[str, Any]:
    """Runs a command with its output into a file: seconds, seconds of CPU, the most memory in MiB, bytes; and
    what it said on standard error, where it failed."""
    environment = {**os.environ, "SEKISHO_DATA": str(data), "SEKISHO_PASSPHRASE": PASSPHRASE}
    sekisho = Path(sys.executable).with_name("sekisho")
    ran = subprocess.run(
        [sys.executable, "-c", _SMALL, sekisho, *words], capture_output=True, env=environment, check=True
    )
    told: dict[str, Any] = json.loads(ran.stdout)
    return {"command": " ".join(words), **told}


def listed(data: Path, certificates: int) -> Iterator[dict[str, Any]]:
    """Every long list, as text and as JSON."""
    limit = ("--limit", str(certificates))
    for words in (
        ("org", "list"),
        ("cert", "list", *limit),
        ("cert", "list", *limit, "--name", "郎"),
        ("request", "list", *limit),
        ("user", "list"),
        ("audit", "show", *limit),
    ):
        yield measure(data, *words)
        yield measure(data, *words, "--json")
    # Without a row first: what is more than that the rows take.
    for words in (("--filter", "state=revoked"), (), ("--format", "jsonl")):
        yield measure(data, "export", "certificates", *words)
    yield measure(data, "audit", "show", "--subject", "K00000001", "--json")
    yield measure(data, "user", "show", "K00000001", "--json")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--users", type=int, default=20_000)
    options.add_argument("--certificates", type=int, default=100_000)
    options.add_argument("--import", dest="rows", type=int, default=20_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        datadir.create(data, PASSPHRASE, START, cost=CHEAP)
        (data / FILE_NAME).write_text(toml_of(Config()))
        fill(data, given.users, given.certificates)
        # Its days are made up: an import waits while the clock is in doubt.
        confirmed = measure(data, "clock", "confirm")
        assert confirmed["code"] == 0, confirmed
        for each in listed(data, given.certificates):
            print(json.dumps(each), flush=True)
        file = Path(place) / "people.csv"
        rows = (f"{POLICY_NUMBER},厚生 {n}子,person{n}@example.jp\n" for n in range(given.rows))
        file.write_text("policy_number,name,mail\n" + "".join(rows))
        imported = measure(data, "user", "import", str(file))
        print(json.dumps(imported), flush=True)
        assert imported["code"] == 0, "rows were refused: what it took says nothing"


if __name__ == "__main__":
    main()
