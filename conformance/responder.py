"""Answers validations by http-01, dns-01 and tls-alpn-01, for servers that will not take our word for it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections import Counter
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
    """What validations find, and who asked. ports: those that are answered on, by method."""

    http: dict[str, str] = field(default_factory=dict)  # token -> body
    texts: dict[str, list[str]] = field(default_factory=dict)  # name -> TXT records
    shown: dict[str, Shown] = field(default_factory=dict)  # SNI -> certificate
    ports: dict[str, int] = field(default_factory=dict)
    #: How often each (method, token or name) was asked for; an empty name for whoever only connected.
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def served(self) -> frozenset[str]:
        """The methods that are answered."""
        return frozenset(self.ports)

    def told(self, method: str, token: str, identifier: Identifier) -> bool:
        """Whether somebody asked for the answer to this challenge."""
        return self.asked[method, _key(method, token, identifier)] > 0

    def visits(self, method: str) -> int:
        """How often anybody came to this method's port, for whatever."""
        return sum(count for (kind, _), count in self.asked.items() if kind == method)

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


def _key(method: str, token: str, identifier: Identifier) -> str:
    """What is asked for when a challenge of this method is validated."""
    if method == "http-01":
        return token
    return validation_name(identifier) if method == "dns-01" else alpn.server_name(identifier)


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
    def given(self) -> dict[str, int]:
        """Method -> port, of those that are answered."""
        pairs = zip(METHODS, (self.http, self.dns, self.alpn), strict=True)
        return {method: port for method, port in pairs if port is not None}


class PortTaken(Exception):
    """A port cannot be had; the text says which option, and why."""


#: Why a port cannot be had -> what to do about it.
_BIND_HINTS = {
    errno.EACCES: "run the suite as who may listen there (root, or with CAP_NET_BIND_SERVICE)",
    errno.EADDRINUSE: "end what listens there, or give the port that the server asks if it is another",
}


@asynccontextmanager
async def answering(ports: Ports, answers: Answers) -> AsyncIterator[None]:
    """Serves the answers on the ports of every address. PortTaken for one that cannot be had."""
    answers.ports = ports.given
    async with AsyncExitStack() as stack:
        for option, open_one in _openers(ports, answers, stack):
            try:
                await open_one
            except OSError as error:
                why = os.strerror(error.errno) if error.errno else str(error)
                hint = _BIND_HINTS.get(error.errno or 0, "give a free port")
                raise PortTaken(f"{option}: {why}; {hint}") from error
        yield


def _openers(
    ports: Ports, answers: Answers, stack: AsyncExitStack
) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
    loop = asyncio.get_running_loop()

    def heard(method: str) -> Callable[[str], None]:
        return lambda name: answers.asked.update([(method, name)])

    async def http() -> None:
        await stack.enter_async_context(await asyncio.start_server(_http(answers), None, ports.http))

    async def dns() -> None:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: dnsserver.Server(answers.texts, heard("dns-01")), local_addr=("127.0.0.1", ports.dns or 0)
        )
        stack.enter_context(closing(transport))

    async def tls() -> None:
        context = alpn.context(answers.shown, heard("tls-alpn-01"))
        server = await asyncio.start_server(_silent, None, ports.alpn, ssl=context)
        await stack.enter_async_context(server)

    if ports.http is not None:
        yield f"--http-01-port {ports.http}", http()
    if ports.dns is not None:
        yield f"--dns-01-port {ports.dns}", dns()
    if ports.alpn is not None:
        yield f"--tls-alpn-01-port {ports.alpn}", tls()


def _http(answers: Answers) -> Callable[..., Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.asked["http-01", ""] += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            answers.asked["http-01", token_of(head)] += 1
            writer.write(answer(head, answers.http))
            await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return serve


async def _silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The handshake has said it all (RFC 8737 4)."""
    writer.close()


def token_of(head: str) -> str:
    """The token that a request head names; empty for another target."""
    target = [*head.split(" ", 2), "", ""][1]
    return target.removeprefix(PREFIX) if target.startswith(PREFIX) else ""


def answer(head: str, authorizations: Mapping[str, str]) -> bytes:
    """The HTTP answer to a request head: the key authorization of the token it names, or 404."""
    body = authorizations.get(token_of(head), "") if head.startswith("GET ") else ""
    status = "200 OK" if body else "404 Not Found"
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/octet-stream", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "Connection: close", "", body)).encode("latin-1")
