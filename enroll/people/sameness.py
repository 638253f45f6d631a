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

from enroll.characters import DASHES, folded, visible, without_variations

# ゛ and ゜ that stand by themselves, as old keyboards leave them; NFKC would put a space before the mark.
_SOUND_MARKS = str.maketrans({"\u309b": "\u3099", "\u309c": "\u309a"})
# After kana every dash is meant as the long vowel: サト－ is サトー.
_LONG_VOWEL = re.compile(f"(?<=[\u3041-\u30ff])[{DASHES}]")
# IDNA 2003 makes another name of these than IDNA 2008 does: whoever has one writes the A-label (xn--).
_AMBIGUOUS = frozenset("\u00df\u03c2\u200c\u200d")


def tidy_name(name: str) -> str:
    """A name as it is stored: NFC, nothing invisible, one space where there were any."""
    return " ".join(visible(unicodedata.normalize("NFC", name)).split())


def name_key(name: str) -> str:
    """Equal for names of the same people and organisations."""
    # Marks first: a combining one behind a variation selector composes once that is gone.
    marked = without_variations(visible(name)).translate(_SOUND_MARKS)
    key = folded(unicodedata.normalize("NFKC", folded(marked)).casefold())
    return _LONG_VOWEL.sub("\u30fc", "".join(key.split()))


def tidy_mail(mail: str) -> str:
    """A mail address as it is stored: half-width, the domain in small letters, as A-labels if need be.

    Never raises: what is no address comes back as something that is none.
    """
    # Again after the spaces: NFKC makes a space and a mark of some characters, which then compose.
    local, at, domain = folded("".join(folded(mail).split())).rpartition("@")
    return f"{local}{at}{_domain(domain, mail)}"


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
