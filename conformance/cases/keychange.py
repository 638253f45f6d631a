"""Account key rollover (RFC 8555 7.3.5): each check, each kind of key, and rollovers that race."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from conformance import acts, jose
from conformance.case import MUST, SHOULD, Case, Level, case
from conformance.check import Check, header, problem, refused, status
from conformance.draft import DROP, HONEST, Draft, Twist, bend_header, payload_of
from conformance.verdict import Skipped, expect, require
from conformance.wire import Answer
from conformance.world import Account, World

CASES: list[Case] = []
BAD = refused("malformed", "unauthorized", "badSignatureAlgorithm", "badPublicKey")
DEAD = refused("malformed", "unauthorized")


@dataclass(frozen=True)
class Inner:
    """Changes to the inner JWS: header and payload members, and who signs."""

    header: Mapping[str, object] = field(default_factory=dict)
    payload: Mapping[str, object] = field(default_factory=dict)
    members: Mapping[str, object] = field(default_factory=dict)
    signer: jose.Key | None = None


async def rollover(
    world: World, owner: Account, new: jose.Key, inner: Inner | None = None, outer: Twist = HONEST
) -> Answer:
    """One keyChange request: the new key signs inside, the account's key outside."""
    inner = inner or Inner()
    url = await world.resource("keyChange")
    protected = bend_header({"alg": new.alg, "jwk": new.jwk, "url": url}, inner.header)
    payload = bend_header({"account": owner.url, "oldKey": owner.key.jwk}, inner.payload)
    signed = jose.jws(inner.signer or new, protected, jose.compact(payload))
    draft = Draft(url, payload_of({**signed, **inner.members}), owner.key, owner.url)
    return await world.send(draft, outer)


OTHER = jose.spare_key("ES256").jwk

# RFC 8555 7.3.5 forbids the client what it does not tell the server to check.
LENIENT = frozenset({"inner-nonce"})
REFUSED: tuple[tuple[str, str, Inner], ...] = (
    ("inner-nonce", "an inner JWS with a nonce", Inner(header={"nonce": "AAAAAAAAAAAAAAAAAAAAAA"})),
    ("inner-url-differs", "an inner url that differs", Inner(header={"url": lambda u: f"{u}x"})),
    ("inner-url-missing", "an inner JWS without url", Inner(header={"url": DROP})),
    (
        "inner-kid",
        "an inner JWS with kid in place of jwk",
        Inner(header={"jwk": DROP, "kid": "https://acme.example/1"}),
    ),
    ("inner-no-jwk", "an inner JWS without jwk", Inner(header={"jwk": DROP})),
    (
        "inner-alg-none",
        "an inner JWS with alg none",
        Inner(header={"alg": "none"}, members={"signature": ""}),
    ),
    ("inner-alg-hs256", "an inner JWS with HS256", Inner(header={"alg": "HS256"})),
    (
        "inner-signature-wrong",
        "an inner signature that is wrong",
        Inner(members={"signature": jose.b64(bytes(64))}),
    ),
    ("inner-other-signer", "an inner JWS signed by another key", Inner(signer=jose.spare_key("ES256"))),
    ("inner-padded", "an inner JWS with padding", Inner(members={"signature": jose.b64(bytes(64)) + "=="})),
    ("inner-unprotected", "an inner JWS with an unprotected header", Inner(members={"header": {"x": 1}})),
    ("account-other", "an account that is another URL", Inner(payload={"account": lambda a: f"{a}x"})),
    ("account-missing", "a payload without account", Inner(payload={"account": DROP})),
    ("account-not-string", "an account that is not a string", Inner(payload={"account": 1})),
    ("old-key-other", "an oldKey that is not the account's", Inner(payload={"oldKey": OTHER})),
    ("old-key-missing", "a payload without oldKey", Inner(payload={"oldKey": DROP})),
    ("old-key-not-object", "an oldKey that is a string", Inner(payload={"oldKey": "x"})),
    ("old-key-empty", "an empty oldKey", Inner(payload={"oldKey": {}})),
)


def _refusal(name: str, title: str, inner: Inner) -> None:
    level = SHOULD if name in LENIENT else MUST

    @case(CASES, f"keychange.{name}", "RFC 8555 7.3.5", level, f"{title} is refused, and the key stays")
    async def steps(world: World) -> None:
        owner, new = await acts.roller(world), jose.new_key()
        answer = await rollover(world, owner, new, inner)
        if answer.status == 200:
            world.put(acts.ROLLER, replace(owner, key=new))
        expect(answer, BAD)
        expect(await world.post(owner, owner.url), status(200), about="the old key")


for _name, _title, _inner in REFUSED:
    _refusal(_name, _title, _inner)


OUTER: tuple[tuple[str, str, object, Check], ...] = (
    ("payload-empty", "an empty payload", b"", BAD),
    ("payload-not-jws", "a payload that is no JWS", {"account": "x"}, BAD),
    ("payload-array", "a payload that is an array", [], BAD),
    ("payload-not-json", "a payload that is not JSON", b"\xff", BAD),
)


def _outer(name: str, title: str, payload: object, check: Check) -> None:
    @case(CASES, f"keychange.{name}", "RFC 8555 7.3.5", MUST, f"{title} is refused")
    async def steps(world: World) -> None:
        owner = await acts.roller(world)
        expect(await world.post(owner, await world.resource("keyChange"), payload), check)


for _row in OUTER:
    _outer(*_row)


@case(CASES, "keychange.outer-jwk", "RFC 8555 6.2", MUST, "a rollover signed outside by jwk is refused")
async def outer_jwk(world: World) -> None:
    owner = await acts.roller(world)
    twist = Twist(protected={"kid": DROP, "jwk": owner.key.jwk})
    expect(await rollover(world, owner, jose.new_key(), outer=twist), problem(400, "malformed"))


@case(
    CASES,
    "keychange.outer-by-new-key",
    "RFC 8555 7.3.5",
    MUST,
    "a rollover signed outside by the new key is refused",
)
async def outer_new(world: World) -> None:
    owner, new = await acts.roller(world), jose.new_key()
    expect(await rollover(world, owner, new, outer=Twist(sign=lambda _, data: new.sign(data))), DEAD)


@case(CASES, "keychange.same-key", "RFC 8555 7.3.5", MUST, "a rollover to the key the account has is refused")
async def same_key(world: World) -> None:
    owner = await acts.roller(world)
    expect(await rollover(world, owner, owner.key), problem({400, 409}))


@case(
    CASES,
    "keychange.key-in-use",
    "RFC 8555 7.3.5",
    SHOULD,
    "a rollover to another account's key is 409 with its Location",
)
async def key_in_use(world: World) -> None:
    owner, other = await acts.roller(world), await acts.account(world)
    answer = await rollover(world, owner, other.key)
    expect(answer, problem(409), header("Location"))
    require(answer.header("Location") == other.url, f"Location is {answer.header('Location')}")


@case(
    CASES, "keychange.weak-key", "RFC 7518 3.3", MUST, "a rollover to an RSA key of 1024 bits is badPublicKey"
)
async def weak_key(world: World) -> None:
    owner, weak = await acts.roller(world), jose.spare_key("RS256", 1024)
    answer = await rollover(world, owner, weak)
    if answer.status == 200:
        world.put(acts.ROLLER, replace(owner, key=weak))
    expect(answer, problem(400, "badPublicKey"))


@case(
    CASES,
    "keychange.works",
    "RFC 8555 7.3.5",
    MUST,
    "a rollover is 200; then the new key signs and the old is dead at once",
)
async def works(world: World) -> None:
    old, new = await _rolled(world, "ES256")
    expect(await world.post(new, new.url), status(200), about="the new key")
    expect(await world.post(old, old.url), DEAD, about="the old key")


@case(
    CASES,
    "keychange.account-found-by-new-key",
    "RFC 8555 7.3.5",
    MUST,
    "after a rollover the new key finds the account, the old finds none",
)
async def found(world: World) -> None:
    old, new = await _rolled(world, "ES256")
    answer = await world.new_account(new.key, {"onlyReturnExisting": True})
    expect(answer, status(200))
    require(answer.header("Location") == new.url, "the new key finds another account")
    expect(
        await world.new_account(old.key, {"onlyReturnExisting": True}), problem(400, "accountDoesNotExist")
    )


@case(
    CASES,
    "keychange.keeps-orders",
    "RFC 8555 7.3.5",
    MUST,
    "a rollover changes the key and nothing else: an order that was ready is, and can be finalized",
)
async def keeps_orders(world: World) -> None:
    owner = await acts.roller(world)
    order = await acts.fresh_order(world, owner)
    _, new = await _rolled(world, "ES256")
    await acts.issue(world, replace(order, account=new))


@case(CASES, "keychange.back", "RFC 8555 7.3.5", SHOULD, "an account can go back to a key it had")
async def back(world: World) -> None:
    old, new = await _rolled(world, "ES256")
    answer = await rollover(world, new, old.key)
    if answer.status == 200:
        world.put(acts.ROLLER, old)
    expect(answer, status(200))


async def _rolled(world: World, alg: str) -> tuple[Account, Account]:
    old, key = await acts.roller(world), jose.new_key(alg)
    expect(await rollover(world, old, key), status(200), about="keyChange")
    new = replace(old, key=key)
    world.put(acts.ROLLER, new)
    return old, new


def _kind(alg: str, level: Level) -> None:
    @case(
        CASES,
        f"keychange.to-{alg.lower()}",
        "RFC 8555 6.2",
        level,
        f"an account can go over to a key for {alg} and use it",
    )
    async def steps(world: World) -> None:
        _, new = await _rolled(world, alg)
        expect(await world.post(new, new.url), status(200))
        await _rolled(world, "ES256")


for _alg, _level in (("ES384", SHOULD), ("ES512", SHOULD), ("RS256", SHOULD), ("EdDSA", SHOULD)):
    _kind(_alg, _level)


@case(
    CASES,
    "keychange.race",
    "RFC 8555 7.3.5",
    MUST,
    "of four rollovers of one account at once one wins, and its key is the account's",
)
async def race(world: World) -> None:
    owner = await acts.roller(world)
    keys = [jose.new_key() for _ in range(4)]
    await world.wire.open_many(owner.url, 4)

    def keep_up(answers: list[Answer | None]) -> None:
        for key, answer in zip(keys, answers, strict=True):
            if answer is not None and answer.status == 200:
                world.put(acts.ROLLER, replace(owner, key=key))

    answers = await acts.race(*(rollover(world, owner, key) for key in keys), then=keep_up)
    works_now = []
    for key, answer in zip(keys, answers, strict=True):
        candidate = replace(owner, key=key)
        if (await world.post(candidate, owner.url)).status == 200:
            works_now.append((candidate, answer))
    if works_now:
        world.put(acts.ROLLER, works_now[0][0])
    won = sum(answer.status == 200 for answer in answers)
    require(won == 1, f"{won} of 4 rollovers were accepted")
    require(len(works_now) == 1, f"{len(works_now)} of the 4 keys sign for the account")
    require(works_now[0][1].status == 200, "the key in force is not the one that was accepted")


@case(
    CASES,
    "keychange.race-for-one-key",
    "RFC 8555 7.3.5",
    MUST,
    "of two accounts that roll over to one key at once one gets it",
)
async def race_for_key(world: World) -> None:
    first, second = await acts.roller(world), await acts.doomed(world)
    if first.url == second.url:
        raise Skipped("needs two accounts to harm")
    key = jose.new_key()

    def keep_up(answers: list[Answer | None]) -> None:
        for name, owner, answer in zip((acts.ROLLER, acts.DOOMED), (first, second), answers, strict=True):
            if answer is not None and answer.status == 200:
                world.put(name, replace(owner, key=key))

    await world.wire.open_many(first.url, 2)
    answers = await acts.race(rollover(world, first, key), rollover(world, second, key), then=keep_up)
    statuses = sorted(answer.status for answer in answers)
    require(statuses.count(200) == 1, f"the answers were {statuses}")
