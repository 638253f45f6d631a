"""Webhooks as operators look after them: each function asks first who may, and says no to everybody else."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ca.storage import Transaction
from enroll import store as enroll_store
from enroll.hooks import endpoints, events, store
from enroll.hooks.states import Delivery as State
from enroll.hooks.states import Endpoint as Standing
from enroll.hooks.store import Delivery, Endpoint
from enroll.operators import actors
from enroll.operators.actors import Actor, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line

#: Deliveries that are chosen one by one, at a time.
MOST_CHOSEN = 50


@dataclass(frozen=True)
class Listed:
    """An endpoint, and how its deliveries are doing."""

    endpoint: Endpoint
    counts: Mapping[State, int]


@dataclass(frozen=True)
class Page:
    """Some deliveries, newest first, and how many there are in all of what was asked for."""

    found: Sequence[Delivery]
    total: int
    #: Of the first one, counted from 1.
    first: int
    #: The last one's number, if there are more behind it.
    further: int | None


def listed(db: Transaction, actor: Actor, *, every: bool = True) -> list[Listed]:
    """All endpoints, by name; without ``every`` those that have not ended. Refusal("not_permitted")."""
    require(actor, Act.DELIVERIES, Verdict.READ)
    counted = store.counts(db)
    return [
        Listed(each, {state: counted.get((each.number, state), 0) for state in State})
        for each in store.endpoints(db)
        if every or each.state is not Standing.ENDED
    ]


def seen(db: Transaction, actor: Actor, name: str) -> Listed:
    """One by its name. Refusal: "not_permitted", "not_found"."""
    found = next((each for each in listed(db, actor) if each.endpoint.name == name), None)
    if found is None:
        raise Refusal(
            "not_found", field="endpoint", detail=f"there is no endpoint {name} (sekisho webhook list)"
        )
    return found


def deliveries(
    db: Transaction,
    actor: Actor,
    name: str | None = None,
    state: State | None = None,
    *,
    before: int = 2**62,
    limit: int = 50,
) -> Page:
    """Deliveries to one endpoint or to all, newest first: those before a number. Refusal as for `seen`."""
    require(actor, Act.DELIVERIES, Verdict.READ)
    number = None if name is None else seen(db, actor, name).endpoint.number
    found = store.deliveries(db, number, state, before=before, limit=limit + 1)
    page, total = found[:limit], store.count(db, number, state)
    first = store.count(db, number, state, since=page[0].number) if page else 0
    return Page(page, total, first, page[-1].number if len(found) > limit else None)


def delivery(db: Transaction, actor: Actor, number: int) -> tuple[Delivery, Endpoint]:
    """One delivery and where it goes. Refusal: "not_permitted", "not_found"."""
    require(actor, Act.DELIVERIES, Verdict.READ)
    found = store.delivery(db, number)
    to = None if found is None else store.endpoint(db, found.endpoint)
    if found is None or to is None:
        raise Refusal("not_found", field="delivery", detail=f"there is no delivery {number}")
    return found, to


@dataclass(frozen=True)
class Needing:
    """What somebody has to see to."""

    #: Deliveries that were given up, to endpoints that have not ended.
    dead: int
    #: Endpoints that their receivers stopped, or a restore did.
    stopped: int


def needing(db: Transaction) -> Needing:
    """For the home page, `doctor` and figures."""
    alive = [each for each in store.endpoints(db) if each.state is not Standing.ENDED]
    counted = store.counts(db) if alive else {}
    dead = sum(counted.get((each.number, State.DEAD), 0) for each in alive)
    return Needing(dead, sum(each.state is Standing.STOPPED for each in alive))


# -- what one does alone: nothing of it goes anywhere new ---------------------------------------------------


async def stop(ra: RegistrationAuthority, actor: Actor, name: str, reason: str) -> None:
    """Sends nothing more to an endpoint; what happens meanwhile waits. Refusal: "not_permitted", "not_found",
    "conflict" for one that is stopped."""
    check_line("reason", reason, needed=True)

    def work(db: Transaction) -> None:
        now = _doing(db, ra, actor)
        endpoints.stop(db, ra, name, "operator", by=now.name, reason=reason)

    await ra.database.write(work)


async def replay(ra: RegistrationAuthority, actor: Actor, numbers: Sequence[int]) -> int:
    """Sends deliveries once more that are over, under the same names; returns how many, all or none.
    Refusal: "not_permitted", "not_found", "conflict" for one that waits, "limit_reached" for too many."""
    if len(numbers) > MOST_CHOSEN:
        raise Refusal("limit_reached", field="delivery", detail=f"choose {MOST_CHOSEN} at most")

    def work(db: Transaction) -> int:
        now = _doing(db, ra, actor)
        for number in dict.fromkeys(numbers):
            found, to = delivery(db, now, number)
            endpoints.there(db, to.name)
            if not store.replay(db, number, ra.now()):
                detail = f"delivery {number} is {found.state}, and is sent anyway"
                raise Refusal("conflict", field="delivery", detail=detail)
            told = {"endpoint": to.name, "event": found.event, "message": found.message}
            enroll_store.audit(db, ra.now(), now.name, "webhook.replayed", str(number), **told)
        return len(dict.fromkeys(numbers))

    return await ra.database.write(work)


async def replay_dead(ra: RegistrationAuthority, actor: Actor, name: str) -> int:
    """Sends every dead letter of an endpoint once more; returns how many. Refusal as above."""

    def work(db: Transaction) -> int:
        now, found = _doing(db, ra, actor), endpoints.there(db, name)
        count = store.replay_dead(db, found.number, ra.now())
        if count:
            enroll_store.audit(db, ra.now(), now.name, "webhook.replayed", name, count=count)
        return count

    return await ra.database.write(work)


async def test(ra: RegistrationAuthority, actor: Actor, name: str) -> int:
    """Sends an endpoint an event that says nothing; returns the delivery's number. Refusal: "not_permitted",
    "not_found", "conflict" for one that is stopped."""
    word = secrets.token_hex(16)

    def work(db: Transaction) -> int:
        now, found = _doing(db, ra, actor), endpoints.there(db, name)
        if found.state is not Standing.ACTIVE:
            detail = f"endpoint {name} is stopped; let it go on: sekisho webhook start {name}"
            raise Refusal("conflict", field="endpoint", detail=detail)
        event = events.trying(word, ra.now())
        store.put(db, found.number, event, ra.now())
        made = next(each for each in store.deliveries(db, found.number) if each.message == event.id)
        enroll_store.audit(db, ra.now(), now.name, "webhook.tested", name, delivery=made.number)
        return made.number

    return await ra.database.write(work)


def _doing(db: Transaction, ra: RegistrationAuthority, actor: Actor) -> Actor:
    now = actors.asked_again(db, actor, ra.now())
    require(now, Act.DELIVERIES, Verdict.DO)
    return now
