"""What PROTOCOL.md says where the RFCs leave it open, and what they tell a server to ignore."""

from __future__ import annotations

from conformance import acts, pki
from conformance.case import MUST, OURS, Case, case
from conformance.check import problem, status
from conformance.clauses import PROTOCOL
from conformance.verdict import expect, require
from conformance.wire import Call
from conformance.world import World

CASES: list[Case] = []


@case(
    CASES,
    "account.update-others-ignored",
    "RFC 8555 7.3.2",
    MUST,
    "updates of termsOfServiceAgreed, of status but for deactivation, and of unknown members are ignored",
)
async def updates_ignored(world: World) -> None:
    first = await acts.account(world)
    before = expect(await world.post(first, first.url), status(200)).object()
    agreed = before.get("termsOfServiceAgreed") is not True
    update = {"status": "revoked", "termsOfServiceAgreed": agreed, "x-unknown": [1]}
    after = expect(await world.post(first, first.url, update), status(200)).object()
    require(after == before, f"the account became {after}")


@case(CASES, "account.contacts-many", PROTOCOL, OURS, "more contacts than there may be are malformed")
async def contacts_many(world: World) -> None:
    first = await acts.account(world)
    contacts = [f"mailto:c{number}@client.example" for number in range(6)]
    expect(await world.post(first, first.url, {"contact": contacts}), problem(400, "malformed"))


@case(
    CASES,
    "json.string-bound-of-unknown",
    PROTOCOL,
    OURS,
    "a string beyond the bound is malformed in a member that nobody knows, too",
)
async def strings(world: World) -> None:
    first = await acts.account(world)
    expect(await world.post(first, first.url, {"x-unknown": "x" * 16_385}), problem(400, "malformed"))
    expect(await world.post(first, first.url, {"x-unknown": "x" * 16_384}), status(200))


@case(
    CASES,
    "replaces.same-in-capitals",
    PROTOCOL,
    OURS,
    "while an order that replaces is open, the same in capitals is that order",
)
async def capitals(world: World) -> None:
    await world.resource("renewalInfo")
    old = await acts.issue(world, await acts.fresh_order(world))
    owner, identifier = old.order.account, pki.ari_id(old.leaf)
    first = acts.ordered(await acts.new_order(world, owner, replaces=identifier), owner)
    names = [{**one, "value": str(one["value"]).upper()} for one in owner.credential.identifiers]
    again = acts.ordered(await acts.new_order(world, owner, replaces=identifier, identifiers=names), owner)
    require(again.url == first.url, "another order was made")


@case(
    CASES,
    "http.trace",
    "RFC 9110 15.5.6",
    MUST,
    "TRACE gives no 2xx; a 405 to it lists in Allow what the resource has",
)
async def trace(world: World) -> None:
    answer = await world.wire.send(Call("TRACE", await world.resource("newOrder")))
    require(answer.status >= 400, f"TRACE was answered {answer.status}")
    if answer.status == 405:
        allowed = {one.strip() for one in (answer.header("Allow") or "").split(",")}
        wrong = "POST" not in allowed or {"TRACE", "PUT", "DELETE", "PATCH"} & allowed
        require(not wrong, f"Allow is {sorted(allowed)}")
