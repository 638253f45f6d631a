"""Accounts at their end: deactivated ones sign nothing (RFC 8555 7.3.6), greedy ones are stopped (6.6)."""

from __future__ import annotations

from dataclasses import dataclass

from conformance import acts, jose, pki
from conformance.case import MUST, OURS, Case, case
from conformance.cases.keychange import rollover
from conformance.check import both, header, linked, member, problem, status
from conformance.draft import Draft, payload_of
from conformance.verdict import Failed, Skipped, expect
from conformance.wire import Answer
from conformance.world import Account, Issued, Order, World

CASES: list[Case] = []
MANY_ORDERS = 300
GONE = problem(401, "unauthorized")


@dataclass(frozen=True)
class Remains:
    """A deactivated account, with an order that was ready and two certificates from before.

    untouched is one that nothing but its own case asks to revoke.
    """

    account: Account
    answer: Answer
    waiting: Order
    issued: Issued
    untouched: Issued


async def remains(world: World) -> Remains:
    async def make() -> Remains:
        owner = await acts.doomed(world)
        done = await acts.issue(world, await acts.fresh_order(world, owner))
        untouched = await acts.issue(world, await acts.fresh_order(world, owner))
        waiting = await acts.fresh_order(world, owner)
        answer = await world.post(owner, owner.url, {"status": "deactivated"})
        expect(answer, status(200), about="deactivation")
        return Remains(owner, answer, waiting, done, untouched)

    return await world.keep("deactivated account", make)


@case(CASES, "deactivate.answer", "RFC 8555 7.3.6", MUST, "deactivation is 200 with status deactivated")
async def answered(world: World) -> None:
    expect((await remains(world)).answer, both(status(200), member("status", "deactivated")))


@case(
    CASES,
    "deactivate.post-as-get",
    "RFC 8555 7.3.6",
    MUST,
    "the account cannot be read any more: 401 unauthorized",
)
async def read(world: World) -> None:
    gone = (await remains(world)).account
    expect(await world.post(gone, gone.url), GONE)


@case(
    CASES, "deactivate.update", "RFC 8555 7.3.6", MUST, "the account cannot be brought back: 401 unauthorized"
)
async def back(world: World) -> None:
    gone = (await remains(world)).account
    expect(await world.post(gone, gone.url, {"status": "valid"}), GONE)


@case(
    CASES,
    "deactivate.new-order",
    "RFC 8555 7.3.6",
    MUST,
    "newOrder of a deactivated account is 401 unauthorized",
)
async def new_order(world: World) -> None:
    expect(await acts.new_order(world, (await remains(world)).account), GONE)


@case(
    CASES,
    "deactivate.finalize",
    "RFC 8555 7.3.6",
    MUST,
    "an order that was ready cannot be finalized any more",
)
async def finalize(world: World) -> None:
    waiting = (await remains(world)).waiting
    answer = await acts.finalize(world, waiting, pki.csr(pki.new_private(), waiting.identifiers))
    expect(answer, GONE)


@case(
    CASES,
    "deactivate.certificate",
    "RFC 8555 7.3.6",
    MUST,
    "a certificate cannot be fetched by a deactivated account",
)
async def certificate(world: World) -> None:
    gone = await remains(world)
    expect(await world.post(gone.account, gone.issued.url), GONE)


@case(
    CASES,
    "deactivate.certificate-key-revokes",
    "RFC 8555 7.6",
    MUST,
    "the certificate's own key can still revoke it",
)
async def by_certificate_key(world: World) -> None:
    done = (await remains(world)).issued
    key = jose.Key("ES256", done.private)
    payload = payload_of({"certificate": jose.b64(done.der)})
    expect(await world.send(Draft(await world.resource("revokeCert"), payload, key, None)), status(200))


@case(CASES, "deactivate.revoke", "RFC 8555 7.3.6", MUST, "a deactivated account cannot revoke")
async def revoke(world: World) -> None:
    gone = await remains(world)
    # Another one than its key revokes: that it is revoked already would be said in place of this.
    expect(await acts.revoke(world, gone.account, gone.untouched.der), GONE)


@case(CASES, "deactivate.key-change", "RFC 8555 7.3.6", MUST, "a deactivated account cannot change its key")
async def key_change(world: World) -> None:
    expect(await rollover(world, (await remains(world)).account, jose.new_key()), GONE)


@case(
    CASES,
    "deactivate.existing",
    "RFC 8555 7.3.6",
    MUST,
    "newAccount with a deactivated account's key is refused as unauthorized",
)
async def existing(world: World) -> None:
    gone = (await remains(world)).account
    draft = Draft(
        await world.resource("newAccount"), payload_of({"onlyReturnExisting": True}), gone.key, None
    )
    expect(await world.send(draft), problem({401, 403}, "unauthorized"))


@case(
    CASES,
    "deactivate.binding",
    "sekisho PROTOCOL, accounts",
    OURS,
    "the credential of a deactivated account binds no other",
)
async def binding(world: World) -> None:
    gone = (await remains(world)).account
    if gone.credential.reusable:
        raise Skipped("the credentials are reusable")
    key = jose.new_key()
    answer = await world.new_account(key, await acts.account_request(world, key, gone.credential))
    expect(answer, problem({401, 403}, "unauthorized"))


@case(
    CASES,
    "limits.open-orders",
    "RFC 8555 6.6",
    OURS,
    "an account that piles up open orders is stopped: 429 rateLimited with Retry-After",
)
async def open_orders(world: World) -> None:
    owner = await acts.roller(world)
    payload = {"identifiers": list(owner.credential.identifiers)}
    for _ in range(MANY_ORDERS):
        answer = await world.post(owner, await world.resource("newOrder"), payload)
        if answer.status != 201:
            expect(answer, problem(429, "rateLimited"), header("Retry-After", r"^\d+$"), linked("help"))
            return
    raise Failed(f"{MANY_ORDERS} orders are open")
