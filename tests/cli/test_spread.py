"""Two gateways on one database, between which whoever comes is spread at random: what one of them has ended,
spent or counted no other one allows."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.client import HTTPSConnection
from pathlib import Path
from random import Random

import pytest

from gateway.serving.config import FILE_NAME
from tests import databases
from tests.cli.conftest import PUBLIC, Shell
from tests.cli.processes import change, pem_of, tls
from tests.cli.test_nodes import _USER, _Flow, _letter, _shells, _two
from tests.cli.test_serving import Gateway
from tests.datadirs import Letter

pytestmark = databases.NEEDED

_DOWNLOADS, _ATTEMPTS = 2, 4
#: Of all nodes together. So seldom a form more that on a busy machine some are refused as well.
_OF_CERTIFICATE, _OF_ADDRESS, _FORMS, _BURST = 6, 12, 0.04, 600.0
_SETTINGS = {
    ("database", "nodes"): 2,
    ("policy", "window_downloads"): _DOWNLOADS,
    ("policy", "attempts"): _ATTEMPTS,
    ("limits", "connections"): 200,
    ("limits", "idle"): 600.0,
    ("limits", "connections_per_certificate"): _OF_CERTIFICATE,
    ("limits", "connections_per_address"): _OF_ADDRESS,
    ("rates", "page_address"): _FORMS,
    ("rates", "burst_seconds"): _BURST,
}


@pytest.mark.slow
@pytest.mark.usefixtures("with_somebody")
async def test_what_is_limited_is_limited_at_all_nodes_together(first: Shell, tmp_path: Path) -> None:
    """Sessions, files behind a button, downloads of a window and failed logins are the database's; of rates
    and of connections of an address or a certificate each node allows its part."""
    change(first.data / FILE_NAME, {name: str(value) for name, value in _SETTINGS.items()})
    random = Random(os.environ.get("SEKISHO_TEST_SEED", "20261201"))
    with ExitStack() as stack:
        nodes = _two(first, tmp_path, stack)
        drawn = lambda: random.choice(nodes)  # noqa: E731
        ports = iter(lambda: drawn().port, None)
        async with _Flow(nodes, tmp_path, ports=ports) as flow:
            mail = await _letter("pickup", *_shells(nodes))
            p12 = await _downloads(flow, nodes, mail)
            await _failed_logins(flow, mail)
            assert flow.balancer.used == {each.port for each in nodes}
        (tmp_path / "visitor.p12").write_bytes(p12)
        certificate = pem_of(str(tmp_path / "visitor.p12"), "pw", tmp_path / "visitor.pem")
        mine = "service.localhost", "127.0.0.5", certificate
        theirs = "help.localhost", "127.0.0.6", None
        for most, who in ((_OF_CERTIFICATE, mine), (_OF_ADDRESS, theirs)):
            assert _held(stack, drawn, 4 * most, *who) == most
        _answered(drawn, "127.0.0.7", _FORMS)
        # Each of two that takes itself for the only one allows all of it.
        for each in nodes:
            each.set("database", "nodes", "1")
            assert each.command("reload").returncode == 0
        for most, who in ((_OF_CERTIFICATE, mine), (_OF_ADDRESS, theirs)):
            assert _held(stack, drawn, 4 * most, *who) == most
        _answered(drawn, "127.0.0.8", 2 * _FORMS)


async def _downloads(flow: _Flow, nodes: list[Gateway], mail: Letter) -> bytes:
    """Whoever is logged in has the file from each node, so many times; whoever is not, or was, from none."""
    request_id, visitor = mail.value("リクエストID"), flow._visitor("pickup")
    await visitor.post("/login", {"user_id": _USER, "password": mail.value("証明書発行用パスワード")})
    typed = {"request_id": request_id, "password": "pw", "confirmation": "pw", "form": "standard"}
    for _ in range(_DOWNLOADS):
        page = await visitor.post("/certificate", typed)
        file = page.main.all("form")[0].attributes["action"]
        p12 = (await visitor.get(file)).body
    (cookie,) = (each.value for each in visitor.session.cookie_jar if each.key == "__Host-pickup")
    own = {"Cookie": f"__Host-pickup={cookie}"}
    assert [_asked(each, file, own) for each in nodes] == [200, 200]
    assert [_asked(each, file, {}) for each in nodes] == [303, 303]
    assert (await visitor.post("/certificate", typed)).status == 410
    assert [_asked(each, "/menu", own) for each in nodes] == [200, 200]
    await visitor.post("/logout")
    for path in (file, "/menu"):
        assert [_asked(each, path, own) for each in nodes] == [303, 303]
    return p12


async def _failed_logins(flow: _Flow, mail: Letter) -> None:
    """Counted for all: then the right password is not looked at either, at whichever node."""
    for _ in range(_ATTEMPTS):
        wrong = await flow._visitor("pickup").post("/login", {"user_id": _USER, "password": "wrong"})
        assert wrong.status == 403
    for _ in range(4):
        right = {"user_id": _USER, "password": mail.value("証明書発行用パスワード")}
        refused = await flow._visitor("pickup").post("/login", right)
        assert (refused.status, refused.h1) == (429, "受付を一時停止しています")


def _held(
    stack: ExitStack,
    drawn: Callable[[], Gateway],
    tries: int,
    host: str,
    address: str,
    certificate: Path | None,
) -> int:
    """How many more connections somebody may have open; they stay so."""
    held = 0
    for _ in range(tries):
        node = drawn()
        with suppress(OSError):
            made = tls(host, node.port, node.ca, certificate, address)
            stack.enter_context(made)
            made.sendall(f"GET /login HTTP/1.1\r\nHost: {host}:{PUBLIC}\r\n\r\n".encode())
            held += made.recv(1) != b""
    return held


def _answered(drawn: Callable[[], Gateway], address: str, per_second: float) -> None:
    """As many forms as come at once are taken, and what comes to be allowed meanwhile; the others are not."""
    began, most, statuses = time.monotonic(), per_second * _BURST, Counter[int]()
    same = {"Origin": f"https://{_HOST}:{PUBLIC}", "Sec-Fetch-Site": "same-origin"}
    for _ in range(int(2 * most)):
        statuses[_asked(drawn(), "/login", same, method="POST", address=address)] += 1
    assert {*statuses} == {422, 429}
    assert most <= statuses[422] <= most + per_second * (time.monotonic() - began) + 2


def _asked(
    node: Gateway, path: str, headers: dict[str, str], *, method: str = "GET", address: str = "127.0.0.1"
) -> int:
    """The status of an answer, over a connection of its own."""
    connection = HTTPSConnection(_HOST, node.port, timeout=60)
    connection.sock = tls(_HOST, node.port, node.ca, address=address)
    try:
        connection.request(method, path, headers={"Host": f"{_HOST}:{PUBLIC}", **headers})
        return connection.getresponse().status
    finally:
        connection.close()


_HOST = "pickup.localhost"
