"""The checks of the chaos find what is broken, each by itself, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.findings import CHECKS, End, Entry, Fault, ListSeen, Record, Taken, findings

_LETTER = Taken(10.0, "<1@x>", "a@example.jp", "件名", "d1")
_LIST = ListSeen("node-1", "ca", 7, "aa")


def _good() -> tuple[Record, End]:
    """A run with a fault, a letter that was delivered twice for it, and somebody who was revoked."""
    record = Record(
        issued={"01": "f1", "02": "f2"},
        revoked={"02": 100.0},
        entries=[Entry("01", 200.0), Entry("02", 99.0), Entry("02", 101.9)],
        lists=[_LIST, replace(_LIST, node="node-2"), replace(_LIST, number=8, digest="bb")],
        letters=[_LETTER, replace(_LETTER, at=12.0)],
        faults=[Fault("kill", 9.0, 11.0, "node-1")],
    )
    return record, End([("01", "f1", "issued"), ("02", "f2", "revoked")], "")


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
    "got in": ("revoked", _seen(lambda record: record.entries.append(Entry("02", 102.1)))),
    "a number twice": ("lists", _seen(lambda r: r.lists.append(replace(_LIST, node="x", digest="cc")))),
    "a number backwards": ("lists", _seen(lambda record: record.lists.append(_LIST))),
    "delivered twice": ("letters", _seen(lambda r: r.letters.append(replace(_LETTER, at=60.0)))),
    "written twice": ("letters", _seen(lambda r: r.letters.append(replace(_LETTER, message_id="<2@x>")))),
    "500": ("requests", _seen(lambda record: record.refused.append("500"))),
    "never had": ("requests", _seen(lambda record: record.waiting.update(order=(1.0, "503")))),
    "a line changed": ("audit", lambda record, end: replace(end, audit="line 7")),
    "a node away": ("nodes", lambda record, end: replace(end, lost_nodes=["node-2"])),
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
