"""How long a message is and how it goes on (RFC 9112 section 6): bodies, chunks, their lines. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.wire.fields import RawHeaders

Noted = dict[bytes, list[bytes]]


#: What says how long a body is; what asks for another protocol.
FRAMES_BODY = frozenset({b"content-length", b"transfer-encoding"})


_FRAMING_SIZES = frozenset(map(len, FRAMES_BODY))


UPGRADES = frozenset({b"upgrade", b"connection", b"http2-settings"})


LAST_CHUNK = b"0\r\n\r\n"


class Malformed(ValueError):
    """A message that must not be forwarded; the argument is a stable word for the log."""


@dataclass(frozen=True, slots=True)
class Body:
    """How a request's body is framed: ``length`` bytes, chunked, or (None, False) none at all."""

    length: int | None
    chunked: bool

    @property
    def expected(self) -> bool:
        return self.chunked or bool(self.length)


NO_BODY = Body(None, False)


def body_of(noted: Noted) -> Body:
    """How a parsed request frames its body. Raises Malformed for whatever can be read in two ways."""
    lengths, codings = noted.get(b"content-length"), noted.get(b"transfer-encoding")
    if lengths is None and codings is None:
        return NO_BODY
    if lengths is not None and codings is not None:
        raise Malformed("framing")
    if lengths is not None:
        if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
            raise Malformed("content-length")
        return Body(int(lengths[0]), False)
    # A proxy that does not know a coding cannot say where the message ends, RFC 9112 6.1.
    if codings is None or len(codings) != 1 or codings[0].lower() != b"chunked":
        raise Malformed("transfer-encoding")
    return Body(None, True)


def forwarded(address: str, host: bytes) -> bytes:
    """The lines that say where a request came from: RFC 7239 and what came before it; Via, RFC 9110 7.6.3."""
    spelt = address.partition("%")[0].encode("ascii")
    node = b'"[%s]"' % spelt if b":" in spelt else spelt
    quoted = b'"%s"' % host if b":" in host else host
    return (
        b"X-Forwarded-For: %s\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: %s\r\nX-Real-IP: %s\r\n"
        b"Forwarded: for=%s;host=%s;proto=https\r\nVia: 1.1 sekisho\r\n"
    ) % (spelt, host, spelt, node, quoted)


def expects_continue(noted: Noted) -> bool:
    """Whether the client waits for a 100. Raises Malformed for another expectation (417, 9110 10.1.1)."""
    values = noted.get(b"expect")
    if values is None:
        return False
    if [each.lower() for each in values] != [b"100-continue"]:
        raise Malformed("expect")
    return True


def lines_of(headers: RawHeaders, wanted: Callable[[bytes], bool]) -> bytes:
    """The header lines of the fields whose name, in lower case, is wanted."""
    return b"".join(b"%s: %s\r\n" % each for each in headers if wanted(each[0].lower()))


def body_in(headers: RawHeaders) -> Body:
    """`body_of`, for a head as it came."""
    noted: Noted = {}
    for name, value in headers:
        if len(name) in _FRAMING_SIZES and (lower := name.lower()) in FRAMES_BODY:
            noted.setdefault(lower, []).append(value)
    return body_of(noted) if noted else NO_BODY


def announces_body(headers: RawHeaders) -> bool:
    """Whether a request has a body, or what might be one."""
    try:
        return body_in(headers).expected
    except Malformed:
        return True


def framing_line(body: Body) -> bytes:
    """The line of ours that says how long a body is, if there is one."""
    if body.chunked:
        return b"Transfer-Encoding: chunked\r\n"
    return b"" if body.length is None else b"Content-Length: %d\r\n" % body.length


def chunk(data: bytes) -> bytes:
    """Some bytes of a body, at least one, as a chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
