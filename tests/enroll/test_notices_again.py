"""Renewal notices that never left are queued again once the fault is mended, exactly once each."""

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enroll import noticing, scheduler, store
from enroll.jst import day_of
from enroll.mail import store as mail_store
from enroll.mail import writing
from enroll.mail.delivery import deliver_due
from enroll.mail.smtp import Smtp
from enroll.mail.states import Pace
from enroll.mail.transport import Outbox, Refused
from enroll.operators import actors, letters
from enroll.people import changes, register
from enroll.requests import issuance
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered, open_office
from tests.engines import IN_A_FILE
from tests.enroll.test_flow import picked_up
from tests.looking import look
from tests.mailserver import MailServer

USER, ADDRESS = "K12345678", "k12345678@example.jp"


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


def smtp(ra, server):
    outbox = Outbox(ra.database.folder / "outbox")
    return Smtp("127.0.0.1", server.port, "", "", "none", 5.0, outbox)


async def due_in(ra, days):
    """Somebody whose certificate ends in so many days; every other letter has left. It is noon in Japan."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    enrollment = store.enrollment(look(ra.database), request_id)
    clock_of(ra).set(enrollment.not_after_at - days * 86_400)
    noon = clock_of(ra).seconds() - (clock_of(ra).seconds() + 9 * 3_600) % 86_400 + 12 * 3_600
    clock_of(ra).set(noon)
    return enrollment


async def notify(ra, **how):
    return await scheduler.notify(ra, day_of(ra.now()), **how)


def letter(ra, kind):
    return next(row for row in mail_store.listed(look(ra.database)) if row["kind"] == kind)


NOTHING, THIRTY, SEVEN = (scheduler.Noticed(*counts) for counts in ((0, 0), (1, 0), (0, 1)))


async def test_a_notice_refused_for_good_waits_for_another_address(ra):
    """The same address is not tried every half minute; with another one the notice is queued, once."""
    await due_in(ra, 30)
    async with MailServer(by_recipient={ADDRESS: "550 5.1.1 user unknown"}).listening() as server:
        transport = smtp(ra, server)
        assert await notify(ra) == THIRTY
        assert await deliver_due(ra, transport) == 0
        assert (letter(ra, "renewal_30")["state"], await notify(ra)) == ("failed", NOTHING)
        await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="desk")
        assert [await notify(ra), await notify(ra)] == [THIRTY, NOTHING]
        assert await deliver_due(ra, transport) == 1
        assert [await notify(ra), await notify(ra, again=True)] == [NOTHING, NOTHING]
    assert server.recipients == ["right@example.jp"]


async def test_notify_run_queues_again_what_failed(ra):
    """An operator's `notify run`: what never left is queued again, also to the same address, once."""
    await due_in(ra, 30)
    async with MailServer({"RCPT": ["550 5.1.1 user unknown"]}).listening() as server:
        transport = smtp(ra, server)
        await notify(ra)
        await deliver_due(ra, transport)
        assert [await notify(ra, again=True), await notify(ra, again=True)] == [THIRTY, NOTHING]
        assert await deliver_due(ra, transport) == 1
        assert await notify(ra, again=True) == NOTHING
    assert server.recipients == [ADDRESS]


async def test_retry_sends_a_notice_to_the_address_that_was_put_right(ra):
    """Be it by `notify` or by `mail retry --all`: what is queued again goes where the user is now."""
    await due_in(ra, 30)
    async with MailServer({"RCPT": ["550 5.1.1 user unknown"]}).listening() as server:
        await notify(ra)
        await deliver_due(ra, smtp(ra, server))
        await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="desk")
        assert await ra.database.write(lambda db: mail_store.retry_failed(db, ra.now())) == 1
        assert (await notify(ra), await deliver_due(ra, smtp(ra, server))) == (NOTHING, 1)
    assert server.recipients == ["right@example.jp"]


async def waited(ra, server):
    """The mail server was away, and has refused it once."""
    async with MailServer({"greeting": "421 4.3.2 later"}).listening() as away:
        assert await deliver_due(ra, smtp(ra, away)) == 0


async def retried(ra, server):
    """It was refused for good, and an operator has it tried once more."""
    async with MailServer({"RCPT": ["550 5.1.1 user unknown"]}).listening() as refusing:
        assert await deliver_due(ra, smtp(ra, refusing)) == 0


async def sent(ra, server):
    """It has left, and is to be sent once more."""
    assert await deliver_due(ra, smtp(ra, server)) == 1


@pytest.mark.parametrize("before", [waited, retried, sent])
@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_notice_says_how_many_days_are_left_when_it_leaves(ra, before, language):
    """R15: by whichever way it leaves on a later day, it does not say those of the first; the same day it
    says the same. What operators see of it is what was sent."""
    words = {"ja": "あと{}日", "en": "{} days left"}[language]
    await due_in(ra, 30)
    await changes.change_user(ra, USER, {"language": language}, actor="desk")
    async with MailServer().listening() as server:
        await notify(ra)
        first = mail_store.shown(look(ra.database), letter(ra, "renewal_30")["id"])
        assert words.format(30) in first["shown_body"]
        await before(ra, server)
        assert mail_store.shown(look(ra.database), first["id"])["shown_body"] == first["shown_body"]
        clock_of(ra).advance(days=4)
        if before is not waited:
            host = actors.of_account(look(ra.database), "root", ra.now(), host=True)
            await letters.send_again(ra, host, first["id"])
        assert await deliver_due(ra, smtp(ra, server)) == 1
        said = server.accepted[-1].get_content()
        assert words.format(26) in said
        assert words.format(30) not in said
        newest = letter(ra, "renewal_30")["id"]
        assert words.format(26) in mail_store.shown(look(ra.database), newest)["shown_body"]
        if before is sent:
            assert mail_store.shown(look(ra.database), first["id"])["shown_body"] == first["shown_body"]


async def test_what_waits_or_has_left_is_not_queued_again(ra):
    """The statement itself: only what failed or was cancelled, and never left, is queued once more."""
    await due_in(ra, 30)
    await notify(ra)
    number = letter(ra, "renewal_30")["id"]

    def again(db):
        row = db.one("SELECT cause FROM mails WHERE id = :id", {"id": number})
        same = writing.Letter(row[0], "renewal_30", "mail", USER, None, ADDRESS, "件名", "本文", "本文")
        return writing.queue(db, ra.epochs, same, ra.now(), pace=Pace.NOTICE, again=True)

    assert not await ra.database.write(again)
    await delivered(ra)
    assert not await ra.database.write(again)
    await ra.database.write(lambda db: mail_store.mark_bounced(db, number, ra.now(), "gone"))
    assert not await ra.database.write(again)


async def test_ten_that_queue_it_again_at_once_queue_it_once(ra):
    """A race of `notify run` with the server's own: compare-and-set on the letter's state."""
    await due_in(ra, 30)
    async with MailServer({"RCPT": ["550 5.1.1 user unknown"]}).listening() as server:
        await notify(ra)
        await deliver_due(ra, smtp(ra, server))
        runs = [notify(ra, again=True) for _ in range(9)]
        runs.append(ra.database.write(lambda db: mail_store.retry_failed(db, ra.now())))
        found = await asyncio.gather(*runs)
        assert sum(run == THIRTY for run in found[:9]) + found[9] == 1
        await asyncio.gather(*(deliver_due(ra, smtp(ra, server)) for _ in range(5)))
    assert server.recipients == [ADDRESS]


async def test_a_notice_that_was_held_leaves_once_the_server_is_mended(ra):
    """Its day went by while the server refused us: nothing failed, and it leaves late, once."""
    await due_in(ra, 30)
    async with MailServer({"MAIL": "550 5.4.5 daily quota exceeded"}).listening() as server:
        transport = smtp(ra, server)
        for _ in range(5):
            await notify(ra)
            assert await deliver_due(ra, transport) == 0
            clock_of(ra).advance(days=1)
        server.answers.clear()
        assert await deliver_due(ra, transport) == 1
        assert (await notify(ra), await deliver_due(ra, transport)) == (NOTHING, 0)
    assert [message["Subject"] for message in server.accepted] == [letter(ra, "renewal_30")["subject"]]


async def test_after_a_long_outage_only_the_second_notice_leaves(ra):
    """R15: held until D-7, the first one is not sent any more; the second takes its place."""
    await due_in(ra, 30)
    await notify(ra)
    clock_of(ra).advance(days=24)
    await notify(ra)
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == 1
    first = letter(ra, "renewal_30")
    assert (first["state"], first["result"]) == ("cancelled", "the second notice has taken its place")
    assert letter(ra, "renewal_7")["state"] == "sent"
    assert await notify(ra) == NOTHING


async def test_who_has_renewed_meanwhile_gets_no_notice(ra):
    """Held while somebody renewed by themselves, a notice would ask for what is done (D6)."""
    enrollment = await due_in(ra, 30)
    await notify(ra)
    renewal = store.renewal_of(look(ra.database), enrollment.serial)
    await issuance.submit(ra, renewal.request_id, actor="test")
    await issuance.complete(ra, renewal.request_id)
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == 0
    assert letter(ra, "renewal_30")["result"] == "there is nothing to renew any more"
    assert [await notify(ra), await notify(ra, again=True)] == [NOTHING, NOTHING]


@pytest.mark.parametrize("issued", [False, True], ids=["submitted", "issued"])
async def test_who_began_to_renew_and_fetched_nothing_is_reminded(ra, issued):
    """R15: pressing Submit and leaving is no renewal. The second notice comes, once, and leaves; who has
    fetched the certificate gets none (D6)."""
    enrollment = await due_in(ra, 20)
    assert await notify(ra) == THIRTY
    renewal = store.renewal_of(look(ra.database), enrollment.serial)
    await issuance.submit(ra, renewal.request_id, actor="test")
    if issued:
        await issuance.complete(ra, renewal.request_id)
    await delivered(ra)
    clock_of(ra).advance(days=13)
    assert [await notify(ra), await notify(ra)] == [SEVEN, NOTHING]
    told = [each for each in await delivered(ra) if each.name.endswith("renewal_7.eml")]
    assert [each.value("リクエストID") for each in told] == [renewal.request_id]


async def test_who_has_fetched_the_renewed_certificate_is_not_reminded(ra):
    """D6: from the download on there is nothing left to say, also while the notice waits to leave."""
    enrollment = await due_in(ra, 7)
    assert await notify(ra) == SEVEN
    renewal = store.renewal_of(look(ra.database), enrollment.serial)
    await issuance.submit(ra, renewal.request_id, actor="test")
    await issuance.complete(ra, renewal.request_id)
    token = await issuance.prepare_download(ra, renewal.request_id, "abc", "standard", actor="test")
    await issuance.download(ra, token, renewal.request_id, actor="test")
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == 0
    assert letter(ra, "renewal_7")["result"] == "there is nothing to renew any more"
    assert [await notify(ra), await notify(ra, again=True)] == [NOTHING, NOTHING]


async def test_notices_of_a_disabled_organisation_leave_when_it_is_enabled(ra):
    """E6: nothing while it is disabled; then the notice that is due, once, be it queued before or not."""
    await due_in(ra, 30)
    await notify(ra)
    await changes.disable_organisation(ra, POLICY_NUMBER, actor="desk")
    async with MailServer().listening() as server:
        transport = smtp(ra, server)
        assert (await deliver_due(ra, transport), await notify(ra)) == (0, NOTHING)
        clock_of(ra).advance(days=1)
        assert await deliver_due(ra, transport) == 0
        await changes.enable_organisation(ra, POLICY_NUMBER, actor="desk")
        assert (await notify(ra), await deliver_due(ra, transport)) == (NOTHING, 1)


@IN_A_FILE  # a server's commits are noticed a moment later
async def test_who_is_disabled_for_good_costs_no_transaction(ra):
    """A notice that was cancelled is looked at every half minute, and nothing is written for it."""
    await due_in(ra, 30)
    await notify(ra)
    await register.disable_user(ra, USER, actor="desk")
    assert await delivered(ra) is not None
    before = ra.database.changed()
    assert [await notify(ra), await notify(ra, again=True)] == [NOTHING, NOTHING]
    assert ra.database.changed() == before


async def test_notices_wait_while_the_clock_is_in_doubt(ra):
    """A clock that leapt by nine days warns nobody; what somebody waits for leaves all the same."""
    await due_in(ra, 30)
    await scheduler.tick(ra)
    await changes.reset_password(ra, USER, actor="desk")
    clock_of(ra).leap(days=9)
    async with MailServer().listening() as server:
        assert await deliver_due(ra, smtp(ra, server)) == 1
        assert letter(ra, "password_reset")["state"] == "sent"
        clock_of(ra).leap(days=-9)
        assert await deliver_due(ra, smtp(ra, server)) == 1


# -- whatever happens, each notice leaves once ---------------------------------------------------------------


class Moody:
    """A server in a mood of the test's. What it takes, it counts."""

    connections, letters_per_connection, per_minute, alive = 1, 100, 0, True

    def __init__(self):
        self.mood, self.taken = "good", Counter()

    async def open(self, channel):
        if self.mood == "login":
            raise Refused("AUTH", "credentials wrong", 535)
        return self

    async def send(self, message, queued, return_path, handing_over):
        refused = {
            "sender": ("MAIL", "sender not owned", 553),
            "unknown": ("RCPT", "5.1.1 user unknown", 550),
            "grey": ("RCPT", "4.7.1 greylisted", 450),
            "size": ("DATA", "message size", 552),
        }.get(self.mood)
        if refused:
            raise Refused(*refused)
        self.taken[queued.kind] += 1
        return "250 taken"

    async def close(self):
        pass


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["login", "sender", "unknown", "grey", "size", "good"]).map(
            lambda mood: ("mood", mood)
        ),
        st.sampled_from([60, 3_600, 86_400, 7 * 86_400]).map(lambda seconds: ("wait", seconds)),
        st.sampled_from(["notify", "again", "retry", "retry_failed", "deliver", "disable", "enable"]).map(
            lambda word: (word, None)
        ),
    ),
    max_size=25,
)


@pytest.mark.slow
@given(steps=STEPS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_each_notice_leaves_exactly_once(tmp_path_factory, steps):
    """Whatever refused, waited, was disabled or retried: no notice leaves twice, and when all is mended the
    one that is due has left."""
    asyncio.run(_lived_through(tmp_path_factory.mktemp("ra"), steps))


async def _lived_through(path, steps):
    async with open_office(path) as ra:
        enrollment = await due_in(ra, 30)
        server = Moody()
        for word, value in steps:
            await _step(ra, server, word, value)
            assert max(server.taken.values(), default=0) <= 1
        server.mood = "good"
        if store.organisation(look(ra.database), POLICY_NUMBER).disabled_at is not None:
            await changes.enable_organisation(ra, POLICY_NUMBER, actor="desk")
        await scheduler.close_overdue(ra)
        await notify(ra, again=True)
        await ra.database.write(lambda db: mail_store.retry(db, ra.now()))
        await asyncio.gather(*(deliver_due(ra, server) for _ in range(3)))
        due = noticing.due_notice(enrollment, day_of(ra.now()), ra.settings)
        if due is not None and ra.now() <= enrollment.not_after_at:
            assert server.taken[due] == 1
        assert max(server.taken.values(), default=0) <= 1


async def _step(ra, server, word, value):
    if word == "mood":
        server.mood = value
    elif word == "wait":
        clock_of(ra).advance(seconds=value)
        await scheduler.tick(ra)
    elif word in ("notify", "again"):
        await notify(ra, again=word == "again")
    elif word == "retry":
        await ra.database.write(lambda db: mail_store.retry(db, ra.now()))
    elif word == "retry_failed":
        await ra.database.write(lambda db: mail_store.retry_failed(db, ra.now()))
    elif word == "deliver":
        await asyncio.gather(deliver_due(ra, server), deliver_due(ra, server))
    else:
        disabled = store.organisation(look(ra.database), POLICY_NUMBER).disabled_at is not None
        if word == "disable" and not disabled:
            await changes.disable_organisation(ra, POLICY_NUMBER, actor="desk")
        elif word == "enable" and disabled:
            await changes.enable_organisation(ra, POLICY_NUMBER, actor="desk")
