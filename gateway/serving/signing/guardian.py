"""Whoever starts the signer again when it has ended or hangs, and does nothing else."""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from gateway.running.forking import fork
from gateway.serving.signing.tally import Tally

log = logging.getLogger("sekisho.signer")

# Seconds until a signer that has ended is started again; doubled each time it dies young.
_FIRST_WAIT, _LONGEST_WAIT, _YOUNG = 0.25, 30.0, 10.0
# Seconds without a word of the signer, after which it is stuck.
_SILENCE, _TURN = 30.0, 0.25
_HEARD = 1 << 16


def _to_standard_error(lines: bytes) -> None:
    os.write(2, lines)


class Guardian:
    """Runs ``be`` in a process of its own, again and again, until SIGTERM. One that has said nothing for
    ``silence`` seconds is killed. What it writes to standard error is handed to ``say``: it may open no log
    by itself (`confining`)."""

    def __init__(
        self,
        be: Callable[[], None],
        tally: Tally,
        silence: float = _SILENCE,
        say: Callable[[bytes], None] = _to_standard_error,
    ) -> None:
        self._be, self._tally, self._silence, self._say = be, tally, silence, say
        self._stop: list[bool] = []

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGHUP):
            # Ctrl-C goes to all of a terminal's group: whoever serves says when this ends.
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._stop.append(True))
        wait = _FIRST_WAIT
        while not self._stop:
            born = time.monotonic()
            self._tally.beat(born)
            why = self._once()
            if self._stop:
                return
            wait = min(2 * wait, _LONGEST_WAIT) if time.monotonic() - born < _YOUNG else _FIRST_WAIT
            log.error("the signer %s; again in %.2g s", why, wait)
            end = time.monotonic() + wait
            while not self._stop and time.monotonic() < end:
                time.sleep(_TURN)

    def _once(self) -> str:
        """One life of it: how it ended. Without room for a process there is none, and that passes, too."""
        try:
            said, says = os.pipe()
            try:
                pid = fork(partial(self._live, says), log)
            except OSError:
                os.close(said)
                raise
            finally:
                os.close(says)
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        code = self._watch(pid, said)
        self._hear(said)
        os.close(said)
        return f"ended with {code}"

    def _live(self, says: int) -> None:
        os.dup2(says, 2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._be()

    def _watch(self, pid: int, said: int) -> int:
        words = select.poll()
        words.register(said, select.POLLIN)
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            stuck = time.monotonic() - self._tally.last_beat > self._silence
            if self._stop or stuck:
                if stuck:
                    log.error("the signer is stuck: nothing of it for %g s; killed", self._silence)
                os.kill(pid, signal.SIGKILL)  # what it was asked for is asked again
            if any(event & select.POLLIN for _, event in words.poll(1_000 * _TURN)):
                self._hear(said)

    def _hear(self, said: int) -> None:
        """Whatever was said up to now, some lines at a time."""
        os.set_blocking(said, False)
        with suppress(BlockingIOError):
            if lines := os.read(said, _HEARD):
                self._say(lines)
