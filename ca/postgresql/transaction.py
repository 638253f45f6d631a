"""A work on a connection (``ca/storage.py``), run in a greenlet in the loop of a thread, or by a caller that
blocks."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg
from greenlet import getcurrent, greenlet

from ca.dialect import held_in_postgresql, in_postgresql
from ca.postgresql.connection import Connection
from ca.postgresql.troubles import FAILED, STALE, UNREACHED, Gone, ours
from ca.storage import Gathered, Gathering, Note, Row, Values, Work

T = TypeVar("T")

READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Seconds in which a write asks for its next statement, or it is undone, and run again: what it holds is
# wanted by others, and whoever was stopped in the middle of it does not know.
STANDS = 6
WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    f"SET LOCAL idle_in_transaction_session_timeout = '{STANDS}s'",
)


class Greenlet(greenlet):  # type: ignore[misc]
    """In which a work runs; ``transaction`` is the one that it was given."""

    transaction: Writing


def wait(awaitable: Awaitable[T]) -> T:
    """What a coroutine of the loop's gives, for the work that runs in this greenlet."""
    current = getcurrent()
    assert isinstance(current, Greenlet)
    found: T = current.parent.switch(awaitable)
    return found


async def run(work: Work[T], transaction: Writing) -> T:
    """Runs a work to its end and awaits, in its stead, what it waits for."""
    running = Greenlet(work)
    running.transaction = transaction
    found = running.switch(transaction)
    while not running.dead:
        try:
            value = await found
        except BaseException as error:
            found = running.throw(error)
        else:
            found = running.switch(value)
    result: T = found
    return result


class Writing:
    """A transaction on a connection that somebody else begins and ends."""

    __slots__ = ("connection", "gathered", "notes", "wrote")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.notes: list[Note] = []
        self.gathered = Gathering()
        self.wrote = False

    def note(self, kind: str, /, **facts: Any) -> None:
        self.notes.append((kind, facts))

    def gather(self, write: Gathered, row: Any, /) -> None:
        self.gathered.add(write, row)

    def defer(self, statement: str, values: Values, /) -> None:
        text, names = self._text(statement)
        self.connection.lay_by(text, tuple(map(values.__getitem__, names)))

    def settle(self) -> None:
        # What is deferred is done before whatever is asked next.
        self.gathered.settle(self)

    def execute(self, statement: str, values: Values = {}, /) -> int:  # noqa: B006
        _, status, _ = self._ask(self._asked(statement, values, 0, True))
        count: bytes = status.rpartition(b" ")[2]
        return int(count) if count.isdigit() else 0

    def one(self, statement: str, values: Values = {}, /) -> Row | None:  # noqa: B006
        found = self._ask(self._asked(statement, values, 1))
        return found[0] if found else None

    def rows(self, statement: str, values: Values = {}, /) -> Sequence[Row]:  # noqa: B006
        found: Sequence[Row] = self._ask(self._asked(statement, values, 0))
        return found

    def _asked(self, statement: str, values: Values, limit: int, status: bool = False) -> Awaitable[Any]:
        text, names = self._text(statement)
        return self.connection.ask(text, tuple(map(values.__getitem__, names)), limit, status)

    def _text(self, statement: str) -> tuple[str, tuple[str, ...]]:
        text, names, writes = held_in_postgresql(statement)
        self.wrote |= writes
        return text, names

    def _ask(self, awaitable: Awaitable[T]) -> T:
        try:
            return wait(awaitable)
        except STALE as error:
            # Tables were changed since it was prepared, by a newer node: a fresh connection learns them anew.
            self.connection.terminate()
            raise Gone(str(error), type(error).__name__, UNREACHED) from error
        except FAILED as error:
            raise ours(error) from error
        finally:
            self.connection.asked_at = 0.0


class Reading(Writing):
    """One in which nothing is written, and which says so at once."""

    __slots__ = ()

    def gather(self, write: Gathered, row: Any, /) -> None:
        write(self, [row])

    def defer(self, statement: str, values: Values, /) -> None:
        self.execute(statement, values)

    def _text(self, statement: str) -> tuple[str, tuple[str, ...]]:
        return in_postgresql(statement)


class Blocking(Reading):
    """The same for a caller that is no work: each statement blocks."""

    __slots__ = ("_loop",)

    def __init__(self, connection: asyncpg.Connection, loop: Loop) -> None:
        super().__init__(connection)
        self._loop = loop

    def _ask(self, awaitable: Awaitable[T]) -> T:
        async def answer() -> T:
            # Nobody sweeps here.
            async with asyncio.timeout(self.connection._config.command_timeout):
                return await awaitable

        try:
            return self._loop.result(answer())
        except FAILED as error:
            raise ours(error) from error


async def over(connection: Connection, begun: str, statement: str) -> None:
    """Ends a transaction that nothing hangs on, if anything of it was sent; a connection that cannot even do
    that is let go of. ``begun``: how it begins."""
    if connection.forget(begun):
        return
    try:
        await connection.ask(statement, (), 0, False)
    except FAILED:
        connection.terminate()
    finally:
        connection.asked_at = 0.0


class _Selector(selectors.DefaultSelector):
    """Which does not look each time for what has come while there is something to do: each look is a system
    call, and gives the interpreter away to another thread."""

    _passed = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0 and self._passed < _UNSEEN:
            self._passed += 1
            return []
        self._passed = 0
        return super().select(timeout)


async def _over(connection: asyncpg.Connection | None) -> None:
    if connection is not None:
        connection.terminate()  # whoever waits for it is told so
    while running := asyncio.all_tasks() - {asyncio.current_task()}:
        if connection is None:
            for each in running:
                each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


# Turns of the loop that are taken without a look.
_UNSEEN = 3


class Loop:
    """A thread with an event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.SelectorEventLoop(_Selector())
        self._thread = threading.Thread(target=self.loop.run_forever, name="database", daemon=True)
        self._thread.start()

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it gives; blocks."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self, connection: asyncpg.Connection | None = None) -> None:
        """``connection``: one that is let go of, with what is asked on it: whoever asked may have been
        stopped meanwhile, by Ctrl-C."""
        self.result(_over(connection))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
