"""The command line: point the suite at a directory URL and read what it found."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance import cases, commandline, known, operators, preflight, report
from conformance.case import Case
from conformance.credentials import Credentials, Usage
from conformance.journal import Journal
from conformance.known import Known
from conformance.responder import Ports, PortTaken, answering
from conformance.run import Limits, Result, run, select
from conformance.wire import Wire
from conformance.world import World

ALL_GOOD, FOUND, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suite; returns 0 when all is as expected, 1 when not, 2 for a usage error."""
    try:
        options = commandline.parser().parse_args(arguments)
        chosen = select(cases.CASES, options.level, options.only, options.section)
        if options.without_account:
            chosen = [one for one in chosen if not cases.needs_account(one)]
        if options.list:
            return _list(chosen, options.verbose)
        return _run(options, chosen)
    except SystemExit as stop:
        return USAGE if stop.code else ALL_GOOD
    except Usage as error:
        print(f"conformance: {error}", file=sys.stderr)
        return USAGE


def _list(chosen: Sequence[Case], verbose: bool) -> int:
    try:
        print("\n".join(report.listed(one, verbose=verbose) for one in chosen), flush=True)
    except BrokenPipeError:
        _nobody_reads()
    return ALL_GOOD


def _nobody_reads() -> None:
    """Whoever read stdout has left (`| head`): nobody is told more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass
class _Screen:
    """What a run says as it goes, and what it has found so far."""

    expected: dict[str, Known]
    quiet: bool
    results: list[Result] = field(default_factory=list)

    def show(self, result: Result) -> None:
        self.results.append(result)
        if not self.quiet:
            print(report.line(result, self.expected), flush=True)

    def tell(self, lines: Sequence[str]) -> None:
        if not self.quiet:
            print("\n".join(lines), flush=True)


def _run(options: argparse.Namespace, chosen: Sequence[Case]) -> int:
    commandline.check(options, chosen)
    given = commandline.given(options)
    screen = _Screen(known.load(options.known) if options.known else {}, options.json == "-")
    try:
        return _report(options, asyncio.run(_suite(options, given, chosen, screen)), screen)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        # What was found is not lost with the rest.
        if isinstance(error, BrokenPipeError):
            _nobody_reads()
        print(f"conformance: interrupted after {len(screen.results)} of {len(chosen)} cases", file=sys.stderr)
        _report(options, screen.results, screen)
        return FOUND


def _report(options: argparse.Namespace, results: Sequence[Result], screen: _Screen) -> int:
    verdict = known.judge(results, screen.expected)
    if options.json and options.json != "-":
        Path(options.json).write_text(_json(options, results, screen), "utf-8")
    if options.junit:
        Path(options.junit).write_bytes(report.as_junit(results, verdict))
    if options.json == "-":
        sys.stdout.buffer.write(_json(options, results, screen).encode())
        sys.stdout.flush()
    else:
        print(report.summary(results, verdict), flush=True)
    return ALL_GOOD if verdict.good else FOUND


def _json(options: argparse.Namespace, results: Sequence[Result], screen: _Screen) -> str:
    return report.as_json(results, known.judge(results, screen.expected), screen.expected, options.directory)


async def _suite(
    options: argparse.Namespace, given: Credentials, chosen: Sequence[Case], screen: _Screen
) -> list[Result]:
    resolve = commandline.resolved(options.resolve)
    wire = Wire(commandline.trust(options.ca_file), resolve)
    world = World(options.directory, wire, given, ca_file=options.ca_file, resolve=resolve)
    world.contact = tuple(options.contact)
    world.operator = operators.named(options.operator) if options.operator else None
    journal = Journal(options.results, options.directory, resume=options.resume) if options.results else None
    accounts = any(cases.needs_account(one) for one in chosen)
    try:
        ports = Ports(options.http_01_port, options.dns_01_port, options.tls_alpn_01_port)
        async with answering(ports, world.answers):
            screen.tell((await look_recorded(world, journal, accounts=accounts)).lines)
            limits = Limits(options.timeout, options.deadline)
            return await run_recorded(world, chosen, limits, screen.show, journal)
    except PortTaken as error:
        raise Usage(str(error)) from error
    finally:
        await world.close()


async def look_recorded(world: World, journal: Journal | None, *, accounts: bool) -> preflight.Found:
    """The look before a run; where it ends the run, what was said until then is written down all the same."""
    try:
        return await preflight.look(world, accounts=accounts)
    except BaseException:
        if journal is not None:
            journal.say_alone(world.log)
        raise


async def run_recorded(
    world: World,
    chosen: Sequence[Case],
    limits: Limits,
    show: Callable[[Result], None],
    journal: Journal | None,
) -> list[Result]:
    """Runs them, and writes down what they came to and, for the audits of a later --resume, what was said."""
    if journal is None:
        return await run(world, chosen, limits, show)
    with journal:
        journal.say(world.log)
        world.log[:0] = journal.said
        written = len(world.log)

        def keep(result: Result) -> None:
            nonlocal written
            journal.say(world.log[written:])
            written = len(world.log)
            journal.add(result)
            show(result)

        return await run(world, chosen, limits, keep, journal.earlier(chosen))


if __name__ == "__main__":
    sys.exit(main())
