"""OCSP over the wire against `openssl ocsp`, how late an answer is at a thousand a second, and what a shard
costs.

Run as ``python -m tests.bench.revocation_bench [--rounds N] [--seconds S] [--revoked N]``. Both responders
have one process and are asked about one good certificate by wrk over eight connections: kept alive, and a
new one for each request. The thousand a second come at their times over sixteen connections, whether those
before them were answered or not. Rounds alternate. Then shards of a list of so many lines, drawn up as the
gateway does it."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from ca import datadir
from ca.certificates import to_pem
from ca.crls import frame_of, of_shard
from ca.listfiles import draft, folder_of
from ca.ocsp import hashes_of
from ca.publication import octets_of
from ca.sqlite import SqliteSource
from gateway.serving.database import DATABASE
from gateway.serving.deployment import opened_deployment
from tests.bench.crl_bench import filled
from tests.bench.figures import Figures
from tests.cli.processes import SEKISHO, process, until
from tests.issued import Leaf, issue
from tests.ports import free_port
from tests.started import forked, started

_PASSPHRASE = "correct horse battery staple"
_PEER = "openssl ocsp"
_RATE, _LINKS, _SHARDS = 1_000, 16, 64
_CORE, _LATE = "answers of a core, kept alive, a second", "p99 at 1,000/s, ms"
_LENGTH = re.compile(rb"(?i)content-length: (\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--revoked", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        port, other = free_port(), free_port()
        leaf = _made(place, port)
        with _ours(place, port) as ours, _theirs(place, other, leaf) as theirs:
            servers = {"sekisho": (port, ours), _PEER: (other, theirs)}
            _measured(servers, _question(place, leaf), options.rounds, options.seconds)
        _shards(place / "data", options.revoked)


def _made(place: Path, port: int) -> Leaf:
    """A data directory whose certificates say this port, with one of them."""
    words = [SEKISHO, "init", "--data", place / "data", "--revocation-url", f"http://127.0.0.1:{port}"]
    words += ["--shards", str(_SHARDS), "--port", str(free_port())]
    given = {**os.environ, "SEKISHO_PASSPHRASE": _PASSPHRASE}
    subprocess.run(words, check=True, capture_output=True, env=given)

    async def one() -> Leaf:
        async with opened_deployment(place / "data", _PASSPHRASE) as deployment:
            return await issue(deployment.ra)

    return asyncio.run(one())


@contextmanager
def _ours(place: Path, port: int) -> Iterator[int]:
    log = place / "log"
    with process("serve", "--data", str(place / "data"), log=log, SEKISHO_PASSPHRASE=_PASSPHRASE) as running:
        until(lambda: _listens(port) and "ready on port" in log.read_text(), log, running)
        yield running.pid


@contextmanager
def _theirs(place: Path, port: int, leaf: Leaf) -> Iterator[int]:
    """`openssl ocsp` with a CA of its own key: the certificate that it signs for is in its index."""
    opened = datadir.load(place / "data", _PASSPHRASE)
    issuer, end = opened.authority.current, leaf.certificate.not_valid_after_utc.strftime("%y%m%d%H%M%SZ")
    (place / "issuer.pem").write_bytes(to_pem(issuer.der))
    serial = f"{leaf.certificate.serial_number:032X}"
    (place / "index").write_text(f"V\t{end}\t\t{serial}\tunknown\t/CN=K\n")
    # Any certificate and its key: who verifies is not measured here.
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "signer.pem").write_bytes(to_pem(leaf.der) + key)
    words = ["openssl", "ocsp", "-port", str(port), "-index", "index", "-CA", "issuer.pem", "-ndays", "7"]
    words += ["-rsigner", "signer.pem", "-rkey", "signer.pem", "-ignore_err"]
    with (
        (place / "peer.log").open("wb") as log,
        started(words, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as running,
    ):
        # A connection that says nothing would keep it from all others.
        until(lambda: b"waiting for" in (place / "peer.log").read_bytes(), place / "peer.log", running)
        yield running.pid


def _question(place: Path, leaf: Leaf) -> bytes:
    issuer = x509.load_pem_x509_certificate((place / "issuer.pem").read_bytes())
    name = hashes_of(issuer)["sha1"]
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name.name,
        name.key,
        leaf.certificate.serial_number,
        hashes.SHA1(),
    )
    return builder.build().public_bytes(Encoding.DER)


def _measured(servers: dict[str, tuple[int, int]], question: bytes, rounds: int, seconds: float) -> None:
    figures, path = Figures(_PEER), "/ocsp/" + quote(b64encode(question).decode(), safe="")
    for server, (port, _) in servers.items():
        answer = _once(port, _path(server, path))
        assert ocsp.load_der_ocsp_response(answer).certificate_status is ocsp.OCSPCertStatus.GOOD, server
    for _ in range(rounds):
        for server, (port, pid) in servers.items():
            url = f"http://127.0.0.1:{port}{_path(server, path)}"
            begun = _cpu(pid)
            new = uvloop.run(_closed(port, url, seconds, keep=False))
            fresh = 1e6 * (_cpu(pid) - begun) / seconds / new
            # The peer keeps no connection: what it answers on new ones is all that it does.
            kept, micros = new, fresh
            if server != _PEER:
                begun = _cpu(pid)
                kept = uvloop.run(_closed(port, url, seconds, keep=True))
                micros = 1e6 * (_cpu(pid) - begun) / seconds / kept
            row = {
                # What a client of Python's on the other core can ask for is less than what is answered.
                _CORE: 1e6 / micros,
                "CPU of an answer, kept alive, µs": micros,
                "CPU of an answer on a new connection, µs": fresh,
                "kept alive, a second": kept,
                "new connections, a second": new,
            }
            if server != _PEER:  # it answers one connection after the other, and who waits has no answer
                late = uvloop.run(_paced(port, url, seconds))
                row |= {"p50 at 1,000/s, ms": _at(late, 0.5), _LATE: _at(late, 0.99)}
                row |= {"kept alive by wrk, a second": _wrk(url, seconds)}
            figures.add(server, row)
    figures.report()
    late = figures.median("sekisho", _LATE)
    print(
        f"kept alive {figures.ratio('sekisho', _CORE) or 0:.2f} times {_PEER} by CPU; aim: 2.5 times or more"
    )
    print(f"p99 at {_RATE:,} a second {late:.1f} ms; aim: below 20 ms")


def _path(server: str, path: str) -> str:
    """The peer answers below its root only."""
    return path if server != _PEER else path.removeprefix("/ocsp")


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used: what others do on the machine says nothing of it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _once(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        said = b""
        while piece := link.recv(1 << 16):
            said += piece
            head, end, body = said.partition(b"\r\n\r\n")
            if end and len(body) >= int(_LENGTH.search(head)[1]):  # type: ignore[index]
                break
    return said.partition(b"\r\n\r\n")[2]


async def _closed(port: int, url: str, seconds: float, *, keep: bool) -> float:
    """Answers a second to eight clients, each of which asks again as soon as it has one."""
    path, end, count = url.partition(str(port))[2], time.monotonic() + seconds, 0
    line = b"" if keep else b"Connection: close\r\n"
    asked = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), line)

    async def client() -> None:
        nonlocal count
        reader = writer = None
        while time.monotonic() < end:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_LENGTH.search(head)[1]))  # type: ignore[index]
            count += 1
            if not keep:
                writer.close()
                reader = writer = None

    await asyncio.gather(*(client() for _ in range(8)))
    return count / seconds


def _wrk(url: str, seconds: float) -> float:
    words = ["wrk", "-t1", "-c8", f"-d{seconds:g}s", url]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found is not None, told
    return float(found[1])


async def _paced(port: int, url: str, seconds: float) -> list[float]:
    """Seconds from when each request was to be sent to when its answer was there."""
    path, count = url.partition(str(port))[2], int(_RATE * seconds)
    asked = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    late, begun, taken = list[float](), time.monotonic() + 0.2, iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in taken:
            at = begun + number / _RATE
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_LENGTH.search(head)[1]))  # type: ignore[index]
            late.append(time.monotonic() - at)
        writer.close()

    await asyncio.gather(*(client() for _ in range(_LINKS)))
    return late


def _at(late: list[float], share: float) -> float:
    return 1_000 * statistics.quantiles(late, n=1_000)[round(share * 1_000) - 1]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _shards(data: Path, count: int) -> None:
    """CPU of the process that draws up one shard, and all of them, of a list of so many lines."""
    issuer = datadir.load(data, _PASSPHRASE).authority.current
    filled(data / DATABASE, issuer.issuer_id, count)
    folder, source = folder_of(data), SqliteSource(data / DATABASE)
    at = int(datetime.now(UTC).timestamp())
    for shards in (1, _SHARDS):

        def make(shards: int = shards) -> int:
            for shard in range(shards):
                scope = of_shard(issuer.site.shard(shard))
                frame = frame_of(issuer.certificate, 1, at, at + 86_400, scope)
                drawn = draft(source, folder, frame, issuer.issuer_id, 0, octets_of(shard, _SHARDS))
                drawn.path.unlink()
            return 0

        with forked(make) as child:
            _, status, used = os.wait4(child.pid, 0)
        assert status == 0
        cpu, mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        print(f"{shards} of {_SHARDS} shards of {count} lines: {cpu:.2f} s, {mib:.0f} MiB")


if __name__ == "__main__":
    main()
