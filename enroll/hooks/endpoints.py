"""Endpoints of webhooks: added, changed, given another secret, stopped, started and ended.

Where data goes takes two; to stop it takes one. A secret is told once, to whoever asked for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ca.store
from ca.storage import Transaction
from enroll import store as enroll_store
from enroll.hooks import events, reach, signatures, store
from enroll.hooks.signatures import PURPOSE, SECRET_BYTES
from enroll.hooks.states import Endpoint as Standing
from enroll.hooks.store import Endpoint
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.settings import DAY

NAME = re.compile(r"[a-z][a-z0-9-]{1,31}")
#: Seconds for which the secret before signs as well.
OVERLAP = DAY
#: The most there are at a time: each reads the record by itself.
MOST = 50
_MOST_EVENTS = 40
#: Why one is stopped -> what people are told, in Japanese and English.
REASONS: Mapping[str, tuple[str, str]] = {
    "operator": ("運用者が停止", "stopped by an operator"),
    "gone": ("受信側が410（終了）を応答", "its receiver answered 410 (gone)"),
    "restored": (
        "バックアップから復元（停止または鍵の交換がバックアップの後に行われた）",
        "the database was put back from a copy from before it was stopped, or given another secret",
    ),
}

Payload = Mapping[str, Any]
Facts = Mapping[str, Any]


# -- for whoever decides ---------------------------------------------------------------------------------


def facts(db: Transaction, payload: Payload) -> Facts:
    """One as it stands; nothing for one that is none."""
    found = store.named(db, payload["name"])
    return {} if found is None else {"url": found.url, "events": list(found.events), "state": found.state}


def check_new(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal for a name, an address or types that cannot be, or a name that is another one's."""
    if NAME.fullmatch(payload["name"]) is None:
        detail = "write a name of 2 to 32 characters such as billing: a-z, 0-9 and '-'"
        raise Refusal("invalid_input", field="name", detail=detail)
    _check_facts(ra, payload)
    if store.named(db, payload["name"]) is not None:
        detail = f"{payload['name']} is an endpoint, or was; names are given once"
        raise Refusal("conflict", field="name", detail=detail)
    there = sum(each.state is not Standing.ENDED for each in store.endpoints(db))
    if there >= MOST:
        raise Refusal("limit_reached", detail=f"there are {there}; end one: sekisho webhook end NAME")


def check_change(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """The same for what changes of one that is there."""
    there(db, payload["name"])
    if not payload["changes"]:
        raise Refusal("invalid_input", detail="say what changes: --url or --event")
    _check_facts(ra, payload["changes"])


def check_differs(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal("invalid_input", "changes") where it is like that already."""
    found, changes = facts(db, payload), payload["changes"]
    if all(found[name] == value for name, value in changes.items()):
        raise Refusal(
            "invalid_input", field="changes", detail="nothing would change: it is like this already"
        )


def check_there(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal for one that is none, or has ended."""
    there(db, payload["name"])


def check_stopped(db: Transaction, ra: RegistrationAuthority, payload: Payload) -> None:
    """Refusal("conflict") for one that is not stopped."""
    found = there(db, payload["name"])
    if found.state is not Standing.STOPPED:
        raise _stands(found)
    reach.check_listed(reach.target(found.url), ra.settings)


def there(db: Transaction, name: str) -> Endpoint:
    """One that has not ended. Refusal("not_found")."""
    found = store.named(db, name)
    if found is None or found.state is Standing.ENDED:
        raise Refusal(
            "not_found", field="endpoint", detail=f"there is no endpoint {name} (sekisho webhook list)"
        )
    return found


def _check_facts(ra: RegistrationAuthority, told: Payload) -> None:
    if "url" in told:
        reach.check_listed(reach.target(told["url"]), ra.settings)
    if "events" in told:
        _check_events(told["events"])


def _check_events(patterns: Sequence[str]) -> None:
    unknown = [each for each in patterns if not events.known(each)]
    if not patterns or unknown or len(patterns) > _MOST_EVENTS:
        wrong = f"there is no event {unknown[0]!r}; " if unknown else ""
        detail = f"{wrong}write '*', 'request.*' or one of {', '.join(events.TYPES)}"
        raise Refusal("invalid_input", field="events", detail=detail)


# -- what takes two --------------------------------------------------------------------------------------


async def add(ra: RegistrationAuthority, payload: Payload, by: str, told: bool) -> Facts:
    """Records one, which is told of what happens from now on; its secret, once."""
    secret = os.urandom(SECRET_BYTES)
    sealed = ra.vault.seal(PURPOSE, secret)

    def work(db: Transaction) -> Facts:
        ca.store.take_turns(db, "endpoints")
        check_new(db, ra, payload)
        at = ra.now()
        new = Endpoint(
            number=0,
            name=payload["name"],
            url=payload["url"],
            events=tuple(payload["events"]),
            state=Standing.ACTIVE,
            why="",
            read_to=enroll_store.audit_counted(db),
            ends_to_at=at + ra.settings.renewal_days * DAY,
            added_at=at,
            added_by=by,
            sealed_secret=sealed,
        )
        if not store.add(db, new):
            raise Refusal("conflict", field="name")
        _audit(db, ra, by, "added", new.name, url=new.url, events=list(new.events))
        return {"name": new.name, "secret": signatures.shown(secret)}

    return await ra.database.write(work)


async def change(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    """Has it somewhere else, or for other events."""

    def work(db: Transaction) -> None:
        check_change(db, ra, payload)
        _changed(db, there(db, payload["name"]), **payload["changes"])
        _audit(db, ra, by, "changed", payload["name"], **payload["changes"])

    await ra.database.write(work)
    return payload


async def rotate(ra: RegistrationAuthority, payload: Payload, by: str, told: bool) -> Facts:
    """Gives it another secret, told once. The one before signs as well for a day; ``at_once``: no more."""
    secret = os.urandom(SECRET_BYTES)
    sealed = ra.vault.seal(PURPOSE, secret)

    def work(db: Transaction) -> Facts:
        found = there(db, payload["name"])
        before = (None, None) if payload["at_once"] else (found.sealed_secret, ra.now() + OVERLAP)
        _changed(db, found, sealed_secret=sealed, sealed_before=before[0], before_until_at=before[1])
        _audit(db, ra, by, "rotated", found.name, at_once=payload["at_once"])
        return {"name": found.name, "secret": signatures.shown(secret)}

    return await ra.database.write(work)


async def start(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    """Lets one that was stopped go on, with what happened meanwhile first; ``skip``: without that."""

    def work(db: Transaction) -> None:
        check_stopped(db, ra, payload)
        found, at = there(db, payload["name"]), ra.now()
        behind = {"read_to": enroll_store.audit_counted(db)} if payload["skip"] else {}
        _changed(db, found, state=str(Standing.ACTIVE), why="", held_until_at=0, **behind)
        store.wake(db, found.number, at)
        _audit(db, ra, by, "started", found.name, skip=payload["skip"])

    await ra.database.write(work)
    return payload


async def end(ra: RegistrationAuthority, payload: Payload, by: str, _: bool) -> Facts:
    """Ends one for good: its secrets are wiped, and what it was not told, it never is."""

    def work(db: Transaction) -> int:
        found = there(db, payload["name"])
        gone = {"sealed_secret": None, "sealed_before": None, "before_until_at": None}
        _changed(db, found, state=str(Standing.ENDED), why="", **gone)
        dropped = store.drop_waiting(db, found.number)
        _audit(db, ra, by, "ended", found.name, dropped=dropped)
        return dropped

    return {**payload, "dropped": await ra.database.write(work)}


# -- what one does alone ---------------------------------------------------------------------------------


def stop(
    db: Transaction, ra: RegistrationAuthority, name: str, why: str, *, by: str, reason: str = ""
) -> None:
    """Inside a transaction: nothing more is sent to one. Refusal("conflict") if it is stopped already."""
    found = there(db, name)
    if found.state is not Standing.ACTIVE:
        raise _stands(found)
    _changed(db, found, state=str(Standing.STOPPED), why=why)
    _audit(db, ra, by, "stopped", name, cause=why, reason=reason)


def _changed(db: Transaction, found: Endpoint, **changes: Any) -> None:
    if not store.change(db, found, **changes):
        raise Refusal("conflict", field="endpoint", detail=f"{found.name} was changed by somebody else")


def _stands(found: Endpoint) -> Refusal:
    return Refusal("conflict", field="endpoint", detail=f"endpoint {found.name} is {found.state} already")


def _audit(db: Transaction, ra: RegistrationAuthority, by: str, what: str, name: str, **told: Any) -> None:
    enroll_store.audit(db, ra.now(), by, f"webhook.{what}", name, **told)
