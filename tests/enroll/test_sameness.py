"""Who is who: pairs that are the same person, and pairs that are not."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll import identifiers
from enroll.acme.wire import encode_base64url
from enroll.characters import called, visible
from enroll.client.work import Misuse, read_mac_key
from enroll.people.sameness import mail_key, name_key, tidy_mail, tidy_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ガギ バパ", "\u30ab\u3099\u30ad\u3099 \u30cf\u3099\u30cf\u309a"),  # composed and not
        ("ガギ", "ｶﾞｷﾞ"),  # half-width, as old systems export
        ("ガ", "カ\u309b"),  # a mark that stands by itself
        ("ガ", "カﾞ"),
        ("ガ", "カ\ufe00\u3099"),
        ("サトー", "ｻﾄｰ"),
        ("サトー", "サト\uff0d"),  # full-width hyphen typed for the long vowel
        ("サトー", "サト\u2212"),
        ("年金 太郎", "年金\u3000太郎"),
        ("年金 太郎", " 年金  太郎 "),
        ("年金 太郎", "年金\u00a0太郎"),
        ("年金 太郎", "年金太郎"),
        ("Ann Lee", "ＡＮＮ ｌｅｅ"),
        ("Straße", "STRASSE"),
        ("é", "e\u0301"),
        ("Å", "\u212b"),  # the angstrom sign
        ("辻", "辻\U000e0100"),  # an ideographic variation sequence
        ("神", "\ufa19"),  # a compatibility ideograph whose canonical form the other is
        ("高橋", "高\u200b橋"),
        ("高橋", "\u202a高橋\u202c"),
        ("㈱甲", "(株)甲"),
    ],
)
def test_the_same_name(one: str, other: str) -> None:
    """What means the same is the same, whichever keyboard, file or system it went through."""
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("高橋", "髙橋"),
        ("山崎", "山﨑"),
        ("斎藤", "齋藤"),
        ("渡辺", "渡邊"),
        ("ハ", "バ"),
        ("ハ", "パ"),
        ("つ", "っ"),
        ("はな", "ハナ"),
        ("サト", "サトー"),
        ("二", "ニ"),  # the numeral and the kana
        ("Anne", "Ann"),
        ("é", "e"),
        ("Ann-Lee", "AnnーLee"),
    ],
)
def test_another_name(one: str, other: str) -> None:
    """What people insist on is not levelled."""
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nfc@example.jp", "NFC@Example.jp"),
        ("taro@example.jp", "taro@EXAMPLE.JP"),
        ("taro@example.jp", "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ"),
        ("taro@example.jp", " taro@example.jp\u200b"),
        ("taro@example.jp", "\ufefftaro@ex\u00adample.jp"),
        ("taro@例え.jp", "taro@xn--r8jz45g.jp"),
        ("taro@例え.jp", "taro@例え。jp"),
    ],
)
def test_the_same_mailbox(one: str, other: str) -> None:
    """The domain in any case and form; the local part in any case."""
    assert mail_key(one) == mail_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("taro@example.jp", "taro@example.com"),
        ("ta.ro@example.jp", "taro@example.jp"),
        ("taro+a@example.jp", "taro@example.jp"),
        ("ta-ro@example.jp", "ta_ro@example.jp"),
        ("taro@strasse.example", "taro@straße.example"),
    ],
)
def test_another_mailbox(one: str, other: str) -> None:
    """Dots and tags mean something to some hosts; a domain that standards read in two ways is no other's."""
    assert mail_key(one) != mail_key(other)


def test_what_is_stored() -> None:
    """Names as typed but NFC, without what nobody sees; the local part as typed, the domain as in the DNS."""
    assert tidy_name("\u30cf\u309a\u200b　辻\U000e0101 ") == "パ 辻\U000e0101"
    assert tidy_name("ｶﾞｷﾞ髙") == "ｶﾞｷﾞ髙"
    assert tidy_mail("Taro.X@Example.JP") == "Taro.X@example.jp"
    assert tidy_mail("taro@例え.jp") == "taro@xn--r8jz45g.jp"


@given(st.text(max_size=40))
def test_keys_are_stable(text: str) -> None:
    """For any text there is a key, equal to that of what is stored of it and of its other normal forms."""
    key = name_key(text)
    assert name_key(tidy_name(text)) == key
    for form in ("NFC", "NFD"):
        assert name_key(unicodedata.normalize(form, text)) == key
    assert tidy_name(tidy_name(text)) == tidy_name(text)
    assert mail_key(tidy_mail(text)) == mail_key(text)
    assert tidy_mail(tidy_mail(text)) == tidy_mail(text)


@pytest.mark.parametrize(
    "pasted",
    [
        "１２３４−５６７８",
        "1234ー5678",
        "1234ｰ5678",
        "1234\u20105678",
        "\u200b1234\ufeff5678\u200e",
        "1234\u00ad5678",
        "1234\u00a05678 ",
        "1234\u30005678",
        "12\t34 56\n78",
        "1234\u20115678",
        "1234–5678",
        "1234－5678",
    ],
)
def test_what_a_letter_says(pasted: str) -> None:
    """Spaces, hyphens of every kind and what nobody sees are taken off IDs and drawn passwords."""
    assert identifiers.typed(pasted) == "12345678"
    assert identifiers.typed_policy_number("12-34") == identifiers.typed_policy_number("１２ー３４")


@pytest.mark.parametrize("text", ["1234x5678", "1234.5678", "1234/5678", "1234_5678", "1234五678"])
def test_what_a_letter_does_not_say(text: str) -> None:
    """Nothing else is taken off: a wrong ID stays a wrong one."""
    assert identifiers.typed(text) != "12345678"


def test_characters_are_called_by_name() -> None:
    """What has no shape has a code point."""
    assert called("\u2212") == "U+2212 MINUS SIGN"
    assert called("\x00") == "U+0000"
    assert visible("a\u200bb\U000e0101") == "ab\U000e0101"


def test_a_pasted_key_of_a_client(tmp_path: Path) -> None:
    """The key of a binding out of a page or a letter: what nobody sees off, every hyphen one of base64url."""
    key = bytes(range(200, 232))
    text = encode_base64url(key)
    assert "-" in text
    file = tmp_path / "key"
    file.write_text("\ufeff" + text[:9] + "\u200b" + text[9:].replace("-", "\u2212") + "\u00a0\n", "utf-8")
    assert read_mac_key(file) == key
    file.write_text(text[:-1] + "!", "utf-8")
    with pytest.raises(Misuse):
        read_mac_key(file)
