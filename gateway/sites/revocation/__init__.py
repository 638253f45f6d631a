"""What the world is told of our certificates: lists, answers (OCSP), and the certificates of CAs, by plain
HTTP and the same by HTTPS.

For whoever checks a certificate and is not this gate. Nothing is ever made because somebody asks for a list.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Mapping

from aiohttp import web
from cryptography import x509

from ca.cross import bundle
from ca.publication import OCSP_PATH, bundle_path, certificate_path, list_id, list_path
from ca.storage import in_log
from enroll.answers import Answers
from enroll.ra import RegistrationAuthority
from gateway.sites.revocation import lists
from gateway.sites.revocation.answers import Responses
from gateway.wire.plain import MOST_BODY, Asked, Told, refusal

log = logging.getLogger("sekisho.revocation")

#: Where the same is on the help site, by HTTPS.
PREFIX = "/pki"
# A certificate of a CA never changes; still an hour, as all else here.
_CERTIFICATE_KEPT = lists.MOST_KEPT
_READ = ("GET", "HEAD")


class Publications:
    """What is published of a registration authority's CAs. Cheap to make: made anew by each reload."""

    def __init__(self, ra: RegistrationAuthority, answers: Answers) -> None:
        self._ra = ra
        self._answers = Responses(ra, answers)
        #: The lists that were in force last.
        self.known: lists.Known = {}
        authority = ra.authority
        self._lists: Mapping[str, str] = {
            list_path(each.issuer_id, shard): list_id(each.issuer_id, shard)
            for each in authority.issuers
            for shard in each.site.lists
        }
        # Of one that is put away there is the last list, or none for good.
        self._last = frozenset(
            list_path(each.issuer_id, shard)
            for each in authority.issuers
            if each.discarded_at is not None
            for shard in each.site.lists
        )
        roots = {each.root_id: each.chain[-1] for each in authority.issuers if each.chain}
        own = {each.issuer_id: each.der for each in authority.issuers}
        self._certificates = {certificate_path(name): der for name, der in {**own, **roots}.items()}
        self._bundles = {
            bundle_path(name): bundle(der, authority.crosses)
            for name, der in roots.items()
            if authority.crosses
        }
        self._root_lists = {list_path(name): authority.root_list for name in roots if authority.root_list}

    def answer(self, asked: Asked) -> Told | Awaitable[Told]:
        """Whatever is asked for. Raises nothing."""
        path = path_of(asked.target)
        if path == OCSP_PATH or path.startswith(OCSP_PATH + "/"):
            told = self._answers.answer(asked, path[len(OCSP_PATH) + 1 :])
            return told if isinstance(told, Told) else self._guarded(told)
        if asked.method not in _READ:
            return refusal(405, ("Allow", "GET, HEAD"))
        if (name := self._lists.get(path)) is not None:
            return self._guarded(lists.published(asked, self._ra, name, self.known, last=path in self._last))
        if (der := self._root_lists.get(path)) is not None:
            return lists.root(asked, der, self._ra.now())
        if (der := self._certificates.get(path)) is not None:
            return _certificate(asked, der)
        if (der := self._bundles.get(path)) is not None:
            return _bundle(asked, der)
        return refusal(404)

    async def _guarded(self, work: Awaitable[Told]) -> Told:
        try:
            return await work
        except Exception as error:
            log.error("%s", in_log(error))
            return refusal(500)


def path_of(target: str) -> str:
    """The path of a request's target: also of one that names the whole address (RFC 9112 section 3.2.2)."""
    if target[:7].lower() == "http://":
        target = "/" + target[7:].partition("/")[2]
    return target.partition("?")[0]


def mount(app: web.Application, published: Publications) -> None:
    """The same below a prefix of a site of the gateway's, by HTTPS."""

    async def handle(request: web.Request) -> web.StreamResponse:
        fields = {name.lower(): value for name, value in request.headers.items()}
        target = request.raw_path.removeprefix(PREFIX)
        body = b"" if request.method in _READ else await request.content.read(MOST_BODY + 1)
        if len(body) > MOST_BODY:
            return response(refusal(413), request.method)
        told = published.answer(Asked(request.method, target, fields, body))
        return response(told if isinstance(told, Told) else await told, request.method)

    app.router.add_get(PREFIX + "/{path:.*}", handle)
    app.router.add_post(PREFIX + OCSP_PATH, handle)


def response(told: Told, method: str) -> web.Response:
    """An answer as the pages' server sends it."""
    fields = dict(told.fields)
    if method != "HEAD" or told.status == 304:
        # A file is read piece by piece as the client takes it; aiohttp closes it.
        return web.Response(
            status=told.status, headers=fields, body=None if told.status == 304 else told.body
        )
    if not isinstance(told.body, bytes):
        told.body.close()
    return web.Response(status=told.status, headers=fields | {"Content-Length": str(told.length)})


def _bundle(asked: Asked, der: bytes) -> Told:
    tag = hashlib.sha256(der).hexdigest()
    fields = *lists.caching(tag, 0, _CERTIFICATE_KEPT), ("Content-Type", "application/pkcs7-mime")
    if lists.has_it(asked, tag, 0):
        return Told(304, fields[:-1], kind="issuer")
    return Told(200, fields, der, kind="issuer")


def _certificate(asked: Asked, der: bytes) -> Told:
    tag = hashlib.sha256(der).hexdigest()
    since = int(x509.load_der_x509_certificate(der).not_valid_before_utc.timestamp())
    # RFC 2585 section 4.1: one certificate in DER.
    fields = *lists.caching(tag, since, _CERTIFICATE_KEPT), ("Content-Type", "application/pkix-cert")
    if lists.has_it(asked, tag, since):
        return Told(304, fields[:-1], kind="issuer")
    return Told(200, fields, der, kind="issuer")
