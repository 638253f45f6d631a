"""CPU per fresh mutual-TLS connection and kept-alive throughput, both of our builds against Debian's nginx.

Run as ``python -m tests.bench.tls_bench [--connections N] [--seconds S]``. The server under test has
one core, the load the other; CPU time is the kernel's count for the server's processes. TLS 1.3,
P-256 everywhere, X25519, a chain of leaf and issuing CA, one request a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.bench import builds
from tests.bench.figures import Figures
from tests.gateway.rawtls import issue
from tests.ports import free_port
from tests.started import started

Server = Callable[[Path], Iterator[tuple[int, int, int]]]

_NGINX = """
daemon off; master_process on; worker_processes 1; worker_cpu_affinity 1; pid {dir}/pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
  uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t; keepalive_requests 1000000000;
  ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.pem;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
  server {{ listen 127.0.0.1:{mutual} ssl; ssl_verify_client on; ssl_client_certificate {dir}/ca.pem;
           location / {{ default_type text/plain; return 200 "ok"; }} }}
  server {{ listen 127.0.0.1:{plain} ssl; location / {{ default_type text/plain; return 200 "ok"; }} }}
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--serve", nargs=3, metavar=("DIR", "LOOP", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), *options.serve[1:])
        return
    chosen = {title: start for title, start in servers().items() if options.only in title}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pki(folder)
        measure(chosen, folder, options).report()


def servers() -> dict[str, Server]:
    """All that can be measured here, both of our builds with each kind of handler."""
    found: dict[str, Server] = {"nginx": nginx} if shutil.which("nginx") else {}
    for build, (title, kind) in itertools.product(builds.builds(), KINDS.items()):
        found[f"sekisho, {build}, {title}"] = ours("uvloop", kind, build)
    return found | {"sekisho, pure, bare handler on asyncio": ours("asyncio", "lean", builds.PURE)}


def measure(chosen: dict[str, Server], folder: Path, options: argparse.Namespace) -> Figures:
    """Rounds alternate between the servers: a busy neighbour hits them all."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = Figures("nginx")
    with ExitStack() as stack:
        running = {
            title: stack.enter_context(contextmanager(start)(folder)) for title, start in chosen.items()
        }
        for _, mutual, _ in running.values():
            fresh(mutual, folder, 100)
        for _, (title, (pid, mutual, plain)) in itertools.product(range(options.rounds), running.items()):
            row = round_fresh(pid, mutual, folder, options.connections)
            found.add(title, {"fresh connection, CPU ms": row["ms_per_connection"]})
            if shutil.which("wrk") and options.seconds:
                row = round_kept(pid, plain, options.seconds)
                found.add(title, {"kept-alive request, CPU us": row["us_per_request"]})
                found.add(title, {"kept-alive requests a second": row["requests_per_s"]})
        for title, (pid, _, plain) in running.items():
            found.add(title, {"idle connection, KiB": idle_memory(pid, plain, folder)})
    return found


def idle_memory(pid: int, port: int, folder: Path, count: int = 150) -> float:
    """KiB of resident memory that one more kept-alive connection costs after a request, once as many are
    there: the first ones take what a server has left over."""
    context = ssl.create_default_context(cafile=folder / "server.pem")
    held, grown = [], [resident(pid)]
    for number in range(1, 2 * count + 1):
        tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
        tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert tls.recv(4096).startswith(b"HTTP/1.1 200")
        held.append(tls)
        if number % count == 0:
            grown.append(resident(pid))
    for tls in held:
        tls.close()
    return (grown[2] - grown[1]) / count


def resident(pid: int) -> float:
    """KiB of resident memory of a process and its children."""
    text = "".join(Path(f"/proc/{each}/status").read_text() for each in (pid, *children(pid)))
    return sum(float(found) for found in re.findall(r"VmRSS:\s+(\d+) kB", text))


def round_fresh(pid: int, port: int, folder: Path, count: int, *, plainly: bool = False) -> dict[str, float]:
    before = cpu(pid)
    took = fresh(port, folder, count, plainly=plainly)
    return {"ms_per_connection": (cpu(pid) - before) / count * 1000, "connections_per_s": count / took}


def round_kept(pid: int, port: int, seconds: int, *, scheme: str = "https") -> dict[str, float]:
    before = cpu(pid)
    command = ["wrk", "-t1", "-c16", f"-d{seconds}", f"{scheme}://localhost:{port}/"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out, out
    found = re.search(r"(\d+) requests in(?:.|\n)*Requests/sec:\s+([\d.]+)", out)
    assert found is not None, out
    used = cpu(pid) - before
    return {"requests_per_s": float(found[2]), "us_per_request": used / int(found[1]) * 1e6}


def fresh(port: int, folder: Path, count: int, threads: int = 8, *, plainly: bool = False) -> float:
    """Opens `count` connections with one request each; returns the seconds it took. ``plainly``: no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "server.pem")
    context.load_cert_chain(folder / "client.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    left = iter(range(count))
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for _ in left:
                plain = socket.create_connection(("127.0.0.1", port))
                with plain if plainly else context.wrap_socket(plain, server_hostname="localhost") as tls:
                    tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    answer = b""
                    while more := tls.recv(4096):
                        answer += more
                    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")), answer
        except BaseException as error:
            faults.append(error)

    begun = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if faults:
        raise faults[0]
    return time.monotonic() - begun


def cpu(pid: int) -> float:
    """CPU seconds of a process and all below it that live (the signer is a grandchild), by the scheduler's
    own count: the other one moves by hundredths of a second."""
    total = 0
    for each in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for task in Path(f"/proc/{each}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def family(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(each for child in children(pid) for each in family(child))]


def children(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def write_pki(folder: Path) -> None:
    now = datetime.now(UTC)
    times = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=30)}
    ca = issue("CA-G4", ca=True, **times)
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "ca.crt").write_bytes(ca.pem[: ca.pem.index(b"-----BEGIN PRIVATE")])
    (folder / "client.pem").write_bytes(issue("1234567890", ca, **times).pem)
    (folder / "server.pem").write_bytes(issue("server", hosts=("localhost",), purpose=None, **times).pem)


def nginx(folder: Path) -> Iterator[tuple[int, int, int]]:
    mutual, plain = free_port(), free_port()
    conf = folder / "nginx.conf"
    conf.write_text(_NGINX.format(dir=folder, mutual=mutual, plain=plain))
    with started(["nginx", "-c", str(conf), "-p", str(folder)], stderr=subprocess.DEVNULL) as process:
        _wait(mutual)
        yield process.pid, mutual, plain


def ours(loop: str, kind: str, build: str) -> Server:
    def start(folder: Path) -> Iterator[tuple[int, int, int]]:
        command = [sys.executable, "-m", "tests.bench.tls_bench", "--serve", str(folder), loop, kind]
        with started(command, env=builds.environment(build), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            mutual, plain = map(int, process.stdout.readline().split())
            yield process.pid, mutual, plain

    return start


def serve(folder: Path, loop: str, kind: str) -> None:
    """The server under test: a REQUIRE site and a NONE site on two ports, both answering `ok`."""
    from aiohttp import web

    from ca.anchors import TrustAnchors
    from ca.clock import SystemClock
    from ca.revocation import RevocationStatus
    from gateway.edge.listener import Listener
    from gateway.edge.tls import ClientCertificate, KeyedChain
    from gateway.wire.handlers import Handlers
    from gateway.wire.reply import Reply
    from gateway.wire.sites import WebSite

    os.sched_setaffinity(0, {0})

    async def ok(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async def lean(_: web.BaseRequest) -> Reply:
        return Reply(200, _TEXT, b"ok")

    handler: object = lean if kind == "lean" else ok
    if kind == "application":
        handler = web.Application()
        handler.router.add_get("/", ok)  # type: ignore[attr-defined]

    async def run() -> None:
        pem = (folder / "server.pem").read_bytes()
        certificate = KeyedChain.from_pem(pem[: pem.index(b"-----BEGIN PRIVATE")], pem)
        anchors = TrustAnchors.of([_certificate(folder / "ca.pem")])
        common: dict[str, Any] = {"hosts": ("localhost",), "handler": handler, "certificate": certificate}
        required = ClientCertificate.REQUIRE
        listeners = [
            Listener([site], wire=Handlers(), clock=SystemClock(), status=lambda _: RevocationStatus.GOOD)
            for site in (
                WebSite(
                    name="mutual",
                    client_certificate=required,
                    anchors=anchors,
                    advertised=anchors.issuers,
                    **common,
                ),
                WebSite(name="plain", **common),
            )
        ]
        ports = [await listener.start() for listener in listeners]
        gc.collect()
        gc.freeze()
        print(*ports, flush=True)
        await asyncio.Event().wait()

    if loop == "uvloop":
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())


def _certificate(path: Path) -> object:
    from cryptography import x509

    return x509.load_pem_x509_certificates(path.read_bytes().split(b"-----BEGIN PRIVATE")[0])[0]


def _wait(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("nginx did not start")


_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

#: What answers, by the word that `serve` is given.
KINDS = {"bare handler": "lean", "a response of aiohttp's": "bare", "a site's application": "application"}

if __name__ == "__main__":
    main()
