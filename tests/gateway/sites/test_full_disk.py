"""A disk that is full, a database that is read-only or locked: pages of our own, and nothing half-done."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from ca.sqlite import Database
from ca.storage import StorageError, is_out_of_order
from enroll import store
from enroll.ra import RegistrationAuthority
from gateway.edge.tls import ClientCertificate
from gateway.sites import connectivity, pickup
from gateway.sites import help as help_site
from gateway.web.context import Role
from gateway.web.words import REFUSALS
from tests.datadirs import admit, open_office
from tests.engines import IN_A_FILE
from tests.enroll.acme.acme_world import FQDN, csr, world
from tests.gateway.sites.kit import Page, Served, serve
from tests.gateway.sites.members import PASSWORD, USER, established, log_in, online_service
from tests.looking import look

#: On a server: tests/ca/test_postgresql.py, tests/gateway/test_database.py.
pytestmark = IN_A_FILE

Trouble = Callable[[RegistrationAuthority], AbstractContextManager[None]]


@contextmanager
def full(ra: RegistrationAuthority) -> Iterator[None]:
    """No file of this process takes a byte more, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(ra: RegistrationAuthority) -> Iterator[None]:
    """The writer's connection takes no change, as of a file that somebody else owns."""
    writers: list[sqlite3.Connection] = []
    ra.database.write_now(lambda db: writers.append(db.conn))
    writers[0].execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        writers[0].execute("PRAGMA query_only = OFF")


@contextmanager
def locked(ra: RegistrationAuthority) -> Iterator[None]:
    """Another process holds the database, longer than the writer waits."""
    ra.database.write_now(lambda db: db.execute("PRAGMA busy_timeout = 20"))
    with closing(sqlite3.connect(ra.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


TROUBLES = [full, read_only, locked]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    async with online_service(tmp_path) as served:
        await admit(served.ra, USER)
        yield served


def _is_ours(page: Page, status: int = 503, title: str = REFUSALS["unavailable"].title[0]) -> None:
    """A page with what happened, whom to call and under which number."""
    assert (page.status, page.h1) == (status, title)
    assert "0120-96-1576" in page.html
    assert len(page.main.one("p", class_="reference").one("strong").text) == 9
    if status == 503:
        assert page.headers["Retry-After"] == "60"


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_login_says_so_and_works_again(service: Served, trouble: Trouble) -> None:
    """Looking is possible; what has to be recorded is not, and says whom to call, in both languages."""
    held = await established(service)
    visitor, logged_in = held.visitor(service), held.visitor(service)
    await log_in(logged_in)
    with trouble(service.ra):
        assert (await visitor.get("/login")).status == 200
        assert (await logged_in.get("/portal/")).status == 200
        _is_ours(await log_in(visitor))
        english = await visitor.post("/login?lang=en", {"user_id": USER, "password": "x"})
        assert (english.status, english.h1) == (503, "Not available at the moment")
        _is_ours(await logged_in.post("/portal/reissue", {"reason": "pc_change", "password": PASSWORD}))
        _is_ours(await service.visitor().get("/login"), 403, "クライアント証明書が提示されませんでした")
        _is_ours(await logged_in.get("/portal/nowhere"), 404, "ページが見つかりません")
    assert store.applications(look(service.ra.database)) != []
    assert store.applications(look(service.ra.database), state="submitted") == []
    assert (await log_in(visitor)).status == 200


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(
    ("role", "build", "path", "fields", "status"),
    [
        (Role.PICKUP, pickup.application, "/", None, 200),
        (Role.PICKUP, pickup.application, "/login", {"user_id": USER, "password": "x"}, 503),
        (Role.PICKUP, pickup.application, "/nowhere", None, 404),
        (Role.HELP, help_site.application, "/contact", None, 200),
        (Role.HELP, help_site.application, "/nowhere", None, 404),
        (Role.CONNECTIVITY, connectivity.application, "/", None, 200),
        (Role.CONNECTIVITY, connectivity.application, "/nowhere", None, 404),
    ],
)
async def test_every_site_has_a_page(
    tmp_path: Path,
    trouble: Trouble,
    role: Role,
    build: Callable[..., object],
    path: str,
    fields: dict[str, str] | None,
    status: int,
) -> None:
    """Never a bare one, whichever site and whatever is asked for."""
    policy = ClientCertificate.ASK if role is Role.CONNECTIVITY else ClientCertificate.NONE
    async with open_office(tmp_path) as ra, serve(ra, tmp_path, role, build, policy) as served:
        visitor = served.visitor()
        with trouble(ra):
            page = await (visitor.get(path) if fields is None else visitor.post(path, fields))
        assert page.status == status
        assert "0120-96-1576" in page.html


async def test_what_could_not_be_recorded_stands_in_the_log(
    service: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """The desk finds the number that people tell it: where, what, and of which path."""
    with read_only(service.ra):
        page = await service.visitor().get("/login")
    number = page.main.one("p", class_="reference").one("strong").text
    (line,) = [each.getMessage() for each in caplog.records if number in each.getMessage()]
    assert line.startswith(f"reference {number} not recorded (SQLITE_READONLY): service certificate.none")


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_protocol_says_when_to_come_again(tmp_path: Path, trouble: Trouble) -> None:
    """503, serverInternal, Retry-After; what was refused goes through afterwards, once."""
    async with world(tmp_path) as site:
        client = await site.enrolled()
        ready = await client.order()
        with trouble(site.ra):
            answers = [await client.order(), await client.post(ready.json["finalize"], {"csr": csr(FQDN)})]
        for answer in answers:
            assert (answer.problem, answer.headers["Retry-After"]) == ((503, "serverInternal"), "60")
            assert "nothing was done" in answer.json["detail"]
            assert "sqlite" not in answer.json["detail"].lower()
        assert (await client.post(ready.json["finalize"], {"csr": csr(FQDN)})).json["status"] == "valid"


def test_other_faults_are_not_the_disks(tmp_path: Path) -> None:
    """The twin: a statement of ours that is wrong, or a file that is missing, is no full disk."""
    assert not is_out_of_order(FileNotFoundError(2, "no"))
    assert not is_out_of_order(ValueError())
    with closing(Database(tmp_path / "t.db")) as db:
        with pytest.raises(StorageError) as wrong:
            db.write_now(lambda db: db.rows("SELECT nothing"))
        with pytest.raises(StorageError) as refused:
            db.read_now(lambda db: db.execute("CREATE TABLE t (x)"))
    assert not is_out_of_order(wrong.value)
    assert is_out_of_order(refused.value)
    assert is_out_of_order(OSError(28, "No space left on device"))
