"""Nobody in an event loop of ours waits for the database, found by every test on PostgreSQL.

``read_now`` and ``write_now`` block. SQLite answers at once, but a server may be silent for seconds, in which
a loop would serve nobody. So what runs in a loop of a gateway awaits ``read``, or asks first whether anybody
would have to wait (``Storage.holds_up``); what does that is named here. Tests call what they like.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_ROOT = Path(__file__).resolve().parents[1]
_TESTS, _OURS = (
    f"{_ROOT / 'tests'}/",
    tuple(f"{_ROOT / room}/" for room in ("ca", "enroll", "gateway")),
)
#: (module, function) -> why it may.
MAY = {
    ("ca/storage.py", "unblocked"): "asks `holds_up`",
    ("gateway/serving/statuses.py", "__call__"): "asks `holds_up`",
    ("enroll/generations.py", "last"): "asks `holds_up`, and `ready` was called before anybody is served",
    ("enroll/generations.py", "look"): "whoever serves has a `Chooser`",
    ("gateway/sites/revocation/answers.py", "answer"): "asks `holds_up`",
    ("gateway/serving/current.py", "begin"): "nobody is served yet",
    ("gateway/serving/deployment.py", "open_deployment"): "nobody is served yet",
    ("gateway/serving/deployment.py", "turns_of"): "a command has the keys itself: a gateway has a signer",
    ("gateway/serving/signing/desk.py", "answer"): "the signer's loop: who asks waits for it",
}


def blocked(frame: FrameType | None) -> str | None:
    """Who of ours waits in an event loop, as its place; None: nobody, or a test itself."""
    if asyncio._get_running_loop() is None:
        return None
    place: str | None = None
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(_TESTS) and not file.endswith("/blocked.py"):
            return None
        if file.endswith(("/asyncio/events.py", "/asyncio/base_events.py")):
            break
        if file.startswith(_OURS):
            where = file.removeprefix(f"{_ROOT}/")
            if (where, name) in MAY or where.startswith("gateway/cli/"):
                return None  # a command's own loop serves nobody else
            if not where.startswith("ca/"):
                place = place or f"{where}:{frame.f_lineno} {name}"
        frame = frame.f_back
    return place


#: What was found, so that it is told even where whoever waited was answered by a page.
found: list[str] = []


def watch() -> None:
    """From now on, in this process, and in those that it forks."""
    try:
        from ca.postgresql.database import Database
    except ImportError:  # without its driver there is no such engine
        return
    for name in ("read_now", "write_now"):
        setattr(Database, name, _watched(getattr(Database, name)))


def _watched(method: Callable[..., T]) -> Callable[..., T]:
    def watched(self: Any, work: Any) -> T:
        # Within a work nobody is asked anew.
        place = blocked(sys._getframe(1)) if self.holds_up() else None
        if place is not None:
            found.append(place)
            raise AssertionError(f"an event loop waits for the database at {place}: await read there")
        return method(self, work)

    return watched
