"""What an honest client does, step by step: bind an account, order, become ready, finalize, download."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from conformance import jose, pki
from conformance.check import said, shown, status
from conformance.credentials import Credential, Identifier
from conformance.responder import METHODS
from conformance.verdict import Attempt, Failed, Skipped, Unvalidated, expect
from conformance.wire import Answer
from conformance.world import Account, Issued, Order, World

POLL_SECONDS = 0.1
#: What cases share goes by these names, which those who rest on it are BLOCKED by.
ACCOUNT = "account"
ROLLER, DOOMED = "account for key changes", "account to deactivate"


# External account bindings.


def unspent(world: World) -> list[Credential]:
    return [one for one in world.credentials.bindings if one.reusable or one.kid not in world.spent]


def take(world: World, *, apart_from: frozenset[str] | None = None, single: bool = False) -> Credential:
    """A credential not bound yet; skips when they have run out.

    apart_from asks for other names than these; single for one that binds once only.
    """
    free = [one for one in unspent(world) if not (single and one.reusable)]
    if apart_from is not None:
        free = [one for one in free if not one.names & apart_from]
        if not free:
            raise lacking(world, "for other names")
    if not free:
        raise lacking(world, "that binds only once" if single else "")
    return free[0]


def lacking(world: World, kind: str = "") -> Skipped:
    """What a case needs that was not given, with the option that would run it."""
    bindings = world.credentials.bindings
    bound = world.bindings_required or any(one.binds for one in bindings)
    if not bound and kind != "that binds only once":
        name, again = ("another name", " once more") if bindings else ("a name", "")
        return Skipped(f"needs {name} to order: --identifier NAME{again} would run it")
    if not bound:
        return Skipped("the server asks for no external account binding, and none is given")
    fresh = f"a fresh credential {kind}".strip()
    return Skipped(f"needs {fresh}: one more in --credentials FILE would run it")


def last(world: World) -> Credential:
    """A credential not bound yet that requests to be refused may name; it is spent last."""
    free = [one for one in unspent(world) if one.binds]
    if not free:
        raise lacking(world, "that binds only once")
    return free[-1]


def bind(credential: Credential, key: jose.Key, url: str, **changes: object) -> dict[str, object]:
    """The externalAccountBinding object (RFC 8555 7.3.4); changes replace header members."""
    header = {"alg": credential.alg, "kid": credential.kid, "url": url, **changes}
    return jose.mac_jws(credential.hmac_key, header, jose.compact(key.jwk))


async def account_request(world: World, key: jose.Key, credential: Credential | None) -> dict[str, object]:
    """The newAccount payload: terms agreed, and bound when there is a credential."""
    payload: dict[str, object] = {"termsOfServiceAgreed": True}
    if world.contact:
        payload["contact"] = list(world.contact)
    if credential is not None and credential.binds:
        payload["externalAccountBinding"] = bind(credential, key, await world.resource("newAccount"))
    return payload


# Accounts.


async def register(world: World, credential: Credential | None, alg: str = "ES256") -> Account:
    """A new account; credential None for a server or site that needs no binding."""
    key = jose.new_key(alg)
    payload = await account_request(world, key, credential)
    answer = await world.new_account(key, payload)
    if credential is not None and answer.status in {200, 201}:
        world.spent.add(credential.kid)
    made = registered(answer, key, credential or Credential("", b"", ()))
    return replace(made, binding=payload.get("externalAccountBinding"))


def registered(answer: Answer, key: jose.Key, credential: Credential) -> Account:
    if answer.status != 201:
        raise Failed(f"newAccount: {shown(answer)}, not 201", remedy(answer, credential))
    url = answer.header("Location")
    if not url:
        raise Failed("newAccount gave no Location")
    return Account(url, key, credential, answer)


def remedy(answer: Answer, credential: Credential) -> str:
    """What whoever runs the suite may have left out where newAccount is refused; empty for nothing."""
    kind, detail = answer.problem_type(), str(answer.object().get("detail", "")).lower()
    if kind == "externalAccountRequired" or (not credential.binds and "external" in detail):
        return "it asks for external account bindings: give some in --credentials FILE"
    if kind in {"invalidContact", "unsupportedContact"} or "contact" in detail or "email" in detail:
        return "it asks for a contact: add --contact mailto:you@example.org"
    if credential.binds and kind in {"unauthorized", "malformed", "externalAccountRequired"}:
        return (
            f"is {credential.kid} bound already, or its key another one? Give fresh bindings in "
            "--credentials FILE"
        )
    if kind == "userActionRequired":
        return f"it wants its terms agreed to by hand: {answer.object().get('instance')}"
    return "wait until its limit is over" if kind == "rateLimited" else ""


async def account(world: World) -> Account:
    """The account most cases share."""
    return await world.keep(ACCOUNT, lambda: register(world, take(world)))


async def stranger(world: World) -> Account:
    """A second account, for names the first has no right to when there is a credential for such."""

    async def make() -> Account:
        first = (await account(world)).credential.names
        others = [one for one in unspent(world) if not one.names & first]
        return await register(world, others[0] if others else take(world))

    return await world.keep("second account", make)


async def apart(world: World) -> Account:
    """The second account if its names are disjoint from the first's; skips otherwise."""
    first, second = await account(world), await stranger(world)
    if first.credential.names & second.credential.names:
        raise lacking(world, "for other names")
    return second


# Orders.


async def new_order(world: World, owner: Account, **members: object) -> Answer:
    """newOrder for the credential's identifiers; skips when the server's limit is reached."""
    payload = {"identifiers": list(owner.credential.identifiers), **members}
    answer = await world.post(owner, await world.resource("newOrder"), payload)
    if answer.status == 429:
        raise Skipped(f"the server's limit is reached: {answer.object().get('detail', 'rateLimited')}")
    return answer


def ordered(answer: Answer, owner: Account, identifiers: Sequence[Identifier] | None = None) -> Order:
    """The order of a 201 answer; raises Failed for any other."""
    expect(answer, status(201), about="newOrder")
    url = answer.header("Location")
    if not url:
        raise Failed("newOrder gave no Location")
    return Order(url, owner, tuple(identifiers or owner.credential.identifiers), answer)


async def fresh_order(world: World, owner: Account | None = None, **members: object) -> Order:
    """A new order that is ready; an account that has reached its limit is replaced by a new one."""
    if owner is not None:
        return await make_ready(world, ordered(await new_order(world, owner, **members), owner))
    buyer = await world.keep("account that orders", lambda: account(world))
    try:
        answer = await new_order(world, buyer, **members)
    except Skipped:
        buyer = await register(world, take(world))
        world.put("account that orders", buyer)
        answer = await new_order(world, buyer, **members)
    return await make_ready(world, ordered(answer, buyer))


async def ready_order(world: World) -> Order:
    """The ready order that refused finalize requests share; a new one when it is ready no more."""
    order = await world.keep("ready order", lambda: fresh_order(world))
    order = await reload(world, order)
    if order.status != "ready":
        world.forget("ready order")
        order = await world.keep("ready order", lambda: fresh_order(world))
    return order


async def reload(world: World, order: Order) -> Order:
    answer = await world.post(order.account, order.url)
    return replace(order, answer=expect(answer, status(200), about="order"))


async def make_ready(world: World, order: Order, method: str | None = None) -> Order:
    """Answers one challenge of each pending authorization and waits until the order is ready.

    method: the one to answer by, where it is offered. Unvalidated for an authorization that does not become
    valid.
    """
    if order.status == "pending":
        for url in order.authorizations:
            await _authorize(world, order.account, url, method)
        order = await settle(world, order, {"pending"})
    if order.status != "ready":
        raise Failed(f"the order is {order.status!r}, not ready: {said(order.answer.object().get('error'))}")
    return order


async def _authorize(world: World, owner: Account, url: str, method: str | None) -> None:
    authorization = expect(await world.post(owner, url), status(200), about="authorization").object()
    if authorization.get("status") != "pending":
        return
    challenges = authorization.get("challenges")
    offered = [one for one in challenges if isinstance(one, dict)] if isinstance(challenges, list) else []
    kinds = sorted(METHODS, key=lambda kind: (kind != method, kind not in world.answers.served))
    chosen = next((one for kind in kinds for one in offered if one.get("type") == kind), None)
    if chosen is None:
        raise Failed(
            f"a pending authorization with no challenge to answer: {[o.get('type') for o in offered]}"
        )
    kind, token, identifier = str(chosen["type"]), str(chosen.get("token")), named(authorization)
    world.answers.give(kind, token, identifier, f"{token}.{owner.key.thumbprint}")
    await world.post(owner, str(chosen["url"]), {})
    for tries in range(world.polls):
        seen = (await world.post(owner, url)).object()
        error = _error(seen, kind)
        asked = world.answers.told(kind, token, identifier)
        # A server may try again for minutes (8.2); one that says that it does not get here need not.
        if seen.get("status") != "pending" or (error and not asked and tries >= world.polls // 5):
            break
        await asyncio.sleep(POLL_SECONDS)
    if seen.get("status") != "valid":
        raise Unvalidated(Attempt(kind, identifier, str(seen.get("status")), error, asked))


def _error(authorization: Mapping[str, object], kind: str) -> str:
    """The server's own error about the challenge of this method (RFC 8555 8.2)."""
    challenges = authorization.get("challenges")
    listed = challenges if isinstance(challenges, list) else []
    found = [one for one in listed if isinstance(one, dict) and one.get("type") == kind]
    return said(found[0].get("error")) if found else ""


def named(authorization: Mapping[str, object]) -> Identifier:
    """The identifier of an authorization object; raises Failed where it has none."""
    value = authorization.get("identifier")
    if not isinstance(value, dict):
        raise Failed("the authorization has no identifier")
    return {"type": str(value.get("type")), "value": str(value.get("value"))}


async def settle(world: World, order: Order, passing: set[str]) -> Order:
    """Polls the order until its status is none of those in passing."""
    for _ in range(world.polls):
        order = await reload(world, order)
        if order.status not in passing:
            return order
        await asyncio.sleep(POLL_SECONDS)
    raise Failed(f"the order stays {order.status!r}")


# Certificates.


async def finalize(world: World, order: Order, request: bytes) -> Answer:
    """Sends the CSR (DER) for the order."""
    return await world.post(order.account, order.link("finalize"), {"csr": jose.b64(request)})


async def issue(world: World, order: Order, private: jose.Private | None = None) -> Issued:
    """Finalizes a ready order and downloads the certificate."""
    private = private or pki.new_private()
    answer = await finalize(world, order, pki.csr(private, order.identifiers))
    expect(answer, status(200), about="finalize")
    order = await settle(world, replace(order, answer=answer), {"ready", "processing"})
    if order.status != "valid":
        why = said(order.answer.object().get("error"))
        raise Failed(f"the order is {order.status!r} after finalize: {why}")
    return await download(world, order, private, answer)


async def download(world: World, order: Order, private: jose.Private, finalized: Answer) -> Issued:
    answer = await world.post(order.account, order.link("certificate"))
    expect(answer, status(200), about="certificate")
    try:
        chain = tuple(pki.chain(answer.body))
    except ValueError as error:
        raise Failed(f"the certificate cannot be read: {error}") from error
    return Issued(order, private, finalized, answer, chain)


async def issued(world: World) -> Issued:
    """A finished order that most cases share."""

    async def make() -> Issued:
        return await issue(world, await fresh_order(world))

    return await world.keep("certificate", make)


async def victim(world: World) -> Issued:
    """A certificate that spoiled requests ask to revoke: a server that does so spoils nothing else."""

    async def make() -> Issued:
        return await issue(world, await fresh_order(world))

    return await world.keep("certificate to revoke", make)


# Revocation.


async def revoke(world: World, owner: Account, der: bytes, **members: object) -> Answer:
    payload = {"certificate": jose.b64(der), **members}
    return await world.post(owner, await world.resource("revokeCert"), payload)


async def revoked(world: World) -> Issued:
    """A certificate revoked by its account, with the reason keyCompromise-free 4 (superseded)."""

    async def make() -> Issued:
        gone = await issue(world, await fresh_order(world))
        answer = await revoke(world, gone.order.account, gone.der, reason=4)
        expect(answer, status(200), about="revokeCert")
        return gone

    return await world.keep("revoked certificate", make)


async def race(
    *calls: Awaitable[Answer], then: Callable[[list[Answer | None]], None] | None = None
) -> list[Answer]:
    """Runs calls at the same time and waits for all, so that none is cut off; then raises what one raised.

    then sees the answers first (None for a call that raised), to keep up with what did change.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    if then is not None:
        then([result if isinstance(result, Answer) else None for result in results])
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, Answer)]


async def namesake(world: World, done: Issued) -> Account:
    """Another account for the names of a certificate; skips when there is no credential for them."""
    names = done.order.account.credential.names

    async def make() -> Account:
        others = [one for one in unspent(world) if one.names == names]
        if not others:
            raise lacking(world, "for the same names")
        return await register(world, others[0])

    return await world.keep(f"another account for {', '.join(sorted(names))}", make)


# Accounts that come to harm.


async def doomed(world: World) -> Account:
    """An account to be deactivated; it takes the credential that refused bindings named before."""
    return await world.keep(DOOMED, lambda: register(world, (unspent(world) or [take(world)])[-1]))


async def roller(world: World) -> Account:
    """An account whose key is changed again and again; `World.put` keeps up with it."""
    return await world.keep(ROLLER, lambda: register(world, take(world)))
