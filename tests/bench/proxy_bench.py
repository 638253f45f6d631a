"""The reverse proxy, pure and compiled, against other people's doing the same: client certificate verified,
every request handed on.

Run as ``python -m tests.bench.proxy_bench [--connections N] [--seconds S] [--rounds N] [--only NAME ...]``.
All stand before the same upstream (an nginx of its own; for uploads a few lines of Python) and carry the same
certificates. The gate under test has one core, load and upstream the other; CPU time is the kernel's count.
``--profile`` shows where our kept-alive path spends its time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench import builds, peers
from tests.bench.figures import Figures
from tests.bench.peers import Behind, Running
from tests.bench.tls_bench import cpu, resident, round_fresh, round_kept, write_pki
from tests.started import started

_BIG = 100 * 1_048_576


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="nginx HAProxy Caddy Apache pure compiled")
    parser.add_argument("--profile", action="store_true", help="print where the kept-alive path spends")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        with suppress(KeyboardInterrupt):
            asyncio.run(sink())
    elif options.serve:
        serve(Path(options.serve[0]), int(options.serve[1]), int(options.serve[2]), options.serve[3])
    else:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            measure(Path(name), stack, options).report()


def measure(folder: Path, stack: ExitStack, options: Any) -> Figures:
    """Rounds alternate between the gates, so that a busy neighbour hits all of them."""
    gates = _gates(folder, stack, options)
    direct = stack.enter_context(socket.create_connection(("127.0.0.1", gates.pop("direct").plain)))
    found = Figures("nginx")
    for gate in gates.values():
        round_fresh(gate.pid, gate.mutual, folder, 50)  # warm
    for _, (name, gate) in itertools.product(range(options.rounds), gates.items()):
        through, straight = tls(folder, gate.mutual), latencies(direct, 300)
        added = {
            f"added latency {key}, us": (value - straight[key]) * 1e6
            for key, value in latencies(through, 300).items()
        }
        through.close()
        fresh, kept = (
            round_fresh(gate.pid, gate.mutual, folder, options.connections),
            round_kept(gate.pid, gate.plain, options.seconds),
        )
        found.add(
            name,
            {
                "fresh connection, CPU ms": fresh["ms_per_connection"],
                "kept-alive request, CPU us": kept["us_per_request"],
                "kept-alive requests a second": kept["requests_per_s"],
                "request with a certificate, CPU us": named(gate, folder, 1_000),
                **added,
                "100 MB down, MB a second": transfer(gate, folder, up=False),
                "100 MB up, MB a second": transfer(gate, folder, up=True),
            },
        )
    for name, gate in gates.items():
        found.add(name, {"idle connection, KiB": idle(gate, folder)})
    return found


def _gates(folder: Path, stack: ExitStack, options: Any) -> dict[str, Running]:
    """All that can be measured here, and the upstream itself as ``direct``."""
    ours = builds.builds()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    write_pki(folder)
    (folder / "big").write_bytes(os.urandom(1_048_576) * (_BIG // 1_048_576))
    upstream = stack.enter_context(peers.upstream(folder))
    behind = Behind(upstream, stack.enter_context(python(builds.PURE, "--sink"))[1][0])

    def asked(name: str) -> bool:
        return not options.only or name in options.only

    gates = {
        name: stack.enter_context(gate(folder, behind)) for name, gate in peers.here().items() if asked(name)
    }
    for build in filter(asked, ours):
        kind = "profile" if options.profile else "plain"
        words = ("--serve", str(folder), str(behind.upstream), str(behind.sink), kind)
        pid, ports = stack.enter_context(python(build, *words))
        gates[f"sekisho, {build}"] = Running(pid, *ports)
    return {**gates, "direct": Running(0, 0, upstream)}


def named(gate: Running, folder: Path, count: int) -> float:
    """CPU per request on one kept-alive connection with a certificate: here the identity is told."""
    held = tls(folder, gate.mutual)
    get(held, 50)
    before = cpu(gate.pid)
    get(held, count)
    used = cpu(gate.pid) - before
    held.close()
    return used / count * 1e6


def transfer(gate: Running, folder: Path, *, up: bool) -> float:
    """100 MB over one connection: megabytes a second."""
    held, begun = tls(folder, gate.mutual), time.monotonic()
    if up:
        held.sendall(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % _BIG)
        piece = bytes(65_536)
        for _ in range(_BIG // len(piece)):
            held.sendall(piece)
        assert held.recv(4096).startswith(b"HTTP/1.1 200")
    else:
        held.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = 0
        while got < _BIG:
            got += len(held.recv(65_536))
    took = time.monotonic() - begun
    held.close()
    return 100 / took


def latencies(held: socket.socket, count: int) -> dict[str, float]:
    """Seconds that one request at a time takes: the middle one and the ninety-ninth of a hundred."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        get(held, 1)
        times.append(time.perf_counter() - begun)
    times.sort()
    return {"p50": times[count // 2], "p99": times[count * 99 // 100]}


def idle(gate: Running, folder: Path, count: int = 90, *, plainly: bool = False) -> float:
    """KiB of resident memory that one more kept-alive connection costs, once as many are there: the first
    ones take what a server has left over. (Ours takes 200 of one certificate.) ``plainly``: without TLS."""
    held = list[socket.socket]()
    grown = [resident(gate.pid)]
    for _ in range(2):
        for _ in range(count):
            held.append(
                socket.create_connection(("127.0.0.1", gate.mutual)) if plainly else tls(folder, gate.mutual)
            )
            get(held[-1], 1)
        grown.append(resident(gate.pid))
    for each in held:
        each.close()
    return (grown[2] - grown[1]) / count


def get(held: socket.socket, count: int) -> None:
    for _ in range(count):
        held.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok"):
            more = held.recv(4096)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 200"), answer


def tls(folder: Path, port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=folder / "server.pem")
    context.load_cert_chain(folder / "client.pem")
    plain = socket.create_connection(("127.0.0.1", port))
    return context.wrap_socket(plain, server_hostname="localhost")


@contextmanager
def python(build: str, *arguments: str) -> Iterator[tuple[int, list[int]]]:
    """This module in a process of its own, on one of our builds."""
    command = [sys.executable, "-m", "tests.bench.proxy_bench", *arguments]
    with started(command, env=builds.environment(build), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, [int(each) for each in process.stdout.readline().split()]
        process.send_signal(signal.SIGINT)
        if rest := process.stdout.read():
            print(re.sub(r"(?m)^", "  ", rest))


async def sink() -> None:
    """An upstream that reads a body and then answers."""

    class Sink(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.left, self.head = transport, 0, b""

        def data_received(self, data: bytes) -> None:
            if not self.left:
                head, _, data = (self.head + data).partition(b"\r\n\r\n")
                self.left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.left -= len(data)
            if not self.left:
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def serve(folder: Path, upstream: int, sink_port: int, kind: str) -> None:
    """The gate under test: a REQUIRE site and a NONE site on two ports, both handed on."""
    import cProfile
    import pstats

    import uvloop

    os.sched_setaffinity(0, {0})
    if kind == "profile":
        profile = cProfile.Profile()
        try:
            profile.runcall(uvloop.run, _serve(folder, upstream, sink_port))
        except KeyboardInterrupt:
            pass
        finally:
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    else:
        with suppress(KeyboardInterrupt):
            uvloop.run(_serve(folder, upstream, sink_port))


async def _serve(folder: Path, upstream: int, sink_port: int) -> None:
    from cryptography import x509

    from ca.anchors import TrustAnchors
    from ca.clock import SystemClock
    from ca.revocation import RevocationStatus
    from gateway.edge.listener import Listener
    from gateway.edge.tls import ClientCertificate, KeyedChain
    from gateway.proxy.identity import Identity, KeySet, rotated
    from gateway.proxy.relay import Proxied, Relay, explained
    from gateway.proxy.rules import rules_of
    from gateway.proxy.upstream import Pool, Upstream, parse_addresses
    from gateway.wire.handlers import Handlers
    from gateway.wire.request import Request
    from gateway.wire.sites import WebSite

    clock = SystemClock()
    identity = Identity(rotated(KeySet(()), clock.seconds()), "https://localhost", "https://localhost")
    pools = [Pool(Upstream(parse_addresses([f"http://127.0.0.1:{port}"]))) for port in (upstream, sink_port)]
    for pool in pools:
        await pool.start()
    rules = rules_of({"/public": "public"}, "certificate")
    named, sunk = (Relay(Proxied(pool, identity, rules), now=clock.seconds) for pool in pools)
    open_to_all = Relay(Proxied(pools[0], identity, rules_of({}, "public")), now=clock.seconds)

    class Either:
        def claims(self, target: str) -> bool:
            return True

        def begin(self, request: Request) -> None:
            (sunk if request.target == "/up" else named).begin(request)

    pem = (folder / "server.pem").read_bytes()
    certificate = KeyedChain.from_pem(pem[: pem.index(b"-----BEGIN PRIVATE")], pem)
    ca = (folder / "ca.pem").read_bytes().split(b"-----BEGIN PRIVATE")[0]
    anchors = TrustAnchors.of(x509.load_pem_x509_certificates(ca))
    common: Any = {"hosts": ("localhost",), "handler": explained(), "certificate": certificate}
    sites = (
        WebSite(
            name="mutual", relay=Either(), client_certificate=ClientCertificate.REQUIRE, anchors=anchors,
            advertised=anchors.issuers, **common,
        ),
        WebSite(name="plain", relay=open_to_all, **common),
    )  # fmt: skip
    listeners = [
        Listener([site], wire=Handlers(), clock=clock, status=lambda _: RevocationStatus.GOOD)
        for site in sites
    ]
    ports = [await listener.start() for listener in listeners]
    gc.collect()
    gc.freeze()
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
