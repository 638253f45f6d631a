"""Ports for tests' servers: nobody is given one of them meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path

from tests import ports
from tests.ports import free_port
from tests.started import forked


def test_no_connection_and_no_other_process_is_given_one(tmp_path: Path) -> None:
    """They lie outside the range from which the kernel takes; another process has another block."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ours = {free_port() for _ in range(20)}
    assert len(ours) == 20
    assert not any(low <= each <= high for each in ours)
    told = tmp_path / "told"
    with forked(lambda: told.write_text(str(free_port()))) as child:
        assert child.wait() > 0
    assert int(told.read_text()) // 250 not in {each // 250 for each in ours}


def test_one_that_is_in_use_is_passed_over() -> None:
    """What listens keeps its port; the same for datagrams."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        taken = []
        for _ in range(5):
            holder = socket.socket(type=kind)
            holder.bind(("127.0.0.1", free_port(kind)))
            taken.append(holder)
        ours = {free_port(kind) for _ in range(ports._BLOCK - 5)}
        assert not ours & {each.getsockname()[1] for each in taken}
        for each in taken:
            each.close()
