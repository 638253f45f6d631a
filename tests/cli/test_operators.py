"""Operators at the command line: the first ones, what is refused and why, proposals, and an emergency."""

from __future__ import annotations

import os
import pwd
import sqlite3
from pathlib import Path

from tests.cli.conftest import Ran, Shell
from tests.cli.test_jobs import become

ME = pwd.getpwuid(os.getuid()).pw_name


def trail(shell: Shell, action: str) -> list[str]:
    """Who has done it."""
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        found = db.execute("SELECT actor FROM audit WHERE action = ? ORDER BY id", [action])
        return [actor for (actor,) in found]


def operators_row(ran: Ran) -> tuple[str, str]:
    found = next(each for each in ran.value["checks"] if each["check"] == "operators")
    return found["state"], found["found"]


def test_a_day_with_operators(peopled: Shell, tmp_path: Path) -> None:
    """From the first operator on roles hold for the owner of the directory, too: whoever types is told what
    is not allowed, who may, and what waits for whom."""
    sekisho = peopled
    assert operators_row(sekisho("doctor")) == (
        "notice",
        "none: whoever owns this directory, and root, may do everything alone; fewer than two approvers",
    )
    words = ("ito", "--role", "ca-officer", "--account", "ito", "--mail", "ito@example.jp")
    first = sekisho("operator", "add", *words).value["operator"]
    assert (first["roles"], len(first["code"])) == (["ca-officer"], 16)
    # Whoever has the machine is nobody any more, but for a second operator.
    refused = sekisho("user", "list").error
    assert (refused["code"], refused["field"]) == ("not_permitted", "operator")
    assert refused["message"].startswith(f"{ME} is no operator here")
    assert operators_row(sekisho("doctor")) == ("notice", "1; approvers: none; fewer than two approvers")
    assert sekisho("operator", "add", "sato", "--role", "approver", "--account", "sato").code == 0
    assert sekisho("operator", "add", "third", "--role", "desk").error["code"] == "not_permitted"
    assert sekisho("doctor").error["code"] == "not_permitted"
    # What the passphrase opens it opens still.
    assert sekisho("ca", "key", "show").code == 0

    taken = sekisho("operator", "break-glass", "--role", "registrar", "--reason", "夜間").value["break_glass"]
    assert taken["ends_at"] - taken["opened_at"] == 3_600
    made = sekisho("user", "add", "12345678", "厚生 花子", "hanako@example.jp", "--user-id", "KNEW1")
    assert (made.code, made.value["proposal"]["number"]) == (0, 1)
    assert made.value["proposal"]["deciders"] == ["approver"]
    assert sekisho("user", "show", "KNEW1").error["code"] == "not_found"
    assert [each["subject"] for each in sekisho("proposal", "list").value["proposals"]] == ["KNEW1"]
    shown = sekisho("proposal", "show", "1").value["proposal"]
    assert (shown["payload"]["person"]["mail"], shown["state"]) == ("hanako@example.jp", "pending")
    # Not one's own, not another role's, not twice.
    assert sekisho("proposal", "approve", "1").error["field"] == "proposal"
    assert sekisho("proposal", "show", "2").error["code"] == "not_found"
    assert sekisho("audit", "show").error["message"].endswith("ask auditor")
    again = sekisho("user", "add", "12345678", "厚生 花子", "hanako@example.jp", "--user-id", "KNEW1")
    assert again.error["code"] == "conflict"
    assert sekisho("proposal", "withdraw", "1").code == 0
    assert sekisho("proposal", "reject", "1", "--note", "x").error["code"] in ("conflict", "not_permitted")

    (tmp_path / "people.csv").write_text("policy_number,name,mail\n12345678,甲,a@x.jp\n99999999,乙,b@x.jp\n")
    done = sekisho("user", "import", str(tmp_path / "people.csv"))
    assert (done.value["import"]["would_add"], done.value["import"]["refused"], done.code) == (1, 1, 1)
    assert done.value["proposal"]["subject"] == "people.csv: 1 rows"
    assert sekisho("user", "hold", "K12345678").code == 0
    assert sekisho("user", "release", "K12345678").value["proposal"]["kind"] == "user.release"
    told = {each["check"]: each["found"] for each in sekisho("doctor").value["checks"]}
    assert told["emergency"].startswith(f"1: {ME} took registrar on ")
    assert sekisho("operator", "review", "1", "--note", "x").error["code"] == "not_permitted"

    assert sekisho("operator", "break-glass", "--role", "ca-officer", "--reason", "x").code == 0
    listed = sekisho("operator", "list").value["operators"]
    assert [each["name"] for each in listed] == ["ito", "sato"]
    assert "handle" not in listed[0]
    assert sekisho("operator", "show", "sato").value["operator"]["code_ends_at"]
    for words in (("change", "sato", "--role", "desk"), ("end", "sato"), ("code", "ito")):
        assert sekisho("operator", *words).value["proposal"]["deciders"] == ["approver", "ca-officer"]

    marked = f"break-glass:{ME}/registrar"
    assert trail(sekisho, "proposal.made")[:2] == [marked, marked]
    assert trail(sekisho, "operator.added") == [f"operator:{ME}"] * 2
    assert trail(sekisho, "user.held") == [marked]


def test_a_service_account(sekisho: Shell) -> None:
    """It comes from networks that are named and by no account, a person from anywhere; what it is changes as
    of anybody, and its networks are shown."""
    add = ("operator", "add", "hr", "--service", "--role", "registrar")
    assert sekisho(*add).error["field"] == "networks"
    assert sekisho(*add, "--from", "192.0.2.0/24", "--account", "hr").error["field"] == "account"
    for wrong in ("192.0.2.1/24", "everywhere", "", "::ffff:192.0.2.7"):
        assert sekisho(*add, "--from", wrong).error["field"] == "networks", wrong
    person = sekisho("operator", "add", "abe", "--role", "desk", "--from", "192.0.2.0/24").error
    assert (person["field"], "is for a service" in person["message"]) == ("networks", True)
    made = sekisho(*add, "--from", "192.0.2.0/24", "--from", "2001:db8::7").value["operator"]
    assert (made["kind"], made["networks"]) == ("service", ["192.0.2.0/24", "2001:db8::7"])
    assert len(made["code"]) == 16
    changed = sekisho("operator", "change", "hr", "--from", "198.51.100.7").value["operator"]
    assert changed["networks"] == ["198.51.100.7"]
    assert sekisho("operator", "show", "hr").value["operator"]["networks"] == ["198.51.100.7"]
    assert trail(sekisho, "operator.changed") == [f"operator:{ME}"]


def test_what_came_on_paper_is_taken_in(peopled: Shell) -> None:
    """The desk records what somebody applies for and decides none of it; an approver does, a registrar that
    took it in does not, and whoever may not take in is told who may."""
    sekisho = peopled
    for name, role in (("ito", "ca-officer"), ("abe", "desk"), ("mori", "registrar"), ("sato", "approver")):
        assert sekisho("operator", "add", name, "--role", role).code == 0, name
    become(sekisho, "abe")
    add = ("application", "add", "12345678", "厚生 花子", "hanako@example.jp", "--reading", "コウセイ ハナコ")
    taken = sekisho(*add).value["application"]
    assert (taken["state"], taken["channel"], taken["already"]) == ("submitted", "paper", False)
    assert (taken["name"], taken["person"]["reading"]) == ("厚生 花子", "コウセイ ハナコ")
    assert taken["applied_by"].startswith("operator:abe")
    # Somebody of that name waits: asked about, as in `user add`. Meant, it is the same application.
    assert sekisho(*add).error["field"] == "alike"
    again = sekisho(*add, "--alike").value["application"]
    assert (again["id"], again["already"]) == (taken["id"], True)
    for words, field in (
        (("add", "99999999", "甲", "a@example.jp"), "policy_number"),
        (("add", "12345678", "甲", "a"), "mail"),
        (("add", "12345678", "年金 太郎", "taro@example.jp"), "name"),
        (("add", "12345678", "乙", "b@example.jp", "--user-id", "K12345678"), "user_id"),
        (("reissue", "K00000000", "--reason", "pc_change"), "user_id"),
    ):
        assert sekisho("application", *words).error["field"] == field, words
    assert sekisho("application", "reissue", "K12345678").code == 2

    stolen = sekisho("application", "reissue", "k12345678", "--reason", "lost_or_stolen", json_output=False)
    assert "sekisho application approve 3" in stolen.out
    assert sekisho("application", "approve", "3").error["code"] == "not_permitted"
    waiting = sekisho("application", "list").value["applications"]
    assert [(each["kind"], each["revoke_old"]) for each in waiting] == [
        ("reissue", "at_once"),
        ("addition", "on_pickup"),
    ]
    become(sekisho, "sato")
    refused = sekisho(*add).error
    assert (refused["code"], refused["message"].endswith("ask desk or registrar")) == ("not_permitted", True)
    assert [sekisho("application", "approve", each).code for each in ("2", "3")] == [0, 0]
    assert len(trail(sekisho, "application.submitted")) == 2
