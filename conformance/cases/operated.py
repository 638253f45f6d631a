"""What happens to orders when the operator acts or time passes (sekisho PROTOCOL sections 4, 6, 9, 10).

No suite can do that from outside: `--operator COMMAND` is asked. Each case has a user of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from conformance import acts, credentials, jose, pki
from conformance.case import OURS, Case, Steps, case
from conformance.cases.authorization import challenges
from conformance.check import both, header, member, problem, status
from conformance.credentials import Credential
from conformance.verdict import Blocked, Skipped, expect, require
from conformance.wire import Answer
from conformance.world import Account, Issued, Order, World

CASES: list[Case] = []
CLAUSE = "sekisho PROTOCOL"
DENIED = problem(403, "unauthorized")
GONE = problem(403, "unauthorized", "orderNotReady")
FULL = both(problem(429, "rateLimited"), header("Retry-After", r"^\d+$"))
#: Days of the profile client-automated; the renewal period are the last thirty of them.
LIFE, IN_PERIOD = 90, 70
A_DAY = 86_400


# What is asked of the operator.


async def _credentials(world: World, **wishes: object) -> list[Credential]:
    """Credentials of a user that has no others: count, places (the quota), profile."""
    answer = await world.operate("credentials", **wishes)
    try:
        return list(credentials.parse(answer).bindings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Blocked("operator: credentials", f"no credentials in its answer: {error!r}") from None


async def _account(world: World, **wishes: object) -> Account:
    return await acts.register(world, (await _credentials(world, **wishes))[0])


@asynccontextmanager
async def _later(world: World, days: float) -> AsyncIterator[None]:
    """The server's clock is so many days ahead meanwhile; nonces from before are old then."""
    await world.operate("clock", days=days)
    world.forget_nonces()
    try:
        yield
    finally:
        await world.operate("clock", days=0)
        world.forget_nonces()


async def _notices(world: World, owner: Account) -> int:
    """How much the user has been told of so far."""
    told = (await world.operate("notices", kid=owner.credential.kid)).get("notices")
    if not isinstance(told, list):
        raise Blocked("operator: notices", f"its answer has no list of notices: {told!r}")
    return len(told)


async def _revoke(world: World, done: Issued) -> None:
    await world.operate("revoke", serial=f"{done.leaf.serial_number:x}")


# What the client does.


async def _ordered(world: World, owner: Account, **members: object) -> Answer:
    """The answer to newOrder as it comes: 429 is what some of these cases wait for."""
    payload = {"identifiers": list(owner.credential.identifiers), **members}
    return await world.post(owner, await world.resource("newOrder"), payload)


async def _ready(world: World, owner: Account, **members: object) -> Order:
    return await acts.make_ready(world, acts.ordered(await _ordered(world, owner, **members), owner))


async def _issued(world: World, owner: Account, **members: object) -> Issued:
    return await acts.issue(world, await _ready(world, owner, **members))


async def _finalized(world: World, order: Order) -> Answer:
    return await acts.finalize(world, order, pki.csr(pki.new_private(), order.identifiers))


async def _ended(world: World, order: Order) -> None:
    """The order is invalid, nothing is issued for it, and it is in the account's list no more."""
    expect((await acts.reload(world, order)).answer, member("status", "invalid"), about="the order")
    expect(await _finalized(world, order), GONE, about="finalize")
    listed = (await world.post(order.account, order.account.url)).object().get("orders")
    orders = (await world.post(order.account, str(listed))).object().get("orders")
    require(isinstance(orders, list) and order.url not in orders, f"the account's orders are {orders}")


async def _end(world: World, orders: Sequence[Order], action: str, **how: str) -> None:
    """Ends the credentials: orders end with them, the first and a further one, and there are no new ones."""
    owner = orders[0].account
    await world.operate(action, kid=owner.credential.kid, **how)
    for order in orders:
        await _ended(world, order)
    expect(await _ordered(world, owner), DENIED, about="newOrder")


def _case(name: str, title: str) -> Callable[[Steps], Steps]:
    return case(CASES, f"operated.{name}", CLAUSE, OURS, title)


# The credentials end.


@_case("withdrawn-order", "orders that were ready are invalid once their credentials are withdrawn")
async def withdrawn_order(world: World) -> None:
    owner = await _account(world)
    await _end(world, [await _ready(world, owner), await _ready(world, owner)], "withdraw")


@_case("withdrawn-unbound", "withdrawn credentials bind no account")
async def withdrawn_unbound(world: World) -> None:
    (credential, *_) = await _credentials(world)
    await world.operate("withdraw", kid=credential.kid)
    key = jose.new_key()
    answer = await world.new_account(key, await acts.account_request(world, key, credential))
    expect(answer, DENIED)


@_case("withdrawn-certificate", "what was issued before stays: the order valid, the certificate served")
async def withdrawn_certificate(world: World) -> None:
    done = await _issued(world, await _account(world))
    await world.operate("withdraw", kid=done.order.account.credential.kid)
    expect((await acts.reload(world, done.order)).answer, member("status", "valid"))
    expect(await world.post(done.order.account, done.url), status(200))


@_case("reissued-at-once", "a reissue at once ends the credentials of before, bound or not, and their orders")
async def reissued_at_once(world: World) -> None:
    (first, second, *_) = await _credentials(world, count=2)
    owner = await acts.register(world, first)
    await _end(world, [await _ready(world, owner), await _ready(world, owner)], "reissue", old="at-once")
    key = jose.new_key()
    answer = await world.new_account(key, await acts.account_request(world, key, second))
    expect(answer, DENIED, about="newAccount")


@_case("reissued-on-pickup", "until a reissue is picked up orders go on, open ones and new ones")
async def reissued_on_pickup(world: World) -> None:
    order = await _ready(world, await _account(world, places=2))
    await world.operate("reissue", kid=order.account.credential.kid, old="on-pickup")
    expect((await acts.reload(world, order)).answer, member("status", "ready"))
    await acts.issue(world, order)
    expect(await _ordered(world, order.account), status(201), about="newOrder")


# The certificate to be replaced ends.


@_case("source-revoked", "an order that renews a certificate is invalid once that is revoked")
async def source_revoked(world: World) -> None:
    done = await _issued(world, await _account(world))
    async with _later(world, IN_PERIOD):
        order = await _ready(world, done.order.account, replaces=pki.ari_id(done.leaf))
        await _revoke(world, done)
        await _ended(world, order)


@_case("source-revoked-at-the-other-door", "so is one of the renewal site, pending or ready")
async def source_revoked_there(world: World) -> None:
    done = await _issued(world, await _account(world))
    async with _later(world, IN_PERIOD), _bearing(world, done) as (site, owner):
        order = acts.ordered(await _ordered(site, owner), owner)
        await _revoke(world, done)
        await _ended(site, order)


# Places.


@_case("quota-full", "without a free place newOrder is rateLimited, with Retry-After, outside the period")
async def quota_full(world: World) -> None:
    done = await _issued(world, await _account(world, places=1))
    expect(await _ordered(world, done.order.account), FULL)


@_case("quota-open-order", "an open order has its place, is returned to who asks again, and can be finalized")
async def quota_open(world: World) -> None:
    order = await _ready(world, await _account(world, places=1))
    again = expect(await _ordered(world, order.account), status(201), header("Location"))
    require(again.header("Location") == order.url, f"Location is {again.header('Location')}")
    shorter = [{**one, "value": one["value"].partition(".")[0]} for one in order.identifiers]
    expect(await _ordered(world, order.account, identifiers=shorter), FULL, about="for another name")
    await acts.issue(world, order)


@_case("quota-revoked", "a revoked certificate gives its place back when its first day is over, no sooner")
async def quota_revoked(world: World) -> None:
    done = await _issued(world, await _account(world, places=1))
    owner = done.order.account
    await _revoke(world, done)
    full = expect(await _ordered(world, owner), FULL, about="on the first day")
    wait = int(full.header("Retry-After") or 0)
    require(0 < wait <= A_DAY, f"Retry-After is {wait} s")
    async with _later(world, 1.01):
        expect(await _ordered(world, owner), status(201), about="after it")


@_case("quota-renewal", "a renewal needs no further place, and holds the one of what it replaces")
async def quota_renewal(world: World) -> None:
    done = await _issued(world, await _account(world, places=1))
    async with _later(world, IN_PERIOD):
        await _issued(world, done.order.account, replaces=pki.ari_id(done.leaf))
        expect(await _ordered(world, done.order.account), FULL, about="a further one")


@_case("expired", "after expiry its account orders a further certificate, in the place that has come free")
async def expired(world: World) -> None:
    done = await _issued(world, await _account(world, places=1))
    async with _later(world, LIFE + 1):
        expect((await acts.reload(world, done.order)).answer, member("status", "valid"))
        later = await _issued(world, done.order.account)
        require(later.leaf.not_valid_after_utc > done.leaf.not_valid_after_utc, "it ends no later")


# Renewal by another.


@asynccontextmanager
async def _bearing(world: World, done: Issued) -> AsyncIterator[tuple[World, Account]]:
    """The renewal site presenting the certificate, and an account that it vouches for."""
    renewal = world.credentials.renewal
    if renewal is None:
        raise Skipped('needs "renewal" in the credentials file')
    site = world.presenting(renewal.directory, done.download.body.decode(), pki.private_pem(done.private))
    try:
        key, names = jose.new_key(), Credential("", b"", done.order.identifiers)
        answer = await site.new_account(key, {"termsOfServiceAgreed": True})
        yield site, acts.registered(answer, key, names)
    finally:
        await site.close()


async def _renewed_there(site: World, owner: Account) -> Issued:
    """Renews by the certificate that the site is shown."""
    order = acts.ordered(await _ordered(site, owner), owner)
    for url in order.authorizations:
        authorization = expect(await site.post(owner, url), status(200))
        expect(await site.post(owner, str(challenges(authorization)[0]["url"]), {}), status(200))
    return await acts.issue(site, await acts.settle(site, order, {"pending"}))


@_case("renewed-by-another", "the user is told when another account renews, and the holder's own is refused")
async def renewed_by_another(world: World) -> None:
    done = await _issued(world, await _account(world))
    async with _later(world, IN_PERIOD):
        before = await _notices(world, done.order.account)
        async with _bearing(world, done) as (site, owner):
            await _renewed_there(site, owner)
        told = await _notices(world, done.order.account) - before
        require(told == 1, f"{told} notices")
        answer = await _ordered(world, done.order.account, replaces=pki.ari_id(done.leaf))
        expect(answer, problem(409, "alreadyReplaced"))


@_case("renewed-by-its-holder", "nobody is told of a renewal by the account that holds the certificate")
async def renewed_by_holder(world: World) -> None:
    done = await _issued(world, await _account(world))
    async with _later(world, IN_PERIOD):
        before = await _notices(world, done.order.account)
        await _issued(world, done.order.account, replaces=pki.ari_id(done.leaf))
        told = await _notices(world, done.order.account) - before
        require(told == 0, f"{told} notices")


# Certificates of people.


async def _of_a_person(world: World) -> tuple[Issued, Account]:
    """A certificate without dNSName, and another account of its user."""
    (first, second, *_) = await _credentials(world, count=2, profile="client-person")
    done = await _issued(world, await acts.register(world, first))
    require(not pki.dns_names(done.leaf), f"its names are {pki.dns_names(done.leaf)}")
    return done, await acts.register(world, second)


@_case(
    "person-revoked", "a certificate without dNSName is revoked by an authorization for any name of its user"
)
async def person_revoked(world: World) -> None:
    done, other = await _of_a_person(world)
    expect(await acts.revoke(world, other, done.der), DENIED, about="without authorization")
    await _ready(world, other)
    expect(await acts.revoke(world, other, done.der), status(200), about="with one")


@_case("person-not-revoked-by-a-stranger", "and by none for a name of somebody else")
async def person_kept(world: World) -> None:
    done, _ = await _of_a_person(world)
    stranger = await _account(world)
    await _ready(world, stranger)
    expect(await acts.revoke(world, stranger, done.der), DENIED)
    expect(await acts.revoke(world, done.order.account, done.der), status(200), about="by its account")
