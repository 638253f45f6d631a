"""Heads of answers that are read without a parser say what llhttp would have made of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy import recalling
from gateway.proxy.exchange import Head, UpstreamConnection

DATE = b"Date: Sat, 28 Nov 2026 20:40:34 GMT"
PLAIN = (b"HTTP/1.1 200 OK", b"Server: x/1", DATE, b"Content-Type: text/plain")
LINES = (
    *PLAIN,
    b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 200 Fine",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 103 Early Hints",
    b"Content-Length: 2",
    b"Content-Length: 02",
    b"content-length: 2",
    b"Content-Length: 3",
    b"Content-Length: +2",
    b"Transfer-Encoding: chunked",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: x-odd",
    b"Proxy-Connection: close",
    b"Keep-Alive: timeout=5",
    b"X-Odd:  two spaces",
    b"X-Odd: at its end ",
    b"X-Odd:",
    b"X-Odd: 1",
    b"X Odd: 1",
    b"NEL: {}",
    b"Set-Cookie: a=b",
    b"Clear-Site-Data: \"cookies\"",
    b"Upgrade: h2c",
    b" folded",
    b"Date: another",
)  # fmt: skip
BODIES = (b"", b"ok", b"ok!", b"HTTP/1.1 200 OK\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n")


class _Socket:
    """Enough of a transport for an exchange in memory."""

    def write(self, data: bytes) -> None:
        return

    def abort(self) -> None:
        return

    def pause_reading(self) -> None:
        return

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def _connection(loop: asyncio.AbstractEventLoop) -> UpstreamConnection:
    made = UpstreamConnection(loop, 0, lambda _: None)
    made.connection_made(_Socket())  # type: ignore[arg-type]
    return made


def _asked(connection: UpstreamConnection, answer: bytes, *, bodiless: bool = False) -> tuple[object, ...]:
    """What an exchange leaves to be seen."""
    connection.begin(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bodiless=bodiless)
    connection.data_received(answer)
    found: list[object] = []
    while head := connection.whole():
        assert isinstance(head, Head)
        fields = head.fields
        found += [head.status, head.reason, head.length, fields.lines, fields.noted, fields.cookie]
    seen = (*found, connection.taken(), connection.complete, connection.reusable, connection.fault)
    return (*seen, connection.upgraded, connection.trailers)


def _message(lines: list[bytes], body: bytes) -> bytes:
    return b"".join(b"%s\r\n" % line for line in lines) + b"\r\n" + body


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    recalling._lines.clear()
    recalling._statuses.clear()


answers = st.builds(
    _message,
    st.tuples(
        st.sampled_from([each for each in LINES if each.startswith(b"HTTP")]),
        st.lists(st.sampled_from([each for each in LINES if not each.startswith(b"HTTP")]), max_size=5),
    ).map(lambda drawn: [drawn[0], *drawn[1]]),
    st.sampled_from(BODIES),
)


@pytest.mark.slow
@given(before=st.lists(answers, max_size=6), answer=answers, bodiless=st.booleans())
@settings(max_examples=250, deadline=None)
def test_whatever_was_learnt_an_answer_reads_the_same(
    before: list[bytes], answer: bytes, bodiless: bool
) -> None:
    """V32: of any answer, whatever came before it, a connection that remembers makes what one makes that does
    not: status, fields, body, and whether the connection is good for another one."""
    _forget()
    loop = asyncio.new_event_loop()
    try:
        for each in before:
            _asked(_connection(loop), each)
        remembered = _asked(_connection(loop), answer, bodiless=bodiless)
        _forget()
        assert remembered == _asked(_connection(loop), answer, bodiless=bodiless)
    finally:
        loop.close()


def _forget() -> None:
    recalling._lines.clear()
    recalling._statuses.clear()


def _recalled(answer: bytes) -> bool:
    return recalling.Memory().recall(answer) is not None


def _learnt(*answers: bytes) -> None:
    loop = asyncio.new_event_loop()
    try:
        for each in answers:
            _asked(_connection(loop), each)
    finally:
        loop.close()


def test_an_answer_like_the_last_one_needs_no_parser() -> None:
    """The same lines in any order, with any body whose length is told."""
    first = _message([*PLAIN, b"Content-Length: 2"], b"ok")
    assert not _recalled(first)
    _learnt(first)
    assert _recalled(first)
    assert _recalled(_message([PLAIN[0], b"Content-Length: 3", *reversed(PLAIN[1:])], b"ok!"))
    assert _recalled(_message([PLAIN[0], b"Connection: keep-alive", b"Content-Length: 0"], b""))


@pytest.mark.parametrize(
    "answer",
    [
        _message([*PLAIN, b"X-New: 1", b"Content-Length: 2"], b"ok"),
        _message([*PLAIN], b"ok"),
        _message([*PLAIN, b"Content-Length: 2"], b"o"),
        _message([*PLAIN, b"Content-Length: 2"], b"ok!"),
        _message([*PLAIN, b"Content-Length: 2", b"Content-Length: 2"], b"ok"),
        _message([*PLAIN, b"Transfer-Encoding: chunked", b"Content-Length: 2"], b"ok"),
        _message([*PLAIN, b"Connection: close", b"Content-Length: 2"], b"ok"),
        _message([*PLAIN, b"Proxy-Connection: close", b"Content-Length: 2"], b"ok"),
        _message([*PLAIN, b"Set-Cookie: a=b", b"Content-Length: 2"], b"ok"),
        _message([b"HTTP/1.0 200 OK", *PLAIN[1:], b"Content-Length: 2"], b"ok"),
        _message([b"HTTP/1.1 204 No Content", *PLAIN[1:], b"Content-Length: 2"], b"ok"),
        _message([*PLAIN, b"Content-Length: 2"], b"ok").replace(b"\r\n", b"\n"),
    ],
)
def test_whatever_says_how_an_answer_ends_is_llhttps(answer: bytes) -> None:
    """Known lines do not help an answer with another one, nor what frames it but one Content-Length; a cookie
    is not remembered at all."""
    _learnt(_message([*PLAIN, b"Content-Length: 2"], b"ok"), answer)
    if b"X-New" in answer:  # now it is known
        assert _recalled(answer)
        _forget()
        _learnt(_message([*PLAIN, b"Content-Length: 2"], b"ok"))
    assert not _recalled(answer)


def test_answers_that_are_never_alike_are_not_looked_at() -> None:
    """Each with an ETag of its own: soon only one in 64 is looked at; one that is known ends that."""
    memory = recalling.Memory()
    tried = 0
    for number in range(1_000):
        assert (
            memory.recall(_message([PLAIN[0], b'ETag: "%d"' % number, b"Content-Length: 2"], b"ok")) is None
        )
        tried += memory.tried
    assert 10 < tried < 30
    known = _message([PLAIN[0], b"Content-Length: 2"], b"ok")
    _learnt(known)
    assert any(memory.recall(known) for _ in range(65))
    assert memory.recall(known) is not None


def test_the_memory_has_an_end() -> None:
    """However many lines an upstream invents, so many are kept at most; long ones are not."""
    many = (_message([PLAIN[0], b"X-N: %d" % number, b"Content-Length: 0"], b"") for number in range(3_000))
    _learnt(*many, _message([PLAIN[0], b"X-N: " + b"n" * 300, b"Content-Length: 0"], b""))
    assert len(recalling._lines) <= 2_048
    assert max(map(len, recalling._lines)) < 256


def test_only_what_was_read_as_it_is_written_is_remembered() -> None:
    """A line that llhttp made another field of, for whatever reason, stays unknown."""
    data = _message([PLAIN[0], b"X-One: 1", b"X-Two: 2"], b"")
    recalling.learn(data, 200, b"OK", [(b"X-One", b"1"), (b"X-Two", b"1")])
    assert list(recalling._lines) == [b"X-One: 1"]
    recalling.learn(data, 200, b"OK", [(b"X-Two", b"2")])
    assert list(recalling._lines) == [b"X-One: 1"]
