"""A PostgreSQL server for tests, and databases in it, each made from one template that has the tables.

One cluster for each process of tests, on a socket of its own, which ends with it. Nothing of it is to survive
a power cut, so it does not wait for its disk.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, STDOUT, run
from typing import Any, TypeVar

import asyncpg
import pytest

from ca import postgresql
from gateway.serving.deployment import SCHEMAS
from tests.started import started

T = TypeVar("T")

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NEEDED = pytest.mark.skipif(not _PROGRAMS, reason="PostgreSQL is not installed: apt install postgresql")

_PATIENCE = 60.0


@dataclass(frozen=True)
class Cluster:
    """A server's directory, which is also where its socket is."""

    folder: Path

    def url(self, name: str, port: int = 5432) -> str:
        at = f"&port={port}" if port != 5432 else ""
        return f"postgresql://postgres@/{name}?host={self.folder}{at}"

    @contextmanager
    def running(self, *settings: str, durable: bool = False, port: int = 5432) -> Iterator[int]:
        """The server, until the end of the block; its process. ``durable``: it waits for its disk.
        ``settings``: more of them, as name=value."""
        command = [
            *(*_as_postgres(), _PROGRAMS[-1] / "postgres", "-D", self.folder / "data", "-k", self.folder),
            *("-c", "listen_addresses=", "-c", "max_connections=200"),
            # In its own directory: a server that is killed leaves what it has in the machine's memory.
            *("-c", "dynamic_shared_memory_type=mmap"),
            *("-c", f"fsync={'on' if durable else 'off'}", "-c", f"port={port}"),
            *(word for each in settings for word in ("-c", each)),
        ]
        with (
            open(self.folder / "log", "ab") as log,
            started(command, stdin=DEVNULL, stdout=log, stderr=STDOUT, cwd="/") as server,
        ):
            ends = time.monotonic() + _PATIENCE
            while True:
                try:
                    _wait(_asked(self.url("postgres", port), "SELECT 1"))
                    break
                except (OSError, asyncpg.PostgresError):
                    if time.monotonic() > ends or server.poll() is not None:
                        raise
                    time.sleep(0.05)
            try:
                yield server.pid
            finally:
                # As in a crash, but at an end: a server that is killed leaves some that are not done yet.
                stop = [
                    *_as_postgres(),
                    _PROGRAMS[-1] / "pg_ctl",
                    "-D",
                    self.folder / "data",
                    "-m",
                    "immediate",
                ]
                run([*stop, "stop", "-w"], stdout=DEVNULL, stderr=DEVNULL, cwd="/")


def made(folder: Path) -> Cluster:
    """A new cluster in an empty directory, which is given to the user that the server runs as."""
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    initdb = [*_as_postgres(), _PROGRAMS[-1] / "initdb", "-D", folder / "data", "-U", "postgres"]
    run(
        [*initdb, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], check=True, stdout=DEVNULL, cwd="/"
    )
    return Cluster(folder)


@contextmanager
def temporary() -> Iterator[Cluster]:
    """A new cluster where every user may look into the directories above."""
    folder = Path(tempfile.mkdtemp(prefix="sekisho-postgresql-", dir="/tmp"))
    try:
        yield made(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def url_of(path: Path) -> str:
    """The address of the database that stands for a file; made if it is not there."""
    cluster, name = _shared(), _name_of(path)
    _make(cluster, name, _template())
    return cluster.url(name)


def copied(path: Path, to: Path) -> str:
    """The address of a copy of a database, to which nobody is connected; it stands for another file."""
    url_of(path)
    cluster, name = _shared(), _name_of(to)
    _make(cluster, name, _name_of(path))
    return cluster.url(name)


def _name_of(path: Path) -> str:
    return "t" + hashlib.sha256(str(path).encode()).hexdigest()[:16]


_given: list[Cluster] = []


def shared_from_now_on(cluster: Cluster) -> None:
    """Databases are made in this one, which somebody else has started and ends."""
    _given.append(cluster)


@cache
def _shared() -> Cluster:
    if _given:
        return _given[-1]
    kept = ExitStack()
    cluster = kept.enter_context(temporary())
    kept.enter_context(cluster.running())
    # Only now: what was registered last, such as the end of what started it, is called first.
    atexit.register(kept.close)
    return cluster


@cache
def _template() -> str:
    cluster, name = _shared(), "made"
    _make(cluster, name, "template0")
    postgresql.Database(cluster.url(name), Path(), SCHEMAS).close()
    return name


def _make(cluster: Cluster, name: str, template: str) -> None:
    found = _wait(_asked(cluster.url("postgres"), "SELECT 1 FROM pg_database WHERE datname = $1", name))
    if not found:
        _wait(_asked(cluster.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))


async def _asked(url: str, statement: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=_PATIENCE)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wherever it is asked for, be it on an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _as_postgres() -> list[str]:
    """The server refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
