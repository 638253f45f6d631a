"""An import as a job, from the file to its last row: CPU of each step, and the longest that one piece of it
holds the event loop or the writer, for which everybody else waits.

``python -m tests.bench.job_bench [--rows N] [--done N]``: in one process, without HTTP, in seconds of CPU,
so that a busy machine tells nearly the same as a quiet one. ``--done``: so many rows are really recorded, for
what one costs. How long logins wait meanwhile is measured by ``console_bench``, on a server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from asyncio import events
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ca import sqlite
from ca.storage import Transaction
from enroll.jobs import running, viewing
from enroll.jobs import store as jobs
from enroll.operators import asking, imports
from enroll.operators import store as operators
from enroll.operators.actors import Actor, By, of_operator
from enroll.operators.roles import Role
from enroll.operators.store import Operator
from enroll.ra import RegistrationAuthority
from tests.datadirs import POLICY_NUMBER, open_office

T = TypeVar("T")


@dataclass
class Held:
    """How long pieces of work held something, in seconds of its thread's CPU."""

    pieces: list[float] = field(default_factory=list)

    def add(self, began: float) -> None:
        self.pieces.append(time.thread_time() - began)

    @property
    def most_ms(self) -> float:
        return round(1_000 * max(self.pieces, default=0.0), 1)


LOOP, WRITER = Held(), Held()


def watch() -> None:
    """From here on every callback of a loop and every commit of a writer is timed."""
    run, commit = events.Handle._run, sqlite._commit

    def timed(handle: events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        LOOP.add(began)

    def timed_commit(*given: Any) -> Any:
        began = time.thread_time()
        done = commit(*given)
        WRITER.add(began)
        return done

    setattr(events.Handle, "_run", timed)  # noqa: B010  nobody's to set, but for this
    setattr(sqlite, "_commit", timed_commit)  # noqa: B010


async def step(name: str, work: Awaitable[T], rows: int) -> T:
    """Does it, and prints what it took."""
    await asyncio.sleep(0)
    LOOP.pieces.clear()
    WRITER.pieces.clear()
    spent = time.process_time()
    done = await work
    await asyncio.sleep(0)
    spent = time.process_time() - spent
    row = {"step": name, "rows": rows, "cpu_seconds": round(spent, 2)}
    row |= {"cpu_ms_a_row": round(1_000 * spent / rows, 2)}
    print(json.dumps(row | {"loop_held_ms": LOOP.most_ms, "writer_held_ms": WRITER.most_ms}), flush=True)
    return done


async def measure(place: Path, rows: int, done: int) -> None:
    async with open_office(place) as ra:
        registrar, approver = [await _actor(ra, role) for role in (Role.REGISTRAR, Role.APPROVER)]
        await ra.database.write(lambda db: _organisation(db, ra))
        people = "".join(f"{POLICY_NUMBER},厚生 {n}子,person{n}@example.jp\n" for n in range(rows))
        content = f"証券番号,氏名,メールアドレス\n{people}".encode()
        options = {"hold_letters": True, "alike": True}
        found = await step(
            "looked through",
            imports.checked(ra, registrar, "user.import", content, "people.csv", options),
            rows,
        )
        made = await step("proposed", imports.propose(ra, registrar, found, "計測"), rows)
        # By whoever looks at what waits: each time that the page is opened.
        await step("listed", ra.database.read(lambda db: asking.listed(db, approver, ra.now())), rows)
        begun = await step("approved", asking.approve(ra, approver, made.number), rows)
        number = begun.result["job"]

        def stop(count: int, _: int) -> None:
            if count >= done:
                raise TimeoutError

        async def some() -> None:
            try:
                await running.run(ra, number, "bench", told=stop)
            except TimeoutError:
                return

        await step("recorded", some(), min(rows, done))

        def page(db: Transaction) -> None:
            jobs.counted(db, number)
            viewing.first_lines(db, viewing.seen(db, registrar, number), 50)

        await step("its page", ra.database.read_aside(page), min(rows, done))


def _organisation(db: Transaction, ra: RegistrationAuthority) -> None:
    db.execute(
        "INSERT INTO organisations(policy_number, name, created_at) VALUES (:number, '霞が関商事', :at)",
        {"number": POLICY_NUMBER, "at": ra.now()},
    )


async def _actor(ra: RegistrationAuthority, role: Role) -> Actor:
    name = str(role)
    new = Operator(0, name, name, "person", (role,), "", "", f"handle-{name}", ra.now(), "bench")
    added = await ra.database.write(lambda db: operators.add(db, new))
    assert added is not None
    number = added.number
    return await ra.database.read(lambda db: of_operator(db, number, By.CONSOLE))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--done", type=int, default=20_000)
    given = options.parse_args()
    watch()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(Path(place), given.rows, given.done))


if __name__ == "__main__":
    main()
