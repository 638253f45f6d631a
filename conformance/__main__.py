"""The command line: point the suite at a directory URL and read what it found."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance import cases, credentials, known, report
from conformance.case import LEVELS, Case
from conformance.credentials import Credentials, Usage
from conformance.responder import answering
from conformance.run import Result, run, select
from conformance.wire import Broken, Wire, client_context, origin_of
from conformance.world import World

ALL_GOOD, FOUND, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suite; returns 0 when all is as expected, 1 when not, 2 for a usage error."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as stop:
        return USAGE if stop.code else ALL_GOOD
    try:
        chosen = select(cases.CASES, options.level, options.only)
        if options.list:
            print("\n".join(f"{one.level:6} {one.id:44} {one.title} [{one.clause}]" for one in chosen))
            return ALL_GOOD
        return _run(options, chosen)
    except Usage as error:
        print(f"conformance: {error}", file=sys.stderr)
        return USAGE


def _run(options: argparse.Namespace, chosen: Sequence[Case]) -> int:
    if not options.directory:
        raise Usage("no server given; add --directory https://.../directory")
    try:
        origin_of(options.directory)
    except Broken as error:
        raise Usage(f"--directory: {error}; write it as https://.../directory") from None
    if not chosen:
        raise Usage(f"no case matches --only {options.only}; see --list")
    given = credentials.load(options.credentials) if options.credentials else Credentials()
    expected = known.load(options.known) if options.known else {}
    quiet = options.json == "-"

    def show(result: Result) -> None:
        if not quiet:
            print(report.line(result, expected), flush=True)

    results = asyncio.run(_suite(options, given, chosen, show))
    verdict = known.judge(results, expected)
    if options.json:
        _write(options.json, report.as_json(results, verdict, expected, options.directory).encode())
    if options.junit:
        _write(options.junit, report.as_junit(results, verdict))
    if not quiet:
        print(report.summary(results, verdict))
    return ALL_GOOD if verdict.good else FOUND


async def _suite(
    options: argparse.Namespace, given: Credentials, chosen: Sequence[Case], show: Callable[[Result], None]
) -> list[Result]:
    try:
        context = client_context(options.ca_file)
        resolve = dict(pair.split("=", 1) for pair in options.resolve)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Usage(
            f"--ca-file {options.ca_file} or --resolve: {error}; give a PEM file, NAME=ADDRESS"
        ) from error
    world = World(options.directory, Wire(context, resolve), given, ca_file=options.ca_file, resolve=resolve)
    try:
        async with answering(options.http_01_port, world.key_authorizations):
            return await run(world, chosen, options.timeout, show)
    except OSError as error:
        raise Usage(f"--http-01-port {options.http_01_port}: {error}; give a free port") from error
    finally:
        await world.close()


def _write(target: str, data: bytes) -> None:
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        Path(target).write_bytes(data)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance", description="Checks an ACME server against RFC 8555, 9773 and profiles."
    )
    add = parser.add_argument
    add("--directory", metavar="URL", help="the server's directory")
    add("--ca-file", metavar="FILE", help="PEM roots to trust for TLS (default: the system's)")
    add("--credentials", metavar="FILE", help="JSON with external account bindings (see README)")
    add("--json", metavar="FILE", help="write results as JSON; - is stdout, and nothing else is printed")
    add("--junit", metavar="FILE", help="write results as JUnit XML")
    add("--only", metavar="GLOB", help="run the cases whose id matches (comma-separated globs)")
    add("--known", metavar="FILE", help="expected failures (TOML)")
    add("--list", action="store_true", help="list the cases and end")
    add("--timeout", metavar="S", type=float, default=30.0, help="seconds a case may take (default 30)")
    add("--level", choices=LEVELS, default="ours", help="run cases up to this level (default ours: all)")
    add("--resolve", metavar="NAME=ADDRESS", action="append", default=[], help="connect to ADDRESS for NAME")
    add("--http-01-port", metavar="PORT", type=int, help="answer http-01 validations on this port")
    return parser


if __name__ == "__main__":
    sys.exit(main())
