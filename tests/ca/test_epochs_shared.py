"""Two directories on one database: each opens what the other has sealed, and no copy opens what is over."""

import asyncio
import os
import shutil
import threading

import pytest

from ca.epochs import Epochs, LostKey, store
from ca.epochs.sharing import Exchange, join
from ca.epochs.tending import LENGTH, RESTS, SETTLES, clear, tend
from ca.schema import SCHEMA as CA
from ca.sealing import Vault
from ca.sqlite import Database
from tests.ca.test_epochs import AT, OTHER, PLACE, THINGS, VAULT, keep, kept, names, wipe

PLACES = (PLACE, OTHER)


class Several(Database):
    """As if others had it open as well."""

    shared = True


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    if request.param == "postgresql":
        databases = pytest.importorskip("tests.databases", reason="asyncpg is not installed")
        if not databases.PROGRAMS:
            pytest.skip("PostgreSQL is not installed: apt install postgresql")
        databases._make(databases._shared(), _name(request), "template0")
        found = _opened(request, tmp_path)
    else:
        found = Several(tmp_path / "t.db", (CA, THINGS))
    yield found
    found.close()


def node(tmp_path, name, vault=VAULT):
    return Epochs(tmp_path / name, vault, PLACES)


def _name(request):
    return "t" + str(abs(hash(request.node.nodeid)))


def _opened(request, tmp_path):
    from ca.postgresql.database import Database
    from tests import databases

    return Database(databases.patient(databases._shared().url(_name(request))), tmp_path, [CA, THINGS])


async def exchanged(*exchanges):
    """Three looks of each, as within three seconds: asked, given, taken."""
    for _ in range(3):
        for each in exchanges:
            await each.look(AT)


@pytest.fixture
async def two(tmp_path, storage):
    """Two nodes that have each other's keys."""
    first, second = (node(tmp_path, name) for name in ("first", "second"))
    for each in (first, second):
        join(each, storage, AT, 0.0)
    await exchanged(Exchange(first, storage), Exchange(second, storage))
    return first, second


async def test_each_opens_what_the_other_has_sealed(two, storage):
    """From the first moment on, and after turns that one of them leads; nothing of an exchange stays."""
    first, second = two
    exchanges = [Exchange(each, storage) for each in two]
    keep(first, storage, "a", b"by the first")
    keep(second, storage, "b", b"by the second")
    for turn in range(3):
        at = AT + turn * 2 * LENGTH
        await tend(first, storage, at + LENGTH)
        await exchanged(*exchanges)
        keep(second, storage, f"meanwhile {turn}")
        await tend(first, storage, at + LENGTH + SETTLES)
        await tend(first, storage, at + LENGTH + SETTLES + RESTS)
        await clear(second, storage, at + LENGTH + SETTLES + RESTS)
        for each in two:
            assert each.open(PLACE, "a", kept(storage, "a")) == b"by the first"
            assert each.open(PLACE, "b", kept(storage, "b")) == b"by the second"
            assert each.open(PLACE, f"meanwhile {turn}", kept(storage, f"meanwhile {turn}")) == b"secret"
    assert names(first) == names(second)
    assert len(names(first)) == 1
    assert storage.read_now(lambda db: db.one("SELECT count(*) FROM epoch_asks")[0]) == 0


async def test_nothing_is_sealed_under_a_key_that_another_has_not_got(two, storage):
    """A new epoch is used once everybody has had the time to ask for its key."""
    first, second = two
    await tend(first, storage, AT + LENGTH)
    for seconds in (0, SETTLES - 1):
        await tend(first, storage, AT + LENGTH + seconds)
        keep(first, storage, f"{seconds}")
        assert second.open(PLACE, f"{seconds}", kept(storage, f"{seconds}")) == b"secret"
    await exchanged(Exchange(second, storage), Exchange(first, storage))
    await tend(first, storage, AT + LENGTH + SETTLES)
    newest = storage.read_now(store.open_ones)[0]
    assert keep(first, storage, "new").startswith(store.head_of(newest.name))
    assert second.open(PLACE, "new", kept(storage, "new")) == b"secret"


async def test_after_the_window_neither_node_opens_it(two, storage, tmp_path):
    """With both directories, the vault, and all that the database ever held of the keys on their way."""
    first, second = two
    exchanges = [Exchange(each, storage) for each in two]
    sealed, on_the_way = [keep(first, storage, "gone")], []
    at = AT
    for _ in range(2):
        await tend(first, storage, at + LENGTH)
        for _ in range(3):
            for each in exchanges:
                await each.look(at)
                on_the_way += [
                    [bytes(value) for value in row]
                    for row in storage.read_now(
                        lambda db: db.rows(
                            "SELECT epoch, public, wrapped FROM epoch_asks WHERE wrapped IS NOT NULL"
                        )
                    )
                ]
        for seconds in (SETTLES, SETTLES + RESTS):
            await tend(first, storage, at + LENGTH + seconds)
            await clear(second, storage, at + LENGTH + seconds)
        sealed.append(kept(storage, "gone"))
        assert second.open(PLACE, "gone", sealed[-1]) == b"secret"
        at += 2 * LENGTH
    assert on_the_way
    wipe(storage, "gone")
    await tend(first, storage, at + LENGTH)
    await exchanged(*exchanges)
    for seconds in (SETTLES, SETTLES + RESTS):
        await tend(first, storage, at + LENGTH + seconds)
        await clear(second, storage, at + LENGTH + seconds)
    for each in (*two, node(tmp_path, "first"), node(tmp_path, "second")):
        for copy in sealed:
            with pytest.raises(LostKey):
                each.open(PLACE, "gone", copy)
    # Nobody has the private half: another one opens none of what was wrapped.
    other = Exchange(first, storage)
    for epoch, _, wrapped in on_the_way:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        assert other._unwrapped(X25519PrivateKey.generate(), epoch, wrapped) is None


async def test_a_node_that_joins_gets_what_it_needs(two, storage, tmp_path):
    """Before it serves: it waits for those who have the keys. A node whose directory is lost is one."""
    first, _ = two
    keep(first, storage, "a")
    third = node(tmp_path, "third")
    looking = Exchange(first, storage)
    asking = Exchange(third, storage)
    third.files.make_folder()
    await exchanged(asking, looking)
    third.ensure(storage, AT)
    assert third.open(PLACE, "a", kept(storage, "a")) == b"secret"
    assert names(third) == names(first)
    shutil.rmtree(third.files.folder)
    third.files.make_folder()
    with pytest.raises(LostKey):
        third.open(PLACE, "a", kept(storage, "a"))
    await exchanged(asking, looking)
    assert third.open(PLACE, "a", kept(storage, "a")) == b"secret"


async def test_who_has_not_the_vault_gets_no_key(two, storage, tmp_path):
    """Whoever writes into the database may ask, and hears nothing; the twin asks beside it. What was wrapped
    by a stranger is not taken for a key, and asked for again."""
    first, second = two
    stranger, third = node(tmp_path, "stranger", Vault(bytes(32))), node(tmp_path, "third")
    for each in (stranger, third):
        each.files.make_folder()
    asking = Exchange(stranger, storage), Exchange(third, storage)
    await exchanged(*asking, Exchange(first, storage))
    assert names(stranger) == []
    assert names(third) == names(first)
    shutil.rmtree(third.files.folder)
    third.files.make_folder()
    await asking[1].look(AT)
    for each in storage.read_now(store.asks):
        storage.write_now(lambda db, e=each: store.give(db, e.public, os.urandom(92)))
    await asking[1].look(AT)
    assert names(third) == []
    await exchanged(asking[1], Exchange(second, storage))
    assert names(third) == names(first)


async def test_a_node_that_was_away_opens_nothing_of_before(two, storage):
    """It was stopped for a day: its old key is destroyed as soon as it looks, and it gets the new one."""
    first, second = two
    sealed = keep(first, storage, "a")
    wipe(storage, "a")
    for seconds in (0, SETTLES, SETTLES + RESTS):
        await tend(first, storage, AT + LENGTH + seconds)
    with pytest.raises(LostKey):
        first.open(PLACE, "a", sealed)
    assert second.open(PLACE, "a", sealed) == b"secret"
    for path in second.files.folder.iterdir():
        os.utime(path, (0, 0))
    await clear(second, storage, AT + LENGTH + SETTLES + RESTS)
    with pytest.raises(LostKey):
        second.open(PLACE, "a", sealed)
    await exchanged(Exchange(second, storage), Exchange(first, storage))
    assert names(first) == names(second)


async def test_who_is_still_sealing_is_waited_for(two, storage, tmp_path, request):
    """No epoch is retired under a write that has sealed in it and is not committed yet: what that writes
    opens, and the epoch ends afterwards. Nobody else has to wait for it."""
    if isinstance(storage, Database):
        pytest.skip("SQLite has one writer")
    first, second = two
    other = _opened(request, tmp_path)
    sealed, go_on = threading.Event(), threading.Event()

    def late(db):
        values = {"name": "late", "sealed": second.seal(db, PLACE, "late", b"secret")}
        sealed.set()
        assert go_on.wait(60)
        db.execute("INSERT INTO things (name, sealed) VALUES (:name, :sealed)", values)

    before = names(first)
    writing = asyncio.create_task(asyncio.to_thread(other.write_now, late))
    assert await asyncio.to_thread(sealed.wait, 60)
    for seconds in (0, SETTLES, SETTLES + RESTS):
        await tend(first, storage, AT + LENGTH + seconds)
    assert set(before) < set(names(first))
    go_on.set()
    await writing
    assert second.open(PLACE, "late", kept(storage, "late")) == b"secret"
    await exchanged(Exchange(second, storage), Exchange(first, storage))
    for turn in (2, 3):
        for node_ in two:
            await tend(node_, storage, AT + LENGTH + turn * RESTS)
    assert not set(before) & {*names(first), *names(second)}
    for each in two:
        assert each.open(PLACE, "late", kept(storage, "late")) == b"secret"
    other.close()
