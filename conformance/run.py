"""Runs cases one after another and turns what happened into outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from conformance.case import LEVELS, Case, Failed, Level, Outcome, Skipped
from conformance.wire import Broken
from conformance.world import World

# After this many cases in a row without an end, the server is asked whether it is there at all.
STUCK = 2
PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Result:
    """What one case came to. seconds is wall time."""

    case: Case
    outcome: Outcome
    detail: str
    seconds: float


def select(cases: Sequence[Case], level: Level, only: str | None) -> list[Case]:
    """The cases up to the level (MUST < SHOULD < ours) whose id matches one of the comma-separated globs."""
    levels = LEVELS[: LEVELS.index(level) + 1]
    globs = [glob.strip() for glob in only.split(",")] if only else ["*"]
    return [one for one in cases if one.level in levels and any(fnmatchcase(one.id, glob) for glob in globs)]


async def run(
    world: World, cases: Iterable[Case], limit: float, done: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Runs the cases in order; limit is the seconds one may take before it counts as HANG."""
    results: list[Result] = []
    gone = False
    for case in cases:
        if not gone and len(results) >= STUCK and all(one.outcome == "HANG" for one in results[-STUCK:]):
            gone = not await _answers(world)
        result = Result(case, "HANG", GONE, 0.0) if gone else await run_case(world, case, limit)
        done(result)
        results.append(result)
    return results


GONE = "not run: the server has stopped answering"


async def _answers(world: World) -> bool:
    """Whether the server still answers an honest request that has to look something up."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            if (owner := world.kept("account")) is not None:
                await world.post(owner, owner.url)
            else:
                await world.get(world.directory_url)
    except (TimeoutError, Broken):
        return False
    return True


async def run_case(world: World, case: Case, limit: float) -> Result:
    started = time.monotonic()
    outcome, detail = await _outcome(world, case, limit)
    return Result(case, outcome, detail, time.monotonic() - started)


async def _outcome(world: World, case: Case, limit: float) -> tuple[Outcome, str]:
    try:
        async with asyncio.timeout(limit):
            await case.steps(world)
    except TimeoutError:
        return "HANG", f"no end after {limit:g} s"
    except Failed as failure:
        return "FAIL", str(failure)
    except Skipped as reason:
        return "SKIP", str(reason)
    except Broken as broken:
        return "CRASH", str(broken)
    except Exception as error:
        # The suite itself tripped: usually over an answer no honest server gives.
        return "CRASH", f"suite: {type(error).__name__}: {error}"
    return "PASS", ""
