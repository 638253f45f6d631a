"""What file descriptors a gateway may have, and what it says when they are too few."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.edge.facts import Limits
from gateway.serving.config import Config
from gateway.serving.descriptors import RESERVE, room_of, shortage, within
from gateway.serving.settings.behind import Behind
from tests.cli.conftest import Shell
from tests.cli.processes import tls, until
from tests.cli.test_serving import Gateway, leader, ready, workers_of
from tests.started import session_of

_NOFILE = resource.RLIMIT_NOFILE


def _held(gateway: Gateway, stack: ExitStack) -> int:
    """How many connections one address may have open."""
    for number in range(300):
        try:
            stack.enter_context(tls("help.localhost", gateway.port, gateway.ca))
        except OSError:
            return number
    return 300


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_soft_limit_is_raised(sekisho: Shell, tmp_path: Path, workers: int) -> None:
    """A login shell's soft limit does not bind the gateway: it takes what the hard one allows."""
    hard = resource.getrlimit(_NOFILE)[1]
    before = ("prlimit", f"--nofile=200:{hard}")
    with ready(sekisho.data, tmp_path, workers=workers, before=before) as gateway:
        # One more is the process that makes keys.
        assert {room_of(pid) for pid in session_of(gateway.running.pid)} == {hard}
        assert not gateway.says("file descriptors: ")
        (found,) = [c for c in gateway.doctor() if c["check"] == "file descriptors"]
        assert (found["state"], found["found"]) == ("ok", f"{hard} for each process")


@pytest.mark.slow
def test_one_address_does_not_take_every_descriptor(sekisho: Shell, tmp_path: Path) -> None:
    """With fewer descriptors than connections are allowed, fewer are taken: others get in all the same, and
    the log and the doctor say what to type."""
    with ready(sekisho.data, tmp_path, before=("prlimit", "--nofile=300")) as gateway, ExitStack() as stack:
        assert _held(gateway, stack) == (300 - RESERVE) // 5
        stack.enter_context(tls("help.localhost", gateway.port, gateway.ca, address="127.0.0.2"))
        until(lambda: gateway.says("refused.connections-of-address"), gateway.log)
        assert gateway.says("file descriptors: a process may have 300, ", times=1)
        assert gateway.says("LimitNOFILE=10128 in the unit")
        (found,) = [c for c in gateway.doctor() if c["check"] == "file descriptors"]
        assert found["state"] == "notice"
        assert found["hint"].endswith("or write limits.connections = 172")


def test_no_descriptor_left(sekisho: Shell, tmp_path: Path) -> None:
    """Whoever comes is closed, which the log says once a minute; nothing spins; later all is well again."""
    with ready(sekisho.data, tmp_path) as gateway:
        pid = gateway.running.pid
        # Fewer than it has, and more than that which libuv keeps for this case.
        before = resource.prlimit(pid, _NOFILE, (25, resource.getrlimit(_NOFILE)[1]))
        until(lambda: gateway.says("no file descriptor is left of 25: "), gateway.log)
        began = _cpu_seconds(pid)
        for _ in range(20):
            with pytest.raises((OSError, ssl.SSLError)):
                tls("help.localhost", gateway.port, gateway.ca)
        time.sleep(2.5)
        assert _cpu_seconds(pid) - began < 0.5
        resource.prlimit(pid, _NOFILE, before)
        assert gateway.get("help.localhost")[0] == 200
        assert gateway.log.read_text().count("no file descriptor is left") == 1


def test_who_had_none_left_can_lead(sekisho: Shell, tmp_path: Path) -> None:
    """A worker that could open nothing for a while takes over from the one that leads all the same."""
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        first = leader(gateway)
        pids = workers_of(gateway)
        before = resource.prlimit(pids[1 - first], _NOFILE, (20, resource.getrlimit(_NOFILE)[1]))
        until(lambda: gateway.says("no file descriptor is left of 20: "), gateway.log)
        time.sleep(1.5)
        resource.prlimit(pids[1 - first], _NOFILE, before)
        # So that no other worker can be the next one.
        (sekisho.data / "run" / "nonces").unlink()
        os.kill(pids[first], signal.SIGKILL)
        until(lambda: gateway.says(f"worker {first}: ") and _is_open(gateway.internal), gateway.log)
        assert leader(gateway) == 1 - first


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_few_connections_fit_anywhere() -> None:
    """What the upstream may have beyond our visitors' connections is never taken, and not asked for."""
    config = Config(upstream=Behind(addresses=("http://a",)), limits=Limits(connections=400))
    assert (shortage(config, 928), within(config, 928)) == (None, config.limits)
    assert shortage(config, 927) is not None
    assert within(config, 927).connections == 399


@pytest.mark.parametrize(
    ("room", "addresses", "connections", "of_one"),
    [
        (20_000, (), 10_000, 2_000),
        (10_128, (), 10_000, 2_000),
        (10_127, (), 9_999, 1_999),
        (10_127, ("http://127.0.0.1:1",), 8_999, 1_799),
        # Half of what there is, because the upstream's connections are never more than our visitors'.
        (1_024, ("http://127.0.0.1:1",), 448, 89),
        (1_024, ("http://127.0.0.1:1", "http://127.0.0.1:2"), 448, 89),
        (20, (), 2, 1),
    ],
)
def test_connections_fit(room: int, addresses: tuple[str, ...], connections: int, of_one: int) -> None:
    """Visitors, the upstream and what else is open stay below the limit, or as many as there is room for."""
    config = replace(Config(), upstream=Behind(addresses=addresses))
    limits = within(config, room)
    assert limits == replace(Limits(), connections=connections, connections_per_address=of_one)
    assert (shortage(config, room) is None) == (limits == Limits())


@pytest.mark.parametrize("nodes", [2, 3, 100])
def test_of_several_nodes_each_allows_its_part(nodes: int) -> None:
    """Of what one address or certificate may hold, so that all together allow no more than is written; of
    what the node itself can bear nothing is taken away, and nobody is left with nothing."""
    limits = within(replace(Config(), database=replace(Config().database, nodes=nodes)), 20_000)
    whole = Limits()
    for name in ("connections_per_address", "connections_per_certificate", "handshakes_per_address"):
        assert getattr(limits, name) == max(1, getattr(whole, name) // nodes), name
    assert limits.connections == whole.connections
    config = Config(
        limits=replace(whole, connections_per_certificate=1), database=replace(Config().database, nodes=2)
    )
    assert within(config, 20_000).connections_per_certificate == 1
