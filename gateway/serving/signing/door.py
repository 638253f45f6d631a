"""The signer's door: who may ask, one question after the other on each connection."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

from ca.signerlink import packed, peer_of, receive
from gateway.serving.signing.desk import Desk

# Seconds between two signs of life for the guardian.
_BEAT = 1.0


async def answer_all(desk: Desk, listening: socket.socket, allowed: set[int]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            if peer_of(writer.get_extra_info("socket")) in allowed:
                while (asked := await receive(reader)) is not None:
                    writer.write(packed(await desk.answer(asked)))
                    await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=listening)
    async with server:
        while True:
            desk.tally.beat(time.monotonic())
            await asyncio.sleep(_BEAT)
