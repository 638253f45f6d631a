"""The listener as a whole: sites by SNI, verdicts, the facts handlers see."""

from __future__ import annotations

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from ca.revocation import RevocationStatus
from ca.trust import CertificateState, Presentation, Rejection, VerifiedPeer
from gateway.wire.http import connection, peer
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import connect
from tests.gateway.samples import check, login, open_site


async def test_verified_peer_reaches_the_handler_with_facts(serve: Serve, pki: Pki) -> None:
    """A handler reads who called and over what, in an application as in a bare handler."""
    seen: list[object] = []

    async def facts(request: web.Request) -> web.Response:
        info = connection(request)
        seen.extend([info.site, info.verdict, info.tls_version, info.group, info.server_name])
        seen.append((request.scheme, request.remote, request.transport.get_extra_info("sekisho.connection")))
        return web.Response(text="ok")

    application = web.Application()
    application.router.add_get("/", facts)
    site = login(pki, handler=application)
    running = await serve(site)
    async with connect(running.port, b"login.test", certificate=pki.client) as client:
        assert (await client.get(b"login.test")).text == "ok"
        (info,) = running.listener.connections()
    assert seen[0] is site
    assert isinstance(seen[1], VerifiedPeer)
    assert seen[2:] == ["TLSv1.3", info.group, "login.test", ("https", "127.0.0.1", info)]


async def test_require_without_certificate_never_reaches_the_handler(serve: Serve, pki: Pki) -> None:
    """On a REQUIRE site the handshake finishes and the refusal is a page; the site may bring its own."""

    async def explain(request: web.BaseRequest) -> web.Response:
        verdict = peer(request)
        assert isinstance(verdict, Rejection)
        return web.Response(status=403, text=verdict.state.value)

    running = await serve(login(pki), login(pki, name="own", hosts=("own.test",), refused=explain))
    async with connect(running.port, b"login.test") as client:
        answer = await client.get(b"login.test")
        assert (answer.status, answer.headers["connection"]) == (403, "close")
    async with connect(running.port, b"own.test", certificate=pki.stranger) as client:
        answer = await client.get(b"own.test")
        assert (answer.status, answer.text) == (403, CertificateState.UNKNOWN_ISSUER.value)


async def test_ask_lets_everybody_in_with_a_verdict(serve: Serve, pki: Pki) -> None:
    """On an ASK site the handler runs and sees the state; on a NONE site nothing was asked."""
    running = await serve(check(pki), open_site(pki))
    for certificate, said in (
        (None, "none"),
        (pki.client, "verified 1234567890"),
        (pki.stranger, "unknown-issuer"),
    ):
        async with connect(running.port, b"check.test", certificate=certificate) as client:
            assert (await client.get(b"check.test")).text == said
        async with connect(running.port, b"enroll.test", certificate=certificate) as client:
            assert (await client.get(b"enroll.test")).text == "no policy"


async def test_revocation_is_seen_by_the_next_request(serve: Serve, pki: Pki) -> None:
    """V26: a verdict is judged again on every request of an open connection."""
    running = await serve(check(pki))
    async with connect(running.port, b"check.test", certificate=pki.client) as client:
        assert (await client.get(b"check.test")).text == "verified 1234567890"
        running.status[pki.client.fingerprint] = RevocationStatus.REVOKED
        assert (await client.get(b"check.test")).text == "revoked"


async def test_a_remembered_verdict_is_of_clean_handshakes_only(serve: Serve, pki: Pki) -> None:
    """What was good once is not good again in a handshake with an error, or in which nothing was checked;
    and a handshake with an error, even one that counts for nothing, is remembered for nobody."""
    site = check(pki)
    running = await serve(site)
    leaf = pki.client.certificate.public_bytes(Encoding.DER)
    at, judge = running.clock.seconds(), running.listener._judge
    # 10: expired by OpenSSL's clock, which is not ours.
    assert isinstance(judge(Presentation(leaf, errors=((10, 0),), verified=True), site, at), VerifiedPeer)
    assert running.listener._verdicts == {}
    assert isinstance(judge(Presentation(leaf, verified=True), site, at), VerifiedPeer)
    assert list(running.listener._verdicts) == [(site, leaf)]
    for presented, state in (
        (Presentation(leaf, errors=((7, 0),), verified=True), CertificateState.UNKNOWN_ISSUER),
        (Presentation(leaf, errors=((26, 0),), verified=True), CertificateState.WRONG_PURPOSE),
        (Presentation(leaf), CertificateState.UNVERIFIED),
    ):
        verdict = judge(presented, site, at)
        assert isinstance(verdict, Rejection)
        assert verdict.state is state
