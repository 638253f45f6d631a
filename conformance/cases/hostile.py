"""Bytes no client sends: JSON that parsers disagree on, and sizes that hurt (RFC 8555 6.7, RFC 8259)."""

from __future__ import annotations

from conformance import acts
from conformance.case import ADVICE, MUST, OURS, SHOULD, Case, case
from conformance.check import either, problem, refused, status
from conformance.draft import Twist, text
from conformance.drafts import row
from conformance.verdict import expect
from conformance.wire import Call
from conformance.world import World

BAD = problem(400, "malformed")
# A header without anything may be refused for whatever it lacks.
BAD_OR_ALG = problem(400, "malformed", "badSignatureAlgorithm", "badNonce")
TOO_BIG = problem({400, 413, 431}, "malformed", "rateLimited")
# Small enough to reach the parser where bodies are limited to 64 kB.
DEEP = b"[" * 30_000 + b"]" * 30_000
NESTED = b'{"a":' * 5_000 + b"1" + b"}" * 5_000


def _duplicate(name: bytes, value: bytes) -> Twist:
    """The protected header with a member written a second time."""
    return Twist(header_bytes=lambda h: h[:-1] + b',"' + name + b'":' + value + b"}")


CASES: list[Case] = [
    *(
        row(
            f"json.body-{name}",
            "RFC 8555 6.2",
            MUST,
            f"a body that is {title} is refused",
            "account",
            BAD,
            Twist(body=text(value)),
        )
        for name, title, value in (
            ("not-json", "not JSON", b"hello"),
            ("array", "an array", b"[]"),
            ("string", "a string", b'"x"'),
            ("number", "a number", b"1"),
            ("null", "null", b"null"),
            ("empty-object", "an empty object", b"{}"),
            ("utf-16", "UTF-16", '{"protected":"e30"}'.encode("utf-16")),
            ("invalid-utf-8", "invalid UTF-8", b'{"protected":"\xff\xfe","payload":"","signature":""}'),
            ("deep-array", "nested 30,000 deep", DEEP),
            ("deep-object", "an object nested 5,000 deep", NESTED),
            ("nan", "NaN", b'{"protected":NaN,"payload":"","signature":""}'),
            ("huge-number", "a number of 40,000 digits", b'{"protected":' + b"9" * 40_000 + b"}"),
            ("control-bytes", "NUL and control octets", bytes(range(32)) * 8),
            ("gzip", "compressed", b"\x1f\x8b\x08" + bytes(64)),
        )
    ),
    row(
        "json.body-trailing",
        "RFC 8259 2",
        MUST,
        "a body with more after the object is refused",
        "account",
        BAD,
        Twist(body=lambda b: b + b"{}"),
    ),
    row(
        "json.body-bom",
        "RFC 8259 8.1",
        SHOULD,
        "a body that begins with a byte order mark is refused or understood",
        "account",
        either(status(200), BAD),
        Twist(body=lambda b: b"\xef\xbb\xbf" + b),
    ),
    row(
        "json.body-duplicate-payload",
        "RFC 7515 4",
        MUST,
        "a body that names payload twice is refused",
        "update",
        BAD,
        Twist(body=lambda b: b[:-1] + b',"payload":"e30"}'),
    ),
    row(
        "json.body-duplicate-protected",
        "RFC 7515 4",
        MUST,
        "a body that names protected twice is refused",
        "account",
        BAD,
        Twist(body=lambda b: b'{"protected":"e30",' + b[1:]),
    ),
    *(
        row(
            f"json.header-duplicate-{name}",
            "RFC 7515 4",
            MUST,
            f"a protected header that names {name} twice is refused, or read as if the last stood alone",
            "account",
            either(status(200) if name == "alg" else refused(), refused()),
            _duplicate(name.encode(), value),
        )
        for name, value in (
            ("alg", b'"ES256"'),
            ("nonce", b'"AAAA"'),
            ("url", b'"https://x.example/"'),
            ("kid", b'"https://x.example/"'),
        )
    ),
    row(
        "json.header-duplicate-strict",
        "sekisho PROTOCOL, requests",
        OURS,
        "a protected header that names a member twice is malformed",
        "account",
        BAD,
        _duplicate(b"alg", b'"ES256"'),
    ),
    *(
        row(
            f"json.header-{name}",
            "RFC 7515 4",
            MUST,
            f"a protected header that is {title} is refused",
            "account",
            BAD_OR_ALG,
            Twist(header_bytes=text(value)),
        )
        for name, title, value in (
            ("not-json", "not JSON", b"hello"),
            ("array", "an array", b"[]"),
            ("empty", "empty", b""),
            ("empty-object", "an empty object", b"{}"),
            ("invalid-utf-8", "invalid UTF-8", b'{"alg":"\xff"}'),
            ("deep", "nested 5,000 deep", NESTED),
        )
    ),
    *(
        row(
            f"json.payload-{name}",
            "RFC 8555 6.7",
            MUST,
            f"a newOrder payload that is {title} is refused",
            "newOrder",
            BAD,
            payload=value,
        )
        for name, title, value in (
            ("not-json", "not JSON", b"hello"),
            ("array", "an array", b"[]"),
            ("string", "a string", b'"x"'),
            ("null", "null", b"null"),
            ("invalid-utf-8", "invalid UTF-8", b'{"identifiers":[{"type":"dns","value":"\xc3\x28"}]}'),
            (
                "lone-surrogate",
                "a lone surrogate",
                b'{"identifiers":[{"type":"dns","value":"\\ud800.example"}]}',
            ),
            ("nul", "a name with NUL", b'{"identifiers":[{"type":"dns","value":"a\\u0000.example"}]}'),
            ("deep", "nested 5,000 deep", NESTED),
            ("truncated", "cut short", b'{"identifiers":[{"type":"dns"'),
            ("single-quotes", "in single quotes", b"{'identifiers':[]}"),
            ("nan", "NaN", b'{"identifiers":NaN}'),
            ("trailing", "followed by more", b'{"identifiers":[]}{}'),
        )
        if name not in {"lone-surrogate", "nul"}
    ),
    *(
        row(
            f"json.payload-{name}",
            "RFC 8555 7.4",
            MUST,
            f"an identifier with {title} is refused",
            "newOrder",
            refused("malformed", "rejectedIdentifier"),
            payload=value,
        )
        for name, title, value in (
            (
                "lone-surrogate",
                "a lone surrogate",
                b'{"identifiers":[{"type":"dns","value":"\\ud800.example"}]}',
            ),
            ("nul", "NUL", b'{"identifiers":[{"type":"dns","value":"a\\u0000.example"}]}'),
            ("crlf", "a line break", b'{"identifiers":[{"type":"dns","value":"a\\r\\nX: y.example"}]}'),
            (
                "non-ascii",
                "characters beyond ASCII",
                '{"identifiers":[{"type":"dns","value":"関所.example"}]}'.encode(),
            ),
            (
                "very-long",
                "20,000 characters",
                b'{"identifiers":[{"type":"dns","value":"' + b"a" * 20_000 + b'.example"}]}',
            ),
        )
    ),
    row(
        "json.payload-duplicate-key",
        "RFC 8259 4",
        ADVICE,
        "a payload that names a member twice is refused",
        "update",
        BAD,
        payload=b'{"contact":[],"contact":["mailto:a@b.example"]}',
    ),
    *(
        row(
            f"size.{name}-1-mb{suffix}",
            "RFC 9110 15.5.14",
            level,
            f"a {name} of 1 MB is {title}",
            "account",
            check,
            twist,
        )
        for name, twist in (
            ("body", Twist(body=lambda b: b[:-1] + b',"x":"' + b"a" * 1_000_000 + b'"}')),
            ("header", Twist(protected={"x": "a" * 1_000_000})),
        )
        for suffix, level, title, check in (
            ("", MUST, "answered, served or not", either(status(200), TOO_BIG)),
            ("-refused", OURS, "refused", TOO_BIG),
        )
    ),
    row(
        "size.kid-100-kb",
        "RFC 8555 6.7",
        MUST,
        "a kid of 100 kB is refused",
        "account",
        refused(),
        Twist(protected={"kid": "https://x.example/" + "a" * 100_000}),
    ),
]


@case(
    CASES,
    "size.url-100-kb",
    "RFC 9110 15.5.15",
    SHOULD,
    "a request target of 100 kB is refused with 400, 404, 414 or 431",
)
async def long_target(world: World) -> None:
    url = world.directory_url + "?" + "a" * 100_000
    answer = await world.call(Call("GET", url), fresh=True)
    expect(answer, status(200, 400, 404, 414, 431))


@case(
    CASES, "size.content-length-lies", "RFC 9112 6.3", SHOULD, "a Content-Length that is not a number is 400"
)
async def bad_length(world: World) -> None:
    url = await world.resource("newOrder")
    answer = await world.call(Call("POST", url, {"Content-Length": "12x"}, b"hello"), fresh=True)
    expect(answer, lambda a: [] if a.status in {400, 411, 415} else [f"{a.status}"])


@case(CASES, "json.alive", "RFC 8555 6.7", MUST, "after all of that the server still serves")
async def alive(world: World) -> None:
    owner = await acts.account(world)
    expect(await world.post(owner, owner.url), status(200))
