"""What every command has in common: --data, --json, the passphrase, one way to answer and one to fail."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from enroll.jst import shown
from enroll.operators.actors import Actor, of_account, require_any
from enroll.operators.roles import Act, Verdict
from gateway.cli.caller import DATA_VARIABLE, account, acting, acting_as, uid
from gateway.cli.failures import Failure, failure_of
from gateway.cli.loading import loading
from gateway.cli.output import (
    Console,
    Lines,
    OutputLost,
    ReaderLeft,
    clean,
    console_for,
    write_answer,
    write_end,
    write_part,
    write_table,
)

PASSPHRASE_VARIABLE = "SEKISHO_PASSPHRASE"
# Set to anything, faults of ours show where they happened.
_TRACEBACK_VARIABLE = "SEKISHO_TRACEBACK"
_DEFAULT_DATA = "sekisho-data"


@dataclass(frozen=True)
class Answer:
    """What a command found or did: as JSON, and as something to show to people."""

    value: Mapping[str, Any]
    show: Callable[[Console], None]
    #: The command ran and found something wrong: exit code 1.
    failed: bool = False
    #: Takes back what the command made, where nobody else will ever be told of it (a key that is shown once);
    #: called if the answer does not arrive. Says what it did and what to type next.
    undo: Callable[[], Awaitable[str]] | None = None


@dataclass(frozen=True)
class Streamed(Answer):
    """An answer of any length that is written as it comes: standard output has nothing else. ``parts``: all
    of it, as one JSON document or as it was asked for. `show` says on standard error what was written."""

    parts: Callable[[bool], AsyncGenerator[bytes]] | None = None


class Watched(Iterator[Mapping[str, Any]]):
    """Records that are written as they come, and whose they were."""

    def __init__(self, records: Iterator[Mapping[str, Any]]) -> None:
        self._records = records
        self.people = set[str]()

    def __next__(self) -> Mapping[str, Any]:
        record = next(self._records)
        if user_id := record.get("user_id"):
            self.people.add(user_id)
        return record


Work = Callable[..., Awaitable[Answer]]


class Root(click.Group):
    """Renders every error the same way, as text on standard error or as JSON on standard output."""

    def main(  # type: ignore[override]  # its overloads tell what standalone_mode returns, fixed here
        self, args: Sequence[str] | None = None, **options: Any
    ) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        options["prog_name"] = self.name
        sys.exit(guarded(lambda: super(Root, self).main(words, **options), as_json="--json" in words))


@dataclass(frozen=True)
class Gate:
    """Who may type a command: whoever may do any of what is ``wanted`` of an act."""

    act: Act
    wanted: Verdict
    #: Whether the trail says whose data it read (O18); False where the function says so itself.
    noted: bool = True

    @property
    def notes(self) -> bool:
        return self.noted and self.wanted is READS and self.act in _OF_PEOPLE


#: Looks, and changes nothing.
READS = Verdict.READ
#: What of it is about people.
_OF_PEOPLE = frozenset({Act.SEARCH, Act.APPLICATIONS, Act.PRINT})
#: Does it at once.
DOES = Verdict.DO
#: Does it at once, or makes a proposal of it: what it calls asks who acts (`enroll/operators/asking.py`).
ASKS = Verdict.DO | Verdict.PROPOSE | Verdict.DECIDE


class DeploymentCommand(click.Command):
    """A command on an opened data directory, which the running gateway can do as well. ``gate``: None where
    the passphrase is what opens it."""

    def __init__(self, *given: Any, work: Work, gate: Gate | None, **more: Any) -> None:
        super().__init__(*given, **more)
        self.work, self.gate = work, gate

    @property
    def needs_passphrase(self) -> bool:
        """Whether the running gateway never does it."""
        return self.gate is None


def guarded(run: Callable[[], Any], *, as_json: bool) -> int:
    """The exit code of what is run; whatever goes wrong is said in one way."""
    try:
        code = run()
    except ReaderLeft:
        return 0
    except click.exceptions.NoArgsIsHelpError as unfinished:
        # Not an error's words: what there is to type is the whole answer.
        click.echo(unfinished.format_message(), err=True)
        return 2
    except KeyboardInterrupt:
        return _report(failure_of(click.Abort()), as_json=as_json)
    except Exception as error:
        if os.environ.get(_TRACEBACK_VARIABLE):
            traceback.print_exc()
        return _report(failure_of(error), as_json=as_json)
    return code if isinstance(code, int) else 0


def command(
    group: click.Group, name: str, *, default_data: bool = True
) -> Callable[[Callable[..., Answer]], click.Command]:
    """Registers a command that needs no open data directory: ``work(data, **params) -> Answer``.

    Without ``default_data`` the directory is None where --data was not given.
    """
    data_option = _DATA if default_data else _OWN_DATA

    def register(work: Callable[..., Answer]) -> click.Command:
        @functools.wraps(work)
        def callback(data: Path | None, as_json: bool, **params: Any) -> int:
            found = work(data, **params)
            write_answer(found.value, found.show, as_json=as_json)
            return 1 if found.failed else 0

        return group.command(name)(data_option(JSON(callback)))

    return register


def deployment_command(
    group: click.Group, name: str, act: Act, wanted: Verdict, *, noted: bool = True
) -> Callable[[Work], click.Command]:
    """Registers a command on an opened data directory: ``async work(deployment, **params) -> Answer``.

    Where a gateway runs on it, that one does it, and nobody is asked for a passphrase. ``act`` and
    ``wanted``: whose command it is, by their role (`enroll/operators/roles.py`). ``noted``: as for `Gate`.
    """
    return _on_deployment(group, name, Gate(act, wanted, noted))


def passphrase_command(group: click.Group, name: str) -> Callable[[Work], click.Command]:
    """The same for what is about the CAs themselves: who has the passphrase may, and no gateway does it."""
    return _on_deployment(group, name, None)


def _on_deployment(group: click.Group, name: str, gate: Gate | None) -> Callable[[Work], click.Command]:

    def register(work: Work) -> click.Command:
        @functools.wraps(work)
        def callback(data: Path, as_json: bool, passphrase_file: Path | None, **params: Any) -> int:
            # Not above: `serve`, `signer` and `version` want nothing of it.
            with loading():
                import asyncio

                from ca.datadir import read_marker
                from gateway.cli.asking import ask
                from gateway.serving.deployment import opened_deployment

            # Whoever names a passphrase wants to do without the gateway, as when it does not answer any more.
            if passphrase_file is None and gate is not None:
                code = ask(data, click.get_current_context(), params, as_json=as_json)
                if code is not None:
                    return code
            # Before the passphrase: who is in the wrong place is not to look for one.
            read_marker(data)
            passphrase = passphrase_from(passphrase_file)

            async def run() -> int:
                async with opened_deployment(data, passphrase) as deployment:
                    return await worked(work, gate, deployment, params, as_json)

            return asyncio.run(run())

        registered = group.command(name, cls=DeploymentCommand, work=work, gate=gate)
        return registered(_DATA(PASSPHRASE_FILE(JSON(callback))))

    return register


async def worked(
    work: Work, gate: Gate | None, deployment: Any, params: Mapping[str, Any], as_json: bool
) -> int:
    """Does a command's work, if whoever types it may, and writes its answer; returns the exit code."""
    with acting_as(_identified(deployment)):
        if gate is not None:
            require_any(acting(), gate.act, gate.wanted)
        found = await work(deployment, **params)
        # Written before it is closed: a long list is read while it is written.
        if gate is None or not gate.notes:
            return await _present(found, as_json)
        return await _noted(deployment, gate.act, found, as_json)


async def _noted(deployment: Any, act: Act, found: Answer, as_json: bool) -> int:
    """Whose data an answer has stands in the trail before it is told; of a list that is read while it is
    written, as far as that came."""
    from enroll.operators import registers

    async def note(of: str, people: Iterable[str]) -> None:
        await registers.note_reading(deployment.ra, acting(), act, of, [*people])

    streamed = {of: each for of, each in found.value.items() if isinstance(each, Watched)}
    for of, told in found.value.items():
        if of not in streamed:
            await note(of, registers.people_in(told))
    try:
        return await _present(found, as_json)
    finally:
        for of, told in streamed.items():
            await note(of, told.people)


def _identified(deployment: Any) -> Actor:
    """Who types, by the account that the kernel says."""
    host = uid() in (0, deployment.data.stat().st_uid)
    return deployment.ra.database.read_now(  # type: ignore[no-any-return]  # any deployment
        lambda db: of_account(db, account(), deployment.ra.now(), host=host, sandbox=deployment.is_demo)
    )


def passphrase_from(file: Path | None) -> str:
    """The passphrase of the data directory: the file, else the environment, else a question."""
    from ca.sealing import forget, read_passphrase

    prompt = functools.partial(_ask, "Passphrase") if sys.stdin.isatty() else None
    try:
        return read_passphrase(PASSPHRASE_VARIABLE, file, prompt)
    finally:
        forget(PASSPHRASE_VARIABLE)


def new_passphrase_from(file: Path | None, variable: str, option: str) -> str:
    """A passphrase that is being chosen: asked for twice when it is typed. ``option`` names the file."""
    from ca.sealing import forget, read_passphrase

    prompt = functools.partial(_ask, "New passphrase", twice=True) if sys.stdin.isatty() else None
    try:
        return read_passphrase(variable, file, prompt, option=option)
    finally:
        forget(variable)


_Callback = Callable[[click.Context, click.Parameter, str | None], str | None]


def as_typed(meant: Callable[[str], str]) -> _Callback:
    """A callback for what operators type or paste: ``meant`` makes of it what it stands for."""
    return lambda _, __, typed: None if typed is None else meant(typed)


def answer(value: Mapping[str, Any], *lines: str, failed: bool = False) -> Answer:
    """An answer that people read as a few lines."""
    return Answer(value, Lines(lines), failed)


def listing(key: str, records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> Answer:
    """An answer that people read as a table; ``columns`` are record keys with their headings.

    Keys that end in ``_at`` are moments: seconds in JSON, Japan's time in the table. Records of an iterator
    are written as they come.
    """
    found = Watched(records) if isinstance(records, Iterator) else list(records)
    return Answer({key: found}, lambda console: write_table(console, found, columns, cell))


def detail(key: str, record: Mapping[str, Any], *after: str) -> Answer:
    """An answer about one thing: a name and a value on each line, then lines of text."""

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in record.items():
            if not isinstance(value, (list, dict)):
                table.add_row(name, plain(cell(name, value)))
        console.print(table)
        for line in after:
            console.print(plain(line), soft_wrap=True)

    return Answer({key: record}, show)


def both(one: Answer, other: Answer) -> Answer:
    """Two answers as one: the second below the first."""

    def show(console: Console) -> None:
        one.show(console)
        other.show(console)

    return Answer({**one.value, **other.value}, show, failed=one.failed or other.failed)


def cell(name: str, value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "-"
    if name.endswith("_at") or name == "at":
        return shown(int(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def plain(text: str) -> Any:
    """Text for a terminal (`rich.text.Text`), as `clean` has it."""
    from rich.text import Text

    return Text(clean(text))


def _path_option(name: str, destination: str, **options: Any) -> Callable[[Any], Any]:
    # What cannot be read says so itself, and what to type; click would only say that it cannot.
    kind = click.Path(path_type=Path, dir_okay=options.pop("directory", False), readable=False)
    return click.option(name, destination, type=kind, **options)


def default_data() -> Path:
    """The data directory of those who name none."""
    return Path(os.environ.get(DATA_VARIABLE) or _DEFAULT_DATA)


_DATA = _path_option(
    "--data",
    "data",
    directory=True,
    metavar="DIR",
    default=default_data,
    help=f"Data directory; default: ${DATA_VARIABLE}, then ./{_DEFAULT_DATA}.",
)
_OWN_DATA = _path_option("--data", "data", directory=True, metavar="DIR", help="Data directory.")
JSON = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document, errors too.")
PASSPHRASE_FILE = _path_option(
    "--passphrase-file",
    "passphrase_file",
    metavar="FILE",
    help=f"File with the passphrase; default: ${PASSPHRASE_VARIABLE}, then a question.",
)


def _ask(words: str, twice: bool = False) -> str:
    return str(click.prompt(words, hide_input=True, err=True, confirmation_prompt=twice))


async def _present(found: Answer, as_json: bool) -> int:
    if isinstance(found, Streamed):
        assert found.parts is not None, "there is something to write"
        async with aclosing(found.parts(as_json)) as parts:
            async for part in parts:
                write_part(part)
        write_end()
        if not as_json:
            found.show(console_for(stderr=True))
        return 0
    try:
        write_answer(found.value, found.show, as_json=as_json)
    except BaseException as error:
        if found.undo is None:
            raise
        reason = str(error) if isinstance(error, OutputLost) else "nobody reads it"
        raise OutputLost(reason, await found.undo()) from error
    return 1 if found.failed else 0


def _report(failure: Failure, *, as_json: bool) -> int:
    if as_json:
        # Where nothing can be written any more, the error would be lost as well.
        lost = failure.code == "output"
        click.echo(json.dumps({"error": failure.as_json()}, ensure_ascii=False, indent=2), err=lost)
    else:
        from rich.text import Text

        console = console_for(stderr=True)
        console.print(Text("error: ", style="bold red") + plain(failure.message), soft_wrap=True)
        if failure.hint:
            console.print(plain(failure.hint), soft_wrap=True)
    return failure.exit_code
