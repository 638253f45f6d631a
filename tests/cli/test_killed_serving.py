"""kill -9 of whoever serves, at random moments: the signer, its guardian, a worker, the whole server.

Three times in a run of all tests; ``make kills`` kills two hundred times, or KILLS= times, by another SEED=
if it is given.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing, suppress
from http.client import HTTPException, HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ca import datadir
from ca import store as certificates
from ca.memory import NUMBERS, Numbers
from ca.remembered import REVOKED, Remembered
from ca.sealing import open_vaults
from ca.storage import Transaction
from enroll import crls, store
from enroll.mail import store as letters
from enroll.mail.delivery import deliver_due
from enroll.mail.states import IN_TURN
from enroll.mail.transport import Outbox
from enroll.requests.states import State
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import Deployment, opened_deployment
from tests.cli.conftest import PASSPHRASE, Shell
from tests.cli.processes import change, pem_of, tls, until
from tests.cli.test_serving import Gateway, ready, workers_of
from tests.cli.test_signer import _begun, _issued, _signers, as_a_worker
from tests.looking import look
from tests.mailserver import MailServer
from tests.started import forked

KILLS = int(os.environ.get("SEKISHO_TEST_KILLS", "3"))
SEED = os.environ.get("SEKISHO_TEST_SEED", "20261122")
#: Whom, and how often of a hundred.
WHOM = {"signer": 45, "worker": 35, "guardian": 10, "server": 10}
_PATIENCE = 120.0
_USERS = count()


# What all tests have is enough for a few.
@pytest.mark.slow
@pytest.mark.timeout(600 + 30 * KILLS)
async def test_kills_of_whoever_serves_lose_and_double_nothing(sekisho: Shell, tmp_path: Path) -> None:
    """While certificates are issued and revoked: each that was given is on record, once; what was revoked
    stays so; numbers of lists grow; and after each death issuing goes on by itself."""
    file, chance = tmp_path / "passphrase", random.Random(SEED)
    file.write_text(PASSPHRASE)
    whom = chance.choices(list(WHOM), list(WHOM.values()), k=KILLS)
    # In a run of all tests each of the quick ones, once.
    whom = whom if KILLS > 3 else ["signer", "worker", "guardian"][:KILLS]
    print(f"{KILLS} kills, SEED={SEED}")
    given, revoked = dict[str, str](), set[str]()
    while whom:
        with ready(sekisho.data, tmp_path, "--passphrase-file", str(file), workers=2) as gateway:
            async with as_a_worker(gateway) as worker:
                await _live(gateway, worker, whom, chance, given, revoked)
        (tmp_path / "log").unlink()
    with ready(sekisho.data, tmp_path, "--passphrase-file", str(file), workers=2) as gateway:
        async with as_a_worker(gateway) as worker:
            await _one_more(worker, given, revoked)
            ra = worker.ra
            issuer = ra.authority.current
            last = await crls.publish(ra, issuer, alone=True)
            db = look(ra.database)
            for request_id, serial in given.items():
                found = store.enrollment(db, request_id)
                assert found is not None
                assert (found.state in (State.ISSUED, State.PICKED_UP), found.serial) == (True, serial)
            assert len(set(given.values())) == len(given)
            end = time.monotonic() + _PATIENCE
            # The leading worker makes up for what a death has left.
            while certificates.reserved_unsigned(db):
                assert time.monotonic() < end
                await asyncio.sleep(0.2)
            # One may be revoked of which the test was not told any more.
            assert last.entries >= len(revoked)
            numbers = [
                each["detail"]["number"]
                for each in store.audit_page(db, issuer.issuer_id, 9_999)
                if each["action"] == "list.published"
            ]
            assert len(set(numbers)) == len(numbers)
    keys = open_vaults(sekisho.data / datadir.VAULT, PASSPHRASE).keys
    kept = Remembered(sekisho.data / REVOKED, keys)
    assert {each for each in revoked if kept.find(issuer.issuer_id, each) is None} == set()
    assert (Numbers(sekisho.data / NUMBERS, keys).last(issuer.issuer_id) or 0) >= last.number


async def _live(
    gateway: Gateway,
    worker: Deployment,
    whom: list[str],
    chance: random.Random,
    given: dict[str, str],
    revoked: set[str],
) -> None:
    """Issues and kills until it was the server's turn, or nobody is left to be killed."""
    while whom:
        issuing = asyncio.create_task(_one_more(worker, given, revoked))
        await asyncio.sleep(chance.uniform(0, 0.3))
        chosen = whom.pop()
        match chosen:
            case "server":
                gateway.running.kill()
                issuing.cancel()
                await asyncio.gather(issuing, return_exceptions=True)
                return
            case "worker":
                _kill(chance.choice(list(workers_of(gateway).values())))
            case _:
                await _kill_a_signer(gateway, chosen)
        await asyncio.wait_for(issuing, _PATIENCE)


async def _kill_a_signer(gateway: Gateway, which: str) -> None:
    end = time.monotonic() + _PATIENCE
    while True:  # one that was killed is not there for a moment
        try:
            guardian, *signers = _signers(gateway)
        except LookupError:
            signers = []
        if signers:
            return _kill(guardian if which == "guardian" else signers[0])
        assert time.monotonic() < end, gateway.log.read_text()
        await asyncio.sleep(0.1)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _one_more(worker: Deployment, given: dict[str, str], revoked: set[str]) -> None:
    """A user's certificate, whoever dies meanwhile; every third one is revoked, and a list says so."""
    request_id = await _begun(worker, f"K{next(_USERS):07}")
    end = time.monotonic() + _PATIENCE
    while not await _issued(worker, request_id):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    found = store.enrollment(look(worker.ra.database), request_id)
    assert found is not None
    assert found.serial is not None
    given[request_id] = serial = found.serial

    def revoke(db: Transaction) -> bool:
        return certificates.revoke(db, serial, 1, worker.ra.now())

    if len(given) % 3 == 1:
        assert await worker.ra.database.write(revoke)
        revoked.add(serial)


@pytest.mark.slow
def test_a_letter_that_was_being_written(peopled: Shell, tmp_path: Path) -> None:
    """kill -9 when the file is there, and nobody has written down that it is: whoever comes next writes it
    again and waits for no lease; there is one file for each letter."""
    outbox = peopled.data / "outbox"

    class Standing(Outbox):
        async def send(self, *letter: Any) -> str:
            await super().send(*letter)
            await asyncio.Event().wait()
            raise AssertionError

    async def stand() -> None:
        async with opened_deployment(peopled.data, PASSPHRASE) as deployment:
            await deliver_due(deployment.ra, Standing(outbox))

    def send() -> int:
        asyncio.run(stand())
        return 0

    with forked(send) as dead:
        end = time.monotonic() + _PATIENCE
        while not list(outbox.glob("*.eml")):
            assert dead.lives()
            assert time.monotonic() < end
            time.sleep(0.01)
    with ready(peopled.data, tmp_path) as gateway:

        def sent() -> bool:
            with closing(sqlite3.connect(peopled.data / "sekisho.db")) as db:
                return [each for (each,) in db.execute("SELECT state FROM mails")] == ["sent", "sent"]

        # Shorter than the lease.
        until(sent, gateway.log, gateway.running)
    assert len(list(outbox.iterdir())) == 2


@pytest.mark.slow
async def test_a_letter_that_a_mail_server_may_have(peopled: Shell, tmp_path: Path) -> None:
    """The one behind it leaves at once, and that one does not: it waits for its lease, since whoever has it
    may be at it."""
    with MailServer().in_a_thread() as server:
        values = {"transport": "smtp", "host": "localhost", "port": server.port, "security": "none"}
        change(peopled.data / FILE_NAME, {("mail", name): json.dumps(each) for name, each in values.items()})
        async with opened_deployment(peopled.data, PASSPHRASE) as deployment:
            ra = deployment.ra

            def take(db: Transaction) -> int:
                row = letters.next_due(db, "mail", ra.now(), IN_TURN)
                assert row is not None
                return int(letters.begin(db, row, ra.now())["id"])

            taken = await ra.database.write(take)
        with ready(peopled.data, tmp_path) as gateway:
            until(lambda: bool(server.accepted), gateway.log, gateway.running)
        assert [f"<letter-{taken}." in each["Message-ID"] for each in server.accepted] == [False]


@pytest.mark.slow
def test_an_answer_of_the_api_that_nobody_heard(peopled: Shell, tmp_path: Path) -> None:
    """kill -9 of a real gateway between the commit and the answer: whoever asks again under the same key is
    told what was done, and it is not done again; under another key it is."""
    assert peopled("ca", "add", "Operators CA", "--for", "operators").code == 0
    service = ("operator", "add", "hr", "--service", "--role", "registrar", "--from", "127.0.0.1")
    assert peopled(*service).code == 0
    change(peopled.data / FILE_NAME, {("sites", "api"): '["api.localhost"]'})
    p12 = tmp_path / "hr.p12"
    issued = peopled("operator", "certificate", "hr", "--out", str(p12)).value["certificate"]
    pem = pem_of(str(p12), issued["password"], tmp_path / "hr.pem")
    armed, path = tmp_path / "armed", "/v1/users/K12345678/password-resets"

    def done() -> tuple[int, int]:
        with sqlite3.connect(peopled.data / "sekisho.db") as db:
            counted = (
                "SELECT count(*) FROM audit WHERE action = 'password.reset'",
                "SELECT count(*) FROM mails WHERE kind = 'password_reset'",
            )
            return tuple(db.execute(each).fetchone()[0] for each in counted)

    def post(gateway: Gateway, key: str) -> tuple[int, bytes]:
        connection = HTTPSConnection("api.localhost", gateway.port, timeout=60)
        with closing(connection):
            connection.sock = tls("api.localhost", gateway.port, gateway.ca, pem)
            connection.request("POST", path, headers={"Idempotency-Key": key})
            got = connection.getresponse()
            return got.status, got.read()

    with ready(peopled.data, tmp_path, before=(sys.executable, "-m", "tests.cli.dying", str(armed))) as one:
        armed.touch()
        with pytest.raises((OSError, HTTPException)):
            post(one, "first")
        assert not armed.exists(), one.log.read_text()
    assert done() == (1, 1)
    (tmp_path / "log").unlink()
    with ready(peopled.data, tmp_path) as gateway:
        status, told = post(gateway, "first")
        assert (status, json.loads(told)["user_id"]) == (200, "K12345678")
        assert post(gateway, "first") == (status, told)
        assert done() == (1, 1)
        assert post(gateway, "second")[0] == 200
        assert done() == (2, 2)
