"""What programs ask for twice is done once, and answered both times in the same words (Idempotency-Key).

A key is claimed first, which tells whoever else comes with it that somebody is at it. The answer is recorded
in the transaction that does what was asked for: whatever ends the process then, whoever comes again is told
it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ca.epochs import LostKey
from ca.storage import Transaction
from enroll.around import Around, with_storage
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.repeats import store
from enroll.repeats.store import Repeat
from enroll.settings import DAY

#: How long an answer is told again at least, in seconds.
KEPT = DAY
#: After so many seconds whoever was at it is believed to be gone.
GONE = 60


@dataclass(frozen=True)
class Before:
    """It was answered already: with this."""

    answer: bytes


class InFlight(Exception):
    """Somebody is at it. ``seconds``: after which it is worth asking again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class AnotherBody(Exception):
    """The key was used for something else."""


def digest_of(*parts: bytes) -> str:
    """Of what is asked for: each part with its length, so that none runs into the next."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


async def claim(ra: RegistrationAuthority, account: int, key: str, digest: str) -> Repeat | Before:
    """Takes a key for what is asked for, or tells what was answered before. Raises `InFlight` while somebody
    else is at it, `AnotherBody` where it was used for something else."""
    wanted = Repeat(account, key, digest, secrets.token_hex(16), ra.now())

    def work(db: Transaction) -> Repeat:
        if store.claim(db, wanted):
            return wanted
        there = store.find(db, account, key)
        assert there is not None
        if there.digest != digest or there.answer is not None:
            return there
        # Another node's clock may be a little ahead; one that was set back does not keep a key for ever.
        gone = abs(ra.now() - there.claimed_at) >= GONE
        return wanted if gone and store.take_over(db, there, wanted) else there

    found = await ra.database.write(work)
    if found.digest != digest:
        raise AnotherBody
    if found.answer is not None:
        return Before(_told(ra, found.claim, found.answer))
    if found is not wanted:
        raise InFlight(max(1, min(GONE, found.claimed_at + GONE - ra.now())))
    return wanted


def recording(
    ra: RegistrationAuthority, claimed: Repeat, answer: Callable[[Transaction, Any], bytes]
) -> RegistrationAuthority:
    """The same, for one thing that is done: its first write records the answer, in the same transaction.
    ``answer``: of what that write has returned."""

    def record(db: Transaction, value: Any) -> None:
        _finish(db, ra, claimed, answer(db, value))

    return with_storage(ra, Around(ra.database, after=record))


async def finish(ra: RegistrationAuthority, claimed: Repeat, answer: bytes) -> None:
    """Records what is answered where nothing was done: it was refused, and is from now on."""
    await ra.database.write(lambda db: _finish(db, ra, claimed, answer))


async def release(ra: RegistrationAuthority, claimed: Repeat) -> None:
    """Gives the key back: nothing was done, and asked again it may be."""
    await ra.database.write(lambda db: store.release(db, claimed))


def wipe(db: Transaction, at: int) -> None:
    """Forgets answers that were kept long enough."""
    store.drop_before(db, at - KEPT - GONE)


def _told(ra: RegistrationAuthority, claim: str, answer: bytes) -> bytes:
    try:
        return ra.epochs.open(store.ANSWER, claim, answer)
    except LostKey:
        # Never done a second time, although nobody can say any more what came of it.
        detail = "it was answered before the database was put back from a copy: look up what there is"
        raise Refusal("conflict", field="idempotency_key", detail=detail) from None


def _finish(db: Transaction, ra: RegistrationAuthority, claimed: Repeat, answer: bytes) -> None:
    if not store.finish(db, claimed, ra.epochs.seal(db, store.ANSWER, claimed.claim, answer)):
        raise Refusal(
            "conflict", field="idempotency_key", detail="another request has taken this one's place"
        )
