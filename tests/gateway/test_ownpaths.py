"""Which paths are the service's own: one answer for the relay, the limits, the settings and the pages."""

from __future__ import annotations

import pytest
from yarl import URL

from gateway.sites.service import ROUTES
from gateway.wire.ownpaths import OWN, first_segment, is_own


@pytest.mark.parametrize(
    ("target", "own"),
    [
        ("/", True), ("/?x", True), ("/login", True), ("/login?next=/app", True), ("/%6Cogin/x", True),
        ("/portal/members", True), ("/assets/x/y.css", True), ("/favicon.ico", True), ("//x", True),
        ("/loginx", False), ("/app/login", False), ("/LOGIN", False), ("/login%2Fx", False),
        ("/%256Cogin", False),
        ("/app?/login", False), ("/.login", False),
    ],
)  # fmt: skip
def test_the_first_segment_decides(target: str, own: bool) -> None:
    """Decoded once, as the router of the pages does."""
    assert is_own(target) is own


def test_the_router_reads_it_alike() -> None:
    """Each route of the service is its own, and what aiohttp decodes to one is so here."""
    assert {first_segment(path) for _, path, _ in ROUTES} <= OWN
    for spelling in ("/login", "/%6cogin", "/log%69n", "/%70ortal/x", "/a%73sets/x"):
        assert is_own(spelling)
        assert URL(spelling, encoded=True).path.split("/")[1] in OWN
