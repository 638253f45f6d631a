"""What an answer must look like: pure functions from an answer to the list of what is wrong with it.

An empty list means the answer is as it should be, so checks add up with `both`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from urllib.parse import urlsplit

from conformance.wire import Answer

Check = Callable[[Answer], list[str]]

URN = "urn:ietf:params:acme:error:"
ANY_REFUSAL = frozenset({400, 401, 403, 404, 405, 409, 411, 413, 414, 415, 422, 431})
_RFC3339 = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
_BASE64URL = re.compile(r"^[A-Za-z0-9_-]+$")


def status(*codes: int) -> Check:
    """The status code is one of these."""
    return lambda answer: [] if answer.status in codes else [f"{shown(answer)}, not {_either(codes)}"]


def said(value: object) -> str:
    """A problem object in one line, its type without the namespace; empty for none."""
    if not isinstance(value, dict):
        return ""
    kind = str(value.get("type", "")).removeprefix(URN)
    return ": ".join(part for part in (kind, str(value.get("detail", ""))) if part)


def problem(codes: int | Collection[int], *types: str) -> Check:
    """A problem document (RFC 7807) with one of the status codes and, when given, ACME types."""
    wanted = {codes} if isinstance(codes, int) else set(codes)

    def check(answer: Answer) -> list[str]:
        wrong = []
        if answer.status not in wanted:
            wrong.append(f"{shown(answer)}, not {_statuses(wanted)}")
        elif not answer.object().get("type"):
            wrong.append(f"{shown(answer)} without a problem document")
        if types and not wrong and answer.problem_type() not in types:
            wrong.append(f"type {answer.problem_type()!r}, not {_either(types)}")
        return wrong

    return check


def refused(*types: str) -> Check:
    """Any 4xx refusal with a problem document."""
    return problem(ANY_REFUSAL, *types)


def both(*checks: Check) -> Check:
    """All of the checks; what is wrong is the sum."""
    return lambda answer: [wrong for check in checks for wrong in check(answer)]


def either(*checks: Check) -> Check:
    """At least one of the checks; what is wrong is what the last one says."""

    def check(answer: Answer) -> list[str]:
        wrong: list[str] = []
        for one in checks:
            wrong = one(answer)
            if not wrong:
                break
        return wrong

    return check


def header(name: str, pattern: str = "") -> Check:
    """The header is there, and matches the pattern (a regular expression) somewhere."""

    def check(answer: Answer) -> list[str]:
        value = answer.header(name)
        if value is None:
            return [f"no {name} header"]
        return [] if re.search(pattern, value, re.IGNORECASE) else [f"{name} is {value!r}"]

    return check


def media_type(name: str) -> Check:
    return lambda a: [] if a.media_type == name else [f"Content-Type is {a.media_type!r}, not {name}"]


def member(name: str, *values: object) -> Check:
    """The JSON object has the member, and its value is one of those given, if any are."""

    def check(answer: Answer) -> list[str]:
        body = answer.object()
        if name not in body:
            return [f"no member {name!r} in the answer ({shown(answer)})"]
        return (
            [] if not values or body[name] in values else [f"{name} is {body[name]!r}, not {_either(values)}"]
        )

    return check


def no_member(name: str) -> Check:
    return lambda a: [f"member {name!r} is there"] if name in a.object() else []


def empty_body(answer: Answer) -> list[str]:
    return [f"a body of {len(answer.body)} bytes"] if answer.body else []


def linked(relation: str, target: str | None = None) -> Check:
    """A Link header of this relation (RFC 8288), to this target when one is given."""

    def check(answer: Answer) -> list[str]:
        found = links(answer, relation)
        if not found:
            return [f'no Link with rel="{relation}"']
        return (
            []
            if target is None or target in found
            else [f'Link rel="{relation}" is {found[0]}, not {target}']
        )

    return check


def links(answer: Answer, relation: str) -> list[str]:
    """Targets of the Link headers with this relation."""
    found = []
    for value in answer.all("Link"):
        for target, parameters in re.findall(r"<([^>]*)>([^<]*)", value):
            for quoted, token in re.findall(
                r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,]+))', parameters, re.IGNORECASE
            ):
                if relation in (quoted or token).lower().split():
                    found.append(target)
    return found


def replay_nonce(answer: Answer) -> list[str]:
    """A Replay-Nonce that is base64url (RFC 8555 6.5.1)."""
    nonces = answer.all("Replay-Nonce")
    if len(nonces) != 1:
        return [f"{len(nonces)} Replay-Nonce headers ({shown(answer)})"]
    return [] if _BASE64URL.match(nonces[0]) else [f"Replay-Nonce {nonces[0]!r} is not base64url"]


def problem_form(answer: Answer) -> list[str]:
    """RFC 7807 3 and RFC 8555 6.7: media type, an ACME or about:blank type, the status repeated."""
    body = answer.object()
    wrong = media_type("application/problem+json")(answer)
    kind = body.get("type", "about:blank")
    if not (isinstance(kind, str) and (kind.startswith(URN) or kind == "about:blank")):
        wrong.append(f"type is {kind!r}")
    if "status" in body and body["status"] != answer.status:
        wrong.append(f"member status {body['status']!r} with HTTP status {answer.status}")
    return wrong


def timestamp(text: object) -> datetime | None:
    """An RFC 3339 date-time, None when it is not one."""
    if not isinstance(text, str) or not _RFC3339.match(text):
        return None
    whole = re.sub(r"\.\d+", "", text.upper().replace("Z", "+00:00"))
    try:
        return datetime.fromisoformat(whole).astimezone(UTC)
    except ValueError:
        return None


def timestamp_member(name: str) -> Check:
    def check(answer: Answer) -> list[str]:
        value = answer.object().get(name)
        return [] if timestamp(value) else [f"{name} is {value!r}, not an RFC 3339 time"]

    return check


def url_member(name: str) -> Check:
    return lambda a: (
        [] if is_url(a.object().get(name)) else [f"{name} is {a.object().get(name)!r}, not a URL"]
    )


def is_url(value: object) -> bool:
    return isinstance(value, str) and urlsplit(value).scheme == "https" and bool(urlsplit(value).netloc)


def shown(answer: Answer) -> str:
    """One line that says what came back."""
    kind, detail = answer.problem_type(), str(answer.object().get("detail", ""))
    said = ": ".join(part for part in (kind, detail[:120]) if part)
    return f"{answer.status} {said}".strip()


def told(answer: Answer, *named: str) -> tuple[int, str, str]:
    """Status, type and detail, without what the request itself named: what an attacker learns."""
    detail = str(answer.object().get("detail", ""))
    for name in sorted(filter(None, named), key=len, reverse=True):
        detail = detail.replace(name, "…")
    return answer.status, answer.problem_type(), detail


def _statuses(codes: Collection[int]) -> str:
    if set(codes) == ANY_REFUSAL:
        return "a refusal (4xx)"
    if len(codes) > 2 and all(400 <= code < 500 for code in codes):
        return f"a refusal ({', '.join(map(str, sorted(codes)))})"
    return _either(sorted(codes))


def _either(values: Collection[object]) -> str:
    return " or ".join(str(value) for value in values)
