"""``sekisho clock``: what the operator sees of a clock in doubt, and the one command that ends it."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from enroll import store
from enroll.requests import issuance
from gateway.serving.deployment import opened_deployment
from tests.cli.conftest import Shell
from tests.cli.processes import get_plain, until
from tests.cli.test_serving import ready
from tests.datadirs import PASSPHRASE
from tests.looking import look

DAY = 86_400
LEAPS = pytest.mark.parametrize(("off", "kind"), [(1_460 * DAY, "ahead of"), (-3_600, "behind")])


def _last_seen(sekisho: Shell, at: float) -> None:
    """As if a server had believed the clock at that moment, before the machine was started anew."""
    with sqlite3.connect(sekisho.data / "sekisho.db") as db:
        db.execute("DELETE FROM clock")
        db.execute("INSERT INTO clock (id, wall_at, awake, boot) VALUES (1, ?, 9.0, 'before')", [int(at)])


def _doctor(sekisho: Shell) -> dict[str, Any]:
    checks = sekisho("doctor").value["checks"]
    return next(dict(each) for each in checks if each["check"] == "clock")


@LEAPS
def test_an_operator_sees_it_and_says_that_it_is_right(peopled: Shell, off: int, kind: str) -> None:
    """show, doctor and refused commands name the leap and what to type; confirm ends it, and is audited."""
    _last_seen(peopled, time.time() - off)
    shown = peopled("clock", "show").value["clock"]
    assert (shown["in_doubt"], shown["windows_over"]) == (True, 0)
    assert abs(shown["off_seconds"] - off) < 60
    words = peopled("clock", "show", json_output=False).out
    assert f"In doubt: the clock is {abs(off) // DAY or 60}" in words
    assert "sekisho clock confirm" in words
    found = _doctor(peopled)
    assert (found["state"], kind in found["found"]) == ("bad", True)
    assert "sekisho clock confirm" in found["hint"]
    for refused in (
        ("user", "add", "12345678", "年金 次郎", "jiro@example.jp"),
        ("request", "reissue", "K12345678", "--reason", "mail_lost"),
        ("eab", "create", "K12345678"),
    ):
        error = peopled(*refused).error
        assert (error["code"], kind in error["message"]) == ("clock_in_doubt", True), refused
        assert "sekisho clock confirm" in error["hint"]
    assert peopled("clock", "confirm").value["clock"]["in_doubt"] is False
    line = peopled("audit", "show", "--subject", "clock").value["audit"][0]
    assert line["action"] == "clock.confirmed"
    assert abs(line["detail"]["seconds"] - off) < 60
    assert _doctor(peopled)["state"] == "ok"
    assert peopled("user", "add", "12345678", "年金 次郎", "jiro@example.jp").code == 0


def test_a_clock_that_is_right(peopled: Shell) -> None:
    """Rejection twin: after four days off nothing is in doubt, and confirm says so."""
    assert peopled("clock", "show").value["clock"]["believed_at"] is None
    _last_seen(peopled, time.time() - 4 * DAY)
    shown = peopled("clock", "show").value["clock"]
    assert (shown["in_doubt"], shown["off_seconds"]) == (False, 0)
    assert "It was not in doubt." in peopled("clock", "confirm", json_output=False).out


def test_how_far_is_a_setting(peopled: Shell) -> None:
    """clock.ahead_days says what is believed; nonsense is refused by name."""
    _last_seen(peopled, time.time() - 4 * DAY)
    (peopled.data / "sekisho.toml").write_text("[clock]\nahead_days = 3\n")
    assert peopled("clock", "show").value["clock"]["in_doubt"] is True
    (peopled.data / "sekisho.toml").write_text("[clock]\nahead_days = 0\n")
    assert "clock.ahead_days: write a number from 1 to 365" in peopled("clock", "show").error["message"]


def test_a_demos_clock_is_its_visitors(lived: dict[str, Any]) -> None:
    """There is nothing to confirm where the clock is moved on purpose."""
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    demo = Shell(Path(lived["data"]))
    assert demo("clock", "show", SEKISHO_PASSPHRASE=passphrase).value["clock"]["in_doubt"] is False
    assert demo("clock", "confirm", SEKISHO_PASSPHRASE=passphrase).error["code"] == "not_permitted"


async def _issued(sekisho: Shell) -> str:
    """K12345678's request, issued, with its key, and its window over by now."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        (found,) = store.enrollments_of(look(deployment.ra.database), "K12345678")
        await issuance.submit(deployment.ra, found.request_id, actor="test")
        await issuance.complete(deployment.ra, found.request_id)
        await deployment.ra.database.write(
            lambda db: db.execute(
                "UPDATE enrollments SET window_ends_at = :at", {"at": int(time.time()) - DAY}
            )
        )
    return found.request_id


def _state(sekisho: Shell, request_id: str) -> tuple[str, bool]:
    with sqlite3.connect(sekisho.data / "sekisho.db") as db:
        row = db.execute(
            "SELECT state, sealed_key IS NOT NULL FROM enrollments WHERE request_id = ?", [request_id]
        ).fetchone()
    return str(row[0]), bool(row[1])


@pytest.mark.slow
@LEAPS
def test_a_server_holds_and_goes_on(peopled: Shell, tmp_path: Path, off: int, kind: str) -> None:
    """Two workers in doubt serve, wipe nothing and say so (log, readyz, metric) until it is confirmed."""
    request_id = asyncio.run(_issued(peopled))
    _last_seen(peopled, time.time() - off)
    with ready(peopled.data, tmp_path, workers=2) as gateway:

        def warnings() -> list[str]:
            status, text = get_plain(gateway.internal, "/readyz")
            assert status == 200, text
            return [each for each in json.loads(text)["warnings"] if "the clock" in each]

        until(lambda: len(warnings()) == 2, gateway.log)
        for number, warning in enumerate(warnings()):
            assert warning.startswith(f"worker {number}: the clock is ")
            assert f" {kind} " in warning
            assert warning.endswith("if it is right: sekisho clock confirm; if not, set it")
        figures = get_plain(gateway.internal, "/metrics")[1]
        assert {f'sekisho_clock_in_doubt{{worker="{n}"}} 1' for n in (0, 1)} <= set(figures.splitlines())
        (shown,) = re.findall(r'sekisho_clock_off_seconds\{worker="0"\} (-?\d+)', figures)
        assert abs(int(shown) - off) < 120
        assert _state(peopled, request_id) == ("issued", True)
        found = next(each["found"] for each in gateway.doctor() if each["check"] == "clock")
        assert [f"worker {n}: the clock is " in found for n in (0, 1)] == [True, True]
        assert gateway.get("help.localhost")[0] == 200
        assert gateway.command("clock", "confirm").returncode == 0
        until(lambda: _state(peopled, request_id) == ("closed", False), gateway.log)
        until(lambda: warnings() == [], gateway.log)
        until(lambda: gateway.says("believed again", times=2), gateway.log)
        assert gateway.log.read_text().count("nothing is closed, wiped") == 2
