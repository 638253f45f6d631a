"""What a passkey is to sign: told once, good once, for some minutes, for one purpose and one certificate.

They lie among the sessions, and end with the same things: a certificate, an operator, a copy put back.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ca.storage import Transaction
from enroll import timekeeping
from enroll.ra import RegistrationAuthority, token_hash
from gateway.web import store
from gateway.web.sessions import CHALLENGE, IDLE, Session

#: Seconds for which one is good.
GOOD_FOR = 5 * 60


async def ask(ra: RegistrationAuthority, subject: str, fingerprint: str, purpose: str, **facts: Any) -> str:
    """A new one (base64url of 32 random bytes). ``facts``: what whoever answers it is to find again."""
    token, at = secrets.token_urlsafe(32), ra.now()
    row = Session(
        token_hash(token),
        CHALLENGE,
        subject,
        fingerprint,
        {"purpose": purpose, **facts},
        at,
        at,
        at + GOOD_FOR,
    )

    def work(db: Transaction) -> None:
        if timekeeping.doubt_now(ra, db) is None:
            store.drop_sessions_over(db, at, IDLE)
        store.add_session(db, asdict(row) | {"data": json.dumps(row.data)})

    await ra.database.write(work)
    return token


async def take(
    ra: RegistrationAuthority, token: str, subject: str, fingerprint: str, purpose: str
) -> Mapping[str, Any] | None:
    """The facts of one that was told to this very certificate for this purpose, which is used up by that.

    None for any other, and for one that comes late.
    """
    if not token or len(token) > 100 or not token.isascii():
        return None
    found = await ra.database.write(lambda db: store.take_session(db, token_hash(token), CHALLENGE))
    # The clock of whichever node has made it may be a little ahead.
    if found is None or abs(ra.now() - found["created_at"]) >= GOOD_FOR:
        return None
    facts: Mapping[str, Any] = json.loads(found["data"])
    told = (found["subject"], found["fingerprint"], facts["purpose"])
    return facts if told == (subject, fingerprint, purpose) else None
