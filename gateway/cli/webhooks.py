"""Webhooks: where other systems are told of what happens, and how that is going."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from enroll.hooks import endpoints, events, viewing
from enroll.hooks.states import Delivery as State
from enroll.hooks.states import Endpoint as Standing
from enroll.hooks.store import Delivery
from enroll.hooks.viewing import Listed
from enroll.operators.asking import Done, Proposed
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import acting, actor, is_far
from gateway.cli.frame import (
    ASKS,
    DOES,
    READS,
    Answer,
    answer,
    deployment_command,
    detail,
    listing,
    plain,
)
from gateway.cli.output import Console
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_WEBHOOK = GROUPS["webhook"]
_NAME = click.argument("name")
_EVENTS = "An event, 'request.*' or '*' for all; several times for several. One of: "
_COLUMNS = {
    "number": "No.", "endpoint": "Endpoint", "event": "Event", "happened_at": "Happened", "state": "State",
    "tries": "Tries", "tried_at": "Tried", "next_at": "Next", "result": "Result",
}  # fmt: skip


@deployment_command(_WEBHOOK, "add", Act.SETTINGS, ASKS)
@_NAME
@click.argument("url")
@click.option("--event", "types", multiple=True, default=["*"], help=_EVENTS + ", ".join(events.TYPES))
async def _add(deployment: Deployment, name: str, url: str, types: tuple[str, ...]) -> Answer:
    """Have an address told of what happens from now on. Its secret is shown now and never again.

    The host has to be in webhooks.hosts (sekisho.toml). It takes two people: once another has approved it,
    type the same again, and the secret is shown. If it cannot be shown, the endpoint ends.
    """
    found = await asked(
        deployment, "webhook.add", {"name": name, "url": url, "events": list(dict.fromkeys(types))}
    )
    if isinstance(found, Proposed):
        return proposed(found)

    async def undo() -> str:
        await endpoints.end(deployment.ra, {"name": name}, actor(), False)
        return f"Endpoint {name} has ended; to where there is room, under another name: sekisho webhook add"

    return _secret(found, undo)


@deployment_command(_WEBHOOK, "rotate", Act.SETTINGS, ASKS)
@_NAME
@click.option("--at-once", is_flag=True, help="The secret before has leaked: it signs nothing any more.")
async def _rotate(deployment: Deployment, name: str, at_once: bool) -> Answer:
    """Give an endpoint another secret, shown now and never again. The one before signs as well for a day."""
    found = await asked(deployment, "webhook.rotate", {"name": name, "at_once": at_once})
    if isinstance(found, Proposed):
        return proposed(found)

    async def undo() -> str:
        return f"The new secret is lost; to where there is room, once more: sekisho webhook rotate {name}"

    return _secret(found, undo)


def _secret(found: Done, undo: Any) -> Answer:
    record = {"name": found.result["name"], "secret": found.result["secret"]}

    def show(console: Console) -> None:
        console.print(plain(f"Endpoint: {record['name']}\nSecret:   {record['secret']}"), soft_wrap=True)
        console.print(
            "\nIt is not shown again. How a receiver checks a signature: docs/operations/webhooks.md"
        )

    return Answer({"endpoint": record}, show, undo=undo)


@deployment_command(_WEBHOOK, "list", Act.DELIVERIES, READS)
@click.option("--all", "every", is_flag=True, help="Those that have ended, too.")
async def _list(deployment: Deployment, every: bool) -> Answer:
    """List the endpoints, and how many deliveries wait and were given up."""
    found = deployment.ra.database.read_now(lambda db: viewing.listed(db, acting(), every=every))
    columns = {
        "name": "Name", "url": "Address", "state": "State", "waiting": "Waiting", "delivered": "Delivered",
        "dead": "Given up", "why": "Why",
    }  # fmt: skip
    return listing("endpoints", [_record(each) for each in found], columns)


@deployment_command(_WEBHOOK, "show", Act.DELIVERIES, READS)
@_NAME
async def _show(deployment: Deployment, name: str) -> Answer:
    """Show an endpoint, without its secret."""
    found = deployment.ra.database.read_now(lambda db: viewing.seen(db, acting(), name))
    lines = [f"Events: {', '.join(found.endpoint.events)}"]
    if found.endpoint.state is Standing.STOPPED:
        why = endpoints.REASONS[found.endpoint.why][1]
        lines.append(f"It is stopped: {why}. Once that is mended: sekisho webhook start {name}")
    if found.counts[State.DEAD]:
        lines.append(f"What was given up, once more: sekisho webhook replay --dead {name}")
    return detail("endpoint", _record(found), *lines)


@deployment_command(_WEBHOOK, "change", Act.SETTINGS, ASKS)
@_NAME
@click.option("--url", help="Where it is.")
@click.option("--event", "types", multiple=True, help=_EVENTS + ", ".join(events.TYPES))
async def _change(deployment: Deployment, name: str, url: str | None, types: tuple[str, ...]) -> Answer:
    """Have an endpoint somewhere else, or told of other events. It takes two people."""
    changes: dict[str, Any] = {} if url is None else {"url": url}
    changes |= {"events": list(dict.fromkeys(types))} if types else {}
    found = await asked(deployment, "webhook.change", {"name": name, "changes": changes})
    if isinstance(found, Proposed):
        return proposed(found)
    return answer({"changed": {"name": name, **changes}}, f"Endpoint {name} is changed.")


@deployment_command(_WEBHOOK, "stop", Act.DELIVERIES, DOES)
@_NAME
@click.option("--reason", required=True, help="Why, in one line, for the record.")
async def _stop(deployment: Deployment, name: str, reason: str) -> Answer:
    """Send nothing more to an endpoint. What happens meanwhile waits until it is started."""
    await viewing.stop(deployment.ra, acting(), name, reason)
    line = f"Endpoint {name} is stopped; to let it go on: sekisho webhook start {name}"
    return answer({"stopped": {"name": name}}, line)


@deployment_command(_WEBHOOK, "start", Act.SETTINGS, ASKS)
@_NAME
@click.option("--skip", is_flag=True, help="Without what happened while it was stopped.")
async def _start(deployment: Deployment, name: str, skip: bool) -> Answer:
    """Let an endpoint go on that is stopped, what happened meanwhile first. It takes two people."""
    found = await asked(deployment, "webhook.start", {"name": name, "skip": skip})
    if isinstance(found, Proposed):
        return proposed(found)
    return answer({"started": {"name": name}}, f"Endpoint {name} goes on.")


@deployment_command(_WEBHOOK, "end", Act.SETTINGS, ASKS)
@_NAME
async def _end(deployment: Deployment, name: str) -> Answer:
    """End an endpoint for good, with what waits for it. It takes two people; to stop it takes one."""
    found = await asked(deployment, "webhook.end", {"name": name})
    if isinstance(found, Proposed):
        return proposed(found)
    dropped = found.result["dropped"]
    line = f"Endpoint {name} has ended; {dropped} deliveries that waited are gone."
    return answer({"ended": {"name": name, "dropped": dropped}}, line)


@deployment_command(_WEBHOOK, "deliveries", Act.DELIVERIES, READS)
@click.argument("name", required=False)
@click.option("--state", type=click.Choice([str(each) for each in State]), help="Those in a state.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
async def _deliveries(deployment: Deployment, name: str | None, state: str | None, limit: int) -> Answer:
    """List deliveries, to one endpoint or to all, newest first."""
    wanted = None if state is None else State(state)

    def read(db: Any) -> tuple[viewing.Page, dict[int, str]]:
        names = {each.endpoint.number: each.endpoint.name for each in viewing.listed(db, acting())}
        return viewing.deliveries(db, acting(), name, wanted, limit=limit), names

    page, names = deployment.ra.database.read_now(read)
    return listing("deliveries", [_delivery(each, names) for each in page.found], _COLUMNS)


@deployment_command(_WEBHOOK, "replay", Act.DELIVERIES, DOES)
@click.argument("numbers", type=int, nargs=-1)
@click.option("--dead", "name", metavar="NAME", help="Everything that was given up of an endpoint.")
async def _replay(deployment: Deployment, numbers: tuple[int, ...], name: str | None) -> Answer:
    """Send deliveries once more that are over, by their numbers, or all that were given up.

    Each has the name that it had (webhook-id), so that a receiver that knows it already can leave it.
    """
    if bool(numbers) == bool(name):
        hint = "write the numbers of deliveries, or --dead and a name: sekisho webhook deliveries"
        raise Refusal("invalid_input", field="delivery", detail=hint)
    if name:
        count = await viewing.replay_dead(deployment.ra, acting(), name)
    else:
        count = await viewing.replay(deployment.ra, acting(), numbers)
    return answer({"replayed": count}, f"{count} deliveries wait to be sent once more.", *_unserved())


@deployment_command(_WEBHOOK, "test", Act.DELIVERIES, DOES)
@_NAME
async def _test(deployment: Deployment, name: str) -> Answer:
    """Send an endpoint an event that says nothing (webhook.test)."""
    number = await viewing.test(deployment.ra, acting(), name)
    line = f"Delivery {number} waits; what came of it: sekisho webhook deliveries {name}"
    return answer({"delivery": {"number": number}}, line, *_unserved())


def _unserved() -> list[str]:
    return [] if is_far() else ["The gateway sends it, once it runs."]


def _record(found: Listed) -> dict[str, Any]:
    told = asdict(found.endpoint)
    wanted = ("name", "url", "events", "state", "why", "added_at", "added_by", "before_until_at")
    record = {each: told[each] for each in wanted}
    record |= {str(state): count for state, count in found.counts.items()}
    return record | {"state": str(found.endpoint.state)}


def _delivery(found: Delivery, names: dict[int, str]) -> dict[str, Any]:
    record = asdict(found) | {"endpoint": names[found.endpoint], "state": str(found.state)}
    record["next_at"] = found.next_at if found.state is State.WAITING else None
    for each in ("attempts", "claimed_until_at"):
        del record[each]
    return record
