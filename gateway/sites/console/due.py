"""Until when something is to be done, as lists say it: the day, a word and a colour."""

from __future__ import annotations

from enroll.businessdays import business_days_until
from enroll.jst import day_of
from gateway.web.dates import day
from gateway.web.words import Text


def due(due_at: int | None, now: int) -> tuple[Text, Text, str] | None:
    """The day, how that stands in business days, and its colour. ``due_at``: the first second past it."""
    if due_at is None:
        return None
    on = (day(due_at - 1, "ja"), day(due_at - 1, "en"))
    if due_at <= now:
        return on, ("期限超過", "overdue"), "bad"
    left = business_days_until(now, day_of(due_at - 1))
    if day_of(now) == day_of(due_at - 1):
        return on, ("本日まで", "due today"), "warn"
    return on, (f"あと{left}営業日", f"{left} business day{'' if left == 1 else 's'} left"), "plain"
