"""Several processes on one listening socket: starts them, replaces those that die or hang, ends them all.

The socket is inherited, so that a worker's death loses no connection that waits to be accepted. Workers
end when this process does, however it ends: they hold the other end of a pipe.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol

from ca.errors import ConfigError
from ca.storage import in_log
from gateway.running.pulse import Alone, Pulse, Watch

log = logging.getLogger("sekisho.supervisor")

#: A worker: its number, and a descriptor that becomes readable when this process is gone.
Worker = Callable[[int, int], None]

_SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM})
# Seconds until a worker that died young is started again; doubled each time it does.
_FIRST_WAIT, _LONGEST_WAIT, _YOUNG = 0.5, 30.0, 10.0
# Seconds until it is tried again when there is no room for another process.
_NO_ROOM = 5.0
_TURN = 0.5
# Ends within `_YOUNG` seconds of its birth, one after the other, from which on a worker is said to fail.
_FEW = 3
# Seconds without a word from its birth on, after which a worker is killed: it takes one or two.
_STARTING = 120.0
#: Seconds without any worker until this process ends: five of them have died young by then.
NOBODY = 15.0
#: Seconds of silence after which a worker is taken to be stuck: as the unit's WatchdogSec for a gateway of
#: one process. A worker says something every second; a reload may keep it from that for some of them.
SILENCE = 30.0


class Overseer(Protocol):
    """Whoever has to know how it goes."""

    def turned(self) -> None:
        """Called twice a second, and after each signal."""

    def bearing(self, number: int) -> None:
        """Called before a worker is made."""

    def born(self, number: int) -> None:
        """Called once it is."""

    def failing(self, numbers: Mapping[int, int]) -> None:
        """Called when workers begin or cease to fail at their start: which, and how often each."""

    def ended(self, number: int) -> None:
        """Called when a worker is gone, before it is replaced."""

    def reloading(self) -> None:
        """Called when somebody asks for a reload: to look at the settings, and to tell the workers."""

    def stopping(self) -> None:
        """Called before the workers are told to."""

    def patience(self) -> float:
        """Seconds that workers have from then on, until they are killed."""


def supervise(
    count: int,
    worker: Worker,
    overseer: Overseer,
    *,
    pulse: Pulse,
    silence: float = SILENCE,
) -> None:
    """Runs ``count`` workers until SIGTERM or SIGINT; a second one ends them at once.

    ``worker`` runs in a process of its own and returns when it is told to stop. One whose ``pulse`` stands
    still for ``silence`` seconds is killed, and so replaced. ConfigError once nobody has served for
    `NOBODY` seconds: whoever started this process has to know, and visitors are not to wait on an open port.
    Call this without threads and outside any event loop.
    """
    read, write = os.pipe()
    # What is there now is shared by all workers, as long as the collector does not touch it.
    gc.collect()
    gc.freeze()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        _Workers(count, worker, overseer, read, write, pulse, silence).run()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        os.close(read)
        os.close(write)


@contextmanager
def _turns() -> Iterator[None]:
    """SIGALRM every ``_TURN`` seconds.

    Not ``sigtimedwait``: Python's returns what happens to be in memory when its time is up as this process
    goes on after a SIGSTOP or a sleep of the machine (3.11, ``signal_sigtimedwait_impl``).
    """
    signal.setitimer(signal.ITIMER_REAL, _TURN, _TURN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # The last one may be pending, and is deadly once it is not blocked any more.
        if signal.SIGALRM in signal.sigpending():
            signal.sigwait({signal.SIGALRM})


class _Workers:
    """The processes by number, and when those that are missing are due."""

    def __init__(
        self,
        count: int,
        worker: Worker,
        overseer: Overseer,
        read: int,
        write: int,
        pulse: Pulse,
        silence: float,
    ) -> None:
        self._worker, self._overseer = worker, overseer
        self._pulse = pulse
        self._watch, self._silence = Watch(pulse, silence, 2 * _TURN, _STARTING), silence
        self._read, self._write = read, write
        self._pids: dict[int, tuple[int, float]] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        self._waits: dict[int, float] = {}
        # How often each has died young, one time after the other; those of `_FEW` and more are told of.
        self._failed: Counter[int] = Counter()
        self._told: Mapping[int, int] = {}
        self._alone = Alone(NOBODY, 2 * _TURN)
        self._stop_by: float | None = None

    def run(self) -> None:
        try:
            with _turns():
                while self._stop_by is None or self._pids:
                    self._start_due()
                    self._signal(signal.sigwait(_SIGNALS))
                    self._reap()
                    self._kill_stuck()
                    self._tell_of_failing()
                    if self._stop_by is not None and time.monotonic() > self._stop_by:
                        self._tell(signal.SIGKILL)
                    self._overseer.turned()
        finally:
            # Also after an error of ours: nothing is left behind.
            self._tell(signal.SIGKILL)
            for pid, _ in self._pids.values():
                os.waitpid(pid, 0)

    def _signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._overseer.reloading()
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._stop_by is not None:
                self._stop_by = 0.0
                return
            log.info("stopping")
            self._overseer.stopping()
            self._due.clear()
            # Workers drain by themselves; this is for one that does not.
            self._stop_by = time.monotonic() + self._overseer.patience()
            self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for pid, _ in self._pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> None:
        for number, (pid, started) in list(self._pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            del self._pids[number]
            self._pulse.forget(number)
            self._overseer.ended(number)
            if self._stop_by is not None:
                continue
            young = time.monotonic() - started < _YOUNG
            self._failed[number] = self._failed[number] + 1 if young else 0
            wait = min(self._waits.get(number, _FIRST_WAIT / 2) * 2, _LONGEST_WAIT) if young else 0.0
            self._waits[number] = wait or _FIRST_WAIT / 2
            self._due[number] = time.monotonic() + wait
            log.error(
                "worker %d (process %d) ended with %d; again in %.1f s",
                number,
                pid,
                os.waitstatus_to_exitcode(status),
                wait,
            )

    def _tell_of_failing(self) -> None:
        if self._stop_by is not None:
            return
        now = time.monotonic()
        if self._alone.too_long(bool(self._pids), now):
            log.error("no worker has lived for %g s: ending, so that whoever started this knows", NOBODY)
            raise ConfigError(
                f"no worker has lived for {NOBODY:g} s; the log says why each of them ended: mend that, then "
                "sekisho serve"
            )
        for number, (_, started) in self._pids.items():
            if now - started > _YOUNG and self._pulse.last(number):
                self._failed[number] = 0
                self._alone.forget()
        failing = {number: times for number, times in self._failed.items() if times >= _FEW}
        for number in failing.keys() - self._told.keys():
            log.error(
                "worker %d cannot be started: it ended %d times within %g s of its birth; see above for why",
                number,
                failing[number],
                _YOUNG,
            )
        for number in self._told.keys() - failing.keys():
            log.warning("worker %d lives again", number)
        if failing != self._told:
            self._told = failing
            self._pulse.fail(failing)
            self._overseer.failing(failing)

    def _kill_stuck(self) -> None:
        if self._stop_by is not None:
            return  # who drains says nothing, and has an end of its own
        for number in self._watch.stuck(self._pids, time.monotonic()):
            pid, _ = self._pids[number]
            silence = self._silence if self._pulse.last(number) else _STARTING
            log.error("worker %d (process %d) is stuck: nothing of it for %g s; killed", number, pid, silence)
            # SIGTERM is for who can still listen; this also ends a process that somebody has stopped.
            os.kill(pid, signal.SIGKILL)

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, at in self._due.items() if at <= now]:
            try:
                self._overseer.bearing(number)
                pid = os.fork()
            except OSError as error:  # too many processes, or no memory: those that live go on
                self._due[number] = now + _NO_ROOM
                why = os.strerror(error.errno or 0)
                log.error("worker %d cannot be started (%s); again in %g s", number, why, _NO_ROOM)
                continue
            if pid == 0:
                self._be(number)
            self._overseer.born(number)
            del self._due[number]
            self._pids[number] = (pid, now)

    def _be(self, number: int) -> None:
        """The rest of a worker's life. Never returns."""
        code = 70
        try:
            os.close(self._write)
            # SIGHUP is for the supervisor; a whole group that gets it gets one reload.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._worker(number, self._read)
            code = 0
        except BaseException as error:
            log.error("worker %d: %s", number, in_log(error))
        finally:
            # No handlers, no clean-up of what the parent still uses.
            os._exit(code)
