"""What may be typed, and one line for what was typed wrong: nothing is asked of the server before."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from conformance import credentials
from conformance.case import LEVELS, SHOULD, Case
from conformance.credentials import Credentials, Usage
from conformance.wire import Broken, client_context, origin_of


class _Parser(argparse.ArgumentParser):
    """One line for a wrong option, in place of the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{message}; see --help")


def parser() -> argparse.ArgumentParser:
    made = _Parser(
        prog="sekisho-conformance", description="Checks an ACME server against RFC 8555, 9773 and profiles."
    )
    add = made.add_argument
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
    add("--without-account", action="store_true", help="run only the cases that need no account")
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
    add("--timeout", metavar="S", type=_seconds, default=30.0, help="seconds a case may take (default 30)")
    add("--deadline", metavar="S", type=_seconds, help="seconds the whole run may take (default: any)")
    add(
        "--level",
        choices=LEVELS,
        default=SHOULD,
        help="run cases up to this level (default SHOULD: what the standards ask for)",
    )
    add(
        "--resolve",
        metavar="NAME=ADDRESS",
        action="append",
        default=[],
        help="the suite itself connects to ADDRESS for NAME; the server is told nothing",
    )
    add("--http-01-port", metavar="PORT", type=_port, help="answer http-01 validations on this port")
    add("--dns-01-port", metavar="PORT", type=_port, help="be the name server for dns-01 on this UDP port")
    add("--tls-alpn-01-port", metavar="PORT", type=_port, help="answer tls-alpn-01 validations on this port")
    return made


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: give seconds, more than 0") from None
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text}: give seconds, more than 0")
    return seconds


def check(options: argparse.Namespace, chosen: Sequence[Case]) -> None:
    """Usage for what would only be noticed when the run is over."""
    if not options.directory:
        raise Usage("no server given; add --directory https://.../directory")
    try:
        origin_of(options.directory)
    except Broken as error:
        raise Usage(f"--directory: {error}; write it as https://.../directory") from None
    if not chosen:
        wanted = " ".join(filter(None, [options.only, *options.section])) or "--without-account"
        raise Usage(
            f"no case up to level {options.level} matches {wanted}; see --list, and --level ours for all"
        )
    if options.resume and not options.results:
        raise Usage("--resume goes on with a file of results; name it: --results FILE")
    for name in ("json", "junit", "results"):
        target = getattr(options, name)
        if target and (target != "-" or name != "json"):
            try:
                with open(target, "ab"):
                    pass
            except OSError as error:
                raise Usage(f"--{name} {target}: {error.strerror}; name a file that can be written") from None


def given(options: argparse.Namespace) -> Credentials:
    """The credentials of the file, and those that the command line names for a server without bindings."""
    found = credentials.load(options.credentials) if options.credentials else Credentials()
    named = tuple(credentials.unbound(name) for name in options.identifier)
    return replace(found, bindings=(*found.bindings, *named))


def trust(ca_file: str | None) -> ssl.SSLContext:
    """The TLS of requests, with the roots of --ca-file."""
    try:
        return client_context(ca_file)
    except ssl.SSLError:
        what = "no certificate in PEM is in it"
        if ca_file is not None and b"-----BEGIN CERTIFICATE-----" in Path(ca_file).read_bytes():
            what = "a certificate in it cannot be read"
        raise Usage(f"--ca-file {ca_file}: {what}; give the roots as PEM") from None
    except OSError as error:
        raise Usage(f"--ca-file {ca_file}: {error.strerror}; name a file that can be read") from None


def resolved(pairs: Sequence[str]) -> dict[str, str]:
    """Name -> address of --resolve."""
    for pair in pairs:
        name, found, address = pair.partition("=")
        if not (name and found and address):
            raise Usage(f"--resolve {pair}: write it as --resolve NAME=ADDRESS")
    return dict(pair.split("=", 1) for pair in pairs)
