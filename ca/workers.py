"""Work that takes tens of milliseconds and more of a core, kept away from the event loop.

Measured (see README.md): all of it releases the interpreter lock, the PKCS#12 derivation only where OpenSSL's
own can be had. What nobody waits for is made in niced processes, so that pages and logins go first.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection, Pipe
from multiprocessing.context import SpawnProcess
from traceback import format_exc
from typing import Any, ParamSpec, TypeVar

from ca.keys import generate_pkcs8, takes_long

P = ParamSpec("P")
T = TypeVar("T")

#: Bulk work yields to the event loop and to logins: a pick-up may take a little longer, nobody else does.
NICENESS = 10
_ATTEMPTS = 3
# What a process is started with is the whole program's for a moment.
_STARTING = threading.Lock()
_Work = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Workers:
    """Two lanes: `run` in up to `processes` niced processes, `run_in_thread` for what frees the lock.

    Nothing is started before it is needed. A worker that dies (the kernel's out-of-memory killer, an
    operator) costs its work a second attempt, not an error. Close it when done.
    """

    def __init__(self, processes: int = 2, threads: int = 2, niceness: int = NICENESS) -> None:
        self._processes = processes
        self._niceness = niceness
        self._threads = threads
        self._process_pool: ThreadPoolExecutor | None = None
        self._idle: list[_Worker] = []
        self._thread_pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._in_threads = 0

    @property
    def waiting(self) -> int:
        """How much of what was given to `run_in_thread` has not begun."""
        return max(0, self._in_threads - self._threads)

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(*args)` in another process. `fn` is a module's function; it and its values are pickled.

        `fn` may run twice if a worker dies under it, so it must be pure.
        """
        if self._closed:
            raise RuntimeError("the workers are closed")
        if self._process_pool is None:
            # A thread for each process, to speak with it.
            self._process_pool = ThreadPoolExecutor(self._processes, thread_name_prefix="ca-process")
        work = (fn, args, kwargs)
        loop = asyncio.get_running_loop()
        done: T = await loop.run_in_executor(self._process_pool, lambda: self._done_elsewhere(work))
        return done

    async def run_in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(*args)` in a thread: for argon2id and other native work that a person waits for."""
        if self._closed:
            raise RuntimeError("the workers are closed")
        if self._thread_pool is None:
            self._thread_pool = ThreadPoolExecutor(self._threads, thread_name_prefix="ca-worker")
        loop = asyncio.get_running_loop()
        self._in_threads += 1
        try:
            return await loop.run_in_executor(self._thread_pool, lambda: fn(*args, **kwargs))
        finally:
            self._in_threads -= 1

    def close(self) -> None:
        """Waits for running work, drops waiting work and ends the processes."""
        self._closed = True
        if self._process_pool is not None:
            self._process_pool.shutdown(wait=True, cancel_futures=True)
            self._process_pool = None
        while self._idle:
            self._idle.pop().end()
        if self._thread_pool is not None:
            self._thread_pool.shutdown(wait=True, cancel_futures=True)
            self._thread_pool = None

    def _done_elsewhere(self, work: _Work) -> Any:
        for _ in range(_ATTEMPTS):
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = _Worker(self._niceness)
            try:
                succeeded, value = worker.do(work)
            except (EOFError, OSError):
                worker.end()
                continue
            except BaseException:
                self._idle.append(worker)  # a value that cannot be pickled: it was never told
                raise
            self._idle.append(worker)
            if succeeded:
                return value
            raise value
        raise RuntimeError(f"{_ATTEMPTS} processes have died of the same work")


class _Worker:
    """A process that does one thing after another, as it is told over a pipe.

    Not Python's own pool, whose queues have semaphores with names: whoever is killed with all processes
    leaves those in /dev/shm.
    """

    def __init__(self, niceness: int) -> None:
        self._pipe, theirs = Pipe()
        # Not fork: the parent has threads and open database connections.
        self._process = _Process(target=_serve, args=(theirs, niceness), daemon=True)
        with theirs, _STARTING:
            self._process.start()

    def do(self, work: _Work) -> tuple[bool, Any]:
        """Whether it succeeded, and its value or exception. EOFError, OSError: the process has ended."""
        self._pipe.send(work)
        found: tuple[bool, Any] = self._pipe.recv()
        return found

    def end(self) -> None:
        """Once it has done what it does."""
        self._pipe.close()
        self._process.join()


class _Process(SpawnProcess):
    """Imports only what its work needs. Python would run the command's own file again first, in case that the
    work stands there: of ``sekisho`` that is all of the gateway, a second of a core and its memory."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        command = sys.modules["__main__"]
        spec = command.__spec__
        # What has such a name is not run again (multiprocessing.spawn).
        command.__spec__ = ModuleSpec("ca.__main__", None)
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            command.__spec__ = spec


class KeyStock:
    """A few RSA keys made in advance, in memory only, so that a pick-up does not wait for one.

    `take` never fails: with nothing in stock it makes a key there and then. Refilling runs behind
    the caller, one key at a time, in the niced processes. Keys of a curve are made at once (20 microseconds):
    none lies ready, and no process is started for them.
    """

    def __init__(self, workers: Workers, kind: str = "rsa-2048", size: int = 8) -> None:
        self._workers = workers
        self._kind = kind
        self._size = size
        self._stock: deque[bytes] = deque()
        self._refill: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """How many keys are to lie ready, where it takes long to make one."""
        return self._size

    @property
    def level(self) -> int:
        """How many keys lie ready."""
        return len(self._stock)

    async def take(self, kinds: Sequence[str] = ()) -> bytes:
        """A fresh key, PKCS#8 DER, that nobody else gets. ``kinds``: what it may be, where that is not all
        the same; of the first of them where what is in stock is none of them."""
        if kinds and self._kind not in kinds:
            return await self._made(kinds[0])
        key = self._stock.popleft() if self._stock else None
        self.refill()
        return key if key is not None else await self._made(self._kind)

    def refill(self) -> None:
        """Starts filling up to the size, unless that is under way. Call it once after the start."""
        if takes_long(self._kind) and (self._refill is None or self._refill.done()):
            self._refill = asyncio.get_running_loop().create_task(self._fill())

    async def close(self) -> None:
        """Stops refilling and forgets the keys."""
        self._size = 0
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        self._stock.clear()

    async def _fill(self) -> None:
        while len(self._stock) < self._size:
            self._stock.append(await self._made(self._kind))

    async def _made(self, kind: str) -> bytes:
        return await self._workers.run(generate_pkcs8, kind) if takes_long(kind) else generate_pkcs8(kind)


def _serve(pipe: Connection, niceness: int) -> None:
    """Does what it is told until the pipe is closed."""
    # Ctrl-C at a terminal goes to the whole group; the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            answer = _answered(pipe.recv_bytes())
            pipe.send_bytes(answer)


def _answered(told: bytes) -> bytes:
    try:
        fn, args, kwargs = pickle.loads(told)  # noqa: S301 - of the parent, over a pipe that nobody else has
        return pickle.dumps((True, fn(*args, **kwargs)))
    except Exception as error:
        error.add_note(format_exc())
        try:
            return pickle.dumps((False, error))
        except Exception:
            return pickle.dumps((False, RuntimeError(format_exc())))


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone (kill -9), so that no orphan keeps memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
