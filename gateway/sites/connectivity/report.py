"""What a browser reports about itself: a few words out of fixed lists, or a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enroll.refusals import Refusal
from gateway.sites.connectivity.findings import REPORTABLE

#: Bytes. A full report has some 250.
MAX_BYTES = 2_048
_REFERENCE = re.compile(r"[2-9A-Z]{4}-[2-9A-Z]{4}")
_FIELDS = frozenset({"reference", "outcomes", "clock_seconds"})
# A PC whose battery died says 1970; no honest difference is above a century.
_MAX_DIFFERENCE = 100 * 366 * 86_400


@dataclass(frozen=True)
class Report:
    """``outcomes``: check -> word of ``REPORTABLE``. ``clock_seconds``: how far the PC is ahead."""

    reference: str
    outcomes: Mapping[str, str]
    clock_seconds: int | None = None


def parse_report(body: bytes) -> Report:
    """A report out of hostile bytes. Raises Refusal("invalid_input") with the field at fault."""
    if len(body) > MAX_BYTES:
        raise Refusal("invalid_input", field="body")
    try:
        data = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refusal("invalid_input", field="body") from None
    if not isinstance(data, dict) or not set(data) <= _FIELDS:
        raise Refusal("invalid_input", field="body")
    return Report(
        _reference(data.get("reference")),
        _outcomes(data.get("outcomes", {})),
        _clock(data.get("clock_seconds")),
    )


def _reference(value: Any) -> str:
    if isinstance(value, str) and _REFERENCE.fullmatch(value):
        return value
    raise Refusal("invalid_input", field="reference")


def _outcomes(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise Refusal("invalid_input", field="outcomes")
    for name, word in value.items():
        if name not in REPORTABLE or not isinstance(word, str) or word not in REPORTABLE[name]:
            raise Refusal("invalid_input", field="outcomes")
    return dict(value)


def _clock(value: Any) -> int | None:
    # bool is an int to Python, and not to anybody else.
    if value is None or (type(value) is int and abs(value) <= _MAX_DIFFERENCE):
        return value
    raise Refusal("invalid_input", field="clock_seconds")
