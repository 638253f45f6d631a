"""Token buckets, and the answers of those who come too often."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.limiting import limits_of
from gateway.serving.rates import Ledger, Rates
from gateway.web.context import Role
from tests.gateway.conftest import Pki, Serve
from tests.gateway.rawtls import connect, issue
from tests.gateway.samples import login, open_site
from tests.started import forked


def test_a_burst_and_then_the_rate() -> None:
    """So many at once, then one each time that its share of a second has passed; others are free."""
    ledger = Ledger()

    def take(asker: bytes, now: float) -> int:
        return ledger.take(asker, 2.0, 3.0, now)

    assert [take(b"a", 0.0) for _ in range(8)] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert take(b"b", 0.0) == 0
    assert (take(b"a", 0.5), take(b"a", 0.5)) == (0, 1)
    assert [take(b"a", 100.0) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 1]


def test_the_wait_is_long_enough() -> None:
    """Who waits as long as told may ask again, and not a second earlier."""
    ledger = Ledger()
    assert ledger.take(b"a", 0.1, 1.0, 0.0) == 0
    assert ledger.take(b"a", 0.1, 1.0, 0.0) == 10
    assert ledger.take(b"a", 0.1, 1.0, 9.0) == 1
    assert ledger.take(b"a", 0.1, 1.0, 10.0) == 0


def test_a_faster_rate_counts_at_once() -> None:
    """After a reload nobody waits for what a slower rate before it had made of him."""
    ledger = Ledger()
    assert [ledger.take(b"a", 0.001, 10.0, 0.0) for _ in range(2)] == [0, 1_000]
    assert ledger.take(b"a", 10.0, 10.0, 1.0) == 1
    assert [ledger.take(b"a", 10.0, 10.0, 2.0) for _ in range(11)] == [0] * 10 + [1]


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 0, 0, 1])), min_size=50, max_size=300))
def test_nobody_gets_more_than_his_share(asked: list[tuple[int, int]]) -> None:
    """However few cells there are, sharing them never gives an asker more than a bucket of his own would."""
    small, now = Ledger(cells=4), 0.0
    own: dict[int, Ledger] = {}
    for asker, later in asked:
        now += later
        if small.take(b"%d" % asker, 1.0, 5.0, now) == 0:
            assert own.setdefault(asker, Ledger(cells=4)).take(b"alone", 1.0, 5.0, now) == 0


def test_a_busy_crowd_stops_nobody_else() -> None:
    """While a thousand ask as often as they may and more, of a thousand others nearly all are free."""
    ledger = Ledger()
    for number in range(1_000):
        while ledger.take(b"busy %d" % number, 1.0, 5.0, 0.0) == 0:
            pass
    refused = sum(ledger.take(b"quiet %d" % number, 1.0, 5.0, 0.0) > 0 for number in range(1_000))
    assert refused <= 3  # one in 17,000 is expected


def test_workers_count_together() -> None:
    """What a forked process counts is counted here as well: N workers give nobody N times as much."""
    ledger = Ledger()
    with forked(lambda: int(sum(ledger.take(b"a", 1.0, 5.0, 0.0) for _ in range(3)))) as other:
        assert other.wait() == 0
    assert [ledger.take(b"a", 1.0, 5.0, 0.0) for _ in range(3)] == [0, 0, 1]


_RATES = Rates(1.0, 1.0, 1.0, 1.0, burst_seconds=2.0)


def _post(host: bytes, path: bytes = b"/") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\n\r\n"


async def _statuses(port: int, host: bytes, message: bytes, count: int, **more: Any) -> list[int]:
    found = []
    for _ in range(count):
        async with connect(port, host, **more) as client:
            found.append((await client.ask(message)).status)
    return found


async def test_forms_are_limited(serve: Serve, pki: Pki) -> None:
    """The third form at once is refused with a page that says when to come back; reading is free."""
    limit = limits_of(_RATES, "https://help.test/", Ledger(), lambda: 0.0)(Role.PICKUP)
    running = await serve(open_site(pki, limited=limit))
    assert await _statuses(running.port, b"enroll.test", _post(b"enroll.test"), 2) == [200, 200]
    async with connect(running.port, b"enroll.test") as client:
        refused = await client.ask(_post(b"enroll.test"))
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    async with connect(running.port, b"enroll.test") as client:
        assert (await client.get(b"enroll.test")).status == 200


async def test_the_protocol_is_limited(serve: Serve, pki: Pki) -> None:
    """RFC 8555 6.6: rateLimited with Retry-After and a link that explains."""
    limit = limits_of(_RATES, "https://help.test/", Ledger(), lambda: 0.0)(Role.PICKUP)
    running = await serve(open_site(pki, limited=limit))
    statuses = await _statuses(running.port, b"enroll.test", _post(b"enroll.test", b"/acme/new-order"), 2)
    assert statuses == [200, 200]
    async with connect(running.port, b"enroll.test") as client:
        refused = await client.get(b"enroll.test", b"/acme/new-nonce")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["link"] == '<https://help.test/>;rel="help"'
        assert refused.headers["access-control-allow-origin"] == "*"
        assert "Retry-After" in refused.headers["access-control-expose-headers"]
        assert '"type": "urn:ietf:params:acme:error:rateLimited"' in refused.text


async def test_the_api_is_limited(serve: Serve, pki: Pki) -> None:
    """Whatever is asked of it counts, reading too; a problem document says when to come back."""
    limit = limits_of(_RATES, "https://help.test/", Ledger(), lambda: 0.0)(Role.API)
    running = await serve(login(pki, limited=limit))
    for status in (200, 200, 429):
        async with connect(running.port, b"login.test", certificate=pki.client) as client:
            answer = await client.get(b"login.test", b"/v1/users")
            assert answer.status == status
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert '"type": "urn:sekisho:error:rate_limited"' in answer.text


async def test_no_page_reads_what_the_renewal_site_refuses(serve: Serve, pki: Pki) -> None:
    """PROTOCOL.md section 2: where a certificate is the proof, no answer is for another origin's script."""
    limit = limits_of(_RATES, "https://help.test/", Ledger(), lambda: 0.0)(Role.RENEWAL)
    running = await serve(login(pki, limited=limit))
    for status in (200, 200, 429):
        async with connect(running.port, b"login.test", certificate=pki.client) as client:
            answer = await client.get(b"login.test", b"/acme/directory")
            assert answer.status == status
            assert "access-control-allow-origin" not in answer.headers


async def test_certificates_are_limited_each(serve: Serve, pki: Pki) -> None:
    """One certificate's forms are counted wherever they come from; another's are its own."""
    rates = Rates(100.0, 1.0, 100.0, 1.0, burst_seconds=2.0)
    limit = limits_of(rates, "https://help.test/", Ledger(), lambda: 0.0)(Role.RENEWAL)
    running = await serve(login(pki, limited=limit))
    message = _post(b"login.test")
    first = await _statuses(running.port, b"login.test", message, 3, certificate=pki.client)
    other = await _statuses(running.port, b"login.test", message, 1, certificate=issue("other", pki.ca))
    assert (first, other) == ([200, 200, 429], [200])


async def test_the_upstreams_paths_are_its_own(serve: Serve, pki: Pki) -> None:
    """On the service's site only the service's own forms are counted."""
    limit = limits_of(_RATES, "https://help.test/", Ledger(), lambda: 0.0)(Role.SERVICE)
    running = await serve(open_site(pki, limited=limit))
    assert await _statuses(running.port, b"enroll.test", _post(b"enroll.test", b"/api/x"), 4) == [200] * 4
    # The router takes an encoded letter for the letter, and so does the count.
    found = [
        *await _statuses(running.port, b"enroll.test", _post(b"enroll.test", b"/login"), 1),
        *await _statuses(running.port, b"enroll.test", _post(b"enroll.test", b"/%6Cogin"), 2),
    ]
    assert found == [200, 200, 429]
    assert limits_of(_RATES, "", Ledger())(Role.HELP) is None


def test_nodes_allow_together_what_the_settings_say() -> None:
    """Each its part, with a memory of its own: of twelve a second and ten seconds at once 120, however many
    nodes there are."""
    rates = Rates(page_address=12.0, burst_seconds=10.0)
    for nodes in (1, 2, 3):
        part, ledgers = rates.of_each(nodes), [Ledger() for _ in range(nodes)]
        passed = [
            ledgers[at % nodes].take(b"a", part.page_address, part.burst_seconds, 0.0) == 0
            for at in range(600)
        ]
        assert passed.count(True) == 120
        assert (part.page_certificate, part.protocol_address) == (2.0 / nodes, 50.0 / nodes)
