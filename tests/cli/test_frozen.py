"""The node that leads is frozen in the midst of a transaction, another one leads, and the first one wakes up:
what it was doing is done once."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ca.clock import OffsetClock
from enroll.jobs import running
from enroll.jst import day_of, start_of
from gateway.serving.deployment import CLOCK
from tests import databases
from tests.cli.conftest import Shell
from tests.cli.processes import until
from tests.cli.test_nodes import DAY, _end_of, _Flow, _leading, _letters, _lists, _two
from tests.cli.test_serving import Gateway
from tests.enroll.test_jobs import people
from tests.started import signal_family

pytestmark = [databases.NEEDED, pytest.mark.slow]

_USERS = ("K0000001", "K0000002", "K0000003")
_LEADS, _LEADS_NO_MORE = "this node leads from now on", "this node leads no more"
# Of an import: a node of a demo does one in two seconds.
_ROWS = 8


@dataclass
class _Office:
    """Two nodes, the first of which leads, and their database."""

    nodes: list[Gateway]
    url: str
    folder: Path
    #: When the first of the users' certificates ends.
    end: int = 0

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in databases._wait(databases._asked(self.url, statement))]

    def count(self, statement: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {statement}")[0][0])

    def travel(self, to: Callable[[int], int]) -> None:
        """Both nodes' clocks, to a moment after the one that it is."""
        for each in self.nodes:
            clock = OffsetClock(each.data / CLOCK)
            clock.travel(to(int(clock.seconds())) - clock.seconds())

    async def populated(self) -> None:
        """Users with certificates."""
        async with _Flow(self.nodes, self.folder) as flow:
            for user_id in _USERS:
                mail = f"{user_id.lower()}@example.jp"
                add = ("user", "add", "12345678", f"年金 {user_id}", mail, "--user-id", user_id)
                assert self.nodes[0].command(*add).returncode == 0
                until(lambda u=user_id: self._pick_up(u) is not None, self.nodes[0].log)  # type: ignore[misc]
                p12 = await flow.picked_up(self._pick_up(user_id), user_id)
                self.end = self.end or _end_of(p12)

    def _pick_up(self, user_id: str) -> Any:
        found = _letters(*[Shell(each.data) for each in self.nodes])
        return next((each for each in found if "-pickup." in each.name and user_id in each.body), None)

    def delivered(self) -> Counter[str]:
        """How often each letter has left, by its Message-ID."""
        files = [path for each in self.nodes for path in (each.data / "outbox").glob("*.eml")]
        return Counter(str(message_from_bytes(path.read_bytes())["Message-ID"]) for path in files)


# -- what the one that leads does, up to where it is frozen, and how that has to be at the end ---------------


def _import(office: _Office) -> None:
    payload = json.dumps(people(_ROWS), ensure_ascii=False)
    office.rows(
        "INSERT INTO jobs (kind, subject, payload, proposer, proposed_by, decided_by, state, total, made_at)"
        f" VALUES ('user.import', 'people.csv', '{payload}', 'a', 'operator:a', 'operator:b', 'waiting',"
        f" {_ROWS}, {int(time.time())})"
    )
    until(lambda: office.count("job_rows") >= 2, office.nodes[0].log)


def _go_on(office: _Office) -> None:
    office.travel(lambda now: now + running.STALE + 1)


def _imported(office: _Office) -> None:
    assert office.rows("SELECT state, done, total FROM jobs") == [("done", _ROWS, _ROWS)]
    assert office.rows("SELECT result, count(*) FROM job_rows GROUP BY result") == [("added", _ROWS)]
    assert office.count("users") == _ROWS
    assert office.rows("SELECT count(*), count(DISTINCT subject) FROM audit WHERE action = 'user.added'") == [
        (_ROWS, _ROWS)
    ]
    assert office.count("mails") == 2 * _ROWS


def _revoke(office: _Office) -> None:
    assert office.nodes[1].command("user", "disable", _USERS[0]).returncode == 0


def _listed(office: _Office) -> None:
    told = [json.loads(row[0]) for row in office.rows(_PUBLISHED)]
    numbers = [each["number"] for each in told]
    assert numbers == sorted({*numbers})
    # What the one that was frozen has signed stands in nobody's way.
    assert office.nodes[1].command("user", "disable", _USERS[1]).returncode == 0
    until(lambda: len(office.rows(_PUBLISHED)) > len(told), office.nodes[1].log)
    one, two = office.nodes
    until(lambda: _lists(one) == _lists(two) and len(_lists(one)) == 1, one.log)
    (row,) = office.rows("SELECT number, digest, entries FROM crls")
    assert row[0] == max(numbers) + 1
    assert row[1][:16].encode() in _lists(one)[0]
    assert row[2] == 2


_PUBLISHED = "SELECT detail FROM audit WHERE action = 'list.published' ORDER BY id"


def _month_before(office: _Office) -> None:
    # At noon in Japan: letters that nobody waits for leave by day.
    noon = start_of(day_of(office.end - 30 * DAY)) + DAY // 2
    office.travel(lambda _: noon)


def _noticed(office: _Office) -> None:
    for each in ("mails WHERE kind = 'renewal_30'", "enrollments WHERE kind = 'renewal'"):
        assert office.count(each) == len(_USERS), each


@dataclass(frozen=True)
class _Midst:
    """``wanted``: a table that it writes into, and has to wait for. ``begin``: before that; ``cause``: why it
    is done then. ``goes_on``: why whoever follows does it. ``reached``: the one that follows has begun;
    ``ended``: all of it is done. ``check``: how it has to be at the end."""

    wanted: str
    reached: Callable[[_Office], bool]
    ended: Callable[[_Office], bool]
    check: Callable[[_Office], None]
    begin: Callable[[_Office], None] = lambda _: None
    cause: Callable[[_Office], None] = lambda _: None
    goes_on: Callable[[_Office], None] = lambda _: None
    people: bool = True


_MIDST = {
    "a job": _Midst(
        "job_rows",
        begin=_import,
        goes_on=_go_on,
        reached=lambda office: office.count("job_rows") >= 4,
        ended=lambda office: office.count("jobs WHERE state = 'done'") == 1,
        check=_imported,
        people=False,
    ),
    "a list": _Midst(
        "crls",
        cause=_revoke,
        reached=lambda office: office.count("crls WHERE entries = 1") == 1,
        ended=lambda office: office.count("crls WHERE entries = 1") == 1,
        check=_listed,
    ),
    "reminders": _Midst(
        "mails",
        cause=_month_before,
        reached=lambda office: office.count("mails WHERE kind = 'renewal_30'") >= 1,
        ended=lambda office: office.count("mails WHERE kind = 'renewal_30'") == len(_USERS),
        check=_noticed,
    ),
}


@pytest.fixture
def with_organisation(first: Shell) -> None:
    assert first("org", "add", "12345678", "霞が関商事").code == 0


@pytest.mark.usefixtures("with_organisation")
@pytest.mark.parametrize("midst", [pytest.param(each, id=name) for name, each in _MIDST.items()])
async def test_a_leader_that_is_frozen_in_the_midst(first: Shell, tmp_path: Path, midst: _Midst) -> None:
    """R15: it waits for a table with its transaction open, and stands still; another node leads, and does it;
    the first one wakes up, and finds its term over. No number of a list twice, no row of a job, no letter."""
    with ExitStack() as stack:
        nodes = _leading(*_two(first, tmp_path, stack))
        office = _Office(nodes, databases.url_of(tmp_path / "shared"), tmp_path)
        leading, other = nodes
        if midst.people:
            await office.populated()
        midst.begin(office)
        holding = await asyncpg.connect(office.url, timeout=60)
        try:
            await holding.execute(f"BEGIN; LOCK TABLE {midst.wanted} IN SHARE MODE")
            await asyncio.to_thread(midst.cause, office)
            waits = f"pg_locks WHERE NOT granted AND relation = '{midst.wanted}'::regclass"
            until(lambda: office.count(waits) > 0, leading.log, leading.running)
            signal_family(leading.running.pid, signal.SIGSTOP)
        finally:
            await holding.close()
        try:
            until(lambda: other.says(_LEADS), other.log, other.running)
            midst.goes_on(office)
            until(lambda: midst.reached(office), other.log, other.running)
        finally:
            signal_family(leading.running.pid, signal.SIGCONT)
        until(lambda: leading.says(_LEADS_NO_MORE), leading.log, leading.running)
        until(lambda: midst.ended(office), other.log, other.running)
        midst.check(office)
        until(lambda: office.count("mails WHERE state = 'queued'") == 0, other.log, other.running)
        delivered = office.delivered()
        assert {*delivered.values()} == {1}
        assert len(delivered) == office.count("mails WHERE state = 'sent'")
        told = "certificates WHERE status = 'reserved'"
        assert office.count(told) == 0
