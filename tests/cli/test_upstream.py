"""What an operator learns of an upstream that fails: a line with the reason, a figure. Visitors: nothing."""

from __future__ import annotations

import logging
import re
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.proxy.health import Health
from tests.cli.processes import accepting, get_plain, pem_of, until
from tests.cli.test_serving import Gateway, ready
from tests.gateway.rawtls import issue
from tests.ports import free_port


class _Well(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


class _Unwell(_Well):
    status = 503


@contextmanager
def _serving(port: int, handler: type[BaseHTTPRequestHandler] = _Well) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@dataclass(frozen=True)
class _Deployment:
    """A directory with people in it; one of them visits."""

    data: Path
    passphrase: str
    visitor: Path
    place: Path

    @contextmanager
    def serving(self, **settings: str) -> Iterator[Gateway]:
        """A gateway with this upstream, which has nothing before it but the certificate."""
        setup = Gateway(None, self.data, 0, 0, self.place / "log", {})  # type: ignore[arg-type]
        for name, value in ({"health": '""', "certificate": '["/api"]'} | settings).items():
            setup.set("upstream", name, value)
        with ready(self.data, self.place, passphrase=self.passphrase) as gateway:
            yield gateway

    def visit(self, gateway: Gateway) -> tuple[int, str]:
        return gateway.get("service.localhost", "/api", self.visitor)


@pytest.fixture
def deployment(lived: dict[str, Any], tmp_path: Path) -> _Deployment:
    data = tmp_path / "data"
    shutil.copytree(lived["data"], data)
    setup = Gateway(None, data, 0, 0, tmp_path / "log", {})  # type: ignore[arg-type]
    setup.set("sites", "mailbox", "[]")
    setup.set("log", "level", '"info"')
    user = next(each for each in lived["users"] if each["state"] == "active" and each["p12"])
    visitor = pem_of(user["p12"], user["p12_password"], tmp_path / "visitor.pem")
    return _Deployment(data, Path(lived["passphrase_file"]).read_text().strip(), visitor, tmp_path)


def _told(gateway: Gateway) -> list[tuple[str, str]]:
    """(level, words) of each event about the upstream."""
    lines = [line for line in gateway.lines() if line.get("from") == "sekisho.upstream"]
    return [(line["level"], line["says"]) for line in lines]


def _up(gateway: Gateway) -> list[str]:
    text = get_plain(gateway.internal, "/metrics")[1]
    return re.findall(r'(?m)^sekisho_upstream_up\{address="[^"]+",worker="0"\} (\d)$', text)


@pytest.mark.slow
def test_why_there_is_a_502(deployment: _Deployment) -> None:
    """One warning when an address fails, one when it answers again, however many ask meanwhile."""
    port = free_port()
    with deployment.serving(addresses=f'["http://127.0.0.1:{port}"]') as gateway:
        assert _up(gateway) == ["1"]
        pages = [deployment.visit(gateway) for _ in range(5)]
        assert {status for status, _ in pages} == {502}
        assert not [page for _, page in pages if "refused" in page or str(port) in page]
        until(lambda: bool(_told(gateway)), gateway.log)
        assert _up(gateway) == ["0"]
        with _serving(port):
            assert {deployment.visit(gateway)[0] for _ in range(5)} == {200}
            until(lambda: len(_told(gateway)) > 1, gateway.log)
        assert _up(gateway) == ["1"]
        name = f"upstream http://127.0.0.1:{port}"
        assert _told(gateway) == [
            ("warning", f"{name}: Connection refused"),
            ("warning", f"{name}: it answers again"),
        ]


def test_an_upstream_with_another_ca(deployment: _Deployment, tmp_path: Path) -> None:
    """The reason of a refused certificate is OpenSSL's, in the log and nowhere else."""
    now = datetime.now(UTC)
    times = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=1)}
    server = issue("127.0.0.1", issue("CA", ca=True, **times), hosts=("app.internal",), purpose=None, **times)
    (tmp_path / "server.pem").write_bytes(server.pem)
    other = issue("another CA", ca=True, **times).certificate.public_bytes(Encoding.PEM)
    (deployment.data / "upstream.pem").write_bytes(other)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with accepting(context) as port:
        settings = {"addresses": f'["https://127.0.0.1:{port}"]', "ca": '"upstream.pem"'}
        with deployment.serving(server_name='"app.internal"', **settings) as gateway:
            status, page = deployment.visit(gateway)
            assert (status, "verify" in page) == (502, False)
            until(lambda: bool(_told(gateway)), gateway.log)
            (told,) = _told(gateway)
            words = f"upstream https://127.0.0.1:{port}: certificate verify failed: "
            assert told == ("warning", words + "unable to get local issuer certificate")


def test_an_upstream_that_says_it_is_unwell(deployment: _Deployment) -> None:
    """Asked for its health, an address is down by its own word; another one is what it is."""
    port, other = free_port(), free_port()
    addresses = f'["http://127.0.0.1:{port}", "http://127.0.0.1:{other}"]'
    settings = {"addresses": addresses, "health": '"/healthz"'}
    with _serving(port, _Unwell), _serving(other), deployment.serving(**settings) as gateway:
        until(lambda: _up(gateway) == ["0", "1"], gateway.log)
        until(lambda: bool(_told(gateway)), gateway.log)
        assert _told(gateway) == [("warning", f"upstream http://127.0.0.1:{port}: /healthz answers 503")]


def test_a_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    """Each reason is told once until all is well; one that comes and goes costs two lines in a while."""
    standing = Health("http://a:1", quiet=10)

    def told() -> list[str]:
        words = [record.getMessage().removeprefix("upstream http://a:1: ") for record in caplog.records]
        caplog.clear()
        return words

    with caplog.at_level(logging.INFO, "sekisho.upstream"):
        for at in range(100, 105):
            standing.failed("unreachable", "Connection refused", at)
        assert (told(), standing.well, standing.connecting_failed) == (["Connection refused"], False, True)
        standing.failed("closed", "", 105)
        standing.failed("unreachable", "Connection refused", 106)
        standing.failed("closed", "", 107)
        assert told() == ["it closed the connection without an answer"]
        assert not standing.connecting_failed
        standing.recovered(108)
        standing.recovered(108)
        assert (told(), standing.well) == (["it answers again"], True)
        for at in range(109, 117):
            standing.failed("closed", "", at)
            assert not standing.well
            standing.recovered(at)
        assert told() == []
        standing.failed("closed", "", 117)
        standing.failed("closed", "", 118)
        assert told() == ["it closed the connection without an answer"]
        for number in range(100):
            standing.failed("unreachable", f"reason {number}", 119)
        assert len(told()) == 7
