"""The honest requests that hostile ones are made from, by the name the tables use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from conformance import acts, jose, pki
from conformance.case import Case, Level
from conformance.check import Check, links, status
from conformance.draft import HONEST, Draft, Twist, payload_of
from conformance.verdict import Skipped, expect
from conformance.world import World

MakeDraft = Callable[[World], Awaitable[Draft]]


async def _account(world: World, payload: object = None) -> Draft:
    owner = await acts.account(world)
    return Draft(owner.url, payload_of(payload), owner.key, owner.url)


async def _by_kid(world: World, resource: str, payload: object = None) -> Draft:
    owner = await acts.account(world)
    return Draft(await world.resource(resource), payload_of(payload), owner.key, owner.url)


async def _existing(world: World) -> Draft:
    owner = await acts.account(world)
    url = await world.resource("newAccount")
    return Draft(url, payload_of({"onlyReturnExisting": True}), owner.key, None)


async def _unknown_key(world: World, alg: str = "ES256") -> Draft:
    url = await world.resource("newAccount")
    return Draft(url, payload_of({"onlyReturnExisting": True}), jose.spare_key(alg), None)


async def _new_order(world: World) -> Draft:
    owner = await acts.account(world)
    payload = payload_of({"identifiers": list(owner.credential.identifiers)})
    return Draft(await world.resource("newOrder"), payload, owner.key, owner.url)


async def _order(world: World) -> Draft:
    order = (await acts.issued(world)).order
    return Draft(order.url, b"", order.account.key, order.account.url)


async def _authorization(world: World) -> Draft:
    order = (await acts.issued(world)).order
    return Draft(order.authorizations[0], b"", order.account.key, order.account.url)


async def _certificate(world: World) -> Draft:
    done = await acts.issued(world)
    return Draft(done.url, b"", done.order.account.key, done.order.account.url)


async def _finalize(world: World) -> Draft:
    order = await acts.ready_order(world)
    payload = payload_of({"csr": jose.b64(pki.csr(pki.new_private(), order.identifiers))})
    return Draft(order.link("finalize"), payload, order.account.key, order.account.url)


async def _revoke(world: World) -> Draft:
    done = await acts.victim(world)
    payload = payload_of({"certificate": jose.b64(done.der)})
    return Draft(await world.resource("revokeCert"), payload, done.order.account.key, done.order.account.url)


async def _orders(world: World) -> Draft:
    owner = await acts.account(world)
    url = (await world.post(owner, owner.url)).object().get("orders")
    if not isinstance(url, str):
        raise Skipped("the account object names no list of orders")
    return Draft(url, b"", owner.key, owner.url)


async def _challenge(world: World) -> Draft:
    draft = await _authorization(world)
    owner = (await acts.issued(world)).order.account
    challenges = expect(await world.post(owner, draft.url), status(200)).object().get("challenges")
    if not isinstance(challenges, list) or not challenges:
        raise Skipped("the authorization shows no challenge")
    return replace(draft, url=str(challenges[0].get("url")))


async def _alternate(world: World) -> Draft:
    found = links((await acts.issued(world)).download, "alternate")
    if not found:
        raise Skipped("there is no alternate chain")
    return replace(await _certificate(world), url=found[0])


async def _revoke_by_key(world: World) -> Draft:
    done = await acts.victim(world)
    draft = await _revoke(world)
    return replace(draft, key=jose.Key("ES256", done.private), kid=None)


async def _key_change(world: World) -> Draft:
    # Not the shared account: a server that takes a spoiled request would have changed its key.
    owner, new = await acts.roller(world), jose.new_key()
    url = await world.resource("keyChange")
    inner = {"account": owner.url, "oldKey": owner.key.jwk}
    signed = jose.jws(new, {"alg": new.alg, "jwk": new.jwk, "url": url}, jose.compact(inner))
    return Draft(url, payload_of(signed), owner.key, owner.url)


async def _new_authz(world: World) -> Draft:
    owner = await acts.account(world)
    payload = payload_of({"identifier": dict(owner.credential.identifiers[0])})
    return Draft(await world.resource("newAuthz"), payload, owner.key, owner.url)


DRAFTS: dict[str, MakeDraft] = {
    "account": _account,  # POST-as-GET of the account
    "update": partial(_account, payload={}),
    "existing": _existing,  # newAccount, onlyReturnExisting, a known key
    "unknown key": _unknown_key,
    "newOrder": _new_order,
    "newNonce": partial(_by_kid, resource="newNonce"),
    "directory": lambda world: _directory(world),
    "order": _order,
    "authorization": _authorization,
    "certificate": _certificate,
    "finalize": _finalize,
    "revokeCert": _revoke,
    "revokeCert by key": _revoke_by_key,
    "keyChange": _key_change,
    "newAuthz": _new_authz,
    "orders": _orders,
    "challenge": _challenge,
    "alternate": _alternate,
}


async def _directory(world: World) -> Draft:
    owner = await acts.account(world)
    return Draft(world.directory_url, b"", owner.key, owner.url)


def row(
    id: str,
    clause: str,
    level: Level,
    title: str,
    on: str,
    check: Check,
    twist: Twist = HONEST,
    payload: object = HONEST,
) -> Case:
    """A case that is one request: the draft named `on`, bent by the twist, and what must come back.

    A payload, when given, takes the place of the honest one.
    """

    async def steps(world: World) -> None:
        draft = await DRAFTS[on](world)
        if payload is not HONEST:
            draft = Draft(draft.url, payload_of(payload), draft.key, draft.kid)
        expect(await world.send(draft, twist), check)

    return Case(id, clause, level, title, steps)
