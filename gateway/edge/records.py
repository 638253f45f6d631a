"""Where the TLS records in a stream end: so that OpenSSL is asked for plaintext only when there is some."""

from __future__ import annotations

from typing import final


@final
class Records:
    """Of one connection (RFC 8446 5.1: the last two of five octets are the length)."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header, self._left = b"", 0

    def ended_in(self, data: bytes) -> int:
        """How many records end in the next bytes."""
        size = len(data)
        if not self._left and not self._header and size > 5 and 5 + (data[3] << 8 | data[4]) == size:
            return 1  # as most clients send them
        at = ended = 0
        while at < size:
            if not self._left:
                piece = data[at : at + 5 - len(self._header)]
                self._header, at = self._header + piece, at + len(piece)
                if len(self._header) < 5:
                    break
                self._left, self._header = int.from_bytes(self._header[3:], "big"), b""
            step = min(self._left, size - at)
            self._left, at = self._left - step, at + step
            if not self._left:
                ended += 1
        return ended
