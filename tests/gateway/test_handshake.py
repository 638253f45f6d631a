"""The two ways through a handshake: what OpenSSL's own calls learn, pyOpenSSL's methods learn as well."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from ca.anchors import TrustAnchors
from ca.trust import Presentation
from gateway.edge import handshake as room
from gateway.edge.calls import DIRECT
from gateway.edge.contexts import build_entry
from gateway.edge.handshake import Direct, Entry, ForeignProtocol, Handshake, begin
from gateway.edge.tls import ClientCertificate, Site, SiteTable, TlsError, failure_of
from tests.gateway.rawtls import Issued, issue

WAYS = pytest.mark.parametrize("direct", [True, False], ids=["direct", "public"])


CA, FOREIGN = issue("CA-G4", ca=True), issue("CA-G4", ca=True)
GOOD, STRANGER = issue("1234567890", CA), issue("1234567890", FOREIGN)


def _entry(*, direct: bool) -> Entry:
    """A site that asks for a certificate, and one that does not."""
    certificate = issue("server", hosts=("a.example", "b.example"), purpose=None).for_server()
    anchors = TrustAnchors.of([CA.certificate])
    asking = ClientCertificate.ASK
    return build_entry(
        SiteTable(
            [
                Site(
                    name="a", hosts=("a.example",), certificate=certificate, client_certificate=asking,
                    anchors=anchors, advertised=anchors.issuers,
                ),
                Site(name="b", hosts=("b.example",), certificate=certificate),
            ]
        ),
        direct=direct,
    )  # fmt: skip


def _client(
    name: str = "a.example",
    presents: Issued | None = None,
    *,
    version: int = SSL.TLS1_3_VERSION,
    alpn: list[bytes] | None = None,
) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if presents is not None:
        context.use_certificate(presents.certificate)
        context.use_privatekey(presents.key)
    client = SSL.Connection(context, None)
    if alpn is not None:
        client.set_alpn_protos(alpn)
    if name:
        client.set_tlsext_host_name(name.encode())
    client.set_connect_state()
    return client


def _shake(ours: Handshake, client: SSL.Connection) -> bool:
    """To its end, a few bytes at a time: so that each side waits in the middle of messages, too."""
    for _ in range(6):
        with suppress(SSL.WantReadError):
            client.do_handshake()
        done = False
        with suppress(SSL.WantReadError):
            while data := client.bio_read(700):
                ours.session.bio_write(data)
                done = ours.advance()
        with suppress(SSL.WantReadError):
            client.bio_write(ours.session.bio_read(65_536))
        if done:
            return True
    return False


#: Site, name, certificate, and what was agreed on.
Learnt = tuple[str | None, str | None, Presentation, tuple[str, str, str | None, str]]


def _learnt(direct: bool, client: SSL.Connection) -> Learnt:
    ours = begin(_entry(direct=direct))
    assert type(ours) is (Direct if direct else Handshake)
    assert _shake(ours, client)
    site = ours.site.name if ours.site is not None else None
    learnt = (site, ours.server_name, ours.presentation(), ours.agreed())
    ours.over()
    return learnt


CLIENTS = {
    "a certificate of ours": lambda: _client(presents=GOOD),
    "another CA of the same name": lambda: _client(presents=STRANGER),
    "none": _client,
    "a site that asks for none": lambda: _client("b.example", presents=GOOD),
    "a name that is no site's": lambda: _client("c.example", presents=GOOD),
    "no name": lambda: _client("", presents=GOOD),
    "TLS 1.2": lambda: _client(presents=GOOD, version=SSL.TLS1_2_VERSION),
    "a browser's protocols": lambda: _client(presents=GOOD, alpn=[b"h2", b"http/1.1"]),
}


@pytest.mark.parametrize("who", CLIENTS)
def test_both_ways_learn_the_same(who: str) -> None:
    """Site, name, certificate, OpenSSL's findings, version, cipher, group and protocol: all of it alike."""
    assert _learnt(True, CLIENTS[who]()) == _learnt(False, CLIENTS[who]())


@WAYS
def test_what_is_presented_is_noted(direct: bool) -> None:
    """The leaf as it came, with OpenSSL's numbers where it found faults; without one nothing is verified."""
    _, _, presented, (version, _, _, protocol) = _learnt(direct, CLIENTS["a certificate of ours"]())
    der = GOOD.certificate.public_bytes(Encoding.DER)
    assert (presented.leaf, presented.errors, presented.verified) == (der, (), True)
    assert (version, protocol) == ("TLSv1.3", "")
    _, _, presented, _ = _learnt(direct, CLIENTS["another CA of the same name"]())
    assert presented.verified
    assert presented.errors == ((20, 0),)
    _, _, presented, _ = _learnt(direct, CLIENTS["none"]())
    assert (presented.leaf, presented.verified) == (None, False)


@WAYS
def test_a_foreign_protocol_ends_this_handshake_and_no_other(direct: bool) -> None:
    """RFC 7301 3.2. OpenSSL keeps errors by thread: what one connection did is not held against the next."""
    ours, client = begin(_entry(direct=direct)), _client(alpn=[b"h2", b"http/1"])
    waiting = begin(_entry(direct=direct))
    with pytest.raises(ForeignProtocol) as caught:
        _shake(ours, client)
    assert failure_of(caught.value) == "alpn"
    assert waiting.advance() is False
    assert _shake(waiting, _client(alpn=[b"http/1.1"]))
    assert waiting.agreed()[3] == "http/1.1"


@WAYS
def test_a_record_that_is_none_is_told_with_its_reason(direct: bool) -> None:
    """What is no TLS raises TlsError, by whose reason it is counted; the next handshake goes on."""
    ours = begin(_entry(direct=direct))
    ours.session.bio_write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    with pytest.raises(TlsError) as caught:
        ours.advance()
    assert failure_of(caught.value) == "plaintext"
    assert _shake(begin(_entry(direct=direct)), _client())


@WAYS
def test_a_fault_of_ours_within_a_callback_refuses(direct: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Fail closed: whatever the choice of a site raises, the handshake ends, and the fault is told (by
    pyOpenSSL's way on stderr)."""

    class Broken(SiteTable):
        def lookup(self, name: str) -> Site | None:
            raise RuntimeError("a table that breaks")

    entry = _entry(direct=direct)
    ours = begin(Entry(Broken(entry.table.sites), entry.context, entry.by_site, direct))
    with pytest.raises(RuntimeError if direct else TlsError) as caught:
        _shake(ours, _client(presents=GOOD))
    assert "a table that breaks" in f"{caught.value} {capsys.readouterr().err}"
    assert _shake(begin(_entry(direct=direct)), _client(presents=GOOD))


@WAYS
def test_nothing_keeps_a_handshake_that_is_over(direct: bool) -> None:
    """Neither finished nor given up: `over` lets all of it go at once, without Python's collector."""
    before = len(room._running)
    gc.disable()
    try:
        for finished in (True, False):
            ours, client = begin(_entry(direct=direct)), _client(presents=GOOD)
            assert not finished or _shake(ours, client)
            kept = weakref.ref(ours.session)
            ours.over()
            del ours
            assert kept() is None
        assert len(room._running) == before
    finally:
        gc.enable()


def test_the_shorter_way_is_taken() -> None:
    """With the pyOpenSSL that is locked nothing takes the longer one."""
    assert DIRECT
    assert type(begin(build_entry(_entry(direct=True).table))) is Direct
