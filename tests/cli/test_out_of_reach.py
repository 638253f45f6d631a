"""A node whose database is out of reach, as people and programs see it: by a wire that is cut, and mended."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest

from ca.publication import list_path
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import DEMO_MARKER
from gateway.sites.revocation import PREFIX
from tests import databases, wires
from tests.cli.conftest import Shell
from tests.cli.processes import change, get_plain, tls, until
from tests.cli.test_nodes import _USER, _Flow, _letter
from tests.cli.test_serving import Gateway, ready
from tests.ports import free_port

pytestmark = databases.NEEDED

_WORDS = {"ja": "ただいまご利用いただけません", "en": "Not available at the moment"}


def _ask(connection: ssl.SSLSocket, host: str, path: str = "/") -> tuple[int, dict[str, str], str]:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    got = HTTPResponse(connection)
    got.begin()
    told = got.read().decode(errors="replace")
    return got.status, {name.lower(): value for name, value in got.getheaders()}, told


def _is_ready(gateway: Gateway) -> int:
    return get_plain(gateway.internal, "/readyz")[0]


@pytest.fixture
def wire(sekisho: Shell, tmp_path: Path) -> Iterator[wires.Held]:
    """Between a directory with a user in it and its database, behind another host at which nobody is."""
    folder, name = databases._shared().folder, databases._name_of(tmp_path / "shared")
    databases.url_of(tmp_path / "shared")
    with wires.wire(folder) as wire:
        url = f"postgresql://postgres@127.0.0.1:{free_port()},127.0.0.1:{wire.port}/{name}"
        values = {"url": json.dumps(url), "sslmode": '"disable"'}
        change(sekisho.data / FILE_NAME, {("database", each): value for each, value in values.items()})
        change(sekisho.data / FILE_NAME, {("listen", "public_port"): "7443"})
        (sekisho.data / DEMO_MARKER).write_text("{}")
        assert sekisho("org", "add", "12345678", "霞が関商事").code == 0
        add = ("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", _USER)
        assert sekisho(*add).code == 0
        yield wire


@pytest.mark.slow
@pytest.mark.parametrize("mood", [wires.DEAF, wires.CUT])
async def test_nobody_is_let_in_while_nobody_can_be_asked(
    sekisho: Shell, wire: wires.Held, tmp_path: Path, mood: str
) -> None:
    """R6: our page with 503, when to come again and the desk's number, in Japanese and English; /readyz says
    why, whoever reads help, or a revocation list, goes on; and all of it is over by itself."""
    with ExitStack() as stack:
        gateway = stack.enter_context(ready(sekisho.data, tmp_path))
        async with _Flow([gateway], tmp_path) as flow:
            p12 = await flow.picked_up(await _letter("pickup", sekisho))
            visitor = flow._visitor("service", p12)
            assert (await visitor.get("/login")).status == 200
            helped = tls("help.localhost", gateway.port, gateway.ca)
            known = tls("service.localhost", gateway.port, gateway.ca, tmp_path / "visitor.pem")
            assert (_ask(helped, "help.localhost")[0], _ask(known, "service.localhost", "/login")[0]) == (
                200,
                200,
            )
            assert _is_ready(gateway) == 200
            crls = sekisho.data / "crls"
            until(lambda: any(crls.glob("*.crl")), gateway.log, gateway.running)
            listed = PREFIX + list_path(next(crls.glob("*.crl")).name.partition("-")[0])
            status, _, known_list = _ask(helped, "help.localhost", listed)
            assert status == 200

            wire.become(mood)
            until(lambda: _is_ready(gateway) == 503, gateway.log, gateway.running)
            told = json.loads(get_plain(gateway.internal, "/readyz")[1])
            assert any("the database cannot be written" in each for each in told["wrong"])
            assert "sekisho_database_up 0" in get_plain(gateway.internal, "/metrics")[1]
            for language, words in (
                ("ja", "ただいまご利用いただけません"),
                ("en", "Not available at the moment"),
            ):
                page = await visitor.get(f"/login?lang={language}")
                assert (page.status, words in page.body.decode()) == (503, True)
                assert int(page.headers["Retry-After"]) > 0
                assert 'href="tel:' in page.body.decode()
            status, headers, _ = _ask(known, "service.localhost", "/login")
            assert (status, "retry-after" in headers) == (503, True)
            assert _ask(helped, "help.localhost")[0] == 200
            status, _, told_list = _ask(helped, "help.localhost", listed)
            assert (status, told_list == known_list) == (200, True)
            page = await flow._visitor("pickup").post("/login", {"user_id": _USER, "password": "x"})
            assert page.status == 503

            wire.become(wires.OPEN)
            until(lambda: _is_ready(gateway) == 200, gateway.log, gateway.running)
            assert (await visitor.get("/login")).status == 200
            assert (await flow._visitor("service", p12).get("/login")).status == 200
            assert _ask(helped, "help.localhost")[0] == 200
