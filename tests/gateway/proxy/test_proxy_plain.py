"""Plain requests through the proxy: what the upstream sees, and what the client gets."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.proxy.identity import JWKS_PATH, jwks
from gateway.proxy.rules import rules_of
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import AT, KEYS, Stand
from tests.gateway.proxy.upstreams import recording
from tests.gateway.rawtls import connect, get, head_of
from tests.gateway.samples import check


async def test_the_upstream_sees_what_the_client_sent(stand: Stand, pki: Pki) -> None:
    """Method, raw target, one public Host and the end-to-end fields arrive as they were, in order."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            answer = await client.get(
                b"login.test", b"/a%20b;c=1?x=%2F&y", b"X-One: 1", b"Accept: a", b"x-two:  2 ", b"Accept: b"
            )
        assert (answer.status, answer.body, answer.headers["x-number"]) == (200, b"request 1", "1")
    (seen,) = upstream.requests
    assert (seen.method, seen.target) == ("GET", "/a%20b;c=1?x=%2F&y")
    assert seen.headers[:5] == [
        ("host", "login.test"), ("x-one", "1"), ("accept", "a"), ("x-two", "2"), ("accept", "b"),
    ]  # fmt: skip
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert seen.values("forwarded") == ["for=127.0.0.1;host=login.test;proto=https"]
    assert seen.values("via") == ["1.1 sekisho"]


async def test_connections_are_kept_on_both_sides(stand: Stand, pki: Pki) -> None:
    """Requests of two clients, with bodies and without, go over one upstream connection."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with (
            connect(front.port, b"login.test", certificate=pki.client) as one,
            connect(front.port, b"login.test", certificate=pki.client) as two,
        ):
            for number in (1, 3):
                assert (await one.get(b"login.test")).body == b"request %d" % number
                post = b"POST / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 5\r\n\r\nhello"
                assert (await two.ask(post)).body == b"hello"
        assert upstream.connections == 1
        # In the raw bytes, because h11 takes two equal lengths for one.
        assert upstream.raw[0].lower().count(b"content-length") == 2
        assert upstream.raw[0].lower().count(b"\r\nhost:") == 4


async def test_the_assertion_says_who_calls(stand: Stand, pki: Pki) -> None:
    """ES256 under a published key, for this site, one minute, bound to the certificate, RFC 9440."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.get(b"login.test")
    (seen,) = upstream.requests
    claims = verified(seen.values("sekisho-assertion"))
    leaf = pki.client.certificate
    assert claims["aud"] == "https://login.test"
    assert claims["iss"] == "https://help.test"
    assert claims["iat"] <= AT < claims["exp"] <= claims["iat"] + 60
    assert claims["cert_state"] == "valid"
    assert claims["cnf"]["x5t#S256"] == b64url(leaf.fingerprint(SHA256()))
    assert "sub" not in claims
    assert der_of(seen.values("client-cert")) == leaf
    assert der_of(seen.values("client-cert-chain")) == pki.ca.certificate
    assert seen.values("x-cert-serial") == [claims["serial"]]
    assert seen.values("x-remote-user") == []
    assert JWKS_PATH.startswith("/.well-known/")


async def test_no_certificate_no_identity(stand: Stand, pki: Pki) -> None:
    """V37: after a visitor with a certificate, one without gets none of his headers over the same pool."""
    async with recording() as upstream:
        front = await stand(upstream.url, site=check, rules=rules_of({}, "public"))
        for certificate in (pki.client, None, pki.stranger):
            async with connect(front.port, b"check.test", certificate=certificate) as client:
                assert (await client.get(b"check.test")).status == 200
    told = [[n for n in seen.names if n.startswith(("sekisho", "client-cert", "x-cert"))] for seen in
            upstream.requests]  # fmt: skip
    assert told == [["sekisho-assertion", "client-cert", "client-cert-chain", "x-cert-serial"], [], []]
    assert upstream.connections == 1


@pytest.mark.parametrize(("path", "with_certificate", "without"), [
    (b"/public/x", 200, 200),
    (b"/public%2fx", 403, 403),
    (b"/public/x%2f..%2f..%2fprivate", 403, 403),
    (b"/public//x", 403, 403),
    (b"/publicity", 403, 403),
    (b"/api/x", 200, 403),
    (b"/other", 403, 403),
])  # fmt: skip
async def test_paths_need_their_proof(
    stand: Stand, pki: Pki, path: bytes, with_certificate: int, without: int
) -> None:
    """A path is let through with its own proof or better; the upstream never hears of the others (V47)."""
    rules = rules_of({"/public": "public", "/api": "certificate"}, "login")
    async with recording() as upstream:
        front = await stand(upstream.url, site=check, rules=rules)
        for certificate, status in ((pki.client, with_certificate), (None, without)):
            async with connect(front.port, b"check.test", certificate=certificate) as client:
                assert (await client.get(b"check.test", path)).status == status
    assert len(upstream.requests) == [with_certificate, without].count(200)


async def test_head_and_get_share_a_connection(stand: Stand, pki: Pki) -> None:
    """The answer to HEAD has a length and no body; the next answer on the connection is its own."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test").replace(b"GET", b"HEAD") + get(b"login.test"))
            data = b""
            while b"request 2" not in data:
                data += await client.some()
        assert data.count(b"HTTP/1.1 200") == 2
        assert b"request 1" not in data
        assert upstream.connections == 1


def verified(tokens: list[str]) -> dict[str, object]:
    """The claims of the one assertion, its signature checked by hand against the published set."""
    (token,) = tokens
    header, claims, signature = token.split(".")
    parsed = json.loads(unb64url(header))
    assert parsed["alg"] == "ES256"
    (jwk,) = [each for each in jwks(KEYS)["keys"] if each["kid"] == parsed["kid"]]
    x, y = (int.from_bytes(unb64url(jwk[name]), "big") for name in ("x", "y"))
    raw = unb64url(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(der, f"{header}.{claims}".encode(), ec.ECDSA(SHA256()))
    return dict(json.loads(unb64url(claims)))


def der_of(values: list[str]) -> x509.Certificate:
    (value,) = values
    assert value[0] == value[-1] == ":"
    return x509.load_der_x509_certificate(base64.b64decode(value[1:-1], validate=True))


def b64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unb64url(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


async def test_the_same_header_again_is_forwarded_again(stand: Stand, pki: Pki) -> None:
    """Reads that differ in nothing but their target each arrive with theirs, and with every field."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            for target in (b"/a", b"/b?c=1", b"/b?c=1", b"/%61", b"/d"):
                assert (await client.get(b"login.test", target, b"Accept: x")).status == 200
            assert (await client.get(b"login.test", b"/e", b"Accept: y")).status == 200
            await client.send(b"HEAD /f HTTP/1.1\r\nHost: login.test\r\nAccept: y\r\n\r\n")
            await head_of(client)
    assert [(seen.method, seen.target) for seen in upstream.requests] == [
        *(("GET", each) for each in ("/a", "/b?c=1", "/b?c=1", "/%61", "/d", "/e")), ("HEAD", "/f"),
    ]  # fmt: skip
    assert [seen.values("accept") for seen in upstream.requests] == [["x"]] * 5 + [["y"]] * 2
    assert {tuple(seen.values("host")) for seen in upstream.requests} == {("login.test",)}


@pytest.mark.parametrize("target", [b"/a/../b", b"//a", b"/a%2e%2e/", b"/.", b"/a\\b", b"http://login.test/"])
async def test_the_same_header_excuses_no_target(stand: Stand, pki: Pki, target: bytes) -> None:
    """Behind a header that has passed before, a target is refused as it would be behind another."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        answers = []
        for before in (0, 2):
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                for _ in range(before):
                    assert (await client.get(b"login.test", b"/x")).status == 200
                answers.append((await client.get(b"login.test", target)).status)
    assert answers[0] == answers[1]
    assert len(upstream.requests) == 2 + answers.count(200)


async def test_a_value_that_looks_like_a_request_is_a_value(stand: Stand, pki: Pki) -> None:
    """A piece that reads as a whole request, but continued one, is not taken for the same one later."""
    piece = b"GET /b HTTP/1.1\r\nX-Last: 1\r\n\r\n"
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: login.test\r\nX-Odd: ")
            await asyncio.sleep(0.05)
            assert (await client.ask(piece)).status == 200
            assert (await client.ask(piece)).status == 400  # it has no Host
    assert [seen.target for seen in upstream.requests] == ["/a"]
    assert upstream.requests[0].values("x-odd") == ["GET /b HTTP/1.1"]
