"""検索: whatever somebody has at hand, typed into the one box of every page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ca.storage import Transaction
from enroll.listings import searching
from enroll.listings.meaning import LONGEST, Meaning
from enroll.listings.searching import FIRST, GROUPS, PAGE, Group
from enroll.requests.enrollment import Enrollment, state_at
from enroll.requests.states import LABELS as STATES
from gateway.sites.console.asking import show
from gateway.sites.console.finding_words import CERTIFICATES, GROUP_WORDS, KINDS, MEANINGS, REQUESTS
from gateway.sites.console.visitors import Visitor
from gateway.web import references
from gateway.web.pages import GATE

SEARCH = "/search"


async def page(request: web.Request, visitor: Visitor) -> web.StreamResponse:
    """The hits in groups, or a page of one group (``group``, ``after``)."""
    ra, text = request.app[GATE].ra, request.query.get("q", "")[:LONGEST].strip()
    only = request.query.get("group", "")
    only = only if only in GROUPS else ""
    after = request.query.get("after", "")[:100] if only else ""
    found = await searching.search(
        ra, visitor.actor, text, group=only, after=after, most=PAGE if only else FIRST
    )
    noted = await ra.database.read(lambda db: _reference(db, found.meanings)) if not only else None
    at = ra.now()
    return show(
        request,
        "search.html",
        visitor,
        q=text,
        only=only,
        after=after,
        found=found,
        reference=noted,
        groups=[group for group in found.groups if group.total],
        words=GROUP_WORDS,
        meanings=[MEANINGS[kind] for kind in dict.fromkeys(each.kind for each in found.meanings)],
        kinds=KINDS,
        requests=REQUESTS,
        state_of=lambda row: STATES[state_at(_enrollment(row), at)],
        standing_of=lambda row: CERTIFICATES[_standing(row, at)],
        more=lambda group: _more(text, group),
        whole=lambda name: f"{SEARCH}?{urlencode({'q': text, 'group': name})}",
    )


def _reference(db: Transaction, meanings: tuple[Meaning, ...]) -> Mapping[str, Any] | None:
    """What is recorded under a reference number that was typed."""
    named = next((meaning.value for meaning in meanings if meaning.kind == "reference"), None)
    return references.found(db, named) if named is not None else None


def _more(text: str, group: Group) -> str:
    """Where the next page of a group is; on the first the group's own beginning, with more rows."""
    return f"{SEARCH}?{urlencode({'q': text, 'group': group.name, 'after': group.further})}"


_OF_REQUESTS = (
    "request_id", "kind", "user_id", "state", "common_name", "profile", "door", "created_at", "submitted_at",
    "window_ends_at", "ended_at", "not_after_at",
)  # fmt: skip


def _enrollment(row: Mapping[str, Any]) -> Enrollment:
    """A row of the store's as far as its state goes."""
    return Enrollment(**{name: row[name] for name in _OF_REQUESTS})


def _standing(row: Mapping[str, Any], at: int) -> str:
    expired = row["status"] == "issued" and row["not_after_at"] < at
    return "expired" if expired else str(row["status"])
