"""The little of DER (X.690) that is written by hand: elements, and where one ends."""

from __future__ import annotations

SEQUENCE, BIT_STRING, UTF8_STRING = 0x30, 0x03, 0x0C


def tlv(tag: int, *content: bytes) -> bytes:
    """An element: tag, length, content."""
    whole = b"".join(content)
    return header(tag, len(whole)) + whole


def header(tag: int, size: int) -> bytes:
    """What stands before ``size`` octets of content."""
    if size < 0x80:
        return bytes((tag, size))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def span(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at an offset begins and ends. For what we have written ourselves."""
    size, begin = data[at + 1], at + 2
    if size >= 0x80:
        octets = size & 0x7F
        size, begin = int.from_bytes(data[begin : begin + octets], "big"), begin + octets
    return begin, begin + size
