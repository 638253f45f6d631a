"""Where lines of Japanese may end: what ``word-break: auto-phrase`` does not know.

It takes 入力しな／おして for two phrases, and cuts a heading that is wider than its place between any two
letters. What is quoted in Japanese on a page in English it treats as English unless it is marked as Japanese,
as it has to be for those who hear it (WCAG 3.1.2).
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from enroll.languages import Language

#: What says what a word before it is to its sentence, where no other word begins so: を, and に of にて.
_PARTICLE = "(?:[をにがはのと]|で(?!き)|から|まで|より|へ(?!の))"
#: Words that browsers are known to divide, and what must not begin a line: it belongs to what it follows.
_WHOLE_WORDS = (
    f"「はい」{_PARTICLE}?",
    f"[」）]{_PARTICLE}",
    "はがき",
    "取り扱い",
    "なお、",
    r"手順[0-9]+～[0-9]*",
    r"[0-9]{1,2}:[0-9]{2}～[0-9]{1,2}:[0-9]{2}",
    "(?:Edge|Chrome|Firefox|Safari)の場合",
    "しなお",
    "ユーザーID",
    "もう一度",
    "再度",
    "手続き",
    "切り替え",
    "第3章",
    "A～Z",
    "a～z",
    "0～9",
)
#: Letters of a quotation that never needs two lines: a button's name.
_SHORT = 8
#: What is no running text, or has its own lines: its content, or all that stands between < and >.
_NO_TEXT = r"<(?P<kind>title|script|style|option|textarea|svg|pre)\b.*?</(?P=kind)>|<[^>]*>"
#: What a template's line break would put between two sentences.
_GAP = r"(?<=。)\s+(?=[ぁ-んァ-ヶ一-鿿「（])"
#: Where what is quoted is a link or stands out, and the particle after it does neither.
_JOINT = rf"(?<=[」）])(?:</(?:a|b|em|span|strong)>)+(?={_PARTICLE})"
_IN_JAPANESE = re.compile(
    rf"(?P<joint>{_JOINT})|{_NO_TEXT}|(?P<gap>{_GAP})|(?P<text>{'|'.join(_WHOLE_WORDS)})", re.DOTALL
)
_MARKED = r'<(?P<marked>[a-z0-9]+)\b[^>]*\blang="ja"[^>]*>.*?</(?P=marked)>'
_IN_ENGLISH = re.compile(rf"{_MARKED}|{_NO_TEXT}|(?P<text>「[^「」<]+」)", re.DOTALL)
#: Two words without a seam between them.
_COMPOUNDS = re.compile("(?<=オンライン)(?=サービス)|(?<=ポップアップ)(?=ブロック)|(?<=有効期限)(?=到来)")
#: Between words: where the kind of letter changes, after a particle, before a parenthesis.
_SEAMS = re.compile(
    r"(?<=[ァ-ヶー])(?=[一-鿿])|(?<=[一-鿿])(?=[ァ-ヶ])|(?<=[0-9A-Za-z])(?=[一-鿿])"
    r"|(?<=[^そ]の)(?=[ぁ-ん一-鿿ァ-ヶ])|(?<=[をにがで])(?=[おご]?[一-鿿ァ-ヶ])|(?<=・)|(?=（)"
)
#: Of an address: after its scheme, and before a name's or path's next part and the port.
_PARTS = re.compile(r"(?<=//)(?=.)|(?=[.])|(?=:[0-9])|(?<=[^/])(?=/[^/])")


def typeset(page: str, language: Language) -> str:
    """The page with words kept whole that browsers divide, and no space between sentences; in English, with
    quotations marked as Japanese, and of what is marked the same. The letters that people read and copy are
    the same."""
    if language == "ja":
        return _IN_JAPANESE.sub(_whole, page)
    return _IN_ENGLISH.sub(_marked, page)


def phrases(text: str) -> Markup:
    """A heading or a menu's entry, which ends its lines between words, however narrow its place is."""
    if text.isascii():
        return escape(text)
    words = (_COMPOUNDS.split(part) for part in _SEAMS.split(text))
    return Markup('<span class="phrases">{}</span>').format(
        Markup("<wbr>").join(word for part in words for word in part if word)
    )


def address(text: str) -> Markup:
    """An address, whose lines end between its parts where its place is narrow, not before a last digit."""
    return Markup("<wbr>").join(_PARTS.split(text))


def _whole(found: re.Match[str]) -> str:
    if found["gap"]:
        return ""
    if found["joint"]:
        return f'{found[0]}<span class="joined"></span>'
    return f'<span class="whole">{found[0]}</span>' if found["text"] else found[0]


def _marked(found: re.Match[str]) -> str:
    if found["marked"]:
        return _IN_JAPANESE.sub(_whole, found[0])
    if not found["text"]:
        return found[0]
    whole = ' class="whole"' if len(found["text"]) <= _SHORT else ""
    return f'<span lang="ja"{whole}>{found[0]}</span>'
