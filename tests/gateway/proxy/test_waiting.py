"""How long the upstream may take is the operator's to say, for each path."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ca.errors import ConfigError
from gateway.proxy.waiting import PathWaits, Waits, path_waits
from tests.gateway.conftest import Pki
from tests.gateway.proxy.conftest import Stand
from tests.gateway.proxy.test_proxy_websocket import OPENING
from tests.gateway.proxy.upstreams import running
from tests.gateway.rawtls import connect, get

DEFAULT = Waits(answer=60, body=300)
WAITS = path_waits(DEFAULT, ["/reports answer=600 body=900", "/reports/live tunnel=86400", "/a.b/c answer=1"])


@pytest.mark.parametrize(
    ("target", "waits"),
    [
        ("/", DEFAULT),
        ("/report", DEFAULT),
        ("/reports", replace(DEFAULT, answer=600, body=900)),
        ("/reports/x?y=/reports/live", replace(DEFAULT, answer=600, body=900)),
        ("/reports/live/1", replace(DEFAULT, tunnel=86_400)),
        ("/reports/lives", replace(DEFAULT, answer=600, body=900)),
        ("/a.b/c", replace(DEFAULT, answer=1)),
        ("/a.b", DEFAULT),
        ("/x/reports", DEFAULT),
    ],
)
def test_the_longest_prefix_decides(target: str, waits: Waits) -> None:
    """Whole segments; what a line does not name is the default's, not another line's."""
    assert WAITS.of(target) == waits
    assert PathWaits(DEFAULT).of(target) is DEFAULT


@pytest.mark.parametrize(
    "line",
    ["", "/a", "a answer=1", "/a answer", "/a answer=", "/a answer=1s", "/a connect=1", "/a answer=-1",
     "/a/ answer=1", "/a answer=1,body=2", "/ answer=1", "/a  answer=1", "/a answer=1 "],
)  # fmt: skip
def test_a_line_says_what_it_means(line: str) -> None:
    """Anything else is refused with an example. No connection is opened for a path, which has no wait so."""
    with pytest.raises(ConfigError, match=r"waits: .*such as '/reports answer=600"):
        path_waits(DEFAULT, [line])


@pytest.mark.parametrize("lines", [["/a answer=1", "/a body=1"], ["/a answer=1 answer=2"], ["/a answer=0"]])
def test_each_once_and_none_of_nothing(lines: list[str]) -> None:
    """What is said twice would be one of both, and nothing is answered in no time."""
    with pytest.raises(ConfigError, match="once, and none of 0"):
        path_waits(DEFAULT, lines)


@pytest.mark.parametrize("kind", ["answer", "body", "tunnel"])
async def test_a_path_has_its_own_patience(stand: Stand, pki: Pki, kind: str) -> None:
    """A slow answer, a silent body, a still WebSocket: each lasts where its path may, and ends elsewhere."""
    started = {
        "answer": b"",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab",
        "tunnel": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    }[kind]
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(started)
        if head.startswith(b"GET /slow"):
            await go_on.wait()
            writer.write({"answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ncd"}.get(kind, b"cd"))
        await reader.read()

    # The other waits are long enough for a busy machine.
    impatient = replace(Waits(), **{kind: 0.05})
    async with running(script) as port:
        lines = path_waits(impatient, [f"/slow {kind}=100000"])
        more = OPENING if kind == "tunnel" else ()
        front = await stand(f"http://127.0.0.1:{port}", waits=impatient, more={"waits": lines})
        async with (
            connect(front.port, b"login.test", certificate=pki.client) as slow,
            connect(front.port, b"login.test", certificate=pki.client) as quick,
        ):
            await slow.send(get(b"login.test", b"/slow", *more))
            if kind == "answer":
                assert (await quick.get(b"login.test", b"/quick")).status == 504
            else:
                await quick.send(get(b"login.test", b"/quick", *more))
                await asyncio.wait_for(quick.end(), 60)
            go_on.set()  # the other's end has come by now, and the same sweep has seen this one
            got = slow.buffer
            while not got.endswith(b"cd"):
                got += await asyncio.wait_for(slow.some(), 60)
