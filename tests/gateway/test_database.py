"""The database of a data directory: a file in it, or one on a server that several directories share."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run

import pytest

import ca.store
from ca import datadir, journal
from ca.databaseserver import PASSWORD_VARIABLES
from ca.errors import ConfigError
from ca.storage import Condition, Storage, StorageTrouble
from gateway.cli.onserver import counted, judged
from gateway.serving.database import open_database, server_of
from gateway.serving.deployment import SCHEMAS
from gateway.serving.settings.running import Storage as Settings
from gateway.serving.standing import NODE, belonging, compare, journal_of
from tests import databases
from tests.datadirs import CHEAP, PASSPHRASE, START
from tests.ports import free_port

pytestmark = databases.NEEDED


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data directories of two CAs, made once."""
    place = tmp_path_factory.mktemp("made")
    for name in ("ours", "theirs"):
        datadir.create(place / name, PASSPHRASE, START, cost=CHEAP)
    return place


@dataclass(frozen=True)
class Directory:
    """A node's."""

    path: Path
    settings: Settings

    def open(self) -> tuple[Storage, journal.Journal]:
        kept = journal_of(self.path)
        return open_database(self.path, self.settings, SCHEMAS, ca_id=kept.ca, kept=kept), kept


@pytest.fixture
def directory(made, tmp_path):
    def copied(name: str, of: str = "ours", url: str | None = None) -> Directory:
        shutil.copytree(made / of, tmp_path / name)
        found = databases.url_of(tmp_path / "shared") if url is None else url
        return Directory(tmp_path / name, Settings(url=found))

    return copied


def note(database: Storage, *names: str) -> None:
    database.write_now(lambda db: [db.note("told", name=name) for name in names])


def told(path: Path) -> list[str]:
    lines = journal.entries(path / journal.FOLDER, journal.BEGINNING)
    return [facts["name"] for entry in lines for kind, facts in entry.notes if kind == "told"]


def test_both_remember_each_other(directory):
    """A new database is this CA's from now on, and the directory knows which it is, and what it is there."""
    one = directory("one")
    for _ in range(2):
        database, kept = one.open()
        with closing(database):
            assert compare(one.path, kept, database) == "level"
            known = belonging(one.path)
            assert database.read_now(ca.store.owner) == ca.store.Owner(kept.ca, known.database)
            assert [each.node_id for each in database.read_now(ca.store.nodes)] == [known.node]
            assert kept.node == known.node
    assert (one.path / NODE).stat().st_mode & 0o777 == 0o600


def test_another_ca_s_database_is_refused(directory):
    """Whichever engine: with both names, and what to do."""
    ours, theirs = directory("ours"), directory("theirs", "theirs")
    ours.open()[0].close()
    with pytest.raises(ConfigError, match=r"is another CA's .* put the right one back"):
        theirs.open()
    file, other = directory("file", url=""), directory("other", "theirs", url="")
    file.open()[0].close()
    shutil.copy(file.path / "sekisho.db", other.path)
    with pytest.raises(ConfigError, match="is another CA's"):
        other.open()


def test_another_database_of_the_same_ca_is_refused(directory, tmp_path):
    """As when somebody has made an empty one in its place: nothing that was issued is in there. It stays
    nobody's; one that is the CA's by now is refused as well."""
    one = directory("one")
    one.open()[0].close()
    moved = replace(one, settings=Settings(url=databases.url_of(tmp_path / "elsewhere")))
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"leads to an empty database, and .* belongs to one that is not"
        ):
            moved.open()
    replace(directory("two"), settings=moved.settings).open()[0].close()
    with pytest.raises(ConfigError, match=r"another database than the one that .* belongs to"):
        moved.open()
    with pytest.raises(ConfigError, match="belongs to a database on a server"):
        replace(one, settings=Settings()).open()
    one.open()[0].close()


def test_a_register_in_the_directory_is_not_left_behind(directory, tmp_path):
    """A directory that has issued into its file begins none on a server."""
    one = directory("one", url="")
    database, kept = one.open()
    with closing(database):
        compare(one.path, kept, database)
        note(database, "issued")
    with pytest.raises(ConfigError, match=r"has a register of its own, sekisho.db"):
        replace(one, settings=Settings(url=databases.url_of(tmp_path / "new"))).open()
    assert not (one.path / NODE).exists()


def test_ten_at_once_are_one_node(directory):
    """Processes of a directory that open it first together: one identity, one row, tables made once."""
    one = directory("one")
    with ThreadPoolExecutor(10) as threads:
        opened = list(threads.map(lambda _: one.open(), range(10)))
    assert {kept.node for _, kept in opened} == {belonging(one.path).node}
    assert len(opened[0][0].read_now(ca.store.nodes)) == 1
    for database, _ in opened:
        database.close()


async def test_processes_of_a_node_write_one_journal(directory):
    """Workers and commands at the same time: each line follows the one before, and each is committed."""
    one = directory("one")
    opened = [one.open() for _ in range(4)]
    compare(one.path, opened[0][1], opened[0][0])
    names = [f"{number}-{each}" for number in range(len(opened)) for each in range(10)]
    try:
        await asyncio.gather(
            *(
                database.write(lambda db, name=f"{number}-{each}": db.note("told", name=name))
                for each in range(10)
                for number, (database, _) in enumerate(opened)
            )
        )
        database, kept = opened[0]
        mark = database.read_now(lambda db: ca.store.journal_mark(db, kept.node))
        assert sorted(told(one.path)) == sorted(names)
        assert mark[0] == len(list(journal.entries(one.path / journal.FOLDER, journal.BEGINNING)))
        assert compare(one.path, kept, database) == "level"
    finally:
        for database, _ in opened:
            database.close()


def test_nodes_have_a_journal_each_and_lose_nothing(directory, tmp_path):
    """Two nodes on one database, which is put back from an older copy: neither serves it before both have
    brought their own part, and then all of it is there."""
    one, two = directory("one"), directory("two")
    for each in (one, two):
        database, kept = each.open()
        with closing(database):
            compare(each.path, kept, database)
            note(database, f"{each.path.name} before")
    older = databases.copied(tmp_path / "shared", tmp_path / "older")
    for each in (one, two):
        database, kept = each.open()
        with closing(database):
            note(database, f"{each.path.name} since")
    assert told(one.path) == ["one before", "one since"]
    assert told(two.path) == ["two before", "two since"]

    back = [replace(each, settings=Settings(url=older)) for each in (one, two)]
    for each in back:
        database, kept = each.open()
        with closing(database), pytest.raises(ConfigError, match=r"older than its journal.*restore replay"):
            compare(each.path, kept, database)
    _replayed(back[0])
    database, kept = back[0].open()
    with closing(database), pytest.raises(ConfigError, match="not each node's journal was compared"):
        compare(back[0].path, kept, database)
    _replayed(back[1])
    for each in back:
        database, kept = each.open()
        with closing(database):
            assert compare(each.path, kept, database) == "level"


def _replayed(each: Directory) -> None:
    """As `sekisho restore replay` does, for notes that mean nothing to enrollment."""
    database, kept = each.open()
    with closing(database):
        assert journal.stands(kept, database) == "older"

        def work(db):
            since = journal.Mark(*ca.store.hold_journal_mark(db, kept.node))
            lines = list(journal.entries(kept.folder, since))
            ca.store.is_compared(db, kept.node)
            ca.store.were_put_back(db, kept.node, 1)
            db.note(journal.REPLAYED, since=since.number, until=lines[-1].number)
            return [facts["name"] for line in lines for _, facts in line.notes]

        assert database.write_now(work) == [f"{each.path.name} since"]


def test_a_server_that_lost_commits_is_noticed(directory, tmp_path):
    """What takes over from a server may lack what was committed last: no line is written over what it has
    lost, and nobody is served from it."""
    one = directory("one")
    database, kept = one.open()
    compare(one.path, kept, database)
    note(database, "before")
    database.close()
    older = databases.copied(tmp_path / "shared", tmp_path / "older")
    database, _ = one.open()
    note(database, "lost")
    note(database, "lost as well")
    database.close()

    database, kept = replace(one, settings=Settings(url=older)).open()
    with closing(database):
        kept.fits = True  # as in a gateway that ran through it
        with pytest.raises(StorageTrouble) as refused:
            note(database, "on top")
        assert "older than its journal" in refused.value.trouble
        with pytest.raises(StorageTrouble):
            database.read_now(kept.check)
    assert told(one.path) == ["before", "lost", "lost as well"]

    database, kept = one.open()  # the twin: the one that has them
    with closing(database):
        kept.fits = True
        database.read_now(kept.check)
        note(database, "on top")


def test_the_password_is_in_a_file_or_the_environment(directory, tmp_path, monkeypatch):
    """The file first, then our variable, then libpq's; an error says which, and nothing shows it."""
    settings = Settings(url="postgresql://me@db/x", password_file="secret")
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("PGPASSWORD", "of libpq")
    assert server_of(tmp_path, replace(settings, password_file="")).password == "of libpq"
    monkeypatch.setenv("SEKISHO_DATABASE_PASSWORD", "of ours")
    assert server_of(tmp_path, replace(settings, password_file="")).password == "of ours"
    found = server_of(tmp_path, settings)
    assert found.password == "from a file"
    assert "from a file" not in f"{found!r} {found}"
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigError, match=r"database.password_file: .*secret cannot be read"):
        server_of(tmp_path, settings)
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(ConfigError, match=r"database.ca: .*holds no certificate"):
        server_of(tmp_path, replace(settings, password_file="", ca="ca.pem"))


_WITH_PASSWORD = "ひらけ sesame"


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The address of a database whose owner has to say a password, by SCRAM-SHA-256 (RFC 7677)."""
    with databases.temporary() as cluster:
        hba = cluster.folder / "data" / "pg_hba.conf"
        hba.write_text("local all keeper scram-sha-256\nlocal all all trust\n")
        with cluster.running():
            made = f"CREATE ROLE keeper LOGIN PASSWORD '{_WITH_PASSWORD}'"
            for statement in (made, "CREATE DATABASE guarded OWNER keeper TEMPLATE template0"):
                databases._wait(databases._asked(cluster.url("postgres"), statement))
            yield cluster.url("guarded").replace("postgres@", "keeper@")


#: Where the password comes from -> what is in the file that `password_file` names (None: none is named), and
#: what in the environment.
PASSWORDS: dict[str, tuple[str | None, dict[str, str]]] = {
    "a file": (_WITH_PASSWORD, {"SEKISHO_DATABASE_PASSWORD": "wrong", "PGPASSWORD": "wrong"}),
    "our variable": (None, {"SEKISHO_DATABASE_PASSWORD": _WITH_PASSWORD, "PGPASSWORD": "wrong"}),
    "the variable of libpq": (None, {"PGPASSWORD": _WITH_PASSWORD}),
}


@pytest.mark.parametrize("where", PASSWORDS)
def test_a_server_is_told_the_password(directory, guarded, monkeypatch, where):
    """Whoever has it is let in, and makes the tables."""
    in_file, environment = PASSWORDS[where]
    opened = _with(directory("one", url=guarded), in_file, environment, monkeypatch)
    with closing(opened.open()[0]) as database:
        assert database.read_now(lambda db: db.one("SELECT current_user::text")[0]) == "keeper"


@pytest.mark.parametrize(
    ("in_file", "environment"),
    [("wrong", {"PGPASSWORD": _WITH_PASSWORD}), (None, {"SEKISHO_DATABASE_PASSWORD": "wrong"}), (None, {})],
)
def test_a_server_is_told_a_wrong_password_or_none(directory, guarded, monkeypatch, in_file, environment):
    """It does not let us in, with where to look; no password is repeated."""
    opened = _with(directory("one", url=guarded), in_file, environment, monkeypatch)
    with pytest.raises(ConfigError, match=r"does not let us in; see the user and the password") as refused:
        opened.open()
    assert "wrong" not in str(refused.value)
    assert _WITH_PASSWORD not in str(refused.value)


def _with(one: Directory, in_file: str | None, environment: dict[str, str], monkeypatch) -> Directory:
    for name in PASSWORD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if in_file is None:
        return one
    (one.path / "secret").write_text(f"{in_file}\n")
    return replace(one, settings=replace(one.settings, password_file="secret"))


def test_without_the_driver_it_says_what_to_type(directory, monkeypatch):
    """The setting without the extra."""
    one = directory("one", url="postgresql://me@db/x")
    for name in [each for each in sys.modules if each.startswith("ca.postgresql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(ca, "postgresql", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"asyncpg is not installed: pip install 'sekisho\[postgres\]'"):
        one.open()


def test_a_journal_of_another_node_is_refused(directory):
    """A directory whose journal is another node's, as when the wrong copy was put back."""
    one, two = directory("one"), directory("two")
    for each in (one, two):
        database, kept = each.open()
        with closing(database):
            compare(each.path, kept, database)
    shutil.rmtree(two.path / journal.FOLDER)
    shutil.copytree(one.path / journal.FOLDER, two.path / journal.FOLDER)
    database, kept = two.open()
    with closing(database), pytest.raises(ConfigError, match="another node's"):
        compare(two.path, kept, database)


def test_a_damaged_identity_is_told(directory):
    """It is not made up anew: the node would have a second journal."""
    one = directory("one")
    one.open()[0].close()
    (one.path / NODE).write_text(json.dumps({"node": "x"}))
    with pytest.raises(ConfigError, match="is damaged; put it back"):
        one.open()


def _certificate(folder: Path, name: str) -> Path:
    """A certificate of its own for localhost, with its key, which the server alone may read."""
    key, pem = folder / f"{name}.key", folder / f"{name}.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    run([*made, *named, "-keyout", key, "-out", pem, "-days", "2"], check=True, capture_output=True)
    key.chmod(0o600)
    for each in (key, pem) if os.geteuid() == 0 else ():
        shutil.chown(each, "postgres")
    return pem


def test_the_server_is_known_by_its_certificate(made, tmp_path):
    """By TLS to the host that is named, of the CA that the settings name: another CA's certificate, another
    name and no TLS at all are refused, and a host that is away is passed over."""
    data, port = tmp_path / "data", free_port()
    shutil.copytree(made / "ours", data)
    kept = journal_of(data)
    with databases.temporary() as cluster:
        own, other = _certificate(cluster.folder, "own"), _certificate(cluster.folder, "other")
        for each in (own, other):
            shutil.copy(each, data)
        hba = cluster.folder / "data" / "pg_hba.conf"
        hba.write_text("local all all trust\nhostssl all all all trust\n")
        secure = ("ssl=on", f"ssl_cert_file={own}", f"ssl_key_file={own.with_suffix('.key')}")
        with cluster.running():
            databases._make(cluster, "tls", "template0")
        with cluster.running(*secure, "listen_addresses=127.0.0.1", port=port):
            url = f"postgresql://postgres@localhost:{free_port()},localhost:{port}/tls"
            settings = Settings(url=url, ca=own.name)
            database = open_database(data, settings, SCHEMAS, ca_id=kept.ca, kept=kept)
            with closing(database):
                ours = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                assert database.read_now(lambda db: db.one(ours)[0]) is True
                (told,) = judged(database.condition())
                assert (told.state, "fsync is off" in told.found) == ("bad", True)
            for changed, why in (
                ({"ca": other.name}, "certificate is not believed"),
                ({"url": url.replace("localhost", "127.0.0.1")}, "certificate is not believed"),
                ({"sslmode": "disable"}, "does not let us in"),
            ):
                with pytest.raises(ConfigError, match=why):
                    open_database(data, replace(settings, **changed), SCHEMAS, ca_id=kept.ca, kept=kept)


def test_what_doctor_says_of_a_server():
    """Each trouble by itself, with what to do; and of one that is in order its figures."""
    good = Condition("x at db", "15.1", True, (), 3, 97, 0.01)
    assert [(each.state, each.hint) for each in judged(good)] == [("ok", "")]
    for changed, state, words in (
        ({"writable": False}, "bad", "can only be read"),
        ({"loses": ("fsync is off",)}, "bad", "fsync is off"),
        ({"connections": 80}, "notice", "few connections"),
        ({"ahead": -5.0}, "notice", "the clocks differ"),
    ):
        (found,) = judged(replace(good, **changed))
        assert (found.state, words in found.found, bool(found.hint)) == (state, True, True)
    assert [(each.state, each.hint) for each in counted(2, 2)] == [("ok", "")]
    for written, words in ((1, "allow more"), (3, "allow less")):
        (found,) = counted(2, written)
        assert (found.state, words in found.found) == ("notice", True)
        assert "write database.nodes = 2 at each" in found.hint
