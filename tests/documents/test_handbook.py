"""The handbook: every command in it is typed, as it stands there and in that order, in an office for each
scenario; what it says that they answer, they answer."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.documents.blocks import scenarios
from tests.documents.desk import typed_in_an_office
from tests.documents.office import HAPPENED, SERVED
from tests.softhsm import needs_softhsm

FOLDER = Path(__file__).parent.parent.parent / "docs/ca"
TEXTS = {language: (FOLDER / f"handbook.{language}.md").read_text("utf-8") for language in ("ja", "en")}
SCENARIOS = scenarios(TEXTS["ja"])
#: Those of the pages for operations.
ELSEWHERE = {"once", "generation-staged", "generation-over", "profiles", "tokens"}


_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files to others")
_NEEDS = {"token": needs_softhsm, "part": _root}


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=_NEEDS.get(each, ())) for each in SCENARIOS if each]
)
def test_the_commands_of_a_scenario(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, after what had happened."""
    typed_in_an_office(name, SCENARIOS[name], tmp_path, monkeypatch)


def test_both_languages_say_the_same() -> None:
    """The same scenarios in the same order with the same commands and answers, under as many headings."""
    assert scenarios(TEXTS["en"]) == SCENARIOS
    headings = [re.findall(r"^#+(?= )", text, re.MULTILINE) for text in TEXTS.values()]
    assert headings[0] == headings[1]


def test_every_block_is_typed() -> None:
    """Nothing stands in another kind of block, where nobody would type it, but letters; and all that have
    happened before belong to a scenario."""
    for text in TEXTS.values():
        assert set(re.findall(r"^```(.+)$", text, re.MULTILINE)) <= {"console", "text"}
        assert "sekisho" not in "".join(re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert (set(HAPPENED) | SERVED) - ELSEWHERE <= set(SCENARIOS)
    assert not SCENARIOS.get("")
    assert len(SCENARIOS) >= 12
