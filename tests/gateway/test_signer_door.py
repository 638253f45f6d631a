"""The signer's socket, and whoever keeps it there, in the hands of somebody who may connect to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from ca.signerlink import packed
from ca.signing import ToSign
from gateway.serving.signing import door
from tests.gateway.test_signer import Scene, linked, scene

__all__ = ["scene"]
QUESTION = packed({"ask": "status"})
BEGUN = [b"", QUESTION[:1], QUESTION[:4], QUESTION[:-1], (100_000).to_bytes(4, "big") + b"[" * 50_000]


async def _connected(scene: Scene) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # Its directory is short enough here.
    return await asyncio.open_unix_connection(scene.data / "run/signer.sock")


@pytest.mark.parametrize("begun", BEGUN, ids=["nothing", "an octet", "a length", "all but one", "half"])
async def test_who_stays_silent_keeps_nobody_out(scene: Scene, begun: bytes) -> None:
    """More connections than there are places, each with nothing or half a question: the oldest make room, and
    whoever asks in earnest is answered."""
    reservation = await scene.reserved(scene.planned())
    asked = ToSign(reservation.issuer_id, "certificate", reservation.tbs, reservation.serial)
    async with linked(scene) as signer:
        held = [await _connected(scene) for _ in range(door.MOST + 32)]
        for _, writer in held:
            with suppress(ConnectionError):
                writer.write(begun)
        for _ in range(3):
            assert await signer.sign(asked)
        assert [reader.at_eof() for reader, _ in held[-16:]].count(True) == 0
        with suppress(ConnectionError):
            assert await asyncio.wait_for(held[0][0].read(), 60) == b""
        for _, writer in held:
            writer.close()


async def test_half_a_question_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first octet on it has some seconds; between questions a connection may rest."""
    monkeypatch.setattr("ca.signerlink._SOON", 0.2)
    async with linked(scene):
        for begun in BEGUN[1:]:
            reader, writer = await _connected(scene)
            writer.write(begun)
            assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()
        reader, writer = await _connected(scene)
        await asyncio.sleep(0)
        for _ in range(2):
            writer.write(QUESTION)
            assert await asyncio.wait_for(reader.readexactly(4), 60)
            await reader.read(1 << 16)
        writer.close()


async def test_who_reads_no_answers_holds_nothing_up(scene: Scene) -> None:
    """A thousand questions at once, and not one answer taken: others are answered meanwhile."""
    async with linked(scene) as signer:
        link = socket.socket(socket.AF_UNIX)
        link.setblocking(False)
        link.connect(str(scene.data / "run/signer.sock"))
        with suppress(BlockingIOError):
            for _ in range(2_000):
                link.send(QUESTION)
        for _ in range(5):
            assert "stopped" in await asyncio.to_thread(signer.ask_now, {"ask": "status"})
        link.close()


async def test_descriptors_that_come_along_are_not_taken(scene: Scene) -> None:
    """Hundreds of them beside a question, which is answered; none stays open here."""
    async with linked(scene):
        with socket.socket(socket.AF_UNIX) as link:
            link.setblocking(False)
            link.connect(str(scene.data / "run/signer.sock"))
            before = len(os.listdir("/proc/self/fd"))
            socket.send_fds(link, [QUESTION], [0] * 200)
            found = b""
            while not found.endswith(b"}"):
                found += await asyncio.get_running_loop().sock_recv(link, 4_096)
            assert b'"stopped":false' in found
            assert len(os.listdir("/proc/self/fd")) < before + 20


def test_a_guardian_without_room_tries_again() -> None:
    """No descriptor or no process more: it stays, says so, and starts the signer when there is room again.
    Whoever has the same user could else end it by taking all of them."""
    program = """
import resource, time
from gateway.serving.signing.guardian import Guardian
from gateway.serving.signing.tally import Tally

tally = Tally()
guardian = Guardian(lambda: None, tally)
tally.beat(time.monotonic())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
refused = guardian._once()
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(refused, guardian._once(), sep="; ")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "cannot be started (Too many open files); ended with 0\n", done.stderr
