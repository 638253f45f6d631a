"""What each resource of the protocol answers: a table of how it is read and what a signed request does.

No HTTP library here; ``web.py`` brings the requests and adds what all answers have in common.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ca.storage import Transaction
from ca.trust import VerifiedPeer
from enroll.acme import store
from enroll.acme.accounts import Account, account_json
from enroll.acme.directory import directory_json
from enroll.acme.fulfilment import certificate_chain, chains, finalize, look, renewal_information, revoke
from enroll.acme.jws import Signer, VerifiedRequest
from enroll.acme.lookup import CurrentOrder, current, find_authorization
from enroll.acme.ordering import answer_challenge, deactivate_authorization, new_authorization, new_order
from enroll.acme.orders import (
    Authorization,
    authorization_json,
    challenge_json,
    order_json,
    read_deactivation,
    read_new_authorization,
    read_new_order,
)
from enroll.acme.registration import change_key, new_account, update_account
from enroll.acme.renewalinfo import RETRY_AFTER, renewal_json
from enroll.acme.server import AcmeServer
from enroll.acme.urls import PATHS
from enroll.problems import Problem, malformed

_JSON = "application/json"
_CHAIN = "application/pem-certificate-chain"
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resource answers, before what all answers have in common is added."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A signed request at a resource. ``names`` are the identifiers in its path."""

    server: AcmeServer
    request: VerifiedRequest[Account]
    names: tuple[str, ...]
    query: Mapping[str, str]
    peer: VerifiedPeer | None

    @property
    def account(self) -> Account:
        """The account that signed; only resources signed by accounts ask."""
        assert self.request.account is not None
        return self.request.account


@dataclass(frozen=True, slots=True)
class Resource:
    """How a resource is read without signature, and what a signed request does. None where it cannot.

    ``confirms``: all that a signed request does or tells is done in transactions that ask for its account
    again (``remembered.confirm``), so that it may be proven by what is remembered of it.
    """

    get: Callable[[AcmeServer, tuple[str, ...]], Awaitable[Answer]] | None
    signer: Signer
    post: Callable[[Exchange], Awaitable[Answer]] | None
    confirms: bool = False


def find_resource(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The resource at a path below the root, and the identifiers in the path."""
    first, *rest = path.split("/")[1:] or [""]
    if "" in rest:
        return None
    patterns: list[tuple[str | None, ...]] = [(first, *[None] * len(rest))]
    if len(rest) == 2:
        patterns.insert(0, (first, None, rest[1]))
    for pattern in patterns:
        if pattern in _BY_PATTERN:
            parts = zip(pattern[1:], rest, strict=True)
            return _BY_PATTERN[pattern], tuple(part for fixed, part in parts if fixed is None)
    return None


async def _get_directory(server: AcmeServer, _: tuple[str, ...]) -> Answer:
    return _json(200, directory_json(server.urls, server.terms, _GREASE))


async def _get_nonce(_: AcmeServer, __: tuple[str, ...]) -> Answer:
    return Answer(204)


async def _get_renewal(server: AcmeServer, names: tuple[str, ...]) -> Answer:
    window = await renewal_information(server, names[0])
    return _json(200, renewal_json(window, server.help_url), ("Retry-After", str(RETRY_AFTER)))


async def _post_directory(exchange: Exchange) -> Answer:
    exchange.request.expect_post_as_get()
    return await _get_directory(exchange.server, ())


async def _post_nonce(exchange: Exchange) -> Answer:
    exchange.request.expect_post_as_get()
    return Answer(200)


async def _new_account(exchange: Exchange) -> Answer:
    account, created = await new_account(exchange.server, exchange.request, exchange.peer)
    return _account(exchange, account, 201 if created else 200)


async def _update_account(exchange: Exchange) -> Answer:
    if exchange.names[0] != exchange.account.id:
        raise Problem("unauthorized", "the account is another's")
    if exchange.request.is_post_as_get:
        return _account(exchange, exchange.account, 200)
    return _account(exchange, await update_account(exchange.server, exchange.request, exchange.account), 200)


async def _change_key(exchange: Exchange) -> Answer:
    return _account(exchange, await change_key(exchange.server, exchange.request, exchange.account), 200)


async def _list_orders(exchange: Exchange) -> Answer:
    """RFC 8555 section 7.1.2.1: newest first, without invalid ones, in pages."""
    exchange.request.expect_post_as_get()
    if exchange.names[0] != exchange.account.id:
        raise Problem("unauthorized", "the account is another's")
    server, account_id, at = exchange.server, exchange.account.id, exchange.server.ra.now()
    cursor = exchange.query.get("cursor")

    def work(db: Transaction) -> tuple[list[CurrentOrder], bool]:
        found = store.orders_page(db, account_id, cursor, _PAGE + 1)
        return [current(db, one, at) for one in found[:_PAGE]], len(found) > _PAGE

    page, more = await server.ra.database.read(work)
    urls = [server.urls.to("order", one.order.id) for one in page if one.status != "invalid"]
    following = f"{server.urls.to('orders', account_id)}?cursor={page[-1].order.id}" if more else ""
    links = [("Link", f'<{following}>;rel="next"')] if more else []
    return _json(200, {"orders": urls}, *links)


async def _new_order(exchange: Exchange) -> Answer:
    asked = read_new_order(exchange.request.members())
    found = await new_order(exchange.server, exchange.account, asked, exchange.peer)
    return _order(exchange, found, 201)


async def _read_order(exchange: Exchange) -> Answer:
    exchange.request.expect_post_as_get()
    found = await look(exchange.server, exchange.account, exchange.names[0])
    return _order(exchange, found, 200)


async def _finalize(exchange: Exchange) -> Answer:
    members = exchange.request.members()
    found = await finalize(exchange.server, exchange.account, exchange.names[0], members)
    return _order(exchange, found, 200)


async def _new_authorization(exchange: Exchange) -> Answer:
    identifier = read_new_authorization(exchange.request.members())
    made = await new_authorization(exchange.server, exchange.account, identifier)
    server = exchange.server
    location = ("Location", server.urls.to("authorization", made.id))
    return _json(201, authorization_json(made, server.urls, server.ra.now()), location)


async def _authorization(exchange: Exchange) -> Answer:
    server, (authorization_id,) = exchange.server, exchange.names
    if exchange.request.is_post_as_get:
        found = await _find_authorization(exchange)
    else:
        read_deactivation(exchange.request.members())
        found = await deactivate_authorization(server, exchange.account, authorization_id)
    return _json(200, authorization_json(found, server.urls, server.ra.now()))


async def _find_authorization(exchange: Exchange) -> Authorization:
    account, authorization_id = exchange.account, exchange.names[0]
    return await exchange.server.ra.database.read(
        lambda db: find_authorization(db, account, authorization_id)
    )


async def _challenge(exchange: Exchange) -> Answer:
    server, (authorization_id,) = exchange.server, exchange.names
    if exchange.request.is_post_as_get:
        # Reading a challenge does not start it (RFC 8555 section 7.5.1).
        found = await _find_authorization(exchange)
    else:
        exchange.request.members()
        found = await answer_challenge(server, exchange.account, authorization_id, exchange.peer)
    up = ("Link", f'<{server.urls.to("authorization", found.id)}>;rel="up"')
    return _json(200, challenge_json(found, server.urls, server.ra.now()), up)


async def _certificate(exchange: Exchange) -> Answer:
    exchange.request.expect_post_as_get()
    server, order_id = exchange.server, exchange.names[0]
    chain = await certificate_chain(server, exchange.account, order_id)
    urls = (server.urls.to("alternate", order_id, each) for each in chains(server))
    return Answer(200, chain.encode(), _CHAIN, tuple(("Link", f'<{url}>;rel="alternate"') for url in urls))


async def _alternate(exchange: Exchange) -> Answer:
    exchange.request.expect_post_as_get()
    server, (order_id, which) = exchange.server, exchange.names
    if which not in chains(server):
        raise malformed("there is no such chain", status=404)
    chain = await certificate_chain(server, exchange.account, order_id, which)
    preferred = f'<{server.urls.to("certificate", order_id)}>;rel="alternate"'
    return Answer(200, chain.encode(), _CHAIN, (("Link", preferred),))


async def _revoke(exchange: Exchange) -> Answer:
    await revoke(exchange.server, exchange.request)
    return Answer(200)


def _account(exchange: Exchange, account: Account, status: int) -> Answer:
    location = ("Location", exchange.server.urls.to("account", account.id))
    return _json(status, account_json(account, exchange.server.urls), location)


def _order(exchange: Exchange, found: CurrentOrder, status: int) -> Answer:
    urls = exchange.server.urls
    headers = [("Location", urls.to("order", found.order.id))]
    if found.status == "processing":
        headers.append(("Retry-After", str(_again_in(exchange, found))))
    return _json(status, order_json(found.order, found.status, urls), *headers)


def _again_in(exchange: Exchange, processing: CurrentOrder) -> int:
    """Seconds until it is worth looking again: the longer it takes already, the more of them."""
    begun = processing.enrollment.submitted_at if processing.enrollment is not None else None
    now = exchange.server.ra.now()
    return min(max(1, now - (now if begun is None else begun)), _LONGEST_WAIT)


def _json(status: int, document: Mapping[str, Any], *headers: tuple[str, str]) -> Answer:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, _JSON, headers)


_LONGEST_WAIT = 60
_GREASE = secrets.token_urlsafe(8)

#: Every resource that can be asked for.
RESOURCES: Mapping[str, Resource] = MappingProxyType(
    {
        "directory": Resource(_get_directory, Signer.ACCOUNT, _post_directory),
        "newNonce": Resource(_get_nonce, Signer.ACCOUNT, _post_nonce),
        "newAccount": Resource(None, Signer.NEW_KEY, _new_account),
        "newOrder": Resource(None, Signer.ACCOUNT, _new_order, confirms=True),
        "newAuthz": Resource(None, Signer.ACCOUNT, _new_authorization),
        "revokeCert": Resource(None, Signer.EITHER, _revoke),
        "keyChange": Resource(None, Signer.ACCOUNT, _change_key),
        "renewal": Resource(_get_renewal, Signer.ACCOUNT, None),
        "account": Resource(None, Signer.ACCOUNT, _update_account),
        "orders": Resource(None, Signer.ACCOUNT, _list_orders),
        "order": Resource(None, Signer.ACCOUNT, _read_order, confirms=True),
        "finalize": Resource(None, Signer.ACCOUNT, _finalize, confirms=True),
        "authorization": Resource(None, Signer.ACCOUNT, _authorization, confirms=True),
        "challenge": Resource(None, Signer.ACCOUNT, _challenge, confirms=True),
        "certificate": Resource(None, Signer.ACCOUNT, _certificate, confirms=True),
        "alternate": Resource(None, Signer.ACCOUNT, _alternate, confirms=True),
    }
)
# The paths taken apart, with None where an identifier stands; renewalInfo itself has nothing to show.
_BY_PATTERN: Mapping[tuple[str | None, ...], str] = {
    tuple(None if part == "{}" else part for part in path.split("/")[1:]): resource
    for resource, path in PATHS.items()
    if resource in RESOURCES
}
