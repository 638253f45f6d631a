"""The page of results: what holds by level, what is known not to and why, and what was not tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.page import main, page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def result(id: str, outcome: str, level: str = "MUST", **more: str) -> dict[str, Any]:
    told = {"detail": "", "quote": f"{id} MUST be", "quoted_from": "RFC 1 2", **more}
    return {"id": id, "level": level, "outcome": outcome, **told}


RESULTS = [
    result("a.one", "PASS"),
    result("a.two", "FAIL", known="It <does> not."),
    result("a.three", "CRASH", "SHOULD", known="It <does> not.", quote="a.two MUST be"),
    result("a.four", "HANG", "advice", quote=""),
    result("a.five", "SKIP", "SHOULD", detail="needs a | port"),
    result("a.six", "SKIP", detail="needs a | port"),
]


def test_page() -> None:
    """What was tried, by level; failures by reason with each sentence once; what was skipped, by why."""
    shown = page({"A server": RESULTS, "Another": RESULTS[:1]})
    assert "| [A server](#a-server) | 1 of 2 | 0 of 1 | 0 of 1 | - | 2 |" in shown
    assert "| [Another](#another) | 1 of 1 | - | - | - | 0 |" in shown
    assert r"**It \<does\> not.** `a.two` (MUST), `a.three` (SHOULD)" in shown
    assert shown.count("> RFC 1 2: “a.two MUST be”") == 1
    assert "**Not known before.** `a.four` (advice)" in shown
    assert r"* 2 × needs a \| port" in shown
    assert shown.count("Every rule that was tried holds.") == 1


def test_same_results_same_page(tmp_path: Path) -> None:
    """Nothing in it depends on when or where: two runs with the same outcomes make one page."""
    pages = []
    for seconds in (1.0, 2.0):
        file = tmp_path / f"{seconds}.json"
        given = [{**one, "seconds": seconds} for one in RESULTS]
        file.write_text(json.dumps({"directory": f"https://localhost:{seconds}", "results": given}))
        assert main(["--out", str(tmp_path / "page.md"), f"A={file}"]) == 0
        pages.append((tmp_path / "page.md").read_text())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("results.json", "write it as NAME=RESULTS.json"),
        ("A=missing.json", "give a file that --json has written"),
    ],
)
def test_wrong_arguments(argument: str, wrong: str, capsys) -> None:
    """What is no pair, or no file of results, is status 2, with what to type."""
    assert main([argument]) == 2
    assert wrong in capsys.readouterr().err


def test_the_page_in_the_documents() -> None:
    """The page that is published has ours, which keeps every rule, and three others, and is linked."""
    shown = (DOCS / "conformance.md").read_text("utf-8")
    for server in ("sekisho", "pebble", "Caddy", "serles"):
        assert f"\n## {server}\n" in shown
    assert "\n## sekisho\n\nEvery rule that was tried holds.\n" in shown
    assert "Not known before." not in shown
    assert "\nconformance\n" in (DOCS / "index.md").read_text("utf-8")
