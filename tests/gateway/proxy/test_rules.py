"""Path rules: segment by segment, on the raw bytes, the stricter reading wins (V47)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import product
from posixpath import normpath
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from aiohttp.http import HttpVersion11
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import ConfigError
from gateway.edge.listener import authorities
from gateway.proxy.rules import LOGIN_ONLY, Access, access, rules_of
from gateway.wire.rules import denial

PUBLIC, CERTIFICATE, LOGIN = Access
RULES = rules_of({"/public": "public", "/api": "certificate", "/api/open": "public", "/Mixed": "public"})
OPEN = rules_of({"/admin": "login", "/a/b/c": "certificate"}, "public")
_HOST, _OWN = ((b"Host", b"a.test"),), authorities("a.test", (443,))


@pytest.mark.parametrize(
    ("target", "needs"),
    [
        ("/", LOGIN),
        ("/public", PUBLIC),
        ("/public/", PUBLIC),
        ("/public/a.css?x=..//", PUBLIC),
        ("/public?x", PUBLIC),
        ("/publicity", LOGIN),
        ("/Public", LOGIN),
        ("/Mixed/x", PUBLIC),
        ("/mixed/x", LOGIN),
        ("/Mixed/", PUBLIC),
        ("/Mixed/%E3%81%82/", PUBLIC),
        ("/x/public", LOGIN),
        ("/api/v1", CERTIFICATE),
        ("/api/open/x", PUBLIC),
        ("/api/opened", CERTIFICATE),
        ("/public/a%20b", PUBLIC),
        ("/public/%E3%81%82", PUBLIC),
        ("/public/%EF%BC%91.pdf", PUBLIC),
        ("/public/a:b", PUBLIC),
        ("/public/urn:isbn:1", PUBLIC),
        ("/public/(1)!*',+=@&", PUBLIC),
        ("/public/%E8%B3%87%E6%96%99%EF%BC%88%E6%A1%88%EF%BC%89.pdf", PUBLIC),
        ("/public/%E3%83%BB%E3%80%8C%E3%81%8B%E3%82%99%E3%80%8D%E3%80%9C", PUBLIC),
        ("/public/e%CC%81t%C3%A9%20a.pdf", PUBLIC),
        ("/public/$a", PUBLIC),
        ("/public/.well-known/x", PUBLIC),
        ("/public/~x", PUBLIC),
        ("/public/%E3%81%82/x~1", PUBLIC),
    ],
)
def test_the_longest_prefix_decides(target: str, needs: Access) -> None:
    """Whole segments, the query left out, the case as written."""
    assert access(RULES, target) is needs


@pytest.mark.parametrize(
    "target",
    [
        "/public/..%2fadmin", "/public%2f..%2fadmin", "/public/x%5c..%5c", "/public//admin", "/public/x;y",
        "/public/%61", "/public/%2e%2e/x", "/public/%252e", "/public/x%3b", "/public/x%00", "/public/x./y",
        "/public/x.", "/public/%7e", "/public/x%0d", "/public/%c0%ae%c0%ae/admin", "/public/..%c0%af/admin",
        "/public/x%20", "/public/x%20/y", "/public/x::$DATA", "/public/x%3a%3a%24DATA",
        "/public/x:a:$i30/y",
        "/public/%ef%bc%8e%ef%bc%8e/admin", "/public/%ef%bc%8e/admin", "/%ef%bc%8fadmin",
        "/public%ef%bc%8f%ef%bc%8e%ef%bc%8e/admin", "/public/%FF", "/public/urn%3Aisbn", "/public/x%40",
        # Overlong and surrogate forms of UTF-8; bytes of other encodings.
        "/public/%e0%80%ae%e0%80%ae/admin", "/public/%f0%80%80%ae%f0%80%80%ae/admin",
        "/public/..%e0%80%afadmin",
        "/public/%ed%a0%80", "/public/%83%5c", "/public/..%81%5cadmin",
        # What some table folds to a solidus, a dot, a colon, a question mark, a blank, or drops.
        "/public/..%ef%bc%bcadmin", "/public/..%c2%a5admin", "/public/..%e2%82%a9admin",
        "/public/..%3f/admin",
        "/public/..%23/admin", "/public/x%e2%88%95y", "/public/x%e2%81%84y", "/public/x%e2%88%96y",
        "/public/x%cc%b8y", "/public/x%e2%83%a5y", "/public/%e2%80%a5/admin", "/public/%e2%80%a6",
        "/public/%c2%bd",
        "/public/%e2%84%80", "/public/x%ef%bc%9ax", "/public/x%cd%bey", "/public/..%c2%a0/admin",
        "/public/.%e2%80%8b./admin", "/public/.%c2%ad./admin", "/public/.%ef%bb%bf./admin",
        "/public/..%e3%82%99/admin", "/public/.%e3%81%82", "/public/%ee%80%80", "/public/x\"",
        "/public/[x]",
    ],
)  # fmt: skip
def test_two_readings_need_the_most(target: str) -> None:
    """What two servers could read in two ways needs the site's strictest proof, on any default."""
    assert access(RULES, target) is LOGIN
    assert access(OPEN, target) is LOGIN


@pytest.mark.parametrize(("target", "needs"), [
    ("/admin", LOGIN), ("/ADMIN/x", LOGIN), ("/%61dmin", LOGIN), ("//admin", LOGIN), ("/x/admin", PUBLIC),
    ("/%ef%bd%81dmin", LOGIN), ("/%EF%BC%A1DMIN/x", LOGIN), ("/%ef%bd%81dminx", LOGIN),
    ("/%c4%81dmin", LOGIN), ("/ADMINI~1/x", LOGIN), ("/~admin", PUBLIC),
    ("/a/b", PUBLIC), ("/a/b/c/d", CERTIFICATE), ("/A/b/C", CERTIFICATE), ("/adminx", PUBLIC),
    ("/a/%c4%83", LOGIN), ("/a/b/%c3%a7", LOGIN), ("/x/%c3%a7", PUBLIC), ("/a/b/C~1", LOGIN),
    ("/adm$in", LOGIN),
])  # fmt: skip
def test_a_rule_that_demands_more_counts_in_any_case(target: str, needs: Access) -> None:
    """An upstream that takes /ADMIN, or full-width letters, for /admin is not opened by that."""
    assert access(OPEN, target) is needs


# -- every reading that some server has ----------------------------------------------------------------

_BEST_FIT = str.maketrans(
    {"¥": "\\", "₩": "\\", "∖": "\\", "⧵": "\\", "\u20e5": "\\", "∕": "/", "⁄": "/", "\u0338": "/", "․": ".",
     "。": ".", "·": ".", "∶": ":", "\u037e": ";", "ā": "a", "đ": "d", "\xa0": " ", "\u3000": " "}
)  # fmt: skip
_IGNORED = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\xad\0"))
_PIECES = [
    "/", "/", "public", "admin", "..", ".", "x", "~1", "ADMIN", ";", "%3b", "?", "%3f", "%23", ":", "%3a",
    "$",
    "%20", "+", "%2e", "%2E", "%2f", "%5c", "%252e", "%252f", "%00", "%0a", "%61", "%c0%ae", "%c0%af",
    "%c1%9c",
    "%e0%80%ae", "%e0%80%af", "%e0%81%9c", "%f0%80%80%ae", "%f0%80%80%af", "%f8%80%80%80%ae", "%81%5c",
    "%ff",
    *map(quote, "．／＼：；？＃％ａ。｡·․‥…⁄∕∖⧵⧸₩¥∶\u0338\u20e5\u3000\xa0\u200b\ufeff\xad\u2028āあが゙"),
]  # fmt: skip


def _lenient(raw: bytes) -> str:
    """UTF-8 as the first decoders read it: overlong forms are what they say."""
    out, at = [], 0
    while at < len(raw):
        lead = raw[at]
        more = next((n for n, low in ((4, 0xF8), (3, 0xF0), (2, 0xE0), (1, 0xC0)) if lead >= low), 0)
        tail = raw[at + 1 : at + 1 + more]
        if not more or len(tail) < more or any(each & 0xC0 != 0x80 for each in tail):
            out.append(chr(lead))
            at += 1
            continue
        value = lead & (0x3F >> more)
        for each in tail:
            value = value << 6 | each & 0x3F
        out.append(chr(value) if value < 0x110000 else "?")
        at += 1 + more
    return "".join(out)


_DECODERS: tuple[Callable[[str], str], ...] = (
    unquote,
    lambda text: unquote(unquote(text)),
    lambda text: _lenient(unquote_to_bytes(text)),
    lambda text: unquote(text, "latin-1"),
    lambda text: unquote(text, "cp932"),
)
_FOLDS: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: unicodedata.normalize("NFKC", text),
    lambda text: text.translate(_BEST_FIT),
    lambda text: text.translate(_IGNORED),
    lambda text: unicodedata.normalize("NFKC", text.translate(_IGNORED)).translate(_BEST_FIT),
)
_CUTS = ("", ";", "?", "#", ":", "\0", ";?#:\0")


def _readings(path: str) -> Iterator[str]:
    """Where servers look for a path: decoded, folded, cut, its backslashes turned, its segments trimmed."""
    for decode, fold, cut in product(_DECODERS, _FOLDS, _CUTS):
        text = fold(decode(path)).replace("\\", "/").lower()
        segments = [re.split(f"[{re.escape(cut)}]", each)[0] if cut else each for each in text.split("/")]
        yield normpath("/" + "/".join(segments).lstrip("/"))
        yield normpath("/" + "/".join(each.rstrip(" .") or each.strip() for each in segments).lstrip("/"))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=8).map("".join))
def test_no_reading_of_a_public_path_leaves_its_prefix(tail: str) -> None:
    """However a path is written: if any reading of it is elsewhere than below /public, or below what is
    guarded within /public, it is not judged public."""
    rules = rules_of({"/public": "public", "/public/admin": "login"})
    target = "/public/" + tail
    # What the gate refuses never gets here.
    if access(rules, target) is PUBLIC and denial("GET", target, HttpVersion11, _HOST, _OWN) is None:
        for reading in _readings(target.partition("?")[0]):
            assert reading == "/public" or reading.startswith("/public/"), reading
            assert not (reading + "/").startswith("/public/admin/"), reading


def test_the_readings_see_what_they_are_there_for() -> None:
    """The twin: each spelling of the reports has a reading that leaves the prefix, so that the test above
    cannot hold for want of one; and a plain path has none."""
    for tail in (
        "%e0%80%ae%e0%80%ae/admin", "%f0%80%80%ae%f0%80%80%ae/admin", "..%e0%80%afadmin",
        "..%ef%bc%bcadmin",
        "..%c2%a5admin", "..%3f/admin", "..%23/admin", "%2e%2e/admin", "%252e%252e/admin",
        ".%e2%80%8b./admin",
    ):  # fmt: skip
        assert any(not each.startswith("/public/") for each in _readings("/public/" + tail)), tail
    assert all(each.startswith("/public/a/") for each in _readings("/public/a/%E3%81%82.css"))


@pytest.mark.parametrize("prefix", ["public", "/", "/a/", "//a", "/a//b", "/a%20", "/a;b", "/..", "/a/../b"])
def test_prefixes_are_plain(prefix: str) -> None:
    """A rule says one thing only; anything else is refused by name."""
    with pytest.raises(ConfigError, match="plain segments"):
        rules_of({prefix: "public"})


def test_words_and_doubles() -> None:
    """An unknown word and the same prefix in another case are refused."""
    with pytest.raises(ConfigError, match="'public', 'certificate' or 'login'"):
        rules_of({"/a": "open"})
    with pytest.raises(ConfigError, match="twice"):
        rules_of({"/a": "public", "/A": "login"})
    with pytest.raises(ConfigError, match="default"):
        rules_of({}, "none")


def test_without_rules_everything_needs_a_login() -> None:
    """The default is the strictest."""
    assert {access(LOGIN_ONLY, target) for target in ("/", "/public", "//")} == {LOGIN}
