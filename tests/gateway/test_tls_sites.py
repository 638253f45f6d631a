"""Which policy a request falls under: SNI x Host x form x position (V1 to V12 of gate-facts)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from OpenSSL import SSL

from ca.anchors import TrustAnchors
from ca.errors import ConfigError
from gateway.edge.contexts import build_entry
from gateway.edge.tls import KeyedChain, SiteTable, fold_host
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import Closed, Issued, client_context, connect, get
from tests.gateway.samples import check, login, open_site

LOGIN_FORMS = (
    b"login.test", b"LOGIN.test", b"login.test.", b"login.test:443", b"login.test.:443",
    b"login.test:8", b"login.test:", b"login.test:0443", b"lo\xc7\xb5in.test", b"xn--loin-l5a.test",
    b"a@login.test", b"login.test, check.test", b"login.test check.test", b"", b" ", b"*.test",
    b"[::1]", b"login.test/", b"login.te\xe2\x84\xaat", b"login.test\\",
)  # fmt: skip


@pytest.mark.parametrize("form", LOGIN_FORMS)
@pytest.mark.parametrize("sni", [b"check.test", b"enroll.test", None, b"nobody.test"])
async def test_a_host_the_handshake_did_not_name_is_refused(
    serve: Serve, pki: Pki, sni: bytes | None, form: bytes
) -> None:
    """V1, V2, V8, V11: no spelling of a protected host passes on a connection for another one."""
    running = await serve(login(pki), check(pki), open_site(pki))
    async with connect(running.port, sni, certificate=pki.client) as client:
        answer = await client.get(form)
        assert answer.status in (400, 421)
        assert answer.headers["connection"] == "close"
        assert (await client.end()).alert == "close_notify"


@pytest.mark.parametrize(
    ("form", "status"),
    [(b"login.test", 200), (b"LOGIN.TEST", 200), (b"login.test:443", 200), (b"login.test.", 421)]
    + [(form, 421) for form in LOGIN_FORMS[4:] if form not in (b"login.test:443", b"", b" ")],
)
async def test_spellings_of_the_own_host(serve: Serve, pki: Pki, form: bytes, status: int) -> None:
    """V2: case and our port may vary, nothing else; what passes has the verdict of this handshake."""
    running = await serve(login(pki), check(pki))
    async with connect(running.port, b"Login.TEST", certificate=pki.client) as client:
        assert (await client.get(form)).status == status
    async with connect(running.port, b"login.test") as client:
        assert (await client.get(form)).status == (403 if status == 200 else status)


async def test_only_ascii_is_folded(serve: Serve, pki: Pki) -> None:
    """V2: U+212A (Kelvin), whose lower case is k, does not make a host of ours."""
    running = await serve(check(pki))
    async with connect(running.port, b"check.test") as client:
        assert (await client.get(b"CHECK.test")).status == 200
        assert (await client.get("chec\u212a.test".encode())).status == 421


async def test_the_bound_port_may_stand_in_host_another_may_not(serve: Serve, pki: Pki) -> None:
    """Links are made from Host, so its port is one of ours: the bound one, or one named to us."""
    running = await serve(open_site(pki), public_ports=(8444,))
    async with connect(running.port, b"enroll.test") as client:
        assert (await client.get(b"enroll.test:%d" % running.port)).status == 200
        assert (await client.get(b"enroll.test:8444")).status == 200
        assert (await client.get(b"enroll.test:443")).status == 421


@pytest.mark.parametrize(
    "sni", [None, b"login.test.", b"login", b"*.check.test", b".test", b"-", b"login\xff.test"]
)
async def test_an_sni_that_names_no_site_reaches_none(serve: Serve, pki: Pki, sni: bytes | None) -> None:
    """V8: no site is taken for none, nor an odd name bent into a site's: every request gets 421."""
    running = await serve(login(pki), check(pki))
    for host in (b"login.test", sni or b"check.test"):
        async with connect(running.port, sni, certificate=pki.client) as client:
            assert (await client.get(host)).status == 421


async def test_wildcard_is_one_label_and_exact_goes_first(pki: Pki) -> None:
    """V4, V10: exact before wildcard, both directions; a wildcard covers one label and not its parent."""
    exact, wild = check(pki, hosts=("a.check.test",)), login(pki, hosts=("*.check.test",))
    for order in itertools.permutations((exact, wild)):
        table = SiteTable(order)
        assert table.lookup("a.check.test") is exact
        assert table.lookup("b.check.test") is wild
        for name in ("check.test", "x.a.check.test", "x.b.check.test", "*.check.test", ".check.test"):
            assert table.lookup(name) is None


async def test_hosts_under_one_wildcard_do_not_mix(serve: Serve, pki: Pki) -> None:
    """V4: even of one site, the name asked for in the handshake is the only one served."""
    running = await serve(login(pki), check(pki))
    async with connect(running.port, b"t-1.check.test") as client:
        assert (await client.get(b"t-1.check.test")).text == "none"
        assert (await client.get(b"t-2.check.test")).status == 421


@pytest.mark.parametrize("pipelined", [True, False])
async def test_the_second_request_is_looked_at_too(serve: Serve, pki: Pki, pipelined: bool) -> None:
    """V5: Host A, B, A on one connection: 200, 421, and the third is never handled."""
    running = await serve(check(pki), login(pki))
    hosts = (b"check.test", b"login.test", b"check.test")
    async with connect(running.port, b"check.test") as client:
        if pipelined:
            await client.send(b"".join(map(get, hosts)))
            answers = [await client.answer(), await client.answer()]
        else:
            answers = [await client.get(hosts[0]), await client.get(hosts[1])]
        assert [answer.status for answer in answers] == [200, 421]
        with pytest.raises(Closed, match="close_notify"):
            await client.get(hosts[2])


async def test_no_http3_is_offered(serve: Serve, pki: Pki) -> None:
    """V6: no Alt-Svc in an answer, no UDP socket."""
    running = await serve(open_site(pki))
    async with connect(running.port, b"enroll.test") as client:
        assert "alt-svc" not in (await client.get(b"enroll.test")).headers
    udp = [Path(f"/proc/self/net/{kind}").read_text() for kind in ("udp", "udp6")]
    assert not any(f":{running.port:04X} " in table for table in udp)


@pytest.mark.parametrize(
    ("records", "segments"), [(1, None), (20, None), (None, 1), (20, 7), (16_000, 4_000)]
)
@pytest.mark.parametrize("padding", [0, 24_000])
async def test_a_fragmented_hello_gets_the_same_policy(
    serve: Serve, pki: Pki, records: int | None, segments: int | None, padding: int
) -> None:
    """V7: pieces of a ClientHello, of more than 16 KB too, change nothing."""
    running = await serve(open_site(pki), login(pki))
    alpn = [b"http/1.1", *(b"p%03d" % n + b"x" * 200 for n in range(padding // 200))]
    context = client_context(certificate=pki.client, alpn=alpn)
    if padding and records == 1:
        records = 5
    async with connect(running.port, b"login.test", context=context, records=records, segments=segments) as c:
        assert (await c.get(b"login.test")).text == "verified 1234567890"
    context = client_context(alpn=alpn)
    async with connect(running.port, b"login.test", context=context, records=records, segments=segments) as c:
        assert (await c.get(b"login.test")).status == 403


async def test_two_hundred_hosts_are_compared_alike(serve: Serve, pki: Pki) -> None:
    """V9: the forms of V2 with 200 configured hosts."""
    many = check(pki, hosts=tuple(f"h{n}.test" for n in range(200)))
    running = await serve(many, login(pki))
    for sni, host, status in (
        (b"H150.TEST", b"h150.Test", 200),
        (b"h150.test", b"h151.test", 421),
        (b"h150.test", b"LOGIN.test", 421),
    ):
        async with connect(running.port, sni) as client:
            assert (await client.get(host)).status == status


async def test_another_ca_on_another_site_does_not_count(serve: Serve, pki: Pki) -> None:
    """V12, V14: a certificate of the CA that one site trusts is a stranger on the other."""
    from ca.anchors import TrustAnchors

    anchors = TrustAnchors.of([pki.other_ca.certificate])
    running = await serve(check(pki, anchors=anchors, advertised=()), login(pki))
    async with connect(running.port, b"check.test", certificate=pki.stranger) as client:
        assert (await client.get(b"check.test")).text == "verified 1234567890"
        assert (await client.get(b"login.test")).status == 421
    async with connect(running.port, b"login.test", certificate=pki.stranger) as client:
        assert (await client.get(b"login.test")).status == 403
    async with connect(running.port, None, certificate=pki.stranger) as client:
        assert (await client.get(b"login.test")).status == 421


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_ca_names_follow_the_site(serve: Serve, pki: Pki, version: int) -> None:
    """Each site advertises its own names, or none; a NONE site and no site ask for no certificate."""
    quiet = check(pki, name="probe", hosts=("probe.test",), advertised=())
    running = await serve(check(pki), quiet, open_site(pki))
    for sni, names in (
        (b"check.test", ["CA-G4"]),
        (b"probe.test", []),
        (b"enroll.test", []),
        (None, []),
    ):
        async with connect(running.port, sni, certificate=pki.client, version=version) as client:
            assert client.client_ca_names == names
    verdicts = [info.verdict for info in running.listener.connections() if info.server_name == "enroll.test"]
    assert verdicts in ([], [None])


@pytest.mark.parametrize(
    ("hosts", "fault"),
    [
        ((), "no host name"),
        (("Login.test",), "is not a host name"),
        (("login.test.",), "is not a host name"),
        (("login.test:443",), "is not a host name"),
        (("a.*.test",), "is not a host name"),
        (("*",), "is not a host name"),
        (("",), "is not a host name"),
        (("-a.test",), "is not a host name"),
        (("a.test", "a.test"), "belongs to"),
        (("関所.test",), "is not a host name"),
    ],
)
async def test_a_bad_host_is_named(pki: Pki, hosts: tuple[str, ...], fault: str) -> None:
    """V3: a site that is not in order stops the start instead of falling back to something."""
    with pytest.raises(ConfigError, match=fault):
        SiteTable([login(pki, hosts=hosts)])


async def test_a_site_without_means_is_named(pki: Pki) -> None:
    """V3: asking without a CA, a key that is another's, no site at all, a certificate OpenSSL refuses."""
    with pytest.raises(ConfigError, match="trusts no CA"):
        SiteTable([login(pki, anchors=None)])
    with pytest.raises(ConfigError, match="no site is configured"):
        build_entry(SiteTable([]))
    mixed = KeyedChain((pki.server.certificate,), pki.client.key)
    with pytest.raises(ConfigError, match="site login: OpenSSL refuses"):
        build_entry(SiteTable([login(pki, certificate=mixed)]))


def test_server_certificate_pem(pki: Pki) -> None:
    """A chain and its key are read from PEM; garbage and another's key are the operator's fault."""
    certificate, key = _halves(pki.server)
    assert KeyedChain.from_pem(certificate, key).chain == (pki.server.certificate,)
    for bad in ((certificate, _halves(pki.client)[1]), (b"", key), (certificate, b"garbage"), (key, key)):
        with pytest.raises(ConfigError):
            KeyedChain.from_pem(*bad)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"A.Test", "a.test"),
        (b"a.test.", None),
        (b"", None),
        (b"*.test", None),
        (b"a..test", None),
        (b"\xe2\x84\xaa.test", None),
        (b"a" * 64 + b".test", None),
        (b"a.test\n", None),
        (b".".join([b"a"] * 130), None),
    ],
)
def test_fold_host(raw: bytes, name: str | None) -> None:
    """Only a plain ASCII host name has a folded form; U+212A is no k."""
    assert fold_host(raw) == name


def _halves(issued: Issued) -> tuple[bytes, bytes]:
    certificate, mark, key = issued.pem.partition(b"-----BEGIN PRIVATE KEY")
    return certificate, mark + key


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_each_site_believes_its_own_cas_alone(serve: Serve, pki: Pki, version: int) -> None:
    """O1: two sites behind one port, each with anchors of its own. A certificate of the one is unknown to the
    other, in both directions, also with the session of a connection that was let in, and also where Host
    names the other site."""
    theirs = TrustAnchors.of([pki.other_ca.certificate])
    console = login(pki, name="console", hosts=("console.test",), anchors=theirs)
    running = await serve(login(pki), console)
    sites = {b"login.test": pki.client, b"console.test": pki.stranger}
    for own, certificate in sites.items():
        (other,) = set(sites) - {own}
        context = client_context(certificate=certificate, version=version)
        async with connect(running.port, own, context=context) as client:
            assert (await client.get(own)).text == "verified 1234567890"
            session = client.tls.get_session()
            assert (await client.get(other)).status == 421
        async with connect(running.port, other, context=context, session=session) as client:
            assert not client.resumed
            assert (await client.get(other)).status == 403
        async with connect(running.port, other, context=context) as client:
            assert (await client.get(own)).status == 421
        running.listener.trust()
        async with connect(running.port, own, context=context, session=session) as client:
            assert (await client.get(own)).text == "verified 1234567890"
