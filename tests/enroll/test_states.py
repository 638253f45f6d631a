"""The state table, cell by cell, and what each event does."""

from dataclasses import replace

import pytest

from enroll.enrollment import (
    EndPredecessors,
    Enrollment,
    RevokeCertificate,
    WipeKey,
    advance,
    fetchable,
)
from enroll.refusals import Refusal
from enroll.settings import Settings
from enroll.states import ENDED, LABELS, TRANSITIONS, Event, State

AT = 1_800_000_000
SETTINGS = Settings()
BASE = Enrollment(
    request_id="1234567890123452",
    kind="addition",
    user_id="K12345678",
    state=State.ACCEPTED,
    common_name="K123456780001",
    profile="client-person",
    door="page",
    created_at=AT - 100,
    window_ends_at=AT + 1000,
)
WITH_KEY = replace(BASE, serial="ab", sealed_key=b"sealed", issued_at=AT - 10)

# One row per state, one letter per event: what it leads to, "." for refused.
LETTERS = {
    "a": State.ACCEPTED, "n": State.ANNOUNCED, "l": State.AUTHENTICATED, "p": State.PROCESSING,
    "i": State.ISSUED, "d": State.PICKED_UP, "u": State.IN_USE, "c": State.CLOSED,
    "s": State.SUPERSEDED, "r": State.REVOKED, "e": State.EXPIRED, "w": State.WITHDRAWN,
}  # fmt: skip
EVENTS = list(Event)
EXPECTED = """
               announce authenticate submit issue download use close supersede revoke expire withdraw
accepted       n        l            p      .     .        .   c     s         .      e      w
announced      n        l            p      .     .        .   c     s         .      e      w
authenticated  l        l            p      .     .        .   c     s         .      e      w
processing     p        p            p      i     .        .   .     s         r      .      w
issued         i        i            i      i     d        u   c     s         r      e      w
picked_up      d        d            d      d     d        u   d     s         r      e      w
in_use         .        .            .      .     .        u   u     s         r      e      w
closed         .        .            .      .     .        .   .     .         .      .      .
superseded     .        .            .      .     .        .   .     .         .      .      .
revoked        .        .            .      .     .        .   .     .         .      .      .
expired        .        .            .      .     .        .   .     .         .      .      .
withdrawn      .        .            .      .     .        .   .     .         .      .      .
"""


def cells():
    head, *body = [line.split() for line in EXPECTED.strip().splitlines()]
    for name, *letters in body:
        for event, letter in zip(head, letters, strict=True):
            yield State(name), Event(event), LETTERS.get(letter)


@pytest.mark.parametrize(("state", "event", "expected"), list(cells()))
def test_every_cell(state, event, expected):
    """Every (state, event) leads where the table says, or is refused with Z4's code."""
    if expected is None:
        with pytest.raises(Refusal) as refused:
            advance(replace(BASE, state=state), event, AT, SETTINGS)
        assert refused.value.code == "not_available"
    else:
        assert advance(replace(BASE, state=state), event, AT, SETTINGS)[0].state is expected


def test_the_table_is_complete():
    """The expectation names every state and event that exists, and each state has two labels."""
    assert {(s, e) for s, e, _ in cells()} == {(s, e) for s in State for e in Event}
    assert set(TRANSITIONS) == set(State) == set(LABELS)


def test_the_manuals_words_are_the_manuals():
    """R42: 証明書生成中 and 発行済み, verbatim."""
    assert (LABELS[State.PROCESSING][0], LABELS[State.ISSUED][0]) == ("証明書生成中", "発行済み")


def test_issue_opens_the_window():
    """E1: thirty days count from the first issue; a second one changes nothing."""
    issued, _ = advance(replace(WITH_KEY, state=State.PROCESSING, issued_at=None), Event.ISSUE, AT, SETTINGS)
    assert issued.window_ends_at == AT + 30 * 86_400
    assert advance(issued, Event.ISSUE, AT + 5, SETTINGS) == (issued, ())


@pytest.mark.parametrize("event", [Event.USE, Event.CLOSE, Event.REVOKE, Event.EXPIRE])
def test_the_key_is_wiped_when_it_has_served(event):
    """D2: at first login, at the window's end, and at every other end."""
    after, effects = advance(replace(WITH_KEY, state=State.PICKED_UP), event, AT, SETTINGS)
    assert after.sealed_key is None
    assert WipeKey(BASE.request_id) in effects


def test_the_key_is_kept_while_it_may_be_fetched():
    """Rejection twin: a download wipes nothing."""
    after, effects = advance(replace(WITH_KEY, state=State.ISSUED), Event.DOWNLOAD, AT, SETTINGS)
    assert (after.sealed_key, effects) == (b"sealed", ())


def test_a_reissue_ends_the_others_on_the_first_pickup_only():
    """D3: predecessors end with the first download of an on_pickup reissue."""
    reissue = replace(WITH_KEY, kind="reissue", revoke_old="on_pickup", state=State.ISSUED)
    after, effects = advance(reissue, Event.DOWNLOAD, AT, SETTINGS)
    assert effects == (EndPredecessors(BASE.user_id, BASE.request_id),)
    assert advance(after, Event.DOWNLOAD, AT, SETTINGS)[1] == ()


def test_a_certificate_nobody_fetched_is_revoked_with_its_window():
    """Nobody can use it, so nobody shall seem to; one that was fetched lives on."""
    _, effects = advance(replace(WITH_KEY, state=State.ISSUED), Event.CLOSE, AT, SETTINGS)
    assert RevokeCertificate("ab", 5) in effects
    _, effects = advance(replace(WITH_KEY, state=State.PICKED_UP), Event.CLOSE, AT, SETTINGS)
    assert effects == (WipeKey(BASE.request_id),)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"downloads": 5}, False),
        ({"window_ends_at": AT}, False),
        ({"sealed_key": None}, False),
        ({"state": State.IN_USE}, False),
        ({"state": State.PROCESSING}, False),
    ],
)
def test_fetchable(change, expected):
    """E1: within the window, downloads left, the key there, the state right."""
    enrollment = replace(WITH_KEY, **({"state": State.ISSUED} | change))
    assert fetchable(enrollment, AT, SETTINGS) is expected


def test_ended_means_ended():
    """Terminal states have no way out."""
    assert all(TRANSITIONS[state] == {} for state in ENDED)
