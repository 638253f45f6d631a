"""A site on a real listener, and a browser-like visitor who reads its pages by role and label."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from ca import datadir
from ca.anchors import TrustAnchors
from ca.keys import generate
from ca.profiles import Audience
from ca.servers import issue
from enroll.ra import RegistrationAuthority
from gateway.edge.facts import Limits
from gateway.edge.listener import Listener
from gateway.edge.tls import ClientCertificate, KeyedChain
from gateway.serving.statuses import Statuses
from gateway.sites.service.apart import form_token
from gateway.web.context import Gate, Role
from gateway.wire.handlers import Handlers
from gateway.wire.rules import Denial
from gateway.wire.sites import Said, WebSite
from tests.datadirs import PASSPHRASE

HOSTS = {role: f"{role}.test" for role in Role if role not in (Role.MAILBOX, Role.BEHIND)}
# X509_V_FLAG_NO_CHECK_TIME: the registration authority's clock is not the machine's.
_NO_CHECK_TIME = 0x200000
_VOID = frozenset({"meta", "link", "input", "br", "wbr", "hr", "img"})
_INLINE = frozenset({"a", "span", "strong", "em", "b", "code", "input", "small", "wbr"})


# -- pages ---------------------------------------------------------------------------------------------


@dataclass
class Element:
    """An element of a page. ``text`` is what a person reads, with white space folded."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(self._raw().split())

    @property
    def lines(self) -> list[str]:
        """The text by lines: a ``<br>`` ends one, and so does every block."""
        return [" ".join(line.split()) for line in self._raw().split("\n") if line.strip()]

    def _raw(self) -> str:
        if self.tag in ("script", "style", "noscript"):
            return ""
        # White space of the source is folded here, so that a line break is one that people see.
        inner = "".join(
            child._raw() if isinstance(child, Element) else re.sub(r"\s+", " ", child)
            for child in self.children
        )
        return inner if self.tag in _INLINE else f"{inner}\n"

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def without_hidden(self) -> Element:
        """The same without what waits for a script to show it."""
        kept: list[Element | str] = []
        for child in self.children:
            if isinstance(child, str):
                kept.append(child)
            elif "hidden" not in child.attributes:
                kept.append(child.without_hidden())
        return Element(self.tag, self.attributes, kept)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements below by tag and attributes (``class_`` and ``for_`` for the reserved words)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            each
            for each in self.walk()
            if each.tag == tag and all(_has(each, name, value) for name, value in wanted.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} of <{tag}> {attributes}"
        return found[0]

    def table(self, position: int = 0) -> list[list[str]]:
        """The cells of a table, row by row."""
        rows = self.all("table")[position].all("tr")
        return [[c.text for c in row.walk() if c.tag in ("th", "td")] for row in rows]


def _has(element: Element, name: str, value: str) -> bool:
    held = element.attributes.get(name)
    return held is not None and (value in held.split() if name == "class" else held == value)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("#document", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parse(text: str) -> Element:
    """A page as elements. Fails where a tag is not closed by its own."""
    builder = _Builder()
    builder.feed(text)
    builder.close()
    assert builder._open == [builder.root]
    return builder.root


@dataclass(frozen=True)
class Page:
    """An answer, after redirects; ``path`` is where they led."""

    status: int
    path: str
    headers: Any
    body: bytes
    redirects: int

    @property
    def html(self) -> str:
        return self.body.decode()

    @property
    def dom(self) -> Element:
        return parse(self.html)

    @property
    def main(self) -> Element:
        return self.dom.one("main")

    @property
    def h1(self) -> str:
        return self.dom.one("h1").text

    def labels(self) -> list[str]:
        """The labels of the form fields that people see, in order; each names a field that exists."""
        main = self.main
        found = main.all("label")
        for label in found:
            self.field_of(label)
        return [label.text for label in found]

    def field(self, label: str) -> Element:
        """The input that a label names."""
        return self.field_of(next(each for each in self.main.all("label") if each.text == label))

    def field_of(self, label: Element) -> Element:
        wanted = label.attributes["for"]
        return next(each for each in self.main.walk() if each.attributes.get("id") == wanted)

    def error(self, label: str) -> str:
        """What stands beside a field as its error, found the way a screen reader finds it."""
        field = self.field(label)
        assert field.attributes.get("aria-invalid") == "true"
        ids = field.attributes["aria-describedby"].split()
        told = [each for each in self.main.walk() if each.attributes.get("id") in ids]
        return next(each.text for each in told if "error" in each.attributes.get("class", "").split())

    def buttons(self) -> list[str]:
        """What there is to click, for those whose browser runs no script."""
        return [each.text for each in self.main.without_hidden().all("button")]

    def menu(self) -> list[str]:
        """The entries of the left menu."""
        return [each.text for each in self.dom.one("nav", class_="menu").all("a")]


# -- visitors ------------------------------------------------------------------------------------------


class Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(
            hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
        )
        return [found]

    async def close(self) -> None:
        return


@dataclass
class Visitor:
    """A client with cookies and perhaps a certificate. Redirects are followed as a browser does."""

    session: aiohttp.ClientSession
    origin: str
    #: Sent with every request; a test may change it.
    headers: dict[str, str] = field(default_factory=dict)
    #: Typed into every form of the portal, most of which ask for it; a test may say another one.
    password: str = ""

    async def get(self, path: str = "/", *, follow: bool = True, **headers: str) -> Page:
        return await self._send("GET", path, None, follow, headers)

    async def post(
        self, path: str, fields: dict[str, str] | None = None, *, follow: bool = True, **headers: str
    ) -> Page:
        """A form, with the token that a page of the online service has put into it."""
        own = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        typed = {"password": self.password} if self.password and path.startswith("/portal/") else {}
        fields = self._token(path.partition("?")[0]) | typed | (fields or {})
        return await self._send("POST", path, fields, follow, own | named)

    async def upload(
        self, path: str, fields: dict[str, str], file: tuple[str, bytes] | None, *, follow: bool = True
    ) -> Page:
        """A form with a file; None: without one, as a browser sends it where none was chosen."""
        form = aiohttp.FormData()
        for name, value in (self._token(path) | fields).items():
            form.add_field(name, value)
        name, content = file or ("", b"")
        form.add_field("file", content, filename=name, content_type="application/octet-stream")
        own = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        return await self._send("POST", path, form, follow, own)

    def _token(self, path: str) -> dict[str, str]:
        sites = ("__Host-service", "__Host-console")
        held = [each.value for each in self.session.cookie_jar if each.key in sites]
        return {"token": form_token(held[0], path)} if held else {}

    async def _send(
        self,
        method: str,
        path: str,
        fields: dict[str, str] | aiohttp.FormData | None,
        follow: bool,
        headers: dict[str, str],
    ) -> Page:
        named = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.origin + path, data=fields, headers=named, allow_redirects=follow
        ) as got:
            return Page(got.status, got.url.path, got.headers, await got.read(), len(got.history))


@dataclass
class Served:
    """A running site. ``visitor`` opens a client that ends with the test."""

    gate: Gate
    role: Role
    visitor: Callable[..., Visitor]

    @property
    def ra(self) -> RegistrationAuthority:
        return self.gate.ra


@asynccontextmanager
async def serve(
    ra: RegistrationAuthority,
    path: Path,
    role: Role,
    build: Callable[[Gate], Any],
    policy: ClientCertificate = ClientCertificate.NONE,
    refused: Callable[[Gate], Any] | None = None,
    fresh: bool = False,
    audience: Audience = Audience.CLIENTS,
    says: Callable[[Denial, str], Said | None] | None = None,
) -> AsyncIterator[Served]:
    """``build(gate)`` on a listener as in production: a certificate of the local server CA, our anchors.

    ``path`` is the one that ``open_office`` was given. The site's host is ``<role>.test``, and it also
    answers to ``*.try.test``. ``fresh``: it has such hosts of its own, ``*.again.test``.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    origins = {role: f"https://{host}:{port}" for role, host in HOSTS.items()}
    gate = Gate(ra, origins, f".try.test:{port}", {role: f".again.test:{port}"} if fresh else {})
    opened = datadir.load(path / "data", PASSPHRASE)
    hosts = (HOSTS[role], "*.try.test", "*.again.test")
    made = issue(opened.server_ca, opened.server_signer, hosts, ra.now(), 4711, generate("ec-p256"))
    issuers = tuple(issuer.certificate for issuer in opened.authority.of(audience))
    built = build(gate)
    app, relay = built if isinstance(built, tuple) else (built, None)
    site = WebSite(
        name=str(role),
        hosts=hosts,
        handler=app,
        certificate=KeyedChain.from_pem(made.chain_pem, made.key_pem),
        client_certificate=policy,
        anchors=TrustAnchors.of(issuers),
        advertised=issuers,
        refused=refused(gate) if refused else None,
        relay=relay,
        says=says,
    )
    statuses = Statuses(ra.database)
    listener = Listener(
        [site],
        wire=Handlers(),
        clock=ra.clock,
        status=statuses,
        ask=statuses.ready if ra.database.shared else None,
        limits=Limits(tick=0.02, drain=0.2, lingering=0.2),
    )
    await listener.start(socks=(listening,))
    clients: list[aiohttp.ClientSession] = []

    def visitor(p12: bytes | None = None, password: str = "", host: str = "", **headers: str) -> Visitor:
        trusted = client_context(opened.server_ca_pem, p12, password, path)
        # A connection each: when a test moves the clock past a certificate's end, the listener ends the
        # kept ones, and a POST may then be on its way.
        connector = aiohttp.TCPConnector(ssl=trusted, resolver=Here(), use_dns_cache=False, force_close=True)
        clients.append(aiohttp.ClientSession(connector=connector))
        origin = f"https://{host or HOSTS[role]}:{port}"
        return Visitor(clients[-1], origin, {k.replace("_", "-"): v for k, v in headers.items()})

    try:
        yield Served(gate, role, visitor)
    finally:
        for client in clients:
            await client.close()
        await listener.stop()


def client_context(server_ca: bytes, p12: bytes | None, password: str, path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=server_ca.decode())
    context.verify_flags |= _NO_CHECK_TIME
    if p12 is not None:
        bundle = pkcs12.load_pkcs12(p12, password.encode())
        assert bundle.key is not None
        assert bundle.cert is not None
        chain = [bundle.cert, *bundle.additional_certs]
        pem = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += b"".join(each.certificate.public_bytes(Encoding.PEM) for each in chain)
        file = path / "visitor.pem"
        file.write_bytes(pem)
        context.load_cert_chain(file)
    return context
