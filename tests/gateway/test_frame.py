"""The tables behind the pages: no code without words, no open hour on a holiday."""

import re
from datetime import datetime

import pytest

from ca.trust import CertificateState
from enroll.businessdays import business_day_after
from enroll.jst import JST
from enroll.refusals import CODES
from gateway.web import pages
from gateway.web.hours import DESK
from gateway.web.words import CERTIFICATE, REFUSALS


def test_every_refusal_has_words():
    """A code that the enrollment side can raise has a page in both languages."""
    assert set(CODES) - set(REFUSALS) == set()


def test_every_certificate_state_but_valid_has_words():
    """No certificate problem ends in a raw error."""
    assert set(CertificateState) - set(CERTIFICATE) == {CertificateState.VALID}


def at(text):
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=JST).timestamp())


@pytest.mark.parametrize(
    ("moment", "is_open", "opens"),
    [
        ("2026-11-24 09:00", True, "2026-11-24 09:00"),
        ("2026-11-24 12:00", False, "2026-11-24 13:00"),
        ("2026-11-23 10:00", False, "2026-11-24 09:00"),  # 勤労感謝の日
        ("2026-11-21 10:00", False, "2026-11-24 09:00"),  # Saturday before it
        ("2026-12-30 17:00", False, "2027-01-04 09:00"),
    ],
)
def test_desk_hours(moment, is_open, opens):
    """R55: weekdays 9-12 and 13-17, not on holidays, not from 12/31 to 1/3."""
    assert (DESK.closes_at(at(moment)) is not None, DESK.opens_at(at(moment))) == (is_open, at(opens))


@pytest.mark.parametrize(
    ("moment", "days", "expected"),
    [
        ("2026-11-19 23:30", 1, "2026-11-20"),
        ("2026-11-20 00:30", 1, "2026-11-24"),  # Friday in Japan, Thursday in Greenwich; Monday is a holiday
        ("2026-12-29 08:59", 3, "2027-01-05"),  # 30 December, then the 4th and 5th of January
    ],
)
def test_business_days_are_japans(moment, days, expected):
    """E25: counted from Japan's day, over week-ends, holidays and the end of the year."""
    assert business_day_after(at(moment), days).isoformat() == expected


def test_the_sheets_name_colours_in_their_palettes_only() -> None:
    """A colour that stands anywhere else is the same in the dark; white on our brand stays so."""
    for name in ("style.css", "help.css"):
        text = pages._ASSETS[name].decode()
        assert text.count("{") == text.count("}")
        assert not re.search(r"^(?:<<<<<<<|=======|>>>>>>>)", text, re.MULTILINE), name
        rules = re.sub(r":root \{[^}]*\}", "", re.sub(r"@media print \{.*?\n\}", "", text, flags=re.DOTALL))
        assert set(re.findall(r"#[0-9a-f]{3,8}\b", rules)) <= {"#fff"}, name
