"""Moments and days as pages write them in a sentence, a notice and everywhere at the console. Pure.

A cell of a table on people's pages has the manual's form instead (R41, `enroll.jst.shown`): it is compared
with the manual, with mails and with what stands above and below it."""

from __future__ import annotations

from enroll.jst import in_japan

_WEEKDAYS = "月火水木金土日"


def moment(at: int, language: str) -> str:
    """A moment as people write it: 2026年5月1日（金）14:05, or 1 May 2026 (Fri) 14:05.

    In English a line may end before the day of the week, and nowhere else.
    """
    when = in_japan(at)
    if language == "ja":
        day = f"{when.year}年{when.month}月{when.day}日（{_WEEKDAYS[when.weekday()]}）"
        return f"{day}{when:%H:%M}"
    space = "\N{NO-BREAK SPACE}"
    return f"{when.day}{space}{when:%b}{space}{when:%Y (%a)}{space}{when:%H:%M}"


def day(at: int, language: str) -> str:
    """The day of a moment, as `moment` writes it."""
    return moment(at, language).rstrip("0123456789:").rstrip()
