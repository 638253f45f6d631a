"""The two ways of a connection's bytes through OpenSSL: what the shorter one does, pyOpenSSL's methods do."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from OpenSSL import SSL

from gateway.edge import bios, calls, tls
from gateway.edge.bios import RECORD, WIRE, Bios, Direct, Public
from gateway.edge.contexts import build_entry
from gateway.edge.handshake import begin
from tests.gateway.rawtls import issue

WAYS = pytest.mark.parametrize("way", [Direct, Public])
Way = Callable[[SSL.Connection], Bios]


def _established(way: Way) -> tuple[SSL.Connection, Bios, SSL.Connection]:
    """A session of ours after its handshake with its BIOs, and the client's."""
    now = datetime.now(UTC)
    times = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=1)}
    pem = issue("server", hosts=("localhost",), purpose=None, **times).pem
    certificate = tls.KeyedChain.from_pem(pem[: pem.index(b"-----BEGIN PRIVATE")], pem)
    site = tls.Site(name="a", hosts=("localhost",), certificate=certificate)
    session = begin(build_entry(tls.SiteTable([site]))).session
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_tlsext_host_name(b"localhost")
    client.set_connect_state()
    ours = way(session)
    for _ in range(4):
        for side in (client, session):
            with suppress(SSL.WantReadError):
                side.do_handshake()
            if side is client:
                _put(ours, client)
            elif data := ours.take():
                client.bio_write(data)
    return session, ours, client


def _put(ours: Bios, client: SSL.Connection) -> None:
    with suppress(SSL.WantReadError):
        ours.put(client.bio_read(WIRE))


def test_the_shorter_way_is_there() -> None:
    """With the pyOpenSSL that is locked nothing takes the longer one."""
    assert calls.DIRECT
    session = SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD), None)
    assert type(bios.bios(session)) is Direct


@WAYS
def test_bytes_arrive_as_they_left(way: Way) -> None:
    """Both directions, any length, record by record: what one side wrote is what the other reads."""
    _, ours, client = _established(way)
    drawn = random.Random(1)
    for size in (1, 2, 100, RECORD - 1, RECORD, RECORD + 1, 3 * RECORD):
        data = drawn.randbytes(size)
        client.sendall(data)
        with suppress(SSL.WantReadError):
            while True:
                ours.put(client.bio_read(WIRE))
        got = b""
        while piece := ours.read():
            assert len(piece) <= RECORD
            got += piece
        assert got == data
        at = 0
        while at < size:
            count = ours.write(data[at : at + RECORD])
            assert 0 < count <= RECORD
            at += count
        answer = b""
        while wire := ours.take():
            assert len(wire) <= WIRE
            client.bio_write(wire)
        while len(answer) < size:
            answer += client.recv(WIRE)
        assert answer == data


@WAYS
def test_nothing_there_is_no_fault(way: Way) -> None:
    """Without a whole record nothing is read, without anything written nothing is taken; then it goes on."""
    _, ours, client = _established(way)
    assert (ours.read(), ours.take()) == (b"", b"")
    client.send(b"hello")
    wire = client.bio_read(WIRE)
    ours.put(wire[:-1])
    assert ours.read() == b""
    ours.put(wire[-1:])
    assert (ours.read(), ours.read()) == (b"hello", b"")


@WAYS
def test_the_peers_goodbye_is_told_from_a_fault(way: Way) -> None:
    """close_notify is ZeroReturnError; a record that was changed on its way is an Error, with its reason."""
    session, ours, client = _established(way)
    client.send(b"last")
    client.shutdown()
    ours.put(client.bio_read(WIRE))
    assert ours.read() == b"last"
    with pytest.raises(tls.CloseNotify):
        ours.read()
    session, ours, client = _established(way)
    client.send(b"hello")
    wire = bytearray(client.bio_read(WIRE))
    wire[-1] ^= 1
    ours.put(bytes(wire))
    with pytest.raises(tls.TlsError) as caught:
        ours.read()
    assert tls.reason_of(caught.value) == "record layer failure"
    with pytest.raises(tls.TlsError):
        ours.read()
    session, ours, client = _established(way)
    session.shutdown()
    with pytest.raises(tls.TlsError) as after:
        ours.write(b"too late")
    assert tls.reason_of(after.value) == "protocol is shutdown"


@WAYS
def test_nothing_is_lost_when_memory_is_given_back(way: Way) -> None:
    """What came behind the handshake, whole or not, is read after it as before; the session goes on."""
    session, ours, client = _established(way)
    client.send(b"first")
    client.send(b"second")
    wire = client.bio_read(WIRE)
    ours.put(wire[:-3])
    ours.trim()
    assert (ours.read(), ours.read()) == (b"first", b"")
    ours.trim()  # within a record
    ours.put(wire[-3:])
    assert ours.read() == b"second"
    assert ours.write(b"answer") == 6
    client.bio_write(ours.take())
    assert client.recv(WIRE) == b"answer"
    session.shutdown()
    client.bio_write(ours.take())
    with pytest.raises(SSL.ZeroReturnError):
        client.recv(WIRE)


def test_both_ways_on_one_session() -> None:
    """They keep no state of their own: each reads what the other one put, and takes what it wrote."""
    session, direct, client = _established(Direct)
    public = Public(session)
    for one, other in ((direct, public), (public, direct)):
        client.send(b"ping")
        one.put(client.bio_read(WIRE))
        assert other.read() == b"ping"
        assert one.write(b"pong") == 4
        client.bio_write(other.take())
        assert client.recv(WIRE) == b"pong"


def test_no_thread_writes_into_another_ones_buffer() -> None:
    """OpenSSL works without the interpreter's lock, so that threads with loops of their own share nothing."""
    found: list[bool] = []

    def work(mark: bytes) -> None:
        _, ours, client = _established(Direct)
        for _ in range(300):
            client.send(mark * 500)
            ours.put(client.bio_read(WIRE))
            found.append(ours.read() == mark * 500)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in (b"a", b"b", b"c")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 900
    assert all(found)


@pytest.mark.parametrize("name", ["_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error", "_handle_bio_errors"])
def test_another_pyopenssl_is_asked_by_its_methods(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name missing, and the longer way is taken; nothing fails."""

    class Other(SSL.Connection):
        def __getattribute__(self, wanted: str) -> object:
            if wanted == name:
                raise AttributeError(wanted)
            return super().__getattribute__(wanted)

        def __getattr__(self, wanted: str) -> object:
            raise AttributeError(wanted)

        def __init__(self, *_: object) -> None:
            self._ssl = self._into_ssl = self._from_ssl = None

    monkeypatch.setattr(SSL, "Connection", Other)
    assert calls.names() == (None, None)
