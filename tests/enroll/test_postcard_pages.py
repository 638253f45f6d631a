"""What is on a card, as another program reads the PDF: every word, and no secret outside of the cover."""

import html
import re
from dataclasses import replace

import pytest

from ca.errors import ConfigError
from enroll.mail import writing
from enroll.people.postal import Postal
from enroll.postcards import layout
from enroll.postcards.card import Card, Flaw, style_of
from enroll.postcards.drawing import drawn, flaws_of
from enroll.postcards.glyphs import Face, characters
from enroll.settings import Settings
from tests.enroll.postcards_kit import FONT, HERE, facts, needs_font, needs_reader, texts, words

pytestmark = [needs_font, needs_reader]

SECRET = "secretPW99xx"
SETTINGS = replace(Settings(), postcard_sender=("〒100-8916 東京都千代田区霞が関9-9-9",))
STYLE = style_of(SETTINGS)
DOWNWARDS = style_of(replace(SETTINGS, postcard_writing="vertical"))
#: Kind -> the secret that it tells.
KINDS = {"user_id": "login_password", "password_reset": "login_password", "issue_password": "issue_password"}


def card(kind="user_id", name="年金 太郎", language="ja", **more):
    """A card whose text is the letter of the kind, as it is queued."""
    known = dict.fromkeys(("reissue", "address"), "") | {
        "name": name, "to": name, "url": "https://service.example.jp/", "user_id": "K12345678",
        "organisation": "霞が関商事企業年金基金", "operator": SETTINGS.operator_name,
        "telephone": SETTINGS.telephone, KINDS[kind]: SECRET,
    }  # fmt: skip
    letter = writing.write_letter(
        kind, cause="c", channel="postcard", user_id="K12345678", recipient=name, values=known,
        language=language,
    )  # fmt: skip
    given = {"postal": Postal(**HERE), "organisation": "霞が関商事企業年金基金", "language": language} | more
    return Card("K12345678", name, title=letter.subject, text=letter.body, **given)


def squeezed(text):
    return "".join(html.unescape(text).split())


@pytest.fixture(scope="module")
def every():
    """One card of each kind in each language, across and downwards."""
    cards = [card(kind, language=language) for kind in KINDS for language in ("ja", "en")]
    return cards, [drawn(cards, style).pdf for style in (STYLE, DOWNWARDS)]


@pytest.mark.slow
def test_a_page_is_a_postcard_and_has_its_font(every):
    """100 × 148 mm, two pages a card, the font embedded, and of it only what is there: Noto has 18 MB."""
    for pdf in every[1]:
        info, fonts = facts(pdf)
        width, height = (
            float(each) for each in re.search(r"Page size:\s+([\d.]+) x ([\d.]+)", info).groups()
        )
        assert (round(width * 25.4 / 72, 1), round(height * 25.4 / 72, 1)) == (100, 148)
        assert re.search(r"Pages:\s+12\n", info)
        (font,) = fonts.splitlines()[2:]
        assert re.match(r"[A-Z]{6}\+NotoSansCJKJP .*yes yes yes", font)
        assert len(pdf) < 150_000


def test_the_message_is_the_letter_and_secrets_are_under_the_cover(every):
    """Word for word what a mail would say; all of it within the cover, nothing on the other face."""
    cover = layout.COVER
    for pdf in every[1]:
        pages = words(pdf)
        for number, each in enumerate(every[0]):
            address, message = pages[2 * number], pages[2 * number + 1]
            inside = [
                (word, x, y) for word, x, y, right, bottom in message
                if x >= cover.x and right <= cover.x + cover.width and y >= cover.y
                and bottom <= cover.y + cover.height
            ]  # fmt: skip
            said = squeezed("".join(word for word, *_ in inside))
            assert said == squeezed(each.title + each.text)
            assert SECRET in said
            outside = squeezed("".join(word[0] for word in message if (word[0], *word[1:3]) not in inside))
            assert SECRET not in outside + squeezed("".join(word[0] for word in address))
            assert ("はがして" in outside) == (each.language == "ja")
            assert SETTINGS.telephone in outside


@pytest.mark.slow
def test_the_address_is_on_the_other_face(every):
    """Postal code in its seven boxes, where, whose, who, from whom; at an own address no organisation."""
    for pdf in every[1]:
        for page in texts(pdf)[::2]:
            said = squeezed(page)
            assert "郵便はがき" in said
    across = [squeezed(page) for page in texts(drawn([card(), card(organisation="")], STYLE).pdf)]
    for told in (
        "東京都千代田区霞が関1-2-3",
        "霞が関ビル5階",
        "総務部",
        "年金太郎様",
        SETTINGS.operator_name,
    ):
        assert told in across[0]
        assert told in across[2]
    assert ("企業年金基金" in across[0], "企業年金基金" in across[2]) == (True, False)
    digits = [
        each for each in words(drawn([card()], STYLE).pdf)[0] if each[2] < 21 and each[0] != "郵便はがき"
    ]
    assert "".join(each[0] for each in digits) == "1000013"
    assert digits[0][1] > 44
    assert digits[-1][3] < 92


@pytest.mark.slow
def test_a_column_is_written_downwards():
    """Each character below the other, and read out as it was recorded, hyphens and digits as they are."""
    page = words(drawn([card()], DOWNWARDS).pdf)[0]
    said = squeezed("".join(word[0] for word in page))
    assert "霞が関1-2-3" in said
    name = [each for each in page if each[0] in "年金太郎様"]
    assert max(each[3] - each[1] for each in name) < 15
    assert max(each[4] for each in name) - min(each[2] for each in name) > 30


@pytest.mark.slow
@pytest.mark.parametrize("name", ["𠮷田 髙子", "山﨑 太郎", "葛\U000e0101城 花子", "神\ufe00 一"])
def test_a_name_is_printed_as_it_is_written(name):
    """𠮷, 髙 and 﨑, and the forms of a kanji that the font has: each is on the card, and read out again."""
    made = drawn([card(name=name)], STYLE)
    assert made.flaws == ()
    assert squeezed(name) in squeezed(texts(made.pdf)[0])


def test_a_form_of_a_kanji_has_a_glyph_of_its_own():
    """葛 with and without its selector are two glyphs, where the font has two."""
    face = Face(FONT)
    (plain,), (formed,) = face.glyphs("葛"), face.glyphs("葛\U000e0100")
    assert plain.number != formed.number
    assert list(characters("葛\U000e0101城")) == ["葛\U000e0101", "城"]


def test_what_cannot_be_printed_is_named_and_nothing_is():
    """A character of one's own, a form that the font has not, a text that is too long: whose, and which."""
    good = card()
    wrong = [
        replace(good, user_id="K1", name="外字 \ue000子"),
        replace(good, user_id="K2", name="葛\U000e01ef城"),
        replace(good, user_id="K3", text="あ" * 5_000),
        replace(good, user_id="K4", postal=replace(good.postal, building="\U0001f3e2ビル")),
    ]
    made = drawn([good, *wrong], STYLE)
    assert made.pdf == b""
    assert made.flaws == flaws_of([good, *wrong], STYLE) == (
        Flaw("K1", "外字 \ue000子", "\ue000"), Flaw("K2", "葛\U000e01ef城", "葛\U000e01ef"),
        Flaw("K3", "年金 太郎"), Flaw("K4", "年金 太郎", "\U0001f3e2"),
    )  # fmt: skip
    assert str(made.flaws[1]) == "K2 葛\U000e01ef城: the font has no 葛\U000e01ef (U+845B U+E01EF)"
    assert str(made.flaws[2]) == "K3 年金 太郎: its text is too long for a card"


def test_the_longest_address_fits():
    """What is recorded at all can be printed, both ways."""
    longest = Postal("100-0013", "神奈川県", "市" * 60, "町" * 60, "館" * 60, "課" * 60)
    one = card(name="名" * 100, postal=longest, organisation="団" * 100)
    assert flaws_of([one], STYLE) == flaws_of([one], DOWNWARDS) == ()


@pytest.mark.parametrize("content", [None, b"", b"no font at all", b"OTTO" + bytes(64)])
def test_a_font_that_is_none_is_told_with_what_to_type(tmp_path, content):
    """Missing or broken: the setting, the file, and the package that has one."""
    file = tmp_path / "font.ttc"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        drawn([card()], replace(STYLE, font=str(file)))
    assert str(caught.value).startswith(f"postcards.font: {file} cannot be read as a font")
    assert "apt install fonts-noto-cjk" in str(caught.value)
    assert str(caught.value).endswith("sekisho reload")


def test_a_card_without_boxes_of_its_own():
    """Official cards have the frame: then it is not drawn a second time, nor 郵便はがき."""
    bare = drawn([card()], replace(STYLE, frame=False)).pdf
    assert "郵便はがき" not in texts(bare)[0]
    assert "年金" in texts(bare)[0]
