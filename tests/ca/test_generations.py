"""``ca.generations``: what an issuing CA may do, cell by cell, and which of them issues at a moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ca.errors import ConfigError
from ca.generations import store as written
from ca.generations.states import TABLE, Event, Generations, Row, State, follow, generations
from ca.profiles import Audience
from ca.schema import SCHEMA
from ca.sqlite import Database

OLD, NEW = "aa" * 20, "bb" * 20
T = 1_000_000

#: A row of the newer one for each state at `T`, and the state of the older one beside it.
ROWS = {
    State.STAGED: Row(NEW),
    State.PLANNED: Row(NEW, planned_at=T + 1),
    State.ISSUING: Row(NEW, active_at=T - 5),
    State.EARLIER: Row(NEW, active_at=-1),
    State.RETURNING: Row(NEW, active_at=-1, planned_at=T + 1),
    State.RETIRED: Row(NEW, active_at=-1, retired_at=T - 3),
    State.OVER: Row(NEW, active_at=-1, retired_at=T - 3, over_at=T - 1),
    State.DISCARDED: Row(NEW, active_at=-1, retired_at=T - 3, over_at=T - 1, discarded_at=T - 1),
    State.DISTRUSTED: Row(NEW, active_at=-1, retired_at=T - 2, distrusted_at=T - 2, reason="keyCompromise"),
}
_BY_COMMAND = (Event.PLAN, Event.WITHDRAW, Event.RETIRE, Event.DISTRUST, Event.TRUST, Event.DISCARD)


def found(row: Row, at: int = T) -> Generations:
    return generations((NEW, OLD), {NEW: row}, at)


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_row(state: State) -> None:
    """A state is what the moments that are written down make of it."""
    assert found(ROWS[state]).state(NEW) is state


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_cell_is_decided(state: State, event: Event) -> None:
    """What an event makes of a state is the table's cell: another state, or the words for the operator."""
    cell = TABLE[state][event]
    if isinstance(cell, str):
        with pytest.raises(ConfigError) as refused:
            follow(found(ROWS[state]), NEW, "G5", event, T)
        assert str(refused.value) == f"G5 {cell}"
        return
    at = T + 9 if event is Event.PLAN else T
    after = follow(found(ROWS[state]), NEW, "G5", event, at, "keyCompromise")
    if event is Event.FOLLOW:
        assert after == ROWS[state]  # by another one's row, not by its own
        return
    # What is planned has begun only once its moment has come.
    assert found(after, T + 1 if event is Event.BEGIN else T).state(NEW) is cell


def test_no_command_leads_back_to_issuing() -> None:
    """Retired, distrusted, over: none of what an operator types makes such a one issue again."""
    ended = {State.RETIRED, State.OVER, State.DISCARDED, State.DISTRUSTED}
    for state in ended:
        reached, row = {state}, ROWS[state]
        for event in _BY_COMMAND:
            cell = TABLE[state][event]
            if not isinstance(cell, str):
                reached.add(cell)
                row = follow(found(row), NEW, "G5", event, T)
        assert reached <= ended
        assert found(row, 2**40).issuing != NEW


def test_what_is_planned_comes_in_its_second() -> None:
    """Until the second before, the older one issues; from that second on, the newer one, by the clock
    alone."""
    row = Row(NEW, planned_at=T)
    before, after = found(row, T - 1), found(row, T)
    assert (before.issuing, before.state(OLD), before.state(NEW)) == (OLD, State.ISSUING, State.PLANNED)
    assert (after.issuing, after.state(OLD), after.state(NEW)) == (NEW, State.EARLIER, State.ISSUING)
    assert before.following() == row
    assert after.following() is None


def test_of_nothing_written_down_the_first_issues() -> None:
    """A data directory of one CA has no row; one that is added is staged."""
    assert generations((OLD,), {}, T).issuing == OLD
    two = generations((NEW, OLD), {}, T)
    assert (two.issuing, two.state(NEW)) == (OLD, State.STAGED)


def test_going_back() -> None:
    """An earlier one issues again from its new moment on; taken back before, it is what it was."""
    rows = {NEW: Row(NEW, active_at=T), OLD: Row(OLD, active_at=0, planned_at=T + 100)}
    assert generations((NEW, OLD), rows, T + 99).state(OLD) is State.RETURNING
    assert generations((NEW, OLD), rows, T + 100).issuing == OLD
    rows[OLD] = follow(generations((NEW, OLD), rows, T + 99), OLD, "G4", Event.WITHDRAW, T + 99)
    assert generations((NEW, OLD), rows, T + 100).issuing == NEW


def test_nobody_takes_a_distrusted_ones_place_by_himself() -> None:
    """The one that issued is distrusted: nobody issues, until an operator says who does."""
    row = follow(found(ROWS[State.ISSUING]), NEW, "G5", Event.DISTRUST, T, "keyCompromise")
    assert (found(row).issuing, found(row).latest, found(row).state(OLD)) == (None, NEW, State.EARLIER)
    rows = {NEW: row, OLD: follow(found(row), OLD, "G4", Event.PLAN, T)}
    assert generations((NEW, OLD), rows, T).issuing == OLD


def test_each_audience_has_its_own() -> None:
    """Of two audiences' CAs both issue, the first of each from its making; none is the other's successor, and
    none takes another's place."""
    theirs, later = "cc" * 20, "dd" * 20
    audiences = {theirs: Audience.OPERATORS, later: Audience.OPERATORS}
    two = generations((theirs, OLD), {}, T, audiences)
    assert (two.issuing, two.state(OLD), two.state(theirs)) == (OLD, State.ISSUING, State.ISSUING)
    assert two.issuers == {Audience.CLIENTS: OLD, Audience.OPERATORS: theirs}
    rows = {later: Row(later, active_at=T)}
    four = generations((later, NEW, theirs, OLD), rows, T, audiences)
    assert (four.issuing, four.issuers[Audience.OPERATORS]) == (OLD, later)
    assert [four.state(each) for each in (later, NEW, theirs)] == [
        State.ISSUING, State.STAGED, State.EARLIER,
    ]  # fmt: skip
    rows = {OLD: follow(four, OLD, "G4", Event.DISTRUST, T, "keyCompromise")}
    stopped = generations((theirs, OLD), rows, T, audiences)
    assert (stopped.issuing, stopped.issuers[Audience.OPERATORS]) == (None, theirs)


# -- as it is written down -----------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "db", (SCHEMA,))
    yield opened
    opened.close()


def test_a_change_is_compared_and_set(database: Database) -> None:
    """Of two who read the same, one writes; a row comes back as it was written."""
    first = Row(NEW, planned_at=T)
    assert database.write_now(lambda db: written.write(db, Row(NEW), first))
    assert database.read_now(written.rows) == {NEW: first}
    assert not database.write_now(lambda db: written.write(db, Row(NEW), Row(NEW, planned_at=T + 5)))
    assert database.write_now(lambda db: written.write(db, first, Row(NEW)))
    assert database.read_now(written.rows) == {NEW: Row(NEW)}


def test_trust_is_numbered_with_the_changes_of_certificates(database: Database) -> None:
    """Whoever polls sees a distrust, and that it was taken back, once each; nothing else."""
    planned = Row(NEW, planned_at=T)
    gone = Row(NEW, retired_at=T, distrusted_at=T, reason="keyCompromise")
    database.write_now(lambda db: written.write(db, Row(NEW), planned))
    assert database.read_now(lambda db: written.changed_since(db, 0)) == []
    database.write_now(lambda db: written.write(db, planned, gone))
    (seen,) = database.read_now(lambda db: written.changed_since(db, 0))
    assert seen == replace(gone, change_number=1)
    database.write_now(lambda db: written.write(db, seen, replace(seen, distrusted_at=None, reason="")))
    (back,) = database.read_now(lambda db: written.changed_since(db, 1))
    assert (back.distrusted_at, back.change_number) == (None, 2)
