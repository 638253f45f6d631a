"""What we tell people to type exists: commands and options in errors, hints, help and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from enroll.client.cli import main as client
from gateway.cli.root import whole

ROOT = Path(__file__).parents[2]
PROGRAMS = {"sekisho": whole(), "sekisho-client": client}
ROOMS = ("ca", "enroll", "gateway", "conformance")
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(path for room in ROOMS for path in (ROOT / room).rglob("*")))
    if path.suffix in (".md", ".service", ".timer")
)
_COMMAND = re.compile(
    r"(?:(?<=bin/)|(?<![\w/.=-]))(sekisho(?:-client)?) ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?"
    r"((?:(?!sekisho )[^\n;:`\"|&])*)"
)
_OPTION = re.compile(r"(?<!\S)(--[a-z][a-z0-9-]*[a-z0-9])(?![a-z0-9-])")
#: The program as the subject of a sentence.
_PROSE = {"enrollment", "itself", "local", "nonces", "that"}


def _options(command: click.Command) -> set[str]:
    own = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union({"--help"}, *map(_options, below))


EVERY_OPTION = set().union(*map(_options, PROGRAMS.values()))
#: Of pip, and of the example of an upstream.
OTHERS = {
    *("--force-reinstall", "--issuer", "--jwks", "--origin"),
    *("--module", "--login", "--login-type", "--init-pin"),  # of pkcs11-tool
    *("--system", "--home-dir", "--shell"),  # of useradd
    *("--cert", "--cacert", "--connect-to"),  # of curl
    *("--locale", "--no-sync", "--template", "--if-exists"),  # of initdb, createdb, dropdb
}


def _strings(path: Path) -> Iterator[str]:
    """The texts of a module, its docstrings among them: a command's is its help."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)


def _code(path: Path) -> Iterator[str]:
    """What stands in a document as something to type: fences, code in lines, comments of a unit."""
    text = path.read_text("utf-8")
    if path.suffix != ".md":
        yield from re.findall(r"^(?:#   |Exec\w+=)(.*)$", text, re.MULTILINE)
        return
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def _unknown(text: str) -> Iterator[str]:
    """What a text tells to type and nothing knows."""
    for program, first, second, rest in _COMMAND.findall(text.replace("\\\n", " ")):
        command = PROGRAMS[program].commands.get(first)
        if command is None:
            if first not in _PROSE:
                yield f"{program} {first}"
            continue
        if isinstance(command, click.Group) and second:
            if second not in command.commands:
                yield f"{program} {first} {second}"
                continue
            command = command.commands[second]
        for option in _OPTION.findall(rest):
            if option not in _options(command):
                yield f"{command.name} {option}"


@pytest.mark.slow
@pytest.mark.parametrize("room", ["ca", "enroll", "gateway"])
def test_what_messages_tell_to_type(room: str) -> None:
    """No error, hint or help names a command that is not there, or an option that it does not have."""
    every = {path: list(_strings(path)) for path in sorted((ROOT / room).rglob("*.py"))}
    found = [(path.name, each) for path, texts in every.items() for text in texts for each in _unknown(text)]
    assert found == []
    named = {option for texts in every.values() for text in texts for option in _OPTION.findall(text)}
    assert named <= EVERY_OPTION | OTHERS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_documents_tell_to_type(path: Path) -> None:
    """The same of what stands as code in a README, the protocol, the changelog and the units."""
    assert [each for text in _code(path) for each in _unknown(text)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("make a new one: sekisho ca renew", ["sekisho ca renew"]),
        (
            "sekisho frob, or sekisho application approve 3 and sekisho reload --nix",
            ["sekisho frob", "reload --nix"],
        ),
        ("sekisho init --ca-name NAME", ["init --ca-name"]),
        ("sekisho user add --user-id X --nix", ["add --nix"]),
        ("sekisho-client bind --dir X", ["bind --dir"]),
        ("a fault of sekisho itself", []),
    ],
)
def test_an_unknown_word_is_found(text: str, wrong: list[str]) -> None:
    """The rule above sees what it is for."""
    assert list(_unknown(text)) == wrong
