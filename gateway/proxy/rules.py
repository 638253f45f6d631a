"""Which paths of a site need which proof of the caller.

Decided on the very bytes that are forwarded, segment by segment, without decoding anything. A path
that two servers could read in two ways needs the site's strictest proof, so that no reading of it
is let in for less than it should be (V47).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import unquote

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

    ``folded``: the same in small letters, for upstreams that take /Admin for /admin.
    """

    by_prefix: Mapping[Prefix, Access]
    folded: Mapping[Prefix, Access]
    default: Access
    strictest: Access
    depth: int


#: Everything needs a login.
LOGIN_ONLY = Rules({}, {}, Access.LOGIN, Access.LOGIN, 0)

# One server decodes before it looks, another does not: an encoded letter, digit, `-._~`, slash,
# backslash, semicolon, percent or control, and overlong UTF-8 (C0, C1); path parameters (`;`); empty
# segments; what some file systems drop: a dot or a space at the end of a segment, a stream's name
# (`::$DATA`).
_TWO_READINGS = re.compile(
    r"%(?:2[DdEeFf5]|3[0-9Bb]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEeFf]|[01][0-9A-Fa-f]|[Cc][01])"
    r"|;|//|(?:\.|%20)(?:/|$)|(?::|%3[Aa])[^/]*(?:\$|%24)"
)
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+")


def rules_of(table: Mapping[str, str], default: str = "login") -> Rules:
    """The rules for ``{"/public": "public", "/api": "certificate"}``.

    Raises ConfigError for a prefix that is not plain, a word that is no access, or a prefix twice.
    """
    by_prefix: dict[Prefix, Access] = {}
    folded: dict[Prefix, Access] = {}
    for prefix, word in table.items():
        if not _PREFIX.fullmatch(prefix) or _TWO_READINGS.search(prefix):
            raise ConfigError(f"path {prefix!r}: write plain segments without a final slash, as in '/api/v1'")
        small = tuple(prefix.lower()[1:].split("/"))
        if small in folded:
            raise ConfigError(f"path {prefix!r} is listed twice (capitals do not count): remove one")
        by_prefix[tuple(prefix[1:].split("/"))] = folded[small] = _access(prefix, word)
    fallback = _access("default", default)
    strictest = max([fallback, *by_prefix.values()])
    return Rules(by_prefix, folded, fallback, strictest, max(map(len, by_prefix), default=0))


def access(rules: Rules, target: str) -> Access:
    """What a request target needs; ``target`` as it stands in the request line, query included."""
    if not rules.by_prefix:
        return rules.default
    path = target.partition("?")[0]
    if _TWO_READINGS.search(path):
        return rules.strictest
    folded = _folded(path)
    if folded.count("/") != path.count("/") or (folded != path and _DOTS.search(folded)):
        return rules.strictest
    # The written path decides, and once more as those read it who fold it, if that demands more.
    return max(_match(rules.by_prefix, path, rules), _match(rules.folded, folded, rules))


def _match(table: Mapping[Prefix, Access], path: str, rules: Rules) -> Access:
    segments = tuple(path[1:].split("/", rules.depth)[: rules.depth])
    for length in range(len(segments), 0, -1):
        found = table.get(segments[:length])
        if found is not None:
            return found
    return rules.default


def _folded(path: str) -> str:
    """A path without regard to case, and to width: some take ａ for a (Unicode's NFKC, Windows' best fit)."""
    if "%" not in path:
        return path.lower()
    return unicodedata.normalize("NFKC", unquote(path, errors="replace")).lower()


def _access(what: str, word: Any) -> Access:
    try:
        return Access[str(word).upper()]
    except KeyError:
        raise ConfigError(f"{what}: write 'public', 'certificate' or 'login' instead of {word!r}") from None
