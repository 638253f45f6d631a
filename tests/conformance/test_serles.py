"""The suite on a server that few of its rules hold for: what is known of it, and nothing else."""

from __future__ import annotations

import pytest

from tests.conformance import serles, unshared

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(
        not serles.usable(), reason="needs serles (PyPI: serles-acme) on the PATH, and a network namespace"
    ),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return unshared.run("serles", tmp_path_factory.mktemp("serles"), "advice", 500)


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
