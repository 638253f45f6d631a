"""One-time codes of operators: the one way in which they are read, tried and used up.

A code is used once: for a passkey by whoever has a certificate already, or for the certificate itself, by
which the first passkey is made within the code's time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ca.storage import Transaction
from enroll import identifiers, store, throttle, timekeeping
from enroll.operators import store as operators
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority, token_hash
from enroll.refusals import Refusal
from enroll.settings import DAY
from enroll.throttle import Attempt

T = TypeVar("T")
#: How long a code is good, in seconds.
LIFETIME = DAY
_PURPOSE = "operator-code"


def new() -> str:
    """Sixteen unambiguous characters (87 bits)."""
    return identifiers.new_issue_password()


def hashed(code: str) -> str:
    """How a code is stored, however it was typed: full-width letters, spaces and hyphens are nothing."""
    return token_hash(identifiers.typed(code))


def attempt(address: str, fingerprint: str = "") -> Attempt:
    """Who tries a code: a certificate, or an address where there is none yet."""
    return Attempt(_PURPOSE, fingerprint or address, address)


async def check(ra: RegistrationAuthority, code: str, by: Attempt, *, of: int | None = None) -> Operator:
    """Whose code it is, if it could be used now; it is not used by that. ``of``: this operator's alone.

    Refusal("throttled", at) for who has guessed, and "not_permitted" for a code that was used, has ended, or
    is none: which of these is not said.
    """
    await throttle.begin(ra, by)

    def work(db: Transaction) -> Operator:
        number = operators.code_of(db, hashed(code), ra.now())
        found = _there(db, number, of)
        throttle.succeeded(db, by)
        return found

    return await ra.database.write(work)


async def use(
    ra: RegistrationAuthority,
    code: str,
    by: Attempt,
    what: Callable[[Transaction, Operator], T],
    *,
    of: int | None = None,
) -> T:
    """Does what a code is used for, and uses it up by that, in one transaction. Refusal as for `check`, and
    whatever it is used for refuses: then it is not used."""
    await throttle.begin(ra, by)

    def work(db: Transaction) -> T:
        timekeeping.check(ra, db)
        at = ra.now()
        found = _there(db, operators.use_code(db, hashed(code), at), of)
        throttle.succeeded(db, by)
        store.audit(db, at, f"operator:{found.name}", "operator.code_used", found.name, address=by.address)
        return what(db, found)

    return await ra.database.write(work)


def _there(db: Transaction, number: int | None, of: int | None) -> Operator:
    found = None if number is None else operators.operator(db, number)
    if found is None or found.ended_at is not None or of not in (None, found.number):
        raise Refusal("not_permitted", field="code", detail="the code was used, has ended, or is none")
    return found
