"""What somebody has sent and not decided about yet: kept for their session alone, sealed, and gone with it.

A file that was looked through is not sent a second time to have it done. It is in the database, because the
next request may reach another worker or machine; a few of each subject, the oldest giving way.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Mapping
from typing import Any

from ca.epochs import LostKey
from ca.storage import Transaction
from enroll.ra import RegistrationAuthority
from gateway.web import store
from gateway.web.sessions import Session

#: How many somebody may have.
MOST = 3
#: How one is named in an address.
MARK = "[0-9a-f]{32}"


async def keep(ra: RegistrationAuthority, session: Session, told: Mapping[str, Any]) -> str:
    """Keeps JSON for this session; the mark by which `kept` finds it."""
    mark = secrets.token_hex(16)
    packed = await ra.workers.run_in_thread(_packed, told)

    def work(db: Transaction) -> None:
        row = {
            "mark": mark,
            "session": session.token_hash,
            "subject": session.subject,
            "sealed": ra.epochs.seal(db, store.UPLOAD, mark, packed),
            "created_at": ra.now(),
        }
        store.add_upload(db, row, MOST)

    await ra.database.write(work)
    return mark


async def kept(ra: RegistrationAuthority, session: Session, mark: str) -> Mapping[str, Any] | None:
    """What was kept; None for what is none of this session's, or had to give way."""
    sealed = await ra.database.read(lambda db: store.upload(db, mark, session.token_hash))
    return None if sealed is None else await ra.workers.run_in_thread(_opened, ra, mark, sealed)


async def drop(ra: RegistrationAuthority, mark: str) -> None:
    """Lets go of what was decided."""
    await ra.database.write(lambda db: store.drop_upload(db, mark))


def _packed(told: Mapping[str, Any]) -> bytes:
    return zlib.compress(json.dumps(told, ensure_ascii=False).encode(), 6)


def _opened(ra: RegistrationAuthority, mark: str, sealed: bytes) -> Mapping[str, Any] | None:
    try:
        packed = ra.epochs.open(store.UPLOAD, mark, sealed)
    except LostKey:  # as good as given way: it is sent once more
        return None
    told: Mapping[str, Any] = json.loads(zlib.decompress(packed))
    return told
