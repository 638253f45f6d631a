"""The relay's tables, each name of them, written down once more: one that gets lost is noticed."""

from __future__ import annotations

import pytest

from gateway.proxy import heads, products


def _names(text: str) -> list[str]:
    return text.split()


#: What tells an upstream who calls, from where, or how the message goes on: ours to say, whoever asks.
OURS_TO_SAY = _names("""
    Connection Keep-Alive Proxy-Connection Proxy-Authenticate Proxy-Authorization Proxy-Authentication-Info
    TE Transfer-Encoding Upgrade HTTP2-Settings Host Content-Length Expect Trailer Forwarded X-Real-IP
    X-Client-IP X-Cluster-Client-IP True-Client-IP X-Original-URL X-Rewrite-URL X-Original-Host X-Original-URI
    X-Host X-HTTP-Host-Override X-Scheme X-URL-Scheme Front-End-Https X-ARR-SSL Proxy X-Forwarded-For
    X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port X-Forwarded-Server X-Forwarded-Client-Cert
    X-Forwarded-User X-Forwarded-Prefix X-Forwarded-Ssl X-Forwarded-Anything Client-Cert Client-Cert-Chain
    Sekisho-Assertion Sekisho-Anything X-Sekisho-User
""")
#: What the products of `products.py` say, one of each row with a star at its end spelt out.
OF_PRODUCTS = _names("""
    Remote-User X-Authenticated-User SSL-Client-Cert SSL-Client-S-DN OIDC-Claim-Sub Shib-Session-ID
    Remote-Name
    Remote-Email Remote-Groups Tls-Client-Cert X-Authentik-Username X-Amzn-Oidc-Identity
    X-Amzn-Mtls-Clientcert
    CloudFront-Viewer-Address X-MS-Client-Principal-Name X-MS-Token-AAD-Id-Token X-Arr-ClientCert
    X-Azure-ClientIP X-Azure-SocketIP CF-Connecting-IP CF-Connecting-IPv6 CF-Pseudo-IPv4 CF-IPCountry
    CF-Visitor Cf-Access-Jwt-Assertion X-Envoy-External-Address Fastly-Client-IP Fly-Client-IP
    DO-Connecting-IP X-Nf-Client-Connection-Ip X-Goog-Authenticated-User-Email X-Goog-Iap-Jwt-Assertion
    X-Appengine-User-IP X-Webauth-User IV-User IV-Groups IV-Creds SM-User SM-UserDN SM-Universalid X-Auth-User
    X-Auth-Username X-Auth-Email X-Auth-Groups X-Auth-Roles X-Auth-Subject X-Consumer-Username
    X-Credential-Identifier X-Anonymous-Consumer X-Userinfo X-Remote-Group Ngrok-Auth-User-Email
    Teleport-Jwt-Assertion X-SSL-Client-Verify X-Client-Cert X-Client-Verify X-Client-DN X-Client-S-DN
    X-Client-I-DN X-Auth-Request-User WL-Proxy-Client-Cert Proxy-Client-IP OAM-Remote-User
    X-Pomerium-Jwt-Assertion X-Vouch-User Tailscale-User-Login
""")
#: Rejection twins: near them, and a client's own.
CLIENTS_OWN = _names("""
    Authorization Cookie Origin Referer Accept Accept-Language User-Agent Content-Type Range If-None-Match
    X-Request-Id X-Csrf-Token X-Api-Key X-Auth-Token X-User-Id X-Real X-Hosts X-Schemes Clients-Cert
    X-Forward-For Sekishou Via Date Cf-Ray Fly-Region IV Hosts Remote
""")
#: Fields of answers that count beyond their document, and those of one connection.
NOT_OF_ANSWERS = _names("""
    Connection Keep-Alive Proxy-Connection Proxy-Authenticate Proxy-Authorization Proxy-Authentication-Info
    TE Transfer-Encoding Upgrade HTTP2-Settings Content-Length Alt-Svc Service-Worker-Allowed
    Strict-Transport-Security NEL Report-To Cross-Origin-Opener-Policy
    Cross-Origin-Opener-Policy-Report-Only Public-Key-Pins Public-Key-Pins-Report-Only Expect-CT
    Use-As-Dictionary Secure-Session-Registration Sec-Session-Registration
""")
NOT_IN_TRAILERS = _names("""
    Host Cookie Set-Cookie Authorization Range Max-Forwards Cache-Control Age Vary Date Location Retry-After
    WWW-Authenticate Alt-Svc Origin Referer Expires Warning Pragma Trailer Content-Length Content-Type
    Content-Encoding Content-Security-Policy Clear-Site-Data If-Match If-Modified-Since Accept
    Accept-Encoding Sec-Fetch-Site Sec-WebSocket-Key X-HTTP-Method-Override X-Method-Override
    Transfer-Encoding Connection
""")
OF_REQUESTS = {
    "host": False, "content-length": False, "transfer-encoding": False, "connection": False, "upgrade": False,
    "expect": False, "te": False, "trailer": False, "cookie": True, "origin": True, "sec-fetch-site": True,
    "sec-websocket-key": True, "sec-websocket-version": True, "sec-fetch-dest": True, "service-worker": True,
    "referer": True,
}  # fmt: skip
OF_ANSWERS = {
    "content-length": False, "transfer-encoding": False, "connection": False, "upgrade": False,
    "clear-site-data": False, "date": True, "set-cookie": True, "sec-websocket-accept": True,
}  # fmt: skip


def _bytes(names: list[str]) -> set[bytes]:
    return {name.lower().encode() for name in names}


@pytest.mark.parametrize("name", OURS_TO_SAY)
def test_what_only_we_say_is_taken_off(name: str) -> None:
    """Whatever the operator's list says, in any case, with any mark between the words."""
    off = heads.taken_off((), ())
    for spelt in (name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", ".")):
        assert off(spelt.encode()), spelt


@pytest.mark.parametrize("name", OF_PRODUCTS)
def test_what_other_gateways_say_is_taken_off(name: str) -> None:
    """By default; a site whose list is empty lets it through, unless it is ours to say."""
    assert heads.taken_off(())(name.encode())
    assert not heads.taken_off((), ())(name.encode())


@pytest.mark.parametrize("name", CLIENTS_OWN)
def test_what_a_client_says_goes_on(name: str) -> None:
    """The twin: nothing else is taken off."""
    assert not heads.taken_off(())(name.encode())


def test_no_list_has_a_name_that_these_do_not_have() -> None:
    """The lists here are whole: a name that is added there is added here."""
    exact = heads.HOP_BY_HOP | heads._FRAMING | heads._GATEWAYS_OWN
    begins = heads._GATEWAYS_PREFIXES
    assert exact == {name for name in _bytes(OURS_TO_SAY) if not name.startswith(begins)}
    assert sorted(begins) == [b"client-cert", b"sekisho-", b"x-forwarded-", b"x-sekisho-"]
    for name in products.NAMES:
        start, star, _ = name.lower().partition("*")
        listed = [each.lower() for each in OF_PRODUCTS]
        assert any(each.startswith(start) for each in listed) if star else start in listed, name
    assert _bytes(NOT_OF_ANSWERS) == heads._DROPPED_FROM_ANSWERS


@pytest.mark.parametrize("name", NOT_OF_ANSWERS)
def test_what_counts_for_our_pages_is_not_handed_on(name: str) -> None:
    """An answer's, in any case."""
    assert heads.dropped_from_answers(name.encode())
    assert heads.dropped_from_answers(name.upper().encode())


@pytest.mark.parametrize("name", ["Content-Type", "Set-Cookie", "Cache-Control", "Server", "X-Frame-Options"])
def test_an_answers_own_fields_are_handed_on(name: str) -> None:
    """The twin."""
    assert not heads.dropped_from_answers(name.encode())


@pytest.mark.parametrize("name", NOT_IN_TRAILERS)
def test_no_trailer_changes_what_the_head_said(name: str) -> None:
    """RFC 9110 6.5.1: routing, authentication, framing, content and conditions belong in the head."""
    assert not heads.may_trail(name.lower().encode(), heads.dropped_from_answers)


@pytest.mark.parametrize("name", ["server-timing", "digest", "etag", "x-checksum", "grpc-status"])
def test_a_trailer_of_its_own_goes_on(name: str) -> None:
    """The twin: what is computed while the body is sent comes after it."""
    assert heads.may_trail(name.encode(), heads.dropped_from_answers)


def test_what_the_gate_looks_at() -> None:
    """Both tables, with whether the field goes on: one that is lost is no longer looked at."""
    assert dict(heads.OF_REQUESTS) == {name.encode(): goes_on for name, goes_on in OF_REQUESTS.items()}
    answers = {name.decode(): goes_on for name, goes_on in heads.OF_ANSWERS.items()}
    assert answers == OF_ANSWERS | {"location": True, "content-location": True, "refresh": True}
    assert {b'"cache"', b'"storage"'} == heads._MAY_BE_CLEARED
