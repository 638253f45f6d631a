"""Renewal information and the `replaces` member of orders (RFC 9773)."""

from __future__ import annotations

from datetime import UTC, datetime

from conformance import acts, jose, pki
from conformance.case import ADVICE, MUST, OURS, SHOULD, Case, case
from conformance.cases.certificate import PEM
from conformance.check import (
    ANY_REFUSAL,
    either,
    header,
    is_url,
    media_type,
    member,
    problem,
    refused,
    status,
    timestamp,
)
from conformance.verdict import Failed, Skipped, expect, require
from conformance.wire import Answer
from conformance.world import Issued, Order, World

CASES: list[Case] = []


async def _ask(world: World, identifier: str, method: str = "GET") -> Answer:
    return await world.get(f"{(await world.resource('renewalInfo')).rstrip('/')}/{identifier}", method)


def window(answer: Answer) -> tuple[datetime, datetime]:
    """Start and end of the suggested window; raises Failed when it is not as RFC 9773 4.2 has it."""
    value = answer.object().get("suggestedWindow")
    if not isinstance(value, dict):
        raise Failed(f"suggestedWindow is {value!r}")
    start, end = timestamp(value.get("start")), timestamp(value.get("end"))
    if start is None or end is None:
        raise Failed(f"suggestedWindow is {value!r}, not two RFC 3339 times")
    return start, end


@case(
    CASES,
    "ari.served",
    "RFC 9773 4.1",
    MUST,
    "GET of a certificate's renewal information is 200, without any authentication",
)
async def served(world: World) -> None:
    answer = await _ask(world, pki.ari_id((await acts.issued(world)).leaf))
    expect(answer, status(200), media_type("application/json"))


@case(
    CASES, "ari.window", "RFC 9773 4.2", MUST, "the suggested window has two RFC 3339 times, end after start"
)
async def has_window(world: World) -> None:
    start, end = window(await _ask(world, pki.ari_id((await acts.issued(world)).leaf)))
    require(start < end, f"{start} to {end}")


@case(
    CASES,
    "ari.window-leaves-time",
    "RFC 9773 4.2",
    ADVICE,
    "the window begins before the last fiftieth of a certificate's life: later, one failure ends the service",
)
async def leaves_time(world: World) -> None:
    leaf = (await acts.issued(world)).leaf
    start, _ = window(await _ask(world, pki.ari_id(leaf)))
    left = leaf.not_valid_after_utc - start
    require(
        left * 50 >= leaf.not_valid_after_utc - leaf.not_valid_before_utc, f"it begins {left} before the end"
    )


@case(
    CASES,
    "ari.window-before-expiry",
    "RFC 9773 4.2",
    SHOULD,
    "the window of a good certificate begins before it expires",
)
async def before_expiry(world: World) -> None:
    leaf = (await acts.issued(world)).leaf
    start, _ = window(await _ask(world, pki.ari_id(leaf)))
    require(
        start < leaf.not_valid_after_utc,
        f"it begins {start}, the certificate ends {leaf.not_valid_after_utc}",
    )


@case(
    CASES,
    "ari.retry-after",
    "RFC 9773 4.3",
    SHOULD,
    "the answer says when to ask again: Retry-After in seconds or a date",
)
async def retry_after(world: World) -> None:
    answer = await _ask(world, pki.ari_id((await acts.issued(world)).leaf))
    expect(answer, header("Retry-After", r"^(\d+|\w{3}, \d\d \w{3} \d{4} .* GMT)$"))


@case(CASES, "ari.explanation", "RFC 9773 4.2", MUST, "explanationURL, when there, is a URL")
async def explanation(world: World) -> None:
    answer = await _ask(world, pki.ari_id((await acts.issued(world)).leaf))
    value = answer.object().get("explanationURL")
    require(value is None or is_url(value), f"explanationURL is {value!r}")


@case(CASES, "ari.revoked", "RFC 9773 4.2", SHOULD, "the window of a revoked certificate is in the past")
async def revoked(world: World) -> None:
    _, end = window(await _ask(world, pki.ari_id((await acts.revoked(world)).leaf)))
    require(end <= datetime.now(UTC), f"it ends {end}")


@case(
    CASES, "ari.unknown-serial", "RFC 9773 4.1", SHOULD, "an unknown serial number is a 404 problem document"
)
async def unknown_serial(world: World) -> None:
    authority = pki.ari_id((await acts.issued(world)).leaf).partition(".")[0]
    expect(await _ask(world, f"{authority}.{jose.b64(b'0123456789')}"), problem(404))


@case(
    CASES,
    "ari.unknown-authority",
    "RFC 9773 4.1",
    SHOULD,
    "a serial number under another authority is a 404 problem document",
)
async def unknown_authority(world: World) -> None:
    serial = pki.ari_id((await acts.issued(world)).leaf).partition(".")[2]
    expect(await _ask(world, f"{jose.b64(bytes(20))}.{serial}"), problem(404))


def _form(name: str, title: str, bend: object) -> None:
    @case(CASES, f"ari.{name}", "RFC 9773 4.1", MUST, f"{title} names no certificate: 400 or 404")
    async def steps(world: World) -> None:
        identifier = pki.ari_id((await acts.issued(world)).leaf)
        expect(await _ask(world, bend(identifier)), problem({400, 404}))  # type: ignore[operator]


def _serial_octets(identifier: str, change: object) -> str:
    authority, _, serial = identifier.partition(".")
    return f"{authority}.{jose.b64(change(jose.unb64(serial)))}"  # type: ignore[operator]


_form("padded", "an identifier with padding", lambda i: f"{i}==")
_form("no-period", "an identifier without a period", lambda i: i.replace(".", ""))
_form("two-periods", "an identifier with two periods", lambda i: f"{i}.AA")
_form("no-serial", "an identifier without serial number", lambda i: i.partition(".")[0] + ".")
_form("no-authority", "an identifier without authority", lambda i: "." + i.partition(".")[2])
_form("garbage", "an identifier outside base64url", lambda i: "~*~.$$")
_form(
    "zero-before-serial",
    "a serial number with a zero octet too many",
    lambda i: _serial_octets(i, lambda s: b"\0" + s),
)
_form(
    "der-tagged-serial",
    "a serial number with its DER tag",
    lambda i: _serial_octets(i, lambda s: pki.der(2, s)),
)


@case(
    CASES,
    "ari.zero-octet-kept",
    "RFC 9773 4.1",
    MUST,
    "a serial number with its high bit set is named with the zero octet before it, and only so",
)
async def zero_octet(world: World) -> None:
    await acts.issued(world)
    downloads = [one.answer for one in world.log if one.answer.media_type == PEM and one.answer.status == 200]
    for leaf in (pki.chain(answer.body)[0] for answer in downloads):
        identifier = pki.ari_id(leaf)
        if jose.unb64(identifier.partition(".")[2])[0] == 0:
            expect(await _ask(world, identifier), status(200))
            expect(await _ask(world, _serial_octets(identifier, lambda s: s[1:])), problem({400, 404}))
            return
    raise Skipped("no certificate here has a serial number with its high bit set")


@case(CASES, "ari.head", "RFC 9110 9.3.2", SHOULD, "HEAD works where GET does")
async def head(world: World) -> None:
    expect(await _ask(world, pki.ari_id((await acts.issued(world)).leaf), "HEAD"), status(200))


# Orders that replace.


async def _replacement(world: World) -> tuple[Issued, Order]:
    """A certificate and an order that replaces it."""

    async def make() -> tuple[Issued, Order]:
        await world.resource("renewalInfo")
        old = await acts.issue(world, await acts.fresh_order(world))
        return old, await acts.fresh_order(world, old.order.account, replaces=pki.ari_id(old.leaf))

    return await world.keep("replacing order", make)


@case(CASES, "replaces.reflected", "RFC 9773 5", MUST, "an order that replaces shows it, at once and later")
async def reflected(world: World) -> None:
    old, order = await _replacement(world)
    expect(order.answer, member("replaces", pki.ari_id(old.leaf)))
    expect((await acts.reload(world, order)).answer, member("replaces", pki.ari_id(old.leaf)))


@case(
    CASES,
    "replaces.reflected-beside-open",
    "RFC 9773 5",
    MUST,
    "an order that replaces shows it although an order without is open for the same identifiers",
)
async def reflected_beside_open(world: World) -> None:
    await world.resource("renewalInfo")
    old = await acts.issue(world, await acts.fresh_order(world))
    owner, identifier = old.order.account, pki.ari_id(old.leaf)
    acts.ordered(await acts.new_order(world, owner), owner)
    order = acts.ordered(await acts.new_order(world, owner, replaces=identifier), owner)
    expect((await acts.reload(world, order)).answer, member("replaces", identifier))


@case(
    CASES,
    "replaces.again",
    "RFC 9773 5",
    MUST,
    "a certificate that was replaced by an order is refused as 409 alreadyReplaced, if it is refused",
)
async def again(world: World) -> None:
    await world.resource("renewalInfo")
    old = await acts.issue(world, await acts.fresh_order(world))
    owner, identifier = old.order.account, pki.ari_id(old.leaf)
    await acts.issue(world, await acts.fresh_order(world, owner, replaces=identifier))
    answer = await acts.new_order(world, owner, replaces=identifier)
    if answer.status != 201:
        expect(answer, problem(409, "alreadyReplaced"))


@case(
    CASES,
    "replaces.again-refused",
    "RFC 9773 5",
    SHOULD,
    "a certificate that was replaced by an order that is not invalid is refused",
)
async def again_refused(world: World) -> None:
    await world.resource("renewalInfo")
    old = await acts.issue(world, await acts.fresh_order(world))
    owner, identifier = old.order.account, pki.ari_id(old.leaf)
    await acts.issue(world, await acts.fresh_order(world, owner, replaces=identifier))
    expect(await acts.new_order(world, owner, replaces=identifier), problem(409, "alreadyReplaced"))


@case(
    CASES,
    "replaces.again-open",
    "RFC 9773 5",
    SHOULD,
    "of two orders that replace one certificate one is open: the second is refused, or the first, or ends it",
)
async def again_open(world: World) -> None:
    old, order = await _replacement(world)
    answer = await acts.new_order(world, order.account, replaces=pki.ari_id(old.leaf))
    if answer.status == 409:
        expect(answer, problem(409, "alreadyReplaced"))
        return
    second = acts.ordered(answer, order.account)
    ended = (await acts.reload(world, order)).status == "invalid"
    if ended and second.url != order.url:
        world.forget("replacing order")
    require(ended or second.url == order.url, "both orders for one certificate are open")


@case(
    CASES,
    "replaces.issues",
    "RFC 9773 5",
    MUST,
    "an order that replaces issues a certificate, and the old one's order stays valid",
)
async def issues(world: World) -> None:
    old, order = await _replacement(world)
    await acts.issue(world, order)
    require(
        (await acts.reload(world, old.order)).status == "valid", "the replaced order is not valid any more"
    )


@case(
    CASES,
    "replaces.freed",
    "RFC 9773 5",
    SHOULD,
    "a certificate is free to be replaced again once the replacing order is invalid",
)
async def freed(world: World) -> None:
    await world.resource("renewalInfo")
    old = await acts.issue(world, await acts.fresh_order(world))
    owner, identifier = old.order.account, pki.ari_id(old.leaf)
    first = await acts.fresh_order(world, owner, replaces=identifier)
    expect(await world.post(owner, first.authorizations[0], {"status": "deactivated"}), status(200))
    if (await acts.reload(world, first)).status != "invalid":
        raise Skipped("the replacing order did not become invalid")
    expect(await acts.new_order(world, owner, replaces=identifier), status(201))


@case(
    CASES,
    "replaces.race",
    "RFC 9773 5",
    SHOULD,
    "of four orders at once that replace one certificate one is open in the end",
)
async def race(world: World) -> None:
    await world.resource("renewalInfo")
    old = await acts.issue(world, await acts.fresh_order(world))
    identifier = pki.ari_id(old.leaf)
    await world.wire.open_many(old.url, 4)
    answers = await acts.race(
        *(acts.new_order(world, old.order.account, replaces=identifier) for _ in range(4))
    )
    for answer in answers:
        if answer.status != 201:
            expect(answer, problem(409, "alreadyReplaced"))
    made = [acts.ordered(answer, old.order.account) for answer in answers if answer.status == 201]
    each = {order.url: order for order in made}.values()
    won = sum([(await acts.reload(world, order)).status != "invalid" for order in each])
    require(won == 1, f"{won} of 4 are open")


@case(
    CASES,
    "replaces.unknown",
    "RFC 9773 5",
    SHOULD,
    "an order that replaces an unknown certificate is refused",
)
async def unknown(world: World) -> None:
    await world.resource("renewalInfo")
    done = await acts.issued(world)
    identifier = f"{pki.ari_id(done.leaf).partition('.')[0]}.{jose.b64(b'0123456789')}"
    expect(await acts.new_order(world, done.order.account, replaces=identifier), refused())


@case(
    CASES,
    "replaces.another-accounts",
    "RFC 9773 5",
    SHOULD,
    "an order that replaces a certificate of another account for the same names is refused",
)
async def another_accounts(world: World) -> None:
    await world.resource("renewalInfo")
    done = await acts.issued(world)
    second = await acts.namesake(world, done)
    expect(await acts.new_order(world, second, replaces=pki.ari_id(done.leaf)), refused())


@case(
    CASES,
    "replaces.anothers",
    "RFC 9773 5",
    SHOULD,
    "an order that replaces another account's certificate is refused",
)
async def anothers(world: World) -> None:
    await world.resource("renewalInfo")
    done, second = await acts.issued(world), await acts.stranger(world)
    expect(await acts.new_order(world, second, replaces=pki.ari_id(done.leaf)), refused())


def _malformed(name: str, value: object) -> None:
    @case(
        CASES, f"replaces.{name}", "RFC 9773 5", SHOULD, f"a replaces that is {name} is refused as malformed"
    )
    async def steps(world: World) -> None:
        await world.resource("renewalInfo")
        owner = (await acts.issued(world)).order.account
        expect(await acts.new_order(world, owner, replaces=value), refused("malformed"))


for _name, _value in (("a-number", 7), ("garbage", "***"), ("padded", "AAAA==.AAAA=="), ("empty-parts", ".")):
    _malformed(_name, _value)


# Profiles.


async def _profiles(world: World) -> dict[str, object]:
    offered = (await world.meta()).get("profiles")
    if offered is None:
        raise Skipped("the server offers no profiles")
    if not isinstance(offered, dict):
        raise Failed(f"meta.profiles is {offered!r}")
    return offered


PROFILES = "draft-ietf-acme-profiles"


@case(CASES, "profiles.map", f"{PROFILES} 3", MUST, "meta.profiles maps names to descriptions")
async def profiles_map(world: World) -> None:
    offered = await _profiles(world)
    require(offered and all(isinstance(value, str) for value in offered.values()), f"it is {offered}")


@case(
    CASES,
    "profiles.unknown",
    f"{PROFILES} 4",
    MUST,
    "an order with a profile that is not offered is invalidProfile",
)
async def profiles_unknown(world: World) -> None:
    await _profiles(world)
    owner = await acts.account(world)
    expect(await acts.new_order(world, owner, profile="no-such-profile"), problem(400, "invalidProfile"))


@case(CASES, "profiles.not-a-string", f"{PROFILES} 4", MUST, "a profile that is not a string is refused")
async def profiles_type(world: World) -> None:
    await _profiles(world)
    owner = await acts.account(world)
    expect(await acts.new_order(world, owner, profile=["x"]), refused("malformed", "invalidProfile"))


@case(
    CASES,
    "profiles.chosen",
    f"{PROFILES} 4",
    MUST,
    "the profile asked for is shown in the order, at once and later",
)
async def profiles_chosen(world: World) -> None:
    offered = await _profiles(world)
    owner = await acts.account(world)
    wanted = [owner.credential.profile] if owner.credential.profile else list(offered)
    for name in wanted:
        answer = await acts.new_order(world, owner, profile=name)
        if answer.status == 201:
            expect(answer, member("profile", name))
            order = acts.ordered(answer, owner)
            expect((await acts.reload(world, order)).answer, member("profile", name))
            return
    raise Failed(f"no profile offered was accepted: {wanted}")


@case(
    CASES,
    "profiles.default-shown",
    f"{PROFILES} 4",
    SHOULD,
    "the profile the server chose by itself is shown in the order",
)
async def profiles_default(world: World) -> None:
    offered = await _profiles(world)
    order = (await acts.issued(world)).order
    expect(await world.post(order.account, order.url), member("profile", *offered))


@case(
    CASES,
    "profiles.each",
    f"{PROFILES} 4",
    MUST,
    "an order under each profile that is offered is finalized, or refused as invalidProfile",
)
async def profiles_each(world: World) -> None:
    owner = await acts.account(world)
    for name in await _profiles(world):
        answer = await acts.new_order(world, owner, profile=name)
        if answer.status == 201:
            order = await acts.make_ready(world, acts.ordered(answer, owner))
            answer = await acts.finalize(world, order, pki.csr(pki.new_private(), order.identifiers))
        expect(answer, either(status(200), problem(ANY_REFUSAL, "invalidProfile")), about=name)


@case(CASES, "ari.post-refused", "RFC 9773 4.1", OURS, "POST to renewal information is 405")
async def post_refused(world: World) -> None:
    done = await acts.issued(world)
    url = f"{(await world.resource('renewalInfo')).rstrip('/')}/{pki.ari_id(done.leaf)}"
    expect(await world.post(done.order.account, url), either(problem(405), status(405)))
