"""A registration authority for tests: a real data directory, a real database, keys that are quick to make."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ca import datadir
from ca.clock import ManualClock
from ca.epochs import Epochs
from ca.generations import store as written
from ca.generations.states import Row
from ca.profiles import Audience
from ca.schema import SCHEMA as CA
from ca.sealing import PassphraseCost, change_passphrase
from ca.sqlite import Database
from ca.storage import Transaction
from ca.workers import KeyStock, Workers
from enroll import timekeeping
from enroll.acme.schema import SCHEMA as ACME
from enroll.campaigns.schema import SCHEMA as CAMPAIGNS
from enroll.generations import Chooser
from enroll.hooks.schema import SCHEMA as HOOKS
from enroll.jobs.schema import SCHEMA as JOBS
from enroll.mail.delivery import deliver_due
from enroll.mail.transport import Outbox
from enroll.operators.schema import SCHEMA as OPERATORS
from enroll.people.register import Admission, Person, add_organisation, add_user
from enroll.postcards.schema import SCHEMA as POSTCARDS
from enroll.ra import RegistrationAuthority
from enroll.repeats.schema import SCHEMA as REPEATS
from enroll.schema import SCHEMA as ENROLL
from enroll.settings import Settings
from gateway.serving import recovery
from gateway.serving.deployment import SEALED
from gateway.web.schema import SCHEMA as GATEWAY
from tests.cheaply import cheap_passwords, with_few_rounds
from tests.engines import on_engine
from tests.looking import look

#: 2026-11-22 03:00 UTC, noon in Japan.
START = 1_795_316_400
PASSPHRASE = "correct horse battery staple"
# Argon2id with the least memory: these directories guard nothing.
CHEAP = PassphraseCost(iterations=1, lanes=1, memory_kib=8)
SCHEMAS = [CA, ENROLL, ACME, GATEWAY, OPERATORS, JOBS, REPEATS, HOOKS, CAMPAIGNS, POSTCARDS]
POLICY_NUMBER = "12345678"


def cheaper(data: Path, passphrase: str = PASSPHRASE) -> None:
    """A directory that a command has made opens quickly from now on, where each opening took a third of a
    second of a core."""
    change_passphrase(data / datadir.VAULT, passphrase, passphrase, CHEAP)


@dataclass(frozen=True)
class Letter:
    """A delivered mail or postcard, as its recipient reads it."""

    name: str
    subject: str
    body: str

    def value(self, label: str) -> str:
        """What follows ``label：`` in the body."""
        for line in self.body.splitlines():
            if line.startswith(label + "："):
                return line.partition("：")[2]
        raise LookupError(f"{label} in {self.name}")


# Not niced: on a busy machine a page that waits for it would not come within a minute.
_PROCESSES = Workers(processes=1, niceness=0)


class SharingWorkers(Workers):
    """Threads of its own, and a process that all of a test run share:
    to start one takes longer than most tests. It ends with the run."""

    async def run(self, fn, *args, **kwargs):  # type: ignore[no-untyped-def]
        return await _PROCESSES.run(with_few_rounds, fn, args, kwargs)


@cache
def _made(at: int) -> Path:
    """A data directory with its tables, of this moment. To make one takes longer than most tests: it is made
    once in a run and copied, so that all offices of a moment have the same keys."""
    kept = tempfile.TemporaryDirectory(prefix="sekisho-office-")
    atexit.register(kept.cleanup)
    data = Path(kept.name) / "data"
    datadir.create(data, PASSPHRASE, at, cost=CHEAP)
    Database(data / "sekisho.db", SCHEMAS).close()
    return data


@asynccontextmanager
async def open_office(
    path: Path, at: int = START, *, compare: bool = True, **settings: Any
) -> AsyncIterator[RegistrationAuthority]:
    """A new registration authority in an empty directory, or the one that is there, opened again.

    ``compare``: whether with its journal, as everybody opens it.
    """
    data = path / "data"
    if not (data / "sekisho.json").exists():
        shutil.copytree(_made(at), data, dirs_exist_ok=True)
    opened = datadir.load(data, PASSPHRASE)
    kept = recovery.journal_of(data)
    database = on_engine(Database(data / "sekisho.db", SCHEMAS, journal=kept))
    workers = SharingWorkers(processes=1)
    keys = KeyStock(workers, "ec-p256", size=0)
    try:
        ra = RegistrationAuthority(
            database,
            ManualClock(at),
            opened.vault,
            Epochs(data, opened.vault, SEALED),
            opened.authority,
            workers,
            keys,
            replace(Settings(), **settings),
        )
        if compare:
            recovery.bring_level(data, kept, ra)
        ra.epochs.ensure(database, at)
        # As a server does when it starts: from here on time passes, and the clock agrees with it.
        await timekeeping.tick(ra)
        with cheap_passwords():
            yield ra
    finally:
        await keys.close()
        workers.close()
        database.close()


def next_generation(
    ra: RegistrationAuthority, name: str, *, active: bool = True, audience: Audience = Audience.CLIENTS
) -> RegistrationAuthority:
    """The same office with another issuing CA, which issues from now on, or is staged."""
    opened = datadir.add_issuer(ra.database.folder, PASSPHRASE, name, ra.now(), audience=audience)
    ra = replace(ra, authority=opened.authority)
    if active:
        row = Row(opened.authority.issuers[0].issuer_id)
        ra.database.write_now(lambda db: written.write(db, row, replace(row, active_at=ra.now())))
    return replace(ra, authority=replace(ra.authority, choose=Chooser(ra)))


def clock_of(ra: RegistrationAuthority) -> ManualClock:
    assert isinstance(ra.clock, ManualClock)
    return ra.clock


async def admit(ra: RegistrationAuthority, user_id: str = "K12345678", **fields: Any) -> Admission:
    """One organisation and one user, their letters queued."""
    from enroll import store

    if store.organisation(look(ra.database), POLICY_NUMBER) is None:
        await add_organisation(ra, POLICY_NUMBER, "霞が関商事", actor="test")
    person = Person(POLICY_NUMBER, "年金 太郎", f"{user_id.lower()}@example.jp", user_id, **fields)
    return await add_user(ra, person, channel="paper", actor="test")


async def delivered(ra: RegistrationAuthority) -> list[Letter]:
    """Delivers what is queued into the outbox and reads everything there, oldest first."""
    from email import message_from_bytes, policy

    outbox = Outbox(ra.database.folder / "outbox")
    await deliver_due(ra, outbox)
    letters = []
    for path in sorted(outbox.directory.iterdir()) if outbox.directory.exists() else []:
        if path.suffix == ".eml":
            message = message_from_bytes(path.read_bytes(), policy=policy.default)
            letters.append(Letter(path.name, message["Subject"], message.get_content()))
        else:
            _, subject, body = path.read_text().split("\n\n", 2)
            letters.append(Letter(path.name, subject, body))
    return letters


async def letter_of(ra: RegistrationAuthority, kind: str) -> Letter:
    """The newest delivered letter of a kind."""
    found = [letter for letter in await delivered(ra) if letter.name.split(".")[0].endswith("-" + kind)]
    if not found:
        raise LookupError(kind)
    return found[-1]


async def together(*works: Any) -> list[Any]:
    """Runs works at the same time; refusals and other exceptions are returned."""
    return list(await asyncio.gather(*works, return_exceptions=True))


def revoke_many(ra: RegistrationAuthority, count: int) -> Callable[[Transaction], None]:
    """Work for a transaction: so many certificates of its issuer that were revoked, and are little
    more than that."""

    def work(db: Transaction) -> None:
        db.execute(
            "INSERT INTO certificates (serial, issuer_id, profile, status, subject_cn, spki_sha256,"
            " not_before_at, not_after_at, reserved_at, issued_at, template, der, fingerprint, revoked_at,"
            " revocation_reason, change_number)"
            " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
            " SELECT substr('0000000000000000000000000000000' || i, length('' || i)), :issuer, 'stored',"
            " 'revoked', 'K' || i, 's', 1, 4000000000,"
            " 1, 1, '{}', :der, :issuer || i, :at - i, 4, i FROM n",
            {"count": count, "issuer": ra.authority.current.issuer_id, "at": ra.now(), "der": b"\0"},
        )
        db.execute("UPDATE counters SET value = :count WHERE name = 'changes'", {"count": count})

    return work
