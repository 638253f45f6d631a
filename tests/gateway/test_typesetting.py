"""Where lines of Japanese end."""

from __future__ import annotations

import re

import pytest

from enroll.languages import Language
from gateway.web.typesetting import address, phrases, typeset


def _read(page: str) -> str:
    return re.sub(r"<[^>]*>", "", page)


@pytest.mark.parametrize(
    ("language", "text", "set_so"),
    [
        ("ja", "入力しなおしてください。", '入力<span class="whole">しなお</span>してください。'),
        ("ja", "<pre>です。\n次は、もう一度</pre>", "<pre>です。\n次は、もう一度</pre>"),
        ("ja", "「はい」を押します。", '<span class="whole">「はい」を</span>押します。'),
        ("ja", "「はい」ボタンを", '<span class="whole">「はい」</span>ボタンを'),
        ("ja", "「証明書の取得」を押す", '「証明書の取得<span class="whole">」を</span>押す'),
        ("ja", "発行者（認証局）の証明書", '発行者（認証局<span class="whole">）の</span>証明書'),
        ("ja", "ボタン（任意）とも", 'ボタン（任意<span class="whole">）と</span>も'),
        ("ja", "入力してください。なお、", '入力してください。<span class="whole">なお、</span>'),
        ("ja", "P12. 手順3～", 'P12. <span class="whole">手順3～</span>'),
        ("ja", "曜日 9:00～12:00", '曜日 <span class="whole">9:00～12:00</span>'),
        ("ja", "(2) Chromeの場合", '(2) <span class="whole">Chromeの場合</span>'),
        ("ja", "お取り扱いにご注意", 'お<span class="whole">取り扱い</span>にご注意'),
        ("ja", "<a>「確認」</a>をご参照", '<a>「確認」</a><span class="joined"></span>をご参照'),
        ("ja", "<a><b>（確認）</b></a>と", '<a><b>（確認）</b></a><span class="joined"></span>と'),
        ("ja", "<a>「確認」</a>", "<a>「確認」</a>"),
        ("ja", "<a>確認</a>をご参照", "<a>確認</a>をご参照"),
        ("en", "Press 「はい」 (Yes).", 'Press <span lang="ja" class="whole">「はい」</span> (Yes).'),
        ("en", "「Cookieをブロックする」", '<span lang="ja">「Cookieをブロックする」</span>'),
    ],
)
def test_a_word_stays_whole_and_a_quotation_is_marked(language: Language, text: str, set_so: str) -> None:
    """Browsers divide some words of Japanese, and read aloud in English what nothing marks as Japanese."""
    assert typeset(f"<p>{text}</p>", language) == f"<p>{set_so}</p>"
    assert _read(set_so) == _read(text)


def test_no_space_stands_between_two_sentences_of_japanese() -> None:
    """Templates break their lines there; a link after a sentence keeps its distance."""
    page = '<p>選択してください。\n証明書を選び、（または） 押します。 <a href="/">手順</a></p>'
    assert typeset(page, "ja") == page.replace("。\n", "。")
    assert typeset(page, "en") == page


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize(
    "page",
    [
        "<title>「はい」・もう一度 - 団体</title>",
        '<input value="「はい」もう一度" aria-label="はがき">',
        "<option>もう一度「はい」</option>",
        "<textarea>はがき「はい」</textarea>",
        "<svg><text>「はい」</text></svg>",
    ],
)
def test_what_is_no_running_text_stays_as_it_is(language: Language, page: str) -> None:
    """A tag within a title or an attribute would be read as letters."""
    assert typeset(page, language) == page


def test_what_is_marked_already_is_not_marked_twice() -> None:
    """Japanese within Japanese on a page in English."""
    page = '<p lang="ja">「PKCS# データが見つからないか、あるいは取得が許可されていません。」</p>'
    assert typeset(page, "en") == page


def test_what_is_marked_as_japanese_is_set_as_japanese() -> None:
    """A mail on a page in English: its words are divided as little as on a page in Japanese."""
    text = "曜日 13:00～17:00"
    set_so = typeset(text, "ja")
    assert set_so != text
    page = '<p>{}</p><p lang="{}">{}</p>'
    assert typeset(page.format(text, "ja", text), "en") == page.format(text, "ja", set_so)
    assert typeset(page.format(text, "en", text), "en") == page.format(text, "en", text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://service.localhost:44435", ["https://", "service", ".localhost", ":44435"]),
        ("https://help.example.jp/flow/a", ["https://", "help", ".example", ".jp", "/flow", "/a"]),
        ("https://localhost/", ["https://", "localhost/"]),
        ("localhost", ["localhost"]),
        ("<b>", ["&lt;b&gt;"]),
    ],
)
def test_an_address_ends_its_lines_between_its_parts(text: str, parts: list[str]) -> None:
    """Whoever reads it from one line to the next does not lose digits of its port."""
    assert str(address(text)) == "<wbr>".join(parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2. クライアント証明書取得のお手続き", ["2. クライアント", "証明書取得の", "お手続き"]),
        ("有効期限到来メール受取後の対応", ["有効期限", "到来", "メール", "受取後の", "対応"]),
        ("確定給付企業年金オンラインサービス", ["確定給付企業年金", "オンライン", "サービス"]),
        ("5-1. ポップアップブロックの解除方法", ["5-1. ポップアップ", "ブロックの", "解除方法"]),
        ("オンラインサービスへのログイン", ["オンライン", "サービスへの", "ログイン"]),
        ("その他のよくあるご照会", ["その他の", "よくあるご照会"]),
        ("ユーザーIDのお知らせ", ["ユーザーIDの", "お知らせ"]),
        ("ユーザーID追加発行", ["ユーザーID", "追加発行"]),
        ("証明書を選択できない・ログイン", ["証明書を", "選択できない・", "ログイン"]),
        ("ログアウト", ["ログアウト"]),
    ],
)
def test_a_heading_ends_its_lines_between_words(text: str, parts: list[str]) -> None:
    """A phrase that is wider than its place is cut at its seams, never within クライアント."""
    set_so = str(phrases(text))
    assert set_so == f'<span class="phrases">{"<wbr>".join(parts)}</span>'
    assert _read(set_so) == text


def test_a_heading_is_text_and_no_markup() -> None:
    """What stands in it may be anybody's: a mail's subject."""
    assert str(phrases("<b>件名</b>")) == '<span class="phrases">&lt;b&gt;件名&lt;/b&gt;</span>'
    assert str(phrases("<b>subject")) == "&lt;b&gt;subject"
