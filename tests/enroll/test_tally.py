"""Certificates counted beforehand: whatever is counted when, a count is what reading everything gives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ca.storage import LOOK, Transaction, inserting
from enroll.certificates import store, tally
from enroll.certificates.store import Wanted
from tests.datadirs import START, clock_of
from tests.enroll.operators.test_asking import office
from tests.looking import look

_ISSUERS, _PROFILES, _DOORS = ("g4", "g5"), ("client-person", "client-automated"), ("page", "protocol")
_STATES = ("reserved", "issued", "issued", "issued", "held", "revoked")


def some(db: Transaction, draw: random.Random, count: int, reserved_at: int) -> None:
    """So many more certificates, of whatever kind and in whatever state."""
    row = db.one(f"SELECT coalesce(max(number), 0) FROM certificates{LOOK}")
    assert row is not None
    for n in range(row[0], row[0] + count):
        state = draw.choice(_STATES)
        signed, stopped = state != "reserved", state in ("held", "revoked")
        values: dict[str, Any] = {
            "serial": f"{n:040x}", "issuer_id": draw.choice(_ISSUERS), "profile": draw.choice(_PROFILES),
            "door": draw.choice(_DOORS), "status": state, "subject_cn": "c", "spki_sha256": "",
            "not_before_at": 1, "not_after_at": START + draw.choice((-9, -1, 0, 1, 9)) * 86_400,
            "reserved_at": reserved_at, "template": "", "tbs": None if signed else b"t",
            "der": b"%d" % n if signed else None, "fingerprint": str(n) if signed else None,
            "held_at": 1 if state == "held" else None, "revoked_at": 1 if state == "revoked" else None,
            "change_number": 10_000 + n if stopped else None,
        }  # fmt: skip
        db.execute(inserting("certificates", values), values)


def kinds() -> Iterator[Wanted]:
    for issuer, profile, door in product((None, *_ISSUERS), (None, *_PROFILES), (None, *_DOORS)):
        yield Wanted(issuer_id=issuer, profile=profile, door=door)


def check(db: Transaction, at: int) -> None:
    """Each count is what reading everything gives, in every state, and around a place."""
    rows = [{**row} for row in db.rows("SELECT * FROM certificates")]
    for kind in kinds():
        mine = [
            row
            for row in rows
            if all(getattr(kind, name) in (None, row[name]) for name in ("issuer_id", "profile", "door"))
        ]
        expired = [row for row in mine if row["status"] == "issued" and row["not_after_at"] < at]
        for wanted, there in ((kind, mine), (replace(kind, state="expired"), expired)):
            assert store.count(db, wanted, at, ()) == len(there), wanted
            ahead = sorted((-row["reserved_at"], -row["number"]) for row in there)
            for place in ahead[::7]:
                around = store.count_around(db, wanted, "newest", at, (), (-place[0], -place[1]))
                behind = [each for each in ahead if each > place]
                assert around == (len(there) - len(behind), len(behind)), wanted


@pytest.mark.parametrize("seed", range(2))
async def test_a_count_is_what_reading_everything_gives(tmp_path: Path, seed: int) -> None:
    """Before anything is counted beforehand, with some of it, and with all; whatever comes meanwhile, is
    taken back, held or revoked."""
    draw = random.Random(seed)
    async with office(tmp_path) as ra:
        at = ra.now()
        await ra.database.write(lambda db: some(db, draw, 60, at - tally.SETTLED))
        check(look(ra.database), at)
        assert await ra.database.write(lambda db: store.tally(db, at - tally.SETTLED, 0)) == 0
        done = await tally.go_on(ra)
        db = look(ra.database)
        reserved = [row[0] for row in db.rows("SELECT number FROM certificates WHERE status = 'reserved'")]
        assert done == min(reserved) - 1
        check(db, at)

        def change(db: Transaction) -> None:
            db.execute("DELETE FROM certificates WHERE status = 'reserved' AND number % 2 = 0")
            db.execute(
                "UPDATE certificates SET status = 'issued', der = tbs, tbs = NULL, fingerprint = serial"
                " WHERE status = 'reserved'"
            )
            db.execute(
                "UPDATE certificates SET status = 'revoked', revoked_at = 1, change_number = number"
                " WHERE status = 'issued' AND number % 3 = 0"
            )
            some(db, draw, 20, at)

        await ra.database.write(change)
        check(look(ra.database), at)
        assert await tally.go_on(ra) > 0
        check(look(ra.database), at)
        # What has just come may have been begun before something that is not committed yet.
        assert await tally.go_on(ra) == 0
        clock_of(ra).advance(seconds=tally.SETTLED)
        await tally.go_on(ra)
        check(look(ra.database), at)


async def test_it_is_counted_some_at_a_time(tmp_path: Path) -> None:
    """Nobody waits for a million: so many in a transaction, each once."""
    async with office(tmp_path) as ra:
        at = ra.now()

        def work(db: Transaction) -> None:
            some(db, random.Random(1), 30, at)
            db.execute("DELETE FROM certificates WHERE status = 'reserved'")

        await ra.database.write(work)
        last = look(ra.database).one("SELECT max(number) AS n FROM certificates")
        assert last is not None
        found = list[int]()
        while done := await ra.database.write(lambda db: store.tally(db, at, 7)):
            found.append(done)
        assert (sum(found), max(found)) == (last["n"], 7)
        check(look(ra.database), at)
