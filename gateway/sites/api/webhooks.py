"""/v1/webhook-endpoints and /v1/deliveries: who is told of what happens, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from ca.storage import Transaction
from enroll.hooks import viewing
from enroll.hooks.states import Delivery as State
from enroll.hooks.viewing import Page
from enroll.operators import asking
from enroll.operators.asking import Proposed
from enroll.ra import RegistrationAuthority
from gateway.sites.api import records
from gateway.sites.api.asked import ask, proposed
from gateway.sites.api.calls import Answer, Call, Record, one
from gateway.sites.api.organisations import changed
from gateway.sites.api.reading import Input, Line, Name, Paged, cursor_of, numbers_after, text_after


class Some(Paged, frozen=True):
    """Which deliveries are listed."""

    endpoint: Name | None = None
    state: Literal["waiting", "delivered", "dead"] | None = None


Events = Annotated[list[Name], msgspec.Meta(min_length=1, max_length=40)]


class New(Input, frozen=True):
    """An endpoint that is to be told."""

    name: Name
    url: Line
    events: Events
    reason: Line = ""


class Change(Input, frozen=True):
    """Where it is to be told from now on, or of what."""

    url: Line | msgspec.UnsetType = msgspec.UNSET
    events: Events | msgspec.UnsetType = msgspec.UNSET
    reason: Line = ""


class Rotation(Input, frozen=True):
    """Another secret; ``at_once``: the one before has leaked."""

    at_once: bool = False
    reason: Line = ""


class Enablement(Input, frozen=True):
    """That it goes on; ``skip``: without what happened meanwhile."""

    skip: bool = False
    reason: Line = ""


class Stop(Input, frozen=True):
    """Why nothing more is sent."""

    reason: Line


async def listed(call: Call) -> Answer:
    """Endpoints by name."""
    asked: Paged = call.query
    after = text_after(asked.cursor)
    found = await call.read(lambda db: viewing.listed(db, call.actor))
    behind = sorted((each for each in found if each.endpoint.name > after), key=lambda e: e.endpoint.name)
    page, further = behind[: asked.limit], len(behind) > asked.limit
    following = cursor_of(page[-1].endpoint.name) if further else ""
    return Answer(records.page([records.listed_endpoint(each) for each in page], following))


async def shown(call: Call) -> Answer:
    """One, without its secret."""
    return one(await call.read(lambda db: _endpoint(db, call)))


async def add(call: Call) -> Answer:
    """Proposes one; asked for again once it is approved, it is there, and its secret is told."""
    body: New = call.body
    payload = {"name": body.name, "url": body.url, "events": list(dict.fromkeys(body.events))}
    return await _with_secret(call, "webhook.add", payload, body.reason)


async def change(call: Call) -> Answer:
    """Proposes another address, or other events."""
    changes, reason = changed(call.body)
    if "events" in changes:
        changes["events"] = list(dict.fromkeys(changes["events"]))
    payload = {"name": call.names["name"], "changes": changes}
    return await ask(call, "webhook.change", payload, reason, lambda db: _endpoint(db, call))


async def end(call: Call) -> Answer:
    """Proposes its end, for good."""
    payload = {"name": call.names["name"]}
    return await ask(call, "webhook.end", payload, call.body.reason, lambda db: _endpoint(db, call))


async def rotate(call: Call) -> Answer:
    """The same of another secret."""
    body: Rotation = call.body
    payload = {"name": call.names["name"], "at_once": body.at_once}
    return await _with_secret(call, "webhook.rotate", payload, body.reason)


async def start(call: Call) -> Answer:
    """Proposes that one that is stopped goes on."""
    body: Enablement = call.body
    payload = {"name": call.names["name"], "skip": body.skip}
    return await ask(call, "webhook.start", payload, body.reason, lambda db: _endpoint(db, call))


async def stop(call: Call) -> Answer:
    """Sends it nothing more, at once."""
    body: Stop = call.body
    name = call.names["name"]
    return await call.once(
        lambda ra: viewing.stop(ra, call.actor, name, body.reason), lambda db, _: one(_endpoint(db, call))
    )


async def test(call: Call) -> Answer:
    """Sends it an event that says nothing."""
    name = call.names["name"]
    return await call.once(
        lambda ra: viewing.test(ra, call.actor, name),
        lambda db, number: one(_delivery(db, call, number), 201, Location=f"/v1/deliveries/{number}"),
    )


async def deliveries(call: Call) -> Answer:
    """Deliveries that are asked for, newest first."""
    asked: Some = call.query
    after = numbers_after(asked.cursor)

    def work(db: Transaction) -> tuple[Page, Mapping[int, str]]:
        state, before = None if asked.state is None else State(asked.state), after[0] if after else 2**62
        found = viewing.deliveries(db, call.actor, asked.endpoint, state, before=before, limit=asked.limit)
        return found, _names(db, call)

    page, names = await call.read(work)
    following = cursor_of(page.further) if page.further else ""
    return Answer(records.page([records.delivery(each, names) for each in page.found], following))


async def delivery(call: Call) -> Answer:
    """One, with what is sent."""
    number = call.number("delivery")
    return one(await call.read(lambda db: _delivery(db, call, number)))


async def replay(call: Call) -> Answer:
    """Sends one once more that is over."""
    number = call.number("delivery")
    return await call.once(
        lambda ra: viewing.replay(ra, call.actor, [number]), lambda db, _: one(_delivery(db, call, number))
    )


async def _with_secret(call: Call, kind: str, payload: Mapping[str, Any], reason: str) -> Answer:
    async def do(ra: RegistrationAuthority) -> None:
        # A program has no passkey: its certificate is all that it ever shows.
        await asking.ask(ra, call.actor, kind, payload, reason=reason, tell=True)

    def told(db: Transaction, value: Any) -> Answer:
        if isinstance(value, Proposed):
            return proposed(db, value.number, call.now())
        found = records.endpoint(viewing.seen(db, call.actor, payload["name"]))
        return one({**found, "secret": value["secret"]}, 201)

    return await call.once(do, told)


def _endpoint(db: Transaction, call: Call) -> Record:
    return records.endpoint(viewing.seen(db, call.actor, call.names["name"]))


def _delivery(db: Transaction, call: Call, number: int) -> Record:
    found, _ = viewing.delivery(db, call.actor, number)
    return records.delivery(found, _names(db, call), whole=True)


def _names(db: Transaction, call: Call) -> Mapping[int, str]:
    return {each.endpoint.number: each.endpoint.name for each in viewing.listed(db, call.actor)}
