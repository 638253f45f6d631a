"""Who is who: the one place that decides whether two names or mail addresses are the same person's.

Stored is what was typed, in NFC and without what nobody sees. Compared is what it means: a key that is
stored beside it, in an indexed column. The same are composed and decomposed kana, half-width and
full-width, capital and small letters, a name with and without its spaces, a kanji with and without a
variation selector. Not the same are 高 and 髙, 崎 and 﨑, 斎 and 齋, ハ and バ: people insist on them.

Of a mail address the domain is the same in any case (RFC 5321 section 2.4) and as U-label or A-label
(RFC 5890). The local part is kept as it was typed, because its host has the say, and compared without
regard to case: no host of consequence gives Taro@ and taro@ to two people, and only whoever has the same
name in the same organisation as well is taken for one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from enroll.characters import DASHES, folded, visible, without_variations

# ゛ and ゜ that stand by themselves, as old keyboards leave them; NFKC would put a space before the mark.
_SOUND_MARKS = str.maketrans({"\u309b": "\u3099", "\u309c": "\u309a"})
# After kana every dash is meant as the long vowel: サト－ is サトー.
_LONG_VOWEL = re.compile(f"(?<=[\u3041-\u30ff])[{DASHES}]")
# Hiragana to katakana: ぁ to ゖ, ゝ and ゞ; and the usual form of kanji in names.
_HEARD = {code: chr(code + 0x60) for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)} | str.maketrans(
    "髙﨑濵濱邊邉齋齊澤櫻廣國嶋冨德眞惠藏瀨淸曾槗",
    "高崎浜浜辺辺斎斉沢桜広国島富徳真恵蔵瀬清曽橋",
)
# What the names of organisations begin with, and nobody says first on the telephone.
_FORMS = re.compile(
    r"(?:株式会社|有限会社|合同会社|合資会社|合名会社|(?:一般|公益|特定)?(?:社団|財団)法人|社会福祉法人|医療法人|学校法人"
    r"|\((?:株|有|同|資|名|社|財|福|医|学)\))"
)
# IDNA 2003 makes another name of these than IDNA 2008 does: whoever has one writes the A-label (xn--).
_AMBIGUOUS = frozenset("\u00df\u03c2\u200c\u200d")
# Keys of so many names and addresses: a page of applications compares each with all of its organisation's.
_REMEMBERED = 4_096


def tidy_name(name: str) -> str:
    """A name as it is stored: NFC, nothing invisible, one space where there were any."""
    return " ".join(visible(unicodedata.normalize("NFC", name)).split())


@lru_cache(_REMEMBERED)
def name_key(name: str) -> str:
    """Equal for names of the same people and organisations."""
    # Marks first: a combining one behind a variation selector composes once that is gone.
    marked = without_variations(visible(name)).translate(_SOUND_MARKS)
    key = folded(unicodedata.normalize("NFKC", folded(marked)).casefold())
    return _LONG_VOWEL.sub("\u30fc", "".join(key.split()))


def search_key(text: str) -> str:
    """What names are found by: as `name_key`, with hiragana and katakana alike, and the forms of a kanji that
    nobody hears on the telephone."""
    return name_key(text).translate(_HEARD)


def bare_key(text: str) -> str:
    """The same of an organisation without its legal form before the name."""
    return _FORMS.sub("", search_key(text), count=1)


def search_keys(*names: str) -> frozenset[str]:
    """What somebody with these names (a name, a reading) is found by the beginning of: each whole, from each
    further word on, and of organisations without the legal form."""
    found = set()
    for name in names:
        words = tidy_name(name).split()
        found |= {search_key("".join(words[at:])) for at in range(len(words))}
        found.add(bare_key(name))
    return frozenset(found - {""})


def tidy_mail(mail: str) -> str:
    """A mail address as it is stored: half-width, the domain in small letters, as A-labels if need be.

    Never raises: what is no address comes back as something that is none.
    """
    # Again after the spaces: NFKC makes a space and a mark of some characters, which then compose.
    local, at, domain = folded("".join(folded(mail).split())).rpartition("@")
    return f"{local}{at}{_domain(domain, mail)}"


@lru_cache(_REMEMBERED)
def mail_key(mail: str) -> str:
    """Equal for addresses of the same mailbox."""
    local, at, domain = tidy_mail(mail).rpartition("@")
    return f"{local.casefold()}{at}{domain}"


def _domain(domain: str, typed: str) -> str:
    if domain.isascii() or _AMBIGUOUS & set(typed):
        return domain.lower()
    try:
        return domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return domain
