"""Postal addresses: what is typed, what is stored, and whose a postcard goes to."""

import pytest

from enroll.people.postal import Postal, sent_to, tidied, wrong_in

HERE = Postal("100-0013", "東京都", "千代田区", "霞が関1-2-3", "霞が関ビル5階", "総務部")


@pytest.mark.parametrize("typed", ["1000013", "〒100-0013", "１００ー００１３", "〒 100－0013", "100‐0013"])
def test_a_postal_code_is_read_as_it_is_typed(typed):
    """Full-width, with its mark, with whatever is typed for a hyphen: seven digits are one code."""
    tidy = tidied(Postal(typed, "東京都", "千代田区", "霞が関1"))
    assert (tidy["postal_code"], wrong_in(tidy)) == ("100-0013", ())


@pytest.mark.parametrize("typed", ["100-001", "10000134", "1OO-0013", "〒", "100--0013", "-1000013"])
def test_what_is_no_postal_code_is_refused(typed):
    """It is checked in its form, and named."""
    assert wrong_in(tidied(Postal(typed, "東京都", "千代田区", "霞が関1"))) == ("postal_code",)


def test_an_address_is_whole_or_not_there():
    """With one of its lines come those without which nothing arrives; building and addressee may not be."""
    assert wrong_in(tidied(Postal())) == ()
    assert wrong_in(tidied(Postal(building="ビル"))) == ("postal_code", "prefecture", "city", "street")
    assert wrong_in(tidied(Postal("100-0013", "東京", "千代田区", "1"))) == ("prefecture",)
    assert wrong_in(tidied(Postal("100-0013", "東京都", "x" * 61, "1"))) == ("city",)
    assert wrong_in(tidied(Postal("100-0013", "東京都", "港区", "1", "a\x1bb"))) == ("building",)
    assert HERE.line == "〒100-0013 東京都千代田区霞が関1-2-3 霞が関ビル5階"
    assert (Postal().line, Postal().complete) == ("", False)


def test_postcards_go_to_the_user_or_else_to_the_organisation():
    """The organisation's address is the default of its people; an own one takes its place."""
    assert sent_to(Postal(), HERE) == (HERE, True)
    assert sent_to(HERE, Postal("060-0001", "北海道", "札幌市", "1")) == (HERE, False)
