"""Rules that hold for every answer, checked over all that was said in the run (RFC 8555 6.5, 6.7, 7.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from conformance import acts
from conformance.case import MUST, SHOULD, Case, Level, case
from conformance.check import (
    Check,
    both,
    header,
    linked,
    media_type,
    no_member,
    problem_form,
    replay_nonce,
    status,
    url_member,
)
from conformance.verdict import Failed, Skipped
from conformance.wire import DROP_HEADER, Call
from conformance.world import Exchange, World

CASES: list[Case] = []
Chosen = Callable[[World, Exchange], bool]


def violations(exchanges: Iterable[Exchange], check: Check) -> list[str]:
    """What the check finds, once for each kind of violation, with how often and an example."""
    found: Counter[str] = Counter()
    example: dict[str, str] = {}
    for exchange in exchanges:
        for wrong in check(exchange.answer):
            found[wrong] += 1
            example.setdefault(
                wrong, f"{exchange.call.method} {exchange.call.url[:100]} -> {exchange.answer.status}"
            )
    return [f"{count} x {wrong} (e.g. {example[wrong]})" for wrong, count in found.most_common(3)]


def _audit(name: str, clause: str, level: Level, title: str, chosen: Chosen, check: Check) -> None:
    @case(CASES, f"audit.{name}", clause, level, title)
    async def steps(world: World) -> None:
        await acts.issued(world)
        # What was said to another host than the server's is not its to answer for.
        exchanges = [one for one in world.log if chosen(world, one) and "Host" not in one.call.headers]
        if not exchanges:
            raise Skipped("no such answer was seen")
        wrong = violations(exchanges, check)
        if wrong:
            raise Failed("; ".join(wrong))


def _is_error(_: World, one: Exchange) -> bool:
    return one.answer.status >= 400 and one.call.method != "HEAD" and _is_sound(one.call)


def _is_sound(call: Call) -> bool:
    """The HTTP is well formed: what is not may be refused before anything that knows ACME sees it."""
    length = call.headers.get("Content-Length", "0")
    framed_once = not ("Transfer-Encoding" in call.headers and length.isdigit() and length != "0")
    return framed_once and (length.isdigit() or length == DROP_HEADER) and len(call.url) < 8000


def _is_problem(_: World, one: Exchange) -> bool:
    return "type" in one.answer.object() and one.answer.status >= 400


def _is_success(_: World, one: Exchange) -> bool:
    return one.signed and one.call.method == "POST" and 200 <= one.answer.status < 300


def _is_resource(world: World, one: Exchange) -> bool:
    renewal = world.credentials.renewal
    directories = {world.directory_url, renewal.directory if renewal else world.directory_url}
    return one.call.url.partition("?")[0] not in directories and one.answer.status < 400


def _is_json(_: World, one: Exchange) -> bool:
    return one.answer.status < 300 and one.answer.body[:1] == b"{"


_audit(
    "replay-nonce",
    "RFC 8555 6.5",
    MUST,
    "every successful answer to a POST has a Replay-Nonce, base64url",
    _is_success,
    replay_nonce,
)
_audit(
    "replay-nonce-on-errors",
    "RFC 8555 6.5",
    SHOULD,
    "every problem answer to a POST has a Replay-Nonce",
    lambda w, o: _is_problem(w, o) and o.signed and o.call.method == "POST",
    replay_nonce,
)
_audit(
    "replay-nonce-on-bad-nonce",
    "RFC 8555 6.5",
    MUST,
    "every badNonce answer has a Replay-Nonce",
    lambda _, o: o.answer.problem_type() == "badNonce",
    replay_nonce,
)
_audit(
    "link-index",
    "RFC 8555 7.1",
    MUST,
    "every resource but the directory links to it as its index",
    _is_resource,
    linked("index"),
)
_audit(
    "link-index-on-errors",
    "RFC 8555 7.1",
    SHOULD,
    "every problem document links to the directory",
    _is_problem,
    linked("index"),
)
_audit(
    "problem-documents",
    "RFC 8555 6.7",
    SHOULD,
    "every error has a problem document",
    _is_error,
    lambda a: [] if a.object().get("type") else ["no problem document"],
)
_audit(
    "problem-form",
    "RFC 8555 6.7",
    MUST,
    "problem documents have their media type, an ACME type, and the HTTP status",
    _is_problem,
    problem_form,
)
_audit(
    "problem-detail",
    "RFC 8555 6.7",
    SHOULD,
    "problem documents have a detail for people",
    _is_problem,
    lambda a: [] if a.object().get("detail") else ["no detail"],
)
_audit(
    "no-top-level-identifier",
    "RFC 8555 6.7.1",
    MUST,
    "no problem document has an identifier outside subproblems",
    _is_problem,
    no_member("identifier"),
)
_audit(
    "bad-algorithms",
    "RFC 8555 6.2",
    MUST,
    "every badSignatureAlgorithm lists the algorithms",
    lambda _, o: o.answer.problem_type() == "badSignatureAlgorithm",
    lambda a: [] if isinstance(a.object().get("algorithms"), list) else ["no algorithms array"],
)
_audit(
    "json-media-type",
    "RFC 8555 7.1",
    MUST,
    "every object is application/json",
    _is_json,
    media_type("application/json"),
)
_audit(
    "rate-limited",
    "RFC 8555 6.6",
    SHOULD,
    "every rateLimited answer is 429 with Retry-After",
    lambda _, o: o.answer.status == 429 or o.answer.problem_type() == "rateLimited",
    lambda a: ([] if a.status == 429 else [f"status {a.status}"]) + header("Retry-After")(a),
)
_audit(
    "user-action",
    "RFC 8555 7.3.3",
    MUST,
    "every userActionRequired is 403, with a link to the terms and the URL of what a person has to do",
    lambda _, o: o.answer.problem_type() == "userActionRequired",
    both(status(403), linked("terms-of-service"), url_member("instance")),
)
_audit(
    "created-location",
    "RFC 8555 7.3",
    MUST,
    "every 201 has a Location",
    lambda _, o: o.answer.status == 201,
    header("Location"),
)

LEAKS = (b"Traceback", b'.py", line', b"goroutine ", b"panic:", b"sqlite3.", b"at java.")
_audit(
    "no-leaks",
    "RFC 8555 10",
    SHOULD,
    "no answer shows the inside of the server",
    lambda _, o: o.answer.status >= 400,
    lambda a: [f"{leak!r}" for leak in LEAKS if leak in a.body],
)
_audit(
    "no-unknown-errors",
    "RFC 9110 15.6",
    SHOULD,
    "no request of this run was answered 5xx",
    lambda _, o: True,
    lambda a: [f"status {a.status}"] if a.status >= 500 else [],
)


@case(CASES, "audit.nonces-unique", "RFC 8555 6.5.1", MUST, "no nonce was given twice in the whole run")
async def nonces_unique(world: World) -> None:
    await acts.issued(world)
    given = Counter(nonce for one in world.log if (nonce := one.answer.header("Replay-Nonce")))
    again = [nonce for nonce, count in given.items() if count > 1]
    if again:
        raise Failed(f"{len(again)} of {len(given)} came more than once, e.g. {again[0]}")


@case(
    CASES,
    "audit.still-serves",
    "RFC 8555 7.4",
    MUST,
    "after everything the server still issues a certificate",
)
async def still_serves(world: World) -> None:
    await acts.issue(world, await acts.fresh_order(world))
