"""The command line: point the suite at a directory URL and read what it found."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from conformance import cases, credentials, known, operators, preflight, report
from conformance.case import LEVELS, Case
from conformance.credentials import Credential, Credentials, Usage
from conformance.journal import Journal
from conformance.known import Known
from conformance.responder import Ports, PortTaken, answering
from conformance.run import Limits, Result, run, select
from conformance.wire import Broken, Wire, client_context, origin_of
from conformance.world import World

ALL_GOOD, FOUND, USAGE = 0, 1, 2

#: Groups of cases that need no order, nor an account of their own.
_WITHOUT_ORDER = frozenset({"directory", "nonce", "http"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suite; returns 0 when all is as expected, 1 when not, 2 for a usage error."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as stop:
        return USAGE if stop.code else ALL_GOOD
    try:
        chosen = select(cases.CASES, options.level, options.only, options.section)
        if options.list:
            print("\n".join(report.listed(one, verbose=options.verbose) for one in chosen))
            return ALL_GOOD
        return _run(options, chosen)
    except Usage as error:
        print(f"conformance: {error}", file=sys.stderr)
        return USAGE


def _run(options: argparse.Namespace, chosen: Sequence[Case]) -> int:
    _check(options, chosen)
    given = _given(options)
    expected = known.load(options.known) if options.known else {}
    quiet = options.json == "-"
    results: list[Result] = []

    def show(result: Result) -> None:
        results.append(result)
        if not quiet:
            print(report.line(result, expected), flush=True)

    def tell(lines: Sequence[str]) -> None:
        if not quiet:
            print("\n".join(lines), flush=True)

    try:
        results = asyncio.run(_suite(options, given, chosen, show, tell))
    except KeyboardInterrupt:
        # What was found is not lost with the rest.
        print(f"conformance: interrupted after {len(results)} of {len(chosen)} cases", file=sys.stderr)
        _report(options, results, expected, quiet)
        return FOUND
    return _report(options, results, expected, quiet)


def _report(
    options: argparse.Namespace, results: Sequence[Result], expected: dict[str, Known], quiet: bool
) -> int:
    verdict = known.judge(results, expected)
    if options.json:
        _write(options.json, report.as_json(results, verdict, expected, options.directory).encode())
    if options.junit:
        _write(options.junit, report.as_junit(results, verdict))
    if not quiet:
        print(report.summary(results, verdict))
    return ALL_GOOD if verdict.good else FOUND


def _check(options: argparse.Namespace, chosen: Sequence[Case]) -> None:
    """Usage for what would only be noticed when the run is over."""
    if not options.directory:
        raise Usage("no server given; add --directory https://.../directory")
    try:
        origin_of(options.directory)
    except Broken as error:
        raise Usage(f"--directory: {error}; write it as https://.../directory") from None
    if not chosen:
        wanted = " ".join(filter(None, [options.only, *options.section]))
        raise Usage(f"no case matches {wanted}; see --list")
    for name in ("timeout", "deadline"):
        seconds = getattr(options, name)
        if seconds is not None and not seconds > 0:
            raise Usage(f"--{name} {seconds:g}: give seconds, more than 0")
    if options.resume and not options.results:
        raise Usage("--resume goes on with a file of results; name it: --results FILE")
    for name in ("json", "junit"):
        target = getattr(options, name)
        if target and target != "-":
            try:
                with open(target, "ab"):
                    pass
            except OSError as error:
                raise Usage(f"--{name} {target}: {error.strerror}; name a file that can be written") from None


def _given(options: argparse.Namespace) -> Credentials:
    """The credentials of the file, and those that the command line names for a server without bindings."""
    given = credentials.load(options.credentials) if options.credentials else Credentials()
    named = tuple(
        Credential("", b"", ({"type": "dns", "value": name},), reusable=True) for name in options.identifier
    )
    return replace(given, bindings=(*given.bindings, *named))


async def _suite(
    options: argparse.Namespace,
    given: Credentials,
    chosen: Sequence[Case],
    show: Callable[[Result], None],
    tell: Callable[[Sequence[str]], None],
) -> list[Result]:
    try:
        context = client_context(options.ca_file)
        resolve = dict(pair.split("=", 1) for pair in options.resolve)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Usage(
            f"--ca-file {options.ca_file} or --resolve: {error}; give a PEM file, NAME=ADDRESS"
        ) from error
    world = World(options.directory, Wire(context, resolve), given, ca_file=options.ca_file, resolve=resolve)
    world.contact = tuple(options.contact)
    world.operator = operators.named(options.operator) if options.operator else None
    limits = Limits(options.timeout, options.deadline)
    orders = any(one.id.partition(".")[0] not in _WITHOUT_ORDER for one in chosen)
    try:
        ports = Ports(options.http_01_port, options.dns_01_port, options.tls_alpn_01_port)
        async with answering(ports, world.answers):
            found = await preflight.look(world, orders=orders)
            tell(found.lines)
            if not options.results:
                return await run(world, chosen, limits, show)
            with Journal(options.results, options.directory, resume=options.resume) as journal:

                def keep(result: Result) -> None:
                    journal.add(result)
                    show(result)

                return await run(world, chosen, limits, keep, journal.earlier(chosen))
    except PortTaken as error:
        raise Usage(str(error)) from error
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
    add(
        "--identifier",
        metavar="NAME",
        action="append",
        default=[],
        help="a DNS name to order, for a server that asks for no binding; again for more",
    )
    add(
        "--contact",
        metavar="URL",
        action="append",
        default=[],
        help="a contact to give with each newAccount, such as mailto:you@example.org",
    )
    add("--json", metavar="FILE", help="write results as JSON; - is stdout, and nothing else is printed")
    add("--junit", metavar="FILE", help="write results as JUnit XML")
    add("--results", metavar="FILE", help="write each result as it comes, a JSON line each")
    add("--resume", action="store_true", help="go on after the results that are in --results")
    add("--only", metavar="GLOB", help="run the cases whose id matches (comma-separated globs)")
    add(
        "--section",
        metavar="CLAUSE",
        action="append",
        default=[],
        help='run the cases of a clause and those below it: "RFC 8555 7.4", 7.4, "RFC 9773"',
    )
    add("--operator", metavar="COMMAND", help="what acts as the server's operator, see README")
    add("--known", metavar="FILE", help="expected failures (TOML)")
    add("--list", action="store_true", help="list the cases and end")
    add("--verbose", action="store_true", help="with --list: quote what each case rests on")
    add("--timeout", metavar="S", type=float, default=30.0, help="seconds a case may take (default 30)")
    add("--deadline", metavar="S", type=float, help="seconds the whole run may take (default: any)")
    add("--level", choices=LEVELS, default="ours", help="run cases up to this level (default ours: all)")
    add("--resolve", metavar="NAME=ADDRESS", action="append", default=[], help="connect to ADDRESS for NAME")
    add("--http-01-port", metavar="PORT", type=int, help="answer http-01 validations on this port")
    add("--dns-01-port", metavar="PORT", type=int, help="be the name server for dns-01 on this UDP port")
    add("--tls-alpn-01-port", metavar="PORT", type=int, help="answer tls-alpn-01 validations on this port")
    return parser


if __name__ == "__main__":
    sys.exit(main())
