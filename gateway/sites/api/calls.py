"""A request of a service as its handler gets it, and the answer that it gives.

A handler of a POST does what it does by `Call.once`, one of a PATCH by `Call.changing`: the answer is made
in the transaction that does it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ca.storage import Transaction
from enroll import repeats
from enroll.around import Around, with_storage
from enroll.identifiers import number_in
from enroll.operators.actors import Actor
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.repeats.store import Repeat
from gateway.sites.api.problems import Problem
from gateway.web.context import Gate

Record = Mapping[str, Any]
#: Does what was asked for, by the registration authority that it is given.
Doing = Callable[[RegistrationAuthority], Awaitable[Any]]
#: An answer, of what the transaction has returned.
Told = Callable[[Transaction, Any], "Answer"]


@dataclass(frozen=True)
class Answer:
    """A status, a body as JSON has it, and header fields besides. ``raw``: instead of the body, with its
    media type."""

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: tuple[str, bytes] | None = None

    def packed(self) -> bytes:
        """As it is kept for whoever asks again."""
        assert self.raw is None, "no answer to a POST is a file"
        return json.dumps([self.status, dict(self.headers), self.value], ensure_ascii=False).encode()


def unpacked(kept: bytes) -> Answer:
    """The answer that `Answer.packed` gave."""
    status, headers, value = json.loads(kept)
    return Answer(value, status, headers)


@dataclass(frozen=True)
class Call:
    """A request, checked: who asks, for what of the path (``names``) and of the query, with which body."""

    gate: Gate
    actor: Actor
    names: Mapping[str, str]
    query: Any
    body: Any
    #: Held by whoever looks through a file: one at a time in a process, so that others need not wait.
    looking: asyncio.Lock
    #: Of a POST: the key that it is done under.
    claimed: Repeat | None = None
    #: Of a PATCH: the entity tags that it may change.
    if_match: frozenset[str] | None = None

    @property
    def ra(self) -> RegistrationAuthority:
        return self.gate.ra

    def now(self) -> int:
        return self.gate.ra.now()

    def number(self, field: str) -> int:
        """The number of the path. Refusal("not_found", field) for what is none."""
        found = number_in(self.names["number"], 18)
        if found is None:
            raise Refusal("not_found", field=field)
        return found

    async def read(self, work: Callable[[Transaction], Any]) -> Any:
        """What the database has."""
        return await self.ra.database.read(work)

    async def once(self, do: Doing, told: Told) -> Answer:
        """Does it, and keeps the answer in the same transaction."""
        assert self.claimed is not None, "only a POST is done once"
        made: list[Answer] = []

        def answer(db: Transaction, value: Any) -> bytes:
            made[:] = [told(db, value)]
            return made[0].packed()

        await do(repeats.recording(self.ra, self.claimed, answer))
        return made[0]

    async def changing(self, current: Callable[[Transaction], Record], do: Doing, told: Told) -> Answer:
        """Does it unless what is there is no more what was read: looked at in the same transaction."""
        made: list[Answer] = []

        def before(db: Transaction) -> None:
            if self.if_match is not None and etag(current(db)) not in self.if_match:
                raise Problem("precondition_failed")

        def after(db: Transaction, value: Any) -> None:
            made[:] = [told(db, value)]

        await self.read(before)
        await do(with_storage(self.ra, Around(self.ra.database, before, after)))
        return made[0]


def etag(record: Record) -> str:
    """Of a representation: another one for another content (RFC 9110 section 8.8.3)."""
    text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def one(record: Record, status: int = 200, **headers: str) -> Answer:
    """A resource, with its tag. ``headers``: with '_' for '-'."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(record, status, {"ETag": etag(record), **named})
