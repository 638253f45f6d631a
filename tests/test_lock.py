"""What is installed: each dependency is locked with the hashes of its files, within the bounds we set."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME, TEST = "requirements.lock", "requirements-test.lock"


def _locked(name: str) -> dict[str, list[Requirement]]:
    """The entries by package; several where versions of Python differ. Every one has to have a hash."""
    found: dict[str, list[Requirement]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
        if entry.startswith("#"):
            continue
        requirement = Requirement(entry.partition(" \\\n")[0])
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def _wanted(lock: str) -> list[Requirement]:
    names = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    if lock == TEST:
        names += [each for extra in PROJECT["project"]["optional-dependencies"].values() for each in extra]
    return [Requirement(each) for each in names]


@pytest.mark.parametrize("lock", [RUNTIME, TEST])
def test_the_lock_holds_what_the_project_asks_for(lock: str) -> None:
    """Each dependency is there, in one version for any one Python, which its bounds allow (``make lock``)."""
    locked = _locked(lock)
    for wanted in _wanted(lock):
        assert canonicalize_name(wanted.name) in locked, f"{wanted.name} is not in {lock}; make lock KEEP=1"
    bounds = {canonicalize_name(each.name): each.specifier for each in _wanted(lock)}
    for name, entries in locked.items():
        for entry in entries:
            (pin,) = entry.specifier
            assert pin.operator == "=="
            assert bounds.get(name, entry.specifier).contains(pin.version), f"{entry}; make lock"
        for version in ("3.11.0", "3.12.1", "3.13.0"):
            here = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
            chosen = [each for each in entries if each.marker is None or each.marker.evaluate(here)]
            assert len(chosen) <= 1, (name, version)


def test_what_is_tested_is_what_runs() -> None:
    """The tests' lock has every version of the other; on more Pythons, where a test needs it on more."""
    tested = _locked(TEST)
    for name, entries in _locked(RUNTIME).items():
        assert {str(each.specifier) for each in entries} == {str(each.specifier) for each in tested[name]}


@pytest.mark.parametrize("lock", [RUNTIME, TEST])
def test_the_lock_names_no_place(lock: str) -> None:
    """It holds for every index: no address, no folder and no option but hashes."""
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)(^|\s)(/\S|-(?!-hash=|c requirements\.lock$|r -$|$))", text)


def test_the_pythons_named_are_those_that_are_allowed() -> None:
    """The oldest that installs it is the oldest that it is tested with."""
    classifiers = "\n".join(PROJECT["project"]["classifiers"])
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", classifiers)
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"
    assert named == sorted(named, key=lambda each: int(each[2:]))
    assert " to ".join((named[0], named[-1])) in (ROOT / "README.md").read_text()
