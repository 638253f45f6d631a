"""What the documents promise: each code that is cited is defined."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
CITED = re.compile(r"(?<![\w\-\[/.])[REDSZ][1-9][0-9]?(?![\w\-])")
DEFINED = re.compile(r"^\| ([REDSZ][0-9]+) \| (.+) \|$", re.MULTILINE)
FOLDERS = ("ca", "enroll", "gateway", "conformance", "tests", "docs", "tools")
ENDINGS = {".py", ".md", ".html", ".txt", ".toml", ".yaml", ".js", ".css"}


def test_each_decision_is_defined_once() -> None:
    """A code means one thing, and says what in a sentence."""
    found = DEFINED.findall((ROOT / "docs" / "DECISIONS.md").read_text("utf-8"))
    codes = [code for code, _ in found]
    assert len(codes) == len(set(codes)) > 90
    assert all(sentence.endswith((".", "。")) for _, sentence in found)


def test_each_code_that_is_cited_is_defined() -> None:
    """R, E, D, S and Z codes in code, templates, tests and documents stand in docs/DECISIONS.md."""
    defined = {code for code, _ in DEFINED.findall((ROOT / "docs" / "DECISIONS.md").read_text("utf-8"))}
    unknown = {
        f"{path.relative_to(ROOT)}: {code}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in ENDINGS
        for code in CITED.findall(path.read_text("utf-8"))
        if code not in defined
    }
    assert unknown == set()
