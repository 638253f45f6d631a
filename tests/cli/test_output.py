"""Answers of any length, and answers that do not arrive."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from gateway.cli import main
from gateway.cli.output import json_parts, write_table
from tests.bench.operator_bench import fill, measure
from tests.cli.conftest import Shell
from tests.datadirs import PASSPHRASE

_LOST = "the answer could not be written to standard output: No space left on device"


def _run(shell: Shell, *words: str, stdout: TextIO | None) -> tuple[int, str]:
    """The exit code and standard error of a command that writes to another standard output."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEKISHO_DATA", str(shell.data))
        patch.setenv("SEKISHO_PASSPHRASE", PASSPHRASE)
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", said)
        with pytest.raises(SystemExit) as ended:
            main([*words])
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.getvalue()


def _on_a_full_disk(shell: Shell, *words: str) -> tuple[int, str]:
    with open("/dev/full", "w") as device:
        return _run(shell, *words, stdout=device)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_key_that_nobody_read_is_withdrawn(peopled: Shell, options: tuple[str, ...]) -> None:
    """`eab create > /dev/full` leaves no credential behind, says so, and what to type."""
    code, said = _on_a_full_disk(peopled, "eab", "create", "K12345678", "--count", "2", *options)
    assert code == os.EX_IOERR
    assert _LOST in said
    assert "The credentials are withdrawn" in said
    assert "sekisho eab create K12345678" in said
    listed = peopled("eab", "list", "K12345678").value["credentials"]
    assert [each["withdrawn_at"] is not None for each in listed] == [True, True]


def test_a_key_that_was_read_lives(peopled: Shell) -> None:
    """The twin: a credential whose key arrived works."""
    assert peopled("eab", "create", "K12345678").code == 0
    listed = peopled("eab", "list", "K12345678").value["credentials"]
    assert [each["withdrawn_at"] for each in listed] == [None]


def test_a_key_whose_reader_has_left_is_withdrawn(peopled: Shell) -> None:
    """A closed pipe is a lost key, though it is no error of a list's."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        code, said = _run(peopled, "eab", "create", "K12345678", stdout=pipe)
    assert (code, "withdrawn" in said) == (os.EX_IOERR, True)
    listed = peopled("eab", "list", "K12345678").value["credentials"]
    assert [each["withdrawn_at"] is not None for each in listed] == [True]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        assert _run(peopled, "eab", "list", "K12345678", stdout=pipe) == (0, "")


def test_a_closed_output_is_no_output(peopled: Shell) -> None:
    """`eab create >&-`: Python has no standard output then, and print says nothing about it."""
    code, said = _run(peopled, "eab", "create", "K12345678", stdout=None)
    assert (code, "it is closed" in said) == (os.EX_IOERR, True)


@pytest.mark.parametrize("words", [("org", "list"), ("user", "list", "--json"), ("audit", "show")])
def test_a_lost_list_is_told(peopled: Shell, words: tuple[str, ...]) -> None:
    """No list pretends to have been written."""
    code, said = _on_a_full_disk(peopled, *words)
    assert (code, _LOST in said) == (os.EX_IOERR, True)


def test_json_is_the_same_document_streamed() -> None:
    """An iterator among the values is an array; none of it is one, too."""
    value = {"a": 1, "rows": [{"x": "証"}, {"x": None}], "none": []}
    streamed = {name: iter(each) if isinstance(each, list) else each for name, each in value.items()}
    assert json.loads("".join(json_parts(streamed))) == value
    assert json.loads("".join(json_parts(value))) == value


@pytest.mark.parametrize("width", [80, 120, 200, 400])
@pytest.mark.parametrize(("name", "hint"), [("A" * 40, "h" * 60), ("B" * 90, "h" * 9), ("c", "w" * 500)])
def test_no_table_loses_a_letter(width: int, name: str, hint: str) -> None:
    """However narrow the screen is, what a cell says stands in its table whole: it is folded, never cut."""
    columns = {"name": "Name", **{f"f{number}": "Found" for number in range(6)}, "hint": ""}
    record = {**{f"f{number}": "2026.12.01 00:00:00" for number in range(6)}, "name": name, "hint": hint}
    said = io.StringIO()
    write_table(Console(file=said, width=width), iter([record]), columns, lambda field, value: str(value))
    assert [said.getvalue().count(cell[0]) for cell in (name, hint)] == [len(name), len(hint)]


@pytest.mark.slow
def test_long_lists_are_streamed(sekisho: Shell, tmp_path: Path) -> None:
    """A list takes no more memory for being long: 10,000 certificates here."""
    small = measure(sekisho.data, "cert", "list")["most_mib"]
    fill(sekisho.data, 500, 10_000)
    for options in ((), ("--json",)):
        long = measure(sekisho.data, "cert", "list", "--limit", "100000", *options)
        assert long["code"] == 0
        assert long["bytes"] > 1_000_000
        assert long["most_mib"] < small + 20
    found = sekisho("cert", "list", "--limit", "100000").value["certificates"]
    assert len({each["serial"] for each in found}) == 10_000
    assert len(sekisho("request", "list", "--limit", "100000").value["requests"]) == 10_000
    assert len(sekisho("audit", "show", "--limit", "5000").value["audit"]) == 5_000
    lines = sekisho("cert", "list", "--limit", "3000", json_output=False).out.splitlines()
    assert len(lines) == 3_001
    assert len({line.index("client-person") for line in lines[1:] if "client-person" in line}) <= 1


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--name", "年金 7郎"), 20),
        (("--name", "ﾈﾝｷﾝ"), 0),
        (("--name", "K00000007"), 20),
        (("--name", "%"), 0),
        (("--mail", "USER7@"), 20),
        (("--mail", "user7@EXAMPLE.jp", "--status", "revoked"), 0),
        (("--ends-before", "2026-01-01"), 0),
        (("--ends-after", "2026-01-01", "--status", "issued"), 10_000),
        (("--status", "expired"), 0),
        (("--user", "k0000-0007"), 20),
    ],
)
def test_certificates_are_narrowed(filled: Shell, words: tuple[str, ...], count: int) -> None:
    """By name, mail, end, state and user, each in any spelling; what is looked for is no pattern."""
    assert len(filled("cert", "list", "--limit", "100000", *words).value["certificates"]) == count


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--name", "年金 7郎"), 1),
        (("--mail", "ｕｓｅｒ7@example.jp"), 1),
        (("--status", "active"), 500),
        (("--status", "disabled"), 0),
        (("--ends-before", "2026-01-01"), 0),
        (("--ends-after", "2026-01-01"), 500),
        (("--org", "１２３４５６７８"), 500),
    ],
)
def test_users_are_narrowed(filled: Shell, words: tuple[str, ...], count: int) -> None:
    """The same of users; an end is that of a live certificate."""
    assert len(filled("user", "list", *words).value["users"]) == count


def test_a_user_is_shown_with_certificates(filled: Shell) -> None:
    """`user show` has them, and `audit show --subject USER` finds what happened to them."""
    user = filled("user", "show", "K00000007").value["user"]
    assert len(user["certificates"]) == len(user["requests"]) == 20
    assert {each["serial"] for each in user["certificates"]} == {each["serial"] for each in user["requests"]}
    lines = filled("audit", "show", "--subject", "k00000007", "--limit", "1000").value["audit"]
    assert {each["action"] for each in lines if each["subject"] == "K00000007"} == {"person.seen"}
    happened = {each["subject"] for each in lines if each["action"] != "person.seen"}
    assert happened == {each["serial"] for each in user["certificates"]}
    assert filled("audit", "show", "--subject", "K99999999").value["audit"] == []
    text = filled("user", "show", "K00000007", json_output=False).out
    assert sum(line.startswith("certificate ") for line in text.splitlines()) == 20


@pytest.fixture(scope="module")
def filled(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A register of 500 users with 20 certificates each; only looked at."""
    data = tmp_path_factory.mktemp("filled") / "data"
    shutil.copytree(ready, data)
    fill(data, 500, 10_000)
    return Shell(data)
