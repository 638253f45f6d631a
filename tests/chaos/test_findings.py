"""The checks of the chaos find what is broken, each by itself, and nothing where nothing is."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.chaos.findings import CHECKS, End, Fault, ListSeen, Record, Taken, Try, findings
from tests.chaos.plants import PLANTED
from tests.chaos.schedule import dealing
from tests.mutants.faults import ROOT, load
from tests.mutants.faults import Fault as Planted

FAULTS = tuple("abcdefghijklm")
_LETTER = Taken(10.0, "<1@x>", "a@example.jp", "件名", "d1")
_LIST = ListSeen("node-1", "ca", 7, "aa")


def _good() -> tuple[Record, End]:
    """A run with a fault, a letter, and somebody who was revoked."""
    record = Record(
        issued={"01": "f1", "02": "f2"},
        revoked={"02": 100.0},
        tries=[Try("01", 200.0, 200), Try("02", 99.0, 200), Try("02", 101.9, 200), Try("02", 103.0, 403)],
        lists=[_LIST, replace(_LIST, node="node-2"), replace(_LIST, number=8, digest="bb")],
        letters=[_LETTER],
        faults=[Fault("kill", 9.0, 11.0, "node-1")],
        answered=5,
    )
    certificates = [("01", "f1", "issued"), ("02", "f2", "revoked")]
    return record, End(certificates, "", 9, {"node-1": "", "node-2": ""}, {"node-1": ["02"]})


def test_nothing_is_found_where_nothing_is_broken() -> None:
    assert findings(*_good()) == []


def _row(serial: str, fingerprint: str, status: str) -> Callable[[Record, End], End]:
    return lambda record, end: replace(
        end, certificates=[*(e for e in end.certificates if e[0] != serial), (serial, fingerprint, status)]
    )


def _seen(act: Callable[[Record], object]) -> Callable[[Record, End], End]:
    def change(record: Record, end: End) -> End:
        act(record)
        return end

    return change


BROKEN = {
    "another certificate": ("certificates", _row("01", "zz", "issued")),
    "lost": ("certificates", lambda record, end: replace(end, certificates=end.certificates[1:])),
    "there twice": (
        "certificates",
        lambda record, end: replace(end, certificates=[*end.certificates, ("01", "f1", "issued")]),
    ),
    "a serial for two": ("certificates", _seen(lambda record: record.give("01", "other"))),
    "never ended": ("certificates", _row("03", "", "reserved")),
    "good again": ("revoked", _row("02", "f2", "issued")),
    "got in": ("revoked", _seen(lambda record: record.tries.append(Try("02", 102.1, 200)))),
    "a number twice": ("lists", _seen(lambda r: r.lists.append(replace(_LIST, node="x", digest="cc")))),
    "a number backwards": ("lists", _seen(lambda record: record.lists.append(_LIST))),
    "an old list": ("lists", lambda record, end: replace(end, listed={"node-1": ["03"]})),
    "delivered twice": (
        "letters",
        _seen(lambda r: r.letters.extend(Taken(at, "<2@x>", "b@x", "件名", "d2") for at in (60.0, 61.0))),
    ),
    "written twice": ("letters", _seen(lambda r: r.letters.append(replace(_LETTER, message_id="<2@x>")))),
    "500": ("requests", _seen(lambda record: record.refused.append("500"))),
    "never had": ("requests", _seen(lambda record: record.waiting.update(order=(1.0, "503")))),
    "a line changed": ("audit", lambda record, end: replace(end, audit="line 7")),
    "a node away": ("nodes", lambda record, end: replace(end, nodes={"node-1": "", "node-2": "gone"})),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found(name: str) -> None:
    """By the check that is for it, and by no other."""
    check, change = BROKEN[name]
    record, end = _good()
    found = findings(record, change(record, end))
    assert {each for each, _ in found} == {check}


def test_each_check_can_fail() -> None:
    assert {check for check, _ in BROKEN.values()} == set(CHECKS)


def test_a_check_that_saw_nothing_has_no_verdict() -> None:
    """Nothing is found where nothing was looked at, and that is said of each."""
    found = findings(Record(), End([], "", 0, {}, {}))
    assert [name for name, words in found if words.startswith("no verdict")] == list(CHECKS)


def test_those_who_were_turned_away_for_another_reason_say_nothing() -> None:
    """A node that can ask nobody turns everybody away, and a connection that is cut tells of nobody."""
    record, end = _good()
    record.tries = [Try("02", 103.0, 503), Try("02", 104.0, 0)]
    assert [name for name, _ in findings(record, end)] == ["revoked"]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("seconds", [0.0, 60.0, 600.0])
def test_every_fault_comes_up(seed: int, seconds: float) -> None:
    """Whatever the seed, and however short the run: a whole deck, and then again."""
    dealt = list[str]()
    for name in dealing(FAULTS, Random(seed), lambda: 5.0 * len(dealt) < seconds):
        dealt.append(name)
    assert set(dealt) == set(FAULTS)
    assert max(Counter(dealt).values()) - min(Counter(dealt).values()) <= 1
    assert len(dealt) >= seconds / 5.0


PLANTS = load([PLANTED])


@pytest.mark.parametrize("plant", PLANTS, ids=[each.id for each in PLANTS])
def test_what_is_planted_can_be(plant: Planted) -> None:
    """Its old text stands once where it says, Python reads it with the new one, and checks are to notice."""
    ast.parse(plant.planted((ROOT / plant.file).read_text("utf-8")))
    assert set(plant.killed_by) <= set(CHECKS)


def test_there_is_a_plant_for_each_check() -> None:
    assert {name for each in PLANTS for name in each.killed_by} == set(CHECKS)
