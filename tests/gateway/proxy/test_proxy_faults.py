"""Upstreams that misbehave: what the client gets, what is tried again, and what is never used again."""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy.waiting import Waits
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.upstreams import recording, running, saying
from tests.gateway.rawtls import Closed, connect, get, head_of
from tests.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = b"POST / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 201 + b"\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n" * 20 + OK,
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
async def test_answers_that_can_be_read_in_two_ways_are_502(stand: Stand, pki: Pki, answer: bytes) -> None:
    """A malformed answer, an unasked 101 or none at all becomes our page; its connection is closed."""
    async with running(saying(answer, then_close=True)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test")).status == 502
        assert front.pool.open == 0


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"x", b"\r\n\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_bytes_nobody_asked_for_answer_nobody(
    stand: Stand, pki: Pki, more: bytes, method: bytes
) -> None:
    """V44: what follows an answer is never the answer to the next request; the connection ends."""
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"ok" if method == b"GET" else b"")
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first + more if connections == 1 else OK)
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test").replace(b"GET", method))
            await client.some()
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test")).body == b"ok"
    assert connections == 2


@pytest.mark.parametrize(
    ("method", "start", "framing"),
    [
        (b"GET", b"204 No Content", b"Content-Length: 3\r\n\r\nabc"),
        (b"GET", b"204 No Content", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        (b"GET", b"204 No Content", b"\r\nabc"),
        (b"GET", b"304 Not Modified", b"Content-Length: 3\r\n\r\nabc"),
        (b"GET", b"304 Not Modified", b"\r\n" + OK),
        (b"HEAD", b"200 OK", b"Content-Length: 3\r\n\r\nabc"),
        (b"HEAD", b"200 OK", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_a_body_where_none_may_be_costs_its_connection_only(
    stand: Stand, pki: Pki, method: bytes, start: bytes, framing: bytes, late: bool
) -> None:
    """204, 304 and the answer to HEAD end with their head (RFC 9112 6.3): it is handed on, what follows it is
    not, and whether it comes at once or late, the next request is answered by another connection."""
    connections = 0
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        if connections > 1:
            writer.write(OK)
        else:
            answer = b"HTTP/1.1 %s\r\nX-Is: theirs\r\n%s" % (start, framing)
            head, end, body = answer.partition(b"\r\n\r\n")
            writer.write(head + end if late else answer)
            if late:
                await go_on.wait()
                writer.write(body)
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test").replace(b"GET", method, 1))
            head = await head_of(client)
            assert head.startswith(b"HTTP/1.1 %s\r\nX-Is: theirs" % start)
            assert client.buffer == b""
            go_on.set()
            if late:  # its bytes are here before the next request is
                async with asyncio.timeout(60):
                    while front.pool.open:
                        await asyncio.sleep(0.005)
            assert (await client.get(b"login.test")).body == b"ok"
    assert connections == 2


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"200 All's well (so far)", b"200 All's well (so far)"),
        (b"200 O\x00K", b"200 OK"),
        (b"404 \x1b[2Jgone", b"404 Not Found"),
        (b"200 \x9b2J", b"200 OK"),
        (b"599 \x07", b"599 "),
        (b"200 " + b"a" * 300, b"200 OK"),
        (b"103 \x1bEarly", b"103 Early Hints"),
    ],
)
async def test_a_reason_phrase_is_visible_ascii(stand: Stand, pki: Pki, said: bytes, heard: bytes) -> None:
    """RFC 9112 4: control characters of a phrase would reach terminals and logs; the usual phrase stands for
    one that has any, in an early answer, too."""
    answer = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % said
    answer = answer.replace(b"Content-Length: 0\r\n", b"") + OK if said.startswith(b"1") else answer
    async with running(saying(answer)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            assert (await head_of(client)).split(b"\r\n")[0] == b"HTTP/1.1 " + heard


async def test_an_answer_in_pieces_is_the_same(stand: Stand, pki: Pki) -> None:
    """Wherever the network cuts a head, phrase and values are what they are in one piece."""
    answer = b"HTTP/1.1 200 Quite fine\r\nX-A: b \r\nTransfer-Encoding: chunked \r\n\r\n0\r\n\r\n"
    for at in range(10, answer.index(b"\r\n\r\n")):

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at: int = at) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer[:at])
            await writer.drain()
            await asyncio.sleep(0.002)
            writer.write(answer[at:])
            await reader.read()

        async with running(script) as port:
            front = await stand(f"http://127.0.0.1:{port}")
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                await client.send(get(b"login.test"))
                head = await head_of(client)
        assert head.startswith(b"HTTP/1.1 200 Quite fine\r\nX-A: b\r\n"), at


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_a_body_cut_short_is_never_made_whole(stand: Stand, pki: Pki, cut: bytes) -> None:
    """An upstream that ends within a body ends the client without close_notify or last chunk."""
    async with running(saying(cut, then_close=True)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            got, closed = b"", None
            while closed is None:
                try:
                    got += await client.some()
                except Closed as end:
                    closed = end
            assert closed.alert != "close_notify"
            assert not got.endswith(b"0\r\n\r\n")
        assert front.counts["upstream.cut"] == 1


async def test_a_body_until_the_end_of_the_connection_is_whole(stand: Stand, pki: Pki) -> None:
    """Without a length the end of the connection is the end of the body (RFC 9112 6.3)."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it"
    async with running(saying(answer, then_close=True)) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got += await client.some()
    assert b"Transfer-Encoding: chunked\r\n" in got
    assert b"9\r\nall of it\r\n" in got


async def test_a_connection_closed_at_rest_is_tried_again(stand: Stand, pki: Pki) -> None:
    """A GET without an answer goes out once more; a POST does not (RFC 9110 9.2.2)."""
    heads: list[bytes] = []
    closing = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        closing.set()
        writer.close()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}")
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test")).status == 200
            assert (await client.get(b"login.test")).status == 200
            assert closing.is_set()
            assert len(heads) == 3
            assert (await client.ask(POST)).status == 502
    assert len(heads) == 4


async def test_a_post_is_never_sent_twice(stand: Stand, pki: Pki) -> None:
    """Not even without a body, and not even when its connection closed before a byte was answered."""
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    empty = b"POST / HTTP/1.1\r\nHost: login.test\r\nContent-Length: 0\r\n\r\n"
    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
        for request in (
            empty,
            empty.replace(b"Content-Length: 0\r\n", b""),
            empty.replace(b"POST", b"DELETE"),
        ):
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                assert (await client.ask(request)).status == 502
    assert len(heads) == 3


@pytest.mark.parametrize("late", [OK, b"x", b"\r\n"])
async def test_a_connection_that_speaks_at_rest_is_closed(stand: Stand, pki: Pki, late: bytes) -> None:
    """V44: bytes that come after the answer, with nobody asking, end the connection at once."""
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await go.wait()
        writer.write(late)
        await reader.read()

    async with running(script) as port:
        front = await stand(f"http://127.0.0.1:{port}", waits=Waits(rest=60))
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test")).body == b"ok"
        assert front.pool.open == 1
        go.set()
        async with asyncio.timeout(60):
            while front.pool.open:
                await asyncio.sleep(0.01)


async def test_a_failed_address_is_passed_over(stand: Stand, pki: Pki) -> None:
    """Requests go to the address that is well, POSTs as well; none fails because another is down."""
    async with recording() as well:
        front = await stand(f"http://127.0.0.1:{free_port()}", well.url)
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            for _ in range(4):
                assert (await client.get(b"login.test")).status == 200
                assert (await client.ask(POST)).status == 200
        assert front.pool.healthy() == (False, True)
    assert len(well.requests) == 8


async def test_the_active_check_finds_who_is_ill_and_who_is_well_again(stand: Stand) -> None:
    """An address that answers 500 to the check is passed over until it answers less."""
    async with recording() as one, recording() as two:
        two.status = 503
        front = await stand(one.url, two.url, health="/healthz", waits=Waits(check=0.02, down=60))
        async with asyncio.timeout(60):
            while front.pool.healthy() != (True, False):
                await asyncio.sleep(0.01)
        two.status = 404
        async with asyncio.timeout(60):
            while front.pool.healthy() != (True, True):
                await asyncio.sleep(0.01)
    assert {seen.target for seen in one.requests + two.requests} == {"/healthz"}
    assert one.requests[0].values("sekisho-assertion") == []


async def test_nothing_listens_502_slow_504_full_503(stand: Stand, pki: Pki) -> None:
    """Each kind of failure has its status, and the client's connection stays usable for a page."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    front = await stand(f"http://127.0.0.1:{free_port()}")
    async with connect(front.port, b"login.test", certificate=pki.client) as client:
        assert (await client.get(b"login.test")).status == 502
    async with running(silent) as port:
        front = await stand(f"http://127.0.0.1:{port}", waits=Waits(answer=0.2))
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            assert (await client.get(b"login.test")).status == 504
        front = await stand(f"http://127.0.0.1:{port}", connections=1)
        async with (
            connect(front.port, b"login.test", certificate=pki.client) as first,
            connect(front.port, b"login.test", certificate=pki.client) as second,
        ):
            await first.send(get(b"login.test"))
            async with asyncio.timeout(60):
                while front.pool.open != 1:
                    await asyncio.sleep(0.01)
            assert (await second.get(b"login.test")).status == 503


async def test_a_body_that_stops_is_ended(stand: Stand, pki: Pki) -> None:
    """Between two pieces of a body the upstream may take so long and no longer."""
    async with running(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")) as port:
        front = await stand(f"http://127.0.0.1:{port}", waits=Waits(body=0.1))
        async with connect(front.port, b"login.test", certificate=pki.client) as client:
            await client.send(get(b"login.test"))
            assert (await asyncio.wait_for(client.end(), 60)).alert != "close_notify"
    assert front.counts["upstream.timeout"] == 1


async def test_a_client_that_leaves_takes_its_upstream_connection_along(stand: Stand, pki: Pki) -> None:
    """The upstream learns at once, before an answer and within one, that nobody waits for it."""
    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"):
        left = asyncio.Event()

        async def script(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            answer: bytes = answer,
            left: asyncio.Event = left,
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            try:
                await reader.read()
            finally:
                left.set()

        async with running(script) as port:
            front = await stand(f"http://127.0.0.1:{port}")
            async with connect(front.port, b"login.test", certificate=pki.client) as client:
                await client.send(get(b"login.test"))
                if answer:
                    await client.some()
                else:
                    async with asyncio.timeout(60):
                        while front.pool.open == 0:
                            await asyncio.sleep(0.01)
            await asyncio.wait_for(left.wait(), 60)
            async with asyncio.timeout(60):
                while front.pool.open:
                    await asyncio.sleep(0.01)
