"""What ``sekisho-client`` makes of servers that fail: decided without one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from enroll.client import Acme, AcmeError, new_key, work
from enroll.client.acme import Answer, RenewalWindow
from enroll.client.folder import Folder

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Server:
    """Says what it is told to, and remembers what it was asked."""

    window: RenewalWindow | AcmeError | None = None
    fault: AcmeError | None = None
    asked: list[str] = field(default_factory=list)

    def renewal_window(self, _: x509.Certificate) -> RenewalWindow | None:
        if isinstance(self.window, AcmeError):
            raise self.window
        return self.window

    def resume(self, url: str, *_: Any) -> Any:
        self.asked.append(url)
        raise self.fault or AssertionError

    def order(self, *_: Any, **__: Any) -> str:
        self.asked.append("new")
        return "issued"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """One with a certificate of 90 days from ``BEGIN``."""
    key, name = new_key(), x509.Name([])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, BEGIN, BEGIN + timedelta(days=90)
    ).add_extension(x509.AuthorityKeyIdentifier(b"issuer", None, None), False)
    certificate = builder.sign(key, hashes.SHA256())
    folder = Folder(tmp_path / "client")
    folder.store(key, certificate.public_bytes(Encoding.PEM), None)
    return folder


def due(server: Server, folder: Folder, day: int) -> datetime:
    return work._due(server, folder, BEGIN + timedelta(days=day), lambda: 0.5)  # type: ignore[arg-type]


def test_without_renewal_information_it_is_two_thirds(folder: Folder) -> None:
    """RFC 9773 section 4.3.3: a server that fails to say when does not keep a certificate from renewal."""
    assert due(Server(), folder, 1) == BEGIN + timedelta(days=60)
    broken = Server(AcmeError(500, "serverInternal", "failed"))
    with pytest.raises(AcmeError, match="failed"):
        due(broken, folder, 59)
    assert due(broken, folder, 60) == BEGIN + timedelta(days=60)


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_an_order_is_not_forgotten_because_the_server_is_busy(folder: Folder, status: int) -> None:
    """What was begun waits for the next run, under its key: nothing is issued twice."""
    folder.remember(order="https://acme.test/order/1", names=["a.test"])
    server = Server(fault=AcmeError(status, "", "later"))
    for _ in range(2):
        with pytest.raises(AcmeError, match="later"):
            work._obtain(server, folder)  # type: ignore[arg-type]
    assert server.asked == ["https://acme.test/order/1"] * 2
    kept = folder.pending_file.read_bytes()
    server.fault = AcmeError(404, "malformed", "there is no such order")
    assert work._obtain(server, folder) == "issued"  # type: ignore[arg-type,comparison-overlap]
    assert server.asked[2:] == ["https://acme.test/order/1", "new"]
    assert folder.pending_file.read_bytes() != kept


@pytest.mark.parametrize(
    "window",
    [
        {"start": "2026-12-02T00:00:00Z", "end": "2026-12-02T00:00:00Z"},
        {"start": "2026-12-02T00:00:00Z", "end": "2026-12-01T00:00:00Z"},
        {"start": "soon", "end": "2026-12-01T00:00:00Z"},
        {"start": "2026-12-01T00:00:00Z"},
    ],
)
def test_a_window_that_is_none(folder: Folder, window: dict[str, str]) -> None:
    """RFC 9773 section 4.2: a window that does not end after it begins counts as no answer."""

    class Suggesting(Acme):
        def __init__(self) -> None:
            self.directory = {"renewalInfo": "https://acme.test/renewal-info"}

        def _get(self, url: str) -> Answer:
            return Answer(200, {}, json.dumps({"suggestedWindow": window}).encode())

    leaf = folder.certificate()
    with pytest.raises(AcmeError):
        Suggesting().renewal_window(leaf)
