"""Sessions are never resumed (V13 to V17), in neither version, by ticket or by session ID."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from OpenSSL import SSL

from ca.revocation import RevocationStatus
from ca.trust import CertificateState, Presentation, Rejection, judge
from tests.gateway.conftest import Pki, Running, Serve
from tests.gateway.rawtls import client_context, connect, get
from tests.gateway.samples import check, login, open_site
from tests.started import started_async

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
HOSTS = (b"login.test", b"check.test", b"enroll.test")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("second", HOSTS)
@pytest.mark.parametrize("first", HOSTS)
async def test_a_session_is_never_resumed(
    serve: Serve, pki: Pki, first: bytes, second: bytes, version: int
) -> None:
    """V13, V14, V16: a session of X offered to Y, all pairs, one server certificate: full handshake."""
    running = await serve(login(pki), check(pki), open_site(pki))
    context = client_context(certificate=pki.client, version=version)
    async with connect(running.port, first, context=context) as client:
        assert (await client.get(first)).status == 200
        session = client.tls.get_session()
    async with connect(running.port, second, context=context, session=session) as client:
        assert not client.resumed
        assert (await client.get(second)).status == 200


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_refused_certificate_stays_refused(serve: Serve, pki: Pki, version: int) -> None:
    """V17: a foreign certificate does not become a clean one by coming back with its session."""
    running = await serve(check(pki))
    context = client_context(certificate=pki.stranger, version=version)
    session = None
    for _ in range(2):
        async with connect(running.port, b"check.test", context=context, session=session) as client:
            assert (await client.get(b"check.test")).text == "unknown-issuer"
            session = client.tls.get_session()


@pytest.mark.parametrize("version", VERSIONS)
async def test_revocation_and_reload_count_for_the_next_handshake(
    serve: Serve, pki: Pki, version: int
) -> None:
    """V15: what was taken from the trusted between two handshakes is denied in the second."""
    running = await serve(login(pki))
    context = client_context(certificate=pki.client, version=version)
    async with connect(running.port, b"login.test", context=context) as client:
        assert (await client.get(b"login.test")).status == 200
        session = client.tls.get_session()
    running.status[pki.client.fingerprint] = RevocationStatus.REVOKED
    async with connect(running.port, b"login.test", context=context, session=session) as client:
        assert (await client.get(b"login.test")).status == 403
    running.status.clear()
    from ca.anchors import TrustAnchors

    await running.listener.swap([login(pki, anchors=TrustAnchors.of([pki.other_ca.certificate]))])
    async with connect(running.port, b"login.test", context=context, session=session) as client:
        assert (await client.get(b"login.test")).status == 403


def test_no_callback_no_trust(pki: Pki) -> None:
    """V17: a certificate without the verify callback of this very handshake is not verified."""
    from cryptography.hazmat.primitives.serialization import Encoding

    der = pki.client.certificate.public_bytes(Encoding.DER)
    verdict = judge(Presentation(der, (), (), False), pki.anchors, lambda _: RevocationStatus.GOOD, 0)
    assert isinstance(verdict, Rejection)
    assert verdict.state is CertificateState.UNVERIFIED


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_finds_nothing_to_resume(serve: Serve, pki: Pki, tmp_path: Path, version: str) -> None:
    """V13 with another implementation of the client: whatever it kept, each connection is New."""
    running = await serve(open_site(pki))
    kept = tmp_path / "session"
    first = await s_client(running, version, "-sess_out", str(kept))
    again = await s_client(running, version, *(["-sess_in", str(kept)] if kept.exists() else ["-reconnect"]))
    assert "Reused" not in first + again
    assert "New, TLSv1" in again
    assert "Max Early Data" not in (first + again).replace("Max Early Data: 0", "")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
async def test_early_data_is_not_offered(serve: Serve, pki: Pki, tmp_path: Path) -> None:
    """V21: early data sent on a kept session is not heard, whatever is in it."""
    running = await serve(open_site(pki))
    kept, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(get(b"enroll.test"))
    await s_client(running, "-tls1_3", "-sess_out", str(kept))
    if kept.exists():
        out = await s_client(running, "-tls1_3", "-sess_in", str(kept), "-early_data", str(early))
        assert "Early data was accepted" not in out
        assert "200 OK" not in out
    modes = [each.get_session_cache_mode() for each in running.listener.entry.by_site.values()]
    assert {*modes, running.listener.entry.context.get_session_cache_mode()} == {SSL.SESS_CACHE_OFF}


async def s_client(running: Running, *options: str, say: bytes = b"Q\n") -> str:
    place = ("-connect", f"127.0.0.1:{running.port}", "-servername", "enroll.test")
    pipe = asyncio.subprocess.PIPE
    async with started_async(
        ["openssl", "s_client", *place, *options], stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    ) as process:
        out, _ = await process.communicate(say)
    return out.decode(errors="replace")
