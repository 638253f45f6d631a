"""A load balancer that looks whether we are there: its checks are none of our visitors' failures."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from gateway.demo.parts import balanced
from gateway.serving import tasks
from tests.cli.conftest import Shell
from tests.cli.processes import get, get_plain, until
from tests.cli.test_serving import Gateway, ready
from tests.mutants.faults import ROOT
from tests.ports import free_port
from tests.started import started

_HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n"
_HAPROXY = """
global
  log stdout format raw local0
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen tls
  bind 127.0.0.1:{front}
  server one 127.0.0.1:{port} send-proxy check inter 100ms
"""


def _gone(port: int, words: bytes) -> None:
    """A connection that is reset before anybody accepts it."""
    with socket.create_connection(("127.0.0.1", port)) as made:
        made.sendall(words)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _events(gateway: Gateway) -> dict[str, str]:
    lines = get_plain(gateway.internal, "/metrics")[1].splitlines()
    found = [line.partition('event="')[2] for line in lines if line.startswith("sekisho_events_total")]
    return {line.partition('"')[0]: line.rpartition(" ")[2] for line in found}


def test_a_worker_that_dies_takes_no_others_connections_along() -> None:
    """Another one has opened the internal port before a balancer, as the demo and the document have it, has
    looked there in vain as often as has it cut what the node is answering."""
    for text in (balanced("", "", []), (ROOT / "docs/operations/nodes.md").read_text()):
        looks = re.search(r"inter (\d+)ms fall (\d)", text)
        assert looks is not None
        assert int(looks[1]) / 1_000 * (int(looks[2]) - 1) > tasks._LEAD


@pytest.mark.parametrize("words", [_HEADER, b"", b"\x16\x03\x01"])
def test_who_is_gone_is_nobody(sekisho: Shell, tmp_path: Path, words: bytes) -> None:
    """Reset before it was accepted, a connection has no address: it is counted, and nothing failed."""
    with ready(sekisho.data, tmp_path) as gateway:
        gateway.set("listen", "proxy_protocol", '["127.0.0.0/8"]')
        assert gateway.command("reload").returncode == 0
        os.kill(gateway.running.pid, signal.SIGSTOP)
        for _ in range(5):
            _gone(gateway.port, words)
        os.kill(gateway.running.pid, signal.SIGCONT)
        until(lambda: _events(gateway).get("peer.gone") == "5", gateway.log)
        text = get_plain(gateway.internal, "/metrics")[1]
        assert "sekisho_handshakes_total" not in text
        assert 'sekisho_connections_open{worker="0"} 0' in text
        assert not gateway.says('"refused"')
        # Who stays is read as before.
        with socket.create_connection(("127.0.0.1", gateway.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert stranger.recv(100) == b""
        until(lambda: gateway.says('"refused":"proxy-header.signature"'), gateway.log)


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_looks_and_nobody_minds(sekisho: Shell, tmp_path: Path) -> None:
    """Its checks leave no line in the log; through it the visitor's own address is seen."""
    front, file = free_port(), tmp_path / "haproxy.cfg"
    Gateway(None, sekisho.data, 0, 0, tmp_path, {}).set("listen", "public_port", str(front))  # type: ignore[arg-type]
    with ready(sekisho.data, tmp_path) as gateway:
        gateway.set("listen", "proxy_protocol", '["127.0.0.0/8"]')
        assert gateway.command("reload").returncode == 0
        file.write_text(_HAPROXY.format(front=front, port=gateway.port))
        with started(["haproxy", "-f", file], stdout=subprocess.DEVNULL):
            time.sleep(3)  # for some of its checks
            assert get("help.localhost", front, gateway.ca)[0] == 200
        assert not gateway.says('"refused"'), gateway.log.read_text()
