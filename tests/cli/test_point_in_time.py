"""The database on a server put back to a moment, by what `docs/operations/nodes.md` says to type."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.serving.config import FILE_NAME
from tests import databases
from tests.cli.conftest import Shell
from tests.cli.processes import change
from tests.cli.test_every_command import issued_for
from tests.mutants.faults import ROOT

pytestmark = databases.NEEDED

_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MAIN, _LOST, _TO = "/var/lib/postgresql/15/main", "/var/lib/postgresql/15/lost", "/backup"


@dataclass
class _Machine:
    """The server, for whoever types the document's lines as its user; its directories are others here."""

    cluster: databases.Cluster
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.stack.enter_context(self.cluster.running(durable=True))

    def stop(self) -> None:
        self.stack.close()

    def typed(self, block: str, **other: str) -> str:
        """What the last command of it said."""
        folder = self.cluster.folder
        for was, now in (
            *other.items(),
            (_MAIN, str(folder / "data")),
            (_LOST, str(folder / "lost")),
            (_TO, str(folder / "backup")),
        ):
            assert was not in other or was in block
            block = block.replace(was, now)
        said = ""
        for each in re.split(r"(?m)^systemctl (\w+) postgresql$", block):
            match each:
                case "stop":
                    self.stop()
                case "start":
                    self.start()
                case "restart":
                    self.stop()
                    self.start()
                case _:
                    said = self._shell(each)
        return said

    def _shell(self, text: str) -> str:
        programs = f"{databases.PROGRAMS[-1]}:{os.environ['PATH']}"
        environment = {"PATH": programs, "PGHOST": str(self.cluster.folder), "PGUSER": "postgres"}
        ran = subprocess.run(
            [*databases.as_postgres(), "bash", "-euo", "pipefail", "-c", text],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout


@pytest.fixture
def machine() -> Iterator[_Machine]:
    with databases.temporary() as cluster:
        found = _Machine(cluster)
        found.start()
        try:
            yield found
        finally:
            found.stop()


def _serials(node: Shell) -> dict[str, str]:
    ran = node("cert", "list")
    assert ran.code == 0, ran.out
    return {each["serial"]: each["status"] for each in ran.value["certificates"]}


def _added(node: Shell, number: int) -> None:
    user = f"K1234567{number}"
    added = node("user", "add", "12345678", f"利用者{number}", f"k{number}@example.jp", "--user-id", user)
    assert added.code == 0, added.out


def _issued(node: Shell, number: int) -> str:
    (request,) = node("request", "list", "--user", f"K1234567{number}").value["requests"]
    return issued_for(node, request["request_id"])


@pytest.mark.slow
def test_back_to_a_moment(sekisho: Shell, tmp_path: Path, machine: _Machine) -> None:
    """Base backup and WAL archive, the server lost, recovered to a moment: none serves before every node has
    replayed its journal, and then all is there that was answered: before the backup, after it, after the
    moment, at either node; what was revoked is."""
    text = (ROOT / "docs/operations/nodes.md").read_text("utf-8").split("\n## Backup\n")[1].split("\n## ")[0]
    once, nightly, back, replay, check = _BLOCK.findall(text)
    machine.typed("createdb sekisho")
    change(sekisho.data / FILE_NAME, {("database", "url"): json.dumps(machine.cluster.url("sekisho"))})
    other = Shell(tmp_path / "second")
    assert other("node", "join", "--from", str(sekisho.data)).code == 0
    nodes = (sekisho, other)
    assert sekisho("org", "add", "12345678", "霞が関商事").code == 0
    for number in range(6):
        _added(nodes[number % 2], number)

    assert machine.typed(once).endswith("t|\n")
    before = [_issued(node, number) for number, node in enumerate(nodes)]
    machine.typed(nightly)
    after = [_issued(node, number) for number, node in enumerate(nodes, 2)]
    moment = machine.typed("psql -Atc 'SELECT now()'").strip()
    late = [_issued(node, number) for number, node in enumerate(nodes, 4)]
    _added(sekisho, 6)
    unknown = _issued(other, 6)
    assert sekisho("cert", "revoke", before[0]).code == 0
    assert other("cert", "revoke", after[1]).code == 0
    was = _serials(sekisho)
    assert {*was} == {*before, *after, *late, unknown}
    machine.typed("psql -Atc 'SELECT pg_switch_wal()'")
    asked = f"SELECT last_archived_time > '{moment}' FROM pg_stat_archiver"
    end = time.monotonic() + 60
    while machine.typed(f'psql -Atc "{asked}"') != "t\n":
        assert time.monotonic() < end
        time.sleep(0.2)
    made = next((machine.cluster.folder / "backup").glob("base-*"))
    machine.stop()
    shutil.rmtree(machine.cluster.folder / "data" / "base")  # lost

    day, at = "2026-11-30", "2026-11-30 14:05:00+09"
    assert at in back
    machine.typed(back.replace(at, moment), **{f"base-{day}": made.name})
    end = time.monotonic() + 60
    while machine.typed("psql -Atc 'SELECT pg_is_in_recovery()'") != "f\n":
        assert time.monotonic() < end
        time.sleep(0.2)
    for node in nodes:
        assert "older than its journal" in node("user", "list").error["message"]
    words = replay.split()
    assert words[0] == "sekisho"
    done = [node(*words[1:]) for node in nodes]
    assert [each.code for each in done] == [0, 0], [each.out for each in done]
    found = [each["serial"] for ran in done for each in ran.value["replay"]["report"]["certificates"]]
    assert sorted(found) == sorted((*late, unknown))
    # That of somebody whom nobody knows any more is good no more.
    assert _serials(other) == was | {unknown: "revoked"}
    # Keys of windows are given by gateways to each other, and none runs here.
    troubles = sekisho(*check.split()[1:]).value["troubles"]
    assert [each for each in troubles if each["check"] != "sealed"] == []
    _added(other, 7)
    _issued(other, 7)
