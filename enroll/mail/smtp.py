"""Hands letters to a mail server, command by command, so that each refusal is known by what was refused."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage

import aiosmtplib

from enroll.mail.replies import Command
from enroll.mail.store import Channel
from enroll.mail.transport import HandingOver, MailSession, Outbox, Refused
from enroll.mail.writing import Queued

# RFC 5321 section 4.5.3.2.6: who gives up earlier on the answer to a letter sends it twice.
_TAKING_SECONDS = 600.0
# For saying good-bye nobody is waited for.
_QUIT_SECONDS = 2.0
_CLOSING = 421
# EHLO is not known: RFC 5321 section 3.2 then has HELO.
_UNKNOWN = (500, 502)


@dataclass(frozen=True)
class Smtp:
    """A mail server; postcards still go to the outbox, to be printed."""

    host: str
    port: int
    username: str
    password: str
    #: "none", "starttls" or "tls".
    security: str
    #: Seconds for each answer, but for the one that takes a letter.
    timeout: float
    postcards: Outbox
    connections: int = 1
    letters_per_connection: int = 100
    per_minute: int = 0
    #: PEM of the only CA that is trusted; "" trusts those of the system.
    ca: str = ""

    @property
    def repeatable(self) -> frozenset[Channel]:
        """No mail: whether the server has taken one is known by its answer alone."""
        return self.postcards.repeatable - {"mail"}

    async def open(self, channel: Channel) -> MailSession:
        if channel == "postcard":
            return self.postcards
        return _SmtpSession(self, await self._login())

    async def try_out(self, sender: str) -> str:
        """Logs in and has the sender taken, and sends nothing; what EHLO said first. Raises Refused."""
        client = await self._login()
        try:
            with _refused_at("MAIL"):
                greeting = client.last_ehlo_response or client.last_helo_response
                await client.noop()
                await client.mail(sender)
                await client.rset()
        finally:
            await _leave(client)
        return greeting.message.splitlines()[0] if greeting and greeting.message else ""

    async def _login(self) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            timeout=self.timeout,
            use_tls=self.security == "tls",
            start_tls=False,
            tls_context=None if self.security == "none" else await asyncio.to_thread(self._context),
        )
        try:
            with _refused_at("connect"):
                await client.connect()
            with _refused_at("EHLO"):
                await self._hello(client)
            if self.security == "starttls":
                with _refused_at("STARTTLS"):
                    await client.starttls()
                with _refused_at("EHLO"):
                    await client.ehlo()
            if self.username:
                with _refused_at("AUTH"):
                    await client.login(self.username, self.password)
        except BaseException:
            client.close()
            raise
        return client

    async def _hello(self, client: aiosmtplib.SMTP) -> None:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if error.code not in _UNKNOWN or self.security == "starttls" or self.username:
                raise
            await client.helo()

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca or None)


class _SmtpSession:
    """One connection, logged in."""

    def __init__(self, server: Smtp, client: aiosmtplib.SMTP) -> None:
        self._server = server
        self._client = client
        #: Whether the server has heard of a letter on this connection.
        self._used = False

    @property
    def alive(self) -> bool:
        return self._client.is_connected

    async def send(
        self, message: EmailMessage, letter: Queued, return_path: str, handing_over: HandingOver
    ) -> str:
        content = message.as_bytes()
        if self._used:
            try:
                return await self._send(content, letter.recipient, return_path, handing_over)
            except Refused as refused:
                # Servers end connections that were long enough, with 421 or without a word. Nothing of
                # this letter was taken, so that it may begin anew; what a fresh one says counts.
                if self.alive or refused.code not in (0, _CLOSING) or _perhaps_taken(refused):
                    raise
            self._client, self._used = await self._server._login(), False
        return await self._send(content, letter.recipient, return_path, handing_over)

    async def _send(self, content: bytes, recipient: str, return_path: str, handing_over: HandingOver) -> str:
        with _refused_at("MAIL"):
            if self._used:
                await self._client.rset()
            self._used = True
            await self._client.mail(return_path)
        with _refused_at("RCPT"):
            await self._client.rcpt(recipient)
        await handing_over()
        with _refused_at("DATA"):
            return (await self._client.data(content, timeout=_TAKING_SECONDS)).message

    async def close(self) -> None:
        await _leave(self._client)


def _perhaps_taken(refused: Refused) -> bool:
    return refused.command == "DATA" and refused.code == 0


async def _leave(client: aiosmtplib.SMTP) -> None:
    try:
        with suppress(OSError, aiosmtplib.SMTPException):
            await client.quit(timeout=_QUIT_SECONDS)
    finally:
        client.close()


@contextmanager
def _refused_at(command: Command) -> Iterator[None]:
    """Whatever the server, or the way to it, answers to a command becomes Refused."""
    try:
        yield
    except aiosmtplib.SMTPConnectResponseError as error:
        raise Refused("greeting", error.message, error.code) from error
    except aiosmtplib.SMTPResponseException as error:
        # -1: what came is no answer of this protocol.
        raise Refused(command, error.message, max(error.code, 0)) from error
    except (OSError, aiosmtplib.SMTPException) as error:
        raise Refused(command, str(error) or type(error).__name__) from error
