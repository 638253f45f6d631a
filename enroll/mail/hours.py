"""When a letter may leave: what somebody waits for at any time, notices while people are awake. Pure."""

from __future__ import annotations

from enroll.jst import day_of, start_of
from enroll.mail.writing import Kind
from enroll.settings import DAY, Settings

#: Kind -> whether it is a notice, which nobody waits for. The others answer what a person has just asked
#: for (an application, a forgotten password): whoever sits there at night is not to wait until eight.
IS_NOTICE: dict[Kind, bool] = {
    "pickup": False,
    "pickup_without_password": False,
    "issue_password": False,
    "issue_password_admin": False,
    "user_id": False,
    "password_reset": False,
    "renewal_30": True,
    "renewal_7": True,
    "renewal_7_admin": True,
    # Nobody asked for it, but a theft may be behind it.
    "renewed_by_another": False,
    # They cannot log in until they have read it.
    "issuer_distrusted": False,
    "ca_ending": False,
    "operator_code": False,
    "break_glass": False,
    "proposal_expired": False,
}


def leaves_from(at: int, settings: Settings) -> int:
    """The first moment from ``at`` on at which notices may leave: ``at`` itself within the hours."""
    opened = opened_at(at, settings)
    if opened is not None:
        return at
    today = start_of(day_of(at)) + settings.notice_opens * 60
    return today if at < today else today + DAY


def opened_at(at: int, settings: Settings) -> int | None:
    """When the hours began that last at a moment; None outside of them. Without any they never began: 0."""
    opens, closes = settings.notice_opens, settings.notice_closes
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
