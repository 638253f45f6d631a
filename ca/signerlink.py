"""The way to a signer in another process: a Unix socket, messages of JSON with their length before them.

One message is asked, one answered. Whoever asks is known by the kernel (SO_PEERCRED), not by what he says.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ca.published.store import Answer, Batch
from ca.signing import NoSignature, SignatureRefused, ToSign

SOCKET = "signer.sock"
#: The most bytes of a message. A certificate has some hundreds; a list is read where it lies.
MOST = 1 << 17
#: Certificates that are asked about at once: what is signed about each takes up to 1,500 bytes of a message.
MOST_ANSWERS = 64
# Seconds for an answer: a certificate takes milliseconds, a list of a million lines some seconds.
_PATIENCE: Mapping[str, float] = {"list": 120.0}
_SOON = 10.0
_LONGEST = 107
_LENGTH = struct.Struct(">I")
_UCRED = struct.Struct("3i")

Message = dict[str, Any]


@contextmanager
def address_in(directory: Path, name: str = SOCKET) -> Iterator[str]:
    """What to bind or connect to: a path of a Unix socket has 107 octets, a directory's may have more."""
    if len(os.fsencode(path := directory / name)) <= _LONGEST:
        yield str(path)
        return
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def packed(message: Message) -> bytes:
    """A message as it is sent."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end. ValueError for what is none, TimeoutError for one that was only
    begun."""
    try:
        first = await reader.readexactly(1)
        async with asyncio.timeout(_SOON):
            (size,) = _LENGTH.unpack(first + await reader.readexactly(_LENGTH.size - 1))
            if size > MOST:
                raise ValueError("a message is longer than any")
            return _message(await reader.readexactly(size))
    except asyncio.IncompleteReadError as ended:
        if ended.partial:
            raise ValueError("a message ended early") from None
        return None


def receive_now(link: socket.socket) -> Message | None:
    """As `receive`, on a plain socket; blocks. OSError also for one that ended early."""
    first = link.recv(_LENGTH.size)
    if not first:
        return None
    (size,) = _LENGTH.unpack(first + _exactly(link, _LENGTH.size - len(first)))
    if size > MOST:
        raise ValueError("a message is longer than any")
    return _message(_exactly(link, size))


def peer_of(connection: Any) -> int:
    """The user ID of whoever is at the other end of a socket."""
    # A loop's own wrapper has no other way to ask, and its descriptor is the socket's.
    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        found = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(found)[1])


class RemoteSigner:
    """Asks the signer whose socket is in a directory. Without a connection of its own until it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._idle: list[tuple[asyncio.AbstractEventLoop, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def sign(self, asked: ToSign) -> bytes:
        patience = _PATIENCE.get(asked.purpose, _SOON)
        return _signature(await self._ask(_question(asked), patience))

    def sign_now(self, asked: ToSign) -> bytes:
        return _signature(self.ask_now(_question(asked), _PATIENCE.get(asked.purpose, _SOON)))

    async def answers(self, issuer_id: str, serials: Sequence[str]) -> Batch:
        """Answers (OCSP) about serials of an issuer's, `MOST_ANSWERS` at most. `NoSignature` if there are
        none."""
        asked: Message = {"ask": "answers", "key": issuer_id, "serials": list(serials)}
        return _batch(await self._ask(asked, _SOON))

    def ask_now(self, message: Message, patience: float = _SOON) -> Message:
        """An answer, for callers without an event loop. `NoSignature` if there is none."""
        try:
            with (
                address_in(self._directory) as address,
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link,
            ):
                link.settimeout(patience)
                link.connect(address)
                link.sendall(packed(message))
                (size,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
                return _message(_exactly(link, min(size, MOST)))
        except (OSError, ValueError, struct.error) as error:
            raise _gone(error) from None

    async def _ask(self, message: Message, patience: float) -> Message:
        try:
            async with asyncio.timeout(patience):
                return await self._exchange(packed(message))
        except (OSError, ValueError, TimeoutError) as error:
            raise _gone(error) from None

    async def _exchange(self, question: bytes) -> Message:
        """On a connection that nobody else uses meanwhile. One that was idle may be of a signer that is gone:
        then once more, on a new one."""
        loop = asyncio.get_running_loop()
        while self._idle:
            its, reader, writer = self._idle.pop()
            if its is not loop:
                continue
            with suppress(OSError, ValueError):
                return await self._over(question, reader, writer)
        with address_in(self._directory) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=MOST)
        return await self._over(question, reader, writer)

    async def _over(
        self, question: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Message:
        whole = False
        try:
            writer.write(question)
            answer = await receive(reader)
            if answer is None:
                raise ConnectionResetError("it hung up")
            whole = True
            return answer
        finally:
            if whole:
                self._idle.append((asyncio.get_running_loop(), reader, writer))
            else:
                writer.close()  # also when nobody waits any more: its answer would be the next one's


def packed_batch(batch: Batch) -> Message:
    """Answers as the signer sends them."""
    answers = [
        [each.serial, each.change_number, each.this_update_at, each.next_update_at]
        + [base64.b64encode(kept).decode() for kept in (each.sha1, each.sha256)]
        for each in batch.answers
    ]
    return {"responder": base64.b64encode(batch.responder).decode(), "answers": answers}


def _batch(answer: Message) -> Batch:
    if "responder" not in answer:
        _signature(answer)
    try:
        answers = tuple(
            Answer(serial, change, this, following, base64.b64decode(sha1), base64.b64decode(sha256))
            for serial, change, this, following, sha1, sha256 in answer["answers"]
        )
        return Batch(base64.b64decode(answer["responder"]), answers)
    except (ValueError, TypeError, KeyError) as error:
        raise _gone(error) from None


def signer_status(signer: object) -> Message | str | None:
    """How a signer in another process is; the words of its absence; None for keys of this process."""
    if not isinstance(signer, RemoteSigner):
        return None
    try:
        return signer.ask_now({"ask": "status"}, patience=5.0)
    except NoSignature as gone:
        return str(gone)


def _question(asked: ToSign) -> Message:
    fields: Message = {"ask": "sign", "key": asked.key_id, "purpose": asked.purpose, "serial": asked.serial}
    if isinstance(asked.content, bytes):
        return fields | {"tbs": base64.b64encode(asked.content).decode()}
    return fields | {"file": asked.content.name}


def _signature(answer: Message) -> bytes:
    if isinstance(signed := answer.get("signature"), str):
        return base64.b64decode(signed)
    if isinstance(why := answer.get("refused"), str):
        number = answer.get("number")
        raise SignatureRefused(f"the signer refuses: {why}", number if isinstance(number, int) else None)
    raise NoSignature(f"the signer does not sign now: {answer.get('later', 'it does not say why')}")


def _gone(error: Exception) -> NoSignature:
    why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    return NoSignature(f"the signer does not answer ({why})")


def _exactly(link: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = link.recv(size - len(found))
        if not piece:
            raise ConnectionResetError("it hung up")
        found += piece
    return found


def _message(body: bytes) -> Message:
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("a message is nested without end") from None
    if not isinstance(found, dict):
        raise ValueError("a message is an object")
    return found
