"""A name server for validations: the TXT records of dns-01 (RFC 8555 8.4), and loopback for every name.

Enough of RFC 1035 to answer one question over UDP; whatever is no question is not answered.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

A, TXT = 1, 16
_HEADER = struct.Struct(">6H")
# QR and AA; RD comes back as it was asked. RCODE 4 is NOTIMP.
_ANSWER, _RECURSION, _NOT_IMPLEMENTED = 0x8400, 0x0100, 4
_POINTER_TO_QUESTION = b"\xc0\x0c"
_LONGEST_STRING = 255


@dataclass(frozen=True)
class Question:
    """What is asked. name is in lower case, without the last dot; octets is the question as it came."""

    id: int
    flags: int
    name: str
    kind: int
    octets: bytes


def read(packet: bytes) -> Question | None:
    """The one question of a query; None for anything else."""
    if len(packet) < _HEADER.size:
        return None
    id, flags, questions, *_ = _HEADER.unpack_from(packet)
    if flags & 0x8000 or questions != 1:
        return None
    labels, at = [], _HEADER.size
    while at < len(packet) and packet[at]:
        size = packet[at]
        if size > 63 or at + 1 + size >= len(packet):
            return None
        labels.append(packet[at + 1 : at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    end = at + 5  # the root label, type and class
    if end > len(packet):
        return None
    (kind,) = struct.unpack_from(">H", packet, at + 1)
    return Question(id, flags, ".".join(labels), kind, packet[_HEADER.size : end])


def answer(packet: bytes, texts: Mapping[str, Sequence[str]]) -> bytes | None:
    """The answer to a packet: TXT from the texts by name, A is 127.0.0.1, of all else there is none."""
    question = read(packet)
    if question is None:
        return None
    records: list[bytes] = []
    if question.kind == TXT:
        records = [_text(value) for value in texts.get(question.name, ())]
    elif question.kind == A:
        records = [bytes([127, 0, 0, 1])]
    code = _NOT_IMPLEMENTED if question.flags & 0x7800 else 0
    flags = _ANSWER | question.flags & (_RECURSION | 0x7800) | code
    found = b"".join(
        _POINTER_TO_QUESTION + struct.pack(">HHIH", question.kind, 1, 0, len(data)) + data for data in records
    )
    return _HEADER.pack(question.id, flags, 1, len(records), 0, 0) + question.octets + found


def _text(value: str) -> bytes:
    data = value.encode("ascii")
    parts = [data[at : at + _LONGEST_STRING] for at in range(0, len(data), _LONGEST_STRING)] or [b""]
    return b"".join(bytes([len(part)]) + part for part in parts)


class Server(asyncio.DatagramProtocol):
    """Answers over UDP from the texts as they are at the moment; tells each name that it was asked for."""

    def __init__(
        self, texts: Mapping[str, Sequence[str]], heard: Callable[[str], None] = lambda _: None
    ) -> None:
        self._texts, self._heard = texts, heard
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transports are none by class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (question := read(data)) is not None:
            self._heard(question.name)
        reply = answer(data, self._texts)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
