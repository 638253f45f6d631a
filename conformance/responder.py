"""Answers validations by http-01, dns-01 and tls-alpn-01, for servers that will not take our word for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field

from conformance import alpn, dnsserver, jose
from conformance.alpn import Shown
from conformance.credentials import Identifier

PREFIX = "/.well-known/acme-challenge/"
#: The methods that can be answered, in the order in which they are chosen.
METHODS = ("http-01", "dns-01", "tls-alpn-01")


@dataclass
class Answers:
    """What validations find. served: the methods whose ports the server's validations reach."""

    http: dict[str, str] = field(default_factory=dict)  # token -> body
    texts: dict[str, list[str]] = field(default_factory=dict)  # name -> TXT records
    shown: dict[str, Shown] = field(default_factory=dict)  # SNI -> certificate
    served: frozenset[str] = frozenset()

    def give(self, method: str, token: str, identifier: Identifier, key_authorization: str) -> None:
        """Answers a challenge by this key authorization, right or wrong."""
        if method == "http-01":
            self.http[token] = key_authorization
        elif method == "dns-01":
            self.texts.setdefault(validation_name(identifier), []).append(digest(key_authorization))
        elif method == "tls-alpn-01":
            self.shown[alpn.server_name(identifier)] = Shown(key_authorization, identifier)

    def forget(self) -> None:
        """Answers nothing any more."""
        for each in (self.http, self.texts, self.shown):
            each.clear()


def digest(key_authorization: str) -> str:
    """The TXT record's text (RFC 8555 8.4)."""
    return jose.b64(hashlib.sha256(key_authorization.encode()).digest())


def validation_name(identifier: Identifier) -> str:
    """Where the TXT record of dns-01 stands."""
    return f"_acme-challenge.{identifier['value'].removeprefix('*.').lower()}"


@dataclass(frozen=True)
class Ports:
    """The port of each method; None: not answered."""

    http: int | None = None
    dns: int | None = None
    alpn: int | None = None

    @property
    def served(self) -> frozenset[str]:
        given = zip(METHODS, (self.http, self.dns, self.alpn), strict=True)
        return frozenset(method for method, port in given if port is not None)


class PortTaken(Exception):
    """A port cannot be had; the text says which option, and why."""


@asynccontextmanager
async def answering(ports: Ports, answers: Answers) -> AsyncIterator[None]:
    """Serves the answers on the ports of every address. PortTaken for one that cannot be had."""
    answers.served = ports.served
    async with AsyncExitStack() as stack:
        for option, open_one in _openers(ports, answers, stack):
            try:
                await open_one
            except OSError as error:
                raise PortTaken(f"{option}: {error}; give a free port") from error
        yield


def _openers(
    ports: Ports, answers: Answers, stack: AsyncExitStack
) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
    loop = asyncio.get_running_loop()

    async def http() -> None:
        await stack.enter_async_context(await asyncio.start_server(_http(answers.http), None, ports.http))

    async def dns() -> None:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: dnsserver.Server(answers.texts), local_addr=("127.0.0.1", ports.dns or 0)
        )
        stack.enter_context(closing(transport))

    async def tls() -> None:
        server = await asyncio.start_server(_silent, None, ports.alpn, ssl=alpn.context(answers.shown))
        await stack.enter_async_context(server)

    if ports.http is not None:
        yield f"--http-01-port {ports.http}", http()
    if ports.dns is not None:
        yield f"--dns-01-port {ports.dns}", dns()
    if ports.alpn is not None:
        yield f"--tls-alpn-01-port {ports.alpn}", tls()


def _http(authorizations: Mapping[str, str]) -> Callable[..., Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head.decode("latin-1"), authorizations))
            await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return serve


async def _silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The handshake has said it all (RFC 8737 4)."""
    writer.close()


def answer(head: str, authorizations: Mapping[str, str]) -> bytes:
    """The HTTP answer to a request head: the key authorization of the token it names, or 404."""
    method, _, rest = head.partition(" ")
    target = rest.partition(" ")[0]
    token = target.removeprefix(PREFIX) if target.startswith(PREFIX) else ""
    body = authorizations.get(token, "") if method == "GET" else ""
    status = "200 OK" if body else "404 Not Found"
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/octet-stream", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "Connection: close", "", body)).encode("latin-1")
