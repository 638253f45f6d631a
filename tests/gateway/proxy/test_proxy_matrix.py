"""SNI x Host x position on the connection x resumption x certificate x site policy, generated.

DENY means that the protected upstream's counter did not move and no assertion left the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from ca.clock import ManualClock
from ca.revocation import RevocationStatus
from gateway.edge.facts import Limits
from gateway.edge.listener import Listener
from gateway.proxy.relay import Proxied, Relay, explained
from gateway.proxy.rules import rules_of
from gateway.proxy.upstream import Pool, Upstream, parse_addresses
from gateway.wire.handlers import Handlers
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import IDENTITY
from tests.gateway.proxy.upstreams import recording
from tests.gateway.rawtls import START, Closed, Issued, client_context, connect, get, issue
from tests.gateway.samples import check, login, open_site

CERTIFICATES = (
    "none",
    "good",
    "expired",
    "future",
    "revoked",
    "other-ca",
    "server-eku",
    "self-signed",
    "same-dn",
)
SITES = {"login": b"login.test", "check": b"check.test", "open": b"enroll.test"}
SNIS = (
    b"login.test",
    b"LOGIN.TEST",
    b"check.test",
    b"fresh.check.test",
    b"enroll.test",
    b"login.test.",
    None,
)
HOSTS = (
    b"login.test", b"LOGIN.test", b"login.test:{port}", b"login.test.", b"login.test.:{port}",
    b"login.test:1",
    b"check.test", b"fresh.check.test", b"enroll.test", b"a@login.test", b"login.test, check.test", b"",
    b"xn--login-.test", b"[::1]",
)  # fmt: skip
TARGETS = (b"/", b"https://login.test/", b"//login.test/")


@dataclass(frozen=True)
class Case:
    """One row: what the client says, and whether it may pass."""

    sni: bytes | None
    host: bytes
    target: bytes
    position: int
    certificate: str

    @property
    def site(self) -> str | None:
        name = None if self.sni is None else self.sni.lower()
        if name in (b"login.test", b"enroll.test"):
            return "login" if name == b"login.test" else "open"
        return "check" if name is not None and name.endswith(b"check.test") else None

    @property
    def allowed(self) -> bool:
        """A verified certificate, on a site that looks at it, with the Host of the handshake."""
        own = self.sni is not None and self.host.lower().removesuffix(b":{port}") == self.sni.lower()
        entitled = self.certificate == "good" and self.site in ("login", "check")
        return own and entitled and self.target == b"/"


def cases() -> Iterator[Case]:
    """Every Host under every SNI with a good certificate; every certificate where the Host is right."""
    for sni, host, position in product(SNIS, HOSTS, (0, 1, 2)):
        yield Case(sni, host, b"/", position, "good")
    for sni, target in product(SNIS, TARGETS):
        yield Case(sni, b"login.test", target, 0, "good")
    for sni, certificate, position in product(SNIS, CERTIFICATES, (0, 2)):
        yield Case(sni, b"login.test" if sni is None else sni.lower(), b"/", position, certificate)


@pytest.fixture(scope="module")
def people(pki: Pki) -> dict[str, Issued | None]:
    day = timedelta(days=1)
    return {
        "none": None,
        "good": pki.client,
        "expired": issue("e", pki.ca, not_before=START - 9 * day, not_after=START - day),
        "future": issue("f", pki.ca, not_before=START + day),
        "revoked": issue("r", pki.ca),
        "other-ca": pki.stranger,
        "server-eku": issue("s", pki.ca, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        "self-signed": issue("1234567890"),
        "same-dn": issue("1234567890", issue("CA-G4", ca=True)),
    }


@pytest.mark.slow
async def test_the_counter_moves_for_the_entitled_only(pki: Pki, people: dict[str, Issued | None]) -> None:
    """V1 to V14, V26, V32: over the whole matrix, allowed requests are counted and no other."""
    async with recording() as upstream:
        pool = Pool(Upstream(parse_addresses([upstream.url])))
        await pool.start()
        listener = _listener(pki, people, pool)
        port = await listener.start()
        wrong = []
        total = 0
        try:
            for case in cases():
                total += 1
                before = len(upstream.requests)
                await _ask(case, port, people[case.certificate])
                moved = len(upstream.requests) - before
                told = [seen for seen in upstream.requests[before:] if seen.values("sekisho-assertion")]
                # Earlier positions ask for the site's own name and may pass; the case itself is the last.
                expected = case.position * _opening(case).allowed + case.allowed
                if (moved, len(told)) != (expected, expected):
                    wrong.append((case, moved, len(told)))
        finally:
            await listener.stop()
            await pool.stop()
        assert wrong == []
        assert total > 400
        assert len(upstream.requests) > 50


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_no_session_carries_a_certificate_along(
    pki: Pki, people: dict[str, Issued | None], version: int
) -> None:
    """V13 to V18: every session of every site offered to every site is a full handshake, judged anew."""
    async with recording() as upstream:
        pool = Pool(Upstream(parse_addresses([upstream.url])))
        await pool.start()
        listener = _listener(pki, people, pool)
        port = await listener.start()
        try:
            for state, first, second in product(("good", "revoked", "other-ca"), SITES, SITES):
                context = client_context(certificate=people[state], version=version)
                async with connect(port, SITES[first], context=context) as client:
                    await client.send(get(SITES[first]))
                    await client.answer()
                    session = client.tls.get_session()
                before = len(upstream.requests)
                passes = state == "good" and second != "open"
                async with connect(port, SITES[second], context=context, session=session) as client:
                    assert not client.resumed
                    status = (await client.get(SITES[second])).status
                assert (status, len(upstream.requests) - before) == ((200, 1) if passes else (403, 0))
        finally:
            await listener.stop()
            await pool.stop()


def _listener(pki: Pki, people: dict[str, Issued | None], pool: Pool) -> Listener:
    clock = ManualClock(START)
    relay = Relay(Proxied(pool, IDENTITY, rules_of({}, "certificate")), now=clock.seconds)
    revoked = people["revoked"]
    assert revoked is not None
    return Listener(
        [replace(site(pki), handler=explained(), relay=relay) for site in (open_site, login, check)],
        wire=Handlers(),
        clock=clock,
        status=lambda fingerprint: (
            RevocationStatus.REVOKED if fingerprint == revoked.fingerprint else RevocationStatus.GOOD
        ),
        limits=Limits(tick=0.02, drain=0.2, lingering=0.2),
    )


def _opening(case: Case) -> Case:
    name = b"login.test" if case.sni is None else case.sni.lower()
    return replace(case, host=name, target=b"/", position=0)


async def _ask(case: Case, port: int, certificate: Issued | None) -> None:
    host = case.host.replace(b"{port}", str(port).encode())
    try:
        async with connect(port, case.sni, certificate=certificate) as client:
            for _ in range(case.position):
                await client.get(_opening(case).host)
            answer = await client.get(host, case.target)
            assert answer.status in ({200} if case.allowed else {400, 403, 421}), (case, answer.status)
    except Closed:
        assert not case.allowed, case
