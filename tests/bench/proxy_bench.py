"""The reverse proxy against Debian's nginx doing the same: client certificate verified, proxy_pass.

Run as ``python -m tests.bench.proxy_bench [--connections N] [--seconds S] [--profile]``. Both stand before
the same upstream (an nginx of its own; for uploads a few lines of Python) and carry the same certificates.
The gate under test has one core, load and upstream the other; CPU time is the kernel's count.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.tls_bench import cpu, free_port, resident, round_fresh, round_kept, write_pki
from tests.started import started

_COMMON = """
daemon off; master_process on; worker_processes 1; worker_cpu_affinity {core}; pid {dir}/{name}.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
  uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t; keepalive_requests 1000000000; client_max_body_size 0;
"""
_UPSTREAM = """
  server {{ listen 127.0.0.1:{port}; keepalive_timeout 600; root {dir};
    location / {{ default_type text/plain; return 200 "ok"; }} location /big {{ sendfile on; }} }}
}}
"""
_GATE = """
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 64; }}
  ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.pem;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
  proxy_set_header Client-Cert $ssl_client_escaped_cert; proxy_request_buffering off;
  server {{ listen 127.0.0.1:{mutual} ssl; ssl_verify_client on; ssl_client_certificate {dir}/ca.pem;
    location / {{ proxy_pass http://up; }} location /up {{ proxy_pass http://sink; }} }}
  server {{ listen 127.0.0.1:{plain} ssl; location / {{ proxy_pass http://up; }} }}
}}
"""
_BIG = 100 * 1_048_576


@dataclass(frozen=True)
class Running:
    pid: int
    mutual: int
    plain: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=600)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
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
            report(measure(Path(name), stack, options))


def measure(folder: Path, stack: ExitStack, options: Any) -> dict[str, dict[str, float]]:
    """Each gate's best round; rounds alternate between the gates, so that a busy neighbour hits both."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    write_pki(folder)
    (folder / "big").write_bytes(os.urandom(1_048_576) * (_BIG // 1_048_576))
    upstream = free_port()
    conf = (_COMMON + _UPSTREAM).format(dir=folder, core="10", name="upstream", port=upstream)
    stack.enter_context(nginx(folder, "upstream", conf, upstream))
    sink_port = stack.enter_context(python("--sink"))[1][0]
    gates = {"nginx": stack.enter_context(nginx_gate(folder, upstream, sink_port))}
    kind = "profile" if options.profile else "plain"
    pid, ports = stack.enter_context(python("--serve", str(folder), str(upstream), str(sink_port), kind))
    gates["sekisho"] = Running(pid, *ports)
    best: dict[str, dict[str, float]] = {name: {} for name in gates}
    for _, (name, gate) in itertools.product(range(options.rounds), gates.items()):
        row = {
            **round_fresh(gate.pid, gate.mutual, folder, options.connections),
            **round_kept(gate.pid, gate.plain, options.seconds),
            **named(gate, folder, 2_000),
            **{f"down_{key}": value for key, value in transfer(gate, folder, up=False).items()},
            **{f"up_{key}": value for key, value in transfer(gate, folder, up=True).items()},
        }
        for key, value in row.items():
            better = max if key.endswith("_per_s") else min
            best[name][key] = better(best[name].get(key, value), value)
    direct = latencies(socket.create_connection(("127.0.0.1", upstream)), 1_000)
    for name, gate in gates.items():
        through = latencies(tls(folder, gate.mutual), 1_000)
        best[name] |= {f"added_{key}_us": (through[key] - direct[key]) * 1e6 for key in direct}
        best[name]["kib_per_idle"] = idle(gate, folder)
    return best


def named(gate: Running, folder: Path, count: int) -> dict[str, float]:
    """CPU per request on one kept-alive connection with a certificate: here the identity is told."""
    held = tls(folder, gate.mutual)
    get(held, 50)
    before = cpu(gate.pid)
    get(held, count)
    used = cpu(gate.pid) - before
    held.close()
    return {"us_per_named_request": used / count * 1e6}


def transfer(gate: Running, folder: Path, *, up: bool) -> dict[str, float]:
    """100 MB over one connection: megabytes a second, CPU, and by how much the gate grew."""
    held, before, memory, begun = (
        tls(folder, gate.mutual),
        cpu(gate.pid),
        resident(gate.pid),
        time.monotonic(),
    )
    grown = 0.0
    if up:
        held.sendall(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % _BIG)
        piece = bytes(65_536)
        for number in range(_BIG // len(piece)):
            held.sendall(piece)
            if number % 400 == 0:
                grown = max(grown, resident(gate.pid) - memory)
        assert held.recv(4096).startswith(b"HTTP/1.1 200")
    else:
        held.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got, number = 0, 0
        while got < _BIG:
            got += len(held.recv(65_536))
            number += 1
            if number % 1_000 == 0:
                grown = max(grown, resident(gate.pid) - memory)
    took, used = time.monotonic() - begun, cpu(gate.pid) - before
    held.close()
    return {"mb_per_s": 100 / took, "cpu_ms": used * 1000, "grown_kib": grown}


def latencies(held: socket.socket, count: int) -> dict[str, float]:
    """Seconds that one request at a time takes: the middle one and the ninety-ninth of a hundred."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        get(held, 1)
        times.append(time.perf_counter() - begun)
    held.close()
    times.sort()
    return {"p50": times[count // 2], "p99": times[count * 99 // 100]}


def idle(gate: Running, folder: Path, count: int = 150) -> float:
    """KiB of resident memory that one more kept-alive connection costs."""
    before, held = resident(gate.pid), []
    for _ in range(count):
        held.append(tls(folder, gate.mutual))
        get(held[-1], 1)
    used = resident(gate.pid) - before
    for each in held:
        each.close()
    return used / count


def get(held: socket.socket, count: int) -> None:
    for _ in range(count):
        held.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok"):
            answer += held.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer


def tls(folder: Path, port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=folder / "server.pem")
    context.load_cert_chain(folder / "client.pem")
    plain = socket.create_connection(("127.0.0.1", port))
    return context.wrap_socket(plain, server_hostname="localhost")


def report(best: dict[str, dict[str, float]]) -> None:
    print(f"{'':<28}{'nginx':>12}{'sekisho':>12}{'ratio':>8}")
    for key, value in best["nginx"].items():
        ours = best["sekisho"][key]
        print(f"{key:<28}{value:>12.1f}{ours:>12.1f}{ours / value if value else 0:>8.2f}")
    print(json.dumps(best))


@contextmanager
def nginx_gate(folder: Path, upstream: int, sink_port: int) -> Iterator[Running]:
    mutual, plain = free_port(), free_port()
    conf = (_COMMON + _GATE).format(
        dir=folder, core="01", name="gate", upstream=upstream, sink=sink_port, mutual=mutual, plain=plain
    )
    with nginx(folder, "gate", conf, mutual) as pid:
        yield Running(pid, mutual, plain)


@contextmanager
def nginx(folder: Path, name: str, conf: str, port: int) -> Iterator[int]:
    path = folder / f"{name}.conf"
    path.write_text(conf)
    folder.chmod(0o755)
    with started(["nginx", "-c", str(path), "-p", str(folder)], stderr=subprocess.DEVNULL) as process:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid


@contextmanager
def python(*arguments: str) -> Iterator[tuple[int, list[int]]]:
    command = [sys.executable, "-m", "tests.bench.proxy_bench", *arguments]
    with started(command, stdout=subprocess.PIPE, text=True) as process:
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

    from ca.clock import SystemClock
    from ca.revocation import RevocationStatus
    from ca.trust import TrustAnchors
    from gateway.edge.listener import Listener
    from gateway.edge.tls import ClientCertificate, ServerCertificate
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
    certificate = ServerCertificate.from_pem(pem[: pem.index(b"-----BEGIN PRIVATE")], pem)
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
