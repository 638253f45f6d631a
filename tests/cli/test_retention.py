"""Retention at the command line: what its dry run says is what its job does."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from enroll.retention import erasing
from enroll.retention.store import KEPT
from gateway.serving.database import DATABASE
from gateway.serving.deployment import CLOCK, DEMO_MARKER
from tests.cli.conftest import Ran, Shell
from tests.cli.test_jobs import become

_DAY = 86_400


def _lived(shell: Shell, tmp_path: Path) -> None:
    """Somebody who left, whose application was decided and whose letters were sent, and an import."""
    file = tmp_path / "people.csv"
    file.write_bytes("証券番号,氏名,メールアドレス\n12345678,乙,b@x.jp\n12345678,丙,c@x.jp\n".encode("cp932"))
    for name, role in (("ito", "ca-officer"), ("touroku", "registrar"), ("shounin", "approver")):
        assert shell("operator", "add", name, "--role", role).code == 0, name
    _by_two(shell, "user", "import", str(file))
    _by_two(shell, "request", "reissue", "K12345678", "--reason", "pc_change")
    _by_two(shell, "user", "disable", "K12345678")
    with closing(sqlite3.connect(shell.data / DATABASE)) as db, db:
        db.execute("UPDATE mails SET state = 'sent' WHERE id > 1")


def _by_two(shell: Shell, *words: str) -> Any:
    """What came of it, proposed by one and approved by another."""
    become(shell, "touroku")
    proposed = shell(*words)
    assert proposed.code == 0, proposed.out
    become(shell, "shounin")
    return shell("proposal", "approve", str(proposed.value["proposal"]["number"])).value


def _later(shell: Shell, days: int) -> None:
    (shell.data / DEMO_MARKER).write_text("{}")
    (shell.data / CLOCK).write_text(json.dumps({"offset": days * _DAY}))


def _counts(ran: Ran) -> Mapping[str, int]:
    return {each["kind"]: each["count"] for each in ran.value["retention"]}


def _erased(shell: Shell) -> Mapping[str, int]:
    """How many rows of each kind are empty."""
    tables = {"people": "users"} | {name: kept.table for name, kept in KEPT.items()}
    with closing(sqlite3.connect(shell.data / DATABASE)) as db:
        found = {
            kind: db.execute(f"SELECT count(*) FROM {table} WHERE erased_at IS NOT NULL").fetchone()[0]
            for kind, table in tables.items()
        }
    return {kind: count for kind, count in found.items() if count}


def test_a_dry_run_says_what_the_job_does(peopled: Shell, tmp_path: Path) -> None:
    """Of each kind as many as its rows say, and as are empty afterwards; before, nothing is, and afterwards
    a dry run finds nothing more. Letters that wait are in neither."""
    _lived(peopled, tmp_path)
    _later(peopled, 2_000)
    said = _counts(peopled("retention", "apply", "--dry-run"))
    assert said.keys() == {"people", *KEPT}
    assert _erased(peopled) == {}
    job = _by_two(peopled, "retention", "apply")["job"]
    assert (job["state"], set(job["counts"])) == ("done", {"erased"})
    done = Counter[str]()
    for row in peopled("job", "show", str(job["number"])).value["job"]["rows"]:
        kind, _, numbers = row["subject"].partition(" ")
        done[kind if numbers else "people"] += int(numbers.partition(": ")[2]) if numbers else 1
    assert done == said
    assert _erased(peopled) == said
    assert _counts(peopled("retention", "apply", "--dry-run")) == {}
    assert "nothing is over" in peopled("retention", "apply").error["message"]


def test_a_dry_run_has_as_many_people_as_one_job(peopled: Shell) -> None:
    """The table says of all who left; the dry run, of those that the job takes."""
    assert peopled("user", "disable", "K12345678").code == 0
    with closing(sqlite3.connect(peopled.data / DATABASE)) as db, db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(users)")]
        theirs = ", ".join("'L' || n" if each == "user_id" else each for each in columns)
        db.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
            f" INSERT INTO users ({', '.join(columns)}) SELECT {theirs} FROM users, numbers",
            [erasing.MOST],
        )
    _later(peopled, 2_000)
    assert _counts(peopled("retention", "show"))["people"] == erasing.MOST + 1
    assert _counts(peopled("retention", "apply", "--dry-run"))["people"] == erasing.MOST
