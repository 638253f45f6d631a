"""Memory that goes from process to process as a descriptor: a value of any length beside a short message."""

from __future__ import annotations

import os
import stat

#: The most bytes that are taken from somebody who may send any descriptor: the largest list that is imported.
MOST_GIVEN = 1 << 27


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


def read_given(descriptor: int) -> bytes:
    """The same of a descriptor that somebody else has sent, who may be no friend: of a file, and no longer
    than `MOST_GIVEN`. ValueError says what is wrong with it."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("what came with it is no file")
    if found.st_size > MOST_GIVEN:
        raise ValueError(f"what came with it is longer than {MOST_GIVEN >> 20} MiB")
    try:
        return os.pread(descriptor, found.st_size, 0)
    except OSError as error:
        raise ValueError(f"what came with it cannot be read ({error.strerror})") from None
