"""Memory that goes from process to process as a descriptor: a value of any length beside a short message."""

from __future__ import annotations

import os


def memory_of(content: bytes) -> int:
    """A descriptor of memory with this content, to be closed by whoever asked."""
    memory = os.memfd_create("value")
    write_whole(memory, content)
    return memory


def write_whole(memory: int, content: bytes) -> None:
    """Writes all of a content, from the beginning."""
    at = 0
    while at < len(content):
        at += os.pwrite(memory, content[at:], at)


def read_whole(memory: int) -> bytes:
    """What another process wrote into memory that is shared with it."""
    return os.pread(memory, os.fstat(memory).st_size, 0)
