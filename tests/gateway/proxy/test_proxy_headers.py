"""Nobody but us says who calls: every spelling, every path, every way to take our fields off again."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.proxy import heads
from gateway.proxy.identity import Caller, Identity
from gateway.wire import framing
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import IDENTITY, KEYS, Stand
from tests.gateway.proxy.test_proxy_websocket import ACCEPT, OPENING
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import connect, get, head_of
from tests.gateway.samples import check

OURS = ("Sekisho-Assertion", "Client-Cert", "Client-Cert-Chain", "X-Remote-User", "X-Cert-Serial")
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP")
OTHERS = ("X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "Remote-User", "X-Forwarded-User", "X-Original-URL")


@pytest.mark.parametrize("name", OURS)
def test_every_spelling_is_taken_off(name: str) -> None:
    """V34: hyphen, underscore and dot in every place, in every case, are the same name."""
    off = heads.taken_off(IDENTITY.names)
    parts = name.split("-")
    for marks in product("-_.", repeat=len(parts) - 1):
        spelt = parts[0] + "".join(mark + part for mark, part in zip(marks, parts[1:], strict=True))
        for each in (spelt, spelt.lower(), spelt.upper(), spelt.swapcase()):
            assert off(each.encode()), each
    assert not off(b"X-Else")
    assert not off(b"Cookie")


@pytest.mark.parametrize("path", [b"/public/x", b"/x"])
async def test_no_spelling_passes(stand: Stand, pki: Pki, path: bytes) -> None:
    """V33, V34, V36: what the client says of itself is gone, with and without a certificate."""
    async with recording() as upstream:
        front = await stand(upstream.url, site=check)
        for certificate in (pki.client, None):
            async with connect(front.port, b"check.test", certificate=certificate) as client:
                names = (*OURS, *FORWARDED, *OTHERS)
                spelt = [each for name in names for each in (name, name.lower(), name.upper())]
                lines = [each.encode() + b": forged" for each in spelt]
                await client.get(b"check.test", path, *lines, b"X-Else: mine")
    assert len(upstream.requests) == (2 if path == b"/public/x" else 1)
    for seen in upstream.requests:
        assert "forged" not in [value for _, value in seen.headers]
        assert seen.values("x-else") == ["mine"]
        assert [len(seen.values(name.lower())) for name in FORWARDED] == [1] * len(FORWARDED)


OTHER_PRODUCTS = (
    "X-Envoy-External-Address", "CF-Connecting-IP", "Tls-Client-Cert", "X-Auth-User",
    "Cf-Access-Jwt-Assertion",
    "X-Auth-Request-Email", "X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "x-amzn-oidc-identity",
    "x-amzn-oidc-data",
    "X-Amzn-Mtls-Clientcert", "Tailscale-User-Login", "Remote-User", "Remote-Groups", "X-Remote-User",
    "X-Remote-Group", "SSL-Client-Cert", "SSL-Client-Verify", "X-SSL-Client-S-DN", "X-Client-Cert",
    "X-Client-Verify", "X-ARR-ClientCert", "X-Forwarded-Client-Cert", "X-WebAuth-User",
    "X-Pomerium-Jwt-Assertion",
    "X-authentik-username", "X-Consumer-Username", "X-Userinfo", "Fastly-Client-IP", "OIDC-Claim-Sub",
    "IV-User",
    "SM-User", "WL-Proxy-Client-Cert", "X-Vouch-User", "Teleport-Jwt-Assertion",
    "CloudFront-Viewer-Address",
)  # fmt: skip
USERS_OWN = (
    "Authorization",
    "X-Auth-Token",
    "X-Api-Key",
    "X-Request-Id",
    "X-User-Id",
    "Cf-Ray",
    "X-Csrf-Token",
)


async def test_what_other_gateways_say_is_taken_off(stand: Stand, pki: Pki) -> None:
    """A service that was behind another product, and believes its fields, hears none of a visitor's; what a
    client of its own sends arrives. The operator's list counts, whatever it has."""
    lines = [f"{name}: forged".encode() for name in (*OTHER_PRODUCTS, *USERS_OWN)]
    async with recording() as upstream:
        for more, passing in (
            ({}, set(USERS_OWN)),
            ({"others": ("X-User-*", "authorization")}, {*OTHER_PRODUCTS, *USERS_OWN[1:4], *USERS_OWN[5:]}),
            ({"others": ()}, {*OTHER_PRODUCTS, *USERS_OWN}),
        ):
            front = await stand(upstream.url, more=more)
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                await client.get(b"login.test", b"/", *lines)
            # Ours whatever the list says: the site sets the one, and the other tells where from.
            wanted = {each.lower() for each in passing} - {"x-remote-user", "x-forwarded-client-cert"}
            heard = upstream.requests[-1].headers
            assert {name for name, value in heard if value == "forged"} == wanted


@pytest.mark.parametrize("name", [b"Sekisho_Assertion", b"Client.Cert", b"X_Remote-User"])
async def test_names_a_gateway_could_read_otherwise_are_400(stand: Stand, pki: Pki, name: bytes) -> None:
    """V34: underscores and dots do not pass the gate at all."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test", b"/", name + b": x")).status == 400
        assert upstream.requests == []


@pytest.mark.parametrize("name", [*OURS[:3], "X-Cert-Serial", *FORWARDED, "Host", "Via"])
@pytest.mark.parametrize("spelt", ["{}", "close, {}", "{},,", "keep-alive , {} "])
async def test_connection_cannot_take_our_fields_off(stand: Stand, pki: Pki, name: str, spelt: str) -> None:
    """V35: fields that we add stay, whatever Connection nominates, in whatever case."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        for cased in (name, name.lower(), name.upper()):
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                option = b"Connection: " + spelt.format(cased).encode()
                await client.get(b"login.test", b"/", option)
    for seen in upstream.requests:
        assert len(seen.values(name.lower())) == 1
    assert len(upstream.requests) == 3


async def test_connection_takes_the_clients_own_fields_off(stand: Stand, pki: Pki) -> None:
    """Fields of one connection end there (RFC 9110 7.6.1), those that Connection nominates as well."""
    lines = (
        b"Connection: X-Hop, keep-alive", b"Connection: x-other", b"X-Hop: 1", b"X-Other: 2", b"X-Stays: 3",
        b"Keep-Alive: timeout=5", b"Proxy-Authorization: a", b"Proxy-Connection: a", b"TE: gzip, trailers",
    )  # fmt: skip
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.get(b"login.test", b"/", *lines)
            await client.get(b"login.test", b"/", b"Connection: TE", b"TE: gzip, trailers;q=0.5, trailers")
    first, second = upstream.requests
    assert {"x-stays"} == set(first.names) & {
        "connection", "x-hop", "x-other", "x-stays", "keep-alive", "proxy-authorization", "proxy-connection",
        "te",
    }  # fmt: skip
    assert (second.values("te"), second.values("connection")) == (["trailers"], ["TE"])


async def test_our_session_cookie_stays_with_us(stand: Stand, pki: Pki) -> None:
    """The upstream neither learns the session's token nor sets one of its own."""
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: __Host-service=evil; Path=/\r\n"
        b"Set-Cookie: theirs=1\r\nAlt-Svc: h3=\":443\"\r\n\r\n"
    )  # fmt: skip
    heard: list[bytes] = []
    async with running(saying(*[answer] * 3, heard=heard)) as port:
        front = await stand(f"http://127.0.0.1:{port}", cookie="__Host-service")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/", b"Cookie: a=1; __Host-service=secret; b=2"))
            got = await client.some()
            await client.get(b"login.test", b"/", b"cookie: __Host-service=secret")
            await client.get(b"login.test", b"/", b"Cookie: x__Host-service=2")
    assert b"Cookie: a=1; b=2\r\n" in heard[0]
    assert b"ookie" not in heard[1]
    assert b"Cookie: x__Host-service=2\r\n" in heard[2]
    assert b"theirs=1" in got
    assert b"evil" not in got
    assert b"Alt-Svc" not in got  # V6


@pytest.mark.parametrize(
    "cookie",
    [
        b"__Host-service=evil", b"=__Host-service=evil", b" = __Host-service = evil", b"__HOST-Service=evil",
        b"x=y __Host-service=evil", b"x=1, __Host-service=evil", b"x=\xe2\x80\x83__Host-service=evil",
        b"\xe2\x80\x83__Host-service=evil", b'"__Host-service"=evil',
        b"__Host-service\t=evil", b"__Host-service; x=evil",
        b"x=evil; Path=/, __Host-service=1", b"evil=__Host-service", b"evil __Host-service",
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [101, 103, 200])
async def test_no_answer_sets_our_session_cookie(stand: Stand, pki: Pki, status: int, cookie: bytes) -> None:
    """W5: neither a final answer, nor an early one, nor the one that switches to a WebSocket; other cookies
    are the upstream's own business."""
    lines = b"Set-Cookie:%s; Path=/; Secure\r\nSet-Cookie: theirs=1\r\n" % cookie
    lines += b"Set-Cookie: __Host-services=2\r\n"
    switch = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n" % ACCEPT
    answer = {
        101: b"HTTP/1.1 101 Switching Protocols\r\n" + switch + lines + b"\r\n",
        103: b"HTTP/1.1 103 Early Hints\r\n" + lines + b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n",
    }[status]
    async with running(saying(answer)) as port:
        front = await stand(f"http://127.0.0.1:{port}", cookie="__Host-service")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/", *(OPENING if status == 101 else ())))
            head = await head_of(client)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"theirs=1" in head
    assert b"__Host-services=2" in head
    assert b"evil" not in head


async def test_a_value_cannot_end_its_line(pki: Pki) -> None:
    """V38: what a certificate says of its holder never becomes another header line."""
    identity = Identity(KEYS, "https://i", "https://a", {"X-Name": "user"})

    class Peer:
        fingerprint = "f"

    caller = Caller(Peer(), "a\r\nX-Admin: 1\0\x7f\xe9")  # type: ignore[arg-type]
    assert heads.header_line("X-Name", str(caller.user)) == b"X-Name: a??X-Admin: 1???\r\n"
    assert identity.names[-1] == "X-Name"


@pytest.mark.parametrize(
    ("address", "node"), [("192.0.2.1", b"192.0.2.1"), ("2001:db8::1%eth0", b'"[2001:db8::1]"')]
)
def test_where_a_request_came_from(address: str, node: bytes) -> None:
    """RFC 7239 6: an IPv6 address stands in brackets and quotes, a port makes the host quoted."""
    lines = framing.forwarded(address, b"a.test:8443")
    assert b'Forwarded: for=%s;host="a.test:8443";proto=https\r\n' % node in lines
    assert b"X-Forwarded-For: %s\r\n" % address.partition("%")[0].encode() in lines
