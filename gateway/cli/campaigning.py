"""``campaign``: who is to renew, how far each of them is, and a letter to those who have not; ``ca status``:
what is left of each generation."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import click

from enroll import campaigns, generations
from enroll.campaigns import STEPS, VIEWS, Campaign, Counts, Figures, rollover, working
from enroll.campaigns.rollover import Left
from enroll.campaigns.working import EVERY_DAYS, MOST_DAYS
from enroll.jst import shown_day, start_of
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import acting
from gateway.cli.frame import ASKS, DOES, READS, Answer, deployment_command, detail, listing
from gateway.cli.jobs import after
from gateway.cli.output import Console, Lines
from gateway.cli.registers import of_organisation
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment
from gateway.web.rollover import NEXT

_CAMPAIGN = GROUPS["campaign"]
_NUMBER = click.argument("number", type=int)
_DAY = click.DateTime(["%Y-%m-%d"])
#: What is counted -> what it is called.
_HEADS = {
    "due": "Due",
    "mailed": "Mailed",
    "opened": "Opened",
    "renewed": "Renewed",
    "used": "Used",
    "open": "Not yet",
    "lapsed": "Expired",
    "left": "Gone",
}
_OF = {"policy_number": "Organisation", "name": "Name"}
_ENGLISH = 1
_LEFT = {
    "certificates": "Certificates",
    "holders": "Holders",
    "hurt": "With nothing else",
    "last_at": "Last ends",
}
_PEOPLE = {
    "user_id": "User ID",
    "name": "Name",
    "mail": "Mail",
    "policy_number": "Organisation",
    "common_name": "Common name",
    "serial": "Serial",
    "not_after_at": "Until",
}


@deployment_command(_CAMPAIGN, "add", Act.CAMPAIGNS, DOES)
@click.argument("name")
@click.option(
    "--from", "first", type=_DAY, default=None, metavar="DAY", help="Certificates that end from then on."
)
@click.option("--to", "last", type=_DAY, default=None, metavar="DAY", help="Up to this day, and on it.")
@of_organisation("Only this organisation's users.")
@click.option("--ca", "ca_name", default=None, metavar="NAME", help="Only certificates of this issuing CA.")
@click.option(
    "--every",
    type=click.IntRange(1, MOST_DAYS),
    default=EVERY_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Nobody gets a reminder sooner after another letter.",
)
async def _add(
    deployment: Deployment,
    name: str,
    first: datetime | None,
    last: datetime | None,
    policy_number: str | None,
    ca_name: str | None,
    every: int,
) -> Answer:
    """Begin a campaign: people's certificates that are good now and end within some days, or are of an
    organisation or an issuing CA. No letter leaves by that."""
    payload = {
        "name": name,
        "first_at": None if first is None else start_of(first.date()),
        "until_at": None if last is None else start_of(last.date() + timedelta(days=1)),
        "policy_number": policy_number,
        "issuer_id": None if ca_name is None else generations.named(deployment.ra, ca_name).issuer_id,
        "every_days": every,
    }
    done = await asked(deployment, "campaign.begin", payload)
    assert not isinstance(done, Proposed), "no role proposes it"
    return await _told(deployment, done.result["campaign"])


@deployment_command(_CAMPAIGN, "list", Act.CAMPAIGNS, READS)
@click.option("--all", "every", is_flag=True, help="Those that are over, too.")
async def _list(deployment: Deployment, every: bool) -> Answer:
    """List the campaigns that go on, with their sums."""
    ra = deployment.ra

    def work(db: Any) -> list[dict[str, Any]]:
        found = campaigns.listed(db, acting(), every=every)
        sums = [campaigns.summed(db, acting(), each, ra.now()) for each in found]
        return [asdict(each.campaign) | _counts(each.total) for each in sums]

    columns = {"number": "No.", "name": "Name", "begun_at": "Begun", "ended_at": "Ended"}
    return listing("campaigns", await ra.database.read_aside(work), columns | _HEADS)


@deployment_command(_CAMPAIGN, "show", Act.CAMPAIGNS, READS)
@_NUMBER
async def _show(deployment: Deployment, number: int) -> Answer:
    """Show how far a campaign is, organisation by organisation. Each number counts certificates.

    Due are all; of those that are not renewed some may be yet, some have expired, and of some there is
    nothing to renew any more (revoked, reissued, or their users disabled).
    """
    ra = deployment.ra
    found = await ra.database.read_aside(lambda db: _figures(db, number, ra.now()))
    rows = [
        {"policy_number": each.policy_number, "name": each.name} | _counts(each.counts)
        for each in found.organisations
    ]
    total = {"policy_number": "Total", "name": ""} | _counts(found.total)
    table = listing("rows", [*rows, total], {**_OF, **_HEADS})
    value = {"campaign": asdict(found.campaign), "at": found.at, "rows": rows, "totals": _counts(found.total)}

    def show(console: Console) -> None:
        table.show(console)
        Lines(tuple(_lines(found.campaign, found.total)))(console)

    return Answer(value, show)


@deployment_command(_CAMPAIGN, "people", Act.SEARCH, READS, noted=False)
@_NUMBER
@click.argument("view", type=click.Choice(list(VIEWS)), default="open")
@of_organisation("Only this organisation's users.")
async def _people(deployment: Deployment, number: int, view: str, policy_number: str | None) -> Answer:
    """List whose certificates a number of a campaign counts: by default those who have not renewed yet."""
    ra = deployment.ra

    def work(db: Any) -> list[dict[str, Any]]:
        found = campaigns.known(db, number)
        rows = campaigns.people(db, acting(), found, ra.now(), view, policy_number)
        return [{name: row[name] for name in _PEOPLE} for row in rows]

    records = await ra.database.read_aside(work)
    await campaigns.note_reading(ra, acting(), number, view, policy_number)
    return listing("people", records, _PEOPLE)


@deployment_command(_CAMPAIGN, "remind", Act.CAMPAIGNS, ASKS)
@_NUMBER
@click.option("--dry-run", is_flag=True, help="Only say who would get a letter, and why others would not.")
async def _remind(deployment: Deployment, number: int, dry_run: bool) -> Answer:
    """Write once more to those who can renew now and have not; many letters take two people."""
    ra = deployment.ra
    due = await ra.database.read_aside(lambda db: working.remindable(db, ra, campaigns.known(db, number)))
    told = {"letters": len(due.numbers)} | {
        name: count for name, count in asdict(due).items() if name != "numbers"
    }
    if dry_run:
        return detail("reminder", {"campaign": number, **told})
    payload = {"campaign": number, "numbers": list(due.numbers)}
    done = await asked(deployment, "campaign.remind", payload)
    return proposed(done) if isinstance(done, Proposed) else await after(deployment, done.result["job"])


@deployment_command(_CAMPAIGN, "end", Act.CAMPAIGNS, DOES)
@_NUMBER
async def _end(deployment: Deployment, number: int) -> Answer:
    """End a campaign: its numbers stay as they are now. It does not begin again."""
    done = await asked(deployment, "campaign.end", {"campaign": number})
    assert not isinstance(done, Proposed), "no role proposes it"
    return await _told(deployment, number)


async def _told(deployment: Deployment, number: int) -> Answer:
    ra = deployment.ra
    found = await ra.database.read_aside(lambda db: _figures(db, number, ra.now()))
    record = asdict(found.campaign) | _counts(found.total)
    return detail("campaign", record, *_lines(found.campaign, found.total))


def _figures(db: Any, number: int, now: int) -> Figures:
    return campaigns.figures(db, acting(), campaigns.known(db, number), now)


def _lines(found: Campaign, total: Counts) -> list[str]:
    """What it is about, and what there is to type."""
    first = "" if found.first_at is None else f" from {shown_day(found.first_at)}"
    until = "" if found.until_at is None else f" until {shown_day(found.until_at - 1)}"
    told = [f"{found.name}: certificates that end{first}{until}" if first or until else found.name]
    if found.ended_at is not None:
        return [*told, f"It is over since {shown_day(found.ended_at)}, and its numbers are those of then."]
    if total.open:
        told.append(f"Who has not renewed: sekisho campaign people {found.number}")
        told.append(f"To write to them once more: sekisho campaign remind {found.number} --dry-run")
    return told


def _counts(counts: Counts) -> dict[str, int]:
    return {view: counts.of(view) for view in (*STEPS, *(each for each in VIEWS if each not in STEPS))}


@deployment_command(GROUPS["ca"], "status", Act.CAMPAIGNS, READS)
@click.option("--org", "by_organisation", is_flag=True, help="Organisation by organisation.")
@click.option("--month", "by_month", is_flag=True, help="By the month in which certificates end.")
async def _status(deployment: Deployment, by_organisation: bool, by_month: bool) -> Answer:
    """Show what is left of each generation of issuing CA, whom it would hurt if it let nobody in from today
    on, and what comes next."""
    ra = deployment.ra
    found = await ra.database.read_aside(lambda db: rollover.board(db, ra, acting()))
    if by_organisation:
        rows = [_of_generation(each) | asdict(one) for each in found for one in each.organisations]
        return listing("organisations", rows, {"ca": "CA", **_OF, **_LEFT})
    if by_month:
        rows = [
            _of_generation(each) | {"month": f"{month:%Y-%m}", "certificates": count}
            for each in found
            for month, count in each.months
        ]
        return listing("months", rows, {"ca": "CA", "month": "Month", "certificates": "Certificates"})
    rows = [
        _of_generation(each)
        | {"state": each.state.value, "certificates": each.certificates, "holders": each.holders}
        | {"hurt": each.hurt, "last_at": each.last_at, "next": NEXT[each.state][_ENGLISH]}
        for each in found
    ]
    return listing("generations", rows, {"ca": "CA", "state": "State", **_LEFT, "next": "What comes next"})


def _of_generation(left: Left) -> dict[str, Any]:
    return {"ca": left.issuer.common_name, "issuer_id": left.issuer.issuer_id}
