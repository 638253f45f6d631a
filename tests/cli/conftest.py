"""Commands on real data directories: a ready one is copied for each test, so that they start fast."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ca import datadir
from gateway.cli import main
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.deployment import DEMO_MARKER
from tests import databases
from tests.cli.processes import PATIENCE, change, process, until
from tests.datadirs import CHEAP, PASSPHRASE, START, cheaper

#: The port that people see of nodes behind a balancer.
PUBLIC = 7443


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return self.value["error"]


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Signals that a command leaves ignored or blocked are so until its process ends: here they would be for
    whatever a later test starts."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # In a thread nothing can have been set, nor can it be here.
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@dataclass(frozen=True)
class Shell:
    """Runs ``sekisho`` in this process, with the passphrase in the environment."""

    data: Path

    def __call__(self, *words: str, json_output: bool = True, **environment: str) -> Ran:
        runner = CliRunner()
        given = {"SEKISHO_DATA": str(self.data), "SEKISHO_PASSPHRASE": PASSPHRASE, **environment}
        with _signals_kept():
            result = runner.invoke(main, [*words, *(["--json"] if json_output else [])], env=given)
        return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as ``init`` makes it, under a passphrase that is quick to check."""
    data = tmp_path_factory.mktemp("ready") / "data"
    datadir.create(data, PASSPHRASE, START - 86_400, cost=CHEAP)
    # Keys that need no stock: each server would begin by making eight RSA keys in a process of its own.
    policy = replace(Config().policy, person_key="ec-p256")
    (data / FILE_NAME).write_text(toml_of(replace(Config(), policy=policy)))
    return data


@pytest.fixture
def sekisho(ready: Path, tmp_path: Path) -> Shell:
    """The command line on a data directory of the test's own."""
    data = tmp_path / "data"
    shutil.copytree(ready, data)
    return Shell(data)


@pytest.fixture
def first(sekisho: Shell, tmp_path: Path) -> Shell:
    """A data directory whose database is on a server; its clock is moved by the tests."""
    url = databases.url_of(tmp_path / "shared")
    change(
        sekisho.data / FILE_NAME,
        {("database", "url"): json.dumps(url), ("listen", "public_port"): str(PUBLIC)},
    )
    (sekisho.data / DEMO_MARKER).write_text("{}")
    return sekisho


@pytest.fixture
def with_somebody(first: Shell) -> None:
    """There, a user whose letters wait."""
    assert first("org", "add", "12345678", "霞が関商事").code == 0
    assert (
        first("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", "K12345678").code == 0
    )


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A demo's directory, which has people with certificates; the demo itself has stopped."""
    place = tmp_path_factory.mktemp("lived")
    summary, log = place / "summary.json", place / "log"
    words = ("demo", "--data", str(place / "data"), "--port", "0", "--summary", str(summary))
    with process(*words, log=log, copied=True) as running:
        until(summary.exists, log, running, 5 * PATIENCE)
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(60) == 0, log.read_text()
    told: dict[str, Any] = json.loads(summary.read_text())
    cheaper(Path(told["data"]), Path(told["passphrase_file"]).read_text().strip())
    return told


@pytest.fixture(scope="session")
def with_people(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one organisation and one user, K12345678."""
    sekisho = Shell(tmp_path_factory.mktemp("peopled") / "data")
    shutil.copytree(ready, sekisho.data)
    assert sekisho("org", "add", "12345678", "霞が関商事").code == 0
    made = sekisho("user", "add", "12345678", "年金 太郎", "taro@example.jp", "--user-id", "K12345678")
    assert made.code == 0, made.out
    return sekisho.data


@pytest.fixture
def peopled(sekisho: Shell, with_people: Path) -> Shell:
    """The same command line, its directory a copy of that one: what was done in it is some minutes old."""
    shutil.rmtree(sekisho.data)
    shutil.copytree(with_people, sekisho.data)
    return sekisho


Run = Callable[..., Ran]
