"""What operators type about letters, and what tells them that they have to, with a mail server."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ca.clock import ManualClock
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import Deployment, opened_deployment
from gateway.serving.figures import Figures, late_letters
from tests.cli.conftest import Ran, Shell
from tests.datadirs import PASSPHRASE
from tests.mailserver import MailServer


def point_to(sekisho: Shell, server: MailServer, **settings: str | int) -> None:
    """Has the directory's letters leave by a test's mail server."""
    given: dict[str, str | int] = {
        "transport": "smtp",
        "host": "localhost",
        "port": server.port,
        "security": "none",
        "timeout": 5,
    } | settings
    lines = [f"{name} = {value!r}" for name, value in given.items()]
    (sekisho.data / FILE_NAME).write_text("\n".join(["[mail]", *lines]))


def letters(sekisho: Shell, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sekisho("mail", "list", *words).value["mails"]
    return found


def check(ran: Ran, name: str) -> dict[str, str]:
    return {each["check"]: each for each in ran.value["checks"]}[name]


def test_a_held_queue_is_shown_and_retried(peopled: Shell) -> None:
    """deliver, list and show say until when letters wait and why; `mail retry` ends it at once."""
    with MailServer({"MAIL": "553 sender not owned by user"}).in_a_thread() as server:
        point_to(peopled, server)
        held = peopled("mail", "deliver", json_output=False)
        assert "accepted: 0, still queued: 2" in held.out
        assert "MAIL 553 sender not owned by user. Once mended: sekisho mail retry" in held.out
        refused = peopled("mail", "deliver").value["refused"][0]
        assert (refused["channel"], refused["said"]) == ("mail", "MAIL 553 sender not owned by user")
        assert server.heard["MAIL"] == 1
        waits = refused["held_until_at"]
        assert [row["next_attempt_at"] for row in letters(peopled)] == [waits, waits]
        assert {row["result"] for row in letters(peopled)} == {"MAIL 553 sender not owned by user"}
        assert peopled("mail", "show", "1").value["mail"]["next_attempt_at"] == waits
        server.answers.clear()
        retried = peopled("mail", "retry")
        assert retried.value == {"retried": {"failed": 0, "waiting": 2}}
        assert peopled("mail", "deliver").value["delivered"] == 2
    assert [row["next_attempt_at"] for row in letters(peopled, "--state", "sent")] == [None, None]


def test_one_letter_is_retried(peopled: Shell) -> None:
    """--letter N goes ahead of a hold; what left, was cancelled or never was is refused with what to do."""
    with MailServer({"MAIL": ["553 sender not owned by user"]}).in_a_thread() as server:
        point_to(peopled, server)
        peopled("mail", "deliver")
        told = peopled("mail", "retry", "--letter", "2").value["retried"]
        assert (told["id"], told["state"], told["recipient"]) == (2, "queued", "taro@example.jp")
        assert peopled("mail", "deliver").value["delivered"] == 2
    assert server.accepted[0]["Subject"] == letters(peopled)[0]["subject"]
    again = peopled("mail", "retry", "--letter", "2")
    assert (again.code, again.error["code"]) == (1, "conflict")
    assert "letter 2 has left; where it tells no password: sekisho mail again 2" in again.error["message"]
    assert peopled("mail", "retry", "--letter", "99").error["field"] == "mail"
    both = peopled("mail", "retry", "--letter", "2", "--all")
    assert (both.code, "leave one out" in both.error["message"]) == (2, True)


def test_failed_letters_are_retried_when_all_are(peopled: Shell) -> None:
    """Plain retry says that it left them alone; --all sends them to the address that was put right."""
    with MailServer(by_recipient={"taro@example.jp": "550 5.1.1 user unknown"}).in_a_thread() as server:
        point_to(peopled, server)
        peopled("mail", "deliver")
        assert {row["result"] for row in letters(peopled, "--state", "failed")} == {
            "RCPT 550 5.1.1 user unknown"
        }
        plain = peopled("mail", "retry", json_output=False).out
        assert "failed, and left alone: 2. See why: sekisho mail list --state failed" in plain
        changed = peopled("user", "change", "K12345678", "--mail", "right@example.jp", json_output=False)
        assert "never left: sekisho mail retry --letter 1; sekisho mail retry --letter 2" in changed.out
        assert peopled("mail", "retry", "--all").value == {"retried": {"failed": 2, "waiting": 2}}
        assert peopled("mail", "deliver").value["delivered"] == 2
    assert server.recipients == ["right@example.jp"] * 2
    trail = peopled("audit", "show").value["audit"]
    assert [each["detail"] for each in trail if each["action"] == "mail.retried"] == [
        {"failed": 2, "waiting": 2},
        {"failed": 0, "waiting": 0},
    ]


def test_what_tells_no_password_goes_again(peopled: Shell) -> None:
    """O14 by command, by the function of the console: once a day, with its history; what tells a password is
    refused with what to type instead; of several each is done or refused by itself."""
    assert peopled("mail", "deliver").value["delivered"] == 2
    connection = sqlite3.connect(peopled.data / "sekisho.db")
    with connection:
        connection.execute("UPDATE mails SET kind = 'renewed_by_another', shown_body = 'b' WHERE id = 2")
    connection.close()
    refused = peopled("mail", "again", "1")
    assert refused.error["message"].endswith("sekisho request reissue K12345678 --reason mail_lost")
    both = peopled("mail", "again", "1", "2", "77")
    assert (both.code, both.value["again"]) == (1, [2])
    assert [(each["mail"], each["error"]) for each in both.value["refused"]] == [
        (1, "conflict"), (77, "not_found"),
    ]  # fmt: skip
    assert "again today already" in peopled("mail", "again", "2").error["message"]
    assert peopled("mail", "again", *map(str, range(60))).code == 2
    assert [each["id"] for each in letters(peopled, "--state", "waiting")] == [3]
    shown = peopled("mail", "show", "2").value["mail"]
    assert [each["event"] for each in shown["history"]] == ["queued", "sent"]


def test_a_letter_that_is_held_back_is_not_retried(peopled: Shell) -> None:
    """What an operator holds back, its release lets go, and nothing else."""
    connection = sqlite3.connect(peopled.data / "sekisho.db")
    with connection:
        connection.execute("UPDATE mails SET held_at = 1")
    connection.close()
    refused = peopled("mail", "retry", "--letter", "1")
    assert refused.error["message"].endswith("sekisho mail release --user K12345678")
    assert peopled("mail", "retry", "--all").value == {"retried": {"failed": 0, "waiting": 0}}
    assert letters(peopled)[0]["next_attempt_at"] is None


@pytest.mark.parametrize(
    ("answers", "found", "hint"),
    [
        ({"greeting": "554 no service"}, "greeting 554 no service", "let this machine's address in"),
        ({"EHLO": "550 access denied"}, "EHLO 550 access denied", "let this machine's address in"),
        ({"AUTH": "535 credentials wrong"}, "AUTH 535 credentials wrong", "check mail.username"),
        ({"AUTH": "538 encryption required"}, "AUTH 538 encryption required", "check mail.username"),
        ({"MAIL": "553 not yours"}, "MAIL 553 not yours", "write an address that this login may send from"),
        ({"MAIL": "550 5.4.5 daily quota"}, "MAIL 550 5.4.5 daily quota", "write an address"),
    ],
)
def test_doctor_logs_in(peopled: Shell, answers: dict[str, str], found: str, hint: str) -> None:
    """It goes as far as MAIL, and says which command was refused and what to do; nothing is sent."""
    (peopled.data / "password").write_text("secret\n")
    with MailServer(answers, login=("me", "secret")).in_a_thread() as server:
        point_to(peopled, server, username="me", password_file="password")
        bad = check(peopled("doctor"), "mail server")
        assert (bad["state"], bad["found"]) == ("bad", f"localhost:{server.port} refuses {found}")
        assert hint in bad["hint"]
        server.answers.clear()
        good = check(peopled("doctor"), "mail server")
        assert good["state"] == "ok"
        assert good["found"].endswith("takes letters of cpbs_ct@kinen-bs.com as me (none)")
    assert (server.heard["MAIL"] >= 1, server.heard["RCPT"], server.accepted) == (True, 0, [])


def test_doctor_wants_starttls_where_it_is_set(peopled: Shell) -> None:
    """A server without STARTTLS, and one that nobody started, are told apart."""
    with MailServer().in_a_thread() as server:
        point_to(peopled, server, security="starttls")
        bad = check(peopled("doctor"), "mail server")
    assert "refuses STARTTLS SMTP STARTTLS extension not supported" in bad["found"]
    assert bad["hint"].startswith("check mail.security")
    gone = check(peopled("doctor"), "mail server")
    assert (gone["state"], "refuses connect Error connecting" in gone["found"]) == ("bad", True)


def test_doctor_counts_letters(peopled: Shell) -> None:
    """Waiting, failed, the oldest, and what holds them all with the command that ends it."""
    fine = check(peopled("doctor"), "mail queue")
    assert fine["found"].startswith("2 waiting, 0 failed, 0 put off by their recipients")
    with MailServer({"AUTH": "535 credentials wrong"}).in_a_thread() as server:
        (peopled.data / "password").write_text("secret\n")
        point_to(peopled, server, username="me", password_file="password")
        peopled("mail", "deliver")
        bad = check(peopled("doctor"), "mail queue")
        assert (bad["state"], bad["hint"]) == ("bad", "mend that, then: sekisho mail retry")
        assert bad["found"].endswith("AUTH 535 credentials wrong")
        server.answers = {"RCPT": "550 5.1.1 user unknown"}
        server.login = ("me", "secret")
        peopled("mail", "retry")
        peopled("mail", "deliver")
        failed = check(peopled("doctor"), "mail queue")
    assert (failed["state"], failed["found"][:19]) == ("notice", "0 waiting, 2 failed")
    assert failed["hint"].endswith("sekisho mail list --state failed")


# -- /readyz and /metrics ----------------------------------------------------------------------------------


def looked_at(sekisho: Shell, work: Callable[[Deployment], Any]) -> Any:
    async def look() -> Any:
        async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
            return await work(deployment)

    return asyncio.run(look())


def test_readyz_warns_of_held_letters_and_late_ones(peopled: Shell) -> None:
    """Held by the server's refusal: at once, with what to type. Simply late: after an hour."""

    async def warned(deployment: Deployment, hours: float = 0) -> list[str]:
        clock = ManualClock(deployment.ra.now())
        clock.advance(hours=hours)
        return await late_letters(replace(deployment, ra=replace(deployment.ra, clock=clock)))

    assert looked_at(peopled, warned) == []
    (late,) = looked_at(peopled, lambda deployment: warned(deployment, 1.1))
    found = re.fullmatch(r"a letter waits for (\d+) minutes: sekisho mail list --state queued", late)
    assert found is not None
    assert int(found[1]) >= 66  # it was queued when the tests began
    with MailServer({"MAIL": "550 5.4.5 daily quota exceeded"}).in_a_thread() as server:
        point_to(peopled, server)
        peopled("mail", "deliver")
    held = looked_at(peopled, warned)
    assert len(held) == 1
    assert held[0].startswith("every letter (mail) waits since 20")
    assert held[0].endswith("(MAIL 550 5.4.5 daily quota exceeded): mend that, then sekisho mail retry")


def test_metrics_tell_of_letters(peopled: Shell) -> None:
    """Waiting, failed, oldest, sent, held, and each command's refusals with the moment of the last."""

    async def figures(deployment: Deployment) -> dict[tuple[str, str], float]:
        samples = await Figures().samples(deployment, {})
        return {(name, "".join(labels.values())): value for name, labels, value in samples}

    before = looked_at(peopled, figures)
    assert (before["sekisho_mails_waiting", ""], before["sekisho_mails_sent_total", ""]) == (2, 0)
    assert before["sekisho_mails_refused_total", "MAIL"] == 0
    assert ("sekisho_mails_refused_timestamp_seconds", "MAIL") not in before
    with MailServer({"MAIL": ["553 no"], "RCPT": ["550 5.1.1 unknown"]}).in_a_thread() as server:
        point_to(peopled, server)
        peopled("mail", "deliver")
        held = looked_at(peopled, figures)
        assert (held["sekisho_mails_held", "mail"], held["sekisho_mails_held", "postcard"]) == (1, 0)
        assert held["sekisho_mails_refused_timestamp_seconds", "MAIL"] > 1_700_000_000
        peopled("mail", "retry")
        peopled("mail", "deliver")
    after = looked_at(peopled, figures)
    told = {name: after[f"sekisho_mails_{name}", ""] for name in ("waiting", "failed", "sent_total")}
    assert told == {"waiting": 0, "failed": 1, "sent_total": 1}
    refused = {command: after["sekisho_mails_refused_total", command] for command in ("MAIL", "RCPT", "AUTH")}
    assert refused == {"MAIL": 1, "RCPT": 1, "AUTH": 0}
    assert after["sekisho_mails_held", "mail"] == 0
