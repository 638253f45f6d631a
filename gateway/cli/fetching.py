"""What ``doctor`` fetches as the world does: what our certificates say of where to ask about them."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca.authority import Issuer
from ca.certificates import public_key_of
from ca.ocsp import hashes_of
from gateway.running import rundir
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding

#: What is wrong with what was fetched; None: nothing.
Judge = Callable[[Issuer, bytes], str | None]

_CHECK = "published"
_ANSWER_SECONDS = 5.0
# A list of a million entries, and some.
_MOST = 100 * 2**20


def published(deployment: Deployment) -> list[Finding]:
    """Whether the addresses in certificates of the CA that issues lead to what they promise."""
    issuer = deployment.ra.authority.current
    if issuer.site.crl is None:
        return [Finding(_CHECK, "ok", f"certificates of {issuer.common_name} name no address")]
    if rundir.serves(deployment.data) is None:
        hint = "start it, then: sekisho doctor"
        return [Finding(_CHECK, "ok", f"{issuer.site.crl}: not fetched while nothing is served", hint)]
    return list(_found(issuer))


def _found(issuer: Issuer) -> Iterator[Finding]:
    for url, judge in _wanted(issuer):
        try:
            wrong = judge(issuer, _fetched(url, _question(issuer) if judge is _answer else None))
        except (OSError, ValueError, http.client.HTTPException) as error:
            wrong = str(error) or type(error).__name__
        if wrong is None:
            yield Finding(_CHECK, "ok", url)
        else:
            hint = "whoever checks certificates fails: let that name lead to revocation.port, by plain HTTP"
            if wrong == _LATER:
                hint = "it is signed as soon as the signer signs: the line 'signer' says what it waits for"
            yield Finding(_CHECK, "bad", f"{url}: {wrong}", hint)


def _wanted(issuer: Issuer) -> Iterator[tuple[str, Judge]]:
    site = issuer.site
    if site.crl is not None:
        yield site.crl, _list
    if site.shards:
        yield site.shard(0), _list
    if site.issuer is not None:
        yield site.issuer, _certificate
    if site.ocsp is not None:
        yield site.ocsp, _answer


def _list(issuer: Issuer, body: bytes) -> str | None:
    read = x509.load_der_x509_crl(body)
    if not read.is_signature_valid(public_key_of(issuer.certificate)):
        return f"a list that {issuer.common_name} has not signed"
    return None


def _certificate(issuer: Issuer, body: bytes) -> str | None:
    read = x509.load_der_x509_certificate(body)
    return None if read.public_bytes(Encoding.DER) == issuer.der else "another CA's certificate"


def _question(issuer: Issuer) -> bytes:
    """About a serial that was never issued: every responder of the issuer's knows that."""
    name = hashes_of(issuer.certificate)["sha1"]
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name.name, name.key, 1, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


# What a responder says while the signer signs nothing.
_LATER = "the answer is try_later"


def _answer(issuer: Issuer, body: bytes) -> str | None:
    read = ocsp.load_der_ocsp_response(body)
    if read.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return f"the answer is {read.response_status.name.lower()}"
    for responder in read.certificates:
        with suppress(ValueError, TypeError, InvalidSignature):
            responder.verify_directly_issued_by(issuer.certificate)
            return None
    return f"an answer of nobody that {issuer.common_name} has delegated"


def _fetched(url: str, question: bytes | None) -> bytes:
    """As relying parties fetch: no cookie, no redirect, no proxy."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port or 80, _ANSWER_SECONDS)) as link:
        fields = {"User-Agent": "sekisho-doctor"}
        if question is None:
            link.request("GET", parts.path, headers=fields)
        else:
            fields["Content-Type"] = "application/ocsp-request"
            link.request("POST", parts.path, question, fields)
        answer = link.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        return answer.read(_MOST)
