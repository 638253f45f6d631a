"""Every command there is, in one table: what it leaves in the audit trail, and that it tells no secret.

A new command fails here until it has its row.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from email import message_from_bytes, policy
from pathlib import Path

import click
import pytest

from enroll.mail import writing
from enroll.people import applications
from enroll.requests import issuance
from gateway.cli.frame import DeploymentCommand
from gateway.cli.root import whole
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import opened_deployment
from tests.cli.conftest import Ran, Shell
from tests.cli.test_serving import ready as serving
from tests.datadirs import PASSPHRASE
from tests.enroll.test_bounces import dsn

_NEW = "another horse battery staple"


@dataclass(frozen=True)
class Row:
    """A command as it is typed, and the action that it leaves in the trail; "" for one that changes nothing.

    ``{name}`` is one of ``_facts``. ``failed``: it ends with 1, and is recorded all the same
    (None: as the machine is).
    """

    words: str
    action: str = ""
    failed: bool | None = False
    #: Whether it does well beside a gateway that runs, where that makes a difference.
    served: bool | None = None


#: A line of the trail: number, actor, action.
Line = tuple[int, str, str]
Day = list[tuple[Row, Ran, list[Line]]]

#: A day at the desk, in order.
DAY = (
    Row("notify run --date {notice_day}", "notices.queued"),
    Row("cert list"),
    Row("cert list --user K12345678", "person.seen"),
    Row("cert show {serial}", "person.seen"),
    Row("cert crl {crl}", "crl.written"),
    Row("cert hold {serial}", "certificate.held"),
    Row("cert release {serial}", "certificate.released"),
    Row("cert revoke {serial}", "certificate.revoked"),
    Row("org add 20000001 甲社", "organisation.added"),
    Row("org change 20000001 --name 乙社", "organisation.changed"),
    Row("org disable 20000001", "organisation.disabled"),
    Row("org enable 20000001", "organisation.enabled"),
    Row("org import {organisations}", "organisation.added"),
    Row(
        "org change 20000001 --postal-code 1000013 --prefecture 東京都 --city 千代田区 --street 1",
        "organisation.changed",
    ),
    Row("user add 20000001 𠮷田 y@example.jp --user-id KCARD --notice-by postcard", "user.added"),
    Row("org list"),
    Row("user add 12345678 厚生 h@example.jp --user-id KADD1", "user.added"),
    Row("user change KADD1 --name 花子", "user.changed"),
    Row("user reset-password KADD1", "password.reset"),
    Row("user import {people} --hold-letters", "user.added"),
    Row("export users", "export.ended"),
    Row("user list", "person.searched"),
    Row("user show KADD1", "person.seen"),
    Row("find 花子", "person.searched"),
    Row("mail release", "letters.released"),
    Row("postcard waiting", "person.seen"),
    Row("postcard batch", "postcards.made"),
    Row("postcard fetch 1 {pdf}", "postcards.fetched"),
    Row("postcard reprint 1 {pdf} --reason paper", "postcards.reprinted"),
    Row("postcard list"),
    Row("postcard show 1", "person.seen"),
    Row("postcard printed 1", "postcards.printed"),
    Row("user reset-password KCARD", "password.reset"),
    Row("postcard batch", "postcards.made"),
    Row("postcard cancel 2 --reason other", "postcards.cancelled"),
    Row("mail deliver", "letters.delivered"),
    Row("mail retry", "mail.retried"),
    Row("mail again 900", "mail.retried"),
    Row("template list"),
    Row("template show pickup"),
    Row("template change pickup {template}", "template.changed"),
    Row("template reset pickup", "template.reset"),
    Row("mail list", "person.searched"),
    Row("mail show 1", "person.seen"),
    Row("mail bounce {bounce}", "mail.bounced"),
    Row("mail returned 901 --reason other", "mail.bounced"),
    Row("application add 12345678 国民 n@example.jp", "application.submitted"),
    Row("application reissue KADD1 --reason mail_lost", "application.submitted"),
    Row("application list", "person.searched"),
    Row("application show {application}", "person.seen"),
    Row("application approve {application}", "application.approved"),
    Row("application reject {other} --note no", "application.rejected"),
    Row("request reissue K12345678 --reason pc_change", "application.approved"),
    Row("request list", "person.searched"),
    Row("request show {request}", "person.seen"),
    Row("ca add NEXT-CA", "ca.added"),
    Row("ca activate NEXT-CA --at +90d", "ca.planned"),
    Row("ca withdraw NEXT-CA", "ca.withdrawn"),
    Row("ca distrust NEXT-CA --reason unspecified", "ca.distrusted"),
    Row("ca reissue NEXT-CA"),
    Row("ca trust NEXT-CA", "ca.trusted"),
    Row("ca add NEXT-TO-RETIRE", "ca.added"),
    Row("ca retire NEXT-TO-RETIRE", "ca.retired"),
    Row("ca show NEXT-CA"),
    Row("ca affected NEXT-CA --to {affected}", "ca.affected"),
    Row("ca request NEXT-BUT-ONE", "ca.requested"),
    Row("ca root-list", "crl.root"),
    Row("ca list"),
    Row("ca key show"),
    Row("ca stop --reason drill", "ca.stopped"),
    Row("ca resume", "ca.resumed"),
    Row("profile list"),
    Row("profile show client-person"),
    Row("eab create K12345678", "credential.created"),
    Row("eab list K12345678", "person.seen"),
    Row("eab withdraw {kid}", "credential.withdrawn"),
    Row("session list", "person.seen"),
    Row("session end --user K12345678", "session.ended"),
    Row("clock show"),
    Row("clock confirm", "clock.confirmed"),
    Row("audit show --limit 1000"),
    Row("audit verify"),
    Row("audit checkpoint {checkpoint}"),
    Row("export audit --format jsonl", "export.ended"),
    Row("audit adopt", "audit.adopted"),
    Row("audit purge KADD1", "audit.purged"),
    Row("audit retire --before 2020-01-01"),
    Row("retention show"),
    Row("retention apply --dry-run"),
    # Of a database that is level: what a replay does is tests/gateway/test_recovery.py's.
    Row("restore replay", served=False),
    Row("restore key {key}"),
    Row(
        "backup --to {place} --recipient age1d0ef3mn086es64zg36dd3wy5n4m0kwdwcw509mgxgd7xytx50v7qzkgnue",
        "backup.made",
    ),
    Row("drill", "drill.done"),
    Row("reference show {reference}"),
    Row("report issuance"),
    Row("export report-failures", "export.ended"),
    Row("campaign add 春の更新 --org 12345678", "campaign.begun"),
    Row("campaign list"),
    Row("campaign show 1"),
    Row("export campaign 1", "export.ended"),
    Row("campaign people 1", "campaign.people"),
    Row("campaign remind 1 --dry-run"),
    Row("campaign end 1", "campaign.ended"),
    Row("ca status --org"),
    Row("user hold KADD1", "user.held"),
    Row("user release KADD1", "user.released"),
    Row("user disable KADD1", "user.disabled"),
    Row("user enable KADD1", "user.enabled"),
    Row("webhook add billing https://localhost:1/in", "webhook.added"),
    Row("webhook list"),
    Row("webhook show billing"),
    Row("webhook change billing --event request.*", "webhook.changed"),
    Row("webhook rotate billing", "webhook.rotated"),
    Row("webhook test billing", "webhook.tested"),
    Row("webhook deliveries billing"),
    Row("webhook stop billing --reason leak", "webhook.stopped"),
    Row("webhook replay {delivery}", "webhook.replayed"),
    Row("webhook start billing --skip", "webhook.started"),
    Row("webhook end billing", "webhook.ended"),
    Row("cps --lang en"),
    Row("doctor", failed=None),
    Row("reload", "gateway.reload", failed=True, served=True),
    Row("passphrase change", "passphrase.changed"),
)
#: Commands that are no part of such a day, and why they have no line.
APART = {
    "init": "there is no trail yet",
    "serve": "what it does, others ask for; each of that has its line",
    "signer": "it signs what others ask for, and writes no database",
    "demo": "a sandbox of its own",
    "ca accept": "it takes what a root signed elsewhere: its line is in tests/cli/test_ceremony.py",
    **dict.fromkeys(("ca key pin", "ca key move"), "they take a token: tests/cli/test_tokens.py"),
    "ca discard": "it takes one that is over: tests/cli/test_authorities.py",
    "ca part": "it gives files to another user, as root: tests/cli/test_signers_user.py",
    "version": "it is about no data directory",
    **dict.fromkeys(
        ("node join", "node list", "node remove"), "of a database on a server: tests/cli/test_nodes.py"
    ),
    "db check": "it writes nothing; what it finds: tests/gateway/test_checking.py",
    "db copy": "it takes a server: tests/gateway/test_copying.py",
    "template test": "it goes to an operator's own address: tests/cli/test_templates.py",
    **dict.fromkeys(
        ("ceremony root", "ceremony reshare", "ceremony sign", "ceremony crl", "ceremony show"),
        "its transcript is the record, on a machine without a data directory",
    ),
    **dict.fromkeys(
        (
            "operator add",
            "operator change",
            "operator certificate",
            "operator code",
            "operator end",
            "operator list",
            "operator show",
            "operator break-glass",
            "operator review",
            "proposal approve",
            "proposal list",
            "proposal reject",
            "proposal show",
            "proposal withdraw",
        ),
        "from the first operator on roles hold, and no day is one person's: tests/cli/test_operators.py",
    ),
    **dict.fromkeys(
        (
            "cert revoke-list",
            "job cancel",
            "job failures",
            "job list",
            "job resume",
            "job run",
            "job show",
            "job undo",
        ),
        "what a job does it does by itself, and each of its rows has its line: tests/cli/test_jobs.py",
    ),
    "restore backup": "it makes another directory: tests/cli/test_backups.py",
}
#: What prints a secret, once, and takes it back if nobody could read it (tests/cli/test_output.py).
TELLS_A_SECRET = {"eab create", "webhook add", "webhook rotate"}


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from _leaves(each, (*path, name))
        else:
            yield " ".join((*path, name))


def _path(row: Row) -> str:
    """The words that name the command: as deep as its groups go."""
    group, named = whole(), list[str]()
    for word in row.words.split():
        named.append(word)
        found = group.commands[word]
        if not isinstance(found, click.Group):
            break
        group = found
    return " ".join(named)


def test_every_command_has_its_row() -> None:
    """Whoever adds a command says here what it leaves in the trail."""
    assert sorted({*map(_path, DAY), *APART}) == sorted(_leaves(whole()))


def _facts(shell: Shell, place: Path) -> dict[str, str]:
    """What the commands of the day are about."""
    (place / "orgs.csv").write_text("policy_number,name\n20000002,丙社\n")
    (place / "people.csv").write_text("policy_number,name,mail\n12345678,X,x@example.jp\n")

    async def work() -> tuple[int, int]:
        async with opened_deployment(shell.data, PASSPHRASE) as deployment:
            first = (
                await applications.apply_reissue(
                    deployment.ra, "K12345678", "pc_change", channel="online", actor="K12345678"
                )
            ).number
            second = (
                await applications.apply_reissue(
                    deployment.ra, "KOTHER", "pc_change", channel="online", actor="KOTHER"
                )
            ).number
            return first, second

    assert shell("user", "add", "12345678", "別", "o@example.jp", "--user-id", "KOTHER").code == 0
    request = shell("request", "list", "--user", "K12345678").value["requests"][0]["request_id"]
    serial = issued_for(shell, request)
    application, other = asyncio.run(work())
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        queued_at = db.execute("SELECT created_at FROM mails WHERE id = 2").fetchone()[0]
        day = db.execute(
            "SELECT date(not_after_at - 20 * 86400, 'unixepoch') FROM enrollments WHERE serial = ?", [serial]
        ).fetchone()[0]
        db.execute(
            "INSERT INTO sessions(token_hash, site, subject, fingerprint, data, created_at, seen_at, ends_at,"
            " password_mark, address, browser, opened_by)"
            " VALUES ('0', 'service', 'K12345678', '', '{}', ?, ?, ?, '', '', '', '')",
            [queued_at, queued_at, 2**40],
        )  # fmt: skip
        db.execute(
            "INSERT INTO mails(id, cause, kind, channel, user_id, recipient, subject, shown_body, state,"
            " next_attempt_at, created_at, queued_at, sent_at) VALUES (900, 'left', 'renewed_by_another',"
            " 'mail', 'KOTHER', 'o@example.jp', 's', 'b', 'sent', ?, ?, ?, ?)", [queued_at] * 4,
        )  # fmt: skip
        db.execute(
            "INSERT INTO mails(id, cause, kind, channel, user_id, recipient, subject, shown_body, state,"
            " next_attempt_at, created_at, queued_at, sent_at) VALUES (901, 'card', 'user_id',"
            " 'postcard', 'KOTHER', 'other', 's', 'b', 'sent', ?, ?, ?, ?)", [queued_at] * 4,
        )  # fmt: skip
        db.execute(
            "INSERT INTO desk_references(reference, at, site, code, detail)"
            " VALUES ('2345-679A', ?, 'pickup', 'x', '{}')", [queued_at],
        )  # fmt: skip
    ours = writing.packaged("pickup.txt")
    (place / "template.txt").write_text(ours.replace("Subject: ", "Subject: 別の"))
    (place / "bounce.eml").write_bytes(dsn(f"letter-2.{queued_at}"))
    return {
        "organisations": str(place / "orgs.csv"), "people": str(place / "people.csv"),
        "bounce": str(place / "bounce.eml"), "crl": str(place / "list.crl"), "request": request,
        "serial": serial, "application": str(application), "other": str(other), "notice_day": day,
        "reference": "２３４５ー679a", "key": str(place / "key"), "place": str(place / "backup.age"),
        "checkpoint": str(place / "checkpoint"),
        "affected": str(place / "affected.csv"), "template": str(place / "template.txt"),
        "pdf": str(place / "cards.pdf"),
    }  # fmt: skip


def issued_for(shell: Shell, request_id: str) -> str:
    """A certificate in use, for a request."""

    async def work() -> str:
        async with opened_deployment(shell.data, PASSPHRASE) as deployment:
            await issuance.submit(deployment.ra, request_id, actor="K12345678")
            return (await issuance.complete(deployment.ra, request_id)).serial or ""

    return asyncio.run(work())


def _trail(shell: Shell, after: int) -> list[tuple[int, str, str]]:
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        return db.execute("SELECT id, actor, action FROM audit WHERE id > ? ORDER BY id", [after]).fetchall()


def _newest(shell: Shell) -> int:
    return max((line[0] for line in _trail(shell, 0)), default=0)


@pytest.fixture(scope="module", params=["alone", "served"])
def day(
    request: pytest.FixtureRequest, ready: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Day]:
    """Each command of the day with its answer and the lines that it left.

    Alone, and beside a gateway, which does those that it can, and without the passphrase.
    """
    place, served = tmp_path_factory.mktemp("day"), request.param == "served"
    shutil.copytree(ready, place / "data")
    settings = place / "data" / FILE_NAME
    # At an address that is not public: nobody is asked.
    settings.write_text(
        re.sub(r"(?<=\n)hosts = \[\](?=\n# networks)", "hosts = ['localhost:1']", settings.read_text())
    )
    with ExitStack() as stack:
        if served:
            stack.enter_context(serving(place / "data", place))
        yield _lived(Shell(place / "data"), place, served=served)


def _lived(shell: Shell, place: Path, *, served: bool) -> Day:
    shell("org", "add", "12345678", "霞が関商事")
    shell("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", "K12345678")
    facts, done = _facts(shell, place), []
    for row in DAY:
        before = _newest(shell)
        if _path(row) == "webhook replay":
            facts["delivery"] = _given_up(shell)
        # Whoever sets these names somebody else; the trail does not believe it.
        others = {"LOGNAME": "mallory", "USER": "mallory", "SEKISHO_NEW_PASSPHRASE": _NEW}
        if served and _can_be_served(row):
            others["SEKISHO_PASSPHRASE"] = ""
        ran = shell(*(word.format(**facts) for word in row.words.split()), **others)
        if _path(row) == "eab create":
            facts["kid"] = ran.value["credentials"][0]["kid"]
        lines = _trail(shell, before)
        if served and _path(row) == "ca add":
            assert shell("reload").code == 0  # it is to know the new one
        if served and _path(row) == "mail deliver" and not ran.value["delivered"]:
            continue  # the gateway has been faster
        expected = row.failed if row.served is None or not served else not row.served
        done.append((replace(row, failed=expected), ran, lines))
    return done


def _given_up(shell: Shell) -> str:
    """The newest delivery, as after its last try."""
    with sqlite3.connect(shell.data / "sekisho.db") as db:
        number = db.execute("SELECT max(number) FROM webhook_deliveries").fetchone()[0]
        db.execute(
            "UPDATE webhook_deliveries SET state = 'dead', ended_at = happened_at, claimed_until_at = 0"
            " WHERE number = ?",
            [number],
        )
    return str(number)


def _can_be_served(row: Row) -> bool:
    found: click.Command = whole()
    for word in _path(row).split():
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return isinstance(found, DeploymentCommand) and not found.needs_passphrase


@pytest.mark.slow
def test_every_change_is_in_the_trail(day: Day) -> None:
    """What a command changes stands there, under the real user of the process, and whose data it has read;
    looking at anything else leaves nothing (O18)."""
    real = f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    wrong = list[tuple[str, str, list[str]]]()
    for row, ran, lines in day:
        assert row.failed is None or ran.code == int(row.failed), (row.words, ran.out, ran.err)
        found = [action for _, by, action in lines if by == real]
        if (row.action not in found) if row.action else found:
            wrong.append((row.words, row.action, found))
        assert not [by for _, by, _ in lines if "mallory" in by], row.words
    assert wrong == []


@pytest.mark.slow
def test_no_command_tells_a_secret_twice(day: Day) -> None:
    """Passwords of letters and keys of credentials are in no answer, but for the one that tells its own."""
    made = next(ran for row, ran, _ in day if _path(row) == "eab create").value["credentials"][0]
    data = (
        Path(next(ran for row, ran, _ in day if _path(row) == "cert crl").value["crl"]["file"]).parent
        / "data"
    )
    letters = [path.read_bytes() for path in (data / "outbox").iterdir()]
    secrets = {made["hmac_key"], *_passwords(letters)}
    told = (
        ran.value["endpoint"]["secret"]
        for row, ran, _ in day
        if _path(row) in TELLS_A_SECRET - {"eab create"}
    )
    secrets |= set(told)
    assert len(secrets) >= 6
    telling = {_path(row) for row, ran, _ in day if any(secret in ran.out + ran.err for secret in secrets)}
    assert telling == TELLS_A_SECRET


def _passwords(letters: list[bytes]) -> Iterator[str]:
    for letter in letters:
        body = str(message_from_bytes(letter, policy=policy.default).get_content())
        yield from re.findall(r"パスワード：(\S+)", body)
