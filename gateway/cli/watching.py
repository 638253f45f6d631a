"""Looking on: the audit trail, sessions, and the reference numbers of the help desk."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

import click

from enroll import identifiers, listings
from enroll.jst import start_of
from enroll.listings import Acts
from enroll.operators import registers, trail
from enroll.operators.roles import Act, Verdict
from enroll.refusals import Refusal
from gateway.cli.caller import acting, actor
from gateway.cli.frame import DOES, READS, Answer, answer, as_typed, deployment_command, detail, listing
from gateway.cli.people import known_user, of_user
from gateway.cli.root import GROUPS
from gateway.serving.config import origin
from gateway.serving.deployment import Deployment
from gateway.web import references, sessions
from gateway.web.context import Role

_DAY = click.DateTime(["%Y-%m-%d"])


@deployment_command(GROUPS["audit"], "show", Act.AUDIT, READS | Verdict.OWN)
@click.option(
    "--subject",
    default=None,
    help="Only lines about this user ID (with its requests, certificates, credentials and applications), "
    "request ID, serial or number.",
)
@click.option("--actor", "who", default=None, help="Only what somebody did: how the name begins.")
@click.option("--act", default=None, help="Only acts whose name begins so, such as certificate.")
@click.option("--since", type=_DAY, default=None, metavar="DAY", help="From this day on, in Japan.")
@click.option("--until", type=_DAY, default=None, metavar="DAY", help="Up to this day, and on it.")
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=100, show_default=True)
async def _audit(
    deployment: Deployment,
    subject: str | None,
    who: str | None,
    act: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Answer:
    """Show the audit trail, newest first: about a person, by an actor, of an act, of some days."""
    database = deployment.ra.database
    first = start_of(since.date()) if since is not None else None
    before = start_of(until.date() + timedelta(days=1)) if until is not None else None
    wanted = trail.permitted(acting(), Acts(actor=who, action=act, since=first, before=before))
    if subject is not None:
        asked, named = wanted, subject
        wanted = database.read_now(lambda db: trail.about(db, named, asked))
    found = listings.audit(database, wanted)
    columns = {
        "id": "No.",
        "at": "When",
        "actor": "Who",
        "action": "What",
        "subject": "On what",
        "why": "Why",
        "result": "Result",
        "detail": "Detail",
    }
    return listing("audit", islice(found, limit), columns)


@deployment_command(GROUPS["session"], "list", Act.SEARCH, READS)
@of_user()
async def _sessions(deployment: Deployment, user_id: str | None) -> Answer:
    """List who is logged in."""
    at = deployment.ra.now()
    ra = deployment.ra
    found = ra.database.read_now(lambda db: sessions.listed(db, at, user_id))
    whose = [each["subject"] for each in found if identifiers.valid_user_id(each["subject"])]
    await registers.note_reading(ra, acting(), Act.SEARCH, "sessions", whose)
    columns = {
        "id": "Session",
        "site": "Site",
        "subject": "User or request ID",
        "address": "From",
        "browser": "Browser",
        "created_at": "Since",
        "seen_at": "Seen",
        "ends_at": "Ends",
    }
    return listing("sessions", found, columns)


@deployment_command(GROUPS["session"], "end", Act.SUSPEND, DOES)
@click.argument("session_id", required=False, callback=as_typed(lambda text: identifiers.typed(text).lower()))
@of_user("Every session of this user.")
async def _end(deployment: Deployment, session_id: str | None, user_id: str | None) -> Answer:
    """End a session, or every one of a user."""
    if (session_id is None) == (user_id is None):
        raise click.UsageError("give a session's ID, or --user USER_ID")
    if user_id is not None:
        known_user(deployment.ra, user_id)
        ended = await sessions.end_all(deployment.ra, user_id, actor=actor())
    else:
        ended = await sessions.end_one(deployment.ra, session_id or "", actor=actor())
        if not ended:
            raise Refusal("not_found", field="session")
    return answer({"ended": ended}, f"sessions ended: {ended}")


@deployment_command(GROUPS["reference"], "show", Act.SEARCH, READS)
@click.argument("reference")
async def _reference(deployment: Deployment, reference: str) -> Answer:
    """Show what a person saw who reads this number to the help desk."""
    found = deployment.ra.database.read_now(lambda db: references.found(db, reference))
    if found is None:
        raise Refusal("not_found", field="reference")
    lines = [f"{name}: {value}" for name, value in found["detail"].items()]
    if found["site"] == str(Role.CONNECTIVITY):
        config, key = deployment.config, references.page_key(deployment.ra, found["reference"])
        found["page"] = f"{origin(config.sites.connectivity[0], config.public_port)}/recorded/{key}"
        lines.append("The page that was seen is at the address above for ten minutes.")
    return detail("reference", found, *lines)
