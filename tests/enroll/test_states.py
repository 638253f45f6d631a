"""The state table, cell by cell, and what each event does."""

from dataclasses import replace

import pytest

from enroll import store
from enroll.people import applications, register
from enroll.refusals import Refusal
from enroll.requests.enrollment import (
    EndPredecessors,
    Enrollment,
    RevokeCertificate,
    WipeKey,
    advance,
    fetchable,
    state_at,
)
from enroll.requests.states import CAUSES, ENDED, FETCHABLE, LABELS, LIVE, TRANSITIONS, WAITING, Event, State
from enroll.settings import Settings
from gateway.web.words import REFUSALS
from tests.datadirs import admit, open_office
from tests.enroll.test_flow import picked_up
from tests.looking import look

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
    "a": State.ACCEPTED, "m": State.ANNOUNCED, "l": State.AUTHENTICATED, "p": State.PROCESSING,
    "i": State.ISSUED, "d": State.PICKED_UP, "u": State.IN_USE, "c": State.CLOSED,
    "s": State.SUPERSEDED, "n": State.RENEWED, "r": State.REVOKED, "w": State.WITHDRAWN,
}  # fmt: skip
EVENTS = list(Event)
EXPECTED = """
               announce authenticate submit issue download use close supersede replace revoke withdraw
accepted       m        l            p      .     .        .   c     s         .       .      w
announced      m        l            p      .     .        .   c     s         .       .      w
authenticated  l        l            p      .     .        .   c     s         .       .      w
processing     p        p            p      i     .        .   .     s         .       r      w
issued         i        i            i      i     d        u   c     s         n       r      .
picked_up      d        d            d      d     d        u   d     s         n       r      .
in_use         u        .            .      .     .        u   u     s         n       r      .
closed         .        .            .      .     .        .   .     .         .       .      .
superseded     .        .            .      .     .        .   .     .         .       .      .
renewed        .        .            .      .     .        .   .     .         .       .      .
revoked        .        .            .      .     .        .   .     .         .       .      .
withdrawn      .        .            .      .     .        .   .     .         .       .      .
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
    """The expectation names every state that is stored and every event, and each state has two labels."""
    stored = set(State) - {State.EXPIRED}
    assert {(s, e) for s, e, _ in cells()} == {(s, e) for s in stored for e in Event}
    assert set(TRANSITIONS) == set(State) == set(LABELS)


def test_expired_is_never_stored():
    """A stored state claims no more than what was done: no event leads to what a date alone says."""
    reached = {following for row in TRANSITIONS.values() for following in row.values()}
    assert State.EXPIRED not in reached
    assert reached == set(State) - {State.EXPIRED, State.ACCEPTED}


YEAR = 365 * 86_400
WAITS = replace(BASE, window_ends_at=AT)
RENEWS = replace(WAITS, kind="renewal")
HELD = replace(WITH_KEY, state=State.IN_USE, submitted_at=AT - 9, not_after_at=AT - 1)


@pytest.mark.parametrize(
    ("enrollment", "before", "then"),
    [
        (WAITS, State.ACCEPTED, State.CLOSED),
        (RENEWS, State.ACCEPTED, State.EXPIRED),
        (replace(WAITS, submitted_at=AT - 9, state=State.PROCESSING), State.PROCESSING, State.PROCESSING),
        (replace(WAITS, window_ends_at=None), State.ACCEPTED, State.ACCEPTED),
        (replace(HELD, state=State.ISSUED), State.ISSUED, State.EXPIRED),
        (replace(HELD, state=State.PICKED_UP), State.PICKED_UP, State.EXPIRED),
        (HELD, State.IN_USE, State.EXPIRED),
        # Ended before its time: that is the cause, also afterwards.
        (replace(HELD, state=State.REVOKED, ended_at=AT - 5), State.REVOKED, State.REVOKED),
        (replace(HELD, state=State.CLOSED, ended_at=AT - 5), State.CLOSED, State.CLOSED),
        (replace(WAITS, state=State.WITHDRAWN, ended_at=AT - 5), State.WITHDRAWN, State.WITHDRAWN),
        # Expired or over first, and replaced afterwards: time was the cause.
        (replace(HELD, state=State.SUPERSEDED, ended_at=AT + 5), State.SUPERSEDED, State.EXPIRED),
        (replace(WAITS, state=State.SUPERSEDED, ended_at=AT + 5), State.SUPERSEDED, State.CLOSED),
    ],
)
def test_what_time_ends_is_computed(enrollment, before, then):
    """From its date on it is over, a second before it is not: whatever the clock said in between."""
    for _ in ("once", "and again"):
        assert state_at(enrollment, AT - 1) is before
        assert state_at(enrollment, AT) is then
        assert state_at(enrollment, AT + 4 * YEAR) is then


def test_each_cause_has_its_own_words():
    """Whoever comes with a certificate that has ended reads why, and reads nothing else: the whole table."""
    assert set(CAUSES) == ENDED
    for language in (0, 1):
        said = [(REFUSALS[code].title[language], REFUSALS[code].text[language]) for code in CAUSES.values()]
        assert len({title for title, _ in said}) == len({text for _, text in said}) == len(CAUSES)
        assert len({label[language] for label in LABELS.values()}) == len(State)
    told_of_reissue = [state for state, label in LABELS.items() if "再発行" in label[0]]
    told_of_reissue += [state for state, code in CAUSES.items() if "再発行により" in REFUSALS[code].text[0]]
    assert set(told_of_reissue) == {State.SUPERSEDED}


def test_the_manuals_words_are_the_manuals():
    """R42: 証明書生成中 and 発行済み, verbatim."""
    assert (LABELS[State.PROCESSING][0], LABELS[State.ISSUED][0]) == ("証明書生成中", "発行済み")


def test_issue_opens_the_window():
    """E1: thirty days count from the first issue; a second one changes nothing."""
    issued, _ = advance(replace(WITH_KEY, state=State.PROCESSING, issued_at=None), Event.ISSUE, AT, SETTINGS)
    assert issued.window_ends_at == AT + 30 * 86_400
    assert advance(issued, Event.ISSUE, AT + 5, SETTINGS) == (issued, ())


@pytest.mark.parametrize("event", [Event.USE, Event.CLOSE, Event.REVOKE, Event.REPLACE])
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


#: What ends an enrollment beside its certificate's own revocation, and why that certificate then ends.
OWN_ENDS = {(State.ISSUED, Event.SUPERSEDE): 4, (State.PICKED_UP, Event.SUPERSEDE): 4}
OWN_ENDS |= {(State.IN_USE, Event.SUPERSEDE): 4, (State.PROCESSING, Event.SUPERSEDE): 4}
OWN_ENDS |= {(State.ISSUED, Event.CLOSE): 5}


@pytest.mark.parametrize(("state", "event", "expected"), list(cells()))
def test_a_certificate_ends_with_its_enrollment(state, event, expected):
    """Each cell: an end of ours revokes what exists; what a revocation itself brought about does not."""
    if expected is None:
        return
    serial = None if state in WAITING else "ab"
    effects = advance(replace(WITH_KEY, state=state, serial=serial), event, AT, SETTINGS)[1]
    reasons = [effect.reason for effect in effects if isinstance(effect, RevokeCertificate)]
    assert reasons == ([OWN_ENDS[state, event]] if (state, event) in OWN_ENDS else [])


def test_the_causes_as_literals():
    """Which state is told as which refusal, and which states are which: a row that is lost is noticed."""
    assert {state.value: code for state, code in CAUSES.items()} == {
        "closed": "pickup_over", "superseded": "superseded", "renewed": "renewed", "revoked": "revoked",
        "expired": "renewal_over", "withdrawn": "withdrawn",
    }  # fmt: skip
    assert sorted(WAITING) == ["accepted", "announced", "authenticated"]
    assert sorted(FETCHABLE) == ["issued", "picked_up"]
    assert sorted(LIVE) == ["in_use", "issued", "picked_up"]


@pytest.mark.parametrize(
    ("state", "event", "stamp"),
    [
        (State.ACCEPTED, Event.ANNOUNCE, "announced_at"),
        (State.ANNOUNCED, Event.SUBMIT, "submitted_at"),
        (State.PROCESSING, Event.ISSUE, "issued_at"),
        (State.ISSUED, Event.DOWNLOAD, "picked_up_at"),
        (State.PICKED_UP, Event.USE, "used_at"),
    ],
)
def test_when_it_happened_first_is_kept(state, event, stamp):
    """Each event stamps its own moment and no other, once: a second time leaves the first."""
    stamps = {"announced_at", "submitted_at", "issued_at", "picked_up_at", "used_at"}
    before = replace(BASE, state=state)
    after = advance(before, event, AT, SETTINGS)[0]
    assert {name for name in stamps if getattr(after, name) == AT} == {stamp}
    again = replace(after, state=state)
    assert getattr(advance(again, event, AT + 5, SETTINGS)[0], stamp) == AT


async def test_who_comes_second_changes_nothing(tmp_path):
    """Of two that read the same request the first to write wins, be it a move or a download only: the other
    hears that it was changed, and may look again."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        (seen,) = store.enrollments_of(look(ra.database), "K12345678")
        moved = replace(seen, state=State.AUTHENTICATED)
        counted = replace(seen, downloads=1)

        def both(first, second):
            def work(db):
                told = store.change_enrollment(db, seen, first), store.change_enrollment(db, seen, second)
                found = store.enrollment(db, seen.request_id)
                assert store.change_enrollment(db, found, seen)
                return told, found

            return work

        for first, second in ((moved, counted), (counted, moved), (moved, moved), (counted, counted)):
            told, found = await ra.database.write(both(first, second))
            assert (told, found) == ((True, False), first)


async def test_an_application_is_decided_once(tmp_path):
    """The second decision changes nothing, whichever it is and whoever makes it."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        number = (
            await applications.apply_reissue(
                ra, "K12345678", "pc_change", channel="online", actor="K12345678"
            )
        ).number

        def decided(db):
            told = [
                store.decide_application(db, number, state, by, AT, note, None)
                for state, by, note in (("rejected", "one", "no"), ("approved", "two", ""))
            ]
            return told, store.application(db, number)

        told, found = await ra.database.write(decided)
        assert told == [True, False]
        assert (found.state, found.decided_by, found.note) == ("rejected", "one", "no")


async def test_every_end_is_in_the_trail(tmp_path):
    """Who disabled a user, which certificates ended by it and why, and what became of the request."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        _, request_id = await picked_up(ra)
        serial = store.enrollment(look(ra.database), request_id).serial
        assert await register.disable_user(ra, "K12345678", actor="operator:me") == 1
        trail = store.audit_page(look(ra.database), None, 4)
    assert {(row["actor"], row["action"], row["subject"]) for row in trail} == {
        ("operator:me", "user.disabled", "K12345678"),
        ("operator:me", "certificate.revoked", serial),
        ("operator:me", "enrollment.revoke", request_id),
        ("operator:me", "key.wiped", request_id),
    }
    details = {row["action"]: row["detail"] for row in trail}
    assert details["certificate.revoked"] == {"reason": "privilegeWithdrawn"}
    assert (details["enrollment.revoke"]["before"], details["enrollment.revoke"]["after"]) == (
        "picked_up",
        "revoked",
    )
