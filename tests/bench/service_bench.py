"""A proxied request in a gateway as it is run, with its register, sessions and log: what each proof costs.

Run as ``python -m tests.bench.service_bench [--requests N] [--rounds N]``. One kept-alive connection with a
certificate asks an nginx behind the gate, by a path that is public, one that needs the certificate and one
that needs the login; Debian's nginx, asked for the certificate alone, is measured in the same run, and so are
both of our builds. The gates have one core, load and upstream the other; CPU time is the kernel's count for
their processes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateway.serving.config import FILE_NAME
from gateway.sites.service.apart import form_token
from tests.bench import builds, peers
from tests.bench.figures import Figures
from tests.bench.proxy_bench import tls
from tests.bench.tls_bench import cpu, write_pki
from tests.cli.processes import change, pem_of, process, until
from tests.cli.processes import tls as tls_to
from tests.ports import free_port

_HOST = "service.localhost"
_PATHS = {"public": "/free", "certificate": "/api", "login": "/app"}


@dataclass(frozen=True)
class Asked:
    """A gate, and one kept-alive connection to it."""

    pid: int
    held: ssl.SSLSocket
    request: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ours = builds.builds()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = Figures("nginx")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        asked = gates(Path(name), ours, stack)
        print("the gates stand", flush=True)
        for _ in range(options.rounds):
            for kind, one in asked.items():
                ask(one, 200)
                found.add(kind, {"one request at a time, CPU us": spent_by(one, options.requests)})
    found.report()


def gates(place: Path, ours: Sequence[str], stack: ExitStack) -> dict[str, Asked]:
    """nginx, and each of our builds once for each kind of path."""
    write_pki(place)
    behind = stack.enter_context(peers.upstream(place))
    peer = stack.enter_context(peers.nginx(place, peers.Behind(behind, behind)))
    found = {"nginx": Asked(peer.pid, tls(place, peer.mutual), _get("localhost", "/"))}
    for build in ours:
        folder = place / build
        folder.mkdir()
        user, port, pid = _serve(folder, behind, builds.environment(build), stack)
        data, pem = folder / "data", pem_of(user["p12"], user["p12_password"], folder / "user.pem")
        ca_file = data / "servers" / "ca.pem"
        login = {"user_id": user["user_id"], "password": user["login_password"], "next": "/app"}
        cookie = posted(port, ca_file, pem, "/login", login)
        for kind, path in _PATHS.items():
            held = tls_to(_HOST, port, ca_file, pem)
            found[f"sekisho, {build}: {kind}"] = Asked(pid, held, _get(_HOST, path, f"Cookie: {cookie}\r\n"))
    return found


def spent_by(one: Asked, count: int) -> float:
    """Microseconds of CPU of a request, on average."""
    before = cpu(one.pid)
    ask(one, count)
    return (cpu(one.pid) - before) / count * 1e6


def ask(one: Asked, count: int) -> None:
    for _ in range(count):
        one.held.sendall(one.request)
        answer = b""
        while not answer.endswith(b"ok"):
            more = one.held.recv(4_096)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 200"), answer


def _get(host: str, path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n{more}\r\n".encode()


def _serve(
    place: Path, behind: int, environment: dict[str, str], stack: ExitStack
) -> tuple[dict[str, Any], int, int]:
    """`sekisho serve` on a demo's directory: an active user of it, the port, the process."""
    summary, log = place / "summary.json", place / "log"
    words = ("demo", "--data", str(place / "data"), "--port", "0", "--summary", str(summary))
    with process(*words, log=log) as demo:
        until(summary.exists, log, demo)
        os.kill(demo.pid, signal.SIGINT)
        demo.wait(60)
    told = json.loads(summary.read_text())
    port, file = free_port(), place / "data" / FILE_NAME
    changes = {
        ("listen", "port"): str(port),
        ("sites", "mailbox"): "[]",
        ("upstream", "addresses"): f'["http://127.0.0.1:{behind}"]',
        ("upstream", "public"): f'["{_PATHS["public"]}"]',
        ("upstream", "certificate"): f'["{_PATHS["certificate"]}"]',
        ("log", "file"): '"gate.log"',
    }
    change(file, changes)
    passphrase = ("--passphrase-file", told["passphrase_file"])
    running = stack.enter_context(
        process("serve", "--data", str(place / "data"), *passphrase, log=log, **environment)
    )
    until(lambda: _answers(port), log, running)
    os.sched_setaffinity(running.pid, {min(os.sched_getaffinity(running.pid))})
    time.sleep(6)  # keys are made in advance, by other processes
    user = next(user for user in told["users"] if user["state"] == "active" and user["p12"])
    return user, port, running.pid


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def posted(
    port: int, ca_file: Path, pem: Path, path: str, fields: Mapping[str, str], cookie: str = ""
) -> str:
    """Sends a form to the service; the cookies that the answer sets. ``cookie``: of a session, by which the
    form has the token that a page of ours would have put into it."""
    connection = HTTPSConnection(_HOST, port, timeout=120)
    connection.sock = tls_to(_HOST, port, ca_file, pem)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": f"https://{_HOST}:{port}",
        **({"Cookie": cookie} if cookie else {}),
    }
    held = [each.partition("=")[2] for each in cookie.split("; ") if each.startswith("__Host-service=")]
    token = {"token": form_token(held[0], path)} if held else {}
    connection.request("POST", path, urlencode(token | dict(fields)), headers)
    got = connection.getresponse()
    assert got.status == 303, (got.status, got.read())
    connection.close()
    return "; ".join(each.partition(";")[0] for each in got.headers.get_all("Set-Cookie", ()))


if __name__ == "__main__":
    main()
