"""The suite on a server that few of its rules hold for: what is known of it, and nothing else."""

from __future__ import annotations

import pytest

from tests.conformance import known, serles, unshared

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(
        not serles.usable(), reason="needs serles (PyPI: serles-acme) on the PATH, and a network namespace"
    ),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return unshared.run("serles", tmp_path_factory.mktemp("serles"), "advice", 500)


test_nothing_unexpected = known.test_nothing_unexpected


def test_finds_what_is_there(report) -> None:
    """What its source shows is said of it: a kid of another host will do, and a CSR that proves nothing."""
    outcomes = {one["id"]: one["outcome"] for one in report["results"]}
    assert (
        outcomes["kid.other-host"] == outcomes["csr.bad-signature"] == outcomes["keychange.works"] == "FAIL"
    )
    assert outcomes["finalize.issues"] == outcomes["validation.http-01-honest"] == "PASS"
