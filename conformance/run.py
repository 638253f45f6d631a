"""Runs cases one after another and turns what happened into outcomes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from conformance import acts, jose
from conformance.case import LEVELS, Case, Level, Outcome
from conformance.credentials import Usage
from conformance.draft import Draft, payload_of
from conformance.verdict import Blocked, Failed, Skipped
from conformance.wire import Broken
from conformance.world import World

# After so many cases without an end, the server is asked whether it is there at all, and after each more.
STUCK = 2
PROBE_SECONDS = 5.0

GONE = "not run: the server has stopped answering"
OVER = "not run: the time of --deadline is over"


@dataclass(frozen=True)
class Result:
    """What one case came to. seconds is wall time; prerequisite names what a BLOCKED case rests on, remedy
    what to type about it."""

    case: Case
    outcome: Outcome
    detail: str
    seconds: float
    prerequisite: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Limits:
    """Seconds: what one case may take before it counts as HANG, and all of them together."""

    case: float
    whole: float | None = None


def select(cases: Sequence[Case], level: Level, only: str | None, sections: Sequence[str] = ()) -> list[Case]:
    """The cases up to the level whose id matches one of the comma-separated globs, and whose clause is in
    one of the sections: ``RFC 8555``, ``RFC 8555 7.4`` or ``7.4``, each with all below it."""
    levels = LEVELS[: LEVELS.index(level) + 1]
    globs = [glob.strip() for glob in only.split(",")] if only else ["*"]
    return [
        one
        for one in cases
        if one.level in levels
        and any(fnmatchcase(one.id, glob) for glob in globs)
        and (not sections or any(_within(one.clause, section) for section in sections))
    ]


def _within(clause: str, section: str) -> bool:
    document, _, number = clause.rpartition(" ")
    return any(
        re.match(rf"{re.escape(section.strip())}(?![0-9A-Za-z])", text) is not None
        for text in (clause, number if document else clause)
    )


async def run(
    world: World,
    cases: Iterable[Case],
    limits: Limits,
    done: Callable[[Result], None] = lambda _: None,
    earlier: Mapping[str, Result] | None = None,
) -> list[Result]:
    """Runs the cases in order and tells each result as it comes. ``earlier``: those that are known, by id.

    Usage where the account that most rest on cannot be made for want of an option: the look at the server
    does not try that with a single credential, which binds once.
    """
    results: list[Result] = []
    ends = None if limits.whole is None else time.monotonic() + limits.whole
    hung, why_not = 0, ""
    for case in cases:
        if earlier is not None and case.id in earlier:
            results.append(earlier[case.id])
            continue
        if ends is not None and time.monotonic() >= ends:
            why_not = why_not or OVER
        if why_not:
            result = Result(case, "BLOCKED", why_not, 0.0)
        else:
            left = limits.case if ends is None else min(limits.case, ends - time.monotonic())
            result = await run_case(world, case, left)
            hung += result.outcome == "HANG"
            if result.outcome == "HANG" and hung >= STUCK and not await _answers(world):
                why_not = GONE
        if result.prerequisite == acts.ACCOUNT and result.remedy and not _spent(results):
            raise Usage(f"no account can be made, so nothing can be tried: {result.detail}")
        done(result)
        results.append(result)
    return results


def _spent(results: Iterable[Result]) -> bool:
    """Whether a binding that was to be refused was taken: the credential is spent by the server's fault."""
    return any(one.outcome == "FAIL" and one.case.id.startswith("eab.") for one in results)


async def _answers(world: World) -> bool:
    """Whether the server still answers an honest signed request that has to look something up."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            if (owner := world.kept("account")) is not None:
                await world.post(owner, owner.url)
            else:
                payload = payload_of({"onlyReturnExisting": True})
                await world.send(Draft(await world.resource("newAccount"), payload, jose.new_key(), None))
    except (TimeoutError, Broken, Blocked, Failed, Skipped):
        return False
    return True


async def run_case(world: World, case: Case, limit: float) -> Result:
    started = time.monotonic()
    outcome, detail, *rest = await _outcome(world, case, limit)
    return Result(case, outcome, detail, time.monotonic() - started, *rest)


async def _outcome(world: World, case: Case, limit: float) -> tuple[Outcome, str, str, str]:
    try:
        async with asyncio.timeout(limit) as world.allowed:
            await case.steps(world)
    except TimeoutError:
        return "HANG", f"no end after {limit:g} s", "", ""
    except Blocked as missing:
        return "BLOCKED", str(missing), missing.prerequisite, missing.remedy
    except Failed as failure:
        return "FAIL", str(failure), "", ""
    except Skipped as reason:
        return "SKIP", str(reason), "", ""
    except Broken as broken:
        return "CRASH", str(broken), "", ""
    except Exception as error:
        # The suite itself tripped: usually over an answer no honest server gives.
        return "CRASH", f"suite: {type(error).__name__}: {error}", "", ""
    return "PASS", "", "", ""
