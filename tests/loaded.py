"""``sekisho`` without the second of a core that every interpreter takes to load it: the tests' fork server.

A process beside the tests loads the product once, has no thread, opens nothing, and forks when a command is
asked for (`tests.started`). The copy gets the words, the environment and the descriptors that it would have
been started with, a session of its own, and whoever asked for it as its parent. The signer that a gateway
begins with is a copy of that one, in the same way.

What a copy cannot show is what the kernel keeps of a program that was started, its words and its environment
in ``/proc``, nor that it has in memory nothing of whoever started it. Tests of those start a program.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from typing import Any, NoReturn

from tests.started import Begun

#: Bytes of a question at most: words and environment.
MOST = 1 << 17
# Seconds between two looks whether the tests are still there: a copy of theirs may hold the other end open.
_TURN = 1.0
_SEKISHO = [sys.executable, "-m", "gateway.cli"]


def main(link: socket.socket) -> None:
    """Answers with the number of a copy whoever asks for one, until the other end is closed."""
    _load()
    parent = os.getppid()
    while os.getppid() == parent:
        if not select.select([link], [], [], _TURN)[0]:
            continue
        packet, fds, _, _ = socket.recv_fds(link, MOST, 3)
        if not packet:
            return
        pid = _forked()
        if pid == 0:
            _be(json.loads(packet), fds)
        link.send(b"%d" % pid)
        for each in fds:
            os.close(each)


def _load() -> None:
    import gateway.cli.answering
    import gateway.demo.sandbox
    import gateway.serving.server
    import gateway.serving.signing.process  # noqa: F401
    from gateway.cli.root import whole

    whole()
    gc.collect()
    gc.freeze()


def _forked() -> int:
    """Its number, and in the copy 0: its parent has ended by then, and it leads a session."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        os.write(write, b"%d" % os.getpid())
        return 0
    os.close(write)
    os.waitpid(between, 0)
    pid = int(os.read(read, 20))
    os.close(read)
    return pid


def _be(asked: dict[str, Any], fds: list[int]) -> NoReturn:
    """What an interpreter begins with, and then the command."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    _close_all_but(())
    _have_streams()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    subprocess.Popen = _CopyOfUs  # type: ignore[misc]
    _run(asked["words"])


def _close_all_but(kept: Iterable[int]) -> None:
    for fd in set(range(3, 1 + max(map(int, os.listdir("/proc/self/fd"))))).difference(kept):
        try:
            os.close(fd)
        except OSError:
            continue


def _have_streams() -> None:
    """Of what the descriptors are now: a terminal is written to line by line."""
    coded = {"encoding": sys.stdout.encoding, "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **coded)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", errors=sys.stdout.errors, **coded)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", **coded)  # noqa: SIM115


def _run(words: list[str]) -> NoReturn:
    """A command to its end, and what an interpreter does at its own."""
    from gateway.cli import main as sekisho

    code: Any = 70
    try:
        sys.argv = words
        sekisho()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 120
        os._exit(code)


class _CopyOfUs(Begun):
    """Another ``sekisho`` that this one starts, as long as it has no thread."""

    def begin(self, told: dict[str, Any]) -> int | None:
        if told["args"][:3] != _SEKISHO or threading.active_count() > 1:
            return None
        pid = os.fork()
        if pid == 0:
            _close_all_but(told["pass_fds"])
            _run(told["args"][2:])
        return pid


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
