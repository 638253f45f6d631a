"""A mail server for tests that really speaks SMTP, and refuses whatever it is told to."""

from __future__ import annotations

import asyncio
import ssl
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

#: Instead of an answer: the connection is cut.
CUT = "cut"
_GOOD = {
    "greeting": "220 mail.test ESMTP",
    "HELO": "250 mail.test",
    "NOOP": "250 ok",
    "RSET": "250 ok",
    "STARTTLS": "220 go on",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "dot": "250 taken as 42",
    "QUIT": "221 bye",
}


class MailServer:
    """As much of RFC 5321 as a submission needs.

    ``answers``: command -> an answer to give always, or a list to give one each of and then the good one.
    "greeting" and "dot" are commands, too. ``by_recipient``: address -> answer to RCPT.
    """

    def __init__(
        self,
        answers: Mapping[str, str | list[str]] | None = None,
        *,
        by_recipient: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        delay: float = 0.0,
        most_open: int = 1_000,
        cut_after_dot: Collection[str] = (),
        think: float = 0.0,
    ) -> None:
        self.answers = {
            name: list(each) if isinstance(each, list) else each for name, each in (answers or {}).items()
        }
        self.by_recipient = dict(by_recipient or {})
        self.login, self.tls, self.delay, self.limit = login, tls, delay, most_open
        #: Recipients whose letters are read to their end, and the connection is cut.
        self.cut_after_dot = cut_after_dot
        #: Seconds until a letter that was read to its end is answered.
        self.think = think
        self.accepted: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.sender = ""
        self.heard: Counter[str] = Counter()
        self.connections = self.open = self.most_open = 0
        self.port = 0

    def _answer(self, command: str) -> str:
        told = self.answers.get(command)
        if isinstance(told, list):
            told = told.pop(0) if told else None
        return told or _GOOD[command]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            greeting = self._answer("greeting") if self.open <= self.limit else "421 too many of you"
            if await self._say(writer, greeting) and greeting.startswith("2"):
                await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure, recipient = False, ""
        while line := (await reader.readline()).rstrip(b"\r\n").decode():
            verb = line.split(" ")[0].upper()
            self.heard[verb] += 1
            if verb == "EHLO":
                if not await self._say(writer, self._hello(secure)):
                    return
                continue
            if verb == "AUTH":
                answer = self._judge(line)
            elif verb == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
                answer = self.by_recipient.get(recipient) or self._answer("RCPT")
            else:
                answer = self._answer(verb)
            if verb == "MAIL":
                self.sender = line.partition("<")[2].partition(">")[0]
                await asyncio.sleep(self.delay)
            if not await self._say(writer, answer):
                return
            if verb == "STARTTLS" and answer.startswith("2"):
                assert self.tls is not None
                await writer.start_tls(self.tls)
                secure = True
            if verb == "DATA" and answer.startswith("3") and not await self._take(reader, writer, recipient):
                return
            if verb == "QUIT" or answer.startswith("421"):
                return

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recipient: str) -> bool:
        text = await reader.readuntil(b"\r\n.\r\n")
        await asyncio.sleep(self.think)
        answer = CUT if recipient in self.cut_after_dot else self._answer("dot")
        if answer.startswith("2"):
            message = message_from_bytes(text[:-3], policy=policy.default)
            assert isinstance(message, EmailMessage)
            self.accepted.append(message)
            self.recipients.append(recipient)
        return await self._say(writer, answer) and not answer.startswith("421")

    def _hello(self, secure: bool) -> str:
        told = self.answers.get("EHLO")
        if told:
            return told if isinstance(told, str) else told.pop(0)
        words = ["mail.test"]
        if self.tls and not secure:
            words.append("STARTTLS")
        if self.login or "AUTH" in self.answers:
            words.append("AUTH PLAIN")
        return "".join(f"250-{word}\r\n" for word in words) + "250 8BITMIME"

    def _judge(self, line: str) -> str:
        told = self.answers.get("AUTH")
        if isinstance(told, str):
            return told
        given = b64decode(line.split(" ")[2]).decode().split("\0")[1:]
        return "235 welcome" if tuple(given) == self.login else "535 5.7.8 credentials wrong"

    async def _say(self, writer: asyncio.StreamWriter, answer: str) -> bool:
        if answer == CUT:
            return False
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return True

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[MailServer]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    @contextmanager
    def in_a_thread(self) -> Iterator[MailServer]:
        """For callers that have no event loop of their own, or block it."""
        loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        async def run() -> None:
            async with self.listening():
                ready.set()
                await ended.wait()

        thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
        thread.start()
        assert ready.wait(60)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(10)
            loop.close()
