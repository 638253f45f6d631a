"""The signer's door: who may ask, one question after the other on each connection."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from ca.signerlink import packed, peer_of, receive
from gateway.serving.signing.desk import Desk

# Seconds between two signs of life for the guardian.
_BEAT = 1.0
#: Connections at once. One more, and that which has been silent for longest is ended: whoever it was asks on
#: another one.
MOST = 128


async def answer_all(
    desk: Desk, listening: socket.socket, allowed: set[int], opened: Callable[[], None] = lambda: None
) -> None:
    """Answers whoever asks, for good. ``allowed``: users of this machine; ``opened`` is called when all is
    open that ever will be."""
    # Whose turn was longest ago comes first.
    present: dict[asyncio.StreamWriter, None] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            if peer_of(writer.get_extra_info("socket")) in allowed:
                _admit(present, writer)
                while (asked := await receive(reader)) is not None:
                    writer.write(packed(await desk.answer(asked)))
                    await writer.drain()
                    if writer not in present:
                        break
                    present[writer] = present.pop(writer)
        present.pop(writer, None)
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=listening)
    async with server:
        opened()
        while True:
            desk.tally.beat(time.monotonic())
            await asyncio.sleep(_BEAT)


def _admit(present: dict[asyncio.StreamWriter, None], writer: asyncio.StreamWriter) -> None:
    if len(present) >= MOST:
        oldest = next(iter(present))
        del present[oldest]
        oldest.close()
    present[writer] = None
