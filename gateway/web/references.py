"""Reference numbers: what a person reads to the help desk, and what the desk finds under it."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ca.sealing import BrokenSeal
from ca.storage import StorageError, Transaction
from enroll import identifiers, timekeeping
from enroll.ra import RegistrationAuthority
from gateway.web import store

log = logging.getLogger("sekisho.references")

# Seconds that somebody waits for the record of what is wrong: the database may be what is.
_PATIENCE = 2.0
# Spoken over a telephone: no letters that sound or look alike.
_ALPHABET = "2345679ACFHJKMNPRTWXY"
# Kept this long, in seconds: a call comes within days.
_KEPT = 90 * 86_400
#: Records of one kind (site and code) that are kept: whoever makes us write many fills no disk with
#: them, and pushes out only others of that kind.
KEPT_PER_KIND = 10_000
# Characters of a value that are kept: a path can have thousands.
_LONGEST = 200
_PAGE_PURPOSE = "page of a reference number"
_PAGE_SECONDS = 600


async def note(ra: RegistrationAuthority, site: str, code: str, **detail: Any) -> str:
    """Records what happened to somebody and returns the number, such as ``7K2M-94XA``.

    ``detail`` holds names, states and addresses, never a secret. A page about what is wrong needs no
    database: what cannot be recorded there, or not soon, stands in the log under its number.
    """
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    reference = f"{letters[:4]}-{letters[4:]}"
    at = ra.now()
    kept = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in detail.items()}

    def work(db: Transaction) -> None:
        if timekeeping.doubt_now(ra, db) is None:
            store.drop_old_references(db, at - _KEPT)
        store.keep_references(db, site, code, KEPT_PER_KIND - 1)
        store.add_reference(db, reference, at, site, code, _stored(kept), _about(code, kept))

    try:
        async with asyncio.timeout(_PATIENCE):
            await ra.database.write(work)
    except (StorageError, TimeoutError) as error:
        name = error.name if isinstance(error, StorageError) else type(error).__name__
        log.error("reference %s not recorded (%s): %s %s %s", reference, name, site, code, _stored(kept))
    return reference


async def amend(ra: RegistrationAuthority, reference: str, site: str, visit: str, **detail: Any) -> bool:
    """Adds to what is recorded under a number, if it was recorded for the same ``visit``; whether it was.

    ``visit`` is a value in the detail of ``note`` that only its visitor can repeat.
    """

    def work(db: Transaction) -> bool:
        kept = found(db, reference)
        if not visit or kept is None or kept["site"] != site or kept["detail"].get("visit") != visit:
            return False
        merged = _stored(kept["detail"] | detail)
        store.amend_reference(db, kept["reference"], merged)
        return True

    return await ra.database.write(work)


def found(db: Transaction, reference: str) -> dict[str, Any] | None:
    """What is recorded under a number, however it was typed; None if nothing."""
    tidy = identifiers.typed(reference).upper()
    row = store.reference(db, f"{tidy[:4]}-{tidy[4:]}")
    return None if row is None else {**row, "detail": json.loads(row["detail"])}


def about(db: Transaction, names: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """What is recorded about somebody with these user IDs and common names, newest first."""
    rows = store.references_about(db, names, limit) if names else []
    return [{**row, "detail": json.loads(row["detail"])} for row in rows]


def _about(code: str, detail: Mapping[str, Any]) -> str:
    """Whose page it was. What a certificate of anybody's making says of its holder is not believed."""
    if code.rpartition(".")[2] in _CLAIMED:
        return ""
    return str(detail.get("user_id") or detail.get("user") or detail.get("common_name") or "")


# Certificate states in which nothing of the certificate was verified.
_CLAIMED = frozenset({"unknown_issuer", "wrong_purpose", "unknown_certificate", "unverified", "malformed"})


def page_key(ra: RegistrationAuthority, reference: str) -> str:
    """Opens the page of a record to the help desk, for ten minutes: made for an operator who asked for the
    record. A number alone, which is read out over telephones, opens nothing."""
    told = json.dumps([reference, ra.now() + _PAGE_SECONDS])
    return ra.vault.seal(_PAGE_PURPOSE, told.encode()).hex()


def opened(ra: RegistrationAuthority, key: str) -> str | None:
    """The number that a key was made for; None for one that is none, or too old."""
    try:
        reference, until = json.loads(ra.vault.open(_PAGE_PURPOSE, bytes.fromhex(key)))
    except (BrokenSeal, ValueError):
        return None
    return str(reference) if ra.now() < until else None


def _stored(detail: Mapping[str, Any]) -> str:
    # Header fields are any bytes, and aiohttp hands over those that are no UTF-8 as lone surrogates.
    text = json.dumps(detail, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace").decode("utf-8")
