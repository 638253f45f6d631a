"""A theft that is reported while ``serve`` runs: over within a second, in every worker, and taken back."""

from __future__ import annotations

import shutil
import ssl
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from enroll.people import applications
from gateway.serving.deployment import opened_deployment
from gateway.web import sessions
from tests.cli.processes import get, pem_of, tls, until
from tests.cli.test_serving import Gateway, _time_until_closed, ready
from tests.looking import look, rows

_HOST = "service.localhost"
# What another process does is looked for twice a second; the rest is a machine that is busy. No
# limit of their own ends such connections as early.
_SOON = 60.0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_connections_and_sessions_end_with_the_report(
    lived: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    """By another process, such as a worker that took the report: idle connections of every worker are closed,
    sessions are gone from the database, and the doors say why, until the report is turned down."""
    data = tmp_path / "data"
    shutil.copytree(lived["data"], data)
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    user = next(u for u in lived["users"] if u["state"] == "active" and u["p12"])
    pem = pem_of(user["p12"], user["p12_password"], tmp_path / "user.pem")
    setup = Gateway(None, data, 0, 0, tmp_path / "log", {})  # type: ignore[arg-type]
    setup.set("sites", "mailbox", "[]")
    setup.set("log", "level", '"info"')
    async with opened_deployment(data, passphrase) as deployment:
        ra, user_id = deployment.ra, user["user_id"]
        fingerprint = next(
            each["fingerprint"]
            for each in rows(look(ra.database), "SELECT serial, fingerprint FROM certificates")
            if each["serial"] == user["serial"]
        )
        with ready(data, tmp_path, workers=workers, passphrase=passphrase) as gateway, ExitStack() as stack:
            held = [stack.enter_context(_idle(gateway, pem)) for _ in range(4 * workers)]
            await _open_session(ra, user_id, fingerprint)
            number = (
                await applications.apply_reissue(
                    ra, user_id, "lost_or_stolen", channel="online", actor=user_id
                )
            ).number
            begun = time.monotonic()
            ends = [_time_until_closed(each) - begun for each in held]
            assert max(ends) < _SOON, ends
            until(lambda: not sessions.listed(look(ra.database), ra.now(), user_id), gateway.log)
            for host in (_HOST, "renewal.localhost"):
                answers = {_page(gateway, host, pem) for _ in range(3 * workers)}
                assert answers == {(403, True)}, host
            until(lambda: gateway.says(f"certificate {user['serial']} is held: "), gateway.log)
            await applications.reject(ra, number, actor="desk", note="found")
            assert gateway.get(_HOST, "/login", pem)[0] == 200


async def _open_session(ra: Any, user_id: str, fingerprint: str) -> None:
    client = sessions.Client("192.0.2.1", "")
    await sessions.start(ra, web.Response(), "service", user_id, client, fingerprint=fingerprint)
    assert sessions.listed(look(ra.database), ra.now(), user_id)


def _idle(gateway: Gateway, pem: Path) -> ssl.SSLSocket:
    made = tls(_HOST, gateway.port, gateway.ca, pem)
    made.sendall(f"HEAD /login HTTP/1.1\r\nHost: {_HOST}\r\n\r\n".encode())
    assert made.recv(65_536).startswith(b"HTTP/1.1 200 ")
    return made


def _page(gateway: Gateway, host: str, pem: Path) -> tuple[int, bool]:
    status, html = get(host, gateway.port, gateway.ca, "/", pem)
    return status, "クライアント証明書の利用を停止しています" in html
