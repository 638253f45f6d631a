"""Bounces: hostile bytes become a bounce or a refusal, and the desk sees which letter came back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll import store
from enroll.mail import store as mail_store
from enroll.mail.bounces import MAX_BYTES, Bounce, parse_bounce, record_bounce
from enroll.refusals import Refusal
from tests.datadirs import START, admit, delivered, open_office
from tests.looking import look

# As RFC 3464 appendix E has it.
DSN = """\
From: MAILER-DAEMON@mx.example.jp
To: bounce@kinen-bs.com
Subject: Returned mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b

The following address failed.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.jp

Final-Recipient: rfc822; taro@example.jp
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User
 unknown

--b
Content-Type: {kind}

From: cpbs_ct@kinen-bs.com
Message-ID: <{letter}@kinen-bs.com>
Subject: x

--b--
"""


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


def dsn(letter=f"letter-1.{START}", action="failed", kind="message/rfc822"):
    return DSN.format(letter=letter, action=action, kind=kind).encode()


@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers"])
def test_a_bounce_names_the_letter(kind):
    """RFC 3464, RFC 6522: the whole letter comes back, or only its headers."""
    assert parse_bounce(dsn(kind=kind)) == Bounce(1, START, "5.1.1 smtp; 550 5.1.1 User unknown")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (dsn(action="delayed"), "tells of no delivery that failed"),
        (dsn(letter="somebody-else.1"), "none of ours"),
        (b"Subject: hello\n\nletter-1.2", "tells of no delivery that failed"),
        (b"", "tells of no delivery that failed"),
        (b"Content-Type: message/rfc822\n\n" * 3_000, "nested too deeply"),
        (b"x" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_bounce_of_ours_is_refused(content, why):
    """A delay is no failure, and somebody else's mail is not ours."""
    with pytest.raises(Refusal, match=why) as raised:
        parse_bounce(content)
    assert (raised.value.code, raised.value.field) == ("invalid_input", "bounce")


@given(st.binary(max_size=300), st.integers(0, 700))
def test_any_bytes_give_a_bounce_or_a_refusal(junk, place):
    """House rule 1."""
    whole = dsn()
    for content in (junk, whole[:place] + junk + whole[place:]):
        with suppress(Refusal):
            assert parse_bounce(content).said.isprintable()


async def test_the_desk_sees_what_came_back(ra):
    """R10, R17: accepted, then bounced; a second notification changes nothing."""
    await admit(ra)
    await delivered(ra)
    bounce = parse_bounce(dsn())
    assert await record_bounce(ra, bounce, actor="test")
    letter = mail_store.shown(look(ra.database), 1)
    assert (letter["state"], letter["result"]) == ("failed", "bounced: 5.1.1 smtp; 550 5.1.1 User unknown")
    assert not await record_bounce(ra, bounce, actor="test")
    trail = store.audit_page(look(ra.database), letter["user_id"], 20)
    assert [line["action"] for line in trail].count("mail.bounced") == 1


@pytest.mark.parametrize(
    ("number", "created_at", "sent"), [(1, START + 1, True), (9, START, True), (1, START, False)]
)
async def test_nobody_else_marks_a_letter(ra, number, created_at, sent):
    """A number alone is guessed; the moment goes with it, and what was never sent cannot come back."""
    await admit(ra)
    if sent:
        await delivered(ra)
    with pytest.raises(Refusal) as raised:
        await record_bounce(ra, Bounce(number, created_at, "x"), actor="test")
    assert (raised.value.code, raised.value.field) == ("not_found", "mail")
    assert mail_store.shown(look(ra.database), 1)["state"] == ("sent" if sent else "queued")
