"""The bytes of one TLS connection into OpenSSL's memory BIOs and out of them, by the shorter of two ways.

pyOpenSSL's methods make a new buffer for each call and look for faults of callbacks after it. The calls
beneath them (`calls`), with one buffer that is kept, cost less than half for the four that one request takes.
`tests/gateway/test_bios.py` holds the two ways equal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from OpenSSL import SSL

from gateway.edge.calls import DIRECT, ffi, lib

# A TLS record holds 2^14 bytes of plaintext (RFC 8446 5.1): more is never returned at once.
RECORD: Final = 16_384
# So much is taken at once of what goes to the socket.
WIRE: Final = 65_536


class Bios(Protocol):
    """Both ways. None of these waits; what goes wrong is raised as pyOpenSSL's `SSL.Error`, the peer's
    close_notify as its `SSL.ZeroReturnError`."""

    def put(self, data: bytes) -> None:
        """Takes bytes from the socket, at least one."""

    def read(self) -> bytes:
        """Plaintext of one record at most; b"" until more is put."""

    def write(self, data: bytes) -> int:
        """Encrypts one record at most, of data that is not empty; how many bytes of it."""

    def take(self) -> bytes:
        """Bytes for the socket, `WIRE` at most; b"" if there are none."""

    def trim(self) -> None:
        """Gives back what the handshake's long flights took of memory. Only while nothing is to be taken."""


class Public:
    """By pyOpenSSL's methods."""

    __slots__ = ("_session",)

    def __init__(self, session: SSL.Connection) -> None:
        self._session: Final = session

    def put(self, data: bytes) -> None:
        self._session.bio_write(data)

    def read(self) -> bytes:
        try:
            return self._session.recv(RECORD)
        except SSL.WantReadError:
            return b""

    def write(self, data: bytes) -> int:
        return self._session.send(data)

    def take(self) -> bytes:
        try:
            return self._session.bio_read(WIRE)
        except SSL.WantReadError:
            return b""

    def trim(self) -> None:
        return


class Direct:
    """By the calls beneath them. Errors are left to pyOpenSSL, which knows how to read them."""

    __slots__ = ("_buffer", "_bytes", "_from_ssl", "_into_ssl", "_session", "_ssl")

    def __init__(self, session: SSL.Connection) -> None:
        given: Any = session
        self._session: Final[Any] = given
        self._ssl: Final[Any] = given._ssl
        self._into_ssl: Any = given._into_ssl
        self._from_ssl: Any = given._from_ssl
        self._buffer, self._bytes = _kept()

    def put(self, data: bytes) -> None:
        if _BIO_write(self._into_ssl, data, len(data)) <= 0:
            self._session._handle_bio_errors(self._into_ssl, 0)

    def read(self) -> bytes:
        count = _SSL_read(self._ssl, self._buffer, RECORD)
        if count > 0:
            found: bytes = self._bytes[:count]
            return found
        with suppress(SSL.WantReadError):
            self._session._raise_ssl_error(self._ssl, count)
        return b""

    def write(self, data: bytes) -> int:
        count = _SSL_write(self._ssl, data, len(data))
        if count <= 0:
            self._session._raise_ssl_error(self._ssl, count)
        return count

    def take(self) -> bytes:
        count = _BIO_read(self._from_ssl, self._buffer, WIRE)
        if count <= 0:  # a memory BIO has no other reason
            return b""
        found: bytes = self._bytes[:count]
        return found

    def trim(self) -> None:
        # A memory BIO keeps the room of the most that it ever held: two new ones take their places.
        came = []
        while (count := _BIO_read(self._into_ssl, self._buffer, WIRE)) > 0:
            came.append(self._bytes[:count])
        into_ssl, from_ssl = (lib.BIO_new(lib.BIO_s_mem()) for _ in range(2))
        if into_ssl == ffi.NULL or from_ssl == ffi.NULL:
            raise MemoryError
        lib.SSL_set_bio(self._ssl, into_ssl, from_ssl)  # which frees those before
        self._session._into_ssl = self._into_ssl = into_ssl
        self._session._from_ssl = self._from_ssl = from_ssl
        for data in came:
            self.put(data)


def bios(session: SSL.Connection) -> Bios:
    """The way into and out of a session over memory BIOs."""
    return Direct(session) if DIRECT else Public(session)


def _kept() -> tuple[Any, Any]:
    """This thread's buffer, and its bytes to cut from: OpenSSL writes without the interpreter's lock."""
    found: tuple[Any, Any] | None = getattr(_local, "kept", None)
    if found is None:
        buffer = ffi.new("char[]", WIRE)
        found = _local.kept = buffer, ffi.buffer(buffer)
    return found


_local: Final = threading.local()
_Call = Callable[[Any, Any, int], int]
_SSL_read: Final[_Call] = getattr(lib, "SSL_read", None)  # type: ignore[assignment]
_SSL_write: Final[_Call] = getattr(lib, "SSL_write", None)  # type: ignore[assignment]
_BIO_read: Final[_Call] = getattr(lib, "BIO_read", None)  # type: ignore[assignment]
_BIO_write: Final[_Call] = getattr(lib, "BIO_write", None)  # type: ignore[assignment]
