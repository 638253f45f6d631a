"""When a letter may leave: what somebody waits for at any time, the others while people are awake. Pure."""

from __future__ import annotations

from enroll.jst import day_of, start_of
from enroll.mail.states import Pace
from enroll.mail.writing import Kind
from enroll.settings import DAY, Settings

#: Kind -> how long it may wait. A letter that somebody has just asked for, with a new password or code, finds
#: him or her at the screen or on the telephone, at whatever hour.
PACE: dict[Kind, Pace] = {
    "pickup": Pace.BY_DAY,
    "pickup_without_password": Pace.BY_DAY,
    # A postcard: it wakes nobody, and its printer may work at night.
    "issue_password": Pace.AT_ONCE,
    "issue_password_admin": Pace.BY_DAY,
    "user_id": Pace.BY_DAY,
    "password_reset": Pace.AT_ONCE,
    "renewal_30": Pace.NOTICE,
    "renewal_7": Pace.NOTICE,
    "renewal_7_admin": Pace.NOTICE,
    # Nobody asked for it, but a theft may be behind it.
    "renewed_by_another": Pace.AT_ONCE,
    # They cannot log in until they have read it, which they do in the morning.
    "issuer_distrusted": Pace.BY_DAY,
    "ca_ending": Pace.BY_DAY,
    "operator_code": Pace.AT_ONCE,
    "break_glass": Pace.AT_ONCE,
    "operator_ending": Pace.NOTICE,
    "proposal_expired": Pace.BY_DAY,
}


def leaves_from(at: int, settings: Settings, pace: Pace) -> int:
    """The first moment from ``at`` on at which a letter may leave: ``at`` itself within its hours."""
    opened = opened_at(at, settings, pace)
    if opened is not None:
        return at
    today = start_of(day_of(at)) + _hours(settings, pace)[0] * 60
    return today if at < today else today + DAY


def opened_at(at: int, settings: Settings, pace: Pace) -> int | None:
    """When the hours began that last at a moment; None outside of them. Without any they never began: 0."""
    opens, closes = _hours(settings, pace)
    if opens == closes:
        return 0
    midnight = start_of(day_of(at))
    minute = (at - midnight) // 60
    if opens < closes:
        return midnight + opens * 60 if opens <= minute < closes else None
    # Over midnight: 22:00-06:00.
    if minute >= opens:
        return midnight + opens * 60
    return midnight - DAY + opens * 60 if minute < closes else None


def _hours(settings: Settings, pace: Pace) -> tuple[int, int]:
    """Minutes of Japan's day; two that are equal: any time."""
    if pace is Pace.NOTICE:
        return settings.notice_opens, settings.notice_closes
    return (settings.letter_opens, settings.letter_closes) if pace is Pace.BY_DAY else (0, 0)
