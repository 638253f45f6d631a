"""Orders for more than the credential's names: wildcards (RFC 8555 7.1.3), several, and addresses (RFC 8738).

Whether a server takes them is its policy: one that refuses such an order skips these, with what it said.
"""

from __future__ import annotations

from conformance import acts, pki
from conformance.case import MUST, SHOULD, Case, case
from conformance.check import member, no_member, refused, status
from conformance.credentials import Identifier
from conformance.verdict import Skipped, Unvalidated, expect, require
from conformance.wire import Answer
from conformance.world import Issued, Order, World

CASES: list[Case] = []
_POLICY = refused("rejectedIdentifier", "unsupportedIdentifier", "malformed", "unauthorized", "compound")


def _name(world_name: Identifier) -> str:
    return world_name["value"].lower()


async def _own(world: World) -> str:
    """The first DNS name that the shared account may order; skips where it is given addresses only."""
    given = (await acts.account(world)).credential.identifiers
    names = [one["value"].lower() for one in given if one["type"] == "dns"]
    if not names:
        raise Skipped("needs a DNS name to order, and only addresses are given")
    return names[0]


async def _ordered(world: World, *identifiers: Identifier) -> Order:
    """An order for these; Skipped where the server's policy is against it."""
    owner = await acts.account(world)
    answer = await acts.new_order(world, owner, identifiers=list(identifiers))
    if answer.status != 201 and not _POLICY(answer):
        raise Skipped(f"the server takes no such order: {answer.object().get('detail', answer.status)}")
    return acts.ordered(answer, owner, identifiers)


async def _issued(world: World, *identifiers: Identifier) -> Issued:
    order = await _ordered(world, *identifiers)
    offered = {kind for one in await _authorizations(world, order) for kind in _types(one)}
    try:
        return await acts.issue(world, await acts.make_ready(world, order))
    except Unvalidated as failure:
        if not offered & world.answers.served:
            options = ", ".join(f"--{kind}-port" for kind in sorted(offered))
            raise Skipped(f"nobody answers the validations; one of {options} would ({failure})") from None
        # Names that nobody gave are not the server's to answer for where they do not lead here.
        name = failure.attempt.identifier["value"].lower()
        if not failure.attempt.asked and name not in order.account.credential.names:
            raise Skipped(f"{failure}: {name} has to resolve for the server, and to lead here") from None
        raise


async def _authorizations(world: World, order: Order) -> list[Answer]:
    return [expect(await world.post(order.account, url), status(200)) for url in order.authorizations]


def _types(authorization: Answer) -> list[str]:
    challenges = authorization.object().get("challenges")
    return (
        [str(one.get("type")) for one in challenges if isinstance(one, dict)]
        if isinstance(challenges, list)
        else []
    )


def _dns(*names: str) -> tuple[Identifier, ...]:
    return tuple({"type": "dns", "value": name} for name in names)


LOOPBACK: Identifier = {"type": "ip", "value": "127.0.0.1"}


@case(
    CASES,
    "wildcard.authorization",
    "RFC 8555 7.1.4",
    MUST,
    "the authorization for a wildcard says wildcard true, and has the name without *.",
)
async def wildcard(world: World) -> None:
    name = await _own(world)
    for one in await _authorizations(world, await _ordered(world, *_dns(f"*.{name}"))):
        expect(one, member("wildcard", True), member("identifier", *_dns(name)))


@case(
    CASES,
    "wildcard.others-have-none",
    "RFC 8555 7.1.4",
    MUST,
    "the authorization for a name that is no wildcard does not say wildcard true",
)
async def no_wildcard(world: World) -> None:
    order = await _ordered(world, *_dns(await _own(world)))
    for one in await _authorizations(world, order):
        require(one.object().get("wildcard") is not True, "it says wildcard true")


@case(
    CASES,
    "wildcard.issues",
    "RFC 8555 7.4",
    MUST,
    "the certificate for a wildcard has that name, and no other",
)
async def wildcard_issues(world: World) -> None:
    name = f"*.{await _own(world)}"
    done = await _issued(world, *_dns(name))
    names = {one.lower() for one in pki.dns_names(done.leaf)}
    require(names == {name}, f"the certificate has {sorted(names)}")


@case(
    CASES,
    "wildcard.beside-its-name",
    "RFC 8555 7.1.3",
    SHOULD,
    "an order for a name and its wildcard has an authorization for each",
)
async def wildcard_beside(world: World) -> None:
    name = await _own(world)
    found = await _authorizations(world, await _ordered(world, *_dns(name, f"*.{name}")))
    kinds = sorted(one.object().get("wildcard") is True for one in found)
    require(kinds == [False, True], f"{len(found)} authorizations, wildcard {kinds}")


@case(
    CASES,
    "several.authorizations",
    "RFC 8555 7.1.3",
    SHOULD,
    "an order for three names has an authorization for each",
)
async def several(world: World) -> None:
    name = await _own(world)
    wanted = _dns(name, f"a.{name}", f"b.{name}")
    found = await _authorizations(world, await _ordered(world, *wanted))
    named = sorted(acts.named(one.object())["value"].lower() for one in found)
    require(named == sorted(map(_name, wanted)), f"the authorizations are for {named}")


@case(
    CASES,
    "several.issues",
    "RFC 8555 7.4",
    MUST,
    "the certificate for three names has them, and no other",
)
async def several_issues(world: World) -> None:
    name = await _own(world)
    wanted = _dns(name, f"a.{name}", f"b.{name}")
    done = await _issued(world, *wanted)
    names = {one.lower() for one in pki.dns_names(done.leaf)}
    require(names == set(map(_name, wanted)), f"the certificate has {sorted(names)}")


@case(
    CASES,
    "several.not-ready-by-one",
    "RFC 8555 7.1.6",
    MUST,
    "an order for two names is not ready while one of its authorizations is pending",
)
async def not_ready_by_one(world: World) -> None:
    name = await _own(world)
    order = await _ordered(world, *_dns(f"c.{name}", f"d.{name}"))
    if order.status != "pending":
        raise Skipped("orders are ready at once: nothing is ever validated here")
    pending = [one for one in await _authorizations(world, order) if one.object().get("status") == "pending"]
    require(pending, "the order is pending, and none of its authorizations is")
    require((await acts.reload(world, order)).status == "pending", "the order is not pending any more")
    answer = await acts.finalize(world, order, pki.csr(pki.new_private(), order.identifiers))
    expect(answer, refused("orderNotReady"))


@case(CASES, "ip.authorization", "RFC 8738 3", MUST, "an address is authorized as it was ordered")
async def address(world: World) -> None:
    for one in await _authorizations(world, await _ordered(world, LOOPBACK)):
        expect(one, member("identifier", LOOPBACK))
        require(one.object().get("wildcard") is not True, "it says wildcard true")


@case(CASES, "ip.no-dns-01", "RFC 8738 7", MUST, "dns-01 is not offered for an address")
async def address_no_dns(world: World) -> None:
    for one in await _authorizations(world, await _ordered(world, LOOPBACK)):
        require("dns-01" not in _types(one), f"it offers {_types(one)}")


@case(CASES, "ip.issues", "RFC 8738 3", MUST, "the certificate for an address has it as iPAddress, no name")
async def address_issues(world: World) -> None:
    done = await _issued(world, LOOPBACK)
    require(pki.addresses(done.leaf) == ["127.0.0.1"], f"its addresses are {pki.addresses(done.leaf)}")
    require(not pki.dns_names(done.leaf), f"its names are {pki.dns_names(done.leaf)}")


@case(
    CASES,
    "ip.malformed",
    "RFC 8738 3",
    MUST,
    "an order for what is no address is refused",
)
async def malformed_address(world: World) -> None:
    await _ordered(world, LOOPBACK)
    owner = await acts.account(world)
    for value in ("127.0.0.1/32", "127.1", "localhost", "[::1]"):
        answer = await acts.new_order(world, owner, identifiers=[{"type": "ip", "value": value}])
        expect(answer, refused(), no_member("finalize"), about=value)
