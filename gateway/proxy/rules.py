"""Which paths of a site need which proof of the caller.

Decided on the very bytes that are forwarded, segment by segment. What is not one plain spelling of one
path needs the site's strictest proof, so that no reading of it is let in for less than it should be (V47).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import unquote_to_bytes

from ca.errors import ConfigError


class Access(IntEnum):
    """What a path needs, from the least to the most."""

    PUBLIC = 0
    CERTIFICATE = 1
    LOGIN = 2


Prefix = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """Prefixes of whole segments (``("api", "v1")``) with their access; the longest match decides.

    ``folded``: the same in small letters, for upstreams that take /Admin for /admin. ``parents``: what
    stands before the last segment of each of these, where the next segment tells them apart.
    """

    by_prefix: Mapping[Prefix, Access]
    folded: Mapping[Prefix, Access]
    default: Access
    strictest: Access
    depth: int
    parents: frozenset[Prefix]


#: Everything needs a login.
LOGIN_ONLY = Rules({}, {}, Access.LOGIN, Access.LOGIN, 0, frozenset())

# What every server reads alike: no empty segment, none with a dot at its end (which some file systems
# drop), no parameter (`;`), no stream of a file (`::$DATA`), nothing encoded.
_PLAIN = re.compile(r"/|(?:/[A-Za-z0-9_~.-]*[A-Za-z0-9_~-])+/?")
_WRITTEN = re.compile(r"(?:/(?!/)(?:[A-Za-z0-9_~!$&'()*+,=:@.-]|(?:%[0-9A-Fa-f]{2})+)*)+")
_ODD_SEGMENT = re.compile(r"(?:\.|%20)(?:/|$)|/\.+%|:[^/]*\$")
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
# Segments that tell two rules apart: a short name of Windows (`ADMINI~1`) is another spelling.
_TELLING = re.compile(r"(?:[A-Za-z0-9_.-]|~(?![0-9]))*")
# Of what stands encoded, decoded and folded: letters of any script, digits, marks that are written over or
# under a letter, and the punctuation of Japanese file names. No sign that any table folds to a delimiter
# is among them, and no overlay, which becomes a solidus in Windows' best fit.
_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No"})
_SIGNS = frozenset("_-~!&'()+,=@・「」『』【】〔〕《》〈〉、〜―‐–—’“”")
_OVERLAYS = frozenset(map(chr, (*range(0x334, 0x339), *range(0x20D0, 0x20F1))))
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+")


def rules_of(table: Mapping[str, str], default: str = "login") -> Rules:
    """The rules for ``{"/public": "public", "/api": "certificate"}``.

    Raises ConfigError for a prefix that is not plain, a word that is no access, or a prefix twice.
    """
    by_prefix: dict[Prefix, Access] = {}
    folded: dict[Prefix, Access] = {}
    for prefix, word in table.items():
        if not _PREFIX.fullmatch(prefix) or not _PLAIN.fullmatch(prefix):
            raise ConfigError(f"path {prefix!r}: write plain segments without a final slash, as in '/api/v1'")
        small = tuple(prefix.lower()[1:].split("/"))
        if small in folded:
            raise ConfigError(f"path {prefix!r} is listed twice (capitals do not count): remove one")
        by_prefix[tuple(prefix[1:].split("/"))] = folded[small] = _access(prefix, word)
    fallback = _access("default", default)
    strictest = max([fallback, *by_prefix.values()])
    parents = frozenset(prefix[:length] for prefix in folded for length in range(len(prefix)))
    return Rules(by_prefix, folded, fallback, strictest, max(map(len, by_prefix), default=0), parents)


def access(rules: Rules, target: str) -> Access:
    """What a request target needs; ``target`` as it stands in the request line, query included."""
    if not rules.by_prefix:
        return rules.default
    path = target.partition("?")[0]
    plain = _PLAIN.fullmatch(path)
    if not plain and not _one_reading(path):
        return rules.strictest
    segments = tuple(path[1:].split("/", rules.depth)[: rules.depth])
    folded = tuple(path[1:].lower().split("/", rules.depth)[: rules.depth])
    if (not plain or "~" in path) and not _told_apart(rules, folded):
        return rules.strictest
    # The written path decides, and once more as those read it who fold it, if that demands more.
    return max(_match(rules.by_prefix, segments, rules), _match(rules.folded, folded, rules))


def _one_reading(path: str) -> bool:
    """Whether a path that is not plain ASCII is spelled in the one way there is for it: what may stand as
    it is does, and what stands encoded is UTF-8 that no server takes for anything but part of a name."""
    if not _WRITTEN.fullmatch(path) or _ODD_SEGMENT.search(path):
        return False
    return all(map(_a_name, _ENCODED.findall(path)))


def _a_name(encoded: str) -> bool:
    try:
        # Strict: no overlong form, no surrogate, no byte of another encoding.
        text = unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        return False
    # Of ASCII but the space, everything may stand as it is, or must not be there at all.
    text = text.replace(" ", "")
    return all(each > "\x7f" for each in text) and all(
        each in _SIGNS or (unicodedata.category(each) in _CATEGORIES and each not in _OVERLAYS)
        for each in unicodedata.normalize("NFKC", text)
    )


def _told_apart(rules: Rules, folded: Prefix) -> bool:
    """Whether each segment on which another rule may hang is one that nobody folds to another."""
    return all(
        _TELLING.fullmatch(segment) for at, segment in enumerate(folded) if folded[:at] in rules.parents
    )


def _match(table: Mapping[Prefix, Access], segments: Prefix, rules: Rules) -> Access:
    for length in range(len(segments), 0, -1):
        found = table.get(segments[:length])
        if found is not None:
            return found
    return rules.default


def _access(what: str, word: Any) -> Access:
    try:
        return Access[str(word).upper()]
    except KeyError:
        raise ConfigError(f"{what}: write 'public', 'certificate' or 'login' instead of {word!r}") from None
