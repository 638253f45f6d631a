"""/v1/audit-events: the record, newest first; who may see the own lines alone gets those."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ca.storage import Transaction
from enroll.listings import Acts
from enroll.operators import trail
from enroll.operators.trail import Page
from gateway.sites.api import records
from gateway.sites.api.calls import Answer, Call
from gateway.sites.api.certificates import seconds
from gateway.sites.api.reading import Line, Paged, cursor_of, numbers_after

_BEYOND = 2**62


class Some(Paged, frozen=True):
    """Which lines are listed. ``actor`` and ``action``: how they begin; ``about``: user, request or anything
    else that has a name."""

    actor: Line | None = None
    action: Line | None = None
    about: Line | None = None
    since: datetime | None = None
    before: datetime | None = None


async def listed(call: Call) -> Answer:
    """Those that are asked for, with how many there are of them in all."""
    asked: Some = call.query
    after = numbers_after(asked.cursor)
    wanted = Acts(
        actor=asked.actor,
        action=asked.action,
        since=seconds("since", asked.since),
        before=seconds("before", asked.before),
    )

    def work(db: Transaction) -> Page:
        narrowed = trail.about(db, asked.about, wanted) if asked.about else wanted
        return trail.page(db, call.actor, narrowed, after[0] if after else _BEYOND, asked.limit)

    page: Page = await call.read(work)
    following = "" if page.further is None else cursor_of(page.further)
    return Answer(
        records.page([records.line(_read(each)) for each in page.lines], following, total=page.total)
    )


def _read(line: Any) -> dict[str, Any]:
    """A line that was purged has no detail."""
    return {**line, "detail": None if line["detail"] is None else json.loads(line["detail"] or "{}")}
