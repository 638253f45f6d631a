"""The name server of dns-01: one question, one answer; whatever is no question gets none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.dnsserver import TXT, A, answer, read

TEXTS = {"_acme-challenge.u1.users.example": ["one", "x" * 300]}
AAAA, CAA = 28, 257


def query(name: str, kind: int, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    return struct.pack(">6H", 7, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def records(packet: bytes, question: bytes) -> list[tuple[int, bytes]]:
    """Type and data of each answer; the question comes back as it was sent."""
    id, flags, questions, count, authority, more = struct.unpack_from(">6H", packet)
    assert (id, flags & 0x8580, questions, authority, more) == (7, 0x8500, 1, 0, 0)
    at = 12 + len(question) - 12
    assert packet[12:at] == question[12:]
    found = []
    for _ in range(count):
        pointer, kind, _, ttl, size = struct.unpack_from(">HHHIH", packet, at)
        assert (pointer, ttl) == (0xC00C, 0)
        found.append((kind, packet[at + 12 : at + 12 + size]))
        at += 12 + size
    assert at == len(packet)
    return found


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("_acme-challenge.u1.users.example", TXT, [b"\3one", b"\xff" + b"x" * 255 + b"\x2d" + b"x" * 45]),
        ("_ACME-challenge.U1.users.Example", TXT, [b"\3one", b"\xff" + b"x" * 255 + b"\x2d" + b"x" * 45]),
        ("u1.users.example", TXT, []),
        ("whatever.example", A, [b"\x7f\0\0\1"]),
        ("whatever.example", AAAA, []),
        ("whatever.example", CAA, []),
    ],
)
def test_answers(name: str, kind: int, expected: list[bytes]) -> None:
    """TXT by name in any case, in strings of 255 octets; loopback for every name; nothing else."""
    asked = query(name, kind)
    reply = answer(asked, TEXTS)
    assert reply is not None
    assert records(reply, asked) == [(kind, data) for data in expected]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        query("a.example", A)[:-1],
        query("a.example", A, flags=0x8000),
        struct.pack(">6H", 7, 0, 2, 0, 0, 0) + query("a.example", A)[12:],
        struct.pack(">6H", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
    ],
)
def test_no_question(packet: bytes) -> None:
    """Cut short, an answer itself, two questions, or a pointer for a name: not answered."""
    assert answer(packet, TEXTS) is None


@given(st.binary(max_size=80))
def test_any_octets(packet: bytes) -> None:
    """Whatever comes is a question that is answered, or none: nothing is raised."""
    assert (answer(packet, TEXTS) is None) == (read(packet) is None)
