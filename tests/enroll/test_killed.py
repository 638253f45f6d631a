"""kill -9 at random points of issuance, again and again on one data directory: each signer, each engine.

Forty times in a run of all tests, on PostgreSQL eight; ``make kills`` kills two hundred times, or KILLS=
times, by another SEED= if it is given. Kills of the server: ``tests/ca/test_postgresql.py``.
"""

import asyncio
import os
import random
import time

import pytest

import ca.store
from ca import datadir
from ca.clock import SystemClock
from ca.epochs import Epochs
from ca.keys import from_pkcs8, generate_pkcs8, spki
from ca.sqlite import Database
from enroll import store
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance, opening
from enroll.requests.states import ENDED, State
from gateway.serving import recovery
from gateway.serving.deployment import SEALED
from tests import databases
from tests.datadirs import CHEAP, PASSPHRASE, POLICY_NUMBER, SCHEMAS, together
from tests.engines import VARIABLE, on_engine
from tests.looking import look
from tests.signers import LikeAToken, Unreliable, signed_by
from tests.started import forked

KILLS = os.environ.get("SEKISHO_TEST_KILLS")
MANY = 40
#: Engine -> how often, unless it is said. So few are enough to meet deaths between every two steps, or not.
ENGINES = (
    pytest.param("sqlite", MANY, id="sqlite"),
    pytest.param("postgresql", 8, id="postgresql", marks=databases.NEEDED),
)
SEED = os.environ.get("SEKISHO_TEST_SEED", "20261122")
PATIENCE = 60.0
# On the pages, and for a program, which holds its key and needs no file.
DONE = {State.ISSUED, State.PICKED_UP}


class KeysMadeHere:
    """Stands in for the stock of keys: a killed process shall leave no worker processes."""

    async def take(self, _kinds):
        return generate_pkcs8("ec-p256")


def with_other_bytes_each_time(signer):
    return LikeAToken.instead_of(signer)


def with_failures_at_random(signer):
    return Unreliable(signer, 40, random.Random())


def open_here(path, signer_of):
    opened = datadir.load(path, PASSPHRASE)
    kept = recovery.journal_of(path)
    database = on_engine(Database(path / "sekisho.db", SCHEMAS, journal=kept))
    epochs = Epochs(path, opened.vault, SEALED)
    ra = RegistrationAuthority(
        database, SystemClock(), opened.vault, epochs, opened.authority, None, KeysMadeHere()
    )
    # What a death left between the journal and the commit.
    recovery.bring_level(path, kept, ra)
    epochs.ensure(database, ra.now())
    return signed_by(ra, signer_of(opened.authority.signer))


def add_person(ra):
    def work(db):
        store.add_organisation(db, store.Organisation(POLICY_NUMBER, "霞が関商事", ra.now()))
        store.add_user(
            db,
            store.User(
                "K12345678",
                POLICY_NUMBER,
                "年金 太郎",
                "a@example.jp",
                "member",
                "mail",
                "",
                True,
                0,
                ra.now(),
            ),
        )

    ra.database.write_now(work)


def draw(db, ra):
    user = store.user(db, "K12345678")
    return opening.draw_request(db, ra, user, "addition", profile="client-person", door="page")


async def issue_for_ever(ra, told):
    """Recovers what the last death left, then issues by both doors; tells each answer."""
    os.write(told, b"up\n")
    await issuance.recover(ra)
    while True:
        for begin in (submit_on_the_pages, finalize_by_a_program):
            request = await ra.database.write(lambda db: draw(db, ra))
            os.write(told, f"drawn {request.request_id}\n".encode())
            await begin(ra, request)
            os.write(told, f"begun {request.request_id}\n".encode())
            given = await until_signed(ra, request.request_id)
            for each in given:
                os.write(told, f"given {request.request_id} {each}\n".encode())
            os.write(told, f"issued {request.request_id} {given[-1]}\n".encode())


async def submit_on_the_pages(ra, request):
    await asyncio.gather(*(issuance.submit(ra, request.request_id, actor="K12345678") for _ in range(3)))


async def finalize_by_a_program(ra, request):
    key = spki(from_pkcs8(generate_pkcs8("ec-p256")).public_key())
    await ra.database.write(
        lambda db: issuance.begin_for_client(db, ra, request, key, (), request.profile, actor="acme:test")
    )


async def until_signed(ra, request_id):
    """Three ask at once, and again where nobody signs: what each of them is given there and then."""
    while True:
        asked = [told_of(ra, request_id) for _ in range(3)]
        done = [each for each in await together(*asked) if isinstance(each, str)]
        if done:
            return done


async def told_of(ra, request_id):
    issued = await issuance.complete(ra, request_id)
    return f"{issued.serial} {fingerprint(ra, issued.serial)}"


def fingerprint(ra, serial):
    return ca.store.find_by_serial(look(ra.database), serial).fingerprint


def live_and_die(path, signer_of, log, chance, span):
    """Forks a server's worth of issuance and kills it at random within ``span`` seconds of its being up.
    Returns the span for the next one, in which it issues about twice, however much else this machine does."""
    before = log.stat().st_size
    told = os.open(log, os.O_WRONLY | os.O_APPEND)
    with forked(lambda: asyncio.run(issue_for_ever(open_here(path, signer_of), told))) as life:
        end = time.monotonic() + PATIENCE
        while log.stat().st_size == before:
            assert life.lives()
            assert time.monotonic() < end, "it does not come up"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, span))
        assert life.lives(), "it has ended by itself: see above"
    os.close(told)
    issued = log.read_bytes()[before:].count(b"issued ")
    return span * (1.5 if issued == 0 else 1 if issued < 4 else 0.8)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "usual"), ENGINES)
@pytest.mark.parametrize("signer_of", [with_other_bytes_each_time, with_failures_at_random])
def test_kills_lose_and_double_nothing(tmp_path, monkeypatch, signer_of, engine, usual):
    """Every answer given is on disk, every request has one certificate at most, none stays half-made."""
    monkeypatch.setenv(VARIABLE, engine)
    kills = int(KILLS or usual)
    path = tmp_path / "data"
    if engine == "postgresql":
        # By its name, which those who are forked find as well.
        databases.url_of(path / "sekisho.db")
    datadir.create(path, PASSPHRASE, SystemClock().seconds(), cost=CHEAP)
    ra = open_here(path, signer_of)
    add_person(ra)
    ra.database.close()
    log = tmp_path / "told"
    log.touch()
    chance = random.Random(SEED)
    print(f"{kills} kills, SEED={SEED}")
    span = 0.1 if engine == "sqlite" else 0.5
    for _ in range(kills):
        span = live_and_die(path, signer_of, log, chance, span)

    ra = open_here(path, lambda signer: signer)
    asyncio.run(issuance.recover(ra))
    db = look(ra.database)
    answers = [line.split() for line in log.read_text().splitlines()]
    for what, request_id, *serial in (each for each in answers if each != ["up"]):
        found = store.enrollment(db, request_id)
        if what == "drawn":
            assert found is not None, f"lost {request_id}"
        else:
            assert found.state in DONE, f"{request_id} is left {found.state}"
        if serial:
            assert [found.serial, fingerprint(ra, found.serial)] == serial
    assert ca.store.reserved_unsigned(db) == []
    enrollments = [e for e in store.enrollments_of(db, "K12345678") if e.state not in ENDED]
    issued = [e for e in enrollments if e.state in DONE]
    # One certificate per issued request, none without a request: nothing doubled, nothing orphaned.
    assert ca.store.count_by_status(db) == {"issued": len(issued)}
    assert len({e.serial for e in issued}) == len(issued)
    assert {e.state for e in enrollments} <= DONE | {State.ACCEPTED}
    # The test must have met what it is about: deaths between every two steps.
    kinds = [what for what, *_ in answers]
    assert kinds.count("drawn") >= kinds.count("begun") >= kinds.count("issued") > 0
    assert kills < MANY or kinds.count("drawn") > kinds.count("begun") > kinds.count("issued")
    ra.database.close()
