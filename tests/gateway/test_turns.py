"""The two tables of a connection, cell by cell, and what they mean for its limits."""

import pytest

from gateway.edge.facts import Awaiting
from gateway.wire.turns import (
    ANSWERING,
    COMING,
    FED,
    READING,
    Effect,
    Heard,
    Reading,
    Step,
    Turn,
    awaiting,
    goes_on,
    heard,
    stepped,
)

# One row per state, one word per event: the state that it leads to, and behind a colon the effect; "." for
# what cannot happen.
EXPECTED_READING = """
         bytes   begin head-end end        end-last   switch        malformed   too-large   stop           lost
rest     head    head  .        .          .          foreign       over:reject torn:reject over:close     over
head     head    head  body     .          .          .             over:reject torn:reject over:close     over
body     body    .     .        rest       over       late:unswitch torn:cut    torn:cut    passing:linger over:cut
late     late    late  late     over       over       .             torn:cut    torn:cut    passing:linger over:cut
foreign  foreign .     .        .          .          .             foreign     foreign     over:close     over
over     over    .     .        .          .          foreign       over        over        over:close     over
torn     torn    .     .        .          .          .             torn        torn        torn:linger    over
passing  passing .     .        over:close over:close .             passing     passing     .              over:cut
"""  # noqa: E501
EXPECTED_ANSWERING = """
          begin page  feed    fed       fed-last   answered  answered-last switch hang-up         lost
idle      taken .     .       .         .          idle:next ended:stop    .      idle            gone
taken     .     paged feeding .         .          idle:next ended:stop    tunnel taken           gone
paged     .     .     .       .         .          idle:next ended:stop    .      paged:close     gone
feeding   .     .     .       paged     paged      owed      owed-last     .      feeding:close   gone
owed      .     .     .       idle:next ended:stop .         .             .      owed:close      gone
owed-last .     .     .       ended:stop ended:stop .        .             .      owed-last:close gone
tunnel    .     .     .       .         .          ended:stop ended:stop   .      tunnel          gone
ended     .     .     .       .         .          ended     ended         .      ended           gone
gone      .     .     .       gone      gone       gone      gone          gone   gone            gone
"""


def cells(table, state, event):
    """(state, event, expected): ``expected`` is the next state and its effects, or None."""
    head, *body = [line.split() for line in table.strip().splitlines()]
    for name, *words in body:
        for heading, word in zip(head, words, strict=True):
            to, _, effect = word.partition(":")
            then = None if word == "." else (state(to), (Effect(effect),) if effect else ())
            yield state(name), event(heading), then


READ = list(cells(EXPECTED_READING, Reading, Heard))
STEPPED = list(cells(EXPECTED_ANSWERING, Turn, Step))


@pytest.mark.parametrize(("state", "event", "expected"), READ)
def test_every_cell_of_the_reading(state, event, expected):
    """Every (state, event) leads where the table says with the effect it says, or is a fault of ours."""
    if expected is None:
        with pytest.raises(KeyError, match=repr(state)):
            heard(state, event)
    else:
        assert heard(state, event) == expected


@pytest.mark.parametrize(("state", "event", "expected"), STEPPED)
def test_every_cell_of_the_answering(state, event, expected):
    """The same of the answers."""
    if expected is None:
        with pytest.raises(KeyError, match=repr(state)):
            stepped(state, event)
    else:
        assert stepped(state, event) == expected


def test_the_tables_are_complete():
    """The expectations name every state and every event, and no table has more."""
    assert {(state, event) for state, event, _ in READ} == {(s, e) for s in Reading for e in Heard}
    assert {(state, event) for state, event, _ in STEPPED} == {(s, e) for s in Turn for e in Step}
    assert set(READING) == set(Reading)
    assert set(ANSWERING) == set(Turn)


def test_every_state_is_reached():
    """From the first on, and each effect is one that somebody brings about."""
    for table, first in ((READING, Reading.REST), (ANSWERING, Turn.IDLE)):
        found, grown = {first}, {first}
        while grown:
            grown = {to for state in grown for to, _ in table[state].values()} - found
            found |= grown
        assert found == set(table)
    effects = {each for table in (READING, ANSWERING) for row in table.values() for _, told in row.values()
               for each in told}  # fmt: skip
    assert effects == set(Effect)


def test_a_client_may_leave_at_any_moment():
    """And what peers and we can do at any moment is foreseen in every state: whoever answers may be late,
    and bytes come when they like."""
    for state in Reading:
        assert {Heard.BYTES, Heard.MALFORMED, Heard.TOO_LARGE, Heard.LOST} <= set(READING[state])
    for turn in Turn:
        assert {Step.HANG_UP, Step.LOST} <= set(ANSWERING[turn])


def test_nothing_follows_the_last_answer():
    """Once it is written no event leads back to where a request would be read, or answered."""
    for state, row in READING.items():
        if state in (Reading.OVER, Reading.TORN, Reading.PASSING, Reading.FOREIGN):
            assert not {to for to, _ in row.values()} & {Reading.REST, Reading.HEAD, Reading.BODY}
    for turn in (Turn.ENDED, Turn.GONE):
        assert {to for to, _ in ANSWERING[turn].values()} <= {Turn.ENDED, Turn.GONE}
    # And it is written once.
    stops = [turn for turn, row in ANSWERING.items() for _, told in row.values() if Effect.STOP in told]
    assert not {Turn.ENDED, Turn.GONE} & set(stops)


def test_a_body_is_cut_once():
    """Whoever waits for one hears that it has no end exactly where one is left unread."""
    for state, row in READING.items():
        for event, (to, told) in row.items():
            cut = state in COMING and to not in COMING and event not in (Heard.END, Heard.END_LAST)
            assert (Effect.CUT in told) is cut, (state, event)


@pytest.mark.parametrize(
    ("keep", "last", "waiting", "ends_in"),
    [
        (True, False, False, {Reading.FOREIGN, Reading.OVER, Reading.TORN}),
        (True, False, True, set()),  # what was read already is answered
        (True, True, True, set(Reading)),
        (False, False, True, set(Reading)),
        (False, True, False, set(Reading)),
    ],
)
def test_when_another_request_may_follow(keep, last, waiting, ends_in):
    """RFC 9112 9.3: not after what either side called the last, and not where nothing more is read."""
    assert {state for state in Reading if not goes_on(keep, last, not waiting, state)} == ends_in


LETTERS = {"r": Awaiting.REQUEST, "h": Awaiting.HEAD, "b": Awaiting.BODY, "a": Awaiting.HANDLER,
           "u": Awaiting.UPGRADED}  # fmt: skip
# A letter for: nothing waits, a request waits; and the same of a body that is held back.
EXPECTED_AWAITING = """
         idle taken paged feeding owed owed-last tunnel ended gone
rest     rara aaaa  aaaa  aaaa    aaaa aaaa      uuuu   rara  rara
head     haha aaaa  aaaa  aaaa    aaaa aaaa      uuuu   haha  haha
body     bbra bbaa  bbaa  bbaa    bbaa bbaa      uuuu   bbra  bbra
late     bbra bbaa  bbaa  bbaa    bbaa bbaa      uuuu   bbra  bbra
foreign  uaua uaua  uaua  uaua    uaua uaua      uuuu   uaua  uaua
over     rara aaaa  aaaa  aaaa    aaaa aaaa      uuuu   rara  rara
torn     rara aaaa  aaaa  aaaa    aaaa aaaa      uuuu   rara  rara
passing  bbra bbaa  bbaa  bbaa    bbaa bbaa      uuuu   bbra  bbra
"""


def test_which_limit_runs():
    """What a connection waits for, in each pair of states: nobody holds one for ever."""
    head, *body = [line.split() for line in EXPECTED_AWAITING.strip().splitlines()]
    seen = set()
    for reading, *words in body:
        for turn, word in zip(head, words, strict=True):
            seen.add((Reading(reading), Turn(turn)))
            found = [
                awaiting(Reading(reading), Turn(turn), waiting, held_back)
                for held_back in (False, True)
                for waiting in (False, True)
            ]
            assert found == [LETTERS[letter] for letter in word], (reading, turn)
    assert seen == {(reading, turn) for reading in Reading for turn in Turn}


def test_the_sets_as_literals():
    """Which states are which: a row that is lost is noticed."""
    assert sorted(COMING) == ["body", "late", "passing"]
    assert sorted(FED) == ["feeding", "owed", "owed-last"]
