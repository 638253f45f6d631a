"""What of the configuration the signer signs by: as it read it itself, at the start and when a reload asks.

Never out of a question: whoever asks may be owned. It is kept in memory that outlives a signer which was
killed, so that its successor signs by the same, whatever stands in the file by then.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ca.files import Snapshot
from gateway.serving.config import FILE_NAME, Config, parse_config, read_config

_LENGTH = struct.Struct(">I")


class Accepted:
    """Made by the guardian, before there is a signer. ConfigError for a file that is none."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._memory = os.memfd_create("accepted")
        self.again()

    def again(self) -> Config:
        """Reads the file anew. ConfigError, and what was accepted stays."""
        files = Snapshot()
        config = read_config(self._data, files)
        content = files.read(self._data / FILE_NAME, "configuration")
        # One write, and nothing that a confined process may not ask for (`confining`).
        os.pwrite(self._memory, _LENGTH.pack(len(content)) + content, 0)
        return config

    def config(self) -> Config:
        """What was read last, by this process or the one before it."""
        (length,) = _LENGTH.unpack(os.pread(self._memory, _LENGTH.size, 0))
        return parse_config(os.pread(self._memory, length, _LENGTH.size).decode())
