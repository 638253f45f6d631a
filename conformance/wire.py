"""A small HTTP/1.1 client over TLS that sends exactly the bytes it is given.

General clients normalise URLs, refuse odd headers, follow redirects and retry; a suite that
tests servers needs none of that, and needs to tell a refusal from a dropped connection.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

HEAD_LIMIT = 64 * 1024
# No ACME answer is near this; a CRL may be. More of it is not read, whatever the server announces.
BODY_LIMIT = 4 * 1024 * 1024
DEFAULT_PORTS = {"https": 443, "http": 80}


class Broken(Exception):
    """The server closed the connection, did not speak HTTP, or answered 500."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response. Header names are compared without regard to case (RFC 9110 5.1)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The header's value, None when absent; a repeated header is joined by commas."""
        values = self.all(name)
        return ", ".join(values) if values else None

    @property
    def media_type(self) -> str:
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    def json(self) -> object:
        """The body as JSON, None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def object(self) -> dict[str, object]:
        """The body as a JSON object, empty when it is anything else."""
        value = self.json()
        return value if isinstance(value, dict) else {}

    def shortened(self, octets: int) -> Answer:
        """The answer with no more than the first octets of a body that is no JSON object."""
        if len(self.body) <= octets:
            return self
        return replace(self, body=b"" if self.body[:1] == b"{" else self.body[:octets])

    def problem_type(self) -> str:
        """The problem type without the ACME URN prefix, '' when there is none."""
        return str(self.object().get("type", "")).removeprefix("urn:ietf:params:acme:error:")


@dataclass(frozen=True)
class Call:
    """One HTTP request as it goes out: the target is sent as it stands, never normalised."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool = False


Origin = tuple[str, str, int]  # scheme, host, port


class Wire:
    """Keeps connections open between calls; concurrent calls get a connection each."""

    def __init__(self, context: ssl.SSLContext, resolve: Mapping[str, str] | None = None) -> None:
        self._context = context
        self._resolve = dict(resolve or {})
        self._idle: dict[Origin, list[_Connection]] = {}

    async def send(self, call: Call) -> Answer:
        """Sends the call and reads the answer; raises Broken when there is none to read.

        A kept connection may have been closed by the server meanwhile (RFC 9112 9.5): then, and
        only then, the call is repeated once on a new one.
        """
        origin = origin_of(call.url)
        connection = self._take(origin) or await self._open(origin)
        try:
            return await self._exchange(origin, connection, call)
        except Broken:
            if not connection.used:
                raise
        return await self._exchange(origin, await self._open(origin), call)

    async def send_fresh(self, call: Call) -> Answer:
        """As send, on a connection of its own."""
        origin = origin_of(call.url)
        return await self._exchange(origin, await self._open(origin), call)

    async def open_many(self, url: str, count: int) -> None:
        """Opens connections ahead, so that a race is not decided by the TLS handshakes."""
        origin = origin_of(url)
        fresh = await asyncio.gather(*(self._open(origin) for _ in range(count)))
        self._idle.setdefault(origin, []).extend(fresh)

    async def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                _abandon(connection)
        self._idle.clear()
        await asyncio.sleep(0)

    def _take(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            _abandon(connection)
        return None

    async def _open(self, origin: Origin) -> _Connection:
        scheme, host, port = origin
        # A context that compares no name sends none either.
        name = host if self._context.check_hostname else ""
        tls = {"ssl": self._context, "server_hostname": name} if scheme == "https" else {}
        try:
            reader, writer = await asyncio.open_connection(
                self._address(host),
                port,
                limit=HEAD_LIMIT,
                **tls,  # type: ignore[arg-type]
            )
        except (OSError, ssl.SSLError) as error:
            raise Broken(f"no connection to {scheme}://{host}:{port}: {error}") from error
        return _Connection(reader, writer)

    def _address(self, host: str) -> str:
        # RFC 6761 6.3: localhost names are loopback, whatever the resolver thinks of them.
        if host == "localhost" or host.endswith(".localhost"):
            return self._resolve.get(host, "127.0.0.1")
        return self._resolve.get(host, host)

    async def _exchange(self, origin: Origin, connection: _Connection, call: Call) -> Answer:
        try:
            connection.writer.write(request_bytes(call))
            # A server may answer 413 and close before it has read a long body.
            with suppress(ConnectionError):
                await connection.writer.drain()
            answer, keep = await read_answer(connection.reader, call.method)
        except (OSError, EOFError, ssl.SSLError, asyncio.LimitOverrunError, ValueError) as error:
            _abandon(connection)
            raise Broken(f"no HTTP answer to {call.method}: {error or type(error).__name__}") from error
        except BaseException:
            _abandon(connection)
            raise
        connection.used = True
        if keep:
            self._idle.setdefault(origin, []).append(connection)
        else:
            _abandon(connection)
        return answer


def client_context(
    ca_file: str | None, certificate: str | None = None, key: str | None = None, *, named: bool = True
) -> ssl.SSLContext:
    """A verifying TLS context; certificate and key are PEM texts to present, when given.

    named False: without SNI, so that the server's certificate is verified but for the name in it.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.check_hostname = named
    if certificate is not None and key is not None:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(key.rstrip() + "\n" + certificate)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def origin_of(url: str) -> Origin:
    """Where a URL leads. Plain http is for CRLs only: a certificate may point to one there."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise Broken(f"not an http or https URL: {url!r}")
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]


def request_bytes(call: Call) -> bytes:
    """The request as bytes; Host and Content-Length are added unless the call sets them."""
    authority, target = split_target(call.url)
    headers = {"Host": authority, "User-Agent": "acme-conformance/1", **call.headers}
    if call.method not in {"GET", "HEAD"} or call.body:
        headers.setdefault("Content-Length", str(len(call.body)))
    lines = [f"{call.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not DROP_HEADER]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + call.body


DROP_HEADER = "\0drop"


def split_target(url: str) -> tuple[str, str]:
    rest = url.partition("://")[2]
    authority, slash, path = rest.partition("/")
    return authority, slash + path or "/"


async def read_answer(reader: asyncio.StreamReader, method: str) -> tuple[Answer, bool]:
    """Reads one response; returns it and whether the connection can be kept."""
    while True:
        status, headers, version = await _read_head(reader)
        if status >= 200:
            break
    answer = Answer(status, headers)
    keep = version == "HTTP/1.1" and "close" not in (answer.header("Connection") or "").lower()
    if method == "HEAD" or status in {204, 304}:
        return answer, keep
    coding = (answer.header("Transfer-Encoding") or "").lower()
    length = answer.header("Content-Length")
    if "chunked" in coding:
        body = await _read_chunked(reader)
    elif length is not None:
        if not length.isdigit() or int(length) > BODY_LIMIT:
            raise ValueError(f"Content-Length {length[:40]!r}: more than {BODY_LIMIT} octets, or no number")
        body = await reader.readexactly(int(length))
    else:
        body, keep = await _read_to_end(reader), False
    return Answer(status, headers, body), keep


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, tuple[tuple[str, str], ...], str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError(f"not an HTTP status line: {first[:60]!r}")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError(f"not an HTTP header: {line[:60]!r}")
        headers.append((name, value.strip()))
    return int(rest[:3]), tuple(headers), version


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        # Before it is read: a chunk may announce more than there is memory.
        if size < 0 or len(body) + size > BODY_LIMIT:
            raise ValueError(f"the body is longer than {BODY_LIMIT} octets")
        chunk = await reader.readexactly(size)
        if size == 0:
            # RFC 9112 7.1.2: trailer fields, none of which ACME knows, end with an empty line.
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return bytes(body)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end where it says")
        body += chunk


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    """A body that ends with the connection (RFC 9112 6.3 item 8), however many reads that takes."""
    body = bytearray()
    while part := await reader.read(65_536):
        body += part
        if len(body) > BODY_LIMIT:
            raise ValueError(f"the body is longer than {BODY_LIMIT} octets")
    return bytes(body)


def _abandon(connection: _Connection) -> None:
    with suppress(Exception):
        connection.writer.transport.abort()
