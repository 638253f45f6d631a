"""Challenges answered wrongly (RFC 8555 7.5.1, 8): a server that takes every word for true issues to anybody.

Nothing is needed for that but not to answer. Where a server validates nothing by design (ours: the account is
bound, or the certificate presented) no order is ever pending, and these are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from conformance import acts, jose, pki
from conformance.case import MUST, SHOULD, Case, case
from conformance.check import member, problem, status
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


async def _spoil(world: World, method: str, answer: Callable[[Order, str], str | None]) -> Spoilt:
    """Says that the challenge is answered while it is answered by this, or by nothing."""
    order, url, challenge = await _pending(world, method)
    token = str(challenge.get("token"))
    given = answer(order, token)
    if given is not None:
        world.key_authorizations[token] = given
    expect(await world.post(order.account, str(challenge["url"]), {}), status(200), about="the response")
    for _ in range(POLLS):
        authorization = await world.post(order.account, url)
        if authorization.object().get("status") != "pending":
            break
        await asyncio.sleep(POLL_SECONDS)
    found = authorization.object().get("challenges")
    listed = found if isinstance(found, list) else []
    mine = next((one for one in listed if isinstance(one, dict) and one.get("type") == method), {})
    return Spoilt(await acts.reload(world, order), authorization, mine)


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
    return await world.once(f"unanswered {method}", lambda: _spoil(world, method, lambda *_: None))


async def _failed(world: World, method: str) -> Spoilt:
    spoilt = await _once(world, method)
    if spoilt.authorization.object().get("status") in {"pending", "processing"}:
        raise Skipped("the server still tries the challenge again")
    return spoilt


for _method, _clause in METHODS.items():
    _each(_method, _clause)


def _csr(order: Order) -> str:
    return jose.b64(pki.csr(pki.new_private(), order.identifiers))


def _wrong(name: str, title: str, answer: Callable[[Order, str], str]) -> None:
    @case(
        CASES,
        f"validation.http-01-{name}",
        "RFC 8555 8.3",
        MUST,
        f"http-01 answered by {title} makes no authorization valid",
    )
    async def steps(world: World) -> None:
        spoilt = await _spoil(world, "http-01", answer)
        expect(spoilt.authorization, NEVER_VALID)


_wrong("token-only", "the token alone", lambda _, token: token)
_wrong("other-key", "another key's thumbprint", lambda _, token: f"{token}.{jose.new_key().thumbprint}")
_wrong(
    "other-token",
    "another challenge's token",
    lambda order, _: f"{jose.b64(b'0' * 16)}.{order.account.key.thumbprint}",
)
_wrong(
    "begins-right", "more than the key authorization", lambda order, t: f"{t}.{order.account.key.thumbprint}x"
)


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
