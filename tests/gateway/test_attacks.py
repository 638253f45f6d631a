"""ATTACKS.md says what is so: every attack is there once, and every test and file it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = (TESTS.parent / "gateway" / "ATTACKS.md").read_text("utf-8")
ROWS = re.findall(r"^\| ([VW]\d+) \|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)


def test_each_attack_once_and_in_order() -> None:
    """V1 to V50, none forgotten."""
    assert [number for number, *_ in ROWS if number[0] == "V"] == [f"V{number}" for number in range(1, 51)]


def test_each_has_a_test_that_exists() -> None:
    """A name that was changed, or never was, is found here."""
    for number, _, _, proof in ROWS:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", proof)
        assert named, number
        for file, test in named:
            tree = ast.parse((TESTS / file).read_text("utf-8"))
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            assert test in {each.name for each in tree.body if isinstance(each, kinds)}, f"{file}::{test}"


def test_each_names_a_file_that_exists() -> None:
    """Files without a folder are the gateway's."""
    for number, _, ruled_out, _ in ROWS:
        for file in re.findall(r"`([\w/]+\.py)[`:]", ruled_out):
            found = [TESTS.parent / "gateway" / file, TESTS.parent / file]
            assert any(path.exists() for path in found), f"{number}: {file}"
