"""The journal: what is noted is on disk before it is committed, and tells an old copy of the database."""

import errno
import json
import os
import resource
import shutil
import signal
import sqlite3

import pytest

import ca.store
from ca import journal, schema
from ca.errors import ConfigError
from ca.journal import BEGINNING, Journal, Mark
from ca.sqlite import Database
from ca.storage import StorageTrouble
from tests.started import forked

CA, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def open_database(tmp_path, folder):
    journal.begin(folder, CA)
    opened = []

    def make(name="t.db", full=2**20):
        database = Database(tmp_path / name, [schema.SCHEMA], journal=Journal(folder, CA, full=full))
        opened.append(database)
        return database

    yield make
    for each in opened:
        each.close()


def note(database, *names):
    def work(db):
        for name in names:
            db.note("told", name=name)

    database.write_now(work)


def mark(database):
    return Mark(*database.read_now(lambda db: ca.store.journal_mark(db, "")))


def told(folder, since=BEGINNING):
    found = journal.committed(list(journal.entries(folder, since)), since.number)
    return [facts["name"] for entry in found for _, facts in entry.notes]


def stands(database, folder):
    return journal.stands(Journal(folder, CA), database)


def only(folder):
    (path,) = sorted(folder.glob("*.jsonl"))
    return path


def copied(tmp_path, database, name="old.db"):
    """The database as a copy has it, put elsewhere."""
    with sqlite3.connect(database.path) as source, sqlite3.connect(tmp_path / name) as target:
        source.backup(target)
    return name


def test_notes_are_a_line_that_the_database_remembers(open_database, folder):
    """What was noted in one commit is one line, chained to the one before, and the mark is its hash."""
    database = open_database()
    note(database, "a", "b")
    note(database, "c")
    first, second = journal.entries(folder, BEGINNING)
    assert [n[1]["name"] for n in first.notes] == ["a", "b"]
    assert (first.number, second.number, second.after, second.previous) == (1, 2, 1, first.hash)
    assert mark(database) == second.mark
    assert stands(database, folder) == "level"


def test_what_is_undone_is_not_noted(open_database, folder):
    """A work that fails leaves no note, and one that only reads or writes leaves no line."""

    def fails(db):
        db.note("told", name="never")
        raise ValueError

    database = open_database()
    with pytest.raises(ValueError):
        database.write_now(fails)
    database.write_now(lambda db: db.execute("UPDATE counters SET value = value + 1"))
    assert told(folder) == []
    assert mark(database) == BEGINNING


def test_the_line_is_on_disk_before_the_commit(open_database, folder):
    """Whoever is killed between the two leaves a line of which nobody was told: "undecided", not "older"."""
    database = open_database()
    note(database, "a")

    def dies():
        torn = Database(database.path, journal=DiesBeforeTheCommit(folder, CA))
        note(torn, "b")
        return 0

    with forked(dies) as dying:
        assert dying.wait() == -signal.SIGKILL
    assert told(folder) == ["a", "b"]
    assert stands(database, folder) == "undecided"
    # The next line follows what was committed: nothing of the other one ever was.
    note(database, "c")
    assert told(folder) == ["a", "c"]
    assert stands(database, folder) == "level"


class DiesBeforeTheCommit(Journal):
    def record(self, db, notes):
        super().record(db, notes)
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_older_copy_is_known_even_by_one_line(open_database, folder, tmp_path):
    """A copy that lacks the last line, which was committed, is older: no crash is taken for it."""
    database = open_database()
    note(database, "a")
    old = open_database(copied(tmp_path, database))
    assert stands(old, folder) == "level"
    note(database, "b")
    assert stands(old, folder) == "older"
    note(database, "c")
    assert stands(old, folder) == "older"
    assert told(folder, mark(old)) == ["b", "c"]


def test_an_empty_database_is_older_than_any_line(open_database, folder):
    """A database that was deleted is no new one."""
    note(open_database(), "a")
    assert stands(open_database("new.db"), folder) == "older"


def test_several_write_to_one_journal(open_database, folder):
    """Databases of several processes take turns, and each goes on after the other's line."""
    one, two = open_database(), open_database()
    for i in range(6):
        note((one, two)[i % 2], str(i))
    assert told(folder) == list("012345")
    assert stands(one, folder) == stands(two, folder) == "level"


def test_files_follow_each_other(open_database, folder):
    """A full file is followed by the next, with the same chain; both processes go over to it."""
    one, two = open_database(full=400), open_database(full=400)
    for i in range(9):
        note((one, two)[i % 2], str(i))
    assert len(list(folder.glob("*.jsonl"))) > 2
    assert told(folder) == list("012345678")
    assert told(folder, list(journal.entries(folder, BEGINNING))[4].mark) == list("5678")
    assert stands(one, folder) == "level"


def test_old_files_may_go(open_database, folder):
    """What is older than every copy that is kept may be taken away; a copy older than that stays old."""
    database = open_database(full=400)
    for i in range(9):
        note(database, str(i))
    lines = list(journal.entries(folder, BEGINNING))
    sorted(folder.glob("*.jsonl"))[0].unlink()
    assert stands(database, folder) == "level"
    first = int(sorted(folder.glob("*.jsonl"))[0].name.split(".")[0])
    assert told(folder, lines[first - 2].mark) == list("012345678")[first - 1 :]
    with pytest.raises(journal.BrokenJournal):
        list(journal.entries(folder, BEGINNING))


def test_half_a_line_is_passed_over(open_database, folder):
    """A write that was cut off is nobody's: the next line begins on a line of its own."""
    database = open_database()
    note(database, "a")
    with only(folder).open("ab") as file:
        file.write(b'{"n":2,"after":1,"at":1')
    assert stands(database, folder) == "level"
    note(database, "b")
    assert told(folder) == ["a", "b"]


def test_a_journal_that_is_cut_is_noticed(open_database, folder):
    """Cut in the middle of a line that was committed, the database is newer, and nothing is written on."""
    database = open_database()
    note(database, "a")
    note(database, "b")
    whole = only(folder).read_bytes()
    at = whole.index(b'{"n":2')
    only(folder).write_bytes(whole[: at + 20])
    assert stands(database, folder) == "newer"
    with pytest.raises(StorageTrouble) as refused:
        note(database, "c")
    assert refused.value.trouble == (
        "is not what its journal tells of any more: stop the gateway, then: sekisho doctor"
    )
    assert mark(database).number == 2


def test_a_line_that_was_altered_is_noticed(open_database, folder, tmp_path):
    """Whoever alters a line breaks the chain at it, and is named by it."""
    database = open_database()
    for name in "abc":
        note(database, name)
    path = only(folder)
    path.write_bytes(path.read_bytes().replace(b'"name":"b"', b'"name":"x"'))
    with pytest.raises(journal.BrokenJournal, match=r"line 2 is missing or altered") as broken:
        list(journal.entries(folder, BEGINNING))
    assert broken.value.after == 1


def test_journals_of_others_are_known(open_database, folder, tmp_path):
    """Another CA's, one that went on from a copy, none at all, and one of another version."""
    database = open_database()
    note(database, "a")
    forked_from = tmp_path / "fork"
    shutil.copytree(folder, forked_from)
    note(database, "b")
    copy = Database(tmp_path / copied(tmp_path, database), journal=Journal(forked_from, CA))
    copy.close()
    assert journal.standing(folder, OTHER, mark(database)) == "foreign"
    assert journal.standing(folder, CA, Mark(2, "0" * 64)) == "forked"
    assert journal.standing(folder, CA, Mark(1, "0" * 64)) == "forked"
    assert journal.standing(forked_from, CA, mark(database)) == "newer"
    assert journal.standing(tmp_path / "nowhere", CA, mark(database)) == "missing"
    header = {"journal": 2, "ca": CA, "first": 1, "prev": ""}
    only(folder).write_bytes(journal._sealed(json.dumps(header, separators=(",", ":")).encode())[0])
    with pytest.raises(ConfigError, match=r"of another version \(2\); open it with the sekisho"):
        stands(database, folder)


def test_a_full_disk_undoes_the_commit(open_database, folder):
    """What cannot be in the journal is not in the database either; with room it goes on, nothing lost."""
    database = open_database()
    note(database, "a")
    size = only(folder).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, hard))
        with pytest.raises(StorageTrouble) as full:
            database.write_now(lambda db: db.note("told", name="b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert f"({os.strerror(errno.EFBIG)}); make room" in full.value.trouble
    assert f"df -h {folder}" in full.value.trouble
    assert mark(database).number == 1
    note(database, "c")
    assert told(folder) == ["a", "c"]


def test_a_journal_that_may_not_be_written_undoes_the_commit(open_database, folder):
    """A read-only folder, or none any more, is the operator's to mend: the error says how."""
    database = open_database()
    note(database, "a")
    away = folder.with_name("away")
    folder.rename(away)
    other = open_database()
    with pytest.raises(StorageTrouble, match="No such file or directory"):
        note(other, "b")
    away.rename(folder)
    note(other, "c")
    assert told(folder) == ["a", "c"]
