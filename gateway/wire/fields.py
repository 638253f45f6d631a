"""The fields of a head as they came: the one way in which pages, relay and front look one up."""

from __future__ import annotations

from collections.abc import Iterable

RawHeaders = tuple[tuple[bytes, bytes], ...]


def values_of(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """The values of a field, in order, however often it is there. ``wanted`` in lower case."""
    size = len(wanted)
    return [value for name, value in headers if len(name) == size and name.lower() == wanted]
