"""Print batches: made once, fetched by whom the trail names, counted once; no card twice, and none lost."""

import asyncio
import os
import random
import signal
from dataclasses import replace

import pytest

from ca import datadir
from ca.clock import ManualClock
from ca.epochs import Epochs
from ca.errors import ConfigError
from ca.sqlite import Database
from enroll import scheduler, store
from enroll.jobs import running, viewing
from enroll.jobs import store as jobs
from enroll.jobs.states import State as Job
from enroll.mail import queue
from enroll.mail import store as mail_store
from enroll.people import changes, register
from enroll.postcards import batches, keeping
from enroll.postcards import store as postcards
from enroll.postcards.states import LABELS, OPEN, TRANSITIONS, Event, State
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.settings import DAY
from gateway.serving import recovery
from gateway.serving.deployment import SEALED
from tests.datadirs import PASSPHRASE, SCHEMAS, clock_of, delivered, together
from tests.engines import named, on_engine
from tests.enroll.operators.test_asking import acting, acts, office, refused
from tests.enroll.postcards_kit import needs_font, needs_reader, people, texts
from tests.looking import look
from tests.started import forked

SEED = os.environ.get("SEKISHO_TEST_SEED", "20261130")
KILLS = int(os.environ.get("SEKISHO_TEST_KILLS", "40")) // 10
pytestmark = [needs_font, needs_reader]


def letters(ra, state="queued"):
    """User ID -> the number of the newest card in a state."""
    found = look(ra.database).rows(
        "SELECT user_id, max(id) AS id FROM mails WHERE channel = 'postcard' AND state = :state"
        " GROUP BY user_id ORDER BY user_id",
        {"state": state},
    )
    return {row["user_id"]: row["id"] for row in found}


def waiting(ra):
    return [each.user_id for each in batches.waiting(look(ra.database))]


async def made(ra, **more):
    """A batch that a registrar has asked for, and a runner has drawn."""
    found = await batches.make(ra, acting(ra, "registrar"), **more)
    await running.run(ra, found.job, "r")
    return postcards.batch(look(ra.database), found.number)


async def fetched(ra, number, reason=""):
    return await batches.fetch(ra, acting(ra, "registrar"), number, reason=reason)


def test_states():
    """Every state has words, those that hold cards can be left, and what is over is over."""
    assert set(TRANSITIONS) == set(State) == set(LABELS)
    assert {state for state, events in TRANSITIONS.items() if events} == OPEN
    assert {event for events in TRANSITIONS.values() for event in events} == set(Event)


async def test_postcards_wait_for_a_batch_and_no_mail_does(tmp_path):
    """They are printed: delivery leaves them alone, and nobody is told that the oldest waits for too long."""
    async with office(tmp_path) as ra:
        await people(ra, "𠮷田 髙子", "山﨑 太郎")
        mails = await delivered(ra)
        assert {letter.name.rsplit(".", 1)[1] for letter in mails} == {"eml"}
        assert waiting(ra) == ["K0000", "K0001"]
        clock_of(ra).advance(seconds=3 * DAY)
        assert queue.standing(look(ra.database), ra.now(), ra.settings).oldest == 0
        elsewhere = replace(ra.settings, postcards="outbox")
        assert queue.standing(look(ra.database), ra.now(), elsewhere).oldest > 2 * DAY


@pytest.mark.slow
async def test_a_batch_lives_through_its_day(tmp_path):
    """Made, fetched, printed: the cards have left, once, and nothing that was secret is there any more."""
    async with office(tmp_path) as ra:
        await people(ra, "𠮷田 髙子", "山﨑 太郎", "年金 花子")
        numbers = letters(ra)
        batch = await made(ra)
        assert (batch.number, batch.state, batch.cards, batch.kept) == (1, State.READY, 3, True)
        assert waiting(ra) == []
        problem = await refused(batches.make(ra, acting(ra, "registrar")))
        assert (problem.code, problem.detail) == ("conflict", "no postcard waits that could be printed")
        problem = await refused(batches.printed(ra, acting(ra, "registrar"), 1))
        assert problem.detail == "nobody has fetched batch 1 yet: sekisho postcard fetch 1 FILE.pdf"
        pages = texts(await fetched(ra, 1))
        assert len(pages) == 6
        for page, name in zip(pages[::2], ("𠮷田 髙子", "山﨑 太郎", "年金 花子"), strict=True):
            assert name in page
        passwords = [page.split("パスワード：")[1].split()[0] for page in pages[1::2]]
        assert len(set(passwords)) == 3
        # Kept sealed: not in a file of the database as it is.
        assert passwords[0].encode() not in b"".join(
            path.read_bytes() for path in ra.database.folder.glob("sekisho.db*")
        )
        done = await batches.printed(ra, acting(ra, "registrar"), 1)
        assert (done.state, done.kept, done.ended_by) == (
            State.PRINTED,
            False,
            "operator:registrar/registrar",
        )
        assert letters(ra, "sent") == numbers
        shown = mail_store.shown(look(ra.database), numbers["K0000"])
        assert (shown["result"], shown["sent_at"]) == ("printed in batch 1", ra.now())
        left = look(ra.database).rows("SELECT id FROM mails WHERE sealed_body IS NOT NULL AND state = 'sent'")
        assert left == []
        problem = await refused(batches.printed(ra, acting(ra, "registrar"), 1))
        assert (problem.code, problem.detail) == ("conflict", "batch 1 is printed already")
        problem = await refused(fetched(ra, 1))
        assert problem.detail == "batch 1 is printed: its PDF is gone"
        assert [act for act in acts(ra, "1") if act.startswith("postcards.")] == [
            "postcards.printed", "postcards.fetched", "postcards.made",
        ]  # fmt: skip


@pytest.mark.slow
async def test_a_second_print_takes_a_reason(tmp_path):
    """Who has the PDF is in the trail; the first time for the asking, then with a reason alone."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子")
        await made(ra)
        problem = await refused(fetched(ra, 1, "紙詰まり"))
        assert problem.detail.startswith("nobody has fetched batch 1 yet")
        first = await fetched(ra, 1)
        problem = await refused(fetched(ra, 1))
        assert problem.code == "conflict"
        assert problem.detail.endswith("sekisho postcard reprint 1 FILE.pdf --reason WHY")
        assert await fetched(ra, 1, " 紙詰まり ") == first
        assert (await refused(fetched(ra, 1, "a\nb"))).field == "reason"
        line = next(
            each
            for each in store.audit_page(look(ra.database), "1", 10)
            if each["action"] == "postcards.reprinted"
        )
        assert (line["actor"], line["detail"]) == (
            "operator:registrar/registrar",
            {"cards": 1, "reason": "紙詰まり"},
        )
        # Of twenty who ask for it first one has it.
        await people(ra)
        await changes.reset_password(ra, "K0000", actor="test")
        await made(ra)
        tried = await together(*(fetched(ra, 2) for _ in range(20)))
        assert sum(isinstance(each, bytes) for each in tried) == 1
        done = await together(*(batches.printed(ra, acting(ra, "registrar"), 2) for _ in range(20)))
        assert sum(not isinstance(each, Refusal) for each in done) == 1


@pytest.mark.slow
async def test_one_card_that_cannot_be_printed_refuses_the_batch_by_name(tmp_path):
    """Before anything is counted: no number, no card taken, no job; left out, or mended, the others go."""
    async with office(tmp_path) as ra:
        await people(ra, "𠮷田 髙子", "外字 一", "葛\U000e01ef城 一")
        # Nobody is recorded by such a name any more: it is one of an older register.
        await ra.database.write(
            lambda db: db.execute("UPDATE mails SET recipient = '外字 \ue000' WHERE user_id = 'K0001'")
        )
        problem = await refused(made(ra))
        assert (problem.code, problem.field) == ("invalid_input", "postcards")
        assert problem.detail == (
            "K0001 外字 \ue000: the font has no \ue000 (U+E000); "
            "K0002 葛\U000e01ef城 一: the font has no 葛\U000e01ef (U+845B U+E01EF)"
        )
        assert waiting(ra) == ["K0000", "K0001", "K0002"]
        assert (postcards.count(look(ra.database)), jobs.jobs(look(ra.database))) == (0, [])
        problem = await refused(made(ra, without=["NOBODY"]))
        assert (problem.field, problem.detail) == ("without", "no postcard waits for NOBODY")
        batch = await made(ra, without=["K0001", "K0002"])
        assert (batch.number, batch.cards) == (1, 1)
        await changes.change_user(ra, "K0002", {"name": "葛\U000e0100城 一"}, actor="test")
        await changes.reset_password(ra, "K0002", actor="test")
        assert (await made(ra, without=["K0001"])).cards == 1


@pytest.mark.slow
async def test_cards_without_an_address_wait(tmp_path):
    """They are left behind, not lost; where there are none but those, it is said."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子", "年金 太郎")
        nowhere = dict.fromkeys(("postal_code", "prefecture", "city", "street", "building", "addressee"), "")
        await changes.change_organisation(ra, "12345678", nowhere, actor="test")
        problem = await refused(made(ra))
        assert problem.detail.endswith("no address is recorded for 2: sekisho postcard waiting")
        own = {"postal_code": "0600001", "prefecture": "北海道", "city": "札幌市", "street": "北一条1"}
        await changes.change_user(ra, "K0001", own, actor="test")
        assert (await made(ra)).cards == 1
        page = texts(await fetched(ra, 1))[0]
        assert "札幌市" in page
        assert "霞が関商事" not in page
        assert waiting(ra) == ["K0000"]


@pytest.mark.slow
async def test_a_cancelled_batch_gives_its_cards_back(tmp_path):
    """With a reason; its PDF is gone, its cards are in the next batch, and that one alone."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子", "年金 太郎")
        await made(ra, most=1)
        await made(ra)
        assert waiting(ra) == []
        assert (await refused(batches.cancel(ra, acting(ra, "registrar"), 1, " "))).field == "reason"
        done = await batches.cancel(ra, acting(ra, "registrar"), 1, "用紙切れ")
        assert (done.state, done.kept, waiting(ra)) == (State.CANCELLED, False, ["K0000"])
        assert (await refused(batches.cancel(ra, acting(ra, "registrar"), 1, "x"))).code == "conflict"
        await made(ra)
        held = {number: [each["user_id"] for each in postcards.cards(look(ra.database), number)
                         if each["held_by"] == number] for number in (1, 2, 3)}  # fmt: skip
        assert held == {1: [], 2: ["K0001"], 3: ["K0000"]}


@pytest.mark.slow
async def test_whose_batches_are_whose(tmp_path):
    """Who records people prints; the desk, the approver and the auditor look; the CA officer does not."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子")
        for name in ("desk", "approver", "caofficer", "auditor", "nobody"):
            assert (await refused(batches.make(ra, acting(ra, name)))).code == "not_permitted"
        await made(ra)
        for name in ("desk", "approver", "auditor"):
            assert batches.seen(look(ra.database), acting(ra, name), 1).cards == 1
            for work in (
                batches.fetch(ra, acting(ra, name), 1),
                batches.printed(ra, acting(ra, name), 1),
                batches.cancel(ra, acting(ra, name), 1, "x"),
            ):
                assert (await refused(work)).code == "not_permitted"
        with pytest.raises(Refusal):
            batches.listed(look(ra.database), acting(ra, "caofficer"))


@pytest.mark.slow
async def test_its_job_can_be_stopped_and_go_on(tmp_path):
    """Cancelled, its cards wait again; after a fault it goes on, and draws the batch that was asked for."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子")
        batch = await batches.make(ra, acting(ra, "registrar"))
        assert waiting(ra) == []
        await viewing.cancel(ra, acting(ra, "registrar"), batch.job)
        assert (postcards.batch(look(ra.database), 1).state, waiting(ra)) == (State.CANCELLED, ["K0000"])
        batch = await batches.make(ra, acting(ra, "registrar"))
        lost = replace(ra, settings=replace(ra.settings, postcard_font="/nowhere.ttc"))
        with pytest.raises(ConfigError):
            await running.run(lost, batch.job, "r")
        assert jobs.job(look(ra.database), batch.job).state is Job.FAILED
        await viewing.resume(ra, acting(ra, "registrar"), batch.job)
        await running.work(ra, "r")
        assert postcards.batch(look(ra.database), 2).state is State.READY
        # And while it is drawn: the batch is cancelled, and what was drawn is thrown away.
        await batches.cancel(ra, acting(ra, "registrar"), 2, "x")
        batch = await batches.make(ra, acting(ra, "registrar"))
        paused = replace(ra, workers=Pausing(ra, batch.number))
        ran = await running.run(paused, batch.job, "r")
        assert (ran.state, postcards.batch(look(ra.database), 3).state) == (Job.CANCELLED, State.CANCELLED)
        assert waiting(ra) == ["K0000"]


class Pausing:
    """Workers that draw, and while they do somebody cancels the batch."""

    def __init__(self, ra, number):
        self.ra, self.number = ra, number

    async def run(self, *given):
        made = await self.ra.workers.run(*given)
        await batches.cancel(self.ra, acting(self.ra, "registrar"), self.number, "x")
        return made


async def test_what_changed_before_it_was_drawn_gives_the_cards_back(tmp_path):
    """An address that was taken away meanwhile: the row says why, and the card waits for the next batch."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子")
        batch = await batches.make(ra, acting(ra, "registrar"))
        nowhere = dict.fromkeys(("postal_code", "prefecture", "city", "street", "building", "addressee"), "")
        await changes.change_organisation(ra, "12345678", nowhere, actor="test")
        await running.run(ra, batch.job, "r")
        (line,) = jobs.lines(look(ra.database), batch.job)
        assert (line.result, line.field) == ("refused", "postal_code")
        assert (postcards.batch(look(ra.database), 1).state, waiting(ra)) == (State.CANCELLED, ["K0000"])


@pytest.mark.slow
async def test_what_has_become_needless_is_not_printed(tmp_path):
    """A newer password, a user who was disabled: before the batch the card is not taken, after it that card
    does not count as sent."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子", "年金 太郎", "年金 次郎")
        await register.disable_user(ra, "K0002", actor="test")
        batch = await made(ra)
        assert (batch.cards, mail_store.counts(look(ra.database))["waiting"]) == (2, 2 + 4)
        await changes.reset_password(ra, "K0001", actor="test")
        cards = postcards.cards(look(ra.database), 1)
        assert [(each["user_id"], each["state"]) for each in cards] == [
            ("K0000", "queued"), ("K0001", "cancelled"),
        ]  # fmt: skip
        await fetched(ra, 1)
        await batches.printed(ra, acting(ra, "registrar"), 1)
        assert set(letters(ra, "sent")) == {"K0000"}
        assert waiting(ra) == ["K0001"]


@pytest.mark.slow
async def test_a_pdf_is_not_kept_for_ever(tmp_path):
    """After a week it is wiped. What nobody fetched nobody has printed: those cards wait again; else somebody
    has still to say what became of them."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子", "年金 太郎")
        await made(ra, most=1)
        await made(ra)
        await fetched(ra, 2)
        clock_of(ra).advance(seconds=keeping.KEPT - 60)
        await scheduler.tick(ra)
        assert postcards.batch(look(ra.database), 1).kept
        clock_of(ra).advance(seconds=120)
        await scheduler.tick(ra)
        first, second = (postcards.batch(look(ra.database), number) for number in (1, 2))
        assert (first.state, first.kept, second.state, second.kept) == (
            State.CANCELLED, False, State.READY, False,
        )  # fmt: skip
        assert waiting(ra) == ["K0000"]
        assert acts(ra, "2")[0] == "postcards.wiped"
        problem = await refused(fetched(ra, 2, "again"))
        assert "was wiped after a week; were its cards printed?" in problem.detail
        await batches.printed(ra, acting(ra, "registrar"), 2)
        assert set(letters(ra, "sent")) == {"K0001"}


@pytest.mark.slow
async def test_two_batches_never_have_the_same_card(tmp_path):
    """Twenty ask at once: each card is in one batch, and what was refused took none."""
    async with office(tmp_path) as ra:
        await people(ra, *(f"年金 {number}" for number in range(4)))
        tried = await together(
            *(batches.make(ra, acting(ra, "registrar"), most=1 + number % 3) for number in range(20))
        )
        assert all(isinstance(each, Refusal | postcards.Batch) for each in tried)
        held = [
            each["letter"]
            for batch in postcards.batches(look(ra.database))
            for each in postcards.cards(look(ra.database), batch.number)
        ]
        assert len(held) == len(set(held))
        assert sorted(held + [each.letter for each in batches.waiting(look(ra.database))]) == sorted(
            letters(ra).values()
        )


class Here:
    """Draws in this process: a killed one shall leave no worker."""

    async def run(self, fn, *given):
        return fn(*given)


class Dying:
    """A database whose process is killed before its n-th transaction that writes, or right after it."""

    def __init__(self, database, number, *, after):
        self.database, self.left, self.after = database, number, after

    async def write(self, work):
        self.left -= 1
        if self.left == 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = await self.database.write(work)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def __getattr__(self, name):
        return getattr(self.database, name)


def _killed(path, at, number, *, after):
    """Somebody who makes a batch, has it drawn, fetches and prints it, and dies somewhere on the way."""

    def work():
        opened, kept = datadir.load(path, PASSPHRASE), recovery.journal_of(path)
        opened_here = on_engine(Database(path / "sekisho.db", SCHEMAS, journal=kept))
        database = Dying(opened_here, number, after=after)
        epochs = Epochs(path, opened.vault, SEALED)
        ra = RegistrationAuthority(
            database, ManualClock(at), opened.vault, epochs, opened.authority, Here(), None
        )

        async def go():
            batch = await batches.make(ra, acting(ra, "registrar"))
            await running.run(ra, batch.job, "first")
            await batches.fetch(ra, acting(ra, "registrar"), batch.number)
            await batches.printed(ra, acting(ra, "registrar"), batch.number)

        asyncio.run(go())
        return 0

    return work


#: The transactions of that way: needless, number, begin, claim, row, end, fetch, print.
STEPS = [(number, after) for number in range(1, 9) for after in (False, True)]


def points(count):
    """So many of them: each once before one comes again, in an order of the seed's."""
    draw = random.Random(SEED)
    rounds = (draw.sample(STEPS, len(STEPS)) for _ in range(0, count, len(STEPS)))
    return [each for one in rounds for each in one][:count]


@pytest.mark.slow
async def test_a_killed_runner_prints_no_card_twice_and_loses_none(tmp_path):
    """kill -9 anywhere between the asking and the counting: every card waits, is in one batch, or was sent;
    what was begun is drawn by the next runner."""
    named(tmp_path / "data" / "sekisho.db")
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子", "年金 太郎")
        for number, after in points(KILLS):
            for each in ("K0000", "K0001"):
                await changes.reset_password(ra, each, actor="test")
            everybody = sorted(letters(ra).values())
            with forked(_killed(tmp_path / "data", ra.now(), number, after=after)) as child:
                assert child.wait() == -signal.SIGKILL, (number, after)
            clock_of(ra).advance(seconds=running.STALE + 1)
            await running.work(ra, "later")
            sent = letters(ra, "sent")
            if (number, after) == STEPS[-1]:
                assert sorted(sent.values()) == everybody
                continue
            held = [
                each["letter"]
                for batch in batches.listed(look(ra.database), acting(ra, "auditor"), every=False)
                for each in postcards.cards(look(ra.database), batch.number)
            ]
            free = [each.letter for each in batches.waiting(look(ra.database))]
            assert sorted(held + free) == everybody, (number, after)
            for batch in postcards.batches(look(ra.database), every=False):
                assert (batch.state, batch.kept, batch.cards) == (State.READY, True, 2)
                await batches.cancel(ra, acting(ra, "registrar"), batch.number, "x")


async def test_no_secret_of_a_card_is_shown_to_operators(tmp_path):
    """What lists and pages read of a letter is masked; a batch's rows have no words of it at all."""
    async with office(tmp_path) as ra:
        await people(ra, "年金 花子")
        await made(ra)
        page = texts(await fetched(ra, 1))[1]
        password = page.split("パスワード：")[1].split()[0]
        seen = [mail_store.shown(look(ra.database), number) for number in letters(ra).values()]
        seen += [postcards.cards(look(ra.database), 1), postcards.batches(look(ra.database))]
        seen += [store.audit_page(look(ra.database), "1", 50)]
        assert password not in repr(seen)
