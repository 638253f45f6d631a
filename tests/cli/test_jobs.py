"""Jobs at the command line: where no gateway runs, what is approved is done by the command."""

from __future__ import annotations

import os
import pwd
import sqlite3
from pathlib import Path

from tests.cli.conftest import Shell

ME = pwd.getpwuid(os.getuid()).pw_name


def become(shell: Shell, name: str) -> None:
    """Whoever types is this operator from now on: there is one account here."""
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        db.execute("UPDATE operators SET account = '' WHERE account = ?", [ME])
        db.execute("UPDATE operators SET account = ? WHERE name = ?", [ME, name])


def test_an_import_from_its_file_to_its_undoing(peopled: Shell, tmp_path: Path) -> None:
    """Proposed, approved, done with its rows, the refused ones as a file; and taken back by two, while its
    letters are held."""
    sekisho = peopled
    assert sekisho("org", "add", "20000002", "丙社").code == 0
    for name, role in (("ito", "ca-officer"), ("touroku", "registrar"), ("shounin", "approver")):
        assert sekisho("operator", "add", name, "--role", role).code == 0, name
    become(sekisho, "touroku")
    file = tmp_path / "people.csv"
    file.write_bytes("証券番号,氏名,メールアドレス\n20000002,甲,a@x.jp\n12345678,乙,b@x.jp\n".encode("cp932"))
    proposal = sekisho("user", "import", str(file), "--hold-letters").value["proposal"]
    assert (proposal["number"], proposal["subject"]) == (1, "people.csv: 2 rows")
    assert sekisho("job", "list", "--all").value["jobs"] == []
    # Suspended meanwhile.
    become(sekisho, "shounin")
    with sqlite3.connect(sekisho.data / "sekisho.db") as db:
        db.execute("UPDATE organisations SET disabled_at = 1 WHERE policy_number = '20000002'")
    done = sekisho("proposal", "approve", "1")
    assert done.code == 0, done.out
    assert (done.value["approved"]["result"], done.value["job"]["state"]) == ({"job": 1}, "done")
    assert done.value["job"]["counts"] == {"added": 1, "refused": 1}
    assert "job 1: 2 of 2 rows" in done.err

    shown = sekisho("job", "show", "1").value["job"]
    assert [(each["line"], each["result"]) for each in shown["rows"]] == [(2, "refused"), (3, "added")]
    assert (shown["rows"][0]["field"], shown["rows"][0]["reason"] != "") == ("policy_number", True)
    told = sekisho("job", "show", "1", json_output=False).out
    assert "sekisho job failures 1 FILE.csv" in told
    (added,) = [each["subject"] for each in shown["rows"] if each["subject"]]
    lines = sekisho("audit", "show", "--act", "person.seen").value["audit"]
    assert [each["subject"] for each in lines] == [added, added]
    failures = tmp_path / "failures.csv"
    assert sekisho("job", "failures", "1", str(failures)).value["failures"]["rows"] == 1
    lines = failures.read_bytes().decode("cp932").splitlines()
    assert lines[0] == "reason,証券番号,氏名,メールアドレス"
    assert lines[1].endswith(",20000002,甲,a@x.jp")
    assert sekisho("job", "cancel", "1").error["code"] == "conflict"
    assert sekisho("job", "run", "1").error["code"] == "conflict"
    assert sekisho("job", "show", "2").error["hint"] == "List them: sekisho job list --all"

    assert sekisho("job", "undo", "1").error["code"] == "not_permitted"
    become(sekisho, "touroku")
    assert sekisho("job", "undo", "1").value["proposal"]["deciders"] == ["approver"]
    become(sekisho, "shounin")
    assert sekisho("proposal", "approve", "2").value["job"]["counts"] == {"undone": 1}
    assert [each["state"] for each in sekisho("job", "list", "--all").value["jobs"]] == ["done", "undone"]
    assert [each["user_id"] for each in sekisho("user", "list").value["users"]] == ["K12345678"]
    become(sekisho, "ito")
    assert sekisho("job", "list", "--all").value["jobs"] == []
    assert sekisho("job", "show", "1").error["code"] == "not_found"


def test_many_certificates_at_once(peopled: Shell, tmp_path: Path) -> None:
    """A file that names none is refused, and one that is not there."""
    (tmp_path / "none").write_text("\n")
    refused = peopled("cert", "revoke-list", str(tmp_path / "none")).error
    assert refused["message"].endswith("names no certificate; write one serial a line")
    (tmp_path / "some").write_text("00ff\n")
    assert peopled("cert", "revoke-list", str(tmp_path / "some")).error["code"] == "not_found"
