"""How long what is personal is kept: what is over is found, goes by two and a job, and is nowhere then."""

from dataclasses import replace

from enroll import store
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.listings import searching
from enroll.operators import asking, helping
from enroll.operators import store as operators
from enroll.operators.asking import Proposed
from enroll.people import applications, changes
from enroll.people.register import disable_user, enable_user
from enroll.replaying import Replay, Report, carry_out
from enroll.retention import erasing
from enroll.retention import store as retention
from enroll.retention.periods import TAKEN
from enroll.settings import DAY
from tests.datadirs import clock_of, delivered
from tests.enroll.operators.test_asking import acting, acts, office, person, proposed, refused
from tests.enroll.test_audit import troubles
from tests.looking import cells, look

USER = "K12345678"


async def decided(ra):
    """All that is over, proposed by a registrar, approved, and done to its end."""
    payload = await ra.database.read(lambda db: erasing.payload(db, ra.settings.periods, ra.now()))
    found = await asking.ask(ra, acting(ra, "registrar"), "retention.apply", payload)
    assert isinstance(found, Proposed)
    done = await asking.approve(ra, acting(ra, "approver"), found.number)
    job = await running.run(ra, done.result["job"], running.new_runner())
    return job, ra.database.read_now(lambda db: jobs.counted(db, job.number))


def told(ra, *words):
    """Tables and columns where any of these words stands."""
    found = cells(ra.database)
    return {(table, name) for table, name, value in found if any(each in str(value) for each in words)}


def over(ra):
    """Of each kind how many are over by now."""
    found = erasing.over(look(ra.database), ra.settings.periods, ra.now())
    return {each.kind: each.count for each in found}


async def lived(ra):
    """A user who was added by two, changed, reported a loss, was called about, and was ended."""
    number = await proposed(ra, payload=person("退職 三郎", "saburo@example.jp"))
    made = await asking.approve(ra, acting(ra, "approver"), number)
    user_id = made.result["user_id"]
    await changes.change_user(ra, user_id, {"reading": "タイショク サブロウ"}, actor="operator:x")
    await applications.apply_reissue(ra, user_id, "pc_change", channel="online", actor=user_id)
    await helping.note_call(ra, acting(ra, "desk"), user_id, "退職 三郎さんから電話")
    await delivered(ra)
    await disable_user(ra, user_id, actor="operator:x")
    return user_id


async def test_who_left_is_nowhere_any_more(tmp_path):
    """Five years after the end, not a day before, the person's name and addresses are in no table; searching
    finds nobody, and the chain of the trail still verifies. Requests and certificates stay."""
    async with office(tmp_path) as ra:
        user_id = await lived(ra)
        words = ("退職", "saburo", "タイショク", "サブロウ")
        assert len(told(ra, *words)) > 8
        kept = len(store.enrollments_of(look(ra.database), user_id))
        clock_of(ra).advance(seconds=1_827 * DAY - 1)
        assert over(ra)["people"] == 0
        clock_of(ra).advance(seconds=1)
        job, counts = await decided(ra)
        assert (str(job.state), set(counts)) == ("done", {"erased"})
        assert told(ra, *words) == set()
        assert len(store.enrollments_of(look(ra.database), user_id)) == kept
        assert store.user(look(ra.database), user_id).name == retention.NOBODY
        for text in ("退職", "saburo@example.jp", user_id):
            found = await searching.search(ra, acting(ra, "desk"), text)
            assert [each for each in found.groups if each.name == "users" and each.total] == []
        assert troubles(tmp_path, ra) == []
        # Nobody comes back under this name.
        for work in (enable_user(ra, user_id, actor="x"), changes.change_user(ra, user_id, {}, actor="x")):
            assert "was erased" in str(await refused(work))


async def test_who_came_back_meanwhile_is_left(tmp_path):
    """Somebody who was enabled between proposal and job, or has a certificate still, is not erased; the job
    says so of that row, and does the rest."""
    async with office(tmp_path) as ra:
        first, second = await lived(ra), USER
        await disable_user(ra, second, actor="x")
        clock_of(ra).advance(seconds=2_000 * DAY)
        payload = await ra.database.read(lambda db: erasing.payload(db, ra.settings.periods, ra.now()))
        assert sorted(payload["people"]) == sorted([first, second])
        number = await proposed(ra, "retention.apply", payload)
        await enable_user(ra, second, actor="x")
        done = await asking.approve(ra, acting(ra, "approver"), number)
        await running.run(ra, done.result["job"], running.new_runner())
        refused_rows = jobs.lines(look(ra.database), done.result["job"], "refused")
        assert [each.detail for each in refused_rows] == [f"user {second} is at work, or was erased already"]
        users = {each: store.user(look(ra.database), each) for each in (first, second)}
        assert (users[first].erased_at is not None, users[second].erased_at) == (True, None)


async def test_each_kind_has_its_own_period(tmp_path):
    """Letters, applications, jobs and proposals lose what is personal when their own days are over; what is
    younger, or waits, keeps it; 0 keeps all for good. What they were stays: kinds, states, times."""
    async with office(tmp_path) as ra:
        user_id = await lived(ra)
        waiting = await proposed(ra, payload=person("待機 四郎", "shiro@example.jp"))
        long = 400 * DAY
        clock_of(ra).advance(seconds=long + 10)
        none = replace(ra.settings.periods, **dict.fromkeys(TAKEN, 0))
        assert [each.before for each in erasing.over(look(ra.database), none, ra.now())] == [None] * 5
        assert (
            await refused(ra.database.read(lambda db: erasing.payload(db, none, ra.now())))
        ).code == "conflict"
        found = {
            each.kind: each.count for each in erasing.over(look(ra.database), ra.settings.periods, ra.now())
        }
        assert found["letters"] > 0
        assert (found["people"], found["applications"], found["proposals"]) == (0, 0, 0)
        await decided(ra)
        assert {table for table, _ in told(ra, "saburo")} >= {"users", "proposals"}
        assert ("mails", "shown_body") not in told(ra, "退職")
        assert ("mails", "recipient") not in told(ra, "saburo")
        clock_of(ra).advance(seconds=1_096 * DAY)
        await decided(ra)
        assert not {("proposals", "payload"), ("proposals", "before")} & told(ra, "saburo", "shiro")
        kept = operators.proposal(look(ra.database), waiting)
        assert (kept.kind, kept.erased_at) == ("user.add", ra.now())
        assert store.user(look(ra.database), user_id).name == "退職 三郎"


def test_what_is_personal_in_a_document():
    """Texts below a personal name are empty, lists have nothing; keys, numbers and codes stay."""
    document = {
        "person": {"name": "甲", "user_id": "K1"},
        "rows": [{"a": 1}],
        "changes": {"mail": "x"},
    }
    assert retention.blanked(document) == {
        "person": {"name": "", "user_id": "K1"}, "rows": [], "changes": {"mail": ""},
    }  # fmt: skip


async def test_a_number_is_erased_once_and_a_copy_erases_it_again(tmp_path):
    """The journal tells a database that was put back who was erased; what is there no more is left."""
    async with office(tmp_path) as ra:
        user_id = await lived(ra)
        at = ra.now()

        def replay(db):
            for user in (user_id, "K00000000"):
                carry_out(Replay(db, ra, at, Report()), ("user.erased", {"user_id": user, "at": at}))

        await ra.database.write(replay)
        await ra.database.write(replay)
        assert acts(ra, user_id).count("user.erased") == 1
        assert "users" not in {table for table, _ in told(ra, "退職")}
