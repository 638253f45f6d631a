"""The suite on a server that few of its rules hold for: what is known of it, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import conformance
from tests.conformance import serles

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(
        not serles.usable(), reason="needs serles (PyPI: serles-acme) on the PATH, and a network namespace"
    ),
]
KNOWN = Path(conformance.__file__).parent / "known" / "serles.toml"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("serles")
    out = folder / "report.json"
    options = ["--level", "advice", "--known", str(KNOWN), "--json", str(out)]
    command = ["unshare", "-rn", sys.executable, "-m", "tests.conformance.serles", str(folder), *options]
    done = subprocess.run(command, cwd=KNOWN.parents[2], capture_output=True, text=True, timeout=500)
    assert out.exists(), done.stderr
    return {"status": done.returncode, **json.loads(out.read_text())}


def test_nothing_unexpected(report) -> None:
    """Every failure is a known one with a reason, and every known one fails."""
    assert report["unexpected"] == []
    assert report["surprises"] == []
    assert report["status"] == 0


def test_finds_what_is_there(report) -> None:
    """What its source shows is said of it: a kid of another host will do, and a CSR that proves nothing."""
    outcomes = {one["id"]: one["outcome"] for one in report["results"]}
    assert (
        outcomes["kid.other-host"] == outcomes["csr.bad-signature"] == outcomes["keychange.works"] == "FAIL"
    )
    assert outcomes["finalize.issues"] == outcomes["validation.http-01-honest"] == "PASS"
