"""Campaigns: every figure is what reading the register gives; reminders go to those who need one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ca.profiles import Audience
from ca.storage import Transaction, inserting
from enroll import campaigns, listings, scheduler, store
from enroll.campaigns import VIEWS, Campaign, Counts, keeping, rollover, working
from enroll.campaigns import store as statements
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.jst import day_of, start_of
from enroll.mail import store as mail_store
from enroll.mail.delivery import deliver_due
from enroll.mail.transport import Outbox
from enroll.operators import asking
from enroll.operators.actors import Actor, By, _built
from enroll.operators.asking import Done, Proposed
from enroll.operators.roles import MOST_LETTERS, Role
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests import renewal
from enroll.requests.enrollment import Enrollment
from tests.datadirs import POLICY_NUMBER, START, clock_of, next_generation, open_office
from tests.enroll.operators.test_asking import acting, acts, office, refused
from tests.enroll.test_flow import picked_up, print_of
from tests.enroll.test_reports import POLICIES, register
from tests.looking import look

DAY = 86_400
NEW = {"name": "春の更新", "first_at": None, "until_at": None, "policy_number": None, "issuer_id": None}


# -- figures ---------------------------------------------------------------------------------------------


def history(db: Transaction, seed: int) -> None:
    """A register that random things have happened to; not only such as our own rules allow."""
    draw = random.Random(seed)

    def moment() -> int:
        # Often at the very second that something else is decided by.
        return START + draw.choice((0, -1, 1, draw.randrange(-60, 60) * DAY))

    def maybe() -> int | None:
        return draw.choice((None, moment()))

    for number in POLICIES:
        row = {"policy_number": number, "name": f"o{number}", "created_at": 1}
        db.execute(
            inserting("organisations", row | {"disabled_at": None}),
            row | {"disabled_at": moment() if number == "3000" else None},
        )
    users = [f"K{n}" for n in range(15)]
    for n, user in enumerate(users):
        row = {"user_id": user, "policy_number": POLICIES[n % 3], "name": user, "mail": "x@example.jp"}
        row |= {"role": "member", "notice_by": "mail", "password_hash": "", "created_at": 1}
        row |= {"name_key": user, "mail_key": "x", "disabled_at": moment() if n % 7 == 0 else None}
        db.execute(inserting("users", row), row)
    for n in range(400):
        serial = f"{n:040x}"
        row = {"request_id": f"{n:016d}", "kind": draw.choice(("addition", "reissue", "protocol"))}
        row |= {"user_id": draw.choice(users), "state": "in_use", "common_name": "c", "profile": "p"}
        row |= {"door": draw.choice(("page", "page", "protocol")), "revoke_old": "never", "created_at": 1}
        row |= {
            "serial": draw.choice((None, serial, serial)),
            "not_after_at": draw.choice((None, *[moment()] * 4)),
        }
        early = START - draw.randrange(10, 40) * DAY
        row |= {"issued_at": draw.choice((None, moment(), early, early, early))}
        row |= {"ended_at": draw.choice((None, None, None, moment()))}
        db.execute(inserting("enrollments", row), row)
        db.execute(
            "INSERT INTO certificates(serial, issuer_id, profile, status, subject_cn, spki_sha256,"
            " not_before_at, not_after_at, reserved_at, template, tbs)"
            " VALUES (:serial, :issuer, 'p', 'reserved', 'c', '', 1, 2, 1, '', :tbs)",
            {"serial": serial, "issuer": draw.choice(("g4", "g5")), "tbs": b""},
        )
        for follower in range(draw.choice((0, 1, 1, 2))):
            renewed = {"request_id": f"{n:015d}r{follower}", "user_id": row["user_id"], "common_name": "c"}
            renewed |= {"kind": "renewal" if not follower else "protocol", "state": "accepted"}
            renewed |= {"profile": "p", "door": "page", "revoke_old": "never", "created_at": 1}
            renewed |= {"replaces_serial": serial}
            times = ("announced_at", "opened_at", "submitted_at", "picked_up_at", "used_at")
            came = draw.randrange(len(times) + 1)
            renewed |= {name: moment() if n < came else maybe() for n, name in enumerate(times)}
            if draw.randrange(3) == 0:
                renewed |= dict.fromkeys(times[draw.randrange(4) :])
            db.execute(inserting("enrollments", renewed), renewed)


def naive(db: Transaction, campaign: Campaign, now: int) -> dict[str, set[int]]:
    """View -> the numbers of the certificates in it, by reading everything and counting nothing."""
    at = now if campaign.ended_at is None else min(now, campaign.ended_at)
    users = {row["user_id"]: row for row in db.rows("SELECT * FROM users")}
    organisations = {row["policy_number"]: row for row in db.rows("SELECT * FROM organisations")}
    issuers = {row["serial"]: row["issuer_id"] for row in db.rows("SELECT * FROM certificates")}
    everything = [{**row} for row in db.rows("SELECT * FROM enrollments")]

    def passed(row: Any, name: str) -> bool:
        return row[name] is not None and row[name] <= at

    found: dict[str, set[int]] = {view: set() for view in VIEWS}
    for row in everything:
        user = users[row["user_id"]]
        if row["door"] != "page" or row["not_after_at"] is None or row["issued_at"] is None:
            continue
        if row["issued_at"] >= campaign.begun_at or row["not_after_at"] < campaign.begun_at:
            continue
        if row["ended_at"] is not None and row["ended_at"] < campaign.begun_at:
            continue
        if campaign.first_at is not None and row["not_after_at"] < campaign.first_at:
            continue
        if campaign.until_at is not None and row["not_after_at"] >= campaign.until_at:
            continue
        if campaign.policy_number not in (None, user["policy_number"]):
            continue
        if campaign.issuer_id is not None and issuers.get(row["serial"]) != campaign.issuer_id:
            continue
        following = [
            each for each in everything if row["serial"] and each["replaces_serial"] == row["serial"]
        ]
        used, got = (any(passed(each, name) for each in following) for name in ("used_at", "picked_up_at"))
        opened = any(passed(each, "opened_at") or passed(each, "submitted_at") for each in following)
        told = any(passed(each, "announced_at") for each in following)
        views = {"due"}
        views |= {"mailed"} if told or opened or got or used else set()
        views |= {"opened"} if opened or got or used else set()
        views |= {"renewed"} if got or used else set()
        views |= {"used"} if used else set()
        if "renewed" not in views:
            stopped = passed(user, "disabled_at") or passed(
                organisations[user["policy_number"]], "disabled_at"
            )
            left = passed(row, "ended_at") or stopped
            views.add("left" if left else "lapsed" if row["not_after_at"] < at else "open")
        for view in views:
            found[view].add(row["number"])
    return found


def _sets(draw: random.Random) -> Iterator[Campaign]:
    for policy_number in (None, "1000", "3000"):
        for issuer_id in (None, "g4"):
            begun = START + draw.choice((0, -20 * DAY, -1))
            first = draw.choice((None, START - 5 * DAY, START + 10 * DAY, START + 1))
            until = draw.choice((None, START + 30 * DAY, START + 1))
            ended = draw.choice((None, START - DAY, START, START + 9 * DAY))
            yield Campaign(1, "x", first, until, policy_number, issuer_id, 7, begun, "by", ended)


@pytest.mark.parametrize("seed", range(5))
def test_every_figure_equals_the_register(tmp_path: Path, seed: int) -> None:
    """O17: over random histories each figure of each organisation is what reading everything gives, and as
    many as its list has; a page of a list begins where the one before it ended; of one that is over nothing
    later counts."""
    draw = random.Random(seed)
    with register(tmp_path) as database:
        database.write_now(lambda db: history(db, seed))
        free = acting_free()
        for wanted in _sets(draw):
            now = START + draw.choice((0, DAY, 15 * DAY))

            def work(db: Transaction, each: Campaign = wanted, at: int = now) -> None:
                expected, found = naive(db, each, at), campaigns.figures(db, free, each, at)
                assert {view: found.total.of(view) for view in VIEWS} == {
                    view: len(numbers) for view, numbers in expected.items()
                }
                for view in VIEWS:
                    rows = campaigns.people(db, free, each, at, view)
                    assert {row["number"] for row in rows} == expected[view], view
                    by_organisation = {
                        one.policy_number: len(campaigns.people(db, free, each, at, view, one.policy_number))
                        for one in found.organisations
                    }
                    told = {one.policy_number: one.counts.of(view) for one in found.organisations}
                    assert told == by_organisation
                assert campaigns.summed(db, free, each, at).total == found.total
                for one in found.organisations:
                    alone = campaigns.summed(db, free, each, at, one.policy_number).total
                    assert alone == one.counts
                pages, after = list[int](), (0, 0)
                while page := campaigns.people(db, free, each, at, "due", after=after, limit=7):
                    pages += [row["number"] for row in page]
                    after = (page[-1]["not_after_at"], page[-1]["number"])
                assert pages == [row["number"] for row in campaigns.people(db, free, each, at, "due")]

            database.read_now(work)


def acting_free() -> Actor:
    """Somebody of every role."""
    return _built("x", "x", By.ACCOUNT, tuple(Role))


def test_the_register_has_something_to_count(tmp_path: Path) -> None:
    """The twin: the histories are not empty, and each view has somebody."""
    with register(tmp_path) as database:
        database.write_now(lambda db: history(db, 0))
        whole = Campaign(1, "x", None, None, None, None, 7, START - 20 * DAY, "by")
        found = database.read_now(lambda db: naive(db, whole, START + DAY))
        assert all(found.values())
        total = database.read_now(lambda db: campaigns.figures(db, acting_free(), whole, START + DAY)).total
        assert total.due == total.renewed + total.open + total.lapsed + total.left
        assert total.due >= total.mailed >= total.opened >= total.renewed >= total.used
        assert total.share is not None
        assert Counts().share is None


@pytest.mark.parametrize("policy_number", [None, "1000"])
def test_no_figure_reads_the_whole_register(tmp_path: Path, policy_number: str | None) -> None:
    """Its certificates are found by an index, and so is what followed each."""
    wanted = Campaign(1, "x", START, START + DAY, policy_number, None, 7, START, "by")
    with register(tmp_path) as database:
        found, values = statements._certificates(wanted, START)
        plan = database.read_now(lambda db: db.rows(f"EXPLAIN QUERY PLAN {found}", values))
    told = [str(row["detail"]) for row in plan]
    assert not [each for each in told if each.startswith("SCAN")], told
    assert any("enrollments_following" in each for each in told), told


# -- a campaign at work ------------------------------------------------------------------------------------


async def held(ra: RegistrationAuthority) -> Enrollment:
    """The enrollment of a certificate in hand."""
    _, request_id = await picked_up(ra)
    clock_of(ra).advance(seconds=1)
    found = store.enrollment(look(ra.database), request_id)
    assert found is not None
    return found


def clock_to(ra: RegistrationAuthority, at: int) -> None:
    clock_of(ra).advance(seconds=at - ra.now())


async def renewable(ra: RegistrationAuthority, source: Enrollment) -> None:
    """Ten days into the renewal period, whose notice was queued as it began."""
    clock_to(ra, (source.not_after_at or 0) - 30 * DAY)
    await scheduler.notify(ra, day_of(ra.now()))
    clock_of(ra).advance(seconds=10 * DAY)


async def begun(ra: RegistrationAuthority, **facts: Any) -> Campaign:
    payload = NEW | {"policy_number": POLICY_NUMBER, "every_days": 7} | facts
    done = await asking.ask(ra, acting(ra, "registrar"), "campaign.begin", payload)
    assert isinstance(done, Done)
    return campaigns.known(look(ra.database), done.result["campaign"])


def total(ra: RegistrationAuthority, campaign: Campaign) -> Counts:
    again = campaigns.known(look(ra.database), campaign.number)
    return campaigns.figures(look(ra.database), acting(ra, "auditor"), again, ra.now()).total


def letters(ra: RegistrationAuthority) -> list[Any]:
    return [each for each in mail_store.listed(look(ra.database), None, 100) if each["kind"] == "renewal_7"]


def due(ra: RegistrationAuthority, campaign: Campaign) -> working.Remindable:
    return working.remindable(look(ra.database), ra, campaign)


async def remind(ra: RegistrationAuthority, campaign: Campaign, by: str = "registrar") -> dict[str, int]:
    payload = {"campaign": campaign.number, "numbers": list(due(ra, campaign).numbers)}
    done = await asking.ask(ra, acting(ra, by), "campaign.remind", payload)
    assert isinstance(done, Done)
    await running.run(ra, done.result["job"], "r")
    return jobs.counted(look(ra.database), done.result["job"])


async def test_a_certificate_goes_its_way(tmp_path: Path) -> None:
    """Due when the campaign begins, mailed once the letter was taken, opened when its page was seen, renewed
    when it was fetched, used with the first login: each from what is recorded anyway."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        await renewable(ra, source)
        campaign = await begun(ra)
        assert total(ra, campaign) == Counts(due=1, open=1)
        assert await remind(ra, campaign) == {"mailed": 1}
        assert total(ra, campaign).mailed == 0
        await deliver_due(ra, Outbox(ra.database.folder / "outbox"))
        assert total(ra, campaign) == Counts(due=1, mailed=1, open=1)
        fingerprint = print_of(ra, source.request_id)
        await renewal.look(ra, fingerprint)
        seen = store.renewal_of(look(ra.database), source.serial or "")
        assert seen is not None
        assert seen.opened_at == ra.now()
        clock_of(ra).advance(seconds=60)
        await renewal.look(ra, fingerprint)
        again = store.renewal_of(look(ra.database), source.serial or "")
        assert again is not None
        assert again.opened_at == seen.opened_at
        assert total(ra, campaign) == Counts(due=1, mailed=1, opened=1, open=1)
        for name, expected in (
            ("picked_up_at", Counts(1, 1, 1, 1)),
            ("used_at", Counts(1, 1, 1, 1, 1)),
        ):
            changed = replace(again, **{name: ra.now()})
            await ra.database.write(lambda db, c=changed, a=again: store.change_enrollment(db, a, c))  # type: ignore[misc]
            again = changed
            assert total(ra, campaign) == expected


async def test_nobody_is_reminded_twice_within_the_days(tmp_path: Path) -> None:
    """One letter for each seven days, whichever campaign; then another one. Who has renewed gets none."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        await renewable(ra, source)
        campaign, other = await begun(ra), await begun(ra, name="もう一つ")
        assert await remind(ra, campaign) == {"mailed": 1}
        assert due(ra, other) == working.Remindable((), told=1)
        # Proposed before, done after: each row is looked at again.
        number = int(look(ra.database).rows("SELECT number FROM enrollments WHERE serial IS NOT NULL")[0][0])
        late = {"campaign": other.number, "numbers": [number]}
        done = await asking.ask(ra, acting(ra, "registrar"), "campaign.remind", late)
        assert isinstance(done, Done)
        await running.run(ra, done.result["job"], "r")
        assert jobs.counted(look(ra.database), done.result["job"]) == {"needless": 1}
        clock_of(ra).advance(seconds=7 * DAY - 1)
        assert due(ra, campaign).told == 1
        clock_of(ra).advance(seconds=1)
        assert await remind(ra, campaign) == {"mailed": 1}
        assert len(letters(ra)) == 2


async def test_where_time_brings_a_letter_nobody_is_reminded(tmp_path: Path) -> None:
    """A notice that is due and not queued yet says the same; once it is, it counts as any letter does."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        clock_to(ra, (source.not_after_at or 0) - 30 * DAY)
        campaign = await begun(ra)
        assert due(ra, campaign) == working.Remindable((), told=1)
        await scheduler.notify(ra, day_of(ra.now()))
        assert due(ra, campaign) == working.Remindable((), told=1)
        clock_of(ra).advance(seconds=7 * DAY)
        assert len(due(ra, campaign).numbers) == 1
        clock_to(ra, (source.not_after_at or 0) - 7 * DAY)
        assert due(ra, campaign) == working.Remindable((), told=1)
        await scheduler.notify(ra, day_of(ra.now()))
        clock_of(ra).advance(seconds=7 * DAY - 1)
        assert due(ra, campaign) == working.Remindable((), told=1)
        clock_of(ra).advance(seconds=1)
        assert len(due(ra, campaign).numbers) == 1


async def test_a_reminder_that_waits_until_the_notice_comes(tmp_path: Path) -> None:
    """In an evening it would leave in the morning with the second notice, which says the same: one does."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        await renewable(ra, source)
        campaign = await begun(ra)
        seventh = start_of(day_of(source.not_after_at or 0)) - 7 * DAY
        clock_to(ra, seventh - 3_600)
        assert await remind(ra, campaign) == {"mailed": 1}
        await deliver_due(ra, Outbox(ra.database.folder / "outbox"))
        clock_to(ra, seventh)
        await scheduler.notify(ra, day_of(ra.now()))
        assert [each["state"] for each in letters(ra)] == ["queued", "queued"]
        clock_to(ra, seventh + DAY // 2)
        await deliver_due(ra, Outbox(ra.database.folder / "outbox"))
        notice, reminder = letters(ra)
        assert (notice["state"], reminder["state"]) == ("sent", "cancelled")
        assert reminder["result"] == "the second notice has taken its place"


async def test_who_gets_no_reminder(tmp_path: Path) -> None:
    """Before the renewal period there is nothing to do; an address that sends letters back gets no more, and
    the job's row says which to mend."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        clock_to(ra, (source.not_after_at or 0) - 40 * DAY)
        campaign = await begun(ra)
        assert due(ra, campaign) == working.Remindable((), early=1)
        nobody = {"campaign": campaign.number, "numbers": []}
        problem = await refused(asking.ask(ra, acting(ra, "registrar"), "campaign.remind", nobody))
        assert (problem.code, problem.field) == ("conflict", "numbers")
        await renewable(ra, source)
        payload = {"campaign": campaign.number, "numbers": list(due(ra, campaign).numbers)}
        assert await remind(ra, campaign) == {"mailed": 1}
        await deliver_due(ra, Outbox(ra.database.folder / "outbox"))
        (letter,) = letters(ra)
        await ra.database.write(
            lambda db: mail_store.mark_bounced(db, letter["id"], ra.now(), "no such mailbox")
        )
        clock_of(ra).advance(seconds=8 * DAY)
        assert due(ra, campaign) == working.Remindable((), bounced=1)
        done = await asking.ask(ra, acting(ra, "registrar"), "campaign.remind", payload)
        assert isinstance(done, Done)
        await running.run(ra, done.result["job"], "r")
        (line,) = jobs.lines(look(ra.database), done.result["job"])
        assert (line.result, line.code, line.field) == ("refused", "conflict", "mail")
        assert "sekisho user change K12345678 --mail ADDRESS" in line.detail


async def test_many_letters_take_two(tmp_path: Path) -> None:
    """A registrar sends so many within a day alone; what exceeds that is a proposal that an approver decides,
    and one that was made for a campaign which has ended since is void."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        await renewable(ra, source)
        campaign = await begun(ra)
        (number,) = due(ra, campaign).numbers
        registrar = acting(ra, "registrar")
        many = {"campaign": campaign.number, "numbers": [number] * (MOST_LETTERS + 1)}
        found = await asking.ask(ra, registrar, "campaign.remind", many)
        assert isinstance(found, Proposed)
        assert (found.kind, found.subject) == (
            "campaign.remind.many", f"campaign {campaign.number}: {MOST_LETTERS + 1} letters",
        )  # fmt: skip
        few = {"campaign": campaign.number, "numbers": [number] * MOST_LETTERS}
        assert isinstance(await asking.ask(ra, registrar, "campaign.remind", few), Done)
        assert isinstance(
            await asking.ask(ra, registrar, "campaign.remind", many | {"numbers": [number]}), Proposed
        )
        assert (await refused(asking.approve(ra, acting(ra, "desk"), found.number))).code == "not_permitted"
        ended = await asking.ask(ra, registrar, "campaign.end", {"campaign": campaign.number})
        assert isinstance(ended, Done)
        problem = await refused(asking.approve(ra, acting(ra, "approver"), found.number))
        assert "void" in problem.detail
        problem = await refused(asking.ask(ra, registrar, "campaign.end", {"campaign": campaign.number}))
        assert problem.detail == f"campaign {campaign.number} is over; begin another: sekisho campaign add"
        told = [each for each in acts(ra, str(campaign.number)) if each.startswith("campaign.")]
        assert told == ["campaign.ended", "campaign.reminded", "campaign.begun"]


async def test_what_is_over_stays_as_it_was(tmp_path: Path) -> None:
    """The figures of a campaign are those of its end, whatever happens later."""
    async with office(tmp_path) as ra:
        source = await held(ra)
        await renewable(ra, source)
        campaign = await begun(ra)
        await asking.ask(ra, acting(ra, "registrar"), "campaign.end", {"campaign": campaign.number})
        clock_of(ra).advance(seconds=60)
        await renewal.look(ra, print_of(ra, source.request_id))
        assert total(ra, campaign) == Counts(due=1, open=1)
        clock_of(ra).advance(seconds=40 * DAY)
        assert total(ra, campaign) == Counts(due=1, open=1)


@pytest.mark.parametrize(
    ("facts", "code", "field"),
    [
        ({"policy_number": None}, "invalid_input", "set"),
        ({"name": " "}, "invalid_input", "name"),
        ({"name": "a\u0007"}, "invalid_input", "name"),
        ({"until_at": START - DAY}, "invalid_input", "until_at"),
        ({"first_at": START + 9 * DAY, "until_at": START + 8 * DAY}, "invalid_input", "until_at"),
        ({"every_days": 0}, "invalid_input", "every_days"),
        ({"every_days": 91}, "invalid_input", "every_days"),
        ({"policy_number": "99999999"}, "not_found", "policy_number"),
        ({"issuer_id": "none"}, "not_found", "issuer_id"),
    ],
)
async def test_campaigns_that_are_none(tmp_path: Path, facts: dict[str, Any], code: str, field: str) -> None:
    """Of nothing in particular, turned round, or of what is not there: refused with the field."""
    async with office(tmp_path) as ra:
        with pytest.raises(Refusal) as caught:
            await begun(ra, **facts)
        assert (caught.value.code, caught.value.field) == (code, field)
        assert campaigns.listed(look(ra.database), acting(ra, "desk")) == []


async def test_who_may(tmp_path: Path) -> None:
    """A CA officer sees sums and no person; the desk begins and reminds nothing."""
    async with office(tmp_path) as ra:
        campaign = await begun(ra)
        db, officer = look(ra.database), acting(ra, "caofficer")
        assert campaigns.figures(db, officer, campaign, ra.now()).organisations == ()
        with pytest.raises(Refusal) as caught:
            campaigns.people(db, officer, campaign, ra.now(), "due")
        assert caught.value.code == "not_permitted"
        payload = NEW | {"policy_number": POLICY_NUMBER, "every_days": 7}
        for name in ("desk", "approver", "caofficer", "auditor"):
            problem = await refused(asking.ask(ra, acting(ra, name), "campaign.begin", payload))
            assert problem.code == "not_permitted"


# -- generations -------------------------------------------------------------------------------------------


def mixed(db: Transaction, issuers: list[str], seed: int) -> None:
    """Certificates of several issuing CAs in all states, of people and programs."""
    draw = random.Random(seed)
    for n in range(12):
        row = {"user_id": f"K{n}", "policy_number": draw.choice(("1000", "2000")), "name": "x", "mail": "x@y"}
        row |= {"role": "member", "notice_by": "mail", "password_hash": "", "created_at": 1}
        row |= {"name_key": "x", "mail_key": "x"}
        if n == 0:
            for number in ("1000", "2000"):
                organisation = {"policy_number": number, "name": f"o{number}", "created_at": 1}
                db.execute(inserting("organisations", organisation), organisation)
        db.execute(inserting("users", row), row)
    for n in range(120):
        end = START + draw.choice((-1, 0, 1, draw.randrange(-40, 900) * DAY))
        status = draw.choice(("issued", "issued", "issued", "held", "revoked"))
        made: dict[str, Any] = {"serial": f"{n:040x}", "issuer_id": draw.choice(issuers), "profile": "p"}
        made |= {"status": status, "subject_cn": "c", "spki_sha256": "", "not_before_at": 1}
        made |= {"not_after_at": end, "reserved_at": 1, "template": "", "der": b"", "fingerprint": f"f{n}"}
        made |= {"held_at": 1 if status == "held" else None, "revoked_at": 1 if status == "revoked" else None}
        made |= {"revocation_reason": 1 if status == "revoked" else None}
        made |= {"change_number": None if status == "issued" else n + 1}
        states = ("issued", "picked_up", "in_use", "in_use")
        row = {"request_id": f"{n:016d}", "kind": "addition", "user_id": f"K{draw.randrange(12)}"}
        row |= {"state": "revoked" if status == "revoked" else draw.choice(states), "common_name": "c"}
        row |= {"profile": "p", "door": draw.choice(("page", "page", "protocol")), "revoke_old": "never"}
        row |= {"created_at": 1, "serial": made["serial"], "not_after_at": end}
        db.execute(inserting("enrollments", row), row)
        made |= {"holder": row["user_id"], "door": row["door"]}
        db.execute(inserting("certificates", made), made)


@pytest.mark.parametrize("seed", range(4))
async def test_the_board_equals_the_register(tmp_path: Path, seed: int) -> None:
    """What is left of each generation, by organisation and by month, and whom its end would hurt, is what the
    list of its holders says."""
    async with open_office(tmp_path) as opened:
        ra = next_generation(opened, "CA-G5", active=False)
        issuers = [each.issuer_id for each in ra.authority.of(Audience.CLIENTS)]
        assert len(issuers) == 2
        await ra.database.write(lambda db: mixed(db, issuers, seed))
        found = await ra.database.read(lambda db: rollover.board(db, ra, acting_free()))
        assert [each.issuer.issuer_id for each in found] == issuers
        assert sum(each.hurt for each in found) > 0
        for left in found:
            rows = list(listings.holders(ra.database, left.issuer.issuer_id, ra.now()))
            assert left.certificates == len(rows) > 0
            for one in left.organisations:
                mine = [row for row in rows if row["policy_number"] == one.policy_number]
                everybody = {(row["user_id"], row["door"]) for row in mine}
                followed = {(row["user_id"], row["door"]) for row in mine if row["followed"]}
                assert one.certificates == len(mine)
                assert (one.holders, one.hurt) == (len(everybody), len(everybody - followed))
                assert one.last_at == max(row["not_after_at"] for row in mine)
            months = Counter(day_of(row["not_after_at"]).replace(day=1) for row in rows)
            assert {month: count for month, count in left.months if count} == months
            assert [month for month, _ in left.months] == sorted({month for month, _ in left.months})
            assert left.last_at == max(row["not_after_at"] for row in rows)


# -- what is counted beforehand ------------------------------------------------------------------------------


async def counted_office(ra: RegistrationAuthority) -> Campaign:
    """Somebody with a certificate, and a campaign over a register that random things have happened to."""
    await held(ra)
    await ra.database.write(lambda db: history(db, 0))
    made = Campaign(0, "x", None, START + 9 * DAY, None, None, 7, START - 20 * DAY, "by")
    number = await ra.database.write(lambda db: statements.add(db, made))
    return campaigns.known(look(ra.database), number)


async def test_what_was_counted_is_the_register_at_its_moment(tmp_path: Path) -> None:
    """A page says what there was when it was counted, and when that was; after some minutes it is counted
    again; and where nobody does that any more, by whoever asks."""
    async with office(tmp_path) as ra:
        campaign, free, counter = await counted_office(ra), acting_free(), keeping.Counter(many=0)
        name = f"campaign {campaign.number}"
        assert await counter.look(ra) == [name, "generations"]
        db, then = look(ra.database), ra.now()
        before, left = campaigns.figures(db, free, campaign, then), rollover.count(db, ra)
        assert all((before.total.open, before.total.used, left.certificates))
        assert await counter.look(ra) == []

        await ra.database.write(lambda db: db.execute("UPDATE users SET disabled_at = 1"))
        await ra.database.write(lambda db: db.execute("UPDATE certificates SET holder = ''"))
        clock_of(ra).advance(seconds=keeping.EVERY - 1)
        assert await counter.look(ra) == []
        db, now = look(ra.database), ra.now()
        assert campaigns.figures(db, free, campaign, now).total.open == 0
        assert keeping.figures(db, free, campaign, now) == before
        assert keeping.total(db, free, campaign, now) == campaigns.Total(campaign, then, before.total)
        assert keeping.generations(db, ra, free) == left

        clock_of(ra).advance(seconds=1)
        assert await counter.look(ra) == [name, "generations"]
        db, now = look(ra.database), ra.now()
        assert keeping.figures(db, free, campaign, now) == campaigns.figures(db, free, campaign, now)
        assert keeping.generations(db, ra, free) == rollover.count(db, ra) != left

        await ra.database.write(lambda db: db.execute("UPDATE users SET disabled_at = NULL"))
        clock_of(ra).advance(seconds=keeping.LATE * keeping.EVERY + 1)
        db, now = look(ra.database), ra.now()
        for found in (keeping.figures(db, free, campaign, now), keeping.total(db, free, campaign, now)):
            assert (found.at, found.total) == (now, campaigns.figures(db, free, campaign, now).total)
        assert keeping.generations(db, ra, free).at == now


async def test_what_is_over_is_counted_at_its_end(tmp_path: Path) -> None:
    """What was counted before its end is not shown for it; what was after is good for days."""
    async with office(tmp_path) as ra:
        campaign, free, counter = await counted_office(ra), acting_free(), keeping.Counter(many=0)
        name = f"campaign {campaign.number}"
        await counter.look(ra)
        await ra.database.write(lambda db: db.execute("UPDATE users SET disabled_at = 1"))
        clock_of(ra).advance(seconds=60)
        await ra.database.write(lambda db: statements.end(db, campaign.number, ra.now(), "by"))
        over = campaigns.known(look(ra.database), campaign.number)
        found = keeping.figures(look(ra.database), free, over, ra.now())
        assert (found.total.open, found.at) == (0, over.ended_at)
        clock_of(ra).advance(seconds=1)
        assert await counter.look(ra) == [name]
        await ra.database.write(lambda db: db.execute("UPDATE users SET disabled_at = NULL"))
        clock_of(ra).advance(seconds=keeping.EVERY_OVER - 1)
        assert await counter.look(ra) == ["generations"]
        assert keeping.figures(look(ra.database), free, over, ra.now()) == found
        clock_of(ra).advance(seconds=1)
        assert await counter.look(ra) == [name]
        assert keeping.figures(look(ra.database), free, over, ra.now()).total.open


async def test_what_is_soon_counted_is_not_kept(tmp_path: Path) -> None:
    """The twin: with few certificates every page counts for itself, also after they were many."""
    async with office(tmp_path) as ra:
        campaign, free = await counted_office(ra), acting_free()
        await keeping.Counter(many=0).look(ra)
        clock_of(ra).advance(seconds=keeping.EVERY)
        await keeping.Counter().look(ra)
        db = look(ra.database)
        assert statements.kept_sums(db) == {}
        clock_of(ra).advance(seconds=1)
        assert keeping.figures(db, free, campaign, ra.now()).at == ra.now()
        assert keeping.generations(db, ra, free).at == ra.now()


async def test_who_may_not_see_campaigns_sees_no_count(tmp_path: Path) -> None:
    """Kept or not: what was counted is shown to whom the table of roles lets see it."""
    async with office(tmp_path) as ra:
        campaign, nobody = await counted_office(ra), _built("x", "x", By.ACCOUNT, ())
        await keeping.Counter(many=0).look(ra)
        db = look(ra.database)
        for asked in (
            lambda: keeping.figures(db, nobody, campaign, ra.now()),
            lambda: keeping.total(db, nobody, campaign, ra.now()),
            lambda: keeping.total(db, nobody, campaign, ra.now(), "1000"),
            lambda: keeping.generations(db, ra, nobody),
        ):
            with pytest.raises(Refusal) as refusal:
                asked()
            assert refusal.value.code == "not_permitted"
