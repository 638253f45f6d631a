"""What somebody looks at before a letter is written still holds when it is: another one, about the same, is
met in the middle of its transaction."""

import pytest

from ca.generations.states import Event
from enroll import generations, scheduler, store
from enroll.campaigns import store as campaigns
from enroll.campaigns import working
from enroll.jst import day_of, start_of
from enroll.mail import delivery
from enroll.mail import store as mail
from enroll.people import applications, changes, replacing, undoing
from enroll.refusals import Refusal
from enroll.requests.opening import draw_issue_password
from enroll.settings import DAY
from tests import databases
from tests.datadirs import POLICY_NUMBER, admit, clock_of, next_generation, open_office
from tests.engines import VARIABLE
from tests.enroll.test_flow import picked_up
from tests.looking import look
from tests.races import crossed

pytestmark = databases.NEEDED


@pytest.fixture
async def ra(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "postgresql")
    async with open_office(tmp_path) as ra:
        yield ra


async def due(ra, days):
    """Somebody whose certificate ends in so many days, with the first notice; two campaigns about it."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    clock_of(ra).advance(seconds=1)
    source = store.enrollment(look(ra.database), request_id)
    last = day_of(source.not_after_at)
    clock_of(ra).set(start_of(last) - 30 * DAY)
    await scheduler.notify(ra, day_of(ra.now()))
    clock_of(ra).set(start_of(last) - days * DAY)
    draft = campaigns.Campaign(0, "春", None, None, POLICY_NUMBER, None, 7, ra.now(), "t")
    numbers = [await ra.database.write(lambda db: campaigns.add(db, draft)) for _ in range(2)]
    return source, numbers


def reminding(ra, source, campaign):
    numbers = "SELECT number FROM enrollments WHERE request_id = :request_id"
    (number,) = look(ra.database).one(numbers, {"request_id": source.request_id})
    return lambda db: working.remind(db, ra, {"campaign": campaign}, number)[1]


def letters(ra):
    """About a renewal, without the first one."""
    return [each for each in mail.listed(look(ra.database)) if each["kind"] == "renewal_7"]


@pytest.mark.parametrize("first", ["notice", "reminder"])
async def test_a_reminder_and_the_notice_of_time(ra, first):
    """On the day of the second notice, whichever is the first: there is one letter."""
    source, (campaign, _) = await due(ra, 7)
    works = [
        lambda db: scheduler._notify_some(db, ra, [source], "renewal_7", False),
        reminding(ra, source, campaign),
    ]
    if first == "reminder":
        works.reverse()
    assert set(await crossed(ra.database, *works)) == {1, "needless"}
    assert len(letters(ra)) == 1


async def test_two_reminders_around_midnight(ra):
    """One of yesterday, one of today, of two campaigns: the second is told of the first."""
    source, numbers = await due(ra, 10)
    clock_of(ra).advance(seconds=DAY - 1)
    one, two = (reminding(ra, source, each) for each in numbers)

    def late(db):
        done = one(db)
        clock_of(ra).advance(seconds=1)
        return done

    assert await crossed(ra.database, late, two) == ("mailed", "needless")
    assert len(letters(ra)) == 1


async def test_who_is_reissued_is_not_invited_besides(ra):
    """An issuing CA is trusted no more, and the desk opens a reissue while the job is about to: one request,
    and one password that opens it."""
    await admit(ra)
    await picked_up(ra)
    (old,) = ra.authority.issuers
    ra = next_generation(ra, "CA-G5")
    await generations.change(ra, old, Event.DISTRUST, ra.now(), actor="t", reason="keyCompromise")
    payload = replacing.payload_of(old, replacing.Replaced(["K12345678"]))
    drawn, other = [await draw_issue_password(ra) for _ in range(2)]
    made, invited = await crossed(
        ra.database,
        lambda db: applications.reissue_in(db, ra, "K12345678", "mail_lost", drawn, actor="desk").request_id,
        lambda db: replacing.replace(db, ra, payload, "K12345678", other, "job"),
    )
    assert invited == ""
    found = store.enrollments_of(look(ra.database), "K12345678")
    assert [each.request_id for each in found if each.kind == "reissue"] == [made]


async def test_who_is_told_of_is_not_undone(ra):
    """The 管理者 is being sent the password of somebody whose import is taken back: that is refused."""
    await admit(ra, "KADMIN", role="admin")
    await changes.change_organisation(ra, POLICY_NUMBER, {"issue_password_by": "admin"}, actor="t")
    made = await admit(ra)
    (row,) = look(ra.database).rows("SELECT * FROM mails WHERE kind = 'issue_password_admin'")

    def send(db):
        assert not delivery.stays(db, ra, {**row}, ra.now())
        return mail.begin(db, {**row}, ra.now())["id"]

    with pytest.raises(Refusal) as refused:
        await crossed(
            ra.database,
            send,
            lambda db: undoing.undo_user(db, ra, made.user_id, made.request_id, actor="t"),
        )
    assert (refused.value.code, refused.value.detail) == (
        "conflict", f"a letter about {made.user_id} has left already",
    )  # fmt: skip
