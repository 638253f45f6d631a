"""The protocol's doors: on the pick-up site for credentials, on the renewal site for certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from aiohttp import web

from ca.storage import StorageTrouble
from ca.trust import CertificateState, Rejection, VerifiedPeer
from enroll.acme import web as acme
from enroll.acme.directory import Terms
from enroll.acme.nonces import Nonces, SharedNonces, SpentTable
from enroll.acme.server import AcmeServer
from enroll.acme.urls import Urls
from enroll.ra import RegistrationAuthority
from gateway.web.context import Gate, Role
from gateway.wire import http
from gateway.wire.http import AHEAD
from gateway.wire.reply import Reply
from gateway.wire.rules import Denial
from gateway.wire.sites import LowLevelHandler, Said

#: Below this path a site is the protocol's; the directory is ``/acme/directory``.
PREFIX = "/acme"
_NONCE_PURPOSE = "acme nonces"


def door_of(
    gate: Gate,
    role: Role,
    origin: str,
    nonces: Nonces | SharedNonces,
    *,
    terms_of_service: str = "",
    website: str = "",
) -> LowLevelHandler:
    """The protocol as one handler, for one of the two sites that are its doors, at this origin."""
    terms = Terms(
        profiles={name: each.description for name, each in gate.ra.authority.profiles.items()},
        # On the renewal site the presented certificate is the authorisation.
        external_account_required=role is not Role.RENEWAL,
        terms_of_service=terms_of_service or None,
        website=website or gate.origins[Role.HELP],
    )
    server = AcmeServer(gate.ra, Urls(origin + PREFIX), terms, nonces, gate.origins[Role.HELP] + "/")
    return acme.handler(server, _presented, _reply)


def nonces_of(ra: RegistrationAuthority, table: SpentTable) -> Nonces | SharedNonces:
    """The nonces of both doors. Workers that share the table and the vault take each other's, and so do nodes
    that share a database."""
    secret = ra.vault.derive(_NONCE_PURPOSE)
    return SharedNonces(ra.database, secret) if ra.database.shared else Nonces(table, secret)


def mount(app: web.Application, server: LowLevelHandler) -> None:
    """Puts the protocol below ``PREFIX`` of a site, before the site's own frame: clients want no pages."""
    app[AHEAD] = lambda pages: before(server, pages)


def before(server: LowLevelHandler, refused: LowLevelHandler) -> LowLevelHandler:
    """Lets the protocol itself answer a client without a good certificate: with a problem document.

    The door sees no verified peer and so grants nothing; pages still go to ``refused``.
    """

    async def choose(request: web.BaseRequest) -> web.StreamResponse:
        return await (server(request) if ours(request) else refused(request))

    return choose


def ours(request: web.BaseRequest) -> bool:
    """Whether a request is the protocol's, by its raw path, which is what the protocol signs."""
    return is_ours(request.raw_path)


def is_ours(target: str) -> bool:
    """The same by the target alone."""
    return target.startswith(PREFIX + "/")


def says(*, any_origin: bool) -> Callable[[Denial, str], Said | None]:
    """What a door answers where the wire refuses a request of the protocol's; nothing for pages, and for what
    could not be read as far as its path. ``any_origin``: whether scripts of any page may read it."""

    def say(why: Denial, target: str) -> Said | None:
        if not is_ours(target):
            return None
        headers, body = acme.unheard(why.status, f"{PREFIX}/directory")
        return (*headers, *(acme.CORS if any_origin else ())), body

    return say


def _reply(status: int, headers: acme.Headers, body: bytes) -> web.StreamResponse:
    return cast(web.StreamResponse, Reply(status, headers, body))


def _presented(request: web.BaseRequest) -> VerifiedPeer | None:
    """StorageTrouble where nobody can say whether the certificate is still good: the protocol then has an
    answer of its own."""
    verdict = http.peer(request)
    if isinstance(verdict, Rejection) and verdict.state is CertificateState.UNASKED:
        raise StorageTrouble("nobody can be asked", "UNASKED", "cannot be reached")
    return verdict if isinstance(verdict, VerifiedPeer) else None
