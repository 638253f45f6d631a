"""The outbox read back: what a recipient sees, by the labels that the templates print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from pathlib import Path

from enroll.jst import shown

_NAME = re.compile(r"[0-9]{6,}-[a-z0-9_]+\.(?:eml|txt)")


@dataclass(frozen=True)
class Delivered:
    """A mail or postcard in the outbox. ``name`` is its file's; ``date`` is empty on a postcard."""

    name: str
    kind: str
    recipient: str
    subject: str
    date: str
    body: str

    def value(self, label: str) -> str:
        """What follows ``label：`` on a line of the body; empty if no line has it."""
        for line in self.body.splitlines():
            if line.startswith(label + "："):
                return line.partition("：")[2]
        return ""


def delivered(outbox: Path) -> list[Delivered]:
    """Every letter of the outbox, newest first."""
    found = sorted(outbox.iterdir(), reverse=True) if outbox.is_dir() else []
    return [_read(path) for path in found if _NAME.fullmatch(path.name)]


def letter(outbox: Path, name: str) -> Delivered | None:
    """One letter by its file name, which comes from a visitor."""
    path = outbox / name
    return _read(path) if _NAME.fullmatch(name) and path.is_file() else None


def _read(path: Path) -> Delivered:
    kind = path.stem.partition("-")[2]
    if path.suffix == ".txt":
        recipient, subject, body = path.read_text("utf-8").split("\n\n", 2)
        return Delivered(path.name, kind, recipient, subject, "", body)
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    content = message.get_content()
    assert isinstance(content, str)
    written_at = int(parsedate_to_datetime(message["Date"]).timestamp())
    return Delivered(path.name, kind, message["To"], message["Subject"], shown(written_at), content)
