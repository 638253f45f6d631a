"""What the cases share: the server's directory, nonces, accounts, orders, and the log of all that was said.

Accounts, orders and certificates are made when a case first asks for them and kept, because
every account costs an external account binding and those are given out one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509

from conformance import jose, pki
from conformance.check import status
from conformance.credentials import Credential, Credentials, Identifier
from conformance.draft import HONEST, Draft, Twist, compose, payload_of
from conformance.operators import Operator
from conformance.responder import Answers
from conformance.verdict import Blocked, Failed, Skipped, expect
from conformance.wire import Answer, Broken, Call, Wire, client_context

T = TypeVar("T")

#: What every directory lists (RFC 8555 7.1.1); newAuthz and renewalInfo are a server's choice.
REQUIRED = frozenset({"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"})
# Octets of a body that are kept for the audit at the end: a run has thousands of answers.
_KEPT = 16_384


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, kept for the audit at the end. signed: it carried a JWS."""

    call: Call
    answer: Answer
    signed: bool


@dataclass(frozen=True)
class Account:
    url: str
    key: jose.Key
    credential: Credential
    created: Answer
    binding: object = None  # the externalAccountBinding that was sent


@dataclass(frozen=True)
class Order:
    """An order as it was last seen."""

    url: str
    account: Account
    identifiers: tuple[Identifier, ...]
    answer: Answer

    @property
    def status(self) -> str:
        return str(self.answer.object().get("status"))

    def link(self, name: str) -> str:
        """A URL member; raises Failed when the order has none."""
        value = self.answer.object().get(name)
        if not isinstance(value, str):
            raise Failed(f"the order has no {name} URL")
        return value

    @property
    def authorizations(self) -> list[str]:
        value = self.answer.object().get("authorizations")
        if not isinstance(value, list) or not value:
            raise Failed("the order has no authorizations")
        return [str(url) for url in value]


@dataclass(frozen=True)
class Issued:
    """A finished order, its key and what came for download."""

    order: Order
    private: jose.Private
    finalized: Answer
    download: Answer
    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def der(self) -> bytes:
        return pki.certificate_der(self.leaf)

    @property
    def url(self) -> str:
        return self.order.link("certificate")


@contextmanager
def _paused(allowed: asyncio.Timeout | None) -> Iterator[None]:
    """The operator's time is not the server's: a case has afterwards what it had left before."""
    began, ends = time.monotonic(), None if allowed is None or allowed.expired() else allowed.when()
    if allowed is None or ends is None:
        yield
        return
    allowed.reschedule(None)
    try:
        yield
    finally:
        allowed.reschedule(ends + time.monotonic() - began)


@dataclass
class World:
    """One run against one server. Not for concurrent cases; a case may race requests within itself."""

    directory_url: str
    wire: Wire
    credentials: Credentials = field(default_factory=Credentials)
    log: list[Exchange] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)  # what validations find
    ca_file: str | None = None
    resolve: dict[str, str] = field(default_factory=dict)
    _nonces: list[str] = field(default_factory=list)
    _kept: dict[str, object] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)  # kids that are bound
    _given_up: set[str] = field(default_factory=set)

    #: What newAccount is told of how to reach us; servers that insist on it need it.
    contact: tuple[str, ...] = ()
    operator: Operator | None = None
    bindings_required: bool = False  # as the directory says
    allowed: asyncio.Timeout | None = None  # what is left of the running case's time
    polls: int = 100  # how often a pending validation, or an order in processing, is asked for
    _missing: dict[str, Blocked] = field(default_factory=dict)

    # Requests.

    async def call(self, call: Call, signed: bool = False, fresh: bool = False) -> Answer:
        """Sends one request; raises Broken for no answer and for 500, keeps nonces and the log."""
        answer = await (self.wire.send_fresh(call) if fresh else self.wire.send(call))
        self.log.append(Exchange(call, answer.shortened(_KEPT), signed))
        if answer.status == 500:
            raise Broken(f"500 for {call.method} {call.url}: {answer.body[:160]!r}")
        if (nonce := answer.header("Replay-Nonce")) is not None and answer.problem_type() != "badNonce":
            self._nonces.append(nonce)
        return answer

    async def get(self, url: str, method: str = "GET", **headers: str) -> Answer:
        return await self.call(Call(method, url, headers))

    async def nonce(self) -> str:
        """A nonce not used yet, from the latest answers or newNonce."""
        if self._nonces:
            return self._nonces.pop()
        answer = await self.get(await self.resource("newNonce"), "HEAD")
        if self._nonces:
            self._nonces.pop()
        nonce = answer.header("Replay-Nonce")
        if nonce is None:
            raise Failed(f"newNonce gave no Replay-Nonce ({answer.status})")
        return nonce

    def forget_nonces(self) -> None:
        """Those from before the server's clock was moved are too old, or from the future."""
        self._nonces.clear()

    async def operate(self, action: str, **values: object) -> Mapping[str, object]:
        """Has the server's operator do something; skips where nobody can be asked."""
        if self.operator is None:
            raise Skipped("needs the server's operator: --operator COMMAND would run it")
        with _paused(self.allowed):
            return await self.operator.do(action, **values)

    async def send(self, draft: Draft, twist: Twist = HONEST, fresh: bool = False) -> Answer:
        """Signs and sends; a badNonce answer is retried with a new nonce, as RFC 8555 6.5 has clients do."""
        for _ in range(4):
            answer = await self.call(compose(draft, await self.nonce(), twist), signed=True, fresh=fresh)
            if answer.problem_type() != "badNonce" or "nonce" in twist.protected:
                break
        return answer

    async def post(self, account: Account, url: str, payload: object = None) -> Answer:
        """A signed request of the account; payload None is POST-as-GET."""
        return await self.send(Draft(url, payload_of(payload), account.key, account.url))

    async def new_account(self, key: jose.Key, payload: dict[str, object]) -> Answer:
        return await self.send(Draft(await self.resource("newAccount"), payload_of(payload), key, None))

    def presenting(self, directory_url: str, certificate: str | None, key: str | None) -> World:
        """Another world on the same server's mutual-TLS site; certificate and key are PEM or None."""
        wire = Wire(client_context(self.ca_file, certificate, key), self.resolve)
        return World(directory_url, wire, log=self.log, ca_file=self.ca_file, resolve=self.resolve)

    def nameless(self) -> World:
        """Another world on the same server, without SNI. The audit does not see its answers."""
        wire = Wire(client_context(self.ca_file, named=False), self.resolve)
        return World(self.directory_url, wire, ca_file=self.ca_file, resolve=self.resolve)

    async def lend(self, other: World) -> None:
        """Gives another world on this site the directory and a nonce, so that one answer is all it needs."""
        other.put("directory", await self.directory())
        other._nonces.append(await self.nonce())

    async def close(self) -> None:
        await self.wire.close()

    # The server.

    async def directory(self) -> dict[str, object]:
        async def fetch() -> dict[str, object]:
            answer = await self.get(self.directory_url)
            body = expect(answer, status(200), about="directory").object()
            if not body:
                raise Failed("the directory is not a JSON object")
            return body

        return await self.keep("directory", fetch)

    async def meta(self) -> dict[str, object]:
        value = (await self.directory()).get("meta")
        return value if isinstance(value, dict) else {}

    async def resource(self, name: str) -> str:
        """The URL of a directory resource; skips when the server does not offer it."""
        value = (await self.directory()).get(name)
        if not isinstance(value, str):
            if name in REQUIRED:
                raise Blocked(name, "the directory does not list it")
            raise Skipped(f"the server offers no {name}")
        return value

    async def keep(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """Makes a shared thing once. If that fails, whoever rests on it is Blocked, for the same reason.

        It is tried twice and no more: a server that makes no account would be asked 500 times.
        """
        if name in self._kept:
            return self._kept[name]  # type: ignore[return-value]
        if (known := self._missing.get(name)) is not None and name in self._given_up:
            raise known
        try:
            self._kept[name] = made = await make()
        except (Failed, Broken) as error:
            self._missing[name] = blocked = Blocked(name, str(error), getattr(error, "remedy", ""))
            self._given_up |= {name} if known is not None else set()
            raise blocked from error
        return made

    async def once(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """What one request came to, for the several cases that look at it. Its failure is theirs."""
        if name not in self._kept:
            self._kept[name] = await make()
        return self._kept[name]  # type: ignore[return-value]

    def kept(self, name: str) -> Account | None:
        """A shared account if it was made."""
        value = self._kept.get(name)
        return value if isinstance(value, Account) else None

    def put(self, name: str, value: object) -> None:
        """Replaces a shared thing, as when an account has a new key."""
        self._kept[name] = value

    def forget(self, name: str) -> None:
        self._kept.pop(name, None)
