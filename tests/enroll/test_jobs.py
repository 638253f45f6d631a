"""Jobs: decided once, done row by row, none twice and none left out, whoever dies meanwhile."""

import asyncio
import os
import random
import signal
from dataclasses import replace

import pytest

import ca.store
from ca.generations.states import Event as Change
from enroll import generations, store
from enroll.jobs import kinds, running, viewing
from enroll.jobs import store as jobs
from enroll.jobs.states import LABELS, OPEN, TRANSITIONS, Event, State
from enroll.mail import store as mail_store
from enroll.operators import actors, asking
from enroll.operators import store as operators
from enroll.operators.asking import Proposed
from enroll.operators.kinds import KINDS
from enroll.people import csvfile, replacing
from enroll.requests import issuance, transitions
from enroll.requests.states import Event as Downloaded
from tests.datadirs import (
    POLICY_NUMBER,
    START,
    admit,
    clock_of,
    delivered,
    next_generation,
    open_office,
    together,
)
from tests.enroll.operators.test_asking import acting, acts, issued, office, refused
from tests.looking import look
from tests.started import forked

SEED = os.environ.get("SEKISHO_TEST_SEED", "20261129")
HEAD = "証券番号,氏名,メールアドレス,ユーザーID"


def people(count, *more, encoding="utf-8-sig", hold=False):
    """An import of so many users, and of other lines, as a proposal has it."""
    lines = [f"{POLICY_NUMBER},人 {number},u{number}@example.jp,U{number:04}" for number in range(count)]
    content = "\r\n".join([HEAD, *lines, *more, ""]).encode(encoding)
    table = csvfile.table_in(content, "people.csv", csvfile.USERS)
    every = {row.line for row in table.rows}
    return csvfile.payload_of(table, "people.csv", every) | {"hold_letters": hold, "alike": False}


async def decided(ra, payload, kind="user.import"):
    """A job that a registrar has proposed and an approver has decided; its number."""
    found = await asking.ask(ra, acting(ra, "registrar"), kind, payload)
    assert isinstance(found, Proposed), found
    return (await asking.approve(ra, acting(ra, "approver"), found.number)).result["job"]


def job(ra, number):
    return jobs.job(look(ra.database), number)


async def test_a_list_of_proposals_reads_no_rows_of_a_file(tmp_path):
    """An import of 20,000 users is 7 MB of JSON: its line in a list has none of it, the proposal has all;
    of what is one thing a list has everything."""
    async with office(tmp_path) as ra:
        found = await asking.ask(ra, acting(ra, "registrar"), "user.import", people(3))
        await asking.ask(ra, acting(ra, "registrar"), "user.disable", {"user_id": "K12345678"})
        alone, many = asking.listed(look(ra.database), acting(ra, "approver"), ra.now())
        assert (many.number, many.subject, many.payload) == (found.number, "people.csv: 3 rows", {})
        assert alone.payload == {"user_id": "K12345678"}
        whole = asking.seen(look(ra.database), acting(ra, "approver"), found.number)
        assert len(whole.payload["rows"]) == 3
        again = await refused(asking.ask(ra, acting(ra, "registrar"), "user.import", people(3)))
        assert again.code == "conflict"
        await asking.ask(ra, acting(ra, "registrar"), "user.import", people(3, hold=True))


def counts(ra, number):
    return jobs.counted(look(ra.database), number)


def users(ra):
    return sorted(each.user_id for each in store.users(look(ra.database)) if each.user_id[0] == "U")


def test_states():
    """Every state and event has its place; what is over is over, but for an import that is taken back."""
    assert set(TRANSITIONS) == set(State) == set(LABELS)
    assert {event for events in TRANSITIONS.values() for event in events} == set(Event)
    assert {state for state, events in TRANSITIONS.items() if Event.START in events} == OPEN
    assert not TRANSITIONS[State.UNDONE]
    assert set(kinds.KINDS) == {name for name, kind in KINDS.items() if kind.job}


async def test_an_import_is_decided_and_done_by_a_job(tmp_path):
    """Whoever approves waits for no row; a runner does them, each is looked at again, and its lines say what
    became of it. What is over is done by nobody again."""
    async with office(tmp_path) as ra:
        number = await decided(
            ra, people(25, "99999999,別,x@example.jp,", f"{POLICY_NUMBER},人 3,u3@example.jp,")
        )
        found = job(ra, number)
        assert (found.state, found.done, found.total, users(ra)) == (State.WAITING, 0, 27, [])
        assert (found.proposed_by, found.decided_by) == (
            "operator:registrar/registrar",
            "operator:approver/approver",
        )
        assert found.subject == "people.csv: 27 rows"
        told = []
        ran = await running.run(ra, number, "r", told=lambda done, total: told.append((done, total)))
        assert (ran.state, ran.done, told) == (
            State.DONE,
            27,
            [*((done, 27) for done in range(4, 27, 4)), (27, 27)],
        )
        assert counts(ra, number) == {"added": 25, "exists": 1, "refused": 1}
        (line,) = jobs.lines(look(ra.database), number, "refused")
        assert (line.line, line.code, line.field) == (27, "not_found", "policy_number")
        assert len(users(ra)) == 25
        assert {"job.done"} <= set(acts(ra, str(number)))
        assert store.audit_page(look(ra.database), "U0003", 9)[-1]["actor"] == "operator:approver/approver"
        assert await running.run(ra, number, "s") is None
        await running.work(ra, "s")
        assert len(users(ra)) == 25


async def test_what_waits_for_somebody_is_counted(tmp_path):
    """For the metrics and doctor: jobs by state, since when nobody was heard of at one, and proposals that
    are nearly over; what is over, or expired, is none of it."""
    async with office(tmp_path) as ra:
        assert jobs.standing(look(ra.database)) == jobs.Standing(0, 0, 0, None)
        made = ra.now()
        first, second = await decided(ra, people(3)), await decided(ra, people(2, "x,y,z,"))
        clock_of(ra).advance(seconds=100)
        await ra.database.write(lambda db: jobs.claim(db, second, "r", ra.now(), running.STALE))
        assert jobs.standing(look(ra.database)) == jobs.Standing(1, 1, 0, made)
        await running.run(ra, first, "r")
        assert jobs.standing(look(ra.database)) == jobs.Standing(0, 1, 0, made + 100)
        await ra.database.write(lambda db: jobs.end(db, second, Event.FAIL, State.FAILED, ra.now()))
        assert jobs.standing(look(ra.database)) == jobs.Standing(0, 0, 1, None)

        found = await asking.ask(ra, acting(ra, "registrar"), "user.import", people(1))
        waiting = lambda at: operators.waiting(look(ra.database), at, at + 86_400)  # noqa: E731
        assert [waiting(found.expires_at - left) for left in (86_401, 86_400, 1, 0)] == [
            (1, 0), (1, 1), (1, 1), (0, 0),
        ]  # fmt: skip


async def test_of_two_runners_one_has_it(tmp_path):
    """Twenty ask for one job: one does it, and every row is done once."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(30))
        ran = await together(*(running.run(ra, number, f"r{each}") for each in range(20)))
        assert sum(each is not None for each in ran) == 1
        assert counts(ra, number) == {"added": 30}
        assert len(users(ra)) == 30


async def test_who_is_taken_for_dead_does_no_row_any_more(tmp_path):
    """A runner that was not heard of for long is followed by another one; should it wake up, what it was
    about to do is undone, for its row would not be written down as done."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(30))
        paused, go_on = asyncio.Event(), asyncio.Event()
        sleeper = replace(ra, workers=Sleeping(ra.workers, paused, go_on, after=20))
        first = asyncio.create_task(running.run(sleeper, number, "first"))
        await paused.wait()
        assert await running.run(ra, number, "second") is None
        clock_of(ra).advance(seconds=running.STALE)
        ran = await running.run(ra, number, "second")
        assert (ran.state, ran.done) == (State.DONE, 30)
        go_on.set()
        assert (await first).state is State.DONE
        assert counts(ra, number) == {"added": 30}
        assert len(mail_store.listed(look(ra.database), limit=999)) == 2 * 31


async def test_whose_clock_is_a_little_ahead_is_alive(tmp_path):
    """Of whichever node it is: its job is nobody else's. One that is far ahead was set right since."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(3))
        claim = lambda runner: ra.database.write_now(  # noqa: E731
            lambda db: jobs.claim(db, number, runner, ra.now(), running.STALE)
        )
        assert claim("ahead") is not None
        for behind, alive in ((1, True), (running.STALE - 2, True), (1, False)):
            clock_of(ra).advance(seconds=-behind)
            assert running.alive(job(ra, number), ra.now()) is alive
            assert (claim("behind") is None) is alive


class Sleeping:
    """Workers that stop in the middle, as a process that is suspended."""

    def __init__(self, workers, paused, go_on, after):
        self.workers, self.paused, self.go_on, self.left = workers, paused, go_on, after

    async def run_in_thread(self, *given):
        self.left -= 1
        if self.left < 0:
            self.paused.set()
            await self.go_on.wait()
        return await self.workers.run_in_thread(*given)


async def test_a_job_is_cancelled_between_two_rows(tmp_path):
    """What is done stays done and is written down as that; nothing follows, then or later."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(40))
        stopped = asyncio.Event()

        def told(done, _):
            if done == 20:
                stopped.set()

        task = asyncio.create_task(running.run(ra, number, "r", told=told, rest=0))
        await stopped.wait()
        await viewing.cancel(ra, acting(ra, "approver"), number)
        ran = await task
        assert ran.state is State.CANCELLED
        assert ran.ended_by == "operator:approver/approver"
        assert ran.done == len(users(ra)) == counts(ra, number)["added"] < 40
        assert await running.run(ra, number, "r") is None
        assert (await refused(viewing.cancel(ra, acting(ra, "approver"), number))).code == "conflict"
        assert "job.cancel" in acts(ra, str(number))


async def test_whose_jobs_are_whose(tmp_path):
    """O3: who may read the act sees its jobs, the proposer too; who has proposed it, or may decide it, stops
    it; for anybody else there is none."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(1))
        found = job(ra, number)
        names = ("desk", "registrar", "approver", "caofficer", "auditor")
        assert [n for n in names if viewing.visible(acting(ra, n), found)] == [
            "registrar",
            "approver",
            "auditor",
        ]
        assert [n for n in names if viewing.may_stop(acting(ra, n), found)] == ["registrar", "approver"]
        assert viewing.listed(look(ra.database), acting(ra, "desk")) == []
        assert (await refused(viewing.cancel(ra, acting(ra, "desk"), number))).code == "not_found"
        assert (await refused(viewing.cancel(ra, acting(ra, "auditor"), number))).code == "not_permitted"
        assert job(ra, number).state is State.WAITING
        await viewing.cancel(ra, acting(ra, "registrar"), number)
        assert job(ra, number).state is State.CANCELLED


async def test_a_fault_of_ours_stops_a_job_and_it_goes_on(tmp_path):
    """The rows before it stay done, the state says that it failed, and why is one word; let go on, it
    does the rest."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(30))
        broken = replace(ra, workers=Broken(ra.workers, after=20))
        with pytest.raises(ZeroDivisionError):
            await running.run(broken, number, "r")
        found = job(ra, number)
        assert (found.state, found.problem) == (State.FAILED, "ZeroDivisionError")
        assert found.done == len(users(ra)) < 30
        await running.work(ra, "r")
        assert job(ra, number).state is State.FAILED
        await viewing.resume(ra, acting(ra, "approver"), number)
        await running.work(ra, "r")
        assert (job(ra, number).state, counts(ra, number)) == (State.DONE, {"added": 30})
        assert (await refused(viewing.resume(ra, acting(ra, "approver"), number))).code == "conflict"


class Broken:
    def __init__(self, workers, after):
        self.workers, self.left = workers, after

    async def run_in_thread(self, *given):
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError
        return await self.workers.run_in_thread(*given)


async def test_a_clock_in_doubt_makes_a_job_wait(tmp_path):
    """Nothing is dated by it, no row is refused for it: the job goes on when the clock is believed."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(3))
        clock_of(ra).leap(days=30)
        ran = await running.run(ra, number, "r")
        assert (ran.state, ran.done, users(ra)) == (State.RUNNING, 0, [])
        clock_of(ra).leap(days=-30)
        assert (await running.run(ra, number, "r")).state is State.DONE
        assert counts(ra, number) == {"added": 3}


@pytest.mark.parametrize(("encoding", "begins"), [("utf-8-sig", b"\xef\xbb\xbfr"), ("cp932", b"r")])
async def test_refused_rows_come_back_as_they_came(tmp_path, encoding, begins):
    """O11: the same columns, spelling and encoding, with a reason in front; mended, the file is imported."""
    async with office(tmp_path) as ra:
        wrong = f"{POLICY_NUMBER},髙﨑 花子,not a mail,UWRONG", "99999999,別 人,x@example.jp,"
        number = await decided(ra, people(2, *wrong, encoding=encoding))
        await running.run(ra, number, "r")
        content = viewing.failures(
            look(ra.database), job(ra, number), lambda problem: f"なぜ：{problem.field}"
        )
        assert content.startswith(begins)
        lines = content.decode(encoding).splitlines()
        assert lines == [
            f"reason,{HEAD}", f'"なぜ：mail",{wrong[0]}', f'"なぜ：policy_number",{wrong[1]}',
        ]  # fmt: skip
        mended = content.decode(encoding).replace("not a mail", "ok@example.jp").encode(encoding)
        table = csvfile.table_in(mended, "failures.csv", csvfile.USERS)
        again = csvfile.payload_of(table, "failures.csv", {2}) | {"hold_letters": False, "alike": False}
        second = await decided(ra, again)
        await running.run(ra, second, "r")
        assert counts(ra, second) == {"added": 1}


async def test_an_import_is_taken_back_while_nothing_was_sent(tmp_path):
    """O11: two decide that, too; users, requests and letters are gone as if they had never been, the trail
    knows both, and the same file is imported again. Nobody else is touched."""
    async with office(tmp_path) as ra:
        letters = len(mail_store.listed(look(ra.database), limit=999))
        payload = people(12, hold=True)
        number = await decided(ra, payload)
        await running.run(ra, number, "r")
        undo = {"job": number, "kind": "user.import", "subject": "people.csv"}
        back = await decided(ra, undo, "import.undo")
        assert (job(ra, number).state, job(ra, back).total) == (State.UNDONE, 12)
        await running.run(ra, back, "r")
        assert counts(ra, back) == {"undone": 12}
        assert (users(ra), len(mail_store.listed(look(ra.database), limit=999))) == ([], letters)
        assert acts(ra, "U0003")[:1] == ["user.undone"]
        keys = look(ra.database).rows("SELECT id FROM search_keys WHERE kind = 'user'")
        assert {each["id"] for each in keys} == {"K12345678"}
        assert store.user(look(ra.database), "K12345678") is not None
        assert (await refused(decided(ra, undo, "import.undo"))).code == "conflict"
        third = await decided(ra, payload)
        await running.run(ra, third, "r")
        assert counts(ra, third) == {"added": 12}


async def test_an_import_of_which_somebody_was_told_is_not_taken_back(tmp_path):
    """As soon as one letter has left; one that leaves between the decision and its row keeps its user."""
    async with office(tmp_path) as ra:
        number = await decided(ra, people(3, hold=True))
        await running.run(ra, number, "r")
        undo = {"job": number, "kind": "user.import", "subject": "people.csv"}
        back = await decided(ra, undo, "import.undo")
        await ra.database.write(lambda db: mail_store.release(db, ra.now(), "U0001"))
        await delivered(ra)
        await running.run(ra, back, "r")
        assert counts(ra, back) == {"undone": 2, "refused": 1}
        assert users(ra) == ["U0001"]
        again = await decided(ra, people(2))
        await running.run(ra, again, "r")
        await delivered(ra)
        problem = await refused(decided(ra, undo | {"job": again}, "import.undo"))
        assert (problem.code, "letters to 1 of 1 users have left" in problem.detail) == ("conflict", True)


async def test_organisations_are_imported_and_taken_back(tmp_path):
    """Those that nobody belongs to by then."""
    async with office(tmp_path) as ra:
        table = csvfile.table_in(
            "証券番号,団体名\n20000001,甲社\n20000002,乙社\n".encode(), "o.csv", csvfile.ORGANISATIONS
        )
        number = await decided(ra, csvfile.payload_of(table, "o.csv", {2, 3}), "organisation.import")
        await running.run(ra, number, "r")
        member = "20000001,乙 一,b@example.jp,UB001"
        await running.run(ra, await decided(ra, people(0, member)), "r")
        undo = {"job": number, "kind": "organisation.import", "subject": "o.csv"}
        back = await decided(ra, undo, "import.undo")
        await running.run(ra, back, "r")
        assert counts(ra, back) == {"undone": 1, "refused": 1}
        numbers = {each.policy_number for each in store.organisations(look(ra.database))}
        assert numbers == {POLICY_NUMBER, "20000001"}


async def test_many_certificates_are_revoked_by_a_job(tmp_path):
    """What was revoked meanwhile is said to be so, and one that is none is refused when it is proposed."""
    async with office(tmp_path) as ra:
        serial = await issued(ra)
        wanted = {"serials": [serial], "reason": 5}
        number = await decided(ra, wanted, "certificate.revoke.bulk")
        await running.run(ra, number, "r")
        assert counts(ra, number) == {"revoked": 1}
        found = ca.store.find_by_serial(look(ra.database), serial)
        assert (found.status, found.revocation_reason) == ("revoked", 5)
        again = await decided(ra, wanted | {"reason": 1}, "certificate.revoke.bulk")
        await running.run(ra, again, "r")
        assert counts(ra, again) == {"exists": 1}
        made_up = decided(ra, {"serials": ["ab" * 16], "reason": 1}, "certificate.revoke.bulk")
        assert (await refused(made_up)).code == "not_found"


# -- kill -9 ---------------------------------------------------------------------------------------------


async def one_life(path, at, number, batches, span):
    """A runner that dies so many seconds after so many batches, by itself: whoever kills it may be kept
    waiting, and it be done by then."""
    # What pytest does at this signal was copied with the process; now nobody is told of it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    left = batches

    def told(*_):
        nonlocal left
        left -= 1
        if not left:
            signal.setitimer(signal.ITIMER_REAL, span)

    async with open_office(path, at) as ra:
        await running.run(ra, number, "r", told=told)
    return 0


def kill_at_random(path, number, rows, done_of):
    """Does a job in several lives that end as by kill -9; how many of them have ended with some rows done,
    and some not. ``done_of``: what somebody finds to be done, beside the lines of the job."""
    partly, before, chance = 0, 0, random.Random(SEED)
    for life in range(1, 5):
        left = -(-(rows - before) // running.BATCH)
        if left < 2:
            break
        batches, span = min(chance.randint(1, 2), left - 1), chance.uniform(0.0001, 0.03)
        at = START + life * (running.STALE + 1)
        with forked(lambda: asyncio.run(one_life(path, at, number, batches, span))) as child:  # noqa: B023
            # 0: it was done before it died, which is no fault.
            assert child.wait() in (-signal.SIGALRM, 0)
        done = asyncio.run(_done(path, at, number, done_of))
        partly += before < done < rows
        before = done
    return partly


async def _done(path, at, number, done_of):
    async with open_office(path, at) as ra:
        assert done_of(ra) == job(ra, number).done == sum(counts(ra, number).values())
        return job(ra, number).done


async def to_the_end(path, number):
    """What is there when another runner has done the rest: the job, how rows ended, its lines, letters."""
    async with open_office(path, START + 12 * (running.STALE + 1)) as ra:
        await running.work(ra, running.new_runner())
        letters = [each["kind"] for each in mail_store.listed(look(ra.database), limit=9_999)]
        lines = [each.line for each in jobs.lines(look(ra.database), number)]
        return job(ra, number), counts(ra, number), lines, letters, users(ra)


async def host_asks(ra, kind, payload):
    host = await ra.database.read(lambda db: actors.of_account(db, "root", ra.now(), host=True))
    return (await asking.ask(ra, host, kind, payload)).result["job"]


@pytest.mark.slow
def test_kills_do_no_row_twice_and_leave_none(tmp_path):
    """kill -9 at random in the middle, again and again: each user once, with both letters once, every row
    with its line, and the job done in the end."""
    rows = 150

    async def begin():
        async with open_office(tmp_path) as ra:
            await admit(ra)
            return await host_asks(ra, "user.import", people(rows))

    number = asyncio.run(begin())
    partly = kill_at_random(tmp_path, number, rows, lambda ra: len(users(ra)))
    found, counted, lines, letters, there = asyncio.run(to_the_end(tmp_path, number))
    assert (found.state, found.done, counted) == (State.DONE, rows, {"added": rows})
    assert there == [f"U{each:04}" for each in range(rows)]
    assert lines == list(range(2, rows + 2))
    assert sorted(letters) == sorted(["pickup", "user_id"] * (rows + 1))
    # The test must have met what it is about: deaths with some rows done, and some not.
    assert partly > 1


@pytest.mark.slow
def test_kills_invite_nobody_twice_and_leave_nobody(tmp_path):
    """The same of a reissue to everybody with a certificate of a CA that is trusted no more."""
    rows = 60

    async def begin():
        async with open_office(tmp_path) as opened:
            ra = next_generation(opened, "G5", active=False)
            (g4,) = opened.authority.issuers
            await admit(ra)
            await running.run(ra, await host_asks(ra, "user.import", people(rows)), "r")
            for user_id in users(ra):
                await in_hand(ra, user_id)
            g5 = generations.named(ra, "G5")
            await generations.change(ra, g5, Change.PLAN, ra.now(), actor="test")
            await generations.change(ra, g4, Change.DISTRUST, ra.now(), actor="test", reason="keyCompromise")
            whom = replacing.whom(ra, g4)
            assert len(whom.invited) == rows
            return await host_asks(ra, "ca.reissue", replacing.payload_of(g4, whom))

    def told(ra):
        return [each["kind"] for each in mail_store.listed(look(ra.database), limit=9_999)]

    number = asyncio.run(begin())
    partly = kill_at_random(tmp_path, number, rows, lambda ra: told(ra).count("issuer_distrusted"))
    found, counted, lines, letters, _ = asyncio.run(to_the_end(tmp_path, number))
    assert (found.state, found.done, counted) == (State.DONE, rows, {"invited": rows})
    assert lines == list(range(1, rows + 1))
    assert letters.count("issuer_distrusted") == rows
    # One from when they were recorded, one now.
    assert letters.count("pickup") == 2 * rows + 1
    assert partly > 1


async def in_hand(ra, user_id):
    """Somebody's certificate, signed and downloaded."""
    (request,) = store.enrollments_of(look(ra.database), user_id)
    await issuance.submit(ra, request.request_id, actor=user_id)
    await issuance.complete(ra, request.request_id)
    await ra.database.write(
        lambda db: transitions.apply(db, ra, request.request_id, Downloaded.DOWNLOAD, ra.now(), actor=user_id)
    )
