"""When a wall clock is believed: every leap of the issue, and what vouches for the time."""

import os
import time
from dataclasses import replace

import pytest

from ca.clock import ManualClock, OffsetClock, SystemClock
from ca.timekeeping import Allowance, Doubt, Known, Reading, doubt_of, expected_of

DAY = 86_400
AT = 1_795_316_400
TICK = Reading(AT, 5_000.0, "this")
KNOWN = Known(TICK)
ALLOWED = Allowance(7 * DAY, 600)


def later(seconds, *, off=0, boot="this", awake=None):
    """A reading so many seconds after the tick, its wall clock off by so many."""
    counted = TICK.awake + seconds if awake is None else awake
    return Reading(AT + seconds + off, counted, boot)


@pytest.mark.parametrize(
    ("off", "kind"),
    [
        (4 * 365 * DAY, "ahead"),
        (365 * DAY, "ahead"),
        (31 * DAY, "ahead"),
        (7 * DAY + 1, "ahead"),
        (7 * DAY, None),
        (3_600, None),
        (0, None),
        (-600, None),
        (-601, "behind"),
        (-3_600, "behind"),
        (-365 * DAY, "behind"),
    ],
)
def test_a_clock_that_leaps_while_the_machine_runs(off, kind):
    """Against the machine's own count the wall clock may be ahead by days and behind by minutes."""
    doubt = doubt_of(later(30, off=off), KNOWN, ALLOWED)
    assert (doubt.kind if doubt else None) == kind
    if doubt:
        assert doubt == Doubt(AT + 30 + off, AT + 30, "uptime")
        assert doubt.off == off
    assert doubt_of(later(60), KNOWN, ALLOWED) is None  # and back


@pytest.mark.parametrize("days", [1, 10, 400])
def test_a_machine_that_slept_is_no_leap(days):
    """The machine's count goes on in its sleep: however long, wall clock and count agree."""
    assert doubt_of(later(days * DAY), KNOWN, ALLOWED) is None


@pytest.mark.parametrize(("days", "kind"), [(0.1, None), (4, None), (7, None), (8, "ahead"), (31, "ahead")])
def test_a_machine_suspended_from_outside_is_a_leap(days, kind):
    """Nothing in it counts meanwhile: within the allowance it is believed, beyond an operator says so."""
    doubt = doubt_of(later(30, off=int(days * DAY)), KNOWN, ALLOWED)
    assert (doubt.kind if doubt else None) == kind


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [(4 * DAY, None), (7 * DAY, None), (8 * DAY, "ahead"), (-600, None), (-3_600, "behind")],
)
def test_a_machine_that_was_off(seconds, kind):
    """After a start only the tick is known: a long weekend needs nobody, more than the allowance does."""
    doubt = doubt_of(later(seconds, boot="next", awake=40.0), KNOWN, ALLOWED)
    assert (doubt.kind if doubt else None) == kind
    assert expected_of(later(9, boot="next", awake=40.0), KNOWN) == (AT, "tick")


def test_an_uptime_that_goes_backwards_vouches_for_nothing():
    """A container may count its own uptime under the machine's boot id: then the tick alone counts."""
    assert expected_of(later(9, awake=TICK.awake - 1), KNOWN) == (AT, "tick")
    assert doubt_of(later(4 * DAY, awake=3.0), KNOWN, ALLOWED) is None


def test_two_clocks_on_one_tick():
    """Of two processes the one whose clock disagrees with the tick of both is in doubt, and only that one."""
    right, wrong, slow = later(30), later(30, off=31 * DAY), later(30, off=-3_600)
    assert [doubt_of(each, KNOWN, ALLOWED) is None for each in (right, wrong, slow)] == [True, False, False]
    other_machine = [replace(each, boot="other", awake=1.0) for each in (right, wrong, slow)]
    assert [doubt_of(each, KNOWN, ALLOWED) is None for each in other_machine] == [True, False, False]


def test_no_certificate_is_from_the_future():
    """A clock behind the newest certificate is in doubt, whatever the tick says."""
    known = Known(TICK, newest_at=AT + DAY)
    assert doubt_of(later(30), known, ALLOWED) == Doubt(AT + 30, AT + DAY, "certificate")
    assert doubt_of(later(DAY), known, ALLOWED) is None
    assert doubt_of(later(0), Known(None, AT + DAY), ALLOWED).kind == "behind"
    assert doubt_of(later(31 * DAY), Known(None, AT), ALLOWED).kind == "ahead"


def test_nothing_known_is_no_doubt():
    """A new directory has nothing to compare with, and nothing to lose."""
    assert doubt_of(later(99 * DAY), Known(), ALLOWED) is None


@pytest.mark.parametrize(
    ("doubt", "words"),
    [
        (
            Doubt(AT + 1_460 * DAY, AT, "uptime"),
            "the clock is 1460 days ahead of the time that this machine has counted since the last look",
        ),
        (Doubt(AT - 3_600, AT, "tick"), "the clock is 60 minutes behind the last look at it"),
        (Doubt(AT - 700, AT, "certificate"), "the clock is 12 minutes behind the newest certificate"),
    ],
)
def test_operators_read_how_far_and_of_what(doubt, words):
    """The words name the size of the leap and the witness."""
    assert str(doubt) == words


def test_the_machines_reading():
    """Wall clock, uptime and boot are the machine's: two readings in a row agree, and no doubt arises."""
    first, second = SystemClock().reading(), SystemClock().reading()
    assert first.boot == second.boot != ""
    assert abs(first.wall - time.time()) < 60
    assert 0 <= second.awake - first.awake < 60
    if hasattr(time, "CLOCK_BOOTTIME") and os.path.exists("/proc/uptime"):
        assert abs(second.awake - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    assert doubt_of(second, Known(first), ALLOWED) is None


def test_a_clock_that_is_moved_on_purpose_has_no_witness(tmp_path):
    """The demo's visitors move its clock: there is nothing to compare, and so no doubt."""
    clock = OffsetClock(tmp_path / "clock.json")
    clock.travel(4 * 365 * DAY)
    assert clock.reading() is None


def test_the_tests_clock_tells_time_that_passes_from_a_clock_that_is_set():
    """`advance` moves what vouches along, `leap` does not, and after `restart` nothing has counted."""
    clock = ManualClock(AT)
    before = clock.reading()
    clock.advance(days=40)
    assert doubt_of(clock.reading(), Known(before), ALLOWED) is None
    clock.leap(days=31)
    assert doubt_of(clock.reading(), Known(before), ALLOWED).off == 31 * DAY
    clock.leap(days=-31)
    clock.restart(off=4 * DAY)
    assert expected_of(clock.reading(), Known(before)) == (AT, "tick")


def test_what_two_starts_count_has_nothing_in_common():
    """How long the machine has run since another start says nothing about the time since the last look."""
    tick = Reading(AT, 100.0, "one")
    for awake in (5.0, 100.0, 5_000_000.0):
        assert expected_of(Reading(AT + 86_400, awake, "two"), Known(tick)) == (AT, "tick")
    assert expected_of(Reading(AT + 86_400, 160.0, "one"), Known(tick)) == (AT + 60, "uptime")
