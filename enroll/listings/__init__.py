"""What operators look through: registers of any length, newest first, a page of rows at a time.

Each page is a read of its own that begins after the last row of the page before, so that no read stays open
while somebody scrolls, and 100,000 rows take no more memory than one page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ca.storage import Storage, Transaction
from enroll import store as rooms
from enroll.listings import store as pages
from enroll.listings.store import Acts, CertificateState, Letters, Wanted
from enroll.requests.enrollment import Enrollment
from enroll.store import User, as_enrollment, as_user

__all__ = (
    "Acts", "CertificateState", "Letters", "Wanted", "applications", "audit", "audit_before", "certificates",
    "count_audit", "holders", "letters", "letters_before", "requests", "users",
)  # fmt: skip

R = TypeVar("R")
_PAGE = 1_000
# Of half a million lines these are each fiftieth.
_FEW = 10_000
# What only those need of a line who verify it.
_OF_THE_CHAIN = ("salt", "digest")
_BEYOND = 2**62


def users(database: Storage, wanted: Wanted) -> Iterator[User]:
    """Users by user ID; ``state``: active or disabled (with their organisation). With an end, those who have
    a live certificate that ends then."""
    found = _pages(database, lambda db, last: pages.users(db, wanted, last, _PAGE), "user_id", "")
    return map(as_user, found)


def certificates(database: Storage, wanted: Wanted, at: int) -> Iterator[Mapping[str, Any]]:
    """Certificates, newest first, without their bytes; ``state`` is as ``CertificateState``.

    ``name`` is a part of the common name, or of the name of whose it is.
    """
    found = _pages(database, lambda db, last: pages.certificates(db, wanted, at, last, _PAGE), "number")
    return ({**row} for row in found)


def holders(database: Storage, issuer_id: str, at: int) -> Iterator[Mapping[str, Any]]:
    """Certificates of an issuing CA that have not ended, newest first, with whose each is
    (`store.holders`)."""
    found = _pages(database, lambda db, last: pages.holders(db, issuer_id, at, last, _PAGE), "number")
    flags = ("followed", "invited")
    return ({**row} | {name: bool(row[name]) for name in flags} for row in found)


def requests(database: Storage, user_id: str | None = None) -> Iterator[Enrollment]:
    """Request IDs, newest first: in the order in which they were recorded, whatever the clock said."""
    found = _pages(database, lambda db, last: pages.requests(db, user_id, last, _PAGE), "number")
    return map(as_enrollment, found)


def letters(database: Storage, wanted: Letters) -> Iterator[Mapping[str, Any]]:
    """Letters without their bodies, newest first."""
    found = _pages(database, lambda db, last: pages.letters(db, wanted, last, _PAGE), "id")
    return ({**row} for row in found)


def letters_before(db: Transaction, wanted: Letters, last: int, limit: int) -> Sequence[Mapping[str, Any]]:
    """So many letters before a number, newest first."""
    return [{**row} for row in pages.letters(db, wanted, last, limit)]


def applications(database: Storage, state: str | None = None) -> Iterator[rooms.Application]:
    """Applications, newest first."""
    last = _BEYOND
    while page := _page(database, lambda db, b: rooms.applications(db, state, before=b, limit=_PAGE), last):
        yield from page
        last = page[-1].id


def audit(database: Storage, wanted: Acts) -> Iterator[Mapping[str, Any]]:
    """Lines of the trail that are asked for, newest first."""
    found = _pages(database, lambda db, last: pages.audit(db, wanted, last, _PAGE), "id")
    return (
        {name: row[name] for name in row.keys() if name not in _OF_THE_CHAIN}  # noqa: SIM118  # no mapping
        | {"detail": json.loads(row["detail"] or "{}")}
        for row in found
    )


def count_audit(db: Transaction, wanted: Acts) -> int:
    """How many lines of the trail are asked for."""
    return pages.count_audit(db, wanted)


def audit_before(
    db: Transaction, wanted: Acts, last: int, limit: int, counted: int
) -> Sequence[Mapping[str, Any]]:
    """So many lines before a number, newest first, whole and as they are stored; ``counted``: how many there
    are of what is asked for. Few are found first and then put in order, among many the next is soon met."""
    found = pages.few_audit if counted <= _FEW else pages.audit
    return [{**row} for row in found(db, wanted, last, limit)]


def _pages(
    database: Storage, page_after: Callable[[Transaction, Any], Sequence[R]], key: str, first: Any = _BEYOND
) -> Iterator[R]:
    """Page after page. ``key``: the column by whose last value the next one is found."""
    last = first
    while page := _page(database, page_after, last):
        yield from page
        last = page[-1][key]  # type: ignore[index]  # rows, as dictionaries or as they are


def _page(database: Storage, page_after: Callable[[Transaction, Any], R], last: Any) -> R:
    return database.read_now(lambda db: page_after(db, last))
