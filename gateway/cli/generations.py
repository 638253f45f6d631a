"""The generations of issuing CAs: which one issues from when, which are retired, and which are trusted no
more."""

from __future__ import annotations

import re
import time
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

import ca.store
from ca import apart, datadir
from ca.authority import Issuer
from ca.errors import ConfigError
from ca.generations.endings import full_length_until
from ca.generations.states import Event, Generations, State, follow
from ca.keyplaces import place_of, responder_of, stem_of
from ca.storage import Transaction
from ca.trust import CertificateState
from enroll import generations, listings, store, timekeeping
from enroll.exports.spreadsheet import csv_of
from enroll.jst import JST, shown
from enroll.languages import LANGUAGES
from enroll.mail import occasions
from enroll.mail import store as mail_store
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.people import replacing
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import OutputFile, actor, write
from gateway.cli.frame import (
    ASKS,
    READS,
    Answer,
    both,
    cell,
    deployment_command,
    detail,
    listing,
    passphrase_command,
)
from gateway.cli.jobs import after
from gateway.cli.root import GROUPS
from gateway.running import rundir
from gateway.serving.deployment import Deployment
from gateway.serving.tokens import keys_in
from gateway.web.words import CERTIFICATE

_CA = GROUPS["ca"]
_NAME = click.argument("name", metavar="NAME")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would come of it.")
_FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M")
_WHEN = re.compile(r"\+(\d{1,6})([mhd])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
#: Why an issuing CA is trusted no more; the words of RFC 5280 section 5.3.1, as for the root's own list.
_REASONS = ("keyCompromise", "cACompromise", "superseded", "cessationOfOperation", "unspecified")
#: What `affected` tells of each, and its heading.
_AFFECTED = {
    "user_id": "User ID",
    "name": "Name",
    "policy_number": "Organisation",
    "mail": "Mail",
    "language": "Language",
    "common_name": "Common name",
    "serial": "Serial",
    "not_after_at": "Until",
    "door": "By",
    "followed": "Has another",
    "invited": "May pick up",
    "told_at": "Told",
}
_DOORS = {"page": "person", "protocol": "program"}
#: What a state means to whoever reads the table.
_MEANINGS = {
    State.STAGED: "sekisho ca activate NAME --at DATE has it issue",
    State.PLANNED: "sekisho ca withdraw NAME takes that back",
    State.ISSUING: "new certificates are its own",
    State.EARLIER: "its certificates are good; sekisho ca retire NAME ends its time for good",
    State.RETURNING: "sekisho ca withdraw NAME takes that back",
    State.RETIRED: "lists and answers go on until its last certificate ends; its key is needed until then",
    State.OVER: "nothing needs its key: sekisho ca discard NAME, and every copy of it may be destroyed",
    State.DISCARDED: "it stays known, and so does its last list; its key is not wanted",
    State.DISTRUSTED: "its certificates let nobody in; sekisho ca affected NAME lists whose they are",
}


@deployment_command(_CA, "list", Act.CA, READS)
async def _list(deployment: Deployment) -> Answer:
    """List the generations of issuing CAs, the newest first: what each is, from when to when, with which
    key."""
    found = await deployment.ra.database.read_aside(lambda db: _records(db, deployment))
    columns = {
        "common_name": "Common name",
        "for": "For",
        "state": "State",
        "from_at": "From",
        "issues_until_at": "To",
        "not_after_at": "Ends",
        "alive": "Alive",
        "key": "Key",
        "meaning": "",
    }
    return listing("cas", found, columns)


@deployment_command(_CA, "show", Act.CA, READS)
@_NAME
async def _show(deployment: Deployment, name: str) -> Answer:
    """Show one issuing CA: what it is, its certificates, its key's place, and where the world reads of it."""
    issuer = generations.named(deployment.ra, name)
    records = await deployment.ra.database.read_aside(lambda db: _records(db, deployment))
    (found,) = [each for each in records if each["issuer_id"] == issuer.issuer_id]
    return detail("ca", found)


@passphrase_command(_CA, "activate")
@_NAME
@click.option(
    "--at",
    "when",
    metavar="DATE",
    required=True,
    help="'now', a day or a minute of Japan's (2027-04-01, '2027-04-01 09:00'), or +30m, +12h, +90d.",
)
@_DRY_RUN
async def _activate(deployment: Deployment, name: str, when: str, dry_run: bool) -> Answer:
    """Have an issuing CA issue from a moment on; the one that issues until then stays trusted.

    Every worker goes over to it in that second, without a restart. Until then sekisho ca withdraw takes it
    back.
    """
    ra = deployment.ra
    await timekeeping.require(ra)
    issuer, now = generations.named(ra, name), ra.now()
    at = _moment(when, now)
    _check_plan(deployment, issuer, at, now)
    found = await ra.database.read(lambda db: generations.at_now(db, ra))
    follow(found, issuer.issuer_id, issuer.common_name, Event.PLAN, at)
    issuing = found.issuers[issuer.audience]
    before = ra.authority.issuer(issuing) if issuing is not None else None
    plan = {
        "name": issuer.common_name,
        "at": at,
        "follows": before.common_name if before is not None else None,
        "full_length_until_at": full_length_until(issuer.not_after_at),
        "done": not dry_run,
    }
    if not dry_run:
        await generations.change(ra, issuer, Event.PLAN, at, actor=actor())
    return detail("plan", plan, *_planned(plan, issuer, before, at > now))


@passphrase_command(_CA, "withdraw")
@_NAME
async def _withdraw(deployment: Deployment, name: str) -> Answer:
    """Take back that an issuing CA is to issue from a moment on."""
    return await _changed(deployment, name, Event.WITHDRAW)


@passphrase_command(_CA, "retire")
@_NAME
@_DRY_RUN
async def _retire(deployment: Deployment, name: str, dry_run: bool) -> Answer:
    """End an earlier issuing CA's time for good: it never issues again.

    Its certificates stay good until they end, and its lists and answers go on until then; sekisho ca list
    says when that is over, and what may be destroyed.
    """
    return await _changed(deployment, name, Event.RETIRE, dry_run=dry_run)


@passphrase_command(_CA, "distrust")
@_NAME
@click.option(
    "--reason", type=click.Choice(_REASONS), required=True, help="Why, for the trail and the lists."
)
@_DRY_RUN
async def _distrust(deployment: Deployment, name: str, reason: str, dry_run: bool) -> Answer:
    """Trust an issuing CA no more: within two seconds its certificates let nobody in, and it never issues
    again.

    Open connections and sessions end; lists and answers say of each that it is revoked; whoever comes with
    one is told what to do. It is taken back by sekisho ca trust NAME as long as the root's own list does not
    name it.
    """
    return await _changed(deployment, name, Event.DISTRUST, reason=reason, dry_run=dry_run)


@passphrase_command(_CA, "discard")
@_NAME
@_DRY_RUN
async def _discard(deployment: Deployment, name: str, dry_run: bool) -> Answer:
    """Put an issuing CA away that is over: its key is wanted no more, and may be destroyed.

    It stays known, for old certificates and records, and its last list stays published; no list follows that,
    and answers (OCSP) about its certificates are given no more (unauthorized). There is no way back.
    """
    ra = deployment.ra
    await timekeeping.require(ra)
    await generations.end_due(ra)
    issuer, at = generations.named(ra, name), ra.now()
    await _check_over(deployment, issuer)
    remains = _remains(deployment, issuer)
    state = State.OVER
    if not dry_run:
        # First what a copy of the data directory does not take back.
        state = await generations.change(ra, issuer, Event.DISCARD, at, actor=actor())
        datadir.discard(deployment.data, issuer.issuer_id, at)
    told = {"name": issuer.common_name, "state": state.value, "remains": remains, "done": not dry_run}
    backups = (
        "Every backup that was made before has it, too, unless it was in a token; restored with the journal "
        "it is put away again."
    )
    return detail("ca", told, *remains, backups, "Next: sekisho reload, if the gateway runs")


async def _check_over(deployment: Deployment, issuer: Issuer) -> None:
    """`ConfigError` unless nobody needs the key of a CA, with what to do about it."""
    ra, name = deployment.ra, issuer.common_name
    found = await ra.database.read_aside(lambda db: generations.at_now(db, ra))
    if issuer.discarded_at is not None:
        raise ConfigError(f"{name} is put away since {shown(issuer.discarded_at)}; see: sekisho ca list")
    if issuer.issuer_id in (found.latest, found.issuers.get(issuer.audience)):
        raise ConfigError(
            f"{name} issues, or did last; have another one issue first: sekisho ca add NAME, "
            "sekisho ca activate NAME --at now"
        )
    state = found.state(issuer.issuer_id)
    if state is State.OVER:
        return
    if state not in (State.RETIRED, State.DISTRUSTED):
        first = "withdraw" if state in (State.PLANNED, State.RETURNING) else "retire"
        raise ConfigError(f"{name} is {state.value}, and may issue; first: sekisho ca {first} '{name}'")
    until = await ra.database.read_aside(lambda db: generations.over_from(db, found.rows[issuer.issuer_id]))
    raise ConfigError(
        f"{name} is {state.value}, and not over: lists and answers are signed with its key until its last "
        f"certificate has ended and was in a list, {shown(until)}; after that: sekisho ca discard '{name}'"
    )


def _remains(deployment: Deployment, issuer: Issuer) -> list[str]:
    """Where the key is that nobody reads any more, and how it is destroyed."""
    data, home = deployment.data, apart.home_of(deployment.data)
    place, told = place_of(stem_of(issuer.issuer_id)), list[str]()
    for folder in (data, home):
        file = (folder or data) / f"ca/{place}.key"
        if folder is not None and file.exists():
            told.append(f"{file} is read by nobody any more: shred -u {file}")
    if home is not None:
        told.append(
            f"The signer has keys of its own: as root, sekisho ca part {home}, start it again, then shred -u "
            f"{home / f'ca/{place}.key'}"
        )
    for name in (place, responder_of(issuer.issuer_id)):
        if name in deployment.config.keys:
            key = keys_in(data, deployment.config)[name]
            told.append(f"{key} is used no more: delete it there, and take [keys.{name}] out of sekisho.toml")
    return told


@deployment_command(_CA, "affected", Act.CA, READS)
@_NAME
@click.option(
    "--to",
    "file",
    metavar="FILE.csv",
    type=OutputFile(),
    default=None,
    help="Write all of them to a file (CSV, as Excel reads it) instead.",
)
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=200, show_default=True)
async def _affected(deployment: Deployment, name: str, file: Path | None, limit: int) -> Answer:
    """List whose certificates of an issuing CA have not ended, and whether they have another one's by now."""
    ra = deployment.ra
    issuer = generations.named(ra, name)
    holders = listings.holders(ra.database, issuer.issuer_id, ra.now())

    def told(user_id: str) -> int | None:
        cause = occasions.cause_of_distrust(issuer.issuer_id, user_id)
        return ra.database.read_now(lambda db: mail_store.told_at(db, cause))

    found = ({**each, "door": _DOORS[each["door"]], "told_at": told(each["user_id"])} for each in holders)
    if file is None:
        return listing("affected", islice(found, limit), _AFFECTED)
    lines = [[cell(column, each[column]) for column in _AFFECTED] for each in found]
    # Names and addresses: for its owner's eyes.
    write(file, csv_of([list(_AFFECTED.values()), *lines]))
    written = {"file": str(file), "issuer": issuer.common_name, "certificates": len(lines)}
    by, at, count = actor(), ra.now(), len(lines)
    await ra.database.write(
        lambda db: store.audit(db, at, by, "ca.affected", issuer.issuer_id, count=count, file=str(file))
    )
    return detail("affected", written)


@deployment_command(_CA, "reissue", Act.APPLICATIONS, ASKS)
@_NAME
@_DRY_RUN
async def _reissue(deployment: Deployment, name: str, dry_run: bool) -> Answer:
    """Invite everybody whose certificate is of an issuing CA that is trusted no more to pick up a new one.

    Each gets two mails in the own language: why, and how to pick it up. A job writes them; whoever has a new
    certificate or the mail about one gets no second.
    """
    ra = deployment.ra
    issuer = generations.named(ra, name)
    people = replacing.whom(ra, issuer)
    told = {
        "name": issuer.common_name,
        "left": len(people.invited),
        "waiting": people.waiting,
        "followed": people.followed,
        "refused": people.refused,
        "programs": people.programs,
    }
    lines = [f"{user_id}: {why}" for user_id, why in people.refused.items()]
    lines += [
        f"{user_id}: a program; sekisho eab create {user_id}, and enroll again" for user_id in people.programs
    ]
    payload = replacing.payload_of(issuer, people)
    if dry_run or not people.invited:
        await ra.database.read(lambda db: replacing.check_state(db, ra, payload))
        return detail("reissue", told | {"done": False}, *lines)
    done = await asked(deployment, "ca.reissue", payload)
    if isinstance(done, Proposed):
        return proposed(done)
    return both(detail("reissue", told | {"done": True}, *lines), await after(deployment, done.result["job"]))


@passphrase_command(_CA, "trust")
@_NAME
async def _trust(deployment: Deployment, name: str) -> Answer:
    """Take back that an issuing CA is trusted no more. Its certificates are good again; it stays retired."""
    return await _changed(deployment, name, Event.TRUST)


async def _changed(
    deployment: Deployment, name: str, event: Event, *, reason: str = "", dry_run: bool = False
) -> Answer:
    ra = deployment.ra
    issuer, at = generations.named(ra, name), ra.now()

    def look(db: Transaction) -> tuple[Generations, int]:
        return generations.at_now(db, ra), ca.store.count_alive(db, issuer.issuer_id, at)

    found, alive = await ra.database.read_aside(look)
    if event is Event.TRUST and datadir.is_revoked(ra.authority.root_list, issuer):
        raise ConfigError(f"{issuer.common_name} is revoked by the root's own list, for good")
    follow(found, issuer.issuer_id, issuer.common_name, event, at, reason)
    state = found.state(issuer.issuer_id)
    if not dry_run:
        state = await generations.change(ra, issuer, event, at, actor=actor(), reason=reason)
    told = {"name": issuer.common_name, "state": state.value, "alive": alive, "done": not dry_run}
    if event is not Event.DISTRUST:
        return detail("ca", told, *_after(found, issuer, event))
    people = replacing.whom(ra, issuer)
    reached = len(people.invited) + people.waiting + people.followed + len(people.refused)
    told |= {"people": reached, "without_another": len(people.invited), "programs": len(people.programs)}
    page = CERTIFICATE[CertificateState.DISTRUSTED]
    seen = [
        f"What they read ({language}): {page.title[n]}: {page.text[n]}"
        for n, language in enumerate(LANGUAGES)
    ]
    return detail("ca", told, *seen, *_after(found, issuer, event, reason))


def _after(found: Generations, issuer: Issuer, event: Event, reason: str = "") -> list[str]:
    """What comes of it, and what to type next."""
    alone = found.issues(issuer.issuer_id)
    match event:
        case Event.DISTRUST:
            return [
                *(
                    ["Nobody issues then: have another one issue: sekisho ca activate NAME --at now"]
                    if alone
                    else []
                ),
                f"Whose they are: sekisho ca affected '{issuer.common_name}'",
                f"Then invite them to pick up new ones: sekisho ca reissue '{issuer.common_name}'",
                f"Once it is for good, tell the world: sekisho ca root-list --revoke '{issuer.common_name}',",
                "or, where the root is on another machine: sekisho ceremony crl --revoke "
                f"{issuer.certificate.serial_number:x}={reason}",
            ]
        case Event.TRUST:
            return ["Its certificates are good again; it never issues again."]
        case Event.RETIRE:
            return [
                "Keep its key: lists and answers are signed with it until its last certificate has ended."
            ]
        case _:
            return []


def _planned(plan: dict[str, Any], issuer: Issuer, before: Issuer | None, later: bool) -> list[str]:
    until = "nobody" if before is None else before.common_name
    lines = [f"Until {shown(plan['at'])} {until} issues, from then on {issuer.common_name}."]
    if before is not None:
        lines.append(f"Certificates of {until} stay good, and are renewed into those of the new one.")
    if not plan["done"]:
        return [*lines, "Nothing was changed."]
    if later:
        return [*lines, f"Take it back before: sekisho ca withdraw '{issuer.common_name}'"]
    back = [] if before is None else [f"Go back: sekisho ca activate '{until}' --at now"]
    return [*lines, *back]


def _check_plan(deployment: Deployment, issuer: Issuer, at: int, now: int) -> None:
    """`ConfigError` for a moment that has passed or at which this one cannot issue, and where the gateway
    that runs does not know it yet."""
    if at < now:
        raise ConfigError(f"{shown(at)} has passed; write --at now, or a moment to come")
    begins_at = int(issuer.certificate.not_valid_before_utc.timestamp())
    if not begins_at <= at < issuer.not_after_at:
        raise ConfigError(
            f"{issuer.common_name} is good from {shown(begins_at)} to {shown(issuer.not_after_at)}; "
            "write a moment between them"
        )
    if rundir.serves(deployment.data) is None:
        return
    # What the workers tell is monotonic, which all processes of a machine have in common.
    age = time.time() - (deployment.data / datadir.MARKER).stat().st_mtime
    made_at = time.monotonic() - age
    if any(each["read_at"] < made_at for each in rundir.reports(deployment.data / rundir.RUN)):
        raise ConfigError(
            "the gateway that runs does not know this issuing CA yet; type sekisho reload, then again"
        )


def _moment(when: str, now: int) -> int:
    typed = " ".join(when.split())
    if typed == "now":
        return now
    if (span := _WHEN.fullmatch(typed)) is not None:
        return now + int(span[1]) * _SECONDS[span[2]]
    for each in _FORMATS:
        try:
            return int(datetime.strptime(typed, each).replace(tzinfo=JST).timestamp())
        except ValueError:
            continue
    raise ConfigError(
        f"{when!r} is no moment; write now, 2027-04-01, '2027-04-01 09:00' (Japan's time) or +90d"
    )


def _records(db: Transaction, deployment: Deployment) -> list[dict[str, Any]]:
    ra = deployment.ra
    found = generations.at_now(db, ra)
    return [_record(db, deployment, found, each) for each in ra.authority.issuers]


def _record(db: Transaction, deployment: Deployment, found: Generations, issuer: Issuer) -> dict[str, Any]:
    row, state = found.rows[issuer.issuer_id], found.state(issuer.issuer_id)
    period = generations.period(deployment.ra, found, issuer)
    return {
        "issuer_id": issuer.issuer_id,
        "common_name": issuer.common_name,
        "for": issuer.audience.value,
        "state": state.value,
        "meaning": _MEANINGS[state].replace("NAME", f"'{issuer.common_name}'"),
        "current": state is State.ISSUING,
        "from_at": period.from_at,
        "issues_until_at": period.until_at,
        "planned_at": period.planned_at,
        "retired_at": row.retired_at,
        "over_at": row.over_at,
        "distrusted_at": row.distrusted_at,
        "reason": row.reason,
        "not_after_at": issuer.not_after_at,
        "full_length_until_at": full_length_until(issuer.not_after_at),
        "alive": ca.store.count_alive(db, issuer.issuer_id, found.at),
        "last_end_at": ca.store.last_end(db, issuer.issuer_id) or None,
        "discarded_at": row.discarded_at,
        "key": _place(deployment, issuer),
        "crl_url": issuer.site.crl,
        "ocsp_url": issuer.site.ocsp,
        "issuer_url": issuer.site.issuer,
        "shards": issuer.site.shards,
    }


def _place(deployment: Deployment, issuer: Issuer) -> str:
    """Where its key is, for whoever reads the table."""
    if issuer.discarded_at is not None:
        return "put away"
    key = deployment.data / f"{stem_of(issuer.issuer_id)}.key"
    return str(key.relative_to(deployment.data)) if key.exists() else "elsewhere"
