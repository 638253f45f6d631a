"""Commits, and what became of one whose answer was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg

from ca.postgresql.connection import Connection
from ca.postgresql.troubles import FAILED
from ca.storage import StorageError, StorageTrouble

# A commit that came to nothing, and one of which nobody knows, in our words.
UNDONE, UNKNOWN = "UNDONE", "UNKNOWN"
# By these a COMMIT is refused, and nothing of it is done. After any other error nobody knows.
NOT_COMMITTED = ("22", "23", "25", "40001", "40P01")
# Seconds in which the server has to say whether it has committed: it may be on its way up again.
_ASKED = 20
# Until it is asked for the second time; twice as long each time.
_PAUSE = 0.002
# No commit finds this mark and goes on.
NEVER = -1
# Seconds that a mark is kept by who uses it, and days until one that nobody uses is taken away.
_MARKED, UNMARKED = 86_400, 30
_UNTOLD = (
    "did not say whether it has committed what was asked for last, and cannot be asked; see that it runs"
    " (pg_isready), and look up what became of it before it is asked for again"
)
# The number that a commit leaves, and which it has to find there.
MARK = "UPDATE commit_marks SET mark = CASE mark WHEN $1 THEN $2::bigint END, at = now() WHERE slot = $3"


async def marked(connection: asyncpg.Connection) -> None:
    """Sees to it that what is committed by this connection leaves a mark."""
    now = time.monotonic()
    if connection.slot and now - connection.marked_at < _MARKED:
        return
    # So that both leave in one piece: a mark without its commit would have whoever looks it up wait.
    for each in (MARK, "COMMIT"):
        await connection.know(each)
    connection.slot = await connection.fetchval("INSERT INTO commit_marks (mark) VALUES (0) RETURNING slot")
    connection.mark, connection.marked_at = 0, now


async def was_committed(
    make: Callable[[], Awaitable[Connection]], slot: int, mark: int, seconds: float
) -> bool:
    """Whether a commit was made whose answer was lost. If not it never will be, be it on its way still:
    the mark that it has to find is another one by then. StorageTrouble if nobody can say."""
    ends, pause = time.monotonic() + _ASKED, _PAUSE
    while True:
        try:
            connection = await make()
            try:
                async with connection.transaction():
                    found = await connection.fetchval(
                        "SELECT mark FROM commit_marks WHERE slot = $1 FOR UPDATE",
                        slot,
                        timeout=seconds,
                    )
                    if found == mark - 1:
                        await connection.execute(
                            f"UPDATE commit_marks SET mark = {NEVER} WHERE slot = {slot}"
                        )
            finally:
                connection.terminate()
        except (*FAILED, StorageError) as error:  # the second of what is asked on each that is made
            if time.monotonic() > ends:
                raise StorageTrouble(str(error), UNKNOWN, _UNTOLD) from error
        else:
            if found is None:
                raise StorageTrouble(f"no mark {slot}", UNKNOWN, _UNTOLD)
            return bool(found == mark)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.5)
