"""The way out: one request to one endpoint, and what came of it.

The host is looked up when a connection is made, every address is looked at, and the connection goes to one
of those: what the name says a moment later counts for nothing. No redirect is followed, and of an answer its
head is read.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from enroll.hooks import reach
from enroll.hooks.reach import Lookup, Target, Unreachable, Way
from enroll.hooks.states import Answer

#: Requests to one endpoint at a time.
AT_ONCE = 4
# Bytes of a line of an answer's head, and lines.
_LINE, _LINES = 8_190, 100


class Session(Protocol):
    """An open way out."""

    async def post(self, to: Target, headers: Mapping[str, str], body: bytes, now: int) -> Answer:
        """Sends one request; what is out there raises nothing. ``now``: for an answer that names a moment."""
        ...


@asynccontextmanager
async def opened(way: Way) -> AsyncIterator[Session]:
    """A session. Connections are kept for its time and no longer."""
    context = ssl.create_default_context(cadata=way.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    connector = aiohttp.TCPConnector(
        limit=AT_ONCE,
        resolver=_Checked(way.lookup or _looked_up, way.networks),
        use_dns_cache=False,
        ssl=context,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=way.seconds, connect=way.seconds / 3),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=4_096,
        max_line_size=_LINE,
        max_field_size=_LINE,
        max_headers=_LINES,
        skip_auto_headers=("Accept-Encoding",),
        headers={"User-Agent": "sekisho-webhook/1"},
    ) as client:
        yield _Session(client, way)


@dataclass(frozen=True)
class _Session:
    client: aiohttp.ClientSession
    way: Way

    async def post(self, to: Target, headers: Mapping[str, str], body: bytes, now: int) -> Answer:
        try:
            # An address instead of a name is asked for nowhere.
            _check_literal(to.host, self.way.networks)
            sent = {"Content-Type": "application/json", **headers}
            url = URL(to.url, encoded=True)
            async with self.client.post(url, data=body, headers=sent, allow_redirects=False) as answer:
                # Its body is nobody's business: what is not read ends with the connection.
                after = answer.headers.get("Retry-After", "")
                return Answer(answer.status, _told(answer.status), _seconds(after, now))
        except Unreachable as error:
            return Answer(0, str(error))
        except TimeoutError:
            return Answer(0, f"no answer within {self.way.seconds:g} seconds")
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            return Answer(0, _reason(error))


class _Checked(AbstractResolver):
    """Addresses that a connection may go to, and no others."""

    def __init__(self, lookup: Lookup, networks: Sequence[str]) -> None:
        self._lookup, self._networks = lookup, networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup(host)
        good = [each for each in found if reach.permitted(each, self._networks)]
        if not good:
            raise Unreachable(_not_public(host) if found else f"{host} has no address")
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each in good
        ]

    async def close(self) -> None:
        pass


async def _looked_up(host: str) -> Sequence[str]:
    if f".{host}".endswith(".localhost"):
        return ["127.0.0.1", "::1"]  # RFC 6761 section 6.3: whatever a resolver says
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def _check_literal(host: str, networks: Sequence[str]) -> None:
    bare = host.removeprefix("[").removesuffix("]")
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in bare else socket.AF_INET, bare)
    except OSError:
        return
    if not reach.permitted(bare, networks):
        raise Unreachable(_not_public(host))


def _not_public(host: str) -> str:
    return f"{host} is at an address that is not public: name its network in webhooks.networks"


def _told(status: int) -> str:
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"


def _reason(error: Exception) -> str:
    """Why there is no answer, in our words and the system's: a receiver's own are not repeated."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        fault = error.certificate_error
        why = getattr(fault, "verify_message", "") or type(fault).__name__
        return f"its certificate is not good: {why}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{error.host} is not known to the resolver"
    if isinstance(error, aiohttp.ClientResponseError):
        return "its answer is none of HTTP, or too long"
    found = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    number = found.errno if isinstance(found, OSError) else None
    return f"no answer: {os.strerror(number) if number else type(found).__name__}"


def _seconds(text: str, now: int) -> int:
    """What Retry-After says (RFC 9110 section 10.2.3), from now on; 0 where it says nothing."""
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0
    return max(0, round(until.replace(tzinfo=until.tzinfo or UTC).timestamp()) - now)
