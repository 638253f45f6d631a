"""Plants each fault of the list in a copy of the tree, and sees whether those who should notice do.

`make mutants`, or `python -m tests.mutants [GLOB...] [--kind suite|tests] [--jobs N] [--all] [--list]`.
Exit status: 0 when 97 of 100 and more were noticed, 1 when not, 2 when a fault could not be tried.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import py_compile
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from tests.mutants.against import LIMIT, PRODUCT
from tests.mutants.faults import ROOT, Fault, Kind, Unusable, load
from tests.started import started
from tests.turns import part, turn

#: Of a hundred faults so many have to be noticed.
RATE = 97
# Of tests without a fault: so many end in that time on a machine that is busy.
_AT_ONCE = 20
_LEFT_OUT = (
    *(".git", ".venv*", ".*_cache", ".hypothesis", "build", "screenshots", "*.egg-info"),
    # What pytest compiled names the place that it is from; what has a suffix is being written at this moment.
    *("*-pytest-*.pyc", "*.pyc.*"),
)
# What each run loads: compiled once for all of them.
_LOADED = (*PRODUCT, "conformance", "tests/conformance", "tests/clients", "tests/mutants")
_NOTICED = frozenset({"FAIL", "CRASH", "HANG"})


@dataclass(frozen=True)
class Verdict:
    """unmoved: those who should have failed and did not; error: why nothing can be said."""

    fault: Fault
    unmoved: tuple[str, ...]
    seconds: float
    failed: tuple[str, ...] = ()
    error: str = ""

    @property
    def killed(self) -> bool:
        return not self.error and not self.unmoved


@dataclass(frozen=True)
class Copy:
    """A copy of the tree; `suite`: the process there that lets the suite look at what it is asked to."""

    place: Path
    suite: subprocess.Popen[str] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        chosen = [one for one in load() if _wanted(one, options.globs, options.kind)]
        if not chosen:
            raise Unusable("no fault is called so; see --list")
        chosen = part(chosen, options.every, turn()) or chosen
        if options.list:
            print("\n".join(f"{one.kind:6} {one.id:40} {one.file}: lets {one.lets}" for one in chosen))
            return 0
        return _run(chosen, options)
    except Unusable as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2


def _wanted(fault: Fault, globs: Sequence[str], kind: str | None) -> bool:
    return kind in (None, fault.kind) and any(fnmatchcase(fault.id, glob) for glob in globs or ["*"])


def _run(chosen: Sequence[Fault], options: argparse.Namespace) -> int:
    verdicts: list[Verdict] = []
    with _copies(options.jobs, chosen) as copies, ExitStack() as stack:
        if any(one.kind == "suite" for one in chosen):
            _seed(copies)
            for _ in range(options.jobs):
                copy = copies.get()
                copies.put(replace(copy, suite=stack.enter_context(_suite(copy.place))))
        if not options.no_baseline:
            _check_whole(chosen, copies)
        with ThreadPoolExecutor(options.jobs) as pool:
            for verdict in pool.map(lambda one: _try(one, copies, options.all), chosen):
                verdicts.append(verdict)
                print(_line(verdict), flush=True)
    return _judge(verdicts)


def _line(verdict: Verdict) -> str:
    word = "ERROR" if verdict.error else "killed" if verdict.killed else "SURVIVED"
    lines = [f"{word:9} {verdict.fault.id:40} {verdict.seconds:5.1f} s  lets {verdict.fault.lets}"]
    if verdict.unmoved:
        lines.append(f"{'':10}not noticed by {', '.join(verdict.unmoved)}")
    if verdict.failed:
        lines.append(f"{'':10}noticed by {', '.join(verdict.failed)}")
    if verdict.error:
        lines.append(f"{'':10}{verdict.error}")
    return "\n".join(lines)


def _judge(verdicts: Sequence[Verdict]) -> int:
    killed, errors = sum(one.killed for one in verdicts), [one for one in verdicts if one.error]
    rate = 100 * killed / len(verdicts)
    print(f"{killed} of {len(verdicts)} faults noticed: {rate:.1f} %")
    if errors:
        raise Unusable(f"{len(errors)} could not be tried: {', '.join(one.fault.id for one in errors)}")
    return 0 if rate >= RATE else 1


@contextmanager
def _copies(count: int, chosen: Sequence[Fault]) -> Iterator[queue.Queue[Copy]]:
    """So many copies of the tree with what is compiled of it, the first compiled before it is copied. What a
    fault is planted in says by its compiled file what source that is of: times are too coarse there."""
    waiting: queue.Queue[Copy] = queue.Queue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        first, *others = (Path(folder) / f"copy{number}" for number in range(count))
        shutil.copytree(ROOT, first, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
        for name in _LOADED:
            compileall.compile_dir(first / name, quiet=2)
        for file in {one.file for one in chosen}:
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            py_compile.compile(str(first / file), doraise=True, invalidation_mode=mode)
        for other in others:
            shutil.copytree(first, other, symlinks=True)
        for place in (first, *others):
            waiting.put(Copy(place))
        yield waiting


def _check_whole(chosen: Sequence[Fault], copies: queue.Queue[Copy]) -> None:
    """Who fails without any fault notices nothing."""
    for kind in get_args(Kind):
        named = sorted({name for one in chosen if one.kind == kind for name in one.killed_by})
        if not named:
            continue
        wrong: dict[str, str] = {}
        size = len(named) if kind == "suite" else _AT_ONCE
        for at in range(0, len(named), size):
            copy = copies.get()
            try:
                wrong |= _failing(kind, copy, named[at : at + size])
            finally:
                copies.put(copy)
        passing = [name for name in named if wrong.get(name) == "PASS"]
        if len(passing) != len(named):
            bad = {name: wrong.get(name, "did not run") for name in named if name not in passing}
            raise Unusable(f"without any fault these do not pass: {bad}; mend them, or name others")
        print(f"{len(named)} {'cases' if kind == 'suite' else 'tests'} pass without faults", flush=True)


def _try(fault: Fault, copies: queue.Queue[Copy], everything: bool) -> Verdict:
    copy, began = copies.get(), time.monotonic()
    file = copy.place / fault.file
    source = file.read_text("utf-8")
    try:
        file.write_text(fault.planted(source), "utf-8")
        found = _failing(fault.kind, copy, [] if everything and fault.kind == "suite" else fault.killed_by)
        unmoved = tuple(name for name in fault.killed_by if found.get(name) not in _NOTICED)
        failed = tuple(sorted(name for name, outcome in found.items() if outcome in _NOTICED))
        if everything and failed:
            unmoved = ()
        return Verdict(fault, unmoved, time.monotonic() - began, failed if everything else ())
    except Unusable as error:
        return Verdict(fault, (), time.monotonic() - began, error=str(error))
    finally:
        file.write_text(source, "utf-8")
        copies.put(copy)


def _failing(kind: Kind, copy: Copy, names: Sequence[str]) -> dict[str, str]:
    """Name -> outcome, as the suite calls them."""
    return _by_suite(copy, names) if kind == "suite" else _by_tests(copy.place, names)


def _seed(copies: queue.Queue[Copy]) -> None:
    """A demo's data and credentials beside the copies, made once: that takes longer than most cases."""
    copy = copies.get()
    code, said = _python(copy.place, "-m", "tests.mutants.against", "seed", str(_seed_of(copy.place)))
    copies.put(copy)
    if code != 0:
        raise Unusable(f"no demo can be started: {said.strip()[-400:]}; see make demo")


def _seed_of(copy: Path) -> Path:
    return copy.parent / "seed"


@contextmanager
def _suite(copy: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.mutants.against", "wait", str(_seed_of(copy))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with started(command, cwd=copy, env=_environment(copy), **pipes) as process:
        _answer(process)
        yield process


def _answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise Unusable("the process that runs the suite has ended; its last words are above")
    return json.loads(line)


def _by_suite(copy: Copy, cases: Sequence[str]) -> dict[str, str]:
    assert copy.suite is not None
    assert copy.suite.stdin is not None
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy.suite.stdin.write(json.dumps({"folder": folder, "cases": list(cases)}) + "\n")
        copy.suite.stdin.flush()
        found = _answer(copy.suite)
    if isinstance(found, str):
        raise Unusable(found)
    return dict(found)


def _by_tests(copy: Path, nodes: Sequence[str]) -> dict[str, str]:
    """Node -> PASS or FAIL. Without -x, which would hide the second."""
    report = copy / "mutants.xml"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml", str(report), *nodes]
    code, said = _python(copy, *words)
    # 1: tests failed. All else (2: not collected, 4: no such node) says nothing of the fault.
    if code not in (0, 1):
        raise Unusable(f"pytest ended with {code}: {said.strip()[-400:]}")
    if len(nodes) == 1 or code == 0:
        return dict.fromkeys(nodes, "FAIL" if code else "PASS")
    failed = {line.split()[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))}
    return {node: "FAIL" if any(_within(one, node) for one in failed) else "PASS" for node in nodes}


def _within(failed: str, node: str) -> bool:
    return failed == node or failed.startswith((f"{node}[", f"{node}::"))


def _python(copy: Path, *words: str) -> tuple[int, str]:
    """Runs Python in the copy; its status and what it said. Nothing of it is left when this returns."""
    command = [sys.executable, *words]
    with (
        tempfile.TemporaryFile() as output,
        started(
            command, cwd=copy, env=_environment(copy), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise Unusable(f"no end after {LIMIT:g} s") from None
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _environment(copy: Path) -> dict[str, str]:
    # Whoever is named to notice a fault is asked, whosever turn it is.
    ours = {name: value for name, value in os.environ.items() if name != "SEKISHO_TURNS"}
    return {**ours, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("globs", metavar="GLOB", nargs="*", help="faults by id; all otherwise")
    parser.add_argument("--kind", choices=get_args(Kind), help="only those that these have to notice")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="one in N of them, others with each commit"
    )
    parser.add_argument("--all", action="store_true", help="run the whole suite on each, and say who noticed")
    parser.add_argument("--no-baseline", action="store_true", help="take it that all pass without faults")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
