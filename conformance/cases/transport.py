"""HTTP around the JWS: methods, media types, and the flattened serialisation (RFC 8555 6.1 to 6.3)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from conformance import acts
from conformance.case import MUST, OURS, SHOULD, Case, case
from conformance.check import both, either, empty_body, header, is_url, problem, refused, replay_nonce, status
from conformance.draft import (
    DROP,
    Twist,
    compact_form,
    compose,
    general_form,
    pad,
    padded,
    set_member,
    text,
    without_http,
)
from conformance.drafts import DRAFTS, row
from conformance.jose import b64
from conformance.verdict import expect, require
from conformance.wire import Answer
from conformance.world import World

BAD = problem(400, "malformed")

CASES: list[Case] = [
    *(
        row(
            f"jws.padded-{name}{suffix}",
            "RFC 8555 6.1",
            MUST,
            f"base64url with a trailing = in {name} is refused",
            "account",
            BAD,
            twist,
        )
        for name, twist, suffix in (
            ("protected", padded("protected", "="), ""),
            ("protected", padded("protected", "=="), "-twice"),
            ("signature", Twist(members=pad("signature", "==")), ""),
        )
    ),
    row(
        "jws.padded-payload",
        "RFC 8555 6.1",
        MUST,
        "base64url with a trailing = in the payload is refused",
        "update",
        BAD,
        padded("payload"),
    ),
    row(
        "jws.plain-base64-alphabet",
        "RFC 4648 3.3",
        MUST,
        "the + and / of plain base64 are refused in the signature",
        "account",
        BAD,
        Twist(members=lambda m: {**m, "signature": "+/" + str(m["signature"])[2:]}),
    ),
    row(
        "jws.whitespace-in-base64",
        "RFC 4648 3.3",
        MUST,
        "a line break inside base64url is refused",
        "account",
        BAD,
        Twist(members=lambda m: {**m, "protected": f"{str(m['protected'])[:8]}\n{str(m['protected'])[8:]}"}),
    ),
    row(
        "jws.compact-form",
        "RFC 8555 6.2",
        MUST,
        "the compact serialisation is refused",
        "account",
        BAD,
        Twist(members=compact_form),
    ),
    row(
        "jws.general-form",
        "RFC 8555 6.2",
        MUST,
        "the general serialisation (signatures array) is refused",
        "account",
        BAD,
        Twist(members=general_form),
    ),
    row(
        "jws.signatures-beside-signature",
        "RFC 8555 6.2",
        MUST,
        "a signatures array beside the flattened members is refused",
        "account",
        BAD,
        Twist(
            members=lambda m: {
                **m,
                "signatures": [{"protected": m["protected"], "signature": m["signature"]}],
            }
        ),
    ),
    row(
        "jws.unprotected-header",
        "RFC 8555 6.2",
        MUST,
        "an unprotected header is refused",
        "account",
        BAD,
        Twist(members=set_member(header={"x": "y"})),
    ),
    row(
        "jws.nonce-only-unprotected",
        "RFC 8555 6.2",
        MUST,
        "a nonce that stands in the unprotected header only is refused",
        "account",
        problem(400, "malformed", "badNonce"),
        Twist(protected={"nonce": DROP}, members=set_member(header={"nonce": "AAAAAAAAAAAAAAAAAAAAAA"})),
    ),
    *(
        row(
            f"jws.no-{name}",
            "RFC 7515 7.2.2",
            MUST,
            f"a JWS without {name} is refused",
            "update",
            problem(400, "malformed", "badSignatureAlgorithm"),
            Twist(members=set_member(**{name: DROP})),
        )
        for name in ("protected", "payload", "signature")
    ),
    *(
        row(
            f"jws.{name}-not-a-string",
            "RFC 7515 7.2.2",
            MUST,
            f"a JWS whose {name} is not a string is refused",
            "update",
            BAD,
            Twist(members=set_member(**{name: value})),
        )
        for name, value in (("protected", {}), ("payload", {"a": 1}), ("signature", [1]))
    ),
    row(
        "jws.b64-false",
        "RFC 8555 6.2",
        MUST,
        "the unencoded payload option (RFC 7797) is refused",
        "update",
        BAD,
        Twist(
            protected={"b64": False, "crit": ["b64"]},
            sign=lambda key, data: key.sign(data.partition(b".")[0] + b".{}"),
            members=set_member(payload="{}"),
        ),
    ),
    row(
        "jws.b64-without-crit",
        "RFC 8555 6.2",
        MUST,
        "the unencoded payload option is refused, too, where crit does not name it",
        "update",
        BAD,
        Twist(protected={"b64": False}),
    ),
    row(
        "jws.unknown-crit",
        "RFC 7515 4.1.11",
        MUST,
        "a critical header parameter nobody knows is refused",
        "account",
        BAD,
        Twist(protected={"crit": ["example"], "example": 1}),
    ),
    row(
        "jws.empty-crit",
        "RFC 7515 4.1.11",
        SHOULD,
        "an empty crit list is refused",
        "account",
        BAD,
        Twist(protected={"crit": []}),
    ),
    row(
        "jws.content-type-json",
        "RFC 8555 6.2",
        MUST,
        "application/json is answered 415",
        "account",
        problem(415, "malformed"),
        Twist(http={"Content-Type": "application/json"}),
    ),
    row(
        "jws.content-type-missing",
        "RFC 8555 6.2",
        MUST,
        "a POST without Content-Type is answered 415",
        "account",
        problem(415, "malformed"),
        Twist(http=without_http("Content-Type")),
    ),
    row(
        "jws.content-type-prefix",
        "RFC 8555 6.2",
        MUST,
        "a media type that only begins like application/jose+json is answered 415",
        "account",
        problem(415, "malformed"),
        Twist(http={"Content-Type": "application/jose+jsonx"}),
    ),
    row(
        "jws.content-type-substring",
        "RFC 8555 6.2",
        MUST,
        "a media type that only mentions application/jose+json is answered 415",
        "account",
        problem(415, "malformed"),
        Twist(http={"Content-Type": "text/plain; x=application/jose+json"}),
    ),
    row(
        "jws.content-type-case",
        "RFC 9110 8.3.1",
        SHOULD,
        "the media type is compared without regard to case",
        "account",
        status(200),
        Twist(http={"Content-Type": "Application/JOSE+JSON"}),
    ),
    row(
        "jws.nonce-in-http-header",
        "RFC 8555 6.5.1",
        SHOULD,
        "a Replay-Nonce header in the request does no harm or is refused as malformed",
        "account",
        either(status(200), BAD),
        Twist(http={"Replay-Nonce": b64(b"x" * 16)}),
    ),
    row(
        "http.no-user-agent",
        "RFC 8555 6.1",
        SHOULD,
        "a request without User-Agent is served or refused as malformed, not dropped",
        "account",
        either(status(200), BAD),
        Twist(http=without_http("User-Agent")),
    ),
    *(
        row(
            f"http.post-as-get-{name}",
            "RFC 8555 6.3",
            MUST,
            f"{name} answers POST-as-GET as it answers GET",
            name,
            check,
        )
        for name, check in (("directory", status(200)), ("newNonce", both(status(200, 204), replay_nonce)))
    ),
    row(
        "http.post-as-get-object-payload",
        "RFC 8555 6.3",
        MUST,
        "POST-as-GET has an empty payload: {} to an order is refused",
        "order",
        refused("malformed"),
        payload={},
    ),
    row(
        "http.expect-continue",
        "RFC 9110 10.1.1",
        SHOULD,
        "a request with Expect: 100-continue is served",
        "account",
        status(200),
        Twist(http={"Expect": "100-continue"}),
    ),
    row(
        "http.chunked",
        "RFC 9112 7.1",
        SHOULD,
        "a body in chunks is served, or refused with 411",
        "account",
        status(200, 411),
        Twist(
            body=lambda b: b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b[:50], b[50:], b"")),
            http={"Transfer-Encoding": "chunked", **without_http("Content-Length")},
        ),
    ),
    row(
        "http.two-lengths",
        "RFC 9112 6.3",
        MUST,
        "a body with chunks and a Content-Length is not taken for two requests",
        "account",
        status(200, 400, 411),
        Twist(
            body=lambda b: b"%x\r\n%b\r\n0\r\n\r\n" % (len(b), b),
            http={"Transfer-Encoding": "chunked", "Content-Length": "4", "Connection": "close"},
        ),
    ),
    row(
        "http.empty-body",
        "RFC 8555 6.2",
        MUST,
        "a POST with no body is refused",
        "account",
        BAD,
        Twist(body=text(b"")),
    ),
]


@case(CASES, "http.https-only", "RFC 8555 6.1", MUST, "every URL in the directory is https")
async def https_only(world: World) -> None:
    for name, value in (await world.directory()).items():
        if name in {
            "newNonce",
            "newAccount",
            "newOrder",
            "newAuthz",
            "revokeCert",
            "keyChange",
            "renewalInfo",
        }:
            require(is_url(value), f"{name} is {value!r}")
    require(urlsplit(world.directory_url).scheme == "https", "the directory itself is not https")


@case(
    CASES,
    "http.cors",
    "RFC 8555 6.1",
    SHOULD,
    "Access-Control-Allow-Origin: * lets scripts read the directory",
)
async def cors(world: World) -> None:
    answer = await world.get(world.directory_url, Origin="https://client.example")
    expect(answer, header("Access-Control-Allow-Origin", r"^\*$"))


@case(CASES, "http.cors-exposes", "RFC 8555 6.1", SHOULD, "scripts may read Replay-Nonce, Location and Link")
async def cors_exposes(world: World) -> None:
    answer = await world.get(await world.resource("newNonce"), "HEAD", Origin="https://client.example")
    for name in ("Replay-Nonce", "Location", "Link"):
        expect(answer, header("Access-Control-Expose-Headers", rf"(^|[,\s])({name}|\*)([,\s]|$)"))


def _get_case(name: str) -> None:
    @case(CASES, f"http.get-{name}", "RFC 8555 6.3", MUST, f"GET of {name} is 405 with type malformed")
    async def get(world: World) -> None:
        expect(await world.get(await _url(world, name)), problem(405, "malformed"))


async def _url(world: World, name: str) -> str:
    if name.startswith("new") or name in {"revokeCert", "keyChange"}:
        return await world.resource(name)
    if name == "account":
        return (await acts.account(world)).url
    done = await acts.issued(world)
    return {
        "order": done.order.url,
        "finalize": done.order.link("finalize"),
        "authorization": done.order.authorizations[0],
        "certificate": done.url,
    }[name]


POST_ONLY = ("newAccount", "newOrder", "revokeCert", "keyChange", "newAuthz")
POST_AS_GET = ("account", "order", "authorization", "finalize", "certificate")

for _name in (*POST_ONLY, *POST_AS_GET):
    _get_case(_name)


@case(
    CASES,
    "http.put-refused",
    "RFC 9110 15.5.6",
    SHOULD,
    "a method nobody defined is refused, and Allow says what is",
)
async def put(world: World) -> None:
    answer = await world.get(await world.resource("newOrder"), "PUT")
    expect(answer, status(405), header("Allow", "POST"))


@case(
    CASES, "http.unknown-path", "RFC 8555 6.7", SHOULD, "an unknown resource is a 404 with a problem document"
)
async def unknown_path(world: World) -> None:
    answer = await world.get(world.directory_url.rstrip("/") + "-no-such-resource")
    expect(answer, problem(404))


@case(
    CASES,
    "http.unknown-below-resource",
    "RFC 8555 6.7",
    SHOULD,
    "nothing answers below the URL of a resource",
)
async def unknown_below(world: World) -> None:
    answer = await world.get(await world.resource("newNonce") + "/no-such-resource")
    expect(answer, problem(404))


@case(
    CASES,
    "http.other-account-url",
    "RFC 9110 15.5.5",
    SHOULD,
    "an account URL that does not exist is not served",
)
async def unknown_account_url(world: World) -> None:
    owner = await acts.account(world)
    answer = await world.post(owner, owner.url + "0000no-such-account")
    expect(answer, problem({400, 401, 403, 404}))


@case(CASES, "http.head-directory", "RFC 9110 9.3.2", SHOULD, "HEAD of the directory works")
async def head_directory(world: World) -> None:
    expect(await world.get(world.directory_url, "HEAD"), status(200), empty_body)


#: A name that no server's certificate is for (RFC 2606 2).
NOBODYS = "misdirected.invalid"


@case(
    CASES,
    "http.misdirected",
    "RFC 9110 7.4",
    MUST,
    "a signed request whose Host is no name of the server's certificate is refused",
)
async def misdirected(world: World) -> None:
    answer = await world.send(await DRAFTS["account"](world), Twist(http={"Host": NOBODYS}), fresh=True)
    require(400 <= answer.status < 500, f"{answer.status}, not 4xx")


def _not_looked_at(answer: Answer) -> None:
    """421 as section 2 of our protocol has it: by the gate, which knows no directory, not by a resource."""
    expect(answer, status(421), header("Connection", "close"))
    for name in ("Replay-Nonce", "Link"):
        require(answer.header(name) is None, f"{name} is {answer.header(name)!r}")


def _elsewhere(world: World) -> str:
    """The authority of another site of the server, if one is known: the renewal site."""
    renewal = world.credentials.renewal
    return NOBODYS if renewal is None else urlsplit(renewal.directory).netloc


for _name, _title, _host in (
    ("foreign-host", "a Host that nobody here has is", lambda _: NOBODYS),
    ("other-sites-host", "the Host of another site than the handshake named is", _elsewhere),
):

    @case(CASES, f"http.misdirected-{_name}", "RFC 9110 15.5.20", OURS, f"{_title} 421 and brings no nonce")
    async def other_host(world: World, host: Callable[[World], str] = _host) -> None:
        draft = await DRAFTS["account"](world)
        _not_looked_at(await world.send(draft, Twist(http={"Host": host(world)}), fresh=True))


@case(
    CASES,
    "http.misdirected-no-sni",
    "RFC 9110 15.5.20",
    OURS,
    "every request on a connection without SNI is 421, and brings no nonce",
)
async def no_sni(world: World) -> None:
    nameless = world.nameless()
    try:
        _not_looked_at(await nameless.get(world.directory_url))
        draft = await DRAFTS["account"](world)
        _not_looked_at(await nameless.call(compose(draft, await world.nonce()), signed=True))
    finally:
        await nameless.close()
