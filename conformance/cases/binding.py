"""External account binding (RFC 8555 7.3.4): the checks, and binding one credential twice at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from conformance import acts, jose
from conformance.acts import bind
from conformance.case import ADVICE, MUST, OURS, Case, Level, case
from conformance.check import Check, member, problem, refused, status, told
from conformance.credentials import Credential
from conformance.draft import compact_form
from conformance.verdict import Skipped, expect, require
from conformance.world import World

DENIED = problem({401, 403}, "unauthorized")
Bend = Callable[[Credential, jose.Key, str], object]

REFUSALS: list[Case] = []  # these run before any account is made: a single credential then serves both
CASES: list[Case] = []


def _signed(credential: Credential, key: jose.Key, url: str, payload: bytes) -> dict[str, object]:
    return jose.mac_jws(
        credential.hmac_key, {"alg": credential.alg, "kid": credential.kid, "url": url}, payload
    )


def _no(name: str) -> Bend:
    """The binding with a header member left out."""

    def bend(credential: Credential, key: jose.Key, url: str) -> object:
        header = {"alg": credential.alg, "kid": credential.kid, "url": url}
        header.pop(name)
        return jose.mac_jws(credential.hmac_key, header, jose.compact(key.jwk))

    return bend


def _asymmetric(credential: Credential, key: jose.Key, url: str) -> object:
    return jose.jws(key, {"alg": "ES256", "kid": credential.kid, "url": url}, jose.compact(key.jwk))


BENT: tuple[tuple[str, Level, str, Check, Bend], ...] = (
    (
        "alg-none",
        MUST,
        "with alg none",
        refused(),
        lambda c, k, u: {**bind(c, k, u, alg="none"), "signature": ""},
    ),
    ("alg-es256", MUST, "that is signed, not MACed", refused(), _asymmetric),
    *(
        (
            f"{alg.lower()}-of-256-bits",
            OURS,
            f"by {alg} with a key of 256 bits",
            problem(400, "badSignatureAlgorithm"),
            partial(bind, alg=alg),
        )
        for alg in ("HS384", "HS512")
    ),
    ("no-alg", MUST, "without alg", refused(), _no("alg")),
    ("no-kid", MUST, "without kid", refused(), _no("kid")),
    ("no-url", MUST, "without url", refused(), _no("url")),
    ("nonce", MUST, "with a nonce", refused(), lambda c, k, u: bind(c, k, u, nonce="AAAAAAAAAAAAAAAAAAAAAA")),
    ("other-url", MUST, "for another url", refused(), lambda c, k, u: bind(c, k, u + "x")),
    ("unknown-kid", MUST, "of an unknown kid", refused(), lambda c, k, u: bind(c, k, u, kid="no-such-kid")),
    ("kid-not-string", MUST, "whose kid is a number", refused(), lambda c, k, u: bind(c, k, u, kid=7)),
    (
        "kid-very-long",
        MUST,
        "whose kid has 50,000 characters",
        refused(),
        lambda c, k, u: bind(c, k, u, kid="k" * 50_000),
    ),
    (
        "kid-lone-surrogate",
        MUST,
        "whose kid is a lone surrogate",
        refused(),
        lambda c, k, u: bind(c, k, u, kid="\ud800"),
    ),
    (
        "other-key",
        MUST,
        "for another account key",
        refused(),
        lambda c, k, u: bind(c, jose.spare_key("ES256"), u),
    ),
    (
        "wrong-mac",
        MUST,
        "whose MAC is wrong",
        refused(),
        lambda c, k, u: {**bind(c, k, u), "signature": jose.b64(bytes(32))},
    ),
    ("short-mac", MUST, "whose MAC is cut short", refused(), lambda c, k, u: _cut(bind(c, k, u))),
    (
        "mac-tail",
        MUST,
        "whose MAC differs in its last octet only",
        refused(),
        lambda c, k, u: _bent_mac(bind(c, k, u), lambda mac: mac[:-1] + bytes([mac[-1] ^ 1])),
    ),
    (
        "half-mac",
        MUST,
        "whose MAC is its first half",
        refused(),
        lambda c, k, u: _bent_mac(bind(c, k, u), lambda mac: mac[: len(mac) // 2]),
    ),
    ("empty-mac", MUST, "whose MAC is empty", refused(), lambda c, k, u: {**bind(c, k, u), "signature": ""}),
    (
        "wrong-secret",
        MUST,
        "MACed with another key",
        refused(),
        lambda c, k, u: bind(Credential(c.kid, bytes(32), c.identifiers), k, u),
    ),
    (
        "padded",
        MUST,
        "with padded base64url",
        refused(),
        lambda c, k, u: {**bind(c, k, u), "signature": f"{bind(c, k, u)['signature']}="},
    ),
    ("payload-empty", MUST, "with an empty payload", refused(), lambda c, k, u: _signed(c, k, u, b"")),
    (
        "payload-not-jwk",
        MUST,
        "whose payload is not a key",
        refused(),
        lambda c, k, u: _signed(c, k, u, b"[]"),
    ),
    (
        "payload-not-json",
        MUST,
        "whose payload is not JSON",
        refused(),
        lambda c, k, u: _signed(c, k, u, b"\xff"),
    ),
    ("not-an-object", MUST, "that is a string", refused(), lambda c, k, u: "x"),
    ("empty-object", MUST, "that is an empty object", refused(), lambda c, k, u: {}),
    ("compact", MUST, "in compact form", refused(), lambda c, k, u: compact_form(bind(c, k, u)).decode()),
    (
        "unprotected",
        MUST,
        "whose unprotected header repeats the kid of the protected one",
        refused(),
        lambda c, k, u: {**bind(c, k, u), "header": {"kid": c.kid}},
    ),
    (
        "unknown-kid-type",
        OURS,
        "of an unknown kid, as unauthorized",
        DENIED,
        lambda c, k, u: bind(c, k, u, kid="no-such-kid"),
    ),
    (
        "wrong-mac-type",
        OURS,
        "whose MAC is wrong, as unauthorized",
        DENIED,
        lambda c, k, u: {**bind(c, k, u), "signature": jose.b64(bytes(32))},
    ),
)


def _cut(binding: dict[str, object]) -> dict[str, object]:
    return {**binding, "signature": str(binding["signature"])[:20]}


def _bent_mac(binding: dict[str, object], bend: Callable[[bytes], bytes]) -> dict[str, object]:
    return {**binding, "signature": jose.b64(bend(jose.unb64(str(binding["signature"]))))}


def _refusal(name: str, level: Level, title: str, check: Check, bend: Bend) -> None:
    @case(REFUSALS, f"eab.{name}", "RFC 8555 7.3.4", level, f"a binding {title} is refused")
    async def steps(world: World) -> None:
        credential, key = acts.last(world), jose.new_key()
        url = await world.resource("newAccount")
        payload = {"termsOfServiceAgreed": True, "externalAccountBinding": bend(credential, key, url)}
        answer = await world.new_account(key, payload)
        if answer.status == 201:
            world.spent.add(credential.kid)
        expect(answer, check)


for _bent in BENT:
    _refusal(*_bent)


@case(
    REFUSALS,
    "eab.missing",
    "RFC 8555 7.3.4",
    MUST,
    "where a binding is required, newAccount without is externalAccountRequired",
)
async def missing(world: World) -> None:
    if (await world.meta()).get("externalAccountRequired") is not True:
        raise Skipped("the server does not require external accounts")
    answer = await world.new_account(jose.new_key(), {"termsOfServiceAgreed": True})
    expect(answer, problem({400, 401, 403}, "externalAccountRequired"))


@case(
    REFUSALS,
    "eab.beside-only-return-existing",
    "RFC 8555 7.3.1",
    MUST,
    "onlyReturnExisting with a good binding makes no account: an unknown key is accountDoesNotExist",
)
async def only_existing(world: World) -> None:
    credential, key = acts.last(world), jose.new_key()
    url = await world.resource("newAccount")
    payload = {"onlyReturnExisting": True, "externalAccountBinding": bind(credential, key, url)}
    answer = await world.new_account(key, payload)
    if answer.status == 201:
        world.spent.add(credential.kid)
    expect(answer, problem(400, "accountDoesNotExist"))


@case(
    REFUSALS,
    "eab.same-mac-for-both-answers",
    "RFC 8555 7.3.4",
    ADVICE,
    "an unknown kid and a wrong MAC are answered alike",
)
async def alike(world: World) -> None:
    credential, key = acts.last(world), jose.new_key()
    url = await world.resource("newAccount")
    seen = []
    for binding in (
        bind(credential, key, url, kid="no-such-kid"),
        {**bind(credential, key, url), "signature": jose.b64(bytes(32))},
    ):
        answer = await world.new_account(
            key, {"termsOfServiceAgreed": True, "externalAccountBinding": binding}
        )
        seen.append(told(answer, "no-such-kid", credential.kid))
    require(seen[0] == seen[1], f"unknown kid: {seen[0]}, wrong MAC: {seen[1]}")


@case(
    CASES,
    "eab.echoed",
    "RFC 8555 7.3.4",
    MUST,
    "the account object that newAccount answers with has the binding, as it was sent",
)
async def echoed(world: World) -> None:
    first = await acts.account(world)
    if first.binding is None:
        raise Skipped("the account has no binding")
    expect(first.created, member("externalAccountBinding", first.binding))


@case(
    CASES,
    "eab.once",
    "sekisho PROTOCOL, accounts",
    OURS,
    "a credential that is bound binds no second account",
)
async def once(world: World) -> None:
    first, key = await acts.account(world), jose.new_key()
    if first.credential.reusable:
        raise Skipped("the credentials are reusable")
    expect(await world.new_account(key, await acts.account_request(world, key, first.credential)), DENIED)
    expect(await world.new_account(key, {"onlyReturnExisting": True}), problem(400, "accountDoesNotExist"))


@case(
    CASES,
    "eab.race",
    "sekisho PROTOCOL, accounts",
    OURS,
    "of six keys that bind one credential at once one gets it",
)
async def race(world: World) -> None:
    credential = acts.take(world, single=True)
    keys = [jose.new_key() for _ in range(6)]
    payloads = [await acts.account_request(world, key, credential) for key in keys]
    await world.wire.open_many(await world.resource("newAccount"), 6)
    calls = (world.new_account(key, payload) for key, payload in zip(keys, payloads, strict=True))
    answers = await acts.race(*calls)
    world.spent.add(credential.kid)
    won = [answer for answer in answers if answer.status == 201]
    for answer in answers:
        if answer.status != 201:
            expect(answer, DENIED)
    require(len(won) == 1, f"{len(won)} accounts were bound")


@case(
    CASES,
    "eab.refusals-bind-nothing",
    "RFC 8555 7.3.4",
    MUST,
    "a credential that was only named in refused requests still binds",
)
async def still_binds(world: World) -> None:
    account = await acts.doomed(world)
    expect(account.created, status(201))
