"""Upstreams of other kinds: https with a pinned CA, Debian's nginx; and what a configuration may say."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from ca.clock import ManualClock
from ca.errors import ConfigError
from ca.revocation import RevocationStatus
from gateway.edge.facts import Limits
from gateway.edge.listener import Listener
from gateway.proxy.relay import Proxied, Relay
from gateway.proxy.upstream import Pool, Upstream, parse_addresses
from gateway.wire.handlers import Handlers
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import AT, CERTIFICATE_ONLY, IDENTITY, Stand
from tests.gateway.proxy.upstreams import Script, running, saying
from tests.gateway.rawtls import START, Issued, connect, everything, get, issue
from tests.gateway.samples import login
from tests.ports import free_port
from tests.started import started

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_NOW = datetime.now(UTC)
TIMES = {"not_before": _NOW - timedelta(days=1), "not_after": _NOW + timedelta(days=30)}
_NGINX = """
daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{ access_log {dir}/access.log; client_body_temp_path {dir}/t; proxy_temp_path {dir}/t;
  fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t; underscores_in_headers on;
  server {{ listen 127.0.0.1:{port}; default_type text/plain; gzip on; gzip_types text/plain;
    gzip_proxied any; gzip_min_length 1;
    location / {{ return 200 "$request_method $request_uri $host $http_x_forwarded_for\\n"; }}
    location /file {{ root {dir}; }} }} }}
"""


def pem(issued: Issued) -> str:
    return issued.certificate.public_bytes(Encoding.PEM).decode()


@asynccontextmanager
async def https(folder: Path, server: Issued) -> AsyncIterator[int]:
    file = folder / "upstream.pem"
    file.write_bytes(server.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    script = saying(*[OK] * 4)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def test_https_trusts_the_pinned_ca_alone(stand: Stand, pki: Pki, tmp_path: Path) -> None:
    """The pinned CA and the right name are let in; another CA or another name is 502."""
    ca, other = issue("upstream CA", ca=True, **TIMES), issue("upstream CA", ca=True, **TIMES)
    server = issue("app.internal", ca, hosts=("app.internal",), purpose=None, **TIMES)
    async with https(tmp_path, server) as port:
        url = f"https://127.0.0.1:{port}"
        for pinned, name, status in (
            (ca, "app.internal", 200),
            (other, "app.internal", 502),
            (ca, "other.internal", 502),
        ):
            front = await stand(url, ca_pem=pem(pinned), server_name=name)
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                assert (await client.get(b"login.test")).status == status


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("goodbye", [True, False])
def test_a_fin_is_no_end_of_an_answer(pki: Pki, loop: str, goodbye: bool) -> None:
    """RFC 9112 9.8: over TLS, an answer that lasts until the end of the connection is whole only if the
    upstream said so by close_notify; anybody on the way can send a FIN."""
    ca = issue("upstream CA", ca=True, **TIMES)
    server = issue("app.internal", ca, hosts=("app.internal",), purpose=None, **TIMES)

    async def answer() -> tuple[bytes, str]:
        async with running(until_close(server, goodbye)) as port:
            address = parse_addresses(
                [f"https://127.0.0.1:{port}"], ca_pem=pem(ca), server_name="app.internal"
            )
            pool = Pool(Upstream(address))
            await pool.start()
            relay = Relay(Proxied(pool, IDENTITY, CERTIFICATE_ONLY), now=lambda: AT)
            listener = Listener(
                [replace(login(pki), relay=relay)],
                wire=Handlers(),
                clock=ManualClock(START),
                status=lambda _: RevocationStatus.GOOD,
                limits=Limits(tick=0.02, drain=0.2),
            )
            here = await listener.start()
            async with connect(here, b"login.test", certificate=pki.client) as client:
                await client.send(get(b"login.test", b"/", b"Connection: close"))
                said = await everything(client)
            await listener.stop()
            await pool.stop()
            return said

    got, alert = (uvloop.run if loop == "uvloop" else asyncio.run)(answer())
    assert b"pay 100" in got
    assert (got.endswith(b"0\r\n\r\n"), alert == "close_notify") == (goodbye, goodbye)


def until_close(server: Issued, goodbye: bool) -> Script:
    """An https upstream whose answer lasts until the end of the connection."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(server.certificate)
    context.use_privatekey(server.key)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = SSL.Connection(context, None)
        tls.set_accept_state()
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            try:
                said += tls.recv(65_536)
            except SSL.WantReadError:
                flush(tls, writer)
                tls.bio_write(await reader.read(65_536))
        tls.send(b"HTTP/1.1 200 OK\r\n\r\npay 100")
        flush(tls, writer)
        await writer.drain()
        await asyncio.sleep(0.05)
        if goodbye:
            tls.shutdown()
            flush(tls, writer)
        writer.close()

    return script


def flush(tls: SSL.Connection, writer: asyncio.StreamWriter) -> None:
    with suppress(SSL.WantReadError):
        writer.write(tls.bio_read(65_536))


@pytest.mark.parametrize(
    ("urls", "ca", "hint"),
    [
        ((), None, "no address"),
        (("127.0.0.1:80",), None, "write it as"),
        (("ftp://a",), None, "write it as"),
        (("http://a/b",), None, "write it as"),
        (("http://a:x",), None, "write it as"),
        (("http://u@a",), None, "write it as"),
        (("https://a",), None, "name the CA"),
        (("https://a",), "not PEM", "holds no certificate"),
    ],
)
def test_addresses_are_checked(urls: tuple[str, ...], ca: str | None, hint: str) -> None:
    """V22 for upstreams: an https address without a readable CA is an error, never the system's CAs."""
    with pytest.raises(ConfigError, match=hint):
        parse_addresses(urls, ca_pem=ca)


def test_addresses_have_their_ports() -> None:
    """The scheme's own port is the default; IPv6 stands in brackets."""
    first, second = parse_addresses(["http://a", "http://[::1]:81/"])
    assert (first.host, first.port, second.host, second.port) == ("a", 80, "::1", 81)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_nginx_behind_the_gate(stand: Stand, pki: Pki, tmp_path: Path) -> None:
    """Another server's ways: compression, ranges, conditions, errors and keep-alive go through unharmed."""
    port = free_port()
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4_000)
    conf = tmp_path / "nginx.conf"
    conf.write_text(_NGINX.format(dir=tmp_path, port=port))
    with started(["nginx", "-c", str(conf), "-p", str(tmp_path)], stderr=subprocess.DEVNULL) as process:
        await _listening(port)
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            told = await client.get(b"login.test", b"/a%20b?c=%2F")
            assert told.text == "GET /a%20b?c=%2F login.test 127.0.0.1\n"
            whole = await client.get(b"login.test", b"/file")
            assert len(whole.body) == 1_024_000
            part = await client.get(b"login.test", b"/file", b"Range: bytes=256-259")
            assert (part.status, part.body) == (206, b"\0\1\2\3")
            tag = whole.headers["etag"].encode()
            await client.send(get(b"login.test", b"/file", b"If-None-Match: " + tag) + get(b"login.test"))
            assert (await client.answer()).status == 304
            assert (await client.answer()).text.startswith("GET / ")
            missing = await client.get(b"login.test", b"/file/none")
            assert missing.status == 404
            zipped = await client.get(b"login.test", b"/", b"Accept-Encoding: gzip")
            assert zipped.headers["content-encoding"] == "gzip"
            assert zipped.headers["transfer-encoding"] == "chunked"
        process.terminate()  # and its log is whole
        process.wait(60)
    assert (tmp_path / "access.log").read_text().count("\n") == 7


async def _listening(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
