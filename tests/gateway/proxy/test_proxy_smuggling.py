"""What the gate counts as one request, a differently written parser behind it counts as one (V41, V42)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.upstreams import recording
from tests.gateway.rawtls import Closed, RawClient, connect

P = b"POST / HTTP/1.1\r\nHost: login.test\r\n"
G = b"GET / HTTP/1.1\r\nHost: login.test\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: login.test\r\n\r\n"
N = b"%d" % len(HIDDEN)

#: Each a stream of bytes that some parser or other has once read as more requests, or as fewer.
CORPUS: tuple[bytes, ...] = (
    P + b"Content-Length: " + N + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Content-Length: 0\r\nContent-Length: " + N + b"\r\n\r\n" + HIDDEN,
    P + b"Content-Length: " + N + b", 0\r\n\r\n" + HIDDEN,
    P + b"Content-Length: +" + N + b"\r\n\r\n" + HIDDEN,
    P + b"Content-Length: 0x10\r\n\r\n" + HIDDEN,
    P + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    P + b"Content-Length: 99999999999999999999999\r\n\r\n" + HIDDEN,
    P + b"Content-Length : " + N + b"\r\n\r\n" + HIDDEN,
    P + b" Content-Length: " + N + b"\r\n\r\n" + HIDDEN,
    P + b"Content-Length:\x0b" + N + b"\r\n\r\n" + HIDDEN,
    P + b"Content_Length: " + N + b"\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n00000000000000000000\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n1\nZ\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n1\r\nZZ0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n1;\nx\r\nZ\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n1;a=\"\r\nZ\r\n0\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: " + N + b"\r\n\r\n" + G + b"\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + HIDDEN,
    P + b"Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"POST / HTTP/1.0\r\nHost: login.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    G + b"Content-Length: " + N + b"\r\n\r\n" + HIDDEN,
    G + b"\r\n\r\n" + HIDDEN,
    b"\r\n\r\n" + G + b"\r\n" + HIDDEN,
    G + b"X: a\nContent-Length: " + N + b"\r\n\r\n" + HIDDEN,
    G + b"X: a\rContent-Length: " + N + b"\r\n\r\n" + HIDDEN,
    G + b"X: a\0b\r\n\r\n" + HIDDEN,
    G + b"X: a\r\n b\r\n\r\n" + HIDDEN,
    G + b"Host: login.test\r\n\r\n" + HIDDEN,
    G + b"X\xa0: a\r\n\r\n" + HIDDEN,
    G + b": a\r\n\r\n" + HIDDEN,
    G + b"X\r\n\r\n" + HIDDEN,
    G.replace(b"HTTP/1.1", b"HTTP/1.1 ") + b"\r\n" + HIDDEN,
    G.replace(b"HTTP/1.1", b"HTTP/0.9") + b"\r\n" + HIDDEN,
    G.replace(b"HTTP/1.1", b"HTTP/1.10") + b"\r\n" + HIDDEN,
    G.replace(b"HTTP/1.1", b"http/1.1") + b"\r\n" + HIDDEN,
    G.replace(b"GET / ", b"GET /a b ") + b"\r\n" + HIDDEN,
    G.replace(b"GET / ", b"GET\t/\t") + b"\r\n" + HIDDEN,
    G.replace(b"GET / ", b"GET / HTTP/1.1\rX: / ") + b"\r\n" + HIDDEN,
    G.replace(b"GET ", b"get ") + b"\r\n" + HIDDEN,
    G.replace(b"GET / ", b"GET http://login.test/ ") + b"\r\n" + HIDDEN,
    G + b"Connection: Content-Length\r\nContent-Length: " + N + b"\r\n\r\n" + HIDDEN,
    P + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    P + b"Connection: Host, Content-Length\r\nContent-Length: 3\r\n\r\nabc" + HIDDEN,
    P + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + HIDDEN,
    P + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: " + N + b"\r\n\r\n" + HIDDEN,
    P + b"Upgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"CONNECT login.test:443 HTTP/1.1\r\nHost: login.test\r\n\r\n" + HIDDEN,
    b"HEAD / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 5\r\n\r\nabcde" + HIDDEN,
    b"OPTIONS * HTTP/1.1\r\nHost: login.test\r\n\r\n" + HIDDEN,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
)  # fmt: skip


async def statuses(client: RawClient, stream: bytes, pieces: int, owed: Callable[[], int]) -> list[int]:
    """What the gate answers to the stream, until it closes, or falls silent with as many answers of 200 as
    there are ``owed``: a busy machine is silent, too."""
    step = len(stream) // pieces + 1
    got, silences = b"", 0
    try:
        for at in range(0, len(stream), step):
            await client.send(stream[at : at + step])
            await asyncio.sleep(0)
        while True:
            try:
                got += await asyncio.wait_for(client.some(), 0.15)
            except TimeoutError:
                silences += 1
                if silences > 40 or _answers(got).count(200) >= owed():
                    break
    except (Closed, ConnectionError):
        pass
    return _answers(got)


def _answers(got: bytes) -> list[int]:
    lines = [line for line in got.split(b"\r\n") if b"HTTP/1.1 " in line or b"HTTP/1.0 " in line]
    return [int(line.rpartition(b"HTTP/1.")[2][2:5]) for line in lines]


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("stream", CORPUS, ids=range(len(CORPUS)))
async def test_as_many_requests_behind_as_before(stand: Stand, pki: Pki, stream: bytes, pieces: int) -> None:
    """Every request that the upstream sees was answered by the gate as one, and the other way round."""
    async with recording() as upstream:
        front = await stand(upstream.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            answers = await statuses(client, stream, pieces, lambda: len(upstream.requests))
        passed = [status for status in answers if status == 200]
        assert len(upstream.requests) == len(passed), (answers, upstream.requests)
        # What broke within a body was cut off there, and never completed.
        assert [fault for fault in upstream.faults if not fault.startswith("peer closed")] == []
        # A stream is not cut in two differently: the hidden request is seen only where it stands alone.
        for seen in upstream.requests:
            assert seen.values("host") == ["login.test"]
            assert b"GET /hidden" not in seen.body or seen.target == "/"
        # The next visitor of the same pool gets his own answer.
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            count = len(upstream.requests)
            assert (await client.get(b"login.test", b"/mine")).headers["x-number"] == str(count + 1)
        assert upstream.requests[-1].target == "/mine"
