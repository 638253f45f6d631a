"""Whether what cannot be undone may be done now: asked by everything that time brings about.

Wiping, closing, revoking by date, notices, lists with a number, dates in certificates: a clock that was
wrong for ten seconds must not have done any of it. Each process asks for itself, of its own clock, so that of
two that differ the one waits that disagrees with the tick on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import ca.store
from ca.storage import Transaction
from ca.timekeeping import Allowance, Doubt, Known, Reading, doubt_of, expected_of
from enroll import store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.settings import DAY

# Seconds ahead of what is known, within what is allowed, that are told of: more than a clock is corrected by.
_LEAP = 300


@dataclass(frozen=True)
class Judgement:
    """One reading of the registration authority's clock, and what is to be thought of it."""

    at: int
    known: Known
    reading: Reading | None
    doubt: Doubt | None

    @property
    def leap(self) -> int:
        """Seconds that passed unseen, or by which somebody set the clock; 0 where that is in doubt."""
        found = None if self.reading is None else expected_of(self.reading, self.known)
        ahead = 0 if found is None or self.doubt is not None else self.at - found[0]
        return ahead if ahead > _LEAP else 0


async def look(ra: RegistrationAuthority) -> Judgement:
    """Looks at the clock once."""
    return await ra.database.read(lambda db: judge(ra, db))


async def doubt(ra: RegistrationAuthority) -> Doubt | None:
    """Why what cannot be undone has to wait; None: it may be done now."""
    return (await look(ra)).doubt


async def require(ra: RegistrationAuthority) -> None:
    """Raises Refusal("clock_in_doubt") where there is a doubt: for what somebody waits for."""
    await ra.database.read(lambda db: check(ra, db))


def doubt_at_once(ra: RegistrationAuthority) -> Doubt | None:
    """`doubt` for what is built before there is anybody to wait for; blocks."""
    return ra.database.read_now(lambda db: doubt_now(ra, db))


def judge(ra: RegistrationAuthority, db: Transaction) -> Judgement:
    """`look` within a transaction."""
    reading = ra.clock.reading()
    if reading is None:  # a demo's, which its visitors move
        return Judgement(ra.now(), Known(), None, None)
    known = ca.store.known_time(db)
    if known.tick is None:
        # Never served yet: what was opened by commands has been in its time, too.
        known = replace(known, newest_at=max(known.newest_at, store.newest_opening(db)))
    settings = ra.settings
    allowed = Allowance(settings.clock_ahead_days * DAY, settings.clock_behind_minutes * 60)
    return Judgement(reading.wall, known, reading, doubt_of(reading, known, allowed))


def doubt_now(ra: RegistrationAuthority, db: Transaction) -> Doubt | None:
    """`doubt` within a transaction."""
    return judge(ra, db).doubt


def check(ra: RegistrationAuthority, db: Transaction) -> None:
    """`require` within a transaction."""
    found = doubt_now(ra, db)
    if found is not None:
        raise Refusal("clock_in_doubt", detail=str(found))


async def tick(ra: RegistrationAuthority) -> Judgement:
    """Judges the clock and, if it is believed, leaves the reading as what is known from now on."""
    found = await look(ra)
    reading = found.reading
    if reading is not None and found.doubt is None:
        leap, at = found.leap, found.at

        def work(db: Transaction) -> None:
            if doubt_now(ra, db) is not None:
                return  # by what another process has written meanwhile
            ca.store.write_tick(db, reading)
            if leap:
                store.audit(db, at, "scheduler", "clock.leapt", "clock", seconds=leap)

        await ra.database.write(work)
    return found


async def confirm(ra: RegistrationAuthority, *, actor: str) -> Judgement:
    """An operator's word that the clock is right; returns what was thought of it before."""
    found = await look(ra)
    reading = found.reading
    if reading is None:
        raise Refusal("not_permitted", detail="a demo's clock is moved on its clock page, and believed")

    def work(db: Transaction) -> None:
        ca.store.confirm_tick(db, reading)
        off = found.doubt.off if found.doubt is not None else 0
        store.audit(db, reading.wall, actor, "clock.confirmed", "clock", seconds=off)

    await ra.database.write(work)
    return found


def surely_passed(ra: RegistrationAuthority, db: Transaction) -> int:
    """A moment that has passed whatever the clock says now; 0 as long as nothing is known.

    A tick may have been believed that was ahead by all that is allowed.
    """
    tick = ca.store.known_time(db).tick
    return 0 if tick is None else tick.wall - ra.settings.clock_ahead_days * DAY
