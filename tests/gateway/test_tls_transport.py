"""The TLS layer by itself: versions, ALPN, plaintext, floods, callbacks that fail."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from gateway.edge import calls, handshake
from gateway.edge.facts import Limits
from gateway.edge.records import Records
from gateway.edge.tls import SiteTable
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import Closed, client_context, connect, get
from tests.gateway.samples import check, login, open_site
from tests.started import started_async

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
async def test_old_versions_are_refused(serve: Serve, pki: Pki, version: int) -> None:
    """V19: nothing below TLS 1.2, with the alert that says so."""
    running = await serve(open_site(pki))
    context = client_context(version=version, ciphers=b"ALL:@SECLEVEL=0")
    with pytest.raises(Closed, match="protocol version"):
        async with connect(running.port, b"enroll.test", context=context):
            pass


@pytest.mark.parametrize(
    ("ciphers", "accepted"),
    [(b"ECDHE-ECDSA-AES128-GCM-SHA256", True), (b"ECDHE-ECDSA-AES128-SHA", False), (b"AES128-SHA", False)],
)
async def test_tls12_suites(serve: Serve, pki: Pki, ciphers: bytes, accepted: bool) -> None:
    """TLS 1.2 has forward secrecy and AEAD, or it is not spoken."""
    running = await serve(open_site(pki))
    context = client_context(version=SSL.TLS1_2_VERSION, ciphers=ciphers)
    if accepted:
        async with connect(running.port, b"enroll.test", context=context) as client:
            assert (await client.get(b"enroll.test")).status == 200
    else:
        with pytest.raises(Closed, match="handshake failure"):
            async with connect(running.port, b"enroll.test", context=context):
                pass


async def test_the_hybrid_group_is_taken(serve: Serve, pki: Pki) -> None:
    """X25519MLKEM768 is what two current OpenSSLs agree on."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        assert (await client.get(b"enroll.test")).status == 200
        (info,) = running.listener.connections()
        assert info.group == "X25519MLKEM768"


@pytest.mark.parametrize("alpn", [[b"h2"], [b"ftp"], [b"smtp", b"http/1.0"], [b"HTTP/1.1"]])
async def test_foreign_alpn_is_refused(serve: Serve, pki: Pki, alpn: list[bytes]) -> None:
    """V49: a client that means another protocol gets no_application_protocol, not ours."""
    running = await serve(open_site(pki))
    with pytest.raises(Closed, match="no application protocol"):
        async with connect(running.port, b"enroll.test", alpn=alpn):
            pass
    assert running.listener.counts["handshake.done"] == 0
    async with connect(running.port, b"enroll.test", alpn=[b"h2", b"http/1.1"]) as client:
        assert client.tls.get_alpn_proto_negotiated() == b"http/1.1"
        assert (await client.get(b"enroll.test")).status == 200


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"version": SSL.TLS1_1_VERSION, "ciphers": b"ALL:@SECLEVEL=0"}, "version"),
        ({"version": SSL.TLS1_2_VERSION, "ciphers": b"AES128-SHA"}, "cipher"),
        ({"alpn": [b"h2"]}, "alpn"),
    ],
)
async def test_failed_handshakes_have_stable_words(
    serve: Serve, pki: Pki, told: dict[str, Any], word: str
) -> None:
    """What a handshake failed of is a word of ours, for the figures; OpenSSL's own words are the detail."""
    running = await serve(open_site(pki))
    more = {"alpn": told.pop("alpn")} if "alpn" in told else {}
    context = client_context(**told) if told else None
    with pytest.raises(Closed):
        async with connect(running.port, b"enroll.test", context=context, **more):
            pass
    assert running.listener.counts[f"handshake.failed.{word}"] == 1


@pytest.mark.parametrize(
    ("words", "word"),
    [(b"GET / HTTP/1.1\r\n\r\n", "plaintext"), (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 443\r\n", "not-tls")],
)
async def test_what_is_no_tls_has_a_word_too(serve: Serve, pki: Pki, words: bytes, word: str) -> None:
    """As above, for peers that begin otherwise."""
    running = await serve(open_site(pki))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(words)
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert running.listener.counts[f"handshake.failed.{word}"] == 1


async def test_a_client_that_does_not_trust_us_is_told_apart(serve: Serve, pki: Pki) -> None:
    """Its alert is a word of its own: mostly our certificate is at fault, which an operator can mend."""
    running = await serve(open_site(pki))

    def visit() -> None:
        with socket.create_connection(("127.0.0.1", running.port)) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname="enroll.test")

    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(visit)
    await asyncio.sleep(0.1)
    assert running.listener.counts["handshake.failed.alert"] == 1


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: enroll.test\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: enroll.test\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"PROPFIND /x HTTP/1.1\r\n\r\n",
        b"CONNECT enroll.test:443 HTTP/1.1\r\n\r\n",
        b"GET http://enroll.test/ HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /",
    ],
)
async def test_plain_http_is_told_to_come_by_https(serve: Serve, pki: Pki, words: bytes) -> None:
    """V43: one line of text that names https, the same for whatever was asked, and the end: no request comes
    of it, and no other protocol."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, lingering=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(words)
    said = await asyncio.wait_for(reader.read(), 60)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in head
    assert b"text/plain" in head
    assert (body.count(b"\n"), b"https://" in body) == (1, True)
    assert running.listener.counts["handshake.failed.plaintext"] == 1
    # Who stays is not waited for longer than after any early answer.
    async with asyncio.timeout(60):
        while running.listener.open_connections:
            await asyncio.sleep(0.01)
    writer.close()
    counted = {name for name, number in running.listener.counts.items() if number}
    assert counted == {"handshake.failed.plaintext"}


@pytest.mark.parametrize(
    "words",
    [
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 443\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO mail.test\r\n",
        b"get / http/1.1\r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05GET / HTTP/1.1\r\n\r\n",
        b"\0" * 600,
        b"\x80\x2e\x01\x00\x02",
    ],
)
async def test_plaintext_is_not_heard(serve: Serve, pki: Pki, words: bytes) -> None:
    """V43: what is neither TLS nor HTTP ends the connection without a word of HTTP."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, handshake=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(words)
    said = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert b"HTTP" not in said
    assert running.listener.counts["handshake.done"] == 0


async def test_an_upgrade_to_tls_within_tls_is_ignored(serve: Serve, pki: Pki) -> None:
    """V43: `Upgrade: TLS/1.0` changes nothing; what follows the request is nobody's."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        lines = (b"Upgrade: TLS/1.0", b"Connection: Upgrade")
        await client.send(get(b"enroll.test", b"/", *lines) * 2)
        assert (await client.answer()).status == 200
        assert (await client.end()).alert == "close_notify"


@pytest.mark.parametrize(("whose", "callback"), [(SiteTable, "lookup"), (SSL.Connection, "set_context")])
async def test_a_failing_sni_callback_kills_the_handshake(
    serve: Serve, pki: Pki, whose: type, callback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V23: an exception while the site is chosen is the end, not a fallback."""
    running = await serve(check(pki), login(pki))

    def fail(*_: Any) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(whose, callback, fail)
        with pytest.raises(Closed):
            async with connect(running.port, b"login.test", certificate=pki.client):
                pass
    assert running.listener.counts["handshake.failed.fault"] == 1
    assert running.listener.counts["handshake.done"] == 0
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        assert (await client.get(b"login.test")).status == 200


async def test_a_failing_verify_callback_kills_the_handshake(
    serve: Serve, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail closed: a record that could not be written is no clean record."""

    class Failing:
        """OpenSSL's calls, one of which fails."""

        def __getattr__(self, name: str) -> Any:
            if name == "X509_STORE_CTX_get_error":
                raise RuntimeError("planted")
            return getattr(calls.lib, name)

    monkeypatch.setattr(handshake, "lib", Failing())
    running = await serve(login(pki))
    with pytest.raises(Closed):
        async with connect(running.port, b"login.test", certificate=pki.client) as client:
            await client.get(b"login.test")
    assert running.listener.counts["handshake.failed.fault"] == 1
    assert running.listener.counts["handshake.done"] == 0


@needs_openssl
async def test_renegotiation_is_refused(serve: Serve, pki: Pki) -> None:
    """V31: TLS 1.2 renegotiation gets no_renegotiation; no request follows it."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02))
    out = await _s_client(running.port, ["-tls1_2"], b"R\n", want=b"no renegotiation")
    assert "no renegotiation" in out


@needs_openssl
async def test_a_few_key_updates_are_fine(serve: Serve, pki: Pki) -> None:
    """V50: KeyUpdate is a right of the client."""
    running = await serve(open_site(pki))
    say = b"K\n" * 5 + get(b"enroll.test", b"/", b"Connection: close").replace(b"\r\n", b"\n")
    out = await _s_client(running.port, ["-tls1_3", "-crlf"], say, want=b"200 OK")
    assert "200 OK" in out


@needs_openssl
async def test_a_flood_of_key_updates_is_ended(serve: Serve, pki: Pki) -> None:
    """V50: records that carry nothing have a budget, and then the connection ends."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, barren_bytes=2_000))
    await _s_client(running.port, ["-tls1_3"], b"K\n" * 400)
    assert running.listener.counts["barren"] == 1


async def test_one_byte_records_are_no_flood(serve: Serve, pki: Pki) -> None:
    """The budget is for records without data; the smallest with data are paid for."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, barren_bytes=2_000))
    request = get(b"enroll.test", b"/", b"X-Long: " + b"x" * 1_000)
    async with connect(running.port, b"enroll.test") as client:
        for at in range(len(request)):
            client.tls.send(request[at : at + 1])
            if at % 50 == 0:
                await client.push()
        await client.push()
        assert (await client.answer()).status == 200


async def test_an_endless_handshake_is_ended(serve: Serve, pki: Pki) -> None:
    """V29, V46: the bytes of a handshake are bounded."""
    running = await serve(open_site(pki), limits=Limits(tick=0.02, handshake_bytes=5_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"\x16\x03\x01\x00\x04\x01\x01\xff\x00" + b"\x16\x03\x01\x00\x01\x00" * 2_000)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()
    assert running.listener.counts["handshake.too-long"] == 1


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_close_notify_is_answered(serve: Serve, pki: Pki, version: int) -> None:
    """RFC 8446 6.1: a client that says goodbye hears one."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test", version=version) as client:
        client.tls.shutdown()
        await client.push()
        assert (await client.end()).alert == "close_notify"


async def test_garbage_after_the_handshake_gets_an_alert(serve: Serve, pki: Pki) -> None:
    """A record that does not decrypt ends the connection with bad_record_mac."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        client.writer.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert (await client.end()).alert.endswith("alert bad record mac")


async def _s_client(port: int, options: list[str], say: bytes, *, want: bytes = b"") -> str:
    """A session that reads commands line by line, as from a terminal, until ``want`` is read or it ends."""
    place = ("-connect", f"127.0.0.1:{port}", "-servername", "enroll.test")
    pipe = asyncio.subprocess.PIPE
    async with started_async(
        ["openssl", "s_client", *place, *options], stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen = await _read_until(process.stdout, b"Verify return code")
        with contextlib.suppress(ConnectionError):  # the server may have ended it, and s_client with it
            for line in say.splitlines(keepends=True):
                process.stdin.write(line)
                # It takes a command only at the start of a read, and says which one it took.
                if echo := _ECHOES.get(line):
                    seen += await _read_until(process.stdout, echo)
        if want not in seen or not want:
            seen += await _read_until(process.stdout, want)
    return seen.decode(errors="replace")


_ECHOES = {b"K\n": b"KEYUPDATE", b"R\n": b"RENEGOTIATING"}


async def _read_until(stream: asyncio.StreamReader, want: bytes) -> bytes:
    """Up to ``want``, or to the end where there is none."""
    seen = b""
    while (not want or want not in seen) and (more := await asyncio.wait_for(stream.read(65_536), 60)):
        seen += more
    return seen


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(1, 60), max_size=40), st.binary())
def test_records_are_counted_in_any_pieces(bodies: list[bytes], sizes: list[int], rest: bytes) -> None:
    """However the stream is cut, as many records end as were whole in it."""
    stream = b"".join(b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body for body in bodies)
    stream += b"\x17\x03\x03\xff\xff" + rest
    records, at, ended = Records(), 0, 0
    for size in [*sizes, len(stream)]:
        ended += records.ended_in(stream[at : at + size])
        at += size
    assert ended == len(bodies)
