"""Our statements in PostgreSQL's words: values by number, and what a write holds of what it reads. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from ca.storage import LOOK, UNTAKEN

# A string, a quoted name, a comment, a cast, or a parameter.
_PIECE = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_][A-Za-z_0-9]*)")


@lru_cache(maxsize=2_048)
def in_postgresql(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with ``$1`` in place of ``:name``, and the names in the order of those numbers."""
    names: list[str] = []

    def numbered(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PIECE.sub(numbered, statement), tuple(names)


@lru_cache(maxsize=2_048)
def held_in_postgresql(statement: str) -> tuple[str, tuple[str, ...], bool]:
    """The same within a write: a SELECT holds the rows that it gives as its last word says
    (``ca/storage.py``). And whether it is anything but a SELECT."""
    text, names = in_postgresql(statement)
    return text + holding(statement), names, _SELECT.match(statement) is None


def holding(statement: str) -> str:
    """The words by which a SELECT holds its rows; none for what is no SELECT, and for one that only looks."""
    if statement.endswith(LOOK) or _SELECT.match(statement) is None:
        return ""
    tables, _ = _read(statement)
    said = _TOGETHER.search(statement)
    shared = said[1].split() if said else []
    taken = " SKIP LOCKED" if statement.endswith(UNTAKEN) else ""
    alone, others = (
        [each for each in tables if each not in shared],
        [each for each in tables if each in shared],
    )
    return (f" FOR NO KEY UPDATE OF {', '.join(alone)}{taken}" if alone else "") + (
        f" FOR SHARE OF {', '.join(others)}" if others else ""
    )


def holds_all(statement: str) -> bool:
    """Whether a SELECT says how it holds, or all that it reads are rows that it holds without a word. One
    that counts, merges, or asks other rows in between, has to say ``ALONE`` or ``LOOK``."""
    if _SELECT.match(statement) is None or _WORD.search(statement):
        return True
    return not _read(statement)[1]


_SELECT = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_WORD = re.compile(r"/\* (alone|untaken|look|together: [\w ]+) \*/$")
_TOGETHER = re.compile(r"/\* together: ([\w ]+) \*/$")
_TEXT = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_MERGED = re.compile(
    r"^\s*WITH\b|\bDISTINCT\b|\bGROUP BY\b|\bHAVING\b|\bUNION\b|\bINTERSECT\b|\bEXCEPT\b|\bOVER\b|\bVALUES\b"
    r"|\b(?:count|min|max|sum|total|avg)\s*\[|\bFROM\s+\{",
    re.IGNORECASE,
)
_FROM = re.compile(r"\b(LEFT\s+)?(?:FROM|JOIN)\s+(\w+)(?=(?:\s+(?:AS\s+)?(\w+))?)", re.IGNORECASE)
_NO_ALIAS = frozenset(
    ("where", "on", "using", "left", "join", "inner", "cross", "order", "limit", "group", "natural")
)


@lru_cache(maxsize=2_048)
def _read(statement: str) -> tuple[tuple[str, ...], bool]:
    """The names by which a SELECT knows its tables, without those of which it may give no row and all if it
    gives no table's rows; and whether it reads more than the rows of these."""
    bare, before = _TEXT.sub(" ", statement), ""
    while bare != before:
        before = bare
        # What stands in brackets is a subselect of its own, or part of this one.
        bare = _INNERMOST.sub(lambda found: "{}" if _SELECT.match(found[1]) else f"[{found[1]}]", bare)
    if _MERGED.search(bare):
        return (), re.search(r"\bFROM\b", statement, re.IGNORECASE) is not None
    tables = _FROM.findall(bare)
    left = any(each[0] for each in tables)
    held = [_known(table, alias) for left, table, alias in tables if not left]
    return tuple(held), left or "{}" in bare


def _known(table: str, alias: str) -> str:
    return alias if alias and alias.lower() not in _NO_ALIAS else table
