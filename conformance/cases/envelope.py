"""Every check of the envelope at every endpoint (RFC 8555 6.2 to 6.5): a server that looks at signature,
nonce, url, key or media type in one handler and not in another lets a stranger in there.

Two tables: the honest requests (``conformance.drafts``) and the ways to spoil one. Their product is the
cases. Of which type a refusal should be is looked at once, by the cases of the other files.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from conformance import acts, jose
from conformance.case import MUST, SHOULD, Case, Level, case
from conformance.check import both, header, problem, refused, status
from conformance.draft import DROP, Draft, Twist, compose, general_form, padded, set_member
from conformance.drafts import DRAFTS
from conformance.verdict import Failed, Skipped, expect, require
from conformance.wire import Answer
from conformance.world import World

CASES: list[Case] = []

#: Endpoint -> the draft that is its honest request. By kid, but for the last two.
BY_KID = (
    "account",
    "update",
    "orders",
    "newOrder",
    "order",
    "authorization",
    "challenge",
    "finalize",
    "certificate",
    "alternate",
    "revokeCert",
    "keyChange",
    "newAuthz",
)
BY_KEY = ("existing", "revokeCert by key")

Bent = Callable[[World, Draft], Awaitable[Answer]]


@dataclass(frozen=True)
class Spoiled:
    """One way to spoil a request. clause says where it is forbidden."""

    name: str
    clause: str
    title: str
    send: Bent
    level: Level = MUST


def _twisted(twist: Twist) -> Bent:
    async def send(world: World, draft: Draft) -> Answer:
        return await world.send(draft, twist)

    return send


async def _by_stranger(world: World, draft: Draft) -> Answer:
    """Another account signs, and the kid stays the owner's."""
    stranger = await acts.stranger(world)
    twist = Twist(protected={"alg": stranger.key.alg}, sign=lambda _, data: stranger.key.sign(data))
    return await world.send(draft, twist)


async def _in_strangers_name(world: World, draft: Draft) -> Answer:
    """The owner signs under another account's kid."""
    stranger = await acts.stranger(world)
    return await world.send(draft, Twist(protected={"kid": stranger.url}))


async def _kid_and_own_jwk(world: World, draft: Draft) -> Answer:
    """The owner's kid beside the attacker's own key, which signs: by that jwk the signature is right."""
    thief = jose.new_key()
    twist = Twist(protected={"jwk": thief.jwk, "alg": thief.alg}, sign=lambda _, data: thief.sign(data))
    return await world.send(draft, twist)


async def _unknown_jwk(world: World, draft: Draft) -> Answer:
    """A key that nobody knows, in place of the kid."""
    return await world.send(replace(draft, key=jose.new_key(), kid=None))


async def _spent_nonce(world: World, draft: Draft) -> Answer:
    """The nonce of a request that was served a moment ago."""
    owner, nonce = await acts.account(world), await world.nonce()
    honest = Draft(owner.url, b"", owner.key, owner.url)
    expect(await world.call(compose(honest, nonce), signed=True), status(200), about="the first use")
    return await world.call(compose(draft, nonce), signed=True)


async def _nonce_in_header(world: World, draft: Draft) -> Answer:
    """A good nonce that only the HTTP header has, which nobody signed."""
    nonce = await world.nonce()
    twist = Twist(protected={"nonce": DROP}, http={"Replay-Nonce": nonce})
    return await world.call(compose(draft, nonce, twist), signed=True)


async def _other_case(world: World, draft: Draft) -> Answer:
    """The url in another case of letters; a path has two (RFC 3986 6.2.2.1)."""
    parts = urlsplit(draft.url)
    bent = parts._replace(path=parts.path.swapcase()).geturl()
    if bent == draft.url:
        raise Skipped("the path has no letters")
    return await world.send(draft, Twist(protected={"url": bent}))


def _foreign(url: object) -> str:
    return urlsplit(str(url))._replace(netloc="other.example").geturl()


_SIGNATURE, _NONCE, _URL, _KEY = "RFC 8555 6.2", "RFC 8555 6.5", "RFC 8555 6.4", "RFC 8555 6.2"

#: What is forbidden whoever is named, and however.
ANYWHERE = (
    Spoiled(
        "signature-changed",
        _SIGNATURE,
        "one bit of its signature changed",
        _twisted(Twist(signature=lambda s: s[:-1] + bytes([s[-1] ^ 1]))),
    ),
    Spoiled("signature-empty", _SIGNATURE, "an empty signature", _twisted(Twist(signature=lambda _: b""))),
    Spoiled(
        "signature-of-nobody",
        _SIGNATURE,
        "the signature of a key that nobody knows",
        _twisted(Twist(sign=lambda _, data: jose.spare_key("ES256").sign(data))),
    ),
    Spoiled(
        "alg-none",
        _SIGNATURE,
        "alg none",
        _twisted(Twist(protected={"alg": "none"}, signature=lambda _: b"")),
    ),
    Spoiled(
        "payload-swapped",
        _SIGNATURE,
        "a payload that was not signed",
        _twisted(Twist(members=lambda m: {**m, "payload": jose.b64(b'{"status":"deactivated"}')})),
    ),
    Spoiled(
        "url-other",
        _URL,
        "the url of another resource",
        _twisted(Twist(protected={"url": lambda url: f"{url}x"})),
    ),
    Spoiled("url-other-host", _URL, "the url of another host", _twisted(Twist(protected={"url": _foreign}))),
    Spoiled("url-other-case", _URL, "its url in another case of letters", _other_case),
    Spoiled("url-missing", _URL, "no url", _twisted(Twist(protected={"url": DROP}))),
    Spoiled(
        "nonce-invented",
        _NONCE,
        "a nonce that was never given",
        _twisted(Twist(protected={"nonce": jose.b64(b"0123456789abcdef")})),
    ),
    Spoiled("nonce-spent", _NONCE, "a nonce that another request has used", _spent_nonce),
    Spoiled("nonce-missing", _NONCE, "no nonce", _twisted(Twist(protected={"nonce": DROP}))),
    Spoiled("nonce-in-http-header", _NONCE, "its nonce in the HTTP header only", _nonce_in_header),
    Spoiled(
        "unprotected-header",
        _SIGNATURE,
        "an unprotected header",
        _twisted(Twist(members=set_member(header={"x": "y"}))),
    ),
    Spoiled("general-form", _SIGNATURE, "the general serialisation", _twisted(Twist(members=general_form))),
    Spoiled("padded", "RFC 8555 6.1", "padding in its base64url", _twisted(padded("protected"))),
    Spoiled(
        "unknown-crit",
        "RFC 7515 4.1.11",
        "a critical parameter that nobody knows",
        _twisted(Twist(protected={"crit": ["example"], "example": 1})),
    ),
)
#: Of requests that name an account.
WITH_KID = (
    Spoiled("signed-by-stranger", _KEY, "another account's signature", _by_stranger),
    Spoiled("strangers-kid", _KEY, "another account's kid", _in_strangers_name),
    Spoiled("kid-and-attackers-jwk", _KEY, "an attacker's jwk, who signs, beside the kid", _kid_and_own_jwk),
    Spoiled("unknown-jwk", _KEY, "the jwk of a key that nobody knows in place of the kid", _unknown_jwk),
)
#: Of requests that bring their key.
WITH_JWK = (
    Spoiled(
        "jwk-and-kid",
        _KEY,
        "a kid beside its jwk",
        _twisted(Twist(protected={"kid": "https://acme.example/acct/1"})),
    ),
)


def _at(
    endpoint: str, name: str, clause: str, level: Level, title: str
) -> Callable[[Callable[[World, Draft], Awaitable[None]]], None]:
    """Adds a case about the honest request of an endpoint, which its steps are given."""

    def add(look: Callable[[World, Draft], Awaitable[None]]) -> None:
        @case(CASES, f"envelope.{endpoint.replace(' ', '-')}.{name}", clause, level, title)
        async def steps(world: World) -> None:
            try:
                await look(world, await DRAFTS[endpoint](world))
            except Failed:
                if endpoint == "keyChange":
                    # It may have been done, with a key that nobody has any more.
                    world.forget(acts.ROLLER)
                raise

    return add


def _case(endpoint: str, spoiled: Spoiled) -> None:
    @_at(endpoint, spoiled.name, spoiled.clause, spoiled.level, f"{endpoint} with {spoiled.title} is refused")
    async def look(world: World, draft: Draft) -> None:
        expect(await spoiled.send(world, draft), refused())


def _media_type(endpoint: str) -> None:
    @_at(endpoint, "media-type", "RFC 8555 6.2", MUST, f"{endpoint} as application/json is 415")
    async def look(world: World, draft: Draft) -> None:
        expect(await world.send(draft, Twist(http={"Content-Type": "application/json"})), problem(415))


def _get(endpoint: str) -> None:
    @_at(endpoint, "get", "RFC 8555 6.3", MUST, f"GET of {endpoint}, unsigned, is 405")
    async def look(world: World, draft: Draft) -> None:
        expect(await world.get(draft.url), problem(405))


def _put(endpoint: str) -> None:
    title = f"PUT of a signed {endpoint} is 405, and Allow says what is served"

    @_at(endpoint, "put", "RFC 9110 15.5.6", SHOULD, title)
    async def look(world: World, draft: Draft) -> None:
        expect(await world.send(draft, Twist(method="PUT")), both(status(405), header("Allow")))


for _endpoint in (*BY_KID, *BY_KEY):
    for _spoiled in (*ANYWHERE, *(WITH_KID if _endpoint in BY_KID else WITH_JWK)):
        _case(_endpoint, _spoiled)
    _media_type(_endpoint)
    _put(_endpoint)
    if _endpoint != "update" and _endpoint in BY_KID:
        _get(_endpoint)


@case(
    CASES,
    "envelope.nothing-happened",
    "RFC 8555 6.2",
    MUST,
    "after all these refusals account, key, order and certificate are what they were",
)
async def unchanged(world: World) -> None:
    owner, done = await acts.account(world), await acts.issued(world)
    account = expect(await world.post(owner, owner.url), status(200), about="the account")
    require(account.object().get("status") == "valid", f"the account is {account.object().get('status')!r}")
    order = await acts.reload(world, done.order)
    require(order.status == "valid", f"the order is {order.status!r}")
    again = expect(await world.post(owner, done.url), status(200), about="the certificate")
    require(again.body == done.download.body, "the certificate is another one")


@case(
    CASES,
    "envelope.honest",
    "RFC 8555 6.2",
    MUST,
    "the honest form of each of these requests that changes nothing is served",
)
async def honest(world: World) -> None:
    for endpoint in ("account", "orders", "order", "authorization", "certificate", "existing"):
        try:
            draft = await DRAFTS[endpoint](world)
        except Skipped:
            continue
        expect(await world.send(draft), status(200), about=endpoint)
