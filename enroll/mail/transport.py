"""The ways out: what delivery knows of them, and the one that needs no mail server, a folder of files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

from ca.files import write_private
from enroll.mail.replies import Command, Verdict, judge
from enroll.mail.store import Channel
from enroll.mail.writing import Queued

# Of what a server says: enough for the longest sentence that helps, and no page.
_LONGEST = 300


class Refused(Exception):
    """Something on the way out said no, or nothing. ``code`` 0: no answer."""

    def __init__(self, command: Command, said: str, code: int = 0) -> None:
        self.command = command
        self.code = code
        words = " ".join(said.split())
        self.said = "".join(c if c.isprintable() else "?" for c in words)[:_LONGEST]
        super().__init__(" ".join((command, str(code) * bool(code), self.said)).replace("  ", " "))

    @property
    def verdict(self) -> Verdict:
        return judge(self.command, self.code, self.said)


#: Called when a letter is about to leave, and not before; what it raises, such as that the letter is another
#: process's by now, keeps it from that.
HandingOver = Callable[[], Awaitable[None]]


class MailSession(Protocol):
    """An open way out. It takes one letter after the other."""

    @property
    def alive(self) -> bool:
        """Whether it takes another letter."""
        ...

    async def send(
        self, message: EmailMessage, letter: Queued, return_path: str, handing_over: HandingOver
    ) -> str:
        """What was said when the letter was taken. Raises Refused."""
        ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """Something that letters leave by."""

    @property
    def connections(self) -> int:
        """How many sessions may be open at once."""
        ...

    @property
    def letters_per_connection(self) -> int: ...

    @property
    def per_minute(self) -> int:
        """How many letters may leave in a minute by all sessions together; 0: any number."""
        ...

    @property
    def repeatable(self) -> frozenset[Channel]:
        """Of which a letter may be sent once more without anybody having it twice."""
        ...

    async def open(self, channel: Channel) -> MailSession:
        """A session for letters of a channel. Raises Refused."""
        ...


@dataclass(frozen=True)
class Outbox:
    """Writes ``NUMBER-KIND.eml`` files (and ``.txt`` for postcards to print), mode 0600.

    Writing the same letter twice gives the same file: a crash after writing sends nothing twice.
    """

    directory: Path
    connections: int = 1
    letters_per_connection: int = 100
    per_minute: int = 0
    alive: bool = True
    repeatable: frozenset[Channel] = frozenset({"mail", "postcard"})

    async def open(self, channel: Channel) -> MailSession:
        return self

    async def send(
        self, message: EmailMessage, letter: Queued, return_path: str, handing_over: HandingOver
    ) -> str:
        await handing_over()
        ending = "eml" if letter.channel == "mail" else "txt"
        path = self.directory / f"{letter.id:06d}-{letter.kind}.{ending}"
        content = message.as_bytes() if letter.channel == "mail" else _postcard(letter).encode()
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, content)
        except OSError as error:
            raise Refused("outbox", f"{type(error).__name__}: {error.strerror}") from error
        return f"written to {path.name}"

    async def close(self) -> None:
        pass


def _postcard(letter: Queued) -> str:
    return f"{letter.recipient}\n\n{letter.subject}\n\n{letter.body}"
