"""What holds of the suite on every server whose faults are listed in ``conformance/known``.

A file of such a server has a fixture `report`, and takes the test from here.
"""

from __future__ import annotations

from typing import Any

from conformance.__main__ import ALL_GOOD


def test_nothing_unexpected(report: dict[str, Any]) -> None:
    """Every failure is a known one with a reason, and every known one fails."""
    assert report["unexpected"] == []
    assert report["surprises"] == []
    assert report["status"] == ALL_GOOD
