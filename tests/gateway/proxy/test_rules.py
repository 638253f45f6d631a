"""Path rules: segment by segment, on the raw bytes, the stricter reading wins (V47)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import ConfigError
from gateway.proxy.rules import LOGIN_ONLY, Access, access, rules_of

PUBLIC, CERTIFICATE, LOGIN = Access
RULES = rules_of({"/public": "public", "/api": "certificate", "/api/open": "public", "/Mixed": "public"})
OPEN = rules_of({"/admin": "login", "/a/b/c": "certificate"}, "public")


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
        ("/public/urn%3Aisbn%3A1", PUBLIC),
        ("/public/$a", PUBLIC),
        ("/public/.well-known/x", PUBLIC),
        ("/public/%FF", PUBLIC),
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
        "/public/x%20", "/public/x%20/y", "/public/x::$DATA", "/public/x%3a%3a%24DATA", "/public/x:a:$i30/y",
        "/public/%ef%bc%8e%ef%bc%8e/admin", "/public/%ef%bc%8e/admin", "/%ef%bc%8fadmin",
        "/public%ef%bc%8f%ef%bc%8e%ef%bc%8e/admin",
    ],
)  # fmt: skip
def test_two_readings_need_the_most(target: str) -> None:
    """What two servers could read in two ways needs the site's strictest proof, on any default."""
    assert access(RULES, target) is LOGIN
    assert access(OPEN, target) is LOGIN


@pytest.mark.parametrize(("target", "needs"), [
    ("/admin", LOGIN), ("/ADMIN/x", LOGIN), ("/%61dmin", LOGIN), ("//admin", LOGIN), ("/x/admin", PUBLIC),
    ("/%ef%bd%81dmin", LOGIN), ("/%EF%BC%A1DMIN/x", LOGIN), ("/%ef%bd%81dminx", PUBLIC),
    ("/a/b", PUBLIC), ("/a/b/c/d", CERTIFICATE), ("/A/b/C", CERTIFICATE), ("/adminx", PUBLIC),
])  # fmt: skip
def test_a_rule_that_demands_more_counts_in_any_case(target: str, needs: Access) -> None:
    """An upstream that takes /ADMIN, or full-width letters, for /admin is not opened by that."""
    assert access(OPEN, target) is needs


@given(st.text("/abdimn.%;26f2eAD", max_size=12))
def test_no_spelling_of_a_protected_path_is_public(tail: str) -> None:
    """However a path is written: if decoding it once leads below /admin, it needs the login."""
    from posixpath import normpath
    from urllib.parse import unquote

    target = "/" + tail
    decoded = normpath(unquote(target.partition("?")[0])).lower().replace("//", "/")
    # Dot segments never get here: the gate refuses them (gateway.http).
    dotted = "/.." in target or "/./" in target or target.endswith("/.")
    if (decoded == "/admin" or decoded.startswith("/admin/")) and not dotted:
        assert access(OPEN, target) is LOGIN


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
