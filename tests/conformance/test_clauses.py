"""What the cases rest on is quoted: no case without its sentence, no level without the word for it."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from conformance import report
from conformance.__main__ import ALL_GOOD, main
from conformance.case import Case
from conformance.cases import CASES
from conformance.clauses import CHOSEN, DEFAULT, PROTOCOL, REASONS, SENTENCES, ground
from conformance.known import judge
from conformance.run import Result

ROOT = Path(__file__).resolve().parents[2]
# "(required, string)" is how RFC 8555 writes that a member has to be there.
WORDS = {"MUST": r"MUST|REQUIRED|SHALL|\(required,", "SHOULD": r"SHOULD|RECOMMENDED|MUST|REQUIRED"}


def _lacks(case: Case) -> str:
    """What a case lacks for its level; empty for nothing."""
    rests = ground(case)
    if case.level == "advice":
        return "" if rests.reason else "a reason"
    if not rests.quote:
        return "a quotation"
    if case.level == "ours":
        return "" if rests.clause == PROTOCOL else "a sentence of our protocol"
    return "" if rests.reason or re.search(WORDS[case.level], rests.quote) else f"the word {case.level}"


def test_every_case_has_its_ground() -> None:
    """MUST, SHOULD: a sentence with that word, or why; advice: the reason; ours: our protocol's sentence."""
    assert {one.id: lacks for one in CASES if (lacks := _lacks(one))} == {}


async def _nothing(_: object) -> None: ...


@pytest.mark.parametrize(
    ("id", "clause", "level", "lacks"),
    [
        ("x.y", "RFC 1", "MUST", "a quotation"),
        ("x.y", "RFC 8555 6.4", "MUST", ""),
        ("x.y", "RFC 8555 7.4.2", "MUST", "the word MUST"),
        ("x.y", "RFC 8555 7.4.2", "SHOULD", "the word SHOULD"),
        ("x.y", "RFC 8555 6.4", "advice", "a reason"),
        ("x.y", "RFC 8555 6.4", "ours", "a sentence of our protocol"),
    ],
)
def test_a_case_without_ground_is_seen(id: str, clause: str, level, lacks: str) -> None:
    """The rule above refuses a case whose clause is not quoted, or whose sentence says less than it does."""
    assert _lacks(Case(id, clause, level, "a title", _nothing)) == lacks


def test_no_row_is_idle() -> None:
    """Every row of the tables is some case's, every word that they name is there, every sentence is used."""
    first: dict[str, tuple[str, str, str]] = {}
    for one in CASES:
        row = next((row for row in CHOSEN if any(fnmatchcase(one.id, glob) for glob in row[0].split())), None)
        first[one.id] = row or ("", "", DEFAULT)
    assert [row for row in CHOSEN if row not in first.values()] == []
    assert [row for row in REASONS if not any(_fits(one.id, row[0]) for one in CASES)] == []
    used = {(where or one.clause, word) for one in CASES for _, where, word in [first[one.id]]}
    known = {(clause, word) for clause, words in SENTENCES.items() for word in words}
    advice = {(one.clause, DEFAULT) for one in CASES if one.level == "advice"}
    assert used - known - advice == set()
    assert known - used == set()


def _fits(id: str, globs: str) -> bool:
    return any(fnmatchcase(id, glob) for glob in globs.split())


def test_our_sentences_stand_in_our_protocol() -> None:
    """What is quoted of PROTOCOL.md stands there, line breaks aside."""
    document = " ".join((ROOT / "enroll" / "PROTOCOL.md").read_text("utf-8").split())
    assert [quote for quote in SENTENCES[PROTOCOL].values() if quote not in document] == []


def test_quotations_are_short_and_whole() -> None:
    """A quotation is one line, of one to three sentences, without the line breaks of the RFC."""
    for words in SENTENCES.values():
        for quote in words.values():
            assert len(quote) <= 400
            assert " ".join(quote.split()) == quote


def test_shown_in_the_list(capsys) -> None:
    """--list has one line a case; with --verbose the sentence stands below it."""
    assert main(["--list", "--only", "nonce.no-store"]) == ALL_GOOD
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["--list", "--verbose", "--only", "nonce.no-store"]) == ALL_GOOD
    assert "RFC 8555 7.2: “The server MUST include a Cache-Control header field" in capsys.readouterr().out


def test_shown_with_a_failure() -> None:
    """A failure quotes what it breaks, on the screen, in JSON and in JUnit."""
    (case,) = [one for one in CASES if one.id == "nonce.no-store"]
    results = [Result(case, "FAIL", "no Cache-Control", 0.0)]
    quote = SENTENCES["RFC 8555 7.2"]["no-store"]
    assert quote in report.line(results[0], {})
    verdict = judge(results, {})
    (shown,) = json.loads(report.as_json(results, verdict, {}, "https://x/"))["results"]
    assert (shown["quote"], shown["quoted_from"]) == (quote, "RFC 8555 7.2")
    assert "Cache-Control header field" in report.as_junit(results, verdict).decode()
