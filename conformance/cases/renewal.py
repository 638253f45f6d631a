"""Renewal by the certificate itself: challenge type client-cert-01 on the mutual-TLS site (our extension)."""

from __future__ import annotations

from dataclasses import dataclass

from conformance import acts, jose, pki
from conformance.case import OURS, Case, case
from conformance.cases.authorization import challenges
from conformance.check import header, linked, member, no_member, problem, status
from conformance.credentials import Credential, Renewal
from conformance.verdict import Skipped, expect, require
from conformance.wire import Answer, Broken
from conformance.world import Account, Order, World

CASES: list[Case] = []
CLAUSE = "sekisho PROTOCOL, client-cert-01"
DENIED = problem({401, 403}, "unauthorized")


def _given(world: World) -> Renewal:
    renewal = world.credentials.renewal
    if renewal is None:
        raise Skipped('needs "renewal" in the credentials file')
    return renewal


async def _presented(world: World) -> tuple[str, str]:
    """The certificate to be replaced and its key, PEM: given, or issued now."""
    renewal = _given(world)

    async def make() -> tuple[str, str]:
        if renewal.certificate is None or renewal.key is None:
            done = await acts.issue(world, await acts.fresh_order(world))
            return done.download.body.decode(), pki.private_pem(done.private)
        return renewal.certificate, renewal.key

    return await world.keep("certificate to present", make)


async def bearer(world: World) -> World:
    """The renewal site, presenting the certificate to be replaced."""

    async def make() -> World:
        return world.presenting(_given(world).directory, *await _presented(world))

    return await world.keep("renewal site", make)


async def barefoot(world: World) -> World:
    """The renewal site, presenting nothing."""
    renewal = _given(world)

    async def make() -> World:
        return world.presenting(renewal.directory, None, None)

    site = await world.keep("renewal site without a certificate", make)
    await (await bearer(world)).lend(site)
    return site


async def _account(world: World) -> Account:
    site = await bearer(world)

    async def make() -> Account:
        key = jose.new_key()
        answer = await site.new_account(key, {"termsOfServiceAgreed": True})
        names = world.credentials.renewal.identifiers if world.credentials.renewal else ()
        return acts.registered(answer, key, Credential("", b"", names))

    return await world.keep("renewal account", make)


@dataclass(frozen=True)
class Asked:
    """A pending order, its authorization and challenge, and the first answer to the challenge."""

    order: Order
    authorization_url: str
    authorization: Answer
    challenge_url: str
    without: Answer | None
    response: Answer


async def _asked(world: World) -> Asked:
    """Orders, answers the challenge first without a certificate and then with it."""

    async def make() -> Asked:
        site, owner = await bearer(world), await _account(world)
        order = acts.ordered(await acts.new_order(site, owner), owner)
        url = order.authorizations[0]
        authorization = expect(await site.post(owner, url), status(200))
        challenge = str(challenges(authorization)[0]["url"])
        without = await _unpresented(world, owner, challenge)
        response = await site.post(owner, challenge, {})
        return Asked(order, url, authorization, challenge, without, response)

    return await world.keep("renewal order", make)


async def _unpresented(world: World, owner: Account, url: str) -> Answer | None:
    """The challenge response over a connection without certificate; None when TLS refuses it."""
    try:
        return await (await barefoot(world)).post(owner, url, {})
    except Broken as broken:
        if "500" in str(broken):
            raise
        return None


def _outside_window(answer: Answer) -> bool:
    return answer.status == 403 and answer.problem_type() == "unauthorized"


@case(CASES, "renewal.directory", CLAUSE, OURS, "the renewal site's directory requires no external account")
async def directory(world: World) -> None:
    site = await bearer(world)
    answer = expect(await site.get(site.directory_url), status(200))
    meta = answer.object().get("meta")
    require(
        not (isinstance(meta, dict) and meta.get("externalAccountRequired")), "externalAccountRequired is set"
    )


@case(
    CASES,
    "renewal.account",
    CLAUSE,
    OURS,
    "newAccount needs no binding where a valid certificate is presented",
)
async def account(world: World) -> None:
    expect((await _account(world)).created, status(201), header("Location"), member("status", "valid"))


@case(
    CASES,
    "renewal.account-without-certificate",
    CLAUSE,
    OURS,
    "newAccount without a certificate is refused as unauthorized",
)
async def account_without(world: World) -> None:
    site = await barefoot(world)
    try:
        answer = await site.new_account(jose.new_key(), {"termsOfServiceAgreed": True})
    except Broken as broken:
        raise Skipped(f"the site does not talk without a certificate: {broken}") from broken
    expect(answer, DENIED)


@case(CASES, "renewal.order-pending", CLAUSE, OURS, "newOrder for the certificate's names is 201 pending")
async def order_pending(world: World) -> None:
    expect((await _asked(world)).order.answer, status(201), member("status", "pending"))


@case(
    CASES,
    "renewal.challenge",
    CLAUSE,
    OURS,
    "the authorization is pending with one client-cert-01 challenge that has url and token",
)
async def challenge(world: World) -> None:
    found = challenges((await _asked(world)).authorization)
    require([one.get("type") for one in found] == ["client-cert-01"], f"challenges are {found}")
    require(found[0].get("status") == "pending", f"it is {found[0].get('status')!r}")
    require(len(jose.unb64(str(found[0].get("token", "")))) >= 16, "the token is short")


@case(
    CASES,
    "renewal.without-certificate",
    CLAUSE,
    OURS,
    "a challenge response without certificate is 403 unauthorized, and nothing changes",
)
async def without_certificate(world: World) -> None:
    answer = (await _asked(world)).without
    if answer is None:
        raise Skipped("the site does not talk without a certificate")
    expect(answer, DENIED)


@case(
    CASES,
    "renewal.response",
    CLAUSE,
    OURS,
    "the response over the certificate is accepted, or refused as outside the renewal window",
)
async def response(world: World) -> None:
    asked = await _asked(world)
    if _outside_window(asked.response):
        require(asked.response.object().get("detail"), "the refusal does not say when the window opens")
    else:
        expect(asked.response, status(200), linked("up", asked.authorization_url))


@case(
    CASES,
    "renewal.refused-stays-pending",
    CLAUSE,
    OURS,
    "a response refused for the window leaves the challenge pending",
)
async def stays_pending(world: World) -> None:
    site, asked = await bearer(world), await _asked(world)
    if not _outside_window(asked.response):
        raise Skipped("the response was accepted")
    expect(
        await site.post(asked.order.account, asked.challenge_url),
        member("status", "pending"),
        no_member("error"),
    )


@case(
    CASES,
    "renewal.foreign-name",
    CLAUSE,
    OURS,
    "newOrder for a name that is not the certificate's is 403 rejectedIdentifier",
)
async def foreign(world: World) -> None:
    site, owner = await bearer(world), await _account(world)
    names = [{"type": "dns", "value": "not-yours.elsewhere.example"}]
    expect(await acts.new_order(site, owner, identifiers=names), problem(403, "rejectedIdentifier"))


@case(
    CASES,
    "renewal.replaces",
    CLAUSE,
    OURS,
    "an order that replaces the presented certificate shows it, and while it is open holds no second one up",
)
async def replaces(world: World) -> None:
    site, owner = await bearer(world), await _account(world)
    identifier = pki.ari_id(pki.chain((await _presented(world))[0].encode())[0])
    order = acts.ordered(await acts.new_order(site, owner, replaces=identifier), owner)
    expect(order.answer, member("replaces", identifier))
    expect(await acts.new_order(site, owner, replaces=identifier), status(201), about="again")
    expect(await site.post(owner, order.authorizations[0], {"status": "deactivated"}), status(200))
    require((await acts.reload(site, order)).status == "invalid", "the order did not become invalid")


@case(
    CASES,
    "renewal.replaces-anothers",
    CLAUSE,
    OURS,
    "an order that replaces another certificate than the presented one is refused as malformed",
)
async def replaces_anothers(world: World) -> None:
    site, owner = await bearer(world), await _account(world)
    identifier = pki.ari_id((await acts.issued(world)).leaf)
    expect(await acts.new_order(site, owner, replaces=identifier), problem(400, "malformed"))


async def _untouched(world: World) -> tuple[World, Order, str]:
    """An order whose challenge nobody answered, and the challenge's URL."""
    site, owner = await bearer(world), await _account(world)

    async def make() -> tuple[World, Order, str]:
        order = acts.ordered(await acts.new_order(site, owner), owner)
        authorization = expect(await site.post(owner, order.authorizations[0]), status(200))
        return site, order, str(challenges(authorization)[0]["url"])

    return await world.keep("untouched renewal", make)


@case(
    CASES,
    "renewal.read-starts-nothing",
    "RFC 8555 7.5.1",
    OURS,
    "POST-as-GET over the certificate does not answer the challenge",
)
async def read_starts_nothing(world: World) -> None:
    site, order, url = await _untouched(world)
    expect(await site.post(order.account, url), status(200), member("status", "pending"))
    expect((await acts.reload(site, order)).answer, member("status", "pending"))


@case(
    CASES,
    "renewal.finalize-pending",
    "RFC 8555 7.4",
    OURS,
    "finalize of a pending order is 403 orderNotReady",
)
async def finalize_pending(world: World) -> None:
    site, order, _ = await _untouched(world)
    answer = await acts.finalize(site, order, pki.csr(pki.new_private(), order.identifiers))
    expect(answer, problem(403, "orderNotReady"))


@case(CASES, "renewal.foreign-account", CLAUSE, OURS, "an account of the other site has no say here")
async def foreign_account(world: World) -> None:
    site, other = await bearer(world), await acts.account(world)
    answer = await site.post(
        other, await site.resource("newOrder"), {"identifiers": list(other.credential.identifiers)}
    )
    expect(answer, problem({400, 401, 403}))


# Last: what has been replaced is good for no further order.
@case(CASES, "renewal.issues", CLAUSE, OURS, "after the response the order is ready and issues for a new key")
async def issues(world: World) -> None:
    site, asked = await bearer(world), await _asked(world)
    if _outside_window(asked.response):
        raise Skipped(f"outside the renewal window: {asked.response.object().get('detail')}")
    order = await acts.settle(site, asked.order, {"pending"})
    require(order.status == "ready", f"the order is {order.status!r}")
    done = await acts.issue(site, order)
    require(pki.same_key(done.leaf, done.private), "the certificate is for another key")
