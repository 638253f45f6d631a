"""A disaster that is practised: a backup of the running gateway, restored beside it, and put to the proof.

In the restored copy a day goes on (certificates, a revocation, lists), then its database is lost and an
older one put back, as after a disaster; it is replayed, and each promise is looked at. The running one is
only read; no letter leaves.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import ca.store
from ca import apart, emergency, journal
from ca.errors import ConfigError
from ca.files import make_private_directory
from ca.keys import from_pkcs8, generate_pkcs8, spki
from ca.sqlite import SqliteSource, copy_database
from ca.storage import Transaction
from enroll import crls, store
from enroll.audit import Trouble, verify
from enroll.people.passwords import nobodys
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance, opening
from enroll.requests.enrollment import UNSPECIFIED, Enrollment
from enroll.requests.transitions import end_certificate
from gateway.serving import backup, record, recovery
from gateway.serving.config import read_config
from gateway.serving.database import DATABASE
from gateway.serving.deployment import open_deployment
from gateway.serving.tokens import Pins

ACTOR = "drill"
_PERSON, _ORGANISATION = "DRILL0000001", "DRILL"
_PROFILE = "client-person"
# Certificates that are compared at once.
_PAGE = 10_000


@dataclass(frozen=True)
class Proof:
    """A promise, whether it was kept, and by what that was seen."""

    promise: str
    kept: bool
    seen: str


#: Serial -> fingerprint and status, of all certificates.
Seen = dict[str, tuple[str | None, str]]


@dataclass(frozen=True)
class _Day:
    """What was so in the copy before its database was lost."""

    certificates: Seen
    number: int
    list_number: int
    begun: str
    audit: list[tuple[int, str]]


async def run(data: Path, passphrase: str, at: int, pins: Pins | None = None) -> list[Proof]:
    """Practises it, and returns what each promise came to. ``pins``: of the tokens that have its keys.

    ConfigError for what keeps it from being done.
    """
    if (home := apart.home_of(data)) is not None:
        raise ConfigError(
            f"a drill signs certificates of its own, and the keys are the signer's alone ({home}); practise "
            "on another machine: sekisho restore backup, the copy of the keys, sekisho restore replay"
        )
    if read_config(data).database.url:
        raise ConfigError(
            "a drill loses a database and puts an older one back, which is not done to a server that others "
            "use; practise it on a copy of that: docs/operations/postgresql.md"
        )
    with _place(data) as place:
        key, public = backup.new_key()
        (place / "key").write_text(key)
        await asyncio.to_thread(_take, data, place, backup.recipients_of([public]), at)
        async with _open(place / "copy", passphrase, pins) as ra:
            proofs = [_whole(data, ra)]
            begun = await _begin(ra)
            copy_database(place / "copy" / DATABASE, place / DATABASE)
            audit = ra.database.read_now(_audit)
            day = await _go_on(ra, begun, audit)
        for path in (place / "copy").glob(f"{DATABASE}*"):
            path.unlink()
        shutil.copyfile(place / DATABASE, place / "copy" / DATABASE)
        return proofs + await _proofs(place / "copy", passphrase, pins, day)


@contextmanager
def _place(data: Path) -> Iterator[Path]:
    path = data / f".drill-{secrets.token_hex(6)}"
    try:
        make_private_directory(path)
        yield path
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make room, then again: df -h {data}") from error
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _take(data: Path, place: Path, recipients: list[object], at: int) -> None:
    made = backup.make(data, place / "backup.age", recipients, at, counts=False)
    identities = backup.identities_of(place / "key")
    with backup.opened(Path(made.file), identities, place / "copy") as (shop, _):
        shutil.copytree(data / journal.FOLDER, shop / journal.FOLDER)


@asynccontextmanager
async def _open(copy: Path, passphrase: str, pins: Pins | None) -> AsyncIterator[RegistrationAuthority]:
    deployment = open_deployment(copy, passphrase, compare=False, pins=pins)
    keys = deployment.datadir.keys
    try:
        if keys is not None and (stop := emergency.read(copy, keys)).on:
            raise ConfigError(
                f"the emergency stop is on ({stop.reason or 'no reason was given'}), and a drill signs "
                "certificates: first sekisho ca resume"
            )
        if deployment.ra.database.read_now(_line):
            recovery.replay(copy, recovery.journal_of(copy), deployment.ra)
        yield deployment.ra
    finally:
        await deployment.close()


# -- a day ---------------------------------------------------------------------------------------------


async def _begin(ra: RegistrationAuthority) -> Enrollment:
    """Somebody of the drill's own, with a request that is being signed when the copy is made."""

    def work(db: Transaction) -> None:
        store.add_organisation(db, store.Organisation(_ORGANISATION, "drill", ra.now()))
        person = store.User(
            _PERSON, _ORGANISATION, "drill", "drill@invalid.invalid", "member", "mail", nobodys(), False, 0,
            ra.now(),
        )  # fmt: skip
        store.add_user(db, person)

    await ra.database.write(work)
    return await _drawn(ra)


async def _drawn(ra: RegistrationAuthority) -> Enrollment:
    key = spki(from_pkcs8(generate_pkcs8("ec-p256")).public_key())

    def work(db: Transaction) -> Enrollment:
        person = store.user(db, _PERSON)
        assert person is not None
        request = opening.draw_request(db, ra, person, "addition", profile=_PROFILE, door="protocol")
        issuance.begin_for_client(db, ra, request, key, (), _PROFILE, actor=ACTOR)
        return request

    return await ra.database.write(work)


async def _go_on(ra: RegistrationAuthority, begun: Enrollment, audit: list[tuple[int, str]]) -> _Day:
    await issuance.complete(ra, begun.request_id)
    ends, stays = [await issuance.complete(ra, (await _drawn(ra)).request_id) for _ in range(2)]
    assert ends.serial is not None
    assert stays.serial is not None
    serial = ends.serial
    await ra.database.write(lambda db: end_certificate(db, ra, serial, UNSPECIFIED, ra.now(), actor=ACTOR))
    listed = await crls.publish(ra, ra.authority.current, alone=True)

    def seen(db: Transaction) -> _Day:
        person = store.user(db, _PERSON)
        assert person is not None
        return _Day(_seen(db), person.last_number, listed.number, begun.request_id, audit)

    return await ra.database.read(seen)


# -- the proofs ----------------------------------------------------------------------------------------


async def _proofs(copy: Path, passphrase: str, pins: Pins | None, day: _Day) -> list[Proof]:
    found = [_refused(copy, passphrase)]
    async with _open(copy, passphrase, pins) as ra:
        finished = await issuance.recover(ra)
        new = await issuance.complete(ra, (await _drawn(ra)).request_id)
        listed = await crls.publish(ra, ra.authority.current, alone=True)
        broken = list(verify(record.lines(ra.database), ra.database.read_now(store.audit_counted)))
        return found + await ra.database.read(
            lambda db: _looked_at(db, day, new, listed.number, finished, broken)
        )


def _refused(copy: Path, passphrase: str) -> Proof:
    promise = "an older database is not served"
    try:
        open_deployment(copy, passphrase).ra.database.close()
    except ConfigError as refused:
        return Proof(promise, "older than its journal" in str(refused), str(refused).partition(":")[0])
    return Proof(promise, False, "it was opened")


def _looked_at(
    db: Transaction, day: _Day, new: Enrollment, list_number: int, finished: int, broken: Sequence[Trouble]
) -> list[Proof]:
    now = _seen(db)
    gone = (None, "")
    others = [name for name, (whose, _) in day.certificates.items() if now.get(name, gone)[0] != whose]
    revoked = [name for name, (_, status) in day.certificates.items() if status == "revoked"]
    good = [name for name in revoked if now.get(name, gone)[1] != "revoked"]
    fresh = new.serial is not None and new.serial not in day.certificates
    person, begun = store.user(db, _PERSON), store.enrollment(db, day.begun)
    assert person is not None
    assert begun is not None
    lines, left = _audit(db), len(ca.store.reserved_unsigned(db))
    number = person.last_number
    same = f"{len(day.certificates)} certificates are the same ones, the next has another serial"
    return [
        Proof("no serial twice", fresh and not others, f"differ: {' '.join(others[:5])}" if others else same),
        Proof("revoked stays revoked", not good, f"{len(revoked) - len(good)} of {len(revoked)}"),
        Proof("list numbers go on", list_number > day.list_number, f"{list_number} after {day.list_number}"),
        Proof("管理番号 go on", number > day.number, f"{number} after {day.number}"),
        Proof(
            "open requests end properly",
            begun.serial is not None and begun.state == "picked_up" and not left,
            f"the one that was open is {begun.state}; signed again: {finished}, left: {left}",
        ),
        Proof(
            "the audit is intact",
            lines[: len(day.audit)] == day.audit and not broken,
            f"line {broken[0].number}: {broken[0].what}" if broken else f"{len(lines)} lines in one chain",
        ),
    ]


def _whole(data: Path, ra: RegistrationAuthority) -> Proof:
    """The copy beside the running one, which has gone on since: all of it is in there, and none the worse."""
    copied = ra.database.read_now(_seen)
    with SqliteSource(data / DATABASE).snapshot() as db:
        running = _seen(db)
    lost = [
        name
        for name, (whose, status) in copied.items()
        if name not in running
        or (whose is not None and running[name][0] != whose)
        or (status == "revoked" and running[name][1] != "revoked")
    ]
    line = ra.database.read_now(_line)
    seen = (
        f"differ: {' '.join(lost[:5])}" if lost else f"{len(copied)} certificates, line {line} of the journal"
    )
    return Proof("the backup is whole", not lost, seen)


def _line(db: Transaction) -> int:
    return ca.store.journal_mark(db, "")[0]


def _seen(db: Transaction) -> Seen:
    found: Seen = {}
    before: int | None = None
    while page := ca.store.list_page(db, _PAGE, before):
        found |= {each.serial: (each.fingerprint, each.status) for each in page}
        before = page[-1].row
    return found


def _audit(db: Transaction) -> list[tuple[int, str]]:
    found, after = list[tuple[int, str]](), 0
    while page := store.audit_lines(db, after, _PAGE):
        found += [(each.id, each.hash) for each in page]
        after = page[-1].id
    return found
