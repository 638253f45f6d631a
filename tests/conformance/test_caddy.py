"""The suite on a second server that is not ours, with http-01 validations that it answers itself."""

from __future__ import annotations

import pytest

from tests.conformance import caddy, known, unshared

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(not caddy.usable(), reason="needs caddy, and unshare with a network namespace"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return unshared.run("caddy", tmp_path_factory.mktemp("caddy"), "SHOULD", 240)


test_nothing_unexpected = known.test_nothing_unexpected


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
