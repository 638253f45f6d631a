"""E1 without any wiping: once a window is over nothing of the deployment opens what it held, whichever copy
of the database somebody has. Asked of everything that is kept for a while only."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pyrage
import pytest

from ca import datadir
from ca.epochs import Epochs, LostKey
from ca.epochs import store as epochs_store
from ca.epochs.tending import LENGTH, RESTS, SETTLES
from enroll import repeats, scheduler, store
from enroll.mail import store as letters
from enroll.mail import writing
from enroll.mail.delivery import deliver_due
from enroll.mail.states import Pace
from enroll.mail.transport import Outbox
from enroll.people import applications, changes
from enroll.postcards import keeping
from enroll.postcards import store as postcards
from enroll.refusals import Refusal
from enroll.repeats import store as repeats_store
from enroll.requests import issuance, pickup, window
from enroll.requests import store as requests
from enroll.requests.states import State
from gateway.serving import backup
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.deployment import SCHEMAS, SEALED
from gateway.web import store as web
from gateway.web import undecided
from tests import databases
from tests.datadirs import PASSPHRASE, admit, clock_of, delivered, open_office
from tests.engines import IN_A_FILE, VARIABLE
from tests.enroll.test_flow import FLOW, first_login, picked_up
from tests.gateway.test_recovery import add_session
from tests.looking import look, rows

OTHER = "K87654321"


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


def everything(ra):
    """What is sealed for a while in the database, as it stands there: place, record, bytes."""
    db = look(ra.database)
    found = []
    for place in SEALED:
        statement = f"SELECT {place.record} AS record FROM {place.table} WHERE {place.column} IS NOT NULL"
        for row in rows(db, statement):
            found.append((place, row["record"], epochs_store.sealed_in(db, place, row["record"])))
    return found


def opens(folder, sealed):
    """Those that a directory opens together with its passphrase."""
    epochs = Epochs(folder, datadir.load(folder, PASSPHRASE).vault, SEALED)
    found = []
    for place, record, content in sealed:
        try:
            found.append((place, epochs.open(place, record, content)))
        except LostKey:
            continue
    return found


async def in_the_window(ra):
    """Somebody who has picked up and not logged in, the file that waits, a letter with a password, an answer,
    an upload and a batch's PDF: something in each place. The request ID."""
    await admit(ra)
    request_id = (await picked_up(ra))[1]
    await changes.reset_password(ra, FLOW, actor="test")
    claimed = await repeats.claim(ra, 1, "key", "digest")
    await repeats.finish(ra, claimed, b"an answer with a secret")
    session = SimpleNamespace(token_hash="t", subject="operator")

    def work(db):
        add_session(db, ra, "t")
        db.execute(
            "INSERT INTO postcard_batches (number, state, cards, job, made_by, made_at)"
            " VALUES (1, 'making', 0, 0, 'test', 0)"
        )
        keeping.keep(db, ra, 1, b"%PDF with passwords")

    await ra.database.write(work)
    await undecided.keep(ra, session, {"people": "of a file"})
    return request_id


async def a_turn(ra):
    """Until a key that began before is destroyed, if nothing keeps it."""
    for seconds in (LENGTH, SETTLES, RESTS):
        clock_of(ra).advance(seconds=seconds)
        await scheduler.tick(ra)


async def all_is_over(ra):
    """A month goes by, and what waited leaves."""
    clock_of(ra).advance(days=31)
    await scheduler.tick(ra)
    await deliver_due(ra, Outbox(ra.database.folder / "outbox"))
    await ra.database.write(lambda db: web.drop_every_session(db))
    await a_turn(ra)


def directory(ra, to):
    """All files of the data directory as they are now, but for the database's."""
    shutil.copytree(ra.database.folder, to, ignore=shutil.ignore_patterns("sekisho.db*"))
    return to


async def test_each_place_opens_in_its_window_and_to_nobody_after_it(ra, tmp_path):
    """What any copy of the database holds, with all long-lived keys and the passphrase: each place has
    something, which opens as long as it is wanted (whoever has both halves can), and then never again."""
    await in_the_window(ra)
    early = everything(ra)
    assert {place for place, _, _ in early} == set(SEALED)
    assert [place for place, _ in opens(directory(ra, tmp_path / "during"), early)] == [
        place for place, _, _ in early
    ]
    await a_turn(ra)  # sealed anew meanwhile: still the same
    later = everything(ra)
    waiting = {requests.KEY, letters.BODY, postcards.PDF, repeats_store.ANSWER, web.UPLOAD}
    assert {place for place, _ in opens(ra.database.folder, later)} == waiting
    assert opens(ra.database.folder, early) == []
    await all_is_over(ra)
    assert everything(ra) == []
    assert opens(directory(ra, tmp_path / "after"), [*early, *later]) == []


async def test_the_first_login_is_the_end_of_the_key(ra):
    """E1: not the window's end alone. The twin: another's key, in the same epoch, stays."""
    await admit(ra, OTHER)
    await admit(ra)
    _, request_id = await picked_up(ra)
    await picked_up_too(ra)
    seen = everything(ra)
    assert len([place for place, _ in opens(ra.database.folder, seen) if place is requests.KEY]) == 2
    await first_login(ra, request_id)
    await a_turn(ra)
    assert opens(ra.database.folder, seen) == []
    assert [place for place, _ in opens(ra.database.folder, everything(ra))] == [requests.KEY]


async def picked_up_too(ra):
    """Another user's certificate is issued, and not fetched."""
    (request_id,) = [each.request_id for each in store.enrollments_of(look(ra.database), OTHER)]
    await issuance.submit(ra, request_id, actor=OTHER)
    await issuance.complete(ra, request_id)


@IN_A_FILE
async def test_a_backup_of_the_window_opens_nothing_after_it(ra, tmp_path):
    """The database's file with its log, as somebody copied them, and a backup that sekisho made: the sealed
    key is in both, and what opens it in neither."""
    request_id = await in_the_window(ra)
    sealed = store.enrollment(look(ra.database), request_id).sealed_key
    data, identity = ra.database.folder, pyrage.x25519.Identity.generate()
    (data / FILE_NAME).write_text(toml_of(Config()))
    made = backup.make(data, tmp_path / "b.age", [identity.to_public()], ra.now())
    copied = b"".join(path.read_bytes() for path in data.glob("sekisho.db*"))
    assert sealed in copied
    assert opens(data, [(requests.KEY, request_id, sealed)])
    await all_is_over(ra)
    with backup.opened(Path(made.file), [identity], tmp_path / "restored") as (shop, _):
        assert not (shop / "window").exists()
        assert sealed in (shop / "sekisho.db").read_bytes()
    for folder in (directory(ra, tmp_path / "after"), tmp_path / "restored"):
        assert opens(folder, [(requests.KEY, request_id, sealed)]) == []


@pytest.mark.slow
@databases.NEEDED
async def test_a_dump_and_the_log_of_postgresql_open_nothing_after_the_window(tmp_path, monkeypatch):
    """There nothing is overwritten: dumps, data files and the write-ahead log hold each sealed value that
    ever was. In the window they open with the directory's files, after it with nothing that is left."""
    monkeypatch.setenv(VARIABLE, "postgresql")
    async with open_office(tmp_path) as ra:
        request_id = await in_the_window(ra)
        during = everything(ra)
        before = dumped(tmp_path)
        for _, _, sealed in during:
            assert sealed.hex() in before
        assert len(opens(ra.database.folder, during)) == len(during)
        await a_turn(ra)
        again = everything(ra)
        await all_is_over(ra)
        after, raw = dumped(tmp_path), files_of_the_server()
        key = store.enrollment(look(ra.database), request_id)
        assert (key.state, key.sealed_key) == (State.PICKED_UP, None)
        every = [*during, *again]
        assert not [sealed for _, _, sealed in every if sealed.hex() in after]
        # It is all there, where nobody can wipe it.
        (sealed,) = [sealed for place, _, sealed in during if place is requests.KEY]
        assert sealed[:40] in raw
        assert opens(directory(ra, tmp_path / "after"), every) == []


def dumped(path):
    name = databases.url_of(path / "data" / "sekisho.db")
    command = [databases.PROGRAMS[-1] / "pg_dump", "--dbname", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def files_of_the_server():
    folder = databases._shared().folder / "data"
    paths = [path for part in ("base", "pg_wal") for path in (folder / part).rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in paths)


async def test_every_column_with_bytes_is_looked_at():
    """A further one is sealed for a while, or here with the reason why it need not be."""
    lasting = {
        "certificates.tbs", "certificates.der", "crl_pieces.content", "answers.sha1", "answers.sha256",
        "responders.der",
        "operator_passkeys.public_key",
        # Names of keys, which are in files; and keys on their way, wrapped for another node.
        "epochs.name", "epoch_asks.public", "epoch_asks.epoch", "epoch_asks.tag", "epoch_asks.wrapped",
        # Lasting secrets: needed for years, after a restore as well. What has ended opens no door here.
        "acme_credentials.sealed_key", "webhook_endpoints.sealed_secret", "webhook_endpoints.sealed_before",
    }  # fmt: skip
    found = set()
    for schema in SCHEMAS:
        for step in schema.steps:
            for statement in step.statements:
                table = re.search(r"CREATE TABLE (\w+)", statement)
                for column in re.findall(r"(\w+) BLOB", statement):
                    found.add(f"{table[1]}.{column}")
    assert found == lasting | {f"{place.table}.{place.column}" for place in SEALED}


# -- a database that came from a copy --------------------------------------------------------------------


async def restored(ra):
    """The keys of before are no more, as in a directory that a backup was unpacked into."""
    shutil.rmtree(ra.database.folder / "window")
    ra.epochs.ensure(ra.database, ra.now())


async def test_who_has_to_fetch_it_after_a_restore_is_told_to_reissue(ra):
    """At each step of the pick-up, with the reason; the certificate that was fetched works on. A reissue
    leads to another one."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    found = store.enrollment(look(ra.database), request_id)
    assert (window.is_open(ra, found), window.why_over(ra, found)) == (True, "window")
    await restored(ra)
    assert (window.is_open(ra, found), window.why_over(ra, found)) == (False, window.LOST)
    asked = [
        lambda: issuance.prepare_download(ra, request_id, "abc", "standard", actor=FLOW),
        lambda: issuance.submit(ra, request_id, actor=FLOW),
        lambda: pickup.current(ra, request_id),
        lambda: picked_up(ra),
    ]
    for ask in asked:
        with pytest.raises(Refusal) as refused:
            await ask()
        assert (refused.value.code, refused.value.reason) == ("not_available", window.LOST)
    await first_login(ra, request_id)
    await applications.reissue(ra, FLOW, "pc_change", actor="test")
    assert (await picked_up(ra))[1] != request_id


async def test_a_letter_after_a_restore(ra):
    """What has a password in it waits, and says what to do instead; what has none is sent, as operators see
    it. Nothing is wiped: the key may come back."""
    await admit(ra)
    await delivered(ra)
    await changes.reset_password(ra, FLOW, actor="test")
    plain = writing.Letter(
        "c", "renewal_30", "mail", FLOW, None, "a@example.jp", "s", "no secret", "no secret"
    )
    await ra.database.write(lambda db: writing.queue(db, ra.epochs, plain, ra.now(), pace=Pace.AT_ONCE))
    (ra.database.folder / "window").rename(ra.database.folder / "aside")
    ra.epochs.ensure(ra.database, ra.now())
    before = len(await delivered(ra))
    waiting = [each for each in letters.listed(look(ra.database)) if each["state"] == "queued"]
    assert [(each["kind"], each["result"]) for each in waiting] == [("password_reset", writing.LOST)]
    for path in (ra.database.folder / "aside").iterdir():
        path.rename(ra.database.folder / "window" / path.name)
    clock_of(ra).advance(days=1)
    found = await delivered(ra)
    assert len(found) == before + 1


async def test_an_answer_and_a_batch_after_a_restore(ra):
    """What was done is never done again, although nobody can say what came of it; a batch is made anew; who
    has to decide about a file sends it once more."""
    await in_the_window(ra)
    await restored(ra)
    with pytest.raises(Refusal) as refused:
        await repeats.claim(ra, 1, "key", "digest")
    assert (refused.value.code, refused.value.field) == ("conflict", "idempotency_key")
    sealed = ra.database.read_now(lambda db: epochs_store.sealed_in(db, postcards.PDF, 1))
    with pytest.raises(Refusal) as refused:
        keeping.opened(ra, 1, sealed)
    assert (refused.value.code, refused.value.field) == ("conflict", "postcards")
    (mark,) = [row["mark"] for row in rows(look(ra.database), "SELECT mark FROM uploads")]
    session = SimpleNamespace(token_hash="t", subject="operator")
    assert await undecided.kept(ra, session, mark) is None
