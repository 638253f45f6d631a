"""Where a token's PIN comes from, and to whom it is not told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ca.errors import ConfigError
from ca.sealing import Vault
from gateway.serving.settings.tokens import TokenTable
from gateway.serving.tokens import Pins, seal_pin, token_of

VAULT = Vault(bytes(32))
TABLE = TokenTable(module="/usr/lib/module.so", label="sekisho")
VARIABLE = "SEKISHO_TEST_PIN"


def _pins(data: Path, table: TokenTable, *answers: str) -> Pins:
    remaining = list(answers)
    return Pins(data, VAULT, {"hsm": table}, lambda _: remaining.pop(0))


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """One line of it, below the data directory or wherever it is: whoever changes the PIN writes it there.
    One that is missing, empty or a folder is named, with its setting."""
    for named in ("pin", str(tmp_path / "pin")):
        pins, token = _pins(tmp_path, table := replace(TABLE, pin_file=named)), token_of("hsm", table)
        for pin in ("1234", "correct horse"):
            (tmp_path / "pin").write_text(f"{pin}\n")
            assert pins(token) == pin
    for odd in (
        lambda: (tmp_path / "pin").write_text("\n"),
        (tmp_path / "pin").unlink,
        (tmp_path / "pin").mkdir,
    ):
        odd()
        with pytest.raises(ConfigError, match=r"^tokens\.hsm\.pin_file: "):
            pins(token)


def test_a_variable_is_taken_once_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is started later finds it in no environment; without it the error says what to set."""
    table = replace(TABLE, pin_variable=VARIABLE)
    token = token_of("hsm", table)
    monkeypatch.setenv(VARIABLE, "1234")
    pins = _pins(tmp_path, table)
    assert (pins(token), pins(token)) == ("1234", "1234")
    assert VARIABLE not in os.environ
    with pytest.raises(ConfigError, match=f"no PIN was given for the token .*; set {VARIABLE}"):
        _pins(tmp_path, table)(token)


def test_a_question_is_asked_once_and_not_while_it_serves(tmp_path: Path) -> None:
    """At the start, for all that are needed; a wrong answer is nobody's, and later nobody sits there."""
    token = token_of("hsm", TABLE)
    pins = _pins(tmp_path, TABLE, "1234", "not asked for")
    pins.collect([token])
    assert (pins(token), pins(token)) == ("1234", "1234")
    nothing = _pins(tmp_path, TABLE, "", "")
    with pytest.raises(ConfigError, match=r"no PIN was given .*; type: sekisho ca key pin hsm"):
        nothing.collect([token])
    late = _pins(tmp_path, TABLE, "not asked for")
    late.collect([])
    with pytest.raises(ConfigError, match="no PIN was given"):
        late(token)


def test_a_sealed_one_is_for_that_token_by_that_module(tmp_path: Path) -> None:
    """Whoever writes the settings, as one who owns a worker may, is told it neither by a module of his own
    nor by another name; nor by another table than was there at the start."""
    token = token_of("hsm", TABLE)
    (tmp_path / "ca").mkdir()
    seal_pin(tmp_path, VAULT, token, "1234")
    assert _pins(tmp_path, TABLE)(token) == "1234"
    own = replace(TABLE, module="/tmp/own.so")
    with pytest.raises(ConfigError, match="the PIN was sealed for another token, or another path"):
        _pins(tmp_path, own)(token_of("hsm", own))
    pins = _pins(tmp_path, TABLE)
    for other in (token_of("hsm", own), token_of("other", TABLE), token_of("hsm", replace(TABLE, label="x"))):
        with pytest.raises(ConfigError, match="was another one, or none, at the start"):
            pins(other)
    with pytest.raises(ConfigError, match="the PIN was sealed for another token"):
        Pins(tmp_path, Vault(b"\x01" * 32), {"hsm": TABLE})(token)
