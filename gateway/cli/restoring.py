"""A database that was put back from a copy: brought up to its journal, and what is lost named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ca import datadir
from ca.errors import ConfigError
from enroll.jst import shown
from gateway.cli.caller import actor
from gateway.cli.frame import PASSPHRASE_FILE, Answer, answer, command, passphrase_from
from gateway.cli.root import GROUPS
from gateway.running import rundir
from gateway.serving import offsite, record, recovery
from gateway.serving.deployment import Deployment, open_deployment

_RESTORE = GROUPS["restore"]


Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def journal_of_elsewhere(meaning: str) -> Callable[[Decorated], Decorated]:
    """The option that names a journal besides the directory's own."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option("--journal", "elsewhere", type=kind, default=None, metavar="DIR", help=meaning)


@command(_RESTORE, "replay")
@PASSPHRASE_FILE
@click.option(
    "--new-journal",
    is_flag=True,
    help="The journal is lost, or not this database's: put it aside, and begin another one.",
)
@journal_of_elsewhere("A copy of the journal that goes on where this one ends.")
def _replay(data: Path, passphrase_file: Path | None, new_journal: bool, elsewhere: Path | None) -> Answer:
    """Bring a database that is older than its journal up to it, and say what is lost.

    Revokes and holds again, goes on after the numbers of lists and people that were used, ends sessions and
    credentials. The gateway has to be stopped.
    """
    datadir.read_marker(data)
    stopped(data)
    deployment = open_deployment(data, passphrase_from(passphrase_file), compare=False)
    try:
        kept = recovery.journal_of(data)
        if new_journal:
            aside = recovery.begin_anew(data, kept, deployment.ra, actor=actor())
            return _begun(aside)
        if elsewhere is not None:
            offsite.bring_back(elsewhere, kept.folder)
        done = recovery.replay(data, kept, deployment.ra, deployment.datadir.keys)
        return replayed_answer(done, data, *(_adopted(deployment) if done.lines else ()))
    finally:
        deployment.ra.workers.close()
        deployment.ra.database.close()


def _adopted(deployment: Deployment) -> list[str]:
    """The lines of the record that were lost are waited for no more by whoever signs for it."""
    try:
        record.adopt(deployment)
    except ConfigError as error:
        return [f"No checkpoint is signed until: sekisho audit adopt ({error})"]
    return []


def stopped(data: Path) -> None:
    """ConfigError while somebody serves the directory."""
    if (found := rundir.used_by(data)) is not None:
        raise ConfigError(f"{found}: stop it first, then the same again")


def replayed_answer(done: recovery.Replayed, data: Path, *more: str) -> Answer:
    """What a replay did, as JSON and in words."""
    return answer({"replay": done.as_json()}, *words_of(done, data), *more)


def words_of(done: recovery.Replayed, data: Path) -> list[str]:
    """What was done and what is lost, a line for each kind and for each holder. ``data``: the directory, by
    the name that it has afterwards."""
    if not done.lines:
        return ["The database has seen all of its journal: nothing to do."]
    report = done.report
    found = [
        f"{done.lines} lines of the journal were carried out, from {shown(done.first_at)} to "
        f"{shown(done.last_at)}.",
        f"Revoked again: {len(report.revoked)}; held again: {len(report.held)}; requests ended: "
        f"{len(report.requests)}; credentials ended: {len(report.credentials)}; sessions ended: "
        f"{done.sessions}.",
    ]
    found += [f"The next list of {name[:16]} is above number {n}." for name, n in report.lists.items()]
    found += [f"管理番号 of {user} goes on after {number}." for user, number in report.numbers.items()]
    found += [_of_certificate(each) for each in report.certificates]
    if report.passwords:
        found.append(
            f"Login passwords that were changed since are lost, and the old ones do not work: "
            f"{' '.join(report.passwords)}; for each: sekisho user reset-password USER_ID"
        )
    if report.users:
        missing = " ".join(report.users)
        found.append(f"Users who are not in the copy: {missing}; add them again: sekisho user add")
    if report.operators:
        found.append(f"Operators whom the copy does not have: {' '.join(report.operators)}; add them again")
    if report.endpoints:
        named = " ".join(report.endpoints)
        found.append(f"Webhooks that are stopped, since their secret may be an older one: {named}")
    if report.issuers:
        found.append(
            "Issuing CAs are planned, retired, distrusted or put away again as the journal has it: sekisho "
            "ca list"
        )
    found += [
        "The key of an issuing CA that was put away came back with the copy, and nobody reads it: shred -u "
        f"{data / name}"
        for name in done.keys_back
    ]
    if report.stop is not None and report.stop["on"]:
        found.append(f"The emergency stop is on ({report.stop['reason']}): sekisho ca resume takes it back")
    found.append(
        "Lost with the copy: applications, new users, letters and audit lines of that time. Letters that "
        "wait in it may have been sent: sekisho mail list --state queued"
    )
    return found


def _of_certificate(each: dict[str, Any]) -> str:
    whose = f" of {each['user_id']}" if each["user_id"] else ""
    return (
        f"Issued since: {each['serial']} ({each['common_name']}){whose}, request {each['request_id']}, until "
        f"{shown(each['not_after_at'])}: {each['outcome']}"
    )


def _begun(aside: Path | None) -> Answer:
    lines = ["Another journal is begun; it goes on from this database."]
    if aside is not None:
        lines.append(f"The one before it is {aside}: keep it, it tells what this database may have lost.")
    return answer({"journal": {"begun": True, "aside": str(aside) if aside else None}}, *lines)
