"""The one gate: what a request has to look like, and who may ask at all, before anybody sees it.

Refuses what aiohttp's parser lets through and a gateway must not: another host than the handshake
named, absolute-form targets, header names an upstream could read as another header, dot segments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp.http import HttpVersion

from ca.trust import VerifiedPeer
from gateway.edge.facts import ConnectionInfo, Verdict
from gateway.edge.tls import ClientCertificate
from gateway.wire.fields import RawHeaders, values_of

_METHODS_REFUSED = frozenset(
    {
        "CONNECT", "TRACE",
        # RTSP's and ICE's, which llhttp reads as well
        "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER",
        "REDIRECT", "RECORD", "FLUSH", "SOURCE",
    }
)  # fmt: skip
_VERSIONS = (HttpVersion(1, 1), HttpVersion(1, 0))
# nginx's rule for names: no underscore or dot, which CGI and WSGI read as a hyphen.
_NAME_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
#: A target that is let through unseen, here and by whoever reads the head of one that is asked for again.
PLAIN_TARGET = r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)*/?(?:\?[A-Za-z0-9_~.=&+-]*)?"
_PLAIN_TARGET = re.compile(PLAIN_TARGET)
_ODD_TARGET = re.compile(
    r"^//"  # a reference to another authority, RFC 3986 4.2
    r"|[^!-~]|[\\#]"  # outside visible ASCII, or never part of a request target
    r"|%(?![0-9A-Fa-f]{2})|%00"
    r"|^[^?]*/(?:\.|%2[Ee]){1,2}(?:[/;?]|%2[Ff]|%5[Cc]|$)"  # dot segments, `..;` of Java servers too
)


class Denial(NamedTuple):
    """Why a request goes no further: HTTP status and a stable word for the log and the page."""

    status: int
    code: str


_NO_SITE: Final = Denial(421, "site")
_CERTIFICATE: Final = Denial(403, "certificate")


def denial(
    method: str, target: str, version: HttpVersion, headers: RawHeaders, authorities: frozenset[bytes]
) -> Denial | None:
    """The gate's rules on a request head, or None to let it through.

    `authorities`: the spellings of Host (lower case) that mean the name in this connection's SNI;
    empty for a connection whose SNI names no site, so that every request on it is misdirected.
    """
    if method in _METHODS_REFUSED:
        # RFC 9110 9.1 and 15.6.2: known to no resource here. 405 would have to list what this one knows.
        return Denial(501, "method")
    if version not in _VERSIONS:
        return Denial(505, "version")
    if target[:1] != "/":
        return Denial(400, "target-form")  # absolute-form, authority-form and `*`, RFC 9112 3.2
    if not _PLAIN_TARGET.fullmatch(target) and _ODD_TARGET.search(target):
        return Denial(400, "target")
    if b"".join([name for name, _ in headers]).translate(None, _NAME_BYTES):
        return Denial(400, "header-name")
    hosts = values_of(headers, b"host")
    if len(hosts) != 1:
        return Denial(400, "host-count")  # RFC 9112 3.2; of HTTP/1.0 we ask it as well
    if version is not _VERSIONS[0] and version < _VERSIONS[0] and values_of(headers, b"transfer-encoding"):
        return Denial(400, "framing")  # RFC 9112 6.1: faulty framing
    if hosts[0] not in authorities and hosts[0].lower() not in authorities:
        return Denial(421, "host")
    return None


def admission(
    info: ConnectionInfo, recheck: Callable[[VerifiedPeer], Verdict]
) -> tuple[Verdict | None, Denial | None]:
    """Who presented a certificate, judged again for this request, and why the site's policy turns them away.

    Decided here for pages and relay alike: a REQUIRE site is reached by verified peers only.
    """
    verdict = info.verdict
    if isinstance(verdict, VerifiedPeer):
        verdict = recheck(verdict)
    site = info.site
    if site is None:
        return verdict, _NO_SITE
    if site.client_certificate is ClientCertificate.REQUIRE and not isinstance(verdict, VerifiedPeer):
        return verdict, _CERTIFICATE
    return verdict, None
