"""What only the process above the workers can do: hold what is in force for those to come, and speak for all.

It looks at the data directory through a child that lives as long as the look does: this process has no
threads and no database, and whatever a look hangs at or runs into, workers are looked after meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ca.files import Snapshot
from ca.sealing import Vault
from ca.signing import Signer
from gateway.edge.headcount import Headcount
from gateway.running import rundir
from gateway.running.forking import fork
from gateway.running.memory import memory_of, read_whole, write_whole
from gateway.running.notify import notify
from gateway.serving import inforce
from gateway.serving.config import Config, read_config
from gateway.serving.deployment import Deployment, deployment_of
from gateway.serving.inforce import Look, Outcome
from gateway.serving.signing.starting import Keep

log = logging.getLogger("sekisho.overseer")

# Seconds that a look at the directory may take: it is read and made ready to serve once, on one core.
_LOOK = 60
# What a worker takes to end besides its drain: a mail server's last answer, keys being made, the log.
_SPARE = 15.0

How = Callable[[Deployment, Path | None], Look]


class Overseer:
    """See `gateway.running.supervisor.Overseer`."""

    def __init__(
        self,
        data: Path,
        vault: Vault,
        signer: Signer,
        keep: Keep,
        look: Look,
        counts: Sequence[Headcount],
        listening: Sequence[socket.socket],
    ) -> None:
        self._data, self._vault, self._signer, self._keep = data, vault, signer, keep
        self._counts, self._listening = counts, listening
        self._directory, self._workers = data / rundir.RUN, len(counts)
        # What workers are born with: what is in force, and how the last reload ended.
        self._in_force = self._last = look
        self._next_try = 0.0
        # What the workers are still to be told.
        self._untold: Look | None = None
        self._channels: dict[int, socket.socket] = {}
        self._looking: _Looking | None = None
        self._asked = False
        # Since when whatever a worker serves has to have been read; None: nobody waits for them.
        self._wanted: float | None = 0.0
        self._ready = False
        self._failing: Mapping[int, int] = {}

    # -- what the supervisor tells --

    def turned(self) -> None:
        notify("WATCHDOG=1")
        self._keep()
        self._go_on_looking()
        if self._wanted is None:
            return
        reports = rundir.reports(self._directory)
        if sum(each["read_at"] >= self._wanted for each in reports) < self._workers:
            return
        self._wanted = None
        notify("READY=1", f"STATUS={self._status()}")
        if not self._ready:
            self._ready = True
            log.info("%d workers are ready", self._workers)

    def bearing(self, number: int) -> None:
        self._hang_up(number)
        self._channels[number], self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channels[number].setblocking(False)

    def born(self, number: int) -> None:
        self._theirs.close()

    def be(self) -> tuple[Look, socket.socket]:
        """In a worker's process: what is in force, and where every later look comes."""
        for channel in self._channels.values():
            channel.close()
        return replace(self._last, files=self._in_force.files, fresh=self._in_force.fresh), self._theirs

    def ended(self, number: int) -> None:
        self._counts[number].wipe()
        self._hang_up(number)

    def failing(self, numbers: Mapping[int, int]) -> None:
        self._failing = dict(numbers)
        notify(f"STATUS={self._status()}")

    def reloading(self) -> None:
        self._asked, self._wanted = True, time.monotonic()
        if self._ready:
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
        self._go_on_looking()

    def stopping(self) -> None:
        self._wanted = None
        notify("STOPPING=1")
        if self._looking is not None:
            self._looking.kill()
            self._looking = None
        for sock in self._listening:
            # Not only closed: that would wait until the last worker has closed it too, be it a stuck one, and
            # let connections queue up that nobody accepts.
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def patience(self) -> float:
        # Theirs to say: a reload may have changed it since the start.
        drains = [each["drain"] for each in rundir.reports(self._directory)]
        return max(drains, default=self._config().limits.drain) + _SPARE

    # -- within --

    def _status(self) -> str:
        if not self._failing:
            return f"{self._workers} workers"
        named = ", ".join(str(number) for number in sorted(self._failing))
        return f"of {self._workers} workers {named} cannot be started: see the log"

    def _opened(self) -> Deployment:
        """In the child that looks: it is no worker, and keeps no port open."""
        for sock in self._listening:
            sock.close()
        return deployment_of(self._data, self._vault, self._files, signer=self._signer)

    def _config(self) -> Config:
        return read_config(self._data, self._files)

    @property
    def _files(self) -> Snapshot:
        assert self._in_force.files is not None
        return self._in_force.files

    def _hang_up(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is not None:
            channel.close()

    def _go_on_looking(self) -> None:
        """Takes what a look has come to, and begins the next one if there is a reason for it."""
        if self._untold is not None:
            self._tell_all()
        if self._looking is not None:
            look = self._looking.outcome()
            if look is None:
                return
            self._looking.close()
            self._looking = None
            self._adopt(look)
        if self._asked:
            self._asked = False
            self._begin(inforce.again, "failed")
        elif self._is_due():
            self._begin(inforce.renewed, "overdue")

    def _is_due(self) -> bool:
        return self._in_force.is_due(time.time()) and time.monotonic() > self._next_try

    def _begin(self, how: How, otherwise: Outcome) -> None:
        try:
            self._looking = _Looking(self._opened, how, self._directory, otherwise)
        except OSError as error:  # no room for another process, or no descriptor left
            why = f"nothing can be read now ({os.strerror(error.errno or 0)})"
            self._adopt(Look(time.monotonic(), otherwise, why))

    def _adopt(self, look: Look) -> None:
        """What a look has come to is told to those who live, and kept for those who are to come."""
        if look.files is not None:
            self._in_force = look
        if look.was_asked_for:
            self._last = look
        else:
            self._next_try = time.monotonic() + inforce.TRY_AGAIN
        if look.outcome == "overdue":
            log.error("%s; again in %g s", look.error, inforce.TRY_AGAIN)
            return
        if look.outcome == "done":
            logging.getLogger().setLevel(self._config().log.level.upper())
        if self._untold is not None and self._untold.files is not None and look.files is None:
            look = replace(look, files=self._untold.files, fresh=self._untold.fresh)
        self._untold = look
        self._tell_all()

    def _tell_all(self) -> None:
        """Tells the workers. Without a descriptor for it now, at the next turn."""
        assert self._untold is not None
        try:
            memory = memory_of(self._untold.to_bytes())
        except OSError:
            return
        self._untold = None
        for number, channel in list(self._channels.items()):
            try:
                socket.send_fds(channel, [b"look"], [memory])
            except OSError:
                # Dead, or so stuck that hundreds of looks wait for it: hung up on it ends, and is replaced.
                self._hang_up(number)
        os.close(memory)


class _Looking:
    """A child that looks at the directory; ``otherwise`` is the outcome if it does not come to any."""

    def __init__(
        self, deployment: Callable[[], Deployment], how: How, directory: Path, otherwise: Outcome
    ) -> None:
        self._begun, self._otherwise = time.monotonic(), otherwise
        self._memory = os.memfd_create("look")
        try:
            work = partial(_look, deployment, how, directory, self._memory)
            self._pid = fork(work, log, "the look at the directory")
        except OSError:
            os.close(self._memory)
            raise

    def outcome(self) -> Look | None:
        """None until the child has ended."""
        ended, status = os.waitpid(self._pid, os.WNOHANG)
        if not ended:
            return None
        told = read_whole(self._memory)
        if status == 0 and told:
            return Look.from_bytes(told)
        code = os.waitstatus_to_exitcode(status)
        why = f"took longer than {_LOOK} s" if code == -signal.SIGALRM else f"ended with {code}: see the log"
        return Look(self._begun, self._otherwise, f"the look at the data directory {why}")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def close(self) -> None:
        os.close(self._memory)


def _look(deployment: Callable[[], Deployment], how: How, directory: Path, memory: int) -> None:
    # The default of SIGALRM is death, and that is what it is for here.
    signal.alarm(_LOOK)
    write_whole(memory, asyncio.run(_looked(deployment, how, directory)).to_bytes())


async def _looked(deployment: Callable[[], Deployment], how: How, directory: Path) -> Look:
    opened = deployment()
    try:
        return how(opened, directory)
    finally:
        await opened.close()
