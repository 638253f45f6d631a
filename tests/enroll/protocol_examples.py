"""The generated parts of ``enroll/PROTOCOL.md``: the code's own tables, and exchanges that took place.

``python -m tests.enroll.protocol_examples --write`` brings the document up to date; a test compares.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cryptography import x509

import enroll
from ca.profiles import CLIENTS
from ca.revocation import REASONS
from enroll.acme import accounts, jws, nonces, ordering, orders, registration, wire
from enroll.acme.renewalinfo import RETRY_AFTER, CertId
from enroll.acme.resources import RESOURCES
from enroll.acme.urls import PATHS
from enroll.problems import TYPES
from enroll.requests.states import ENDED, LABELS, WAITING, State
from enroll.settings import Settings
from tests.datadirs import clock_of
from tests.enroll import protocol_vectors as vectors
from tests.enroll.acme.acme_world import FQDN, Client, Reply, Site, peer_of, serve, world
from tests.enroll.acme.signing import ALGORITHM, jwk
from tests.enroll.acme.signing import jws as signed

#: Where a request's JWS will stand, once every name that is in it is known.
_JWS = "(JWS)"
DOCUMENT = Path(enroll.__file__).with_name("PROTOCOL.md")
_BLOCK = re.compile(r"(<!-- begin ([a-z0-9-]+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
_SHOWN = ("Location", "Link", "Retry-After", "Replay-Nonce", "Allow", "Content-Type")
_CORS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods")
_CORS += ("Access-Control-Allow-Headers", "Access-Control-Max-Age", "Cache-Control", "Link", "Replay-Nonce")
_DAY = 86_400


# -- the document --------------------------------------------------------------------------------------


def blocks(text: str) -> dict[str, str]:
    """The generated blocks of a document, by name."""
    return {name: body for _, name, body, _ in _BLOCK.findall(text)}


def updated(text: str, fresh: Mapping[str, str]) -> str:
    """The document with its blocks as they are now."""
    return _BLOCK.sub(lambda found: found[1] + fresh[found[2]] + found[4], text)


def generated() -> dict[str, str]:
    """Every block by its name."""
    with tempfile.TemporaryDirectory() as place:
        exchanges = asyncio.run(_exchanges(Path(place)))
    return tables() | {name: f"```http\n{text}\n```\n" for name, text in exchanges.items()}


# -- tables --------------------------------------------------------------------------------------------


def tables() -> dict[str, str]:
    """The tables that the code itself works by."""
    return {
        "resources": _table(("resource", "path", "methods", "signed by"), _resources()),
        "problems": _table(
            ("type", "status", "defined in", "meaning"),
            ((f"`{one.urn}{one.name}`", one.status, one.source, one.meaning) for one in TYPES.values()),
        ),
        "limits": _table(("limit", "value"), _limits()),
        "profiles": _table(("profile", "validity", "keys", "subjectAltName", "in words"), _profiles()),
        "reasons": _table(
            ("code", "reason", "clients may give it"),
            ((one.code, one.name, "yes" if one.by_client else "no") for one in REASONS.values()),
        ),
        "states": _table(("enrollment", "on the pages", "in English", "order"), _states()),
        "vectors": vectors.shown(),
    }


def _table(heads: tuple[str, ...], rows: Any) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def _resources() -> Iterator[tuple[str, ...]]:
    signers = {"ACCOUNT": "account (`kid`)", "NEW_KEY": "key (`jwk`)", "EITHER": "account or certificate key"}
    for name, path in PATHS.items():
        resource = RESOURCES.get(name)
        if resource is None:
            continue
        methods = [*(["GET, HEAD"] if resource.get else []), *(["POST"] if resource.post else [])]
        signer = signers[resource.signer.name] if resource.post else "nobody"
        yield name, f"`{path.replace('{}', '{id}', 1).replace('{}', '{chain}')}`", ", ".join(methods), signer


def _limits() -> Iterator[tuple[str, str]]:
    settings = Settings()
    yield "body of a request", f"{jws.MAX_BODY:,} bytes (413 beyond)"
    yield "nesting of JSON", f"{wire.MAX_DEPTH} levels"
    documents = "`protected`, `payload`, `certificate`: the body's"
    yield "a string in JSON", f"{wire.MAX_TEXT:,} characters ({documents})"
    yield "contacts of an account", str(accounts.MAX_CONTACTS)
    yield "identifiers of an order", str(orders.MAX_IDENTIFIERS)
    yield "unfinished orders of an account", str(ordering.MAX_OPEN_ORDERS)
    yield "accounts that a user's certificates vouch for in a day", str(registration.MAX_BY_CERTIFICATE)
    yield "orders in a page of the list", "100"
    yield "certificates of a credential outside the renewal period", f"{settings.quota} at a time (its quota)"
    yield "an order waits for its CSR", f"{ordering.ORDER_LIFETIME // 3_600} hours"
    yield "an authorization by credential serves", f"{ordering.AUTHORIZATION_LIFETIME // _DAY} days"
    yield "a nonce is good for", f"{nonces.LIFETIME // 60} minutes"
    yield "renewal information is good for (`Retry-After`)", f"{RETRY_AFTER // 3_600} hours"


def _profiles() -> Iterator[tuple[str, ...]]:
    for name, profile in CLIENTS.items():
        validity = f"{profile.years} years" if profile.years else f"{profile.days} days"
        names = "dNSName `<user-id>.<zone>`" if profile.needs_names else "none"
        yield f"`{name}`", validity, ", ".join(profile.key_kinds), names, profile.description


def _states() -> Iterator[tuple[str, ...]]:
    for state in State:
        if state in WAITING:
            order = "`pending`, `ready`"
        elif state is State.PROCESSING:
            order = "`processing`"
        else:
            order = "`valid` once issued, else `invalid`" if state in ENDED else "`valid`"
        yield f"`{state}`", *LABELS[state], order


# -- exchanges -----------------------------------------------------------------------------------------


@dataclass
class Recorder:
    """Sends requests as a client does and keeps what went to and fro, in the document's spelling."""

    site: Site
    host: str
    texts: dict[str, str] = field(default_factory=dict)
    #: What is random -> what the document says instead, in the order of appearance.
    names: dict[str, str] = field(default_factory=dict)
    #: Exchange -> key, protected header and payload of its request.
    signed: dict[str, tuple[Any, dict[str, Any], Any]] = field(default_factory=dict)

    def called(self, random: str, name: str) -> None:
        self.names.setdefault(random, name)

    async def get(self, name: str, method: str, url: str, headers: tuple[str, ...] = _SHOWN) -> Reply:
        origin = {"Origin": "https://app.example"} if headers is not _SHOWN else {}
        reply = await self.site.call(method, url, headers=origin)
        lines = [f"{key}: {value}" for key, value in origin.items()]
        self._keep(name, "\n".join([self._first(method, url), *lines]), reply, headers)
        return reply

    async def post(self, name: str, client: Client, url: str, payload: Any = "", **changes: Any) -> Reply:
        by_key = changes.pop("by_key", False)
        nonce = changes.pop("nonce", None)
        protected = {"alg": ALGORITHM[client.kind]}
        protected |= {"jwk": jwk(client.key)} if by_key else {"kid": client.kid}
        protected |= {"nonce": nonce or await self.site.nonce(), "url": url}
        reply = await client.send(url, signed(client.key, protected, payload))
        self.signed[name] = (client.key, {**protected, "nonce": nonce or vectors.NONCE}, payload)
        head = f"{self._first('POST', url)}\nContent-Type: application/jose+json"
        self._keep(name, f"{head}\n\n{_JWS}", reply, _SHOWN)
        return reply

    def _first(self, method: str, url: str) -> str:
        path = "/" + url.split("/", 3)[3]
        return f"{method} {path} HTTP/1.1\nHost: {self.host}"

    def _keep(self, name: str, asked: str, reply: Reply, headers: tuple[str, ...]) -> None:
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        for header in headers:
            values = reply.headers.getall(header, [])
            lines += [f"{header}: {_next_nonce(header, value)}" for value in values]
        self.texts[name] = f"{asked}\n\n" + "\n".join(lines) + _body(reply)

    def finished(self) -> dict[str, str]:
        # First all names, in the order of appearance; then the requests, signed as they are shown.
        texts = {name: self._named(text) for name, text in self.texts.items()}
        return {name: text.replace(_JWS, self._signed(name)) for name, text in texts.items()}

    def _signed(self, name: str) -> str:
        """A request's JWS with the document's names in it, and the signature that it has with them."""
        if name not in self.signed:
            return ""
        key, protected, payload = self.signed[name]
        protected = json.loads(self._named(vectors.compact(protected)))
        payload = payload and json.loads(self._named(vectors.compact(_fixed(payload, key))))
        made = vectors.signed(key, protected, payload)
        inner = '""' if payload == "" else f"base64url({_pretty(payload, 2)})"
        body = f'{{\n  "protected": base64url({_pretty(protected, 2)}),\n  "payload": {inner},\n'
        return f'{body}  "signature": "{made["signature"]}"\n}}'

    def _named(self, text: str) -> str:
        text = text.replace(self.site.server.urls.root, f"https://{self.host}/acme")
        for resource in ("account", "order", "authorization", "certificate", "challenge"):
            for found in re.findall(rf"/{resource}/([0-9a-f]{{24}})", text):
                # Order and certificate, authorization and challenge go by one identifier each.
                kind = {"certificate": "order", "challenge": "authorization"}.get(resource, resource)
                count = sum(name.startswith(kind) for name in self.names.values()) + 1
                self.called(found, f"{kind}{count}")
        for random, name in self.names.items():
            text = text.replace(random, name)
        text = re.sub(r'("token": )"[A-Za-z0-9_-]{32}"', r'\1"Vm0xd1IyUXhVWGhYV0d4V1YwZG9XRll3"', text)
        return re.sub(r"\n{3,}", "\n\n", text).strip()


def _fixed(payload: Any, key: Any) -> Any:
    """A payload with the document's own binding and certificate in the place of what was random."""
    fixed = {"externalAccountBinding": vectors.binding(key), "certificate": vectors.der(vectors.SECOND)}
    return {name: fixed.get(name, value) for name, value in payload.items()}


def _next_nonce(header: str, value: str) -> str:
    return vectors.NONCE if header == "Replay-Nonce" else value


def _body(reply: Reply) -> str:
    if not reply.body:
        return "\n"
    if reply.headers["Content-Type"] == "application/pem-certificate-chain":
        leaf = "-----BEGIN CERTIFICATE-----\n(the issuing CA's certificate)\n-----END CERTIFICATE-----\n"
        return f"\n\n{vectors.pem(vectors.FIRST)}{leaf}"
    document = reply.json
    if "newNonce" in document:
        # One member has a random name, to be ignored.
        document = {name: value for name, value in document.items() if name in (*PATHS, "meta")}
    if "externalAccountBinding" in document:
        document["externalAccountBinding"] = vectors.binding(vectors.KEYS["account1"])
    return "\n\n" + _pretty(document)


def _pretty(document: Any, indent: int = 0) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False).replace("\n", "\n" + " " * indent)


async def _exchanges(place: Path) -> dict[str, str]:
    async with world(place) as site:
        recorder = Recorder(site, "pickup.example")
        client, first = await _enrolled(recorder)
        await _refused(recorder, client)
        await _renewed(recorder, client, first)
        texts = recorder.finished()
        async with serve(site.ra, by_certificate=True) as renewal:
            by_certificate = Recorder(renewal, "renewal.example", names=dict(recorder.names))
            await _by_certificate(by_certificate, site)
            return texts | by_certificate.finished()


async def _enrolled(recorder: Recorder) -> tuple[Client, x509.Certificate]:
    """A first certificate, from nothing."""
    site = recorder.site
    credential = await site.credential()
    recorder.called(credential.kid, "4051605117702254")
    await recorder.get("directory", "GET", site.to("directory"))
    await recorder.get("new-nonce", "HEAD", site.to("newNonce"))
    await recorder.get("cors", "OPTIONS", site.to("newOrder"), _CORS)
    client = Client(site, key=vectors.KEYS["account1"])
    payload = {
        "termsOfServiceAgreed": True,
        "contact": ["mailto:ops@example.jp"],
        "externalAccountBinding": client.binding(credential),
    }
    made = await recorder.post("new-account", client, site.to("newAccount"), payload, by_key=True)
    client.kid = made.headers["Location"]
    wanted = {"identifiers": [{"type": "dns", "value": FQDN}], "profile": "client-automated"}
    order = await recorder.post("new-order", client, site.to("newOrder"), wanted)
    await recorder.post("authorization", client, order.json["authorizations"][0])
    payload = {"csr": vectors.csr(vectors.KEYS["certificate"])}
    final = await recorder.post("finalize", client, order.json["finalize"], payload)
    chain = await recorder.post("certificate", client, final.json["certificate"])
    await recorder.post("orders", client, client.kid + "/orders")
    return client, x509.load_pem_x509_certificates(chain.body)[0]


async def _refused(recorder: Recorder, client: Client) -> None:
    """Refusals that a client meets."""
    site = recorder.site
    wanted = {"identifiers": [{"type": "dns", "value": "someone-else.users.kinen.example"}]}
    await recorder.post("rejected-identifier", client, site.to("newOrder"), wanted)
    await recorder.post("bad-nonce", client, site.to("newOrder"), wanted, nonce="c3BlbnQ")
    stranger = Client(site, key=vectors.KEYS["account2"])
    await recorder.post("account-required", stranger, site.to("newAccount"), {}, by_key=True)
    await recorder.get("method-not-allowed", "GET", site.to("newOrder"))


async def _renewed(recorder: Recorder, client: Client, first: x509.Certificate) -> None:
    """Renewal at D-30, and the end."""
    site, clock = recorder.site, clock_of(recorder.site.ra)
    first_id = _cert_id(first)
    recorder.called(first_id, vectors.cert_id(vectors.FIRST))
    url = f"{site.to('renewalInfo')}/{first_id}"
    await recorder.get("renewal-info", "GET", url)
    clock.advance(days=62)
    wanted = {"identifiers": [{"type": "dns", "value": FQDN}], "replaces": first_id}
    order = await recorder.post("new-order-replaces", client, site.to("newOrder"), wanted)
    final = await client.finalize(order)
    again = {"identifiers": [{"type": "dns", "value": FQDN.upper()}], "replaces": first_id}
    await recorder.post("already-replaced", client, site.to("newOrder"), again)
    chain = await client.post(final.json["certificate"])
    second = x509.load_pem_x509_certificates(chain.body)[0]
    recorder.called(_cert_id(second), vectors.cert_id(vectors.SECOND))
    payload = {"certificate": _der(second), "reason": 1}
    await recorder.post("revoke", client, site.to("revokeCert"), payload)
    await recorder.post("already-revoked", client, site.to("revokeCert"), payload)


async def _by_certificate(recorder: Recorder, automated: Site) -> None:
    """client-cert-01: too early, then in the window; with and without the certificate."""
    site, clock = recorder.site, clock_of(recorder.site.ra)
    owner = await automated.enrolled()
    certificate = await owner.certificate()
    client = Client(site, key=vectors.KEYS["account2"])
    site.peer = None
    await recorder.post("cert-no-certificate", client, site.to("newAccount"), {}, by_key=True)
    site.peer = peer_of(site.ra, certificate)
    await recorder.get("cert-directory", "GET", site.to("directory"))
    made = await recorder.post("cert-new-account", client, site.to("newAccount"), {}, by_key=True)
    client.kid = made.headers["Location"]
    wanted = {"identifiers": [{"type": "dns", "value": FQDN}]}
    early = await recorder.post("cert-new-order", client, site.to("newOrder"), wanted)
    shown = await recorder.post("cert-authorization", client, early.json["authorizations"][0])
    challenge = shown.json["challenges"][0]["url"]
    await recorder.post("cert-too-early", client, challenge, {})
    clock.advance(days=62)
    order = await client.order(FQDN)
    (authorization,) = order.json["authorizations"]
    challenge = (await client.post(authorization)).json["challenges"][0]["url"]
    site.peer = None
    await recorder.post("cert-without", client, challenge, {})
    site.peer = peer_of(site.ra, certificate)
    await recorder.post("cert-challenge", client, challenge, {})
    await recorder.post("cert-ready", client, order.headers["Location"])
    payload = {"csr": vectors.csr(vectors.KEYS["renewed"])}
    await recorder.post("cert-finalize", client, order.json["finalize"], payload)


def _cert_id(certificate: x509.Certificate) -> str:
    aki = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return str(CertId(aki.key_identifier or b"", certificate.serial_number))


def _der(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return wire.encode_base64url(certificate.public_bytes(Encoding.DER))


if __name__ == "__main__":
    fresh = generated()
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(updated(DOCUMENT.read_text("utf-8"), fresh), "utf-8")
    else:
        print("\n\n".join(f"== {name}\n{text}" for name, text in fresh.items()))
