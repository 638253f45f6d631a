"""What the running gateway does with a command that somebody wants it to run: in a process of its own."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import click

from ca.errors import ConfigError
from ca.signerlink import Message
from gateway.cli.asking import ENVIRONMENT
from gateway.cli.caller import Given, InputFile, be_for
from gateway.cli.frame import DeploymentCommand, guarded, worked
from gateway.cli.root import root
from gateway.running.control import Caller, HungUp, Line
from gateway.running.memory import memory_of, read_given
from gateway.serving.deployment import Deployment

# Characters in one message: at most four octets each, twice that as JSON.
_AT_ONCE = 4_096


def answer_command(caller: Caller, opened: Callable[[], Deployment]) -> None:
    """Runs what a caller wants, and tells them how it has ended."""
    wanted, fd = caller.wanted, caller.given
    if wanted.get("version") != version_of("sekisho"):
        caller.line.tell({"refused": "it is of another version; start it again: systemctl restart sekisho"})
        return
    found = _command(wanted["command"])
    if found is None:
        caller.line.tell({"refused": f"it knows no command {' '.join(map(str, wanted['command']))}"})
        return
    try:
        given = b"" if fd is None else read_given(fd)
    except ValueError as why:
        caller.line.tell({"refused": str(why)})
        return
    # Whoever asks is no more than a member of a group: what else the environment says is this process's own.
    told = wanted["environment"]
    os.environ |= {name: str(told[name]) for name in (*ENVIRONMENT, "COLUMNS") if name in told}
    be_for(caller.uid, lambda path, content, public: _write(caller.line, path, content, public))
    sys.stdout = _Told(caller.line, "out", wanted["terminal"]["out"])
    sys.stderr = _Told(caller.line, "err", wanted["terminal"]["err"])
    typed = {name: _unpacked(value, given) for name, value in wanted["params"].items()}

    async def run() -> int:
        deployment = opened()
        try:
            _check_meant(deployment.data, wanted.get("data"))
            params = checked(found, typed)
            return await worked(found.work, found.gate, deployment, params, wanted["json"])
        finally:
            await deployment.close()

    code = guarded(lambda: asyncio.run(run()), as_json=wanted["json"])
    # Whoever has heard how it ended hangs up, and that is no Ctrl-C any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(HungUp):
        caller.line.tell({"exit": code})


def _command(words: list[str]) -> DeploymentCommand | None:
    found: click.Command | None = root
    for word in words:
        if not isinstance(found, click.Group):
            return None
        found = found.get_command(click.Context(found), word)
    return found if isinstance(found, DeploymentCommand) and not found.needs_passphrase else None


def _check_meant(data: Path, named: str | None) -> None:
    if named is not None and os.path.realpath(named) != os.path.realpath(data):
        raise ConfigError(f"the gateway of this machine serves {data}, and not {named}")


def checked(command: click.Command, typed: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, looked at as it was where it was typed: whoever asks may have left that out.

    UsageError for what cannot have been typed."""
    context, known = click.Context(command), {each.name: each for each in command.params}
    found: dict[str, Any] = {}
    for name, value in typed.items():
        if name not in known:
            raise click.UsageError(f"it knows no parameter {name}", context)
        found[name] = _again(known[name], value, context)
    return found


def _again(param: click.Parameter, value: Any, context: click.Context) -> Any:
    several = param.multiple or param.nargs != 1
    for each in value if several and isinstance(value, tuple) else [value]:
        wanted: type = str
        if isinstance(param.type, InputFile):
            wanted = Given
        elif isinstance(param.type, click.Path):
            wanted = Path
        elif isinstance(param.type, click.DateTime):
            wanted = datetime
        elif isinstance(param.type, (click.types.IntParamType, click.types.FloatParamType)):
            wanted = float if isinstance(param.type, click.types.FloatParamType) else int
        elif isinstance(param.type, click.types.BoolParamType):
            wanted = bool
        if each is not None and not isinstance(each, wanted):
            raise click.UsageError(f"{param.name} cannot be that", context)
        if each is not None and wanted in (str, int, float):
            param.type.convert(each, param, context)
    if value is None and param.required:
        raise click.UsageError(f"{param.name} is missing", context)
    callback = param.callback
    return value if callback is None or value is None else callback(context, param, value)


def _unpacked(value: Any, given: bytes) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(each, given) for each in value)
    if not isinstance(value, dict):
        return value
    if "file" in value:
        return Given(Path(value["file"]), given[value["begin"] : value["end"]])
    return Path(value["path"]) if "path" in value else datetime.fromisoformat(value["time"])


def _write(line: Line, path: Path, content: bytes, public: bool) -> None:
    memory = memory_of(content)
    try:
        line.ask({"write": str(path), "public": public}, memory)
    except HungUp:
        raise BrokenPipeError from None
    finally:
        os.close(memory)


class _Told(io.TextIOBase):
    """A stream that is written elsewhere. Like any other it says when nobody reads it any more."""

    def __init__(self, line: Line, to: str, terminal: bool) -> None:
        self._line, self._to, self._terminal = line, to, terminal
        self._kept: list[str] = []
        self._size = 0

    encoding = "utf-8"

    def isatty(self) -> bool:
        return self._terminal

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # click tries what a stream takes
            raise TypeError("text is written here")
        self._kept.append(text)
        self._size += len(text)
        if self._size >= _AT_ONCE or self._to == "err":
            self.flush()
        return len(text)

    def flush(self) -> None:
        text, self._kept, self._size = "".join(self._kept), [], 0
        for begin in range(0, len(text), _AT_ONCE):
            self._ask({"to": self._to, "text": text[begin : begin + _AT_ONCE]})

    def write_octets(self, content: bytes) -> None:
        """Writes what is no text, behind what was written before."""
        self.flush()
        memory = memory_of(content)
        try:
            self._ask({"to": self._to, "octets": True}, memory)
        finally:
            os.close(memory)

    def settle(self) -> None:
        """Has what was written on the disk, where it goes there."""
        self._ask({"settle": True})

    def _ask(self, message: Message, memory: int | None = None) -> Mapping[str, Any]:
        try:
            return self._line.ask(message, memory)[0]
        except HungUp:
            raise BrokenPipeError from None
