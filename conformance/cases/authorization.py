"""Authorizations, challenges and pre-authorization (RFC 8555 7.1.4, 7.4.1, 7.5, 8)."""

from __future__ import annotations

import asyncio

from conformance import acts, jose, pki
from conformance.case import MUST, OURS, SHOULD, Case, case
from conformance.check import (
    either,
    header,
    is_url,
    linked,
    media_type,
    member,
    problem,
    refused,
    status,
    timestamp,
    timestamp_member,
)
from conformance.responder import METHODS
from conformance.verdict import Failed, Skipped, expect, require
from conformance.wire import Answer
from conformance.world import Order, World

CASES: list[Case] = []
VENDOR = "sekisho-eab-01"


async def _first(world: World) -> tuple[Order, str, Answer]:
    """An order, the URL of its first authorization, and the authorization."""
    order = (await acts.issued(world)).order
    url = order.authorizations[0]
    return order, url, expect(await world.post(order.account, url), status(200))


def challenges(answer: Answer) -> list[dict[str, object]]:
    found = answer.object().get("challenges")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Failed(f"challenges is {found!r}")
    return found


async def _pending(world: World) -> tuple[Order, str, dict[str, object]]:
    """A pending order, its authorization and a challenge; skips where orders are ready at once."""

    async def make() -> tuple[Order, str, dict[str, object]]:
        owner = await acts.account(world)
        order = acts.ordered(await acts.new_order(world, owner), owner)
        url = order.authorizations[0]
        authorization = await world.post(owner, url)
        if order.status != "pending" or authorization.object().get("status") != "pending":
            raise Skipped("orders are ready at once: nothing is ever pending here")
        return order, url, challenges(authorization)[0]

    return await world.keep("pending authorization", make)


@case(CASES, "authz.read", "RFC 8555 7.1.4", MUST, "an authorization has identifier, status and challenges")
async def read(world: World) -> None:
    _, _, answer = await _first(world)
    expect(
        answer, media_type("application/json"), member("identifier"), member("status"), member("challenges")
    )


@case(
    CASES, "authz.identifier", "RFC 8555 7.1.4", MUST, "the authorization's identifier is one of the order's"
)
async def identifier(world: World) -> None:
    order, _, answer = await _first(world)
    shown = answer.object().get("identifier")
    if not isinstance(shown, dict):
        raise Failed(f"identifier is {shown!r}")
    # RFC 8555 7.1.3: for a wildcard the authorization names the domain without it.
    names = {one["value"].lower().removeprefix("*.") for one in order.identifiers}
    require(str(shown.get("value")).lower() in names, f"identifier is {shown}")


@case(CASES, "authz.expires", "RFC 8555 7.1.4", MUST, "a valid authorization has an RFC 3339 expires")
async def expires(world: World) -> None:
    _, _, answer = await _first(world)
    expect(answer, member("status", "valid"), timestamp_member("expires"))


@case(CASES, "authz.one-per-name", "RFC 8555 7.1.3", SHOULD, "an order has one authorization for each name")
async def one_each(world: World) -> None:
    order = (await acts.issued(world)).order
    names = {one["value"].lower() for one in order.identifiers}
    require(len(order.authorizations) == len(names), f"{len(order.authorizations)} for {len(names)} names")


@case(CASES, "authz.challenge-members", "RFC 8555 8", MUST, "every challenge has type, url and status")
async def challenge_members(world: World) -> None:
    _, _, answer = await _first(world)
    for one in challenges(answer):
        require(isinstance(one.get("type"), str), f"type is {one.get('type')!r}")
        require(is_url(one.get("url")), f"url is {one.get('url')!r}")
        require(
            one.get("status") in {"pending", "processing", "valid", "invalid"},
            f"status is {one.get('status')!r}",
        )


@case(
    CASES,
    "authz.challenge-validated",
    "RFC 8555 8",
    MUST,
    "a valid authorization shows a valid challenge, with the time it was validated",
)
async def validated(world: World) -> None:
    _, _, answer = await _first(world)
    done = [one for one in challenges(answer) if one.get("status") == "valid"]
    require(done, "no challenge is valid")
    require(
        all(timestamp(one.get("validated")) for one in done), f"validated is {done[0].get('validated')!r}"
    )


@case(CASES, "authz.challenge-token", "RFC 8555 8.3", MUST, "a token has no characters but base64url's")
async def token(world: World) -> None:
    _, _, answer = await _first(world)
    _tokens(answer)


@case(
    CASES,
    "authz.challenge-token-length",
    "RFC 8555 8.3",
    SHOULD,
    "a token has 16 octets and more, without which it cannot have 128 bits of entropy",
)
async def token_length(world: World) -> None:
    _, _, answer = await _first(world)
    for value in _tokens(answer):
        require(len(value) >= 16, f"a token of {len(value)} octets")


def _tokens(answer: Answer) -> list[bytes]:
    """The tokens of an authorization, decoded; Failed where one is not base64url."""
    found = [str(one["token"]) for one in challenges(answer) if "token" in one]
    if not found:
        raise Skipped("no challenge has a token")
    try:
        return [jose.unb64(value) for value in found]
    except ValueError:
        raise Failed(f"a token of {found} is not base64url") from None


@case(
    CASES,
    "authz.vendor-challenge",
    "sekisho PROTOCOL, authorizations",
    OURS,
    f"an authorization has one challenge, {VENDOR}, valid, with a token",
)
async def vendor(world: World) -> None:
    _, _, answer = await _first(world)
    found = challenges(answer)
    require(
        [one.get("type") for one in found] == [VENDOR], f"challenges are {[one.get('type') for one in found]}"
    )
    require(found[0].get("status") == "valid" and "token" in found[0], f"it is {found[0]}")


@case(
    CASES,
    "authz.unclaimed-methods",
    "sekisho PROTOCOL, authorizations",
    OURS,
    "no http-01, dns-01 or tls-alpn-01 is claimed to have been validated",
)
async def unclaimed(world: World) -> None:
    _, _, answer = await _first(world)
    claimed = {one.get("type") for one in challenges(answer)} & set(METHODS)
    require(not claimed, f"claimed: {claimed}")


@case(CASES, "authz.anothers", "RFC 8555 6.3", MUST, "another account cannot read the authorization")
async def anothers(world: World) -> None:
    _, url, _ = await _first(world)
    expect(await world.post(await acts.stranger(world), url), problem({401, 403, 404}))


@case(
    CASES,
    "authz.unknown",
    "RFC 8555 6.7",
    SHOULD,
    "an authorization that does not exist is a problem document",
)
async def unknown(world: World) -> None:
    order, url, _ = await _first(world)
    expect(await world.post(order.account, f"{url}0"), problem({400, 401, 403, 404}))


@case(CASES, "authz.status-valid", "RFC 8555 7.5.2", MUST, "a client cannot set its authorization valid")
async def set_valid(world: World) -> None:
    order, url, _ = await _first(world)
    expect(await world.post(order.account, url, {"status": "valid"}), refused("malformed"))


@case(
    CASES,
    "challenge.read",
    "RFC 8555 7.5.1",
    MUST,
    "POST-as-GET of a challenge is the challenge, at its own url",
)
async def challenge_read(world: World) -> None:
    order, _, answer = await _first(world)
    url = str(challenges(answer)[0]["url"])
    expect(
        await world.post(order.account, url),
        status(200),
        member("url", url),
        member("type"),
        member("status"),
    )


@case(CASES, "challenge.link-up", "RFC 8555 7.1", MUST, "a challenge links up to its authorization")
async def link_up(world: World) -> None:
    order, url, answer = await _first(world)
    expect(await world.post(order.account, str(challenges(answer)[0]["url"])), linked("up", url))


@case(
    CASES,
    "challenge.valid-again",
    "RFC 8555 7.5.1",
    SHOULD,
    "a response to a challenge that is valid changes nothing",
)
async def valid_again(world: World) -> None:
    order, url, answer = await _first(world)
    again = await world.post(order.account, str(challenges(answer)[0]["url"]), {})
    expect(again, either(status(200), refused()))
    expect(await world.post(order.account, url), member("status", "valid"))


@case(
    CASES,
    "challenge.anothers",
    "RFC 8555 6.3",
    MUST,
    "another account can neither read nor answer the challenge",
)
async def challenge_anothers(world: World) -> None:
    _, _, answer = await _first(world)
    url, second = str(challenges(answer)[0]["url"]), await acts.stranger(world)
    expect(await world.post(second, url), problem({401, 403, 404}), about="read")
    expect(await world.post(second, url, {}), refused(), about="answer")


@case(
    CASES,
    "challenge.payload-not-object",
    "RFC 8555 7.5.1",
    MUST,
    "a challenge response that is not an object is refused",
)
async def not_object(world: World) -> None:
    order, _, answer = await _first(world)
    expect(await world.post(order.account, str(challenges(answer)[0]["url"]), []), refused("malformed"))


@case(CASES, "challenge.read-starts-nothing", "RFC 8555 7.5.1", MUST, "POST-as-GET does not start validation")
async def read_starts_nothing(world: World) -> None:
    order, url, challenge = await _pending(world)
    expect(await world.post(order.account, str(challenge["url"])), status(200), member("status", "pending"))
    await asyncio.sleep(0.3)
    expect(await world.post(order.account, url), member("status", "pending"))


@case(CASES, "finalize.pending", "RFC 8555 7.4", MUST, "finalize of a pending order is 403 orderNotReady")
async def finalize_pending(world: World) -> None:
    order, _, _ = await _pending(world)
    answer = await acts.finalize(world, order, pki.csr(pki.new_private(), order.identifiers))
    expect(answer, problem(403, "orderNotReady"))


async def _deactivated(world: World) -> tuple[Order, Answer]:
    async def make() -> tuple[Order, Answer]:
        order = await acts.fresh_order(world)
        answer = await world.post(order.account, order.authorizations[0], {"status": "deactivated"})
        return order, answer

    return await world.keep("deactivated authorization", make)


@case(
    CASES,
    "authz.deactivate",
    "RFC 8555 7.5.2",
    MUST,
    "deactivation is 200 with status deactivated, and stays so",
)
async def deactivate(world: World) -> None:
    order, answer = await _deactivated(world)
    expect(answer, status(200), member("status", "deactivated"))
    expect(await world.post(order.account, order.authorizations[0]), member("status", "deactivated"))


@case(
    CASES,
    "authz.deactivated-finalize",
    "RFC 8555 7.5.2",
    MUST,
    "an order whose authorization was deactivated cannot be finalized",
)
async def deactivated_finalize(world: World) -> None:
    order, _ = await _deactivated(world)
    answer = await acts.finalize(world, order, pki.csr(pki.new_private(), order.identifiers))
    expect(answer, refused("orderNotReady", "unauthorized", "malformed"))


@case(
    CASES,
    "authz.deactivated-not-reused",
    "RFC 8555 7.5.2",
    MUST,
    "a new order does not rest on an authorization that was deactivated",
)
async def deactivated_not_reused(world: World) -> None:
    order, answer = await _deactivated(world)
    if answer.status != 200:
        raise Skipped("the server does not deactivate authorizations")
    after = acts.ordered(await acts.new_order(world, order.account), order.account)
    if order.authorizations[0] not in after.authorizations:
        return
    require(after.status not in {"ready", "processing", "valid"}, f"the new order is {after.status!r} by it")
    private = pki.new_private()
    expect(await acts.finalize(world, after, pki.csr(private, after.identifiers)), refused())


@case(
    CASES,
    "authz.deactivated-order",
    "RFC 8555 7.1.6",
    MUST,
    "an unfinished order is invalid once an authorization was deactivated",
)
async def deactivated_order(world: World) -> None:
    order, _ = await _deactivated(world)
    expect((await acts.reload(world, order)).answer, member("status", "invalid"))


@case(
    CASES,
    "authz.deactivated-valid-order",
    "RFC 8555 7.1.6",
    MUST,
    "a finished order stays valid, with its certificate, when its authorization is deactivated",
)
async def deactivated_valid_order(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world))
    owner = done.order.account
    if (await world.post(owner, done.order.authorizations[0], {"status": "deactivated"})).status != 200:
        raise Skipped("the server does not deactivate authorizations")
    require((await acts.reload(world, done.order)).status == "valid", "the order is not valid any more")
    expect(await world.post(owner, done.url), status(200), about="certificate")


@case(
    CASES,
    "authz.deactivated-then-new",
    "sekisho PROTOCOL, authorizations",
    OURS,
    "after a deactivation a new order is ready again",
)
async def deactivated_then_new(world: World) -> None:
    order, _ = await _deactivated(world)
    answer = await acts.new_order(world, order.account)
    acts.ordered(answer, order.account)
    expect(answer, status(201), member("status", "ready"))


async def _new_authorization(world: World, identifier: object) -> Answer:
    owner = await acts.account(world)
    return await world.post(owner, await world.resource("newAuthz"), {"identifier": identifier})


@case(
    CASES, "new-authz.created", "RFC 8555 7.4.1", MUST, "newAuthz is 201 with Location and the authorization"
)
async def new_authz(world: World) -> None:
    owner = await acts.account(world)
    answer = await _new_authorization(world, owner.credential.identifiers[0])
    expect(
        answer, status(201), header("Location"), member("status", "pending", "valid"), member("challenges")
    )
    again = await world.post(owner, answer.header("Location") or "")
    expect(again, status(200), member("identifier", answer.object().get("identifier")))


@case(
    CASES,
    "new-authz.valid-at-once",
    "sekisho PROTOCOL, authorizations",
    OURS,
    "newAuthz for the credential's name is valid at once",
)
async def new_authz_valid(world: World) -> None:
    owner = await acts.account(world)
    expect(await _new_authorization(world, owner.credential.identifiers[0]), member("status", "valid"))


@case(
    CASES,
    "new-authz.foreign-name",
    "sekisho PROTOCOL, authorizations",
    OURS,
    "newAuthz for a foreign name is 403 rejectedIdentifier",
)
async def new_authz_foreign(world: World) -> None:
    answer = await _new_authorization(world, {"type": "dns", "value": "not-yours.elsewhere.example"})
    expect(answer, problem(403, "rejectedIdentifier"))


@case(CASES, "new-authz.wildcard", "RFC 8555 7.4.1", MUST, "newAuthz for a wildcard is refused")
async def new_authz_wildcard(world: World) -> None:
    owner = await acts.account(world)
    name = owner.credential.identifiers[0]["value"]
    answer = await _new_authorization(world, {"type": "dns", "value": f"*.{name}"})
    expect(answer, refused("malformed", "rejectedIdentifier"))


@case(
    CASES,
    "new-authz.unsupported-type",
    "RFC 8555 6.7",
    MUST,
    "newAuthz for an unknown type is 400 unsupportedIdentifier",
)
async def new_authz_type(world: World) -> None:
    answer = await _new_authorization(world, {"type": "carrier-pigeon", "value": "coo"})
    expect(answer, problem(400, "unsupportedIdentifier"))


def _malformed_identifier(name: str, value: object) -> None:
    @case(
        CASES,
        f"new-authz.identifier-{name}",
        "RFC 8555 7.4.1",
        MUST,
        f"newAuthz whose identifier is {name} is refused",
    )
    async def steps(world: World) -> None:
        expect(
            await _new_authorization(world, value),
            refused("malformed", "rejectedIdentifier", "unsupportedIdentifier"),
        )


for _name, _value in (("missing", None), ("list", []), ("empty", {}), ("string", "a.example")):
    _malformed_identifier(_name, _value)
