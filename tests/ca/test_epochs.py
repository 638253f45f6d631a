"""Keys of epochs: what is sealed under one opens for as long as it is wanted, and soon after to nobody."""

import asyncio
import os
import signal
import stat

import pytest

from ca.epochs import Epochs, LostKey, Place, store
from ca.epochs.keyfiles import KeyFiles
from ca.epochs.tending import LENGTH, RESTS, tend
from ca.schema import SCHEMA as CA
from ca.sealing import BrokenSeal, Vault
from ca.sqlite import Database
from ca.storage import Schema, Step, StorageTrouble
from tests.engines import on_engine
from tests.started import forked

AT = 1_800_000_000
PLACE, OTHER = Place("things", "name", "sealed"), Place("others", "number", "part")
THINGS = Schema(
    "things",
    (
        Step(
            "things",
            (
                "CREATE TABLE things (name TEXT PRIMARY KEY, sealed BLOB)",
                "CREATE TABLE others (number INTEGER PRIMARY KEY, part BLOB)",
            ),
        ),
    ),
)
VAULT = Vault(bytes(range(32)))


@pytest.fixture
def storage(tmp_path):
    storage = on_engine(Database(tmp_path / "t.db", (CA, THINGS)))
    yield storage
    storage.close()


@pytest.fixture
def epochs(tmp_path, storage):
    epochs = Epochs(tmp_path, VAULT, (PLACE, OTHER))
    epochs.ensure(storage, AT)
    return epochs


def keep(epochs, storage, name, secret=b"secret"):
    """Seals something in a record; what is there then."""

    def work(db):
        values = {"name": name, "sealed": epochs.seal(db, PLACE, name, secret)}
        db.execute("INSERT INTO things (name, sealed) VALUES (:name, :sealed)", values)
        return values["sealed"]

    return storage.write_now(work)


def kept(storage, name):
    return storage.read_now(lambda db: store.sealed_in(db, PLACE, name))


def wipe(storage, name):
    storage.write_now(lambda db: store.put(db, PLACE, name, None))


def names(epochs):
    return sorted(path.name for path in epochs.files.folder.iterdir())


async def turned(epochs, storage, at):
    """A whole turn: the next epoch, and the end of the one before. When that was."""
    await tend(epochs, storage, at + LENGTH)
    await tend(epochs, storage, at + LENGTH + RESTS)
    return at + LENGTH + RESTS


async def test_what_is_wiped_opens_to_nobody_after_a_turn(epochs, storage):
    """Whatever copy of the row there is, and with the vault. What is still there opens, sealed anew."""
    gone, stays = keep(epochs, storage, "gone"), keep(epochs, storage, "stays", b"another")
    assert epochs.open(PLACE, "gone", gone) == b"secret"
    wipe(storage, "gone")
    await turned(epochs, storage, AT)
    for each in (epochs, Epochs(epochs.files.folder.parent, VAULT, (PLACE, OTHER))):
        with pytest.raises(LostKey):
            each.open(PLACE, "gone", gone)
        with pytest.raises(LostKey):  # what the row held before
            each.open(PLACE, "stays", stays)
        assert each.open(PLACE, "stays", kept(storage, "stays")) == b"another"
    assert len(names(epochs)) == 1


async def test_what_is_wanted_opens_for_as_long_as_it_is(epochs, storage):
    """However many epochs go by; and in each of two places."""
    keep(epochs, storage, "long")
    storage.write_now(
        lambda db: db.execute(
            "INSERT INTO others (number, part) VALUES (7, :part)", {"part": epochs.seal(db, OTHER, 7, b"pdf")}
        )
    )
    at, seen = AT, set()
    for _ in range(4):
        at = await turned(epochs, storage, at)
        seen.add(kept(storage, "long"))
        assert epochs.open(PLACE, "long", kept(storage, "long")) == b"secret"
        part = storage.read_now(lambda db: store.sealed_in(db, OTHER, 7))
        assert epochs.open(OTHER, 7, part) == b"pdf"
    assert len(seen) == 4


async def test_a_key_rests_before_it_ends(epochs, storage):
    """Who has read a row just before it was sealed anew can open it yet; a second before the end as well."""
    before = keep(epochs, storage, "read")
    await tend(epochs, storage, AT + LENGTH)
    assert kept(storage, "read") != before
    await tend(epochs, storage, AT + LENGTH + RESTS - 1)
    assert epochs.open(PLACE, "read", before) == b"secret"
    await tend(epochs, storage, AT + LENGTH + RESTS)
    with pytest.raises(LostKey):
        epochs.open(PLACE, "read", before)


async def test_an_epoch_has_its_length(epochs, storage):
    """A second before nothing turns. A clock that goes back begins another one, and takes nobody's key."""
    sealed = keep(epochs, storage, "here")
    await tend(epochs, storage, AT + LENGTH - 1)
    assert (kept(storage, "here"), len(names(epochs))) == (sealed, 1)
    await tend(epochs, storage, AT - 10 * LENGTH)
    assert epochs.open(PLACE, "here", kept(storage, "here")) == b"secret"


async def test_a_clock_that_leaps_cuts_nobodys_time_short(epochs, storage):
    """The end of a key is no date: what has a record opens, even where ten years go by at once, and back."""
    keep(epochs, storage, "here")
    for at in (AT + 10 * 365 * 86_400, AT + 20 * 365 * 86_400, AT, AT + RESTS, AT + 2 * LENGTH):
        await tend(epochs, storage, at)
        assert epochs.open(PLACE, "here", kept(storage, "here")) == b"secret"


async def test_who_seals_late_seals_under_the_next(epochs, storage):
    """A process that has the old key in memory, and wakes up after that epoch was retired."""
    late = Epochs(epochs.files.folder.parent, VAULT, (PLACE, OTHER))
    keep(late, storage, "early")
    wipe(storage, "early")
    await tend(epochs, storage, AT + LENGTH)
    keep(late, storage, "late")
    await tend(epochs, storage, AT + LENGTH + RESTS)
    assert late.open(PLACE, "late", kept(storage, "late")) == b"secret"


async def test_it_is_for_one_record_of_one_place(epochs, storage):
    """Whoever writes into the database cannot have another's shown instead; and no place is forgotten."""
    sealed = keep(epochs, storage, "mine")
    for place, record in ((PLACE, "yours"), (OTHER, "mine")):
        with pytest.raises(BrokenSeal):
            epochs.open(place, record, sealed)
    for broken in (b"", sealed[:18], b"s1" + sealed[2:], sealed[:-1]):
        with pytest.raises(BrokenSeal):
            epochs.open(PLACE, "mine", broken)
    with pytest.raises(ValueError, match="not among the places"):
        storage.write_now(lambda db: epochs.seal(db, Place("things", "name", "other"), "x", b""))


async def test_neither_the_files_nor_the_vault_open_it_alone(epochs, storage):
    """Another vault over the same files; the same vault without them."""
    sealed = keep(epochs, storage, "mine")
    with pytest.raises(BrokenSeal):
        Epochs(epochs.files.folder.parent, Vault(bytes(32)), (PLACE,)).open(PLACE, "mine", sealed)
    with pytest.raises(LostKey):
        Epochs(epochs.files.folder / "elsewhere", VAULT, (PLACE,)).open(PLACE, "mine", sealed)


async def test_keys_that_are_not_here_are_no_end(epochs, storage, tmp_path):
    """A directory that is not mounted yet: nothing is sealed meanwhile, or under another key; nothing is
    wiped, and what was sealed opens once the file is back."""
    sealed = keep(epochs, storage, "mine")
    (tmp_path / "window").rename(tmp_path / "aside")
    assert not epochs.opens(sealed)
    with pytest.raises(StorageTrouble) as told:
        keep(epochs, storage, "yours")
    assert str(tmp_path / "window") in told.value.trouble
    for at in (AT + 1, AT + LENGTH, AT + LENGTH + RESTS, AT + 3 * LENGTH):
        await tend(epochs, storage, at)
    keep(epochs, storage, "yours")
    assert kept(storage, "mine") == sealed
    for path in (tmp_path / "aside").iterdir():
        path.rename(tmp_path / "window" / path.name)
    assert epochs.open(PLACE, "mine", sealed) == b"secret"
    await turned(epochs, storage, AT + 4 * LENGTH)
    assert epochs.open(PLACE, "mine", kept(storage, "mine")) == b"secret"
    assert len(names(epochs)) == 1


async def test_what_a_crash_left_is_destroyed(epochs, storage):
    """A key without a row, and a draft of one: once they are older than a moment. Nobody else's file is."""
    folder = epochs.files.folder
    orphan = epochs.files.create()
    draft = folder / f".{'ab' * 16}.012345.new"
    draft.write_bytes(b"x" * 64)
    (folder / "README").write_text("the operator's")
    await tend(epochs, storage, AT + 1)
    assert epochs.files.has(orphan)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    await tend(epochs, storage, AT + 2)
    assert not draft.exists()
    assert not epochs.files.has(orphan)
    assert len(names(epochs)) == 2
    keep(epochs, storage, "x")


def test_a_key_is_overwritten_before_it_goes(tmp_path):
    """A second name of the file shows it. One whose end was cut off there is no key, and is ended again."""
    files = KeyFiles(tmp_path / "window")
    files.make_folder()
    name = files.create()
    path = tmp_path / "window" / name.hex()
    assert (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    key = files.read(name)
    assert len(key) == 32
    os.link(path, tmp_path / "linked")
    files.destroy(name)
    assert (tmp_path / "linked").read_bytes() == bytes(64)
    os.link(tmp_path / "linked", path)
    assert (files.has(name), files.read(name)) == (True, None)
    files.destroy(name)
    files.destroy(name)
    assert not files.has(name)


STEPS = range(40)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_at_any_step_of_a_turn_costs_nobody_anything(tmp_path, after):
    """Before or after each write of the database and each change of a file: whoever comes next finds nothing
    half, opens what is wanted, and ends what is not."""
    for number in STEPS:
        data = tmp_path / f"{number}"
        data.mkdir()
        storage = Database(data / "t.db", (CA, THINGS))
        epochs = Epochs(data, VAULT, (PLACE, OTHER))
        epochs.ensure(storage, AT)
        gone = keep(epochs, storage, "gone")
        keep(epochs, storage, "stays")
        wipe(storage, "gone")
        storage.close()
        died = _dies(data, number, after)
        storage = Database(data / "t.db", (CA, THINGS))
        epochs = Epochs(data, VAULT, (PLACE, OTHER))
        epochs.ensure(storage, AT)
        keep(epochs, storage, "new")
        for name in ("stays", "new"):
            assert epochs.open(PLACE, name, kept(storage, name)) == b"secret"
        for path in epochs.files.folder.iterdir():
            os.utime(path, (0, 0))
        at = await turned(epochs, storage, AT + 2 * LENGTH)
        await tend(epochs, storage, at + RESTS)
        for name in ("stays", "new"):
            assert epochs.open(PLACE, name, kept(storage, name)) == b"secret"
        with pytest.raises(LostKey):
            epochs.open(PLACE, "gone", gone)
        assert len(names(epochs)) == 1
        assert len(storage.read_now(store.every)) == 1
        storage.close()
        if not died:
            break
    assert 8 <= number < len(STEPS) - 1


def _dies(data, number, after):
    """A turn in another process, which kills itself at a step; whether it came to that."""

    def work():
        storage = Database(data / "t.db", (CA, THINGS))
        epochs = Epochs(data, VAULT, (PLACE, OTHER))
        count = iter(range(1_000))

        def step(done):
            def deadly(*args, **kwargs):
                last = next(count) == number
                if last and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                found = done(*args, **kwargs)
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

            return deadly

        for name in ("pwrite", "fsync", "unlink", "replace", "rename"):
            setattr(os, name, step(getattr(os, name)))
        storage._submit = step(storage._submit)
        asyncio.run(turned(epochs, storage, AT))
        return 0

    with forked(work) as child:
        code = child.wait()
    assert code in (0, -signal.SIGKILL)
    return code != 0
