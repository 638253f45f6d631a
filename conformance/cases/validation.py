"""Challenges answered wrongly (RFC 8555 7.5.1, 8): a server that takes every word for true issues to anybody.

Nothing is needed for that but not to answer. Where a server validates nothing by design (ours: the account is
bound, or the certificate presented) no order is ever pending, and these are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from conformance import acts, alpn, jose, pki
from conformance.alpn import Shown
from conformance.case import MUST, SHOULD, Case, case
from conformance.check import either, member, problem, refused, status
from conformance.credentials import Identifier
from conformance.responder import digest, validation_name
from conformance.verdict import Skipped, expect, require
from conformance.wire import Answer
from conformance.world import Order, World

CASES: list[Case] = []

#: Method -> where it is defined.
METHODS = {"http-01": "RFC 8555 8.3", "dns-01": "RFC 8555 8.4", "tls-alpn-01": "RFC 8737 3"}
# Some servers try again for minutes (8.2): who is not valid after this long was not taken at its word.
POLLS, POLL_SECONDS = 30, 0.1
NEVER_VALID = member("status", "pending", "processing", "invalid")


@dataclass(frozen=True)
class Spoilt:
    """An order whose challenge was answered wrongly, once the server has made up its mind."""

    order: Order
    authorization: Answer
    challenge: dict[str, object]


async def _pending(world: World, method: str) -> tuple[Order, str, dict[str, object]]:
    """A fresh pending order, its first authorization's URL and its challenge of this method."""
    owner = await acts.account(world)
    order = acts.ordered(await acts.new_order(world, owner), owner)
    if order.status != "pending":
        raise Skipped("orders are ready at once: nothing is ever validated here")
    url = order.authorizations[0]
    challenges = expect(await world.post(owner, url), status(200)).object().get("challenges")
    found = challenges if isinstance(challenges, list) else []
    chosen = next((one for one in found if isinstance(one, dict) and one.get("type") == method), None)
    if chosen is None:
        raise Skipped(f"the server offers no {method}")
    return order, url, chosen


Give = Callable[[World, Order, str, Identifier], None]


async def _spoil(world: World, method: str, give: Give | None = None) -> Spoilt:
    """Says that the challenge is answered while it is answered by this, or by nothing."""
    order, url, challenge = await _pending(world, method)
    identifier = acts.named((await world.post(order.account, url)).object())
    # What stands there for the same name from before is the right answer to another challenge.
    world.answers.forget()
    if give is not None:
        give(world, order, str(challenge.get("token")), identifier)
    # Who validates at once may answer with what went wrong (7.5.1): the authorization tells.
    response = await world.post(order.account, str(challenge["url"]), {})
    expect(response, either(status(200), refused()), about="the response")
    for _ in range(POLLS):
        authorization = await world.post(order.account, url)
        if authorization.object().get("status") != "pending":
            break
        await asyncio.sleep(POLL_SECONDS)
    found = authorization.object().get("challenges")
    listed = found if isinstance(found, list) else []
    mine = next((one for one in listed if isinstance(one, dict) and one.get("type") == method), {})
    return Spoilt(await acts.reload(world, order), authorization, mine)


def _served(world: World, method: str) -> None:
    if method not in world.answers.served:
        raise Skipped(f"needs --{method}-port, to answer it wrongly")


def _each(method: str, clause: str) -> None:
    @case(
        CASES,
        f"validation.{method}-unanswered",
        clause,
        MUST,
        f"{method} that nobody answers makes no authorization valid",
    )
    async def unanswered(world: World) -> None:
        spoilt = await _once(world, method)
        expect(spoilt.authorization, NEVER_VALID)

    @case(
        CASES,
        f"validation.{method}-order-invalid",
        "RFC 8555 7.1.6",
        MUST,
        f"an order whose {method} failed is invalid",
    )
    async def invalid(world: World) -> None:
        order = (await _failed(world, method)).order
        require(order.status == "invalid", f"the order is {order.status!r}")

    @case(
        CASES,
        f"validation.{method}-error",
        "RFC 8555 8.2",
        MUST,
        f"a challenge of {method} that failed is invalid and has an error",
    )
    async def error(world: World) -> None:
        challenge = (await _failed(world, method)).challenge
        require(challenge.get("status") == "invalid", f"it is {challenge.get('status')!r}")
        require(isinstance(challenge.get("error"), dict), f"error is {challenge.get('error')!r}")


async def _once(world: World, method: str) -> Spoilt:
    """One unanswered challenge of each method is enough: a validation may take its time."""
    return await world.once(f"unanswered {method}", lambda: _spoil(world, method))


async def _failed(world: World, method: str) -> Spoilt:
    spoilt = await _once(world, method)
    if spoilt.authorization.object().get("status") in {"pending", "processing"}:
        raise Skipped("the server still tries the challenge again")
    return spoilt


for _method, _clause in METHODS.items():
    _each(_method, _clause)


def _csr(order: Order) -> str:
    return jose.b64(pki.csr(pki.new_private(), order.identifiers))


#: Key authorizations that are wrong in one way, whatever the method: name, title, what is given in its place.
WRONG: tuple[tuple[str, str, Callable[[Order, str], str]], ...] = (
    ("token-only", "the token alone", lambda _, token: token),
    ("other-key", "another key's thumbprint", lambda _, token: f"{token}.{jose.new_key().thumbprint}"),
    (
        "other-token",
        "another challenge's token",
        lambda order, _: f"{jose.b64(b'0' * 16)}.{order.account.key.thumbprint}",
    ),
    (
        "begins-right",
        "more than the key authorization",
        lambda order, token: f"{_right(order, token)}x",
    ),
)


def _right(order: Order, token: str) -> str:
    return f"{token}.{order.account.key.thumbprint}"


def _honest(method: str, clause: str) -> None:
    @case(
        CASES,
        f"validation.{method}-honest",
        clause,
        MUST,
        f"{method} answered as it should be makes the authorization valid",
    )
    async def steps(world: World) -> None:
        _served(world, method)
        seen = await _spoil(world, method, lambda w, o, t, i: w.answers.give(method, t, i, _right(o, t)))
        expect(seen.authorization, member("status", "valid"))
        require(seen.order.status in {"ready", "pending"}, f"the order is {seen.order.status!r}")


def _wrong(method: str, name: str, title: str, give: Give) -> None:
    @case(
        CASES,
        f"validation.{method}-{name}",
        METHODS[method],
        MUST,
        f"{method} answered by {title} makes no authorization valid",
    )
    async def steps(world: World) -> None:
        _served(world, method)
        expect((await _spoil(world, method, give)).authorization, NEVER_VALID)


def _given(method: str, answer: Callable[[Order, str], str]) -> Give:
    return lambda world, order, token, identifier: world.answers.give(
        method, token, identifier, answer(order, token)
    )


def _text(name: Callable[[Identifier], str], text: Callable[[str], str]) -> Give:
    """A TXT record elsewhere than it should be, or of something else than the digest."""

    def give(world: World, order: Order, token: str, identifier: Identifier) -> None:
        world.answers.texts[name(identifier)] = [text(_right(order, token))]

    return give


def _shown(change: Callable[[Shown], Shown]) -> Give:
    """A certificate for tls-alpn-01 that is wrong in one way."""

    def give(world: World, order: Order, token: str, identifier: Identifier) -> None:
        right = Shown(_right(order, token), identifier)
        world.answers.shown[alpn.server_name(identifier)] = change(right)

    return give


for _method, _clause in METHODS.items():
    _honest(_method, _clause)
    for _name, _title, _answer in WRONG:
        _wrong(_method, _name, _title, _given(_method, _answer))

_wrong(
    "dns-01",
    "wrong-label",
    "the digest at the name itself, not below _acme-challenge",
    _text(lambda identifier: identifier["value"].lower(), digest),
)
_wrong("dns-01", "no-digest", "the key authorization itself", _text(validation_name, lambda right: right))
_wrong(
    "tls-alpn-01",
    "other-name",
    "a certificate for another name",
    _shown(lambda right: replace(right, identifier={"type": "dns", "value": "other.users.example"})),
)
_wrong(
    "tls-alpn-01",
    "not-critical",
    "a certificate whose acmeIdentifier is not critical",
    _shown(lambda right: replace(right, critical=False)),
)


@case(
    CASES,
    "validation.http-01-trailing-whitespace",
    "RFC 8555 8.3",
    SHOULD,
    "http-01 answered with a line break after the key authorization makes it valid",
)
async def trailing(world: World) -> None:
    _served(world, "http-01")
    seen = await _spoil(
        world, "http-01", _given("http-01", lambda order, token: f"{_right(order, token)}\r\n")
    )
    expect(seen.authorization, member("status", "valid"))


@case(
    CASES,
    "validation.dns-01-among-others",
    "RFC 8555 8.4",
    MUST,
    "dns-01 answered among other TXT records makes the authorization valid",
)
async def among_others(world: World) -> None:
    _served(world, "dns-01")

    def give(asked: World, order: Order, token: str, identifier: Identifier) -> None:
        right = digest(_right(order, token))
        asked.answers.texts[validation_name(identifier)] = ["v=spf1 -all", right, digest("another")]

    expect((await _spoil(world, "dns-01", give)).authorization, member("status", "valid"))


@case(
    CASES,
    "validation.finalize-invalid",
    "RFC 8555 7.4",
    MUST,
    "finalize of an order whose validation failed is 403 orderNotReady",
)
async def finalize_invalid(world: World) -> None:
    order = (await _failed(world, "http-01")).order
    answer = await world.post(order.account, order.link("finalize"), {"csr": _csr(order)})
    expect(answer, problem(403, "orderNotReady"))


@case(
    CASES,
    "validation.again-with-a-new-order",
    "RFC 8555 7.1.6",
    SHOULD,
    "a new order after a failed one starts with a pending authorization again",
)
async def again(world: World) -> None:
    spoilt = await _failed(world, "http-01")
    order, url, _ = await _pending(world, "http-01")
    require(order.url != spoilt.order.url, "newOrder answered with the invalid order")
    expect(await world.post(order.account, url), member("status", "pending"))
