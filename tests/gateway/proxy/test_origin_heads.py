"""What an upstream says of the whole origin, which it shares with our own pages, is not handed on."""

from __future__ import annotations

from pathlib import Path

import pytest

import gateway.proxy
from ca.errors import ConfigError
from gateway.proxy import heads
from gateway.serving.config import parse_config
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.test_proxy_websocket import ACCEPT, OPENING
from tests.gateway.proxy.upstreams import running, saying
from tests.gateway.rawtls import connect, get, head_of

README = (Path(gateway.proxy.__file__).parent / "README.md").read_text("utf-8")
#: Count for the document that they come with, or for a path of the upstream's own.
THEIRS = (
    b"Content-Security-Policy", b"Content-Security-Policy-Report-Only", b"Reporting-Endpoints",
    b"Cross-Origin-Embedder-Policy", b"Cross-Origin-Resource-Policy", b"Document-Isolation-Policy",
    b"Origin-Agent-Cluster", b"Permissions-Policy", b"Speculation-Rules", b"Accept-CH", b"X-Frame-Options",
)  # fmt: skip
WORKER = (b"Service-Worker: script", b"Sec-Fetch-Dest: serviceworker")


def answer(status: int, lines: bytes) -> bytes:
    """A whole answer whose head with this status has the lines."""
    switch = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n" % ACCEPT
    return {
        101: b"HTTP/1.1 101 Switching Protocols\r\n" + switch + lines + b"\r\n",
        103: b"HTTP/1.1 103 Early Hints\r\n" + lines + b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n",
    }[status]


async def handed_on(stand: Stand, pki: Pki, status: int, lines: bytes) -> bytes:
    """The first head that the client gets."""
    async with running(saying(answer(status, lines))) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", b"/", *(OPENING if status == 101 else ())))
            return await head_of(client)


@pytest.mark.parametrize("status", [101, 103, 200])
@pytest.mark.parametrize("name", sorted(heads.ORIGIN_WIDE))
async def test_what_counts_for_the_origin_is_taken_off(
    stand: Stand, pki: Pki, name: bytes, status: int
) -> None:
    """In every spelling, of every kind of answer; what stands beside it stays."""
    lines = b"X-Before: 1\r\n%s: evil\r\n%s: evil\r\nX-After: 1\r\n" % (name.title(), name.upper())
    head = await handed_on(stand, pki, status, lines)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert {b"X-Before: 1", b"X-After: 1"} <= set(head.split(b"\r\n"))
    assert b"evil" not in head


@pytest.mark.parametrize("name", THEIRS)
async def test_what_counts_for_a_document_is_the_upstreams(stand: Stand, pki: Pki, name: bytes) -> None:
    """The twin."""
    assert b"%s: theirs\r\n" % name in await handed_on(stand, pki, 200, b"%s: theirs\r\n" % name)


@pytest.mark.parametrize("status", [101, 103, 200])
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (b'"cookies"', b""),
        (b'"*"', b""),
        (b'"executionContexts", "clientHints"', b""),
        (b"cache", b""),
        (b"", b""),
        (b'"cache"', b'"cache"'),
        (b'"cookies", "storage","cache"', b'"storage", "cache"'),
        (b'"cache"\r\nClear-Site-Data: "cookies"', b'"cache"'),
    ],
)
async def test_the_upstream_clears_what_is_its_own(
    stand: Stand, pki: Pki, status: int, asked: bytes, kept: bytes
) -> None:
    """Caches and storage, of which our pages use none; never cookies, which end every login on the domain."""
    head = await handed_on(stand, pki, status, b"Clear-Site-Data: %s\r\n" % asked)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(b"clear-site-data")]
    assert lines == ([b"Clear-Site-Data: " + kept] if kept else [])


def test_neither_in_a_trailer() -> None:
    """What a header may not say no trailer says, whoever merges the two."""
    trailers = tuple((name, b"evil") for name in (*heads.ORIGIN_WIDE, b"clear-site-data"))
    assert heads.trailer_section((*trailers, (b"x-sum", b"1"))) == b"0\r\nx-sum: 1\r\n\r\n"


def test_the_readme_says_each_with_its_reason() -> None:
    """The table there is the table here."""
    for name, reason in heads.ORIGIN_WIDE.items():
        (row,) = [line for line in README.splitlines() if line.lower().startswith(f"| `{name.decode()}`")]
        assert row.endswith(f" | {reason} |")
    for name in THEIRS:
        assert f"`{name.decode()}`" in README, name


@pytest.mark.parametrize("line", WORKER)
@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        (b"/app/worker.js", b"/app/"),
        (b"/app/deep/worker.js?v=1", b"/app/deep/"),
        (b"/worker.js", b""),
        (b"/application/worker.js", b""),
        (b"/App/worker.js", b""),
        (b"/?/app/worker.js", b""),
    ],
)
async def test_a_workers_script_is_relayed_below_an_allowed_scope_only(
    stand: Stand, pki: Pki, target: bytes, allowed: bytes, line: bytes
) -> None:
    """And its scope is then what the operator allowed, not what the upstream says; elsewhere 403. What is
    asked for by anybody else has no such field."""
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nService-Worker-Allowed: /\r\n\r\n"
    heard: list[bytes] = []
    async with running(saying(said, said, heard=heard)) as port:
        front = await stand(f"http://127.0.0.1:{port}", workers=("/app/", "/app/deep/"))
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", target, line))
            head = await head_of(client)
            assert head.startswith(b"HTTP/1.1 %d " % (200 if allowed else 403))
            lines = [each for each in head.split(b"\r\n") if each.lower().startswith(b"service-worker")]
            assert lines == ([b"Service-Worker-Allowed: " + allowed] if allowed else [])
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test", target, b"Sec-Fetch-Dest: script"))
            head = await head_of(client)
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"service-worker" not in head.lower()
    assert len(heard) == (2 if allowed else 1)


@pytest.mark.parametrize(
    ("referer", "before"),
    [
        (b"", True),
        (b"Referer: https://a.test/app/worker.js", True),
        (b"Referer: https://a.test/", True),
        (b"Referer: https://elsewhere.test/app/", True),
        (b"Referer: https://a.test/app/", False),
        (b"Referer: https://A.test/app/worker.js?page", False),
    ],
)
def test_a_worker_that_is_there_is_told_from_a_page_that_asks_for_one(referer: bytes, before: bool) -> None:
    """The page names itself; whatever else the browser says, or does not say, is a worker's."""
    noted = {b"referer": [referer.partition(b": ")[2]]} if referer else {}
    assert heads.registered_before(noted, "/app/worker.js", b"a.test") is before


@pytest.mark.parametrize(
    "path", ["/", "/app", "app/", "/login/", "/portal/x/", "/assets/", "/a/../b/", "//", "/%61pp/", "/a//b/"]
)
def test_no_scope_covers_a_page_of_ours(path: str) -> None:
    """The setting takes whole paths of the upstream's, nothing that could mean another."""
    message = "upstream.service_workers: write paths of the upstream's that begin and end with /"
    with pytest.raises(ConfigError) as refused:
        parse_config(f'[upstream]\nservice_workers = ["{path}"]')
    assert str(refused.value).startswith(message)
    parsed = parse_config('[upstream]\nservice_workers = ["/app/", "/portals/v1.2/"]')
    assert parsed.upstream.service_workers == ("/app/", "/portals/v1.2/")
