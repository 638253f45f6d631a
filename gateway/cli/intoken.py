"""How an operator names a token (PKCS#11) where there are no settings yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ca.errors import ConfigError
from ca.sealing import read_line
from ca.tokenlink import Token
from ca.tokens import Tokens

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option(
        "--token-module", metavar="FILE", default="", help="PKCS#11 module of a token in which keys are made."
    ),
    click.option("--token-label", metavar="LABEL", default="", help="Which token it is, by its label."),
    click.option("--token-serial", metavar="NUMBER", default="", help="Which token it is, by its number."),
    click.option(
        "--token-pin-file", metavar="FILE", default=None, type=_FILE, help="Its PIN; default: a question."
    ),
)


@dataclass(frozen=True)
class InToken:
    """A token with its PIN, open for keys to be made."""

    token: Token
    tokens: Tokens
    pin: str


def token_options(command: F) -> F:
    """The options of a command that makes keys in a token, if they are given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def opened_token(module: str, label: str, serial: str, pin_file: Path | None) -> Iterator[InToken | None]:
    """The token that options name, for the length of a block; None if they name none."""
    if not (module or label or serial):
        yield None
        return
    if not module or not (label or serial):
        missing = "--token-label LABEL" if module else "--token-module FILE"
        raise ConfigError(f"a token is named by its module, and by its label or serial number; add {missing}")
    with open_for_change(Token("", str(Path(module).absolute()), label, serial), pin_file) as found:
        yield found


@contextmanager
def open_for_change(token: Token, pin_file: Path | None) -> Iterator[InToken]:
    """A token, for the length of a block. Its PIN is asked for where no file has it."""
    pin = read_line(pin_file, "PIN") if pin_file is not None else _typed(token)
    with closing(Tokens({}, lambda _: pin, change=True)) as tokens:
        yield InToken(token, tokens, pin)


def _typed(token: Token) -> str:
    typed: str = click.prompt(f"   PIN of the token {token}", hide_input=True, err=True)
    return typed
