"""What one visitor, or one organisation, may make us do or keep has an end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ca.sqlite import Database
from ca.storage import StorageTrouble
from enroll import store
from enroll.acme import credentials
from enroll.people import applications, register
from enroll.people.register import Person
from enroll.refusals import Refusal
from enroll.requests import issuance, pickup
from gateway.sites import certificate
from tests.datadirs import POLICY_NUMBER, admit, clock_of, letter_of, open_office, together
from tests.looking import look, rows
from tests.security.people import enrolled


async def test_the_ten_thousandth_number_is_a_refusal(tmp_path: Path) -> None:
    """管理番号 has four digits: after 9999 the answer says so, and nothing is half done."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        await ra.database.write(
            lambda db: db.execute("UPDATE users SET last_number = 9999 WHERE user_id = 'K12345678'")
        )
        with pytest.raises(Refusal) as refused:
            await applications.reissue(ra, "K12345678", "pc_change", actor="test")
        assert (refused.value.code, refused.value.field) == ("limit_reached", "user_id")
        with pytest.raises(Refusal) as refused:
            await credentials.create(ra, "K12345678", actor="test")
        assert (refused.value.code, refused.value.field) == ("limit_reached", "user_id")
        db = look(ra.database)
        assert rows(db, "SELECT last_number FROM users") == [{"last_number": 9999}]
        assert [e.kind for e in store.enrollments_of(db, "K12345678")] == ["addition"]


async def test_an_organisation_has_so_many_open_additions(tmp_path: Path) -> None:
    """A 管理者 cannot bury the operator under applications; the same one again is no further one."""
    async with open_office(tmp_path) as ra:
        await admit(ra)

        def person(number: int) -> Person:
            return Person(POLICY_NUMBER, f"年金 {number}", "a@example.jp")

        for number in range(applications.MOST_OPEN):
            await applications.apply_addition(ra, person(number), channel="online", actor="K12345678")
        with pytest.raises(Refusal) as refused:
            await applications.apply_addition(ra, person(-1), channel="online", actor="K12345678")
        assert refused.value.code == "limit_reached"
        again = (await applications.apply_addition(ra, person(0), channel="online", actor="K12345678")).number
        assert again == 2  # the first is the admission itself
        # The operator's own entries, on paper, are not the organisation's flood.
        await applications.apply_addition(ra, person(-2), channel="paper", actor="desk")


async def test_the_file_is_not_handed_over_once_the_organisation_is_disabled(tmp_path: Path) -> None:
    """The right to a file is asked for again when it is fetched, not only when it is built."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        request = await pickup.authenticate(ra, "K12345678", password, address="192.0.2.1")
        await issuance.submit(ra, request.request_id, actor="test")
        await issuance.complete(ra, request.request_id)
        token = await issuance.prepare_download(ra, request.request_id, "p12", "standard", actor="test")
        await ra.database.write(lambda db: db.execute("UPDATE organisations SET disabled_at = 1"))
        with pytest.raises(Refusal) as refused:
            await issuance.download(ra, token, request.request_id, actor="test")
        assert refused.value.code == "not_available"
        await ra.database.write(lambda db: db.execute("UPDATE organisations SET disabled_at = NULL"))
        assert (await issuance.download(ra, token, request.request_id, actor="test")).content


async def test_a_disabled_user_gets_nothing_from_a_request_in_flight(tmp_path: Path) -> None:
    """Disabled between Submit and the signature: the certificate is stored, and revoked at once."""
    async with open_office(tmp_path) as ra:
        admission = await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        await pickup.authenticate(ra, "K12345678", password, address="192.0.2.1")
        await issuance.submit(ra, admission.request_id, actor="test")
        await register.disable_user(ra, "K12345678", actor="test")
        await issuance.complete(ra, admission.request_id)
        statuses = rows(look(ra.database), "SELECT status FROM certificates")
        assert statuses == [{"status": "revoked"}]


async def test_a_full_disk_refuses_work_and_breaks_nothing(tmp_path: Path) -> None:
    """What did not fit is an error to every writer of that batch; the next write works again."""
    database = Database(tmp_path / "full.db")
    try:
        await database.write(lambda db: db.execute("CREATE TABLE t(x BLOB)"))
        await database.write(lambda db: db.execute("PRAGMA max_page_count = 20"))
        insert = "INSERT INTO t VALUES (zeroblob(30000))"
        results = await together(*(database.write(lambda db: db.execute(insert)) for _ in range(8)))
        failed = sum(isinstance(each, Exception) for each in results)
        kept = rows(look(database), "SELECT count(*) AS n FROM t")[0]["n"]
        assert failed > 0
        assert kept == len(results) - failed
        await asyncio.wait_for(database.write(lambda db: db.execute("DELETE FROM t")), 60)
        await asyncio.wait_for(database.write(lambda db: db.execute("INSERT INTO t VALUES ('x')")), 60)
        assert rows(look(database), "SELECT x FROM t") == [{"x": "x"}]
    finally:
        database.close()


async def test_one_session_builds_so_many_files_at_a_time(tmp_path: Path) -> None:
    """A PKCS#12 takes a core for a while: who submits again and again meanwhile is told to wait."""
    from aiohttp import web

    from gateway.web import sessions

    async with open_office(tmp_path) as ra:
        person = await enrolled(ra)
        response = web.Response()
        session = await sessions.start(
            ra, response, "pickup", person.request_id, sessions.Client("192.0.2.1", "")
        )
        entered = certificate.Input(person.request_id, "p12", "p12", "standard")
        results = await together(
            *(certificate.prepare(ra, session, entered, actor="test") for _ in range(12))
        )
        refused = [each for each in results if isinstance(each, Refusal)]
        assert [each.code for each in refused] == ["throttled"] * (12 - certificate.MOST_WAITING)
        assert all(each.at > ra.now() for each in refused)
        await certificate.prepare(ra, session, entered, actor="test")


async def test_a_database_that_takes_nothing_puts_nobody_out(tmp_path: Path) -> None:
    """Whoever is logged in goes on while the disk is full or the database locked; so does his idle time."""
    from aiohttp import web

    from gateway.web import sessions

    async with open_office(tmp_path) as ra:
        response, database = web.Response(), ra.database
        await sessions.start(ra, response, "service", "K1", sessions.Client("192.0.2.1", ""))
        token = response.cookies["__Host-service"].value
        clock_of(ra).advance(seconds=100)
        await database.write(lambda db: db.execute("PRAGMA query_only = ON"))  # the writer's own connection
        with pytest.raises(StorageTrouble):
            await database.write(lambda db: db.execute("DELETE FROM sessions"))
        assert await sessions.find_by_token(ra, token, "service") is not None
        clock_of(ra).advance(seconds=sessions.IDLE - 101)
        assert await sessions.find_by_token(ra, token, "service") is not None
        at = clock_of(ra).seconds()
    async with open_office(tmp_path, at + 1) as ra:
        assert await sessions.find_by_token(ra, token, "service") is None
