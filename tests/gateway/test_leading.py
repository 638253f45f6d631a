"""Leading in terms: whoever leads no more writes nothing, and brings nothing about outside that another one
brings about as well, wherever it stood still."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

import pytest

import ca.store
from ca.fencing import Fenced, Superseded
from ca.storage import LOOK
from enroll import crls, generations, scheduler
from enroll.answers import Answers
from enroll.hooks.delivery import Courier
from enroll.jobs import running
from enroll.jobs.states import State
from enroll.mail import queue
from enroll.mail import store as mail_store
from enroll.mail.delivery import deliver_due
from enroll.mail.transport import Outbox
from enroll.settings import DAY
from gateway.running.lists import Publisher, Refresher
from gateway.serving import lease
from gateway.serving.lease import Lease
from tests import databases
from tests.datadirs import clock_of
from tests.engines import VARIABLE
from tests.enroll.operators.test_asking import issued, office
from tests.enroll.test_flow import picked_up
from tests.enroll.test_jobs import counts, decided, people
from tests.enroll.test_webhooks import added, half, way
from tests.gateway.plainly import Seconds
from tests.issued import issue
from tests.looking import look
from tests.races import RACERS, of_another_loop, raced, waits_for_a_lock
from tests.receiver import receiving

PATIENCE = 60.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=databases.NEEDED)])
def engine(request, monkeypatch):
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.fixture
def on_postgresql(monkeypatch):
    monkeypatch.setenv(VARIABLE, "postgresql")


def take(ra, node):
    """The lead, whoever has it; the office as that node uses it in its term."""
    seen = look(ra.database).one("SELECT beat FROM lead_beats")[0]
    term = ra.database.write_now(lambda db: ca.store.take_lead(db, node, seen))
    assert term
    return replace(ra, database=Fenced(ra.database, term))


def everything(ra):
    """The whole database, as it is now; but for what an engine keeps for itself."""
    found = {}
    for table in tables(ra):
        found[table] = sorted(repr(tuple(row)) for row in look(ra.database).rows(f"SELECT * FROM {table}"))
    return found


def tables(ra):
    if ra.database.shared:
        rows = look(ra.database).rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
    else:
        rows = look(ra.database).rows("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return sorted({row[0] for row in rows} - {"commit_marks"})


# -- terms -----------------------------------------------------------------------------------------------


async def test_a_term_is_one_s_alone(office_on):
    """Each who takes the lead has a number of its own; of two who have seen the same beat one gets it."""
    ra = office_on
    one, two = take(ra, "one"), take(ra, "two")
    assert two.database.term == one.database.term + 1
    seen = look(ra.database).one("SELECT beat FROM lead_beats")[0]
    works = (ra.database.write(lambda db, n=str(n): ca.store.take_lead(db, n, seen)) for n in range(RACERS))
    assert sum(map(bool, await raced(*works))) == 1
    assert not ra.database.write_now(lambda db: ca.store.keep_lead(db, two.database.term))
    ra.database.write_now(lambda db: ca.store.leave_lead(db, two.database.term))
    assert look(ra.database).one("SELECT node FROM lead")[0] != ""


async def test_whoever_leads_no_more_reads_and_writes_nothing(office_on):
    """Every way of a storage refuses, and the one who leads is let through."""
    ra = office_on
    old = take(ra, "one").database
    new = take(ra, "two").database
    work = lambda db: db.one(f"SELECT 1 FROM lead{LOOK}")[0]  # noqa: E731
    for each in (old.read, old.read_aside, old.write):
        with pytest.raises(Superseded):
            await each(work)
    for each in (old.read_now, old.write_now):
        with pytest.raises(Superseded):
            each(work)
    assert [await new.read(work), await new.write(work), new.read_now(work), new.write_now(work)] == [1] * 4


@databases.NEEDED
async def test_an_answer_is_made_of_what_was_committed_late(on_postgresql, office_on):
    """Of two that are written at once the second number may be seen first; the first one has its answer a
    minute later, and is not waited for."""
    ra, seconds = office_on, Seconds()
    answers, leaf = Answers(seconds), await issue(ra)
    later = "UPDATE certificates SET number = number + 1000 WHERE serial = :serial"
    await ra.database.write(lambda db: db.execute(later, {"serial": leaf.serial}))
    assert await answers.refresh(ra) == 1
    await issue(ra)
    made = []
    for passed in (0.0, 59.0, 1.0, 60.0):
        seconds.now += passed
        made.append(await answers.refresh(ra))
    assert made == [0, 0, 1, 0]


@databases.NEEDED
async def test_who_follows_waits_for_what_is_being_written(on_postgresql, office_on):
    """A write that has looked at its term ends in it: the next one begins after that."""
    ra, order = office_on, []
    old = take(ra, "one")
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(db):
        from ca.postgresql.transaction import wait

        loop.call_soon_threadsafe(begun.set)
        wait(of_another_loop(go_on, loop))
        order.append("written")

    writing = asyncio.create_task(old.database.write(slow))
    await begun.wait()
    seen = look(ra.database).one("SELECT beat FROM lead_beats")[0]

    async def follow():
        assert await ra.database.write(lambda db: ca.store.take_lead(db, "two", seen))
        order.append("taken")

    following = asyncio.create_task(follow())
    await waits_for_a_lock(ra.database, following)
    go_on.set()
    await asyncio.gather(writing, following)
    assert order == ["written", "taken"]


@databases.NEEDED
async def test_a_write_that_stands_still_holds_nobody_up(on_postgresql, office_on, monkeypatch):
    """Who was stopped in the middle of a transaction loses it after some seconds, and whoever waits goes on.
    Waking up it does its work again, and finds that its term is over."""
    from ca.postgresql import database
    from ca.postgresql.transaction import STANDS, WRITE, wait

    monkeypatch.setattr(database, "WRITE", [each.replace(f"'{STANDS}s'", "'500ms'") for each in WRITE])
    ra, runs = office_on, []
    old = take(ra, "one")
    begun, go_on, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def stopped(db):
        runs.append(1)
        loop.call_soon_threadsafe(begun.set)
        wait(of_another_loop(go_on, loop))
        db.execute("UPDATE counters SET value = value + 1000 WHERE name = 'changes'")

    writing = asyncio.create_task(old.database.write(stopped))
    await begun.wait()
    before = look(ra.database).one("SELECT value FROM counters WHERE name = 'changes'")[0]
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(take, ra, "two")
    go_on.set()
    with pytest.raises(Superseded):
        await writing
    assert runs == [1]
    assert look(ra.database).one("SELECT value FROM counters WHERE name = 'changes'")[0] == before


async def test_another_one_leads_within_ten_seconds(office_on):
    """By a clock of ours: who beats keeps the lead; who is silent has lost it after some seconds, and its
    work is ended when it cannot beat."""
    assert lease.STOPS < lease.FOLLOWS
    assert lease.FOLLOWS + 2 * lease.BEAT < 10
    ra, now, led = office_on, [0.0], []

    def node(name):
        async def work(term):
            led.append((name, term))
            await asyncio.Event().wait()

        return Lease(ra.database, name, lambda: now[0], beat=0.01), work

    one, work_of_one = node("one")
    first = asyncio.create_task(one.whenever_held(work_of_one, logging.getLogger("test")))
    await _until(lambda: led == [("one", 1)])
    two, work_of_two = node("two")
    two.database = watched = _Watched(ra.database)
    second = asyncio.create_task(two.whenever_held(work_of_two, logging.getLogger("test")))
    for _ in range(3 * int(lease.FOLLOWS)):
        now[0] += 1
        beat = _beat(ra)
        await _until(lambda b=beat: _beat(ra) > b + 1)
    assert led == [("one", 1)]
    one.database = silent = _Silent(ra.database)
    await silent.asked.wait()  # none of its beats is on its way any more
    await _until(lambda: watched.beat == _beat(ra))
    for _ in range(int(lease.FOLLOWS)):
        assert led == [("one", 1)]
        now[0] += 1
        await asyncio.sleep(0.1)
    await _until(lambda: led == [("one", 1), ("two", 2)])
    for each in (first, second):
        each.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_is_stopped_stops_at_any_moment(office_on, turns):
    """Also while the answer to a beat is on its way to who asked: it takes some turns of the loop."""
    one = Lease(office_on.database, "one", beat=0.01)

    async def work(_):
        await asyncio.Event().wait()

    leading = asyncio.create_task(one.whenever_held(work, logging.getLogger("test")))
    await _until(lambda: look(office_on.database).one("SELECT node FROM lead")[0] == "one")
    one.database = held = _Held(office_on.database)
    await held.asked.wait()
    held.go_on.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    leading.cancel()
    done, _ = await asyncio.wait([leading], timeout=PATIENCE)
    assert done
    assert look(office_on.database).one("SELECT node FROM lead")[0] == ""


class _Held:
    """A database whose answer comes when it may."""

    def __init__(self, database):
        self.database, self.asked, self.go_on = database, asyncio.Event(), asyncio.Event()

    async def write(self, work):
        found = await self.database.write(work)
        self.asked.set()
        await self.go_on.wait()
        return found


class _Watched:
    """A database of which it is known which beat was read last."""

    def __init__(self, database):
        self.database, self.write, self.beat = database, database.write, None

    async def read(self, work):
        found = await self.database.read(work)
        self.beat = found[1]
        return found


class _Silent:
    """A database that does not answer any more."""

    def __init__(self, database):
        self.database, self.asked = database, asyncio.Event()

    async def write(self, work):
        self.asked.set()
        await asyncio.sleep(3_600)

    read = write


def _beat(ra):
    return look(ra.database).one("SELECT beat FROM lead_beats")[0]


async def _until(found):
    async with asyncio.timeout(PATIENCE):
        while not found():
            await asyncio.sleep(0.01)


# -- the tasks -------------------------------------------------------------------------------------------


async def _hooks(ra, receiver):
    courier = Courier(half)
    await courier.look(ra, way(receiver))
    await courier.finish()


#: What one node does for all (`gateway/serving/tasks.py`), each where there is something to do.
TASKS = {
    "schedule": lambda ra, _: scheduler.tick(ra),
    "generations": lambda ra, _: generations.end_due(ra),
    "delivery": lambda ra, _: deliver_due(ra, Outbox(ra.database.folder / "outbox")),
    "revocation lists": lambda ra, _: Publisher().look(ra),
    "answers": lambda ra, _: Refresher().look(ra, Answers()),
    "jobs": lambda ra, _: running.work(ra, "runner"),
    "webhooks": _hooks,
}
#: Of these nothing is due here.
IDLE = {"generations"}


async def test_no_task_does_anything_once_another_one_leads(engine, tmp_path, monkeypatch):
    """The database is the same to the letter, and nothing has left; whoever leads does all of it."""
    async with receiving(tmp_path) as receiver, office(tmp_path) as ra:
        ra = replace(ra, settings=replace(ra.settings, webhook_hosts=(receiver.named,)))
        await added(ra, receiver)
        await issued(ra)
        await decided(ra, people(3))
        clock_of(ra).advance(seconds=3 * 365 * DAY - 20 * DAY)
        old = take(ra, "one")
        new = take(ra, "two")
        before = everything(ra)
        for name, task in TASKS.items():
            with suppress(Superseded):
                await task(old, receiver)
            assert everything(ra) == before, name
        assert not receiver.sent
        assert not (ra.database.folder / "outbox").exists()
        for name, task in TASKS.items():
            await task(new, receiver)
            after = everything(ra)
            assert (after == before) == (name in IDLE), name
            before = after
        assert receiver.sent


# -- in the middle of each -------------------------------------------------------------------------------


class Mail:
    """A mail server that stands still before it asks whether the letter may leave, or after."""

    connections, letters_per_connection, per_minute, alive = 1, 100, 0, True

    def __init__(self, where=""):
        self.where, self.taken = where, []
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def open(self, channel):
        return self

    async def send(self, message, letter, return_path, handing_over):
        if self.where == "before":
            self.reached.set()
            await self.go_on.wait()
        await handing_over()
        self.taken.append(letter.id)
        if self.where == "after":
            self.reached.set()
            await self.go_on.wait()
        return "250 taken"

    async def close(self):
        pass


def states(ra):
    return {row["id"]: (row["state"], row["attempts"]) for row in mail_store.listed(look(ra.database))}


@pytest.fixture
async def office_on(request, tmp_path):
    async with office(tmp_path) as ra:
        yield ra


@databases.NEEDED
@pytest.mark.usefixtures("on_postgresql")
class TestStandingStill:
    """Where nodes share a database."""

    async def test_before_a_letter_leaves(self, on_postgresql, office_on):
        """The one who follows sends it at once, since the other one cannot any more; waking, it does not."""
        ra, old_mail, mail = office_on, Mail("before"), Mail()
        old = take(ra, "one")
        sending = asyncio.create_task(deliver_due(old, old_mail))
        await old_mail.reached.wait()
        new = take(ra, "two")
        await new.database.write(lambda db: mail_store.free(db, queue.CHANNELS))
        await deliver_due(new, mail)
        old_mail.go_on.set()
        with pytest.raises(Superseded):
            await sending
        assert (old_mail.taken, len(mail.taken)) == ([], 2)
        assert {state for state, _ in states(ra).values()} == {"sent"}

    async def test_after_a_letter_has_left(self, on_postgresql, office_on, caplog):
        """Nobody sends it again, however long it takes: it is given up, and said so. Waking, the one who had
        it writes down that it was taken."""
        ra, old_mail, mail = office_on, Mail("after"), Mail()
        old = take(ra, "one")
        sending = asyncio.create_task(deliver_due(old, old_mail))
        await old_mail.reached.wait()
        new = take(ra, "two")
        await new.database.write(lambda db: mail_store.free(db, queue.CHANNELS))
        await deliver_due(new, mail)
        clock_of(ra).advance(seconds=mail_store.LEASE - 1)
        await deliver_due(new, mail)
        (letter,) = old_mail.taken
        assert (len(mail.taken), states(ra)[letter]) == (1, ("queued", 1))
        clock_of(ra).advance(seconds=1)
        await deliver_due(new, mail)
        assert (len(mail.taken), states(ra)[letter]) == (1, ("failed", 1))
        assert f"sekisho mail retry --letter {letter}" in caplog.text
        old_mail.go_on.set()
        with pytest.raises(Superseded):
            await sending
        assert states(ra)[letter] == ("sent", 1)
        assert {*old_mail.taken} & {*mail.taken} == set()

    @pytest.mark.parametrize(
        ("ahead", "state"), [(mail_store.LEASE, "queued"), (mail_store.LEASE + 1, "failed")]
    )
    async def test_whose_clock_was_far_ahead_keeps_no_letter(self, on_postgresql, office_on, ahead, state):
        """Its lease would end when the others' clocks are there. One that is a little ahead keeps it."""
        ra, old_mail, mail = office_on, Mail("after"), Mail()
        sending = asyncio.create_task(deliver_due(take(ra, "one"), old_mail))
        await old_mail.reached.wait()
        (letter,) = old_mail.taken
        clock_of(ra).advance(seconds=-ahead)
        await deliver_due(take(ra, "two"), mail)
        assert states(ra)[letter] == (state, 1)
        old_mail.go_on.set()
        with pytest.raises(Superseded):
            await sending
        assert (states(ra)[letter], {*old_mail.taken} & {*mail.taken}) == (("sent", 1), set())

    async def test_an_operator_has_such_a_letter_sent_anew(self, on_postgresql, office_on):
        """Twice by somebody who says so, and never by itself."""
        ra, old_mail, mail = office_on, Mail("after"), Mail()
        sending = asyncio.create_task(deliver_due(take(ra, "one"), old_mail))
        await old_mail.reached.wait()
        sending.cancel()
        await asyncio.sleep(0)
        new = take(ra, "two")
        (letter,) = old_mail.taken
        clock_of(ra).advance(seconds=mail_store.LEASE)
        for _ in range(3):
            await deliver_due(new, mail)
        assert letter not in mail.taken
        assert await new.database.write(lambda db: mail_store.retry_one(db, letter, ra.now()))
        await deliver_due(new, mail)
        assert mail.taken.count(letter) == 1

    async def test_before_a_list_is_signed(self, on_postgresql, office_on):
        """Two that were made at the same time have one number, and one of them is published."""
        ra, issuer = office_on, office_on.authority.current
        await crls.publish(ra, issuer)
        signer = _Slow(ra.authority.signer)
        old = take(ra, "one")
        sleeper = replace(old, authority=replace(ra.authority, signer=signer))
        making = asyncio.create_task(crls.publish(sleeper, issuer))
        await signer.reached.wait()
        new = take(ra, "two")
        made = await crls.publish(new, issuer)
        signer.go_on.set()
        with pytest.raises(Superseded):
            await making
        assert await crls.published(ra, issuer.issuer_id) == made
        told = look(ra.database).rows("SELECT detail FROM audit WHERE action = 'list.published' ORDER BY id")
        assert len(told) == 2
        assert made.number == 2

    async def test_between_two_rows_of_a_job(self, on_postgresql, office_on):
        """Each row is done once, by whichever of the two."""
        ra, reached, go_on = office_on, asyncio.Event(), asyncio.Event()
        number = await decided(ra, people(30))
        old = take(ra, "one")
        sleeper = replace(old, workers=_Sleeping(ra.workers, reached, go_on, after=15))
        first = asyncio.create_task(running.run(sleeper, number, "first"))
        await reached.wait()
        new = take(ra, "two")
        clock_of(ra).advance(seconds=running.STALE)
        go_on.set()
        with pytest.raises(Superseded):
            await first
        ran = await running.run(new, number, "second")
        assert (ran.state, ran.done, counts(ra, number)) == (State.DONE, 30, {"added": 30})

    async def test_between_two_reminders(self, on_postgresql, office_on):
        """Of notices that are due each is queued once."""
        ra = office_on
        _, request_id = await picked_up(ra)
        end = ca.store.find_by_order(look(ra.database), request_id).not_after_at
        clock_of(ra).advance(seconds=end - 20 * DAY - ra.now())
        old = take(ra, "one")
        gate = _Gate(old.database)
        ticking = asyncio.create_task(scheduler.tick(replace(old, database=gate)))
        await gate.reached.wait()
        new = take(ra, "two")
        await scheduler.tick(new)
        gate.go_on.set()
        with pytest.raises(Superseded):
            await ticking
        await scheduler.tick(new)
        notices = [each for each in mail_store.listed(look(ra.database)) if each["kind"] == "renewal_30"]
        assert len(notices) == 1


class _Slow:
    """A signer that stands still before its first signature."""

    def __init__(self, signer):
        self.signer, self.reached, self.go_on = signer, asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self.signer, name)

    async def sign(self, *given):
        self.reached.set()
        await self.go_on.wait()
        return await self.signer.sign(*given)


class _Sleeping:
    """Workers that stop in the middle."""

    def __init__(self, workers, reached, go_on, after):
        self.workers, self.reached, self.go_on, self.left = workers, reached, go_on, after

    async def run_in_thread(self, *given):
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            await self.go_on.wait()
        return await self.workers.run_in_thread(*given)


class _Gate:
    """A storage that stands still once the notices that are due were read."""

    def __init__(self, storage):
        self.storage, self.reached, self.go_on = storage, asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self.storage, name)

    async def read_aside(self, work):
        found = await self.storage.read_aside(work)
        self.reached.set()
        await self.go_on.wait()
        return found
