"""The suite on a fourth server that is not ours: what is known of it, and nothing else."""

from __future__ import annotations

import pytest

from tests.conformance import acme2certifier, known, unshared

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(
        not acme2certifier.usable(),
        reason="needs acme2certifier and gunicorn (PyPI) where ACME2CERTIFIER says, and a network namespace",
    ),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return unshared.run("acme2certifier", tmp_path_factory.mktemp("acme2certifier"), "advice", 500)


test_nothing_unexpected = known.test_nothing_unexpected


def test_finds_what_is_there(report) -> None:
    """What its source shows is said of it: no look at Content-Type, any CSR taken, no list of orders."""
    outcomes = {one["id"]: one["outcome"] for one in report["results"]}
    wrong = ("jws.content-type-json", "csr.bad-signature", "csr.account-key", "account.orders-url")
    assert {outcomes[one] for one in wrong} == {"FAIL"}
    assert outcomes["finalize.issues"] == outcomes["validation.http-01-honest"] == "PASS"
