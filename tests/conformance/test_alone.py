"""The suite installed alone, from its own folder, with nothing of the product beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conformance.cases import CASES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that has the suite; skips where no registry can be reached."""
    place = tmp_path_factory.mktemp("alone")
    # A copy: pip builds where the source is.
    leave = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT / "conformance", place / "conformance", ignore=leave)
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True, timeout=120)
    pip = [place / "venv" / "bin" / "python", "-m", "pip", "install", "-q", place / "conformance"]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=400)
    if done.returncode != 0 and "connection" in done.stderr.lower():
        pytest.skip("no registry can be reached, and pip needs cryptography")
    assert done.returncode == 0, done.stderr
    return place / "venv" / "bin"


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_command_and_module(alone: Path, tmp_path: Path) -> None:
    """Both `sekisho-conformance` and `python -m conformance` are there, with every case and its sentence."""
    for command in ([alone / "sekisho-conformance"], [alone / "python", "-m", "conformance"]):
        listed = _run(*command, "--list", "--level", "ours", cwd=tmp_path)
        assert len(listed.splitlines()) == len(CASES)
        assert "no-store" in _run(*command, "--list", "--verbose", "--only", "nonce.no-store", cwd=tmp_path)


def test_lists_of_known_failures_come_along(alone: Path, tmp_path: Path) -> None:
    """The lists of known failures are installed, and nothing of the product is."""
    told = "import conformance, pathlib; print(*pathlib.Path(conformance.__file__).parent.glob('known/*'))"
    assert "pebble.toml" in _run(alone / "python", "-c", told, cwd=tmp_path)
    absent = "import importlib.util as u; print([u.find_spec(n) for n in ('ca', 'enroll', 'gateway')])"
    assert _run(alone / "python", "-c", absent, cwd=tmp_path).strip() == "[None, None, None]"


def test_metadata_agrees_with_the_products() -> None:
    """One version, one lowest Python and one lowest cryptography for the product and the suite alone."""
    own, whole = (
        tomllib.loads((ROOT / place / "pyproject.toml").read_text("utf-8"))["project"]
        for place in ("conformance", ".")
    )
    for member in ("version", "requires-python", "license"):
        assert own[member] == whole[member]
    assert own["dependencies"] == whole["optional-dependencies"]["conformance"]
