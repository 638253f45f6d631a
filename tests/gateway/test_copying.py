"""A register copied onto a server and back: all of it or nothing, and never served from both."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import ca.published.store
import ca.store
from ca import datadir, journal, listfiles, sqlite, whole
from ca.databaseserver import parse
from ca.errors import ConfigError
from ca.journal import BEGINNING
from ca.postgresql.database import Database
from ca.postgresql.whole import Whole as OnServer
from ca.storage import Storage, Transaction, Whole
from enroll import crls
from gateway.running import rundir
from gateway.serving import copying
from gateway.serving.config import FILE_NAME, Config, read_database, toml_of
from gateway.serving.copying import Copied, from_server, to_server
from gateway.serving.database import DATABASE, open_database
from gateway.serving.deployment import SCHEMAS
from gateway.serving.standing import belonging, compare, journal_of
from tests import databases
from tests.datadirs import CHEAP, PASSPHRASE, START, admit, delivered, open_office
from tests.issued import hold, issue, revoke
from tests.started import forked

pytestmark = databases.NEEDED

# How often each way is cut off; `make kills` wants more.
_KILLS = int(os.environ.get("SEKISHO_TEST_COPIES", "2"))
_TABLES = sqlite.layout(SCHEMAS)
_BOTH = [each for each in _TABLES if each.name not in copying.OWN]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with people, letters that have a secret, certificates of each state, and a list."""
    place = tmp_path_factory.mktemp("lived")

    async def live() -> None:
        async with open_office(place) as ra:
            for number in range(3):
                await admit(ra, f"K1234567{number}")
            await delivered(ra)
            await admit(ra, "K12345679", reading="ネンキン 花子 🎌")
            leaves = [await issue(ra, f"K1234567{number}001") for number in range(3)]
            await revoke(ra, leaves[0])
            await hold(ra, leaves[1])
            await crls.publish(ra, ra.authority.current)

    asyncio.run(live())
    (place / "data" / FILE_NAME).write_text(toml_of(Config()))
    # Whose it is, is written by who opens it as a gateway does.
    Place(place / "data", "").open("").close()
    return place / "data"


@dataclass(frozen=True)
class Place:
    """A directory, and the address of a database that is nobody's yet."""

    data: Path
    url: str

    @property
    def file(self) -> Whole:
        return sqlite.Whole(self.data / DATABASE)

    @property
    def server(self) -> OnServer:
        return OnServer(parse(self.url))

    def there(self) -> Copied:
        return to_server(self.data, self.url, "test")

    def back(self) -> Copied:
        return from_server(self.data, self.url, "test")

    def open(self, url: str) -> Storage:
        """As whoever serves it would."""
        kept = journal_of(self.data)
        settings = replace(read_database(self.data), url=url)
        return open_database(self.data, settings, SCHEMAS, ca_id=kept.ca, kept=kept, pool=2)


@pytest.fixture
def place(lived: Path, tmp_path: Path) -> Place:
    shutil.copytree(lived, tmp_path / "data")
    return Place(tmp_path / "data", databases.url_of(tmp_path / "empty"))


def _sums(side: Whole) -> dict[str, tuple[int, str]]:
    with side.snapshot() as db:
        return {each.table: (each.rows, each.digest) for each in whole.sums(db, _BOTH)}


def _written(side: Whole, work: Callable[[Transaction], Any]) -> None:
    with side.held(_TABLES) as db:
        work(db)


def _owner(side: Whole) -> ca.store.Owner | None:
    with side.snapshot() as db:
        return ca.store.owner(db)


def _serves(place: Place, url: str) -> bool:
    try:
        database = place.open(url)
    except ConfigError:
        return False
    with closing(database):
        compare(place.data, journal_of(place.data), database)
    return True


def test_no_side_is_ended_while_the_other_one_is_read(place: Place) -> None:
    """All of a million certificates is read on one side while the other is asked for nothing: for longer than
    a write of the gateway's may stand still."""
    limit = "SELECT extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval)"
    for begun in (place.server.filling(SCHEMAS), place.server.held(_TABLES)):
        with begun as db:
            row = db.one(limit)
            assert row is not None
            assert row[0] >= 600


def test_there_and_back(place: Place) -> None:
    """Every row of every table is on the other side, and numbers go on; the directory, its journal and the
    lists go along; what it was copied from is served no more."""
    before = _sums(place.file)
    done = place.there()
    assert {each.table: (each.rows, each.digest) for each in done.sums} == _sums(place.server)
    # The record says that it was copied.
    changed = {name for name, found in _sums(place.server).items() if found != before[name]}
    assert changed == {"audit", "counters"}
    assert (done.before, done.keys, done.nodes) == (False, 0, [])
    assert (_serves(place, ""), _serves(place, place.url)) == (False, True)
    with closing(place.open(place.url)) as database:
        kept = journal_of(place.data)
        assert compare(place.data, kept, database) == "level"
        (node,) = database.read_now(ca.store.nodes)
        assert (node.node_id, kept.node, node.behind) == (done.node, done.node, False)
        (listed,) = database.read_now(ca.published.store.published_lists)
        pieces = database.read_now(lambda db: ca.published.store.content_of(db, listed))
        assert b"".join(pieces) == listfiles.path_of(place.data / "crls", listed).read_bytes()
        database.write_now(
            lambda db: db.execute(
                "INSERT INTO desk_references (reference, at, site, code, detail)"
                " VALUES ('1', 1, 's', 'c', '{}')"
            )
        )
        database.write_now(lambda db: db.note("test", it="goes on"))
        # What the database numbers goes on behind what was copied.
        row = database.write_now(
            lambda db: db.one(
                "INSERT INTO epochs (name, begun_at) VALUES (:name, 1) RETURNING number", {"name": b"x" * 16}
            )
        )
        assert row is not None
        database.write_now(lambda db: db.execute("DELETE FROM epochs WHERE begun_at = 1"))
        assert row[0] == before["epochs"][0] + 1
    for path in (place.data / "crls").iterdir():
        path.unlink()
    (place.data / DATABASE).rename(place.data / "old")
    middle = _sums(place.server)

    assert not place.back().before
    changed = {name for name, found in _sums(place.file).items() if found != middle[name]}
    assert changed == {"audit", "counters"}
    assert listfiles.path_of(place.data / "crls", listed).read_bytes() == b"".join(pieces)
    assert (_serves(place, ""), _serves(place, place.url)) == (True, False)
    assert belonging(place.data) is None
    with closing(place.open("")) as database:
        assert compare(place.data, journal_of(place.data), database) == "level"
    entries = list(journal.entries(place.data / journal.FOLDER, BEGINNING))
    assert [kind for each in entries for kind, _ in each.notes if kind in ("copied", "test")] == [
        "copied", "test", "copied",
    ]  # fmt: skip
    assert [each.number for each in entries] == list(range(1, len(entries) + 1))


def test_long_rows_are_read_in_short_pages(place: Place) -> None:
    """A page is about a mebibyte, whatever the rows are like; no row is lost between two pages."""

    def fill(db: Transaction) -> None:
        for number in range(700):
            db.execute(
                "INSERT INTO crl_pieces (issuer_id, number, piece, content) VALUES (:i, :n, :p, :content)",
                {"i": f"i{number % 7}", "n": number // 70, "p": number, "content": bytes(number * 100)},
            )

    _written(place.file, fill)
    (pieces,) = [each for each in _TABLES if each.name == "crl_pieces"]
    with place.file.snapshot() as db:
        found = [list(page) for page in whole.store.pages(db, pieces)]
    assert len([row for page in found for row in page]) == 700
    assert max(sum(len(row["content"]) for row in page) for page in found) <= 1 << 20
    keys = [(row["issuer_id"], row["number"], row["piece"]) for page in found for row in page]
    assert keys == sorted(keys)
    assert len({*keys}) == 700


# -- refused ---------------------------------------------------------------------------------------------


@contextmanager
def _locked(place: Place, name: str) -> Iterator[None]:
    directory = rundir.run_directory(place.data)
    lock = rundir.take(directory / name)
    assert lock is not None
    (directory / "sekisho.pid").write_text(f"{os.getpid()}\n")
    with closing(lock):
        yield


@contextmanager
def _connected(place: Place) -> Iterator[None]:
    with closing(Database(place.url, place.data, SCHEMAS)):
        yield


@contextmanager
def _with(side: Whole, statement: str, undo: str) -> Iterator[None]:
    _written(side, lambda db: db.execute(statement))
    yield
    _written(side, lambda db: db.execute(undo))


_THEIRS = "INSERT INTO belongs_to (id, ca, identifier) VALUES (1, '{}', 'i')"
_ROOMS = (
    "INSERT INTO schema_steps VALUES ('ca', 'tomorrow', 1)",
    "DELETE FROM schema_steps WHERE name = 'tomorrow'",
)
_IN_FILE = (
    "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('ca', 'tomorrow', '')",
    "DELETE FROM _sqlite_migrations WHERE name = 'tomorrow'",
)
_NOBODYS = "DELETE FROM belongs_to"
# As on a full disk.
_FULL = (
    "DO $$ BEGIN CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN RAISE disk_full; END'; CREATE TRIGGER no_room BEFORE INSERT ON users FOR EACH ROW"
    " EXECUTE FUNCTION no_room(); END $$",
    "DROP FUNCTION no_room CASCADE",
)
#: What is in the way of the way there -> what is said of it.
_IN_THE_WAY: dict[str, tuple[Callable[[Place], Any], str]] = {
    "a gateway": (lambda p: _locked(p, "sekisho.pid"), "a gateway serves"),
    "a signer": (lambda p: _locked(p, rundir.SIGNER), "a signer of"),
    "a gateway on the other side": (_connected, "others of ours are connected"),
    "a register": (
        lambda p: _with(p.server, _THEIRS.format(datadir.identity(p.data)), _NOBODYS),
        r"is not empty \(a register\)",
    ),
    "another CA's": (lambda p: _with(p.server, _THEIRS.format("f" * 64), _NOBODYS), "is another CA's"),
    "rows": (
        lambda p: _with(
            p.server,
            "INSERT INTO throttles VALUES ('k', 1, 1)",
            "DELETE FROM throttles",
        ),
        r"is not empty \(throttles have rows\)",
    ),
    "others' tables": (
        lambda p: _with(p.server, "CREATE TABLE bills (a BIGINT)", "DROP TABLE bills"),
        r"none of ours \(bills\)",
    ),
    "no room there": (lambda p: _with(p.server, *_FULL), r"has no room left \(disk.*\); see its log"),
    "newer there": (lambda p: _with(p.server, *_ROOMS), r"a newer sekisho \(ca: tomorrow\)"),
    "newer here": (lambda p: _with(p.file, *_IN_FILE), r"a newer sekisho \(ca: tomorrow\)"),
    "not as it was made": (
        lambda p: _with(
            p.file,
            "DROP INDEX users_by_name",
            "CREATE INDEX users_by_name ON users(name_key, policy_number)",
        ),
        "index users_by_name is missing",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", _IN_THE_WAY)
def test_what_is_in_the_way(place: Place, what: str) -> None:
    """It is named, with what to do; nothing was changed on either side; without it the same goes through."""
    plant, said = _IN_THE_WAY[what]
    with plant(place):
        with pytest.raises(ConfigError, match=said) as refused:
            place.there()
        assert ": " in str(refused.value)
    assert belonging(place.data) is None
    owner = _owner(place.file)
    assert owner is not None
    assert owner.state == "used"
    assert _owner(place.server) is None
    assert not place.there().before


def test_an_address_that_is_none(place: Place) -> None:
    """The words of database.url."""
    with pytest.raises(ConfigError, match="begins with postgresql://"):
        to_server(place.data, "mysql://x/y", "test")
    for url in ("postgresql://me:tops3cret@db/x", "postgresql://me:12/tops3cret@db"):
        for way in (to_server, from_server):
            with pytest.raises(ConfigError, match="a password does not belong here") as refused:
                way(place.data, url, "test")
            assert "tops3cret" not in str(refused.value)


def test_a_directory_without_a_register(lived: Path, place: Place) -> None:
    """There is nothing to copy; the same of a node, and of one that never was on a server."""
    (place.data / DATABASE).rename(place.data / "aside")
    with pytest.raises(ConfigError, match="has no register of its own"):
        place.there()
    with pytest.raises(ConfigError, match="is no node of a database on a server"):
        place.back()


def test_what_was_copied_is_not_copied_again(place: Place, tmp_path: Path) -> None:
    """Neither to the same place, nor to another; and the way back is from where it is, into no register."""
    place.there()
    with pytest.raises(ConfigError, match=r"already: write its address into database\.url"):
        place.there()
    other = Place(place.data, databases.url_of(tmp_path / "other"))
    with pytest.raises(ConfigError, match="was copied already, and not to"):
        other.there()
    with pytest.raises(ConfigError, match="is empty, and nobody's yet"):
        other.back()
    with pytest.raises(ConfigError, match=r"is there \(an older state of it\): put it aside"):
        place.back()
    (place.data / DATABASE).rename(place.data / "old")
    place.back()
    with pytest.raises(ConfigError, match=r"already: write '' into database\.url"):
        place.back()


def test_back_from_another_than_its_own(place: Place, lived: Path, tmp_path: Path) -> None:
    """A node's directory takes the register of its own database only, and of no other CA's."""
    place.there()
    shutil.copytree(lived, tmp_path / "twin")
    twin = Place(tmp_path / "twin", databases.url_of(tmp_path / "twins"))
    twin.there()
    (place.data / DATABASE).unlink()
    with pytest.raises(ConfigError, match="is another database than the one that"):
        from_server(place.data, twin.url, "test")
    datadir.create(tmp_path / "theirs", PASSPHRASE, START, cost=CHEAP)
    shutil.copy(place.data / FILE_NAME, tmp_path / "theirs" / FILE_NAME)
    shutil.copy(place.data / "node.json", tmp_path / "theirs" / "node.json")
    with pytest.raises(ConfigError, match="is another CA's"):
        from_server(tmp_path / "theirs", place.url, "test")
    place.back()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["file", "server"])
def test_a_copy_that_is_not_the_same(place: Place, where: str) -> None:
    """Before the directory changes over both sides are compared, row by row, again after a crash: a value
    that differs stops it, and is named by its table; put right, the same command finishes it."""
    place.there()
    new = _owner(place.server)
    assert new is not None
    # As it is when the command is cut off before the last step.
    _written(place.server, lambda db: ca.store.own(db, replace(new, state="copied")))
    (place.data / "node.json").unlink()
    side = place.file if where == "file" else place.server
    with _with(
        side,
        "UPDATE users SET reading = 'x' || reading WHERE user_id = 'K12345670'",
        "UPDATE users SET reading = '' WHERE user_id = 'K12345670'",
    ):
        with pytest.raises(ConfigError, match=r"^users came out of .* otherwise than they went in"):
            place.there()
        assert belonging(place.data) is None
        assert not _serves(place, place.url)
    assert place.there().before
    assert _serves(place, place.url)


def test_other_nodes_and_their_keys_are_named(place: Place) -> None:
    """Who comes back alone is told of the others, and of keys that only they have."""
    place.there()
    _written(place.server, lambda db: ca.store.name_node(db, "f" * 32, "beta"))
    for path in (place.data / "window").iterdir():
        path.rename(place.data / path.name)
    (place.data / DATABASE).unlink()
    done = place.back()
    assert [(each.node_id, each.name) for each in done.nodes] == [("f" * 32, "beta")]
    assert done.keys == 1


# -- cut off ---------------------------------------------------------------------------------------------


def _calls(work: Callable[[], Any], at: int) -> int:
    """Counts what is called of what copies; dies by SIGKILL at the given call."""
    seen = 0

    def look(frame: Any, event: str, _: Any) -> None:
        nonlocal seen
        if event in ("call", "return", "c_call") and "site-packages" not in frame.f_code.co_filename:
            name = frame.f_code.co_filename
            if name.endswith(("copying.py", "sqlite.py", "journal.py", "files.py")) or any(
                room in name for room in ("/whole/", "/postgresql/")
            ):
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def _counted(work: Callable[[], Any], told: Path, at: int = 0) -> int:
    """How a copy of this process ends that does the work."""

    def life() -> int:
        told.write_text(str(_calls(work, at)))
        return 0

    with forked(life) as child:
        return child.wait()


def _one_at_most(place: Place) -> bool:
    """Whether one is served after this, and not both; asked of copies, since to open one is to take it."""
    kept = place.data.with_name("asked")
    shutil.copytree(place.data, kept)
    states = [_owner(side) for side in (place.file, place.server) if side.exists()]
    used = [each for each in states if each is not None and each.state == "used"]
    shutil.rmtree(kept)
    return len(used) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("way", ["there", "back"])
def test_killed_at_any_point(lived: Path, tmp_path: Path, way: str) -> None:
    """Whatever call it is killed in: never are both served, what is not whole is not served, and the same
    command again finishes, with every row."""
    chance = random.Random(f"{way} 14")
    total, points = 0, [0]
    while points:
        at = points.pop()
        folder = tmp_path / f"{way}{at}"
        shutil.copytree(lived, folder / "data")
        place = Place(folder / "data", databases.url_of(folder / "db"))
        if way == "back":
            place.there()
            (place.data / DATABASE).unlink()
        before = _sums(place.server if way == "back" else place.file)
        do = place.back if way == "back" else place.there
        code = _counted(do, tmp_path / "told", at)
        if at == 0:
            assert code == 0
            total = int((tmp_path / "told").read_text())
            # The end, where the sides change over, is a small part of the calls and most of the states.
            points = sorted(
                {*chance.sample(range(1, total), _KILLS)}
                | {total - each for each in chance.sample(range(1, total // 8), _KILLS)}
            )
            continue
        assert code == -signal.SIGKILL, at
        source, target = (place.file, place.server) if way == "there" else (place.server, place.file)
        assert _one_at_most(place), at
        url = place.url if way == "there" else ""
        if target.exists() and (owner := _owner(target)) is not None and owner.state != "used":
            assert not _serves(place, url), at
        said = ""
        try:
            do()
        except ConfigError as error:
            said = str(error)
        assert said == "" or "already: write" in said, at
        changed = {name for name, found in _sums(target).items() if found != before[name]}
        assert changed <= {"audit", "counters"}, at
        assert (_serves(place, url), _serves(place, "" if url else place.url)) == (True, False), at
        left = _owner(source)
        assert left is not None
        assert left.state == "left", at
        assert not [path for path in place.data.iterdir() if "copying" in path.name], at
