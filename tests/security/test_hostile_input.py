"""Bytes that no browser sends get the site's own page: never 500, and never a line about a fault of ours."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll.refusals import Refusal
from gateway.edge.tls import ClientCertificate
from gateway.sites.connectivity import application as connectivity_site
from gateway.sites.pickup import application as pickup_site
from gateway.web import pages, references
from gateway.web.context import Role
from gateway.web.words import REFUSALS
from tests.datadirs import admit, open_office
from tests.gateway.rawtls import Answer, connect
from tests.gateway.sites.kit import HOSTS, Served, serve
from tests.looking import look, rows

_FORM = b"application/x-www-form-urlencoded"
_PARTS = b"multipart/form-data; boundary=x"
_GOOD = b"user_id=K1&password=x"


@pytest.fixture
async def pickup(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.PICKUP, pickup_site) as served,
    ):
        await admit(ra)
        yield served


async def ask(
    served: Served, method: bytes, target: bytes, *lines: bytes, body: bytes = b"", late: bytes = b""
) -> Answer:
    """The answer to a request of which every byte is chosen; framed by its length unless a line says how.

    ``late`` is sent once the page waits for more of the body, and nothing is to follow its answer.
    """
    port = int(served.gate.origins[served.role].rpartition(":")[2])
    host = HOSTS[served.role].encode()
    framing = () if any(b"chunked" in line for line in lines) else (b"Content-Length: %d" % len(body),)
    head = (b"%s %s HTTP/1.1" % (method, target), b"Host: %s:%d" % (host, port), *framing, *lines, b"", b"")
    async with connect(port, host) as client, asyncio.timeout(60):
        await client.send(b"\r\n".join(head) + body)
        if late:
            await asyncio.sleep(0.1)
            await client.send(late)
        answer = await client.answer()
        if late:
            await client.end()
        return answer


async def posted(
    served: Served, content_type: bytes, body: bytes, *lines: bytes, late: bytes = b""
) -> Answer:
    """A form sent to the login; where it leads, as a browser goes there."""
    answer = await ask(
        served, b"POST", b"/login", b"Content-Type: " + content_type, *lines, body=body, late=late
    )
    if answer.status != 303:
        return answer
    return await ask(served, b"GET", answer.headers["location"].encode())


def part(*lines: bytes, body: bytes = b"z") -> bytes:
    return b"\r\n".join([b"--x", *lines, b"", body, b"--x--", b""])


@pytest.fixture(autouse=True)
def _no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


_BODIES = {
    "a raw byte": (_FORM, b"user_id=\xff&password=x"),
    "an escaped byte": (_FORM, b"user_id=%ff&password=x"),
    "half a character": (_FORM, b"user_id=%ED%A0%80&password=x"),
    "zero bytes": (_FORM + b"; charset=utf-16-le", "user_id=K1&password=x".encode("utf-16-le")),
    "a field twice": (_FORM, b"user_id=K1&user_id=K1&password=x"),
    "too many fields": (_FORM, b"&".join(b"f%d=" % n for n in range(101))),
    "too long": (_FORM, b"user_id=" + b"a" * 70_000),
    "compressed": (_FORM + b"\r\nContent-Encoding: gzip", b"\x1f\x8b\x08\x00"),
    "another type": (b"text/plain", _GOOD),
    "a type that is none": (b"\xff\xfe;;;=", _GOOD),
    "parts": (_PARTS, part(b"Content-Disposition: form-data; name=user_id")),
    "parts without a boundary": (b"multipart/form-data", _GOOD),
    "parts with another boundary": (_PARTS, _GOOD),
    "a part without a name": (_PARTS, part()),
    "parts within a part": (_PARTS, part(b"Content-Type: multipart/mixed; boundary=y", body=b"--y--")),
    "a part with bad base64": (
        _PARTS,
        part(b"Content-Disposition: form-data; name=a", b"Content-Transfer-Encoding: base64"),
    ),
    "a part in an unknown encoding": (
        _PARTS,
        part(b"Content-Disposition: form-data; name=a", b"Content-Transfer-Encoding: zzz"),
    ),
    "a part in an unknown character set": (
        _PARTS,
        part(b"Content-Disposition: form-data; name=a", b"Content-Type: text/plain; charset=zz"),
    ),
}


@pytest.mark.parametrize("name", _BODIES)
async def test_a_form_that_is_none_is_bad_input(pickup: Served, name: str) -> None:
    """422 on the site's own page, with a reference number under which the desk finds it."""
    answer = await posted(pickup, *_BODIES[name])
    assert answer.status == 422
    assert "入力内容を確認してください" in answer.text
    [kept] = rows(look(pickup.ra.database), "SELECT code FROM desk_references")
    assert kept["code"] == "invalid_input"


@pytest.mark.parametrize("charset", [b"utf-8", b"bogus", b"idna", b"hex", b"utf-7", b"unicode_escape"])
async def test_a_form_is_utf8_whatever_it_says(pickup: Served, charset: bytes) -> None:
    """The twin: what is well-formed is read as every browser means it; strangers choose no codec."""
    answer = await posted(pickup, _FORM + b"; charset=" + charset, _GOOD)
    assert answer.status == 403
    assert REFUSALS["bad_credentials"].text[0] in re.sub(r"<[^>]*>", "", answer.text)  # set in phrases


async def test_half_a_character_stays_half_of_one(pickup: Served) -> None:
    """What utf-7 and unicode_escape spell so is two wrong credentials, and no character of ours."""
    for body in (b"user_id=+2AA-&password=+2AA-", b"user_id=\\ud800&password=\\ud800"):
        assert (await posted(pickup, _FORM + b"; charset=utf-7", body)).status == 403


async def test_a_body_whose_framing_breaks_is_bad_input(pickup: Served) -> None:
    """422, and the connection ends: nothing after it can be told from the body."""
    chunked = b"Transfer-Encoding: chunked"
    answer = await posted(pickup, _FORM, b"5\r\nuser_\r\n", chunked, late=b"zz\r\n")
    assert answer.status == 422
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_GOOD), _GOOD)
    assert (await posted(pickup, _FORM, whole, chunked)).status == 403


async def test_a_client_that_leaves_within_a_body_is_no_fault_of_ours(pickup: Served) -> None:
    """No line, and no reference number that nobody was told."""
    port = int(pickup.gate.origins[Role.PICKUP].rpartition(":")[2])
    host = HOSTS[Role.PICKUP].encode()
    head = b"POST /login HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\nContent-Length: 50\r\n\r\nuser"
    before = len(asyncio.all_tasks())
    async with connect(port, host) as client:
        await client.send(head % (host, port, _FORM))
        await asyncio.sleep(0.1)
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)
    assert rows(look(pickup.ra.database), "SELECT code FROM desk_references") == []


async def test_a_report_whose_framing_breaks_is_bad_input(tmp_path: Path) -> None:
    """The same where a page's script reports."""
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.CONNECTIVITY, connectivity_site, ClientCertificate.ASK) as served,
    ):
        lines = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
        answer = await ask(served, b"POST", b"/report", *lines, late=b"zz\r\n")
        assert answer.status == 422


@pytest.mark.parametrize("origin", [b"\xff", b"https://\xed\xa0\x80"])
async def test_an_origin_of_any_bytes_is_foreign(pickup: Served, origin: bytes) -> None:
    """403 as for every other site's page; what it was is kept as far as it is text."""
    assert (await posted(pickup, _FORM, _GOOD, b"Origin: " + origin)).status == 403
    [kept] = rows(look(pickup.ra.database), "SELECT code, detail FROM desk_references")
    assert kept["code"] == "cross_site"
    assert "?" in kept["detail"]


@pytest.mark.parametrize("token", [b"\xff\xfe", b"\xc3\xa9", b"a" * 5_000])
async def test_a_token_of_any_bytes_is_nobodys(pickup: Served, token: bytes) -> None:
    """No session, so back to the login, which says that it is needed."""
    answer = await ask(pickup, b"GET", b"/menu", b"Cookie: __Host-pickup=" + token)
    assert (answer.status, answer.headers["location"]) == (303, "/?done=login")


@pytest.mark.parametrize("target", [b"/", b"/login", b"/nothing"])
@pytest.mark.parametrize("expected", [b"\xff", b"foo", b"100-continue, \xff"])
async def test_an_expectation_that_nobody_knows_is_417(
    pickup: Served, target: bytes, expected: bytes
) -> None:
    """RFC 9110 10.1.1; what was expected is not repeated."""
    answer = await ask(pickup, b"POST", target, b"Content-Type: " + _FORM, b"Expect: " + expected, body=_GOOD)
    assert (answer.status, answer.headers["connection"]) == (417, "close")
    assert "foo" not in answer.text


async def test_an_expectation_of_100_is_met(pickup: Served) -> None:
    """The twin: the interim answer, then the page."""
    answer = await posted(pickup, _FORM, _GOOD, b"Expect: 100-continue")
    assert answer.status == 100


@pytest.mark.parametrize("header", [b"Accept-Language", b"User-Agent", b"Sec-Fetch-Site", b"Range"])
async def test_no_other_field_is_taken_for_text(pickup: Served, header: bytes) -> None:
    """Any bytes may stand in them."""
    assert (await ask(pickup, b"GET", b"/", header + b": \xff\xed\xa0\x80")).status == 200


@given(st.binary(max_size=200) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_any_body_is_fields_or_refused(body: bytes) -> None:
    """Whatever comes out is text without zero bytes, which every store takes."""
    with suppress(Refusal):
        text = "".join(name + value for name, value in pages.fields_of(body).items())
        assert "\x00" not in text
        text.encode("utf-8")


async def test_what_is_noted_is_text(pickup: Served) -> None:
    """However deep: a reference number is for the desk to read, and never the reason of a fault."""
    ra = pickup.ra
    number = await references.note(ra, "pickup", "x", path="/\udcff", inner={"\udcff": ["\udcff"]})
    kept = references.found(look(ra.database), number)
    assert kept is not None
    assert kept["detail"] == {"path": "/?", "inner": {"?": ["?"]}}
    visited = await references.note(ra, "pickup", "x", visit="v")
    assert await references.amend(ra, visited, "pickup", "v", more="\udcff")
    kept = references.found(look(ra.database), visited)
    assert kept is not None
    assert kept["detail"] == {"visit": "v", "more": "?"}
