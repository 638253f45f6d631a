"""How little a gate could take, built as ours is: servers that do a part of its work and nothing else.

Run as ``python -m tests.bench.floor [kept|fresh|idle ...] [--rounds N] [--seconds S] [--connections N]``.
What a floor costs no code of ours can save; what ours costs above it, it may. Each has one core, load and
upstream the other, rounds alternate, and nginx and our builds run beside them.

*kept*: a request on a connection that is kept alive, handed on to an upstream. ``sockets``: as many bytes
are read and written by uvloop, and nothing is looked at. ``sockets, records``: decrypted and encrypted
besides, by the same calls as ours.
*fresh*: a mutual-TLS connection with one request. ``sockets``: without TLS. ``OpenSSL alone``: a handshake in
which OpenSSL judges; ``with callbacks``: two functions in Python are asked for the site and told of faults,
and do nothing else. ``ssl``: the standard library on uvloop; ``s_server``: OpenSSL's own program, in C.
*idle*: memory of a connection after its first request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL, crypto

from gateway.edge import bios
from tests.bench import builds, peers, proxy_bench, tls_bench
from tests.bench.figures import Figures
from tests.bench.peers import Behind, Running, until_open
from tests.bench.tls_bench import free_port, round_fresh, round_kept, write_pki
from tests.started import started

_NOT_A_FLOOR = "nginx"
_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n"
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 29 Nov 2026 00:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
)
Start = Callable[[Path, Behind], AbstractContextManager[Running]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=list(EXPERIMENTS), help="kept fresh idle; without: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--serve", nargs=3, metavar=("DIR", "KIND", "UPSTREAM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        folder, kind, upstream = options.serve
        serve(Path(folder), kind, int(upstream))
        return
    ours = builds.builds()
    with tempfile.TemporaryDirectory() as name:
        write_pki(Path(name))
        for what in options.what:
            print(f"\n{what}:", flush=True)
            measure(what, Path(name), ours[-1], options).report()


def measure(what: str, folder: Path, build: str, options: argparse.Namespace) -> Figures:
    """Rounds alternate between the servers. ``build``: the one of ours."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = Figures(_NOT_A_FLOOR)
    with ExitStack() as stack:
        upstream = stack.enter_context(peers.upstream(folder))
        behind = Behind(upstream, upstream)
        running = {
            title: stack.enter_context(start(folder, behind)) for title, start in servers(what, build).items()
        }
        rounds = range(1 if what == "idle" else options.rounds)
        for number, (title, gate) in itertools.product(rounds, running.items()):
            if number == 0 and what != "idle":
                _one(what, title, gate, folder, options)  # warm
            found.add(title, _one(what, title, gate, folder, options))
    return found


def _one(what: str, title: str, gate: Running, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    plainly = title == "sockets"
    if what == "kept":
        row = round_kept(gate.pid, gate.plain, options.seconds, scheme="http" if plainly else "https")
        return {"kept-alive request, CPU us": row["us_per_request"]}
    if what == "fresh":
        row = round_fresh(gate.pid, gate.mutual, folder, options.connections, plainly=plainly)
        return {"fresh connection, CPU ms": row["ms_per_connection"]}
    return {"idle connection, KiB": proxy_bench.idle(gate, folder, plainly=plainly)}


def servers(what: str, build: str) -> dict[str, Start]:
    """nginx, the floors of this experiment, and the gate itself."""
    peer = _alone if what == "fresh" else peers.nginx
    found: dict[str, Start] = {"nginx": peer} if shutil.which("nginx") else {}
    floors = {title: _floor(kind, build) for title, kind in EXPERIMENTS[what].items()}
    if what == "fresh" and shutil.which("openssl"):
        floors["s_server of OpenSSL"] = _s_server
    return {**found, **floors, f"sekisho, {build}": _ours(what, build)}


def _floor(kind: str, build: str) -> Start:
    @contextmanager
    def start(folder: Path, behind: Behind) -> Iterator[Running]:
        words = ("--serve", str(folder), kind, str(behind.upstream))
        command = [sys.executable, "-m", "tests.bench.floor", *words]
        with started(command, env=builds.environment(build), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Running(process.pid, port, port)

    return start


def _ours(what: str, build: str) -> Start:
    """The gate before an upstream; for handshakes with a handler that answers at once, as the floors do."""

    @contextmanager
    def start(folder: Path, behind: Behind) -> Iterator[Running]:
        if what == "fresh":
            with contextmanager(tls_bench.ours("uvloop", "lean", build))(folder) as (pid, mutual, plain):
                yield Running(pid, mutual, plain)
            return
        words = ("--serve", str(folder), str(behind.upstream), str(behind.sink), "plain")
        with proxy_bench.python(build, *words) as (pid, ports):
            yield Running(pid, *ports)

    return start


@contextmanager
def _alone(folder: Path, _: Behind) -> Iterator[Running]:
    """nginx that answers by itself."""
    with contextmanager(tls_bench.nginx)(folder) as (pid, mutual, plain):
        yield Running(pid, mutual, plain)


@contextmanager
def _s_server(folder: Path, _: Behind) -> Iterator[Running]:
    """One connection after the other, each answered by a page about itself."""
    port = free_port()
    (folder / "page").write_text("ok")
    given = ("-cert", "server.pem", "-key", "server.pem", "-CAfile", "ca.crt", "-Verify", "2")
    more = ("-tls1_3", "-no_ticket", "-num_tickets", "0", "-quiet", "-HTTP")
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", *given, *more]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    core = {"preexec_fn": lambda: os.sched_setaffinity(0, {0})}
    with started(command, cwd=folder, **quiet, **core) as process:
        until_open(port, "s_server")
        yield Running(process.pid, port, port)


# --- the floors ---


def serve(folder: Path, kind: str, upstream: int) -> None:
    """One of them, on the gates' core."""
    import uvloop

    os.sched_setaffinity(0, {0})
    uvloop.run(_serve(folder, kind, upstream))


async def _serve(folder: Path, kind: str, upstream: int) -> None:
    loop = asyncio.get_running_loop()
    tls: ssl.SSLContext | None = None
    factory: Callable[[], asyncio.Protocol]
    if kind.startswith("relay"):
        context = _context(folder, mutual=kind == "relay-mutual") if kind != "relay-plain" else None
        factory = lambda: _Relaying(context, upstream)  # noqa: E731
    elif kind == "answer-ssl":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "server.pem")
        tls.load_verify_locations(folder / "ca.pem")
        tls.verify_mode, tls.num_tickets = ssl.CERT_REQUIRED, 0
        factory = lambda: _Answering(None)  # noqa: E731
    else:
        context = None
        if kind != "answer-plain":
            context = _context(folder, mutual=True, callbacks=kind == "answer-callbacks")
        factory = lambda: _Answering(context)  # noqa: E731
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls, backlog=1_024)
    gc.collect()
    gc.freeze()
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


class _Floor(asyncio.Protocol):
    """Plaintext out of OpenSSL and into it, or past it where ``context`` is None."""

    __slots__ = ("_context", "_done", "_session", "_way", "transport")

    def __init__(self, context: SSL.Context | None) -> None:
        self._context, self._done = context, context is None
        self._session: SSL.Connection | None = None
        self._way: bios.Bios | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._context is not None:
            self._session = SSL.Connection(self._context, None)
            self._session.set_accept_state()
            self._way = bios.bios(self._session)

    def connection_lost(self, exc: Exception | None) -> None:
        self._session = self._way = None

    def data_received(self, data: bytes) -> None:
        way = self._way
        if way is None:
            self.came()
            return
        way.put(data)
        if not self._done:
            assert self._session is not None
            try:
                self._session.do_handshake()
            except SSL.WantReadError:
                self.send(way.take())
                return
            self._done = True
            self.send(way.take())
            way.trim()
        if way.read():
            self.came()

    def send(self, data: bytes) -> None:
        if data:
            self.transport.write(data)

    def answer(self, plainly: bytes, data: bytes) -> None:
        if self._way is None:
            self.send(plainly)
        else:
            self._way.write(data)
            self.send(self._way.take())

    def came(self) -> None:
        """A request."""
        raise NotImplementedError


class _Answering(_Floor):
    """Answers and closes."""

    __slots__ = ()

    def came(self) -> None:
        self.answer(_ANSWER, _ANSWER)
        if self._session is not None and self._way is not None:
            self._session.shutdown()
            self.send(self._way.take())
        self.transport.close()


class _Relaying(_Floor):
    """Asks an upstream of its own whatever came, and answers whatever that answered."""

    __slots__ = ("_port", "upstream")

    def __init__(self, context: SSL.Context | None, port: int) -> None:
        super().__init__(context)
        self._port, self.upstream = port, cast("_Upstream | None", None)

    def came(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.write(_REQUEST)
            return
        self.upstream = _Upstream(self)
        loop = asyncio.get_running_loop()
        made = loop.create_connection(lambda: cast(_Upstream, self.upstream), "127.0.0.1", self._port)
        _tasks.add(task := loop.create_task(made))
        task.add_done_callback(_tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.upstream is not None:
            self.upstream.transport.abort()
            self.upstream = None


class _Upstream(asyncio.Protocol):
    __slots__ = ("_for", "transport")

    def __init__(self, whom: _Relaying) -> None:
        self._for = whom

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._for.answer(data, data)


_tasks: set[asyncio.Task[Any]] = set()


def _context(folder: Path, *, mutual: bool, callbacks: bool = False) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate_file(str(folder / "server.pem"))
    context.use_privatekey_file(str(folder / "server.pem"))
    if mutual:
        context.load_verify_locations(str(folder / "ca.pem"))
        demanded = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(demanded, _note if callbacks else None)
    if callbacks:
        context.set_tlsext_servername_callback(_choose)
    return context


def _note(_: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    return bool(ok)


def _choose(connection: SSL.Connection) -> None:
    connection.get_servername()


#: By experiment: the titles of its floors, and the words that `serve` is given.
EXPERIMENTS = {
    "kept": {"sockets": "relay-plain", "sockets, records": "relay-tls"},
    "fresh": {
        "sockets": "answer-plain",
        "OpenSSL alone": "answer-alone",
        "with callbacks": "answer-callbacks",
        "ssl of Python": "answer-ssl",
    },
    "idle": {"sockets": "relay-plain", "sockets, OpenSSL": "relay-mutual"},
}

if __name__ == "__main__":
    main()
