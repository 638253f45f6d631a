"""A ceremony at work: each step is shown before it is done, and written down for people to sign."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from ca.clock import SystemClock
from enroll.jst import shown
from gateway.cli.output import clean


@dataclass
class Ceremony:
    """One ceremony at work: what is shown, what is done, and the transcript of it."""

    title: str
    roles: Mapping[str, str]
    folder: Path
    now: Callable[[], int] = SystemClock().seconds
    lines: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    steps: int = 0

    def step(self, text: str) -> None:
        """What comes next: done once somebody has pressed Enter."""
        self.steps += 1
        self.note(f"{self.steps}. {text}")
        click.prompt("   Enter to do this, Ctrl-C to stop", default="", show_default=False, err=True)

    def note(self, text: str) -> None:
        """Shown, and written down with the time."""
        click.echo(clean(text), err=True)
        self.lines.append(f"{shown(self.now())}  {clean(text)}")

    def file(self, name: str, data: bytes) -> None:
        """A file that came or went, by its hash."""
        digest = hashlib.sha256(data).hexdigest()
        self.files.append((name, digest))
        self.note(f"   {name}: SHA-256 {digest}")

    def transcript(self) -> bytes:
        """The paper that is signed by hand."""
        people = "\n".join(f"  {role}: {name}" for role, name in self.roles.items())
        files = "\n".join(f"  {digest}  {name}" for name, digest in self.files)
        told = "\n".join(self.lines)
        text = (
            f"{self.title}\n\nRoles\n{people}\n\nSteps (Japan's time)\n{told}\n\nFiles (SHA-256)\n{files}\n\n"
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines = (f"{f'{name} ({role})':<44} {'_' * 24}  date {'_' * 10}" for role, name in self.roles.items())
        signatures = "\n\n".join(lines)
        return (
            f"{text}SHA-256 of everything above this line: {digest}\n\nSignatures\n\n{signatures}\n".encode()
        )
