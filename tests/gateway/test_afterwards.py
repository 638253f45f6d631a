"""What a refused form tells the page that follows it, sealed into an address."""

from __future__ import annotations

import os

import pytest

from ca.sealing import Vault
from gateway.web import afterwards

VAULT = Vault(os.urandom(32))
STATE = {"errors": {"name": ["氏名", "name"]}, "values": {"name": "年金 太郎"}}


def test_it_says_what_it_was_given() -> None:
    """And nobody who sees the address reads it."""
    value = afterwards.sealed(VAULT, "service/portal/addition", "cookie", 1_000, STATE)
    # The clock of the node that has sealed it may be a little ahead.
    for at in (1_000, 999, 999 + afterwards.GOOD_FOR):
        assert afterwards.opened(VAULT, "service/portal/addition", "cookie", at, value) == STATE
    assert value.isascii()
    assert set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    ("page", "session", "at"),
    [
        ("service/portal/reissue", "cookie", 1_000),
        ("service/portal/addition", "another", 1_000),
        ("service/portal/addition", "", 1_000),
        ("service/portal/addition", "cookie", 1_000 + afterwards.GOOD_FOR),
        ("service/portal/addition", "cookie", 1_000 - afterwards.GOOD_FOR),
    ],
)
def test_it_is_for_one_page_and_session_and_an_hour(page: str, session: str, at: int) -> None:
    """Nobody shows another what that one has typed, and an old address says nothing."""
    value = afterwards.sealed(VAULT, "service/portal/addition", "cookie", 1_000, STATE)
    assert afterwards.opened(VAULT, page, session, at, value) == {}


@pytest.mark.parametrize("value", ["", "x", "é", "A" * 9_000, "bm90aGluZyBvZiBvdXJz"])
def test_what_is_none_of_ours_says_nothing(value: str) -> None:
    """Whatever stands there."""
    assert afterwards.opened(VAULT, "service/login", "", 1_000, value) == {}
    other = afterwards.sealed(Vault(os.urandom(32)), "service/login", "", 1_000, STATE)
    assert afterwards.opened(VAULT, "service/login", "", 1_000, other) == {}


def test_of_a_form_only_what_may_be_shown_is_kept() -> None:
    """No password, and of a long text its beginning."""
    fields = {"name": "x" * 5_000, "password": "secret", "mail": "a@b.jp"}
    assert afterwards.typed(fields, "name", "mail", "role") == {"name": "x" * 500, "mail": "a@b.jp"}
