"""Starts Debian's pebble as a server that is not ours, with external account binding, on free ports."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.ports import free_port
from tests.started import started

BINARY = shutil.which("pebble")
# As little chance as it lets one choose: no invented badNonce, no sleeping, hardly an authorization reused.
ENVIRONMENT = {
    "PEBBLE_VA_ALWAYS_VALID": "1",
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_AUTHZREUSE": "0",
    "PEBBLE_WFE_NONCEREJECT": "0",
}


@dataclass(frozen=True)
class Pebble:
    directory: str
    ca_file: Path
    credentials: Path
    validations: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """The suite's options that point at this server."""
        files = ["--ca-file", str(self.ca_file), "--credentials", str(self.credentials)]
        return ["--directory", self.directory, *files, "--timeout", "10", *self.validations]


@contextmanager
def running(folder: Path, *, validates: bool = False) -> Iterator[Pebble]:
    """A fresh pebble process, ended by its own pid. By default it takes every challenge for answered;
    one that validates asks the suite for that, by each method.
    """
    assert BINARY is not None
    port, http, alpn, dns = (free_port() for _ in range(4))
    write_certificates(folder)
    keys = {f"kid-{n}": secrets.token_bytes(32) for n in range(8)}
    (folder / "config.json").write_text(json.dumps({"pebble": _config(folder, port, http, alpn, keys)}))
    (folder / "credentials.json").write_text(json.dumps({"credentials": _credentials(keys)}))
    command = [BINARY, "-config", str(folder / "config.json")]
    ports = ("--http-01-port", http, "--tls-alpn-01-port", alpn, "--dns-01-port", dns) if validates else ()
    command += ["-dnsserver", f"127.0.0.1:{dns}"] if validates else []
    with (
        (folder / "log").open("wb") as log,
        started(
            command,
            env=os.environ | ENVIRONMENT | {"PEBBLE_VA_ALWAYS_VALID": str(int(not validates))},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        server = Pebble(
            f"https://localhost:{port}/dir",
            folder / "ca.pem",
            folder / "credentials.json",
            tuple(map(str, ports)),
        )
        wait_for(server.directory, server.ca_file, process)
        yield server


def _config(folder: Path, port: int, http: int, alpn: int, keys: dict[str, bytes]) -> dict[str, object]:
    return {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": "",
        "certificate": str(folder / "server.pem"),
        "privateKey": str(folder / "server.key"),
        "httpPort": http,
        "tlsPort": alpn,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": True,
        "externalAccountMACKeys": {kid: _b64(key) for kid, key in keys.items()},
    }


def _credentials(keys: dict[str, bytes]) -> list[dict[str, object]]:
    return [
        {
            "kid": kid,
            "hmac_key": _b64(key),
            "alg": "HS256",
            "reusable": True,
            "identifiers": [{"type": "dns", "value": f"u{n % 2}.users.example"}],
        }
        for n, (kid, key) in enumerate(keys.items())
    ]


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def wait_for(directory: str, ca_file: Path, process: subprocess.Popen[bytes]) -> None:
    """Returns once the directory is served; fails when the process ends or takes a minute."""
    context = ssl.create_default_context(cafile=str(ca_file))
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(directory, context=context, timeout=2).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)


def write_certificates(folder: Path) -> None:
    """A CA as ca.pem, and a certificate for localhost as server.pem with server.key."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (subject, "test CA")]
        begin, end = now - timedelta(hours=1), now + timedelta(days=1)
        return x509.CertificateBuilder(names[1], names[0], public, x509.random_serial_number(), begin, end)

    ca = builder("test CA", ca_key.public_key()).add_extension(x509.BasicConstraints(True, 0), True)
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = builder("localhost", key.public_key()).add_extension(hosts, False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "server.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
