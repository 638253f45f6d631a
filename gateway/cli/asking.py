"""A command that the running gateway does: what it is told, and what is done here meanwhile.

Of this process the gateway gets neither terminal nor files. It says what is to be written where, and into no
other file than those that were named to be written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ca.datadir import MARKER
from ca.errors import ConfigError
from ca.signerlink import Message
from gateway.cli.caller import DATA_VARIABLE, Given, OutputFile, account, write_here
from gateway.cli.output import settle
from gateway.running.control import HungUp, Line, call
from gateway.running.memory import memory_of, read_whole
from gateway.running.rundir import RUN

# Of the environment, what a command writes by.
ENVIRONMENT = ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "SEKISHO_TRACEBACK")
_INTERRUPTED = 130
#: Where operators reach the gateway of this machine: the setting operators.socket.
SOCKET_VARIABLE, SOCKET_DIRECTORY = "SEKISHO_SOCKET", "/run/sekisho"


def ask(data: Path, context: click.Context, params: Mapping[str, Any], *, as_json: bool) -> int | None:
    """Has the gateway that runs on a data directory do a command, and returns its exit code.

    None where none runs that takes commands. ConfigError if it has not been done, or nobody knows.
    """
    line = _line_to(data)
    if line is None:
        return None
    wanted, given = _wanted(context, params, as_json)
    if _is_named(context):
        wanted["data"] = str(data.absolute())
    memory = memory_of(given)
    try:
        # Whoever is turned away is told why, and may be before anything was said.
        with contextlib.suppress(HungUp):
            line.tell(wanted, memory)
        return attend(line, _outputs(context, params))
    except HungUp:
        raise ConfigError(
            "the gateway has hung up while it ran the command; see what was done: sekisho audit show, and "
            "whether it runs: sekisho doctor"
        ) from None
    finally:
        os.close(memory)
        line.close()


def _line_to(data: Path) -> Line | None:
    """To the gateway of a data directory. Operators reach none: theirs is the one of this machine, which says
    so if it serves another directory than the one that they name."""
    line = call(data / RUN)
    if line is None and not os.path.isfile(data / MARKER):
        directory = Path(os.environ.get(SOCKET_VARIABLE) or SOCKET_DIRECTORY)
        line = call(directory)
        if line is None and os.path.isdir(directory) and not os.access(directory, os.X_OK):
            raise ConfigError(
                f"{directory} lets in only members of a group, the one in operators.group; as root: usermod "
                f"-aG GROUP {account()}"
            )
    return line


def _wanted(context: click.Context, params: Mapping[str, Any], as_json: bool) -> tuple[Message, bytes]:
    """What is to be done, and the content of all files that were given."""
    # Not above: where no gateway runs nobody asks.
    from importlib.metadata import version as version_of

    given = bytearray()
    wanted = {
        "version": version_of("sekisho"),
        "command": context.command_path.split()[1:],
        "params": {name: _packed(value, given) for name, value in params.items()},
        "json": as_json,
        "terminal": {"out": _is_terminal(sys.stdout), "err": _is_terminal(sys.stderr)},
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        | {"COLUMNS": str(shutil.get_terminal_size().columns)},
    }
    return wanted, bytes(given)


def _is_named(context: click.Context) -> bool:
    """Whether somebody has said which data directory it is about."""
    source = context.get_parameter_source("data")
    return source is not ParameterSource.DEFAULT or bool(os.environ.get(DATA_VARIABLE))


def _packed(value: Any, given: bytearray) -> Any:
    """A value as JSON has it; a file's content is put behind what was ``given`` before it."""
    if isinstance(value, Given):
        begin = len(given)
        given += value.content
        return {"file": str(value.path), "begin": begin, "end": len(given)}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, (tuple, list)):
        return [_packed(each, given) for each in value]
    return value


def _outputs(context: click.Context, params: Mapping[str, Any]) -> set[str]:
    writes = {each.name for each in context.command.params if isinstance(each.type, OutputFile)}
    return {str(params[name]) for name in writes if name in params and params[name] is not None}


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


def attend(line: Line, outputs: set[str]) -> int:
    """Does what the gateway asks for, until it says how the command has ended."""
    interrupted = False
    while True:
        try:
            told, fd = line.hear()
        except KeyboardInterrupt:
            if interrupted:
                return _INTERRUPTED
            # It ends there as it would here, and still says what stays done.
            interrupted = True
            line.finish()
            continue
        if "refused" in told:
            raise ConfigError(f"the gateway has not run it: {told['refused']}")
        if "exit" in told:
            return int(told["exit"])
        try:
            answer = _done(told, fd, outputs)
        finally:
            if fd is not None:
                os.close(fd)
        if not interrupted:
            line.tell(answer)


def _done(told: Message, fd: int | None, outputs: set[str]) -> Message:
    try:
        if "text" in told:
            stream = sys.stderr if told["to"] == "err" else sys.stdout
            if stream is not None:
                stream.write(told["text"])
                stream.flush()
        elif "octets" in told and fd is not None:
            if sys.stdout is not None:
                sys.stdout.buffer.write(read_whole(fd))
                sys.stdout.flush()
        elif "settle" in told:
            settle(sys.stdout)
        elif told.get("write") in outputs and fd is not None:
            write_here(Path(told["write"]), read_whole(fd), bool(told["public"]))
        else:
            raise HungUp  # it wants what no command does
    except OSError as error:
        return {"errno": error.errno or 5, "file": error.filename}
    return {}
