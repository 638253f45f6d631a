"""The suite on a second server that is not ours, with http-01 validations that it answers itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import conformance
from tests.conformance import caddy

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(not caddy.usable(), reason="needs caddy, and unshare with a network namespace"),
]
KNOWN = Path(conformance.__file__).parent / "known" / "caddy.toml"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("caddy")
    out = folder / "report.json"
    options = ["--level", "SHOULD", "--known", str(KNOWN), "--json", str(out)]
    command = ["unshare", "-rn", sys.executable, "-m", "tests.conformance.caddy", str(folder), *options]
    done = subprocess.run(command, cwd=KNOWN.parents[2], capture_output=True, text=True, timeout=240)
    assert out.exists(), done.stderr
    return {"status": done.returncode, **json.loads(out.read_text())}


def test_nothing_unexpected(report) -> None:
    """Every failure is a known one with a reason, and every known one fails."""
    assert report["unexpected"] == []
    assert report["surprises"] == []
    assert report["status"] == 0


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("finalize.again", "FAIL"),
        ("account.orders-list", "FAIL"),
        ("http.post-as-get-directory", "FAIL"),
        ("keychange.works", "FAIL"),
        ("authz.deactivate", "FAIL"),
        ("kid.unknown", "CRASH"),
        ("nonce.no-store", "PASS"),
        ("challenge.read-starts-nothing", "PASS"),
        ("finalize.issues", "PASS"),
        ("challenge.link-up", "PASS"),
    ],
)
def test_finds_what_is_there(report, case: str, outcome: str) -> None:
    """What is publicly known of this engine is what the suite says of it."""
    assert {one["id"]: one["outcome"] for one in report["results"]}[case] == outcome
