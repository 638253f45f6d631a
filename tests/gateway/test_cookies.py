"""One reader of cookies: the one clean pair of our name, or nobody's session (W62)."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

import pytest
from aiohttp._cookie_helpers import parse_cookie_header
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

import gateway
from gateway.wire import cookies
from gateway.wire.cookies import ABSENT, Reading, ours
from tests.datadirs import admit
from tests.gateway.sites.kit import Served, Visitor
from tests.gateway.sites.members import USER, established, log_in, online_service
from tests.gateway.sites.members import cookies as token_of

NAME = "__Host-service"
MINE = ours(NAME)
TOKEN = "q-W_4tJ0pR7sT1uV9wX2yZ"

#: As it is written by a browser that holds it once.
CLEAN = (
    "__Host-service=TOKEN",
    "a=1; __Host-service=TOKEN",
    "__Host-service=TOKEN; b=2",
    "a=1; __Host-service=TOKEN; b=2",
    "x__Host-service=evil; __Host-service=TOKEN",
    "__Host-service=TOKEN; __Host-service2=evil",
    'a="; __Host-service=TOKEN; b="',
    "a; __Host-service=TOKEN; =b; あ=い; c=d e, f",
)
#: Another cookie, whose name has ours within it.
OTHERS = (
    "x__Host-service=1",
    "__Host-services=1",
    "__Host-service.x=1",
    "-__Host-service=1",
    "a=__Host-servicex",
)
#: What some parser, or some browser, takes for ours. A line break parts two fields.
ODD = (
    "x=y __Host-service=TOKEN",
    "x=1, __Host-service=TOKEN",
    "a;__Host-service=TOKEN,b=2",
    "__Host-service=TOKEN; __Host-service=TOKEN",
    "\u2003__Host-service=TOKEN",
    "a=1;__Host-service=TOKEN",
    "a=1;  __Host-service=TOKEN",
    "a=1;\t__Host-service=TOKEN",
    "a=1 ; __Host-service=TOKEN;b=2",
    "a=1,__Host-service=TOKEN",
    "a=1; \u2003__Host-service=TOKEN",
    "a=1; \xa0__Host-service=TOKEN",
    "a=1; \u3000__Host-service=TOKEN",
    "a=1; \x0c__Host-service=TOKEN",
    "a=1; \x0b__Host-service=TOKEN",
    "a=1; \ufeff__Host-service=TOKEN",
    "=__Host-service=TOKEN",
    "a=1; =__Host-service=TOKEN",
    "__Host-service =TOKEN",
    "__Host-service= TOKEN",
    "__Host-service\u2003=TOKEN",
    '__Host-service="TOKEN"',
    '"__Host-service"=TOKEN',
    "__Host-service=TOKEN,b=2",
    "__Host-service=TOKEN b=2",
    "__Host-service=TOKEN\u2003",
    "__Host-service=TOKEN:TOKEN",
    "__Host-service",
    "a=__Host-service",
    "a=__Host-service=TOKEN",
    "__host-service=TOKEN",
    "__HOST-SERVICE=TOKEN",
    "__Host-service=TOKEN; __host-service=evil",
    "__Host-service=TOKEN; a=__Host-service",
    "__Host-service=TOKEN; x=y __Host-service=evil",
    "$Version=1; __Host-service=TOKEN; $Path=/, __Host-service=evil",
    "__Host-service=TOKEN\n__Host-service=TOKEN",
    "a=1\n__Host-service=TOKEN",
    "__Host-service=TOKEN\na=1",
)

#: Those of them that can be sent: no other control character comes through a parser.
SENT = tuple(each for each in ODD if not set(each) & {"\x0b", "\x0c"})


def fields(spelling: str, token: str = TOKEN) -> list[bytes]:
    return [line.encode() for line in spelling.replace("TOKEN", token).split("\n")]


@pytest.mark.parametrize("spelling", CLEAN)
def test_one_clean_pair_is_ours(spelling: str) -> None:
    """RFC 6265 5.4: ``name=value``, parted by a semicolon and a space; whatever other cookies there are."""
    read, left = MINE.taken_from(*fields(spelling))
    assert read == Reading(TOKEN)
    assert left.decode() == re.sub("(^|; )__Host-service=TOKEN", "", spelling).removeprefix("; ")


@pytest.mark.parametrize("spelling", OTHERS)
def test_a_longer_name_is_another_cookie(spelling: str) -> None:
    """It is neither ours nor odd, and goes on as it is."""
    assert MINE.taken_from(spelling.encode()) == (ABSENT, spelling.encode())
    assert not MINE.stands_in(spelling.encode())


@pytest.mark.parametrize("spelling", ODD)
def test_any_other_form_is_nobodys(spelling: str) -> None:
    """It gives no value, is told as odd, and does not go on to the upstream."""
    assert MINE.read(fields(spelling)) == Reading(odd=True)
    for field in fields(spelling):
        _, left = MINE.taken_from(field)
        assert not MINE.stands_in(left)


def _lax(value: str) -> Iterator[str]:
    """The values that others read under our name."""
    for parsed in (parse_cookie_header(value), parse_cookie_header(value.replace(",", ";"))):
        yield from (morsel.value for name, morsel in parsed if name == NAME)
    jar: SimpleCookie = SimpleCookie()
    with suppress(CookieError):
        jar.load(value)
        yield from (morsel.value for name, morsel in jar.items() if name == NAME)
    for part in re.split("[;,]", value):
        name, _, text = part.strip().partition("=")
        if name.strip().strip('"').lower() == NAME.lower():
            yield text.strip().strip('"')


_PIECES = [
    "__Host-service",
    "__host-service",
    "=",
    ";",
    "; ",
    " ",
    ",",
    '"',
    "a",
    "evil",
    "\t",
    "\u2003",
    "$Path",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_no_other_reader_finds_another_value(value: str) -> None:
    """What we take for ours is what every reader takes that finds our name at all; else we take nothing."""
    value = value.strip(" \t")
    read = MINE.read([value.encode()])
    if read.value:
        assert set(_lax(value)) <= {read.value}
    elif not read.odd:
        assert not [each for each in _lax(value) if each]


def test_nothing_else_reads_cookies() -> None:
    """No file of the gateway asks aiohttp for the cookies of a request: its parser is the lax one."""
    root = Path(gateway.__file__).parent
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "cookies"
        and isinstance(node.value, ast.Name) and node.value.id == "request"
    ]  # fmt: skip
    assert found == []


# -- on the pages --------------------------------------------------------------------------------------


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    async with online_service(tmp_path) as served:
        await admit(served.ra, USER)
        yield served


async def ask(visitor: Visitor, path: str, spelling: str, token: str) -> tuple[int, str, list[str], str]:
    """Status, Location, what is set and what is cleared."""
    headers = CIMultiDict(("Cookie", line.decode()) for line in fields(spelling, token))
    async with visitor.session.get(visitor.origin + path, headers=headers, allow_redirects=False) as got:
        told = got.headers
        return (
            got.status,
            told.get("Location", ""),
            told.getall("Set-Cookie", []),
            told.get("Clear-Site-Data", ""),
        )


async def test_pages_let_nobody_in_by_an_odd_cookie(service: Served) -> None:
    """With a live session's token in any odd form the portal leads to the login, and the browser is told to
    drop the cookie, and what was planted with it; the clean one goes on, and so do other cookies."""
    mine = await established(service)
    first = mine.visitor(service)
    await log_in(first)
    token, bare = token_of(first), mine.visitor(service)
    for spelling in CLEAN:
        assert await ask(bare, "/portal/", spelling, token) == (200, "", [], ""), spelling
    for spelling in SENT:
        status, location, planted, cleared = await ask(bare, "/portal/", spelling, token)
        assert (status, location) == (303, "/login"), spelling
        assert [each.split("=")[:2] for each in planted] == [[NAME, '""; Max-Age']], spelling
        assert cleared == '"cookies"', spelling
    for spelling in OTHERS:
        assert await ask(bare, "/portal/", spelling, token) == (303, "/login", [], ""), spelling
    assert (await ask(first, "/portal/", "a=1", token))[0] == 200  # the session itself lives on


async def test_the_language_is_read_by_the_same_reader(service: Served) -> None:
    """An odd one of the other cookies changes nothing and is taken away, without a logout."""
    visitor = (await established(service)).visitor(service)
    for spelling, language, gone in (
        ("__Host-lang=en", "en", []),
        ("x=y __Host-lang=en", "ja", ["__Host-lang"]),
        ("__Host-lang=en; __Host-lang=en", "ja", ["__Host-lang"]),
    ):
        async with visitor.session.get(visitor.origin + "/login", headers={"Cookie": spelling}) as got:
            assert got.headers["Content-Language"] == language
            assert [each.split("=")[0] for each in got.headers.getall("Set-Cookie", [])] == gone
            assert "Clear-Site-Data" not in got.headers


def test_a_cookies_name_is_its_sites() -> None:
    """The twin of `deletion`: what takes a cookie away names it, and ends it."""
    assert cookies.deletion("__Host-x").startswith('__Host-x=""; Max-Age=0; Path=/; ')
