"""``export``: every list to standard output, by the gateway that runs or without one, for whom O3 says."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from enroll.exports import NAMES
from enroll.exports.tables import TABLES
from enroll.operators.roles import Role, permitted
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO, typed, until
from tests.cli.test_jobs import become
from tests.cli.test_serving import ready

_PEOPLE = 3_000


def _acts(shell: Shell) -> list[str]:
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        return [
            row[0] for row in db.execute("SELECT action FROM audit WHERE action LIKE 'export.%' ORDER BY id")
        ]


def _many(shell: Shell) -> None:
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        db.executemany(
            "INSERT INTO users(user_id, policy_number, name, mail, role, notice_by, password_hash,"
            " created_at, name_key, mail_key)"
            " VALUES (?, '12345678', ?, 'a@x.jp', 'member', 'mail', '-', 1, '', '')",
            [(f"M{n:07}", f"=年金 {n}") for n in range(_PEOPLE)],
        )


@pytest.mark.slow
def test_every_list(peopled: Shell) -> None:
    """Each comes as CSV with a heading and its last line, and as one document with --json; the number of what
    is narrowed is that of the rows."""
    assert peopled("campaign", "add", "春", "--org", "12345678").code == 0
    for name in NAMES:
        of = ["1"] if name in ("campaign", "campaign-people") else []
        ran = peopled("export", name, *of, json_output=False)
        rows = list(csv.reader(io.StringIO(ran.out.removeprefix("\ufeff"))))
        assert (ran.code, ran.out[0], rows[-1][0]) == (0, "\ufeff", "#end"), name
        digest = hashlib.sha256(ran.out.replace("\n", "\r\n").encode()).hexdigest()
        assert f"{int(rows[-1][1]):,} rows; SHA-256 {digest}" in ran.err
        told = peopled("export", name, *of).value
        assert len(told["rows"]) == told["end"]["rows"], name
    assert peopled("export", "users", "--filter", "role=admin").value["rows"] == []
    assert peopled("export", "users", "--filter", "q=年金").value["end"]["rows"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("users", "--filter", "role"), "write NAME=VALUE"),
        (("users", "--filter", "colour=red"), "users is narrowed by state, role, ends, bounced, sort"),
        (("users", "--filter", "role=king"), "--filter role=king: it is narrowed by no such value"),
        (("certificates", "--filter", "from=yesterday"), "from=yesterday"),
        (("campaign",), "which one: add its number"),
        (("users", "1"), "users is not by number"),
        (("campaign", "9"), "there is no campaign 9"),
        (("nobody",), "is not one of"),
    ],
)
def test_what_is_typed_wrong(peopled: Shell, words: tuple[str, ...], said: str) -> None:
    """It says so, and what there is; nothing is exported."""
    ran = peopled("export", *words)
    assert ran.code != 0
    assert said in ran.error["message"]
    assert _acts(peopled) == []


@pytest.mark.slow
def test_by_the_gateway_to_a_file(peopled: Shell, tmp_path: Path) -> None:
    """Octet by octet what its SHA-256 says, whatever the locale is; somebody who reads a few lines and leaves
    ends it, and the record says so; whole, altered and broken off are told apart."""
    _many(peopled)
    data = str(peopled.data)
    (tmp_path / "serving").mkdir()
    with ready(peopled.data, tmp_path / "serving"):
        file = tmp_path / "users.csv"
        with file.open("wb") as out:
            ran = subprocess.run(
                [SEKISHO, "export", "users", "--lang", "ja", "--data", data],
                stdout=out,
                stderr=subprocess.PIPE,
                env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": "/usr/bin:/bin"},
                check=True,
                timeout=120,
            )
        content = file.read_bytes()
        assert hashlib.sha256(content).hexdigest().encode() in ran.stderr
        assert content.startswith(b"\xef\xbb\xbf")
        assert (content.count(b"\r\n"), content.count(b",'=")) == (1 + 1 + _PEOPLE + 1, _PEOPLE)
        left = subprocess.run(
            ["/bin/bash", "-c", f"{SEKISHO} export users --data {data} | head -n 1"],
            capture_output=True,
            check=True,
            timeout=120,
        )
        assert left.stdout.count(b"\n") == 1
        until(lambda: len(_acts(peopled)) == 4, tmp_path / "users.csv")
        assert _acts(peopled) == ["export.begun", "export.ended", "export.begun", "export.failed"]
        whole = typed("audit", "verify", "--export", str(file), "--json", "--data", data)
        (known,) = json.loads(whole.stdout)["exports"]
        assert (whole.returncode, known["table"], known["rows"]) == (0, "users", 1 + _PEOPLE)
        for broken, why in (
            (content.replace("=年金 7".encode(), "=年金 8".encode()), "was altered"),
            (content[: content.rindex(b"#")], "broken off"),
            (content[:-9], "knows no export"),
            (b"", "broken off"),
        ):
            file.write_bytes(broken)
            told = typed("audit", "verify", "--export", str(file), "--json", "--data", data)
            assert (told.returncode, why in told.stdout) == (1, True), told.stdout


@pytest.mark.parametrize("role", Role)
def test_for_whom(peopled: Shell, role: Role) -> None:
    """O3, role by export: who may not is told so, nothing of it is written, and no line begins."""
    for name, each in (("first", "ca-officer"), ("me", str(role))):
        assert peopled("operator", "add", name, "--role", each).code == 0
    become(peopled, "me")
    for name, table in TABLES.items():
        may = bool(permitted([role], table.act) & table.wanted)
        ran = peopled("export", name, *(["1"] if name.startswith("campaign") else []))
        if may:
            assert ran.code == 0 or ran.error["code"] == "not_found", (role, name, ran.out)
        else:
            assert (ran.code, ran.error["code"]) == (1, "not_permitted"), (role, name)
