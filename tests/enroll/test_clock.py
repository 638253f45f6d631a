"""A clock that is wrong for a while does nothing that cannot be undone."""

from dataclasses import replace

import pytest

import ca.store
from enroll import crls, scheduler, store, timekeeping
from enroll.acme import credentials
from enroll.mail import store as mail_store
from enroll.people import register
from enroll.refusals import Refusal
from enroll.requests import issuance, pickup, renewal
from enroll.requests.enrollment import SUPERSEDED
from enroll.requests.states import CAUSES, LABELS, Event, State
from enroll.requests.transitions import apply, end_certificate
from gateway.running.lists import Publisher, begin
from tests.datadirs import admit, clock_of, delivered, letter_of, open_office
from tests.enroll.acme.acme_world import FQDN, csr, world
from tests.enroll.test_flow import FLOW, first_login, picked_up
from tests.looking import look, tables

DAY = 86_400
LEAPS = {"four years": 1_460, "a year": 365, "a month": 31, "an hour back": -1 / 24, "a year back": -365}


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path, revoke_renewed_days=5) as ra:
        yield ra


async def everybody(ra):
    """A user in each state that time ends: mail sent, issued with its key, fetched, in use."""
    for user_id in ("WAITING1", "ISSUED01", "FETCHED1", "INUSE001"):
        await admit(ra, user_id)
    letters = {}
    for user_id in ("ISSUED01", "FETCHED1", "INUSE001"):
        found = store.enrollments_of(look(ra.database), user_id)[0]
        letters[user_id] = found.request_id
    await letter_of(ra, "pickup")
    await issuance.submit(ra, letters["ISSUED01"], actor="ISSUED01")
    await issuance.complete(ra, letters["ISSUED01"])
    for user_id in ("FETCHED1", "INUSE001"):
        request_id = letters[user_id]
        await issuance.submit(ra, request_id, actor=user_id)
        await issuance.complete(ra, request_id)
        token = await issuance.prepare_download(ra, request_id, "abc", "standard", actor=user_id)
        await issuance.download(ra, token, request_id, actor=user_id)
    request_id, at = letters["INUSE001"], ra.now()
    await ra.database.write(lambda db: apply(db, ra, request_id, Event.USE, at, actor="INUSE001"))
    await scheduler.tick(ra)


def everything(ra):
    """Every row of every table but the tick itself."""
    db = look(ra.database)
    names = tables()
    return {
        name: sorted((tuple(row) for row in db.rows(f"SELECT * FROM {name}")), key=repr)
        for name in names
        if name != "clock"
    }


@pytest.mark.parametrize("days", LEAPS.values(), ids=LEAPS)
async def test_a_leap_does_nothing_and_leaves_nothing(ra, days):
    """Keys, windows, notices, tickets, registers: nothing changes while the clock is off, nor afterwards."""
    await everybody(ra)
    before = everything(ra)
    clock_of(ra).leap(days=days)
    for _ in range(3):
        clock_of(ra).advance(seconds=30)
        await scheduler.tick(ra)
    assert timekeeping.doubt_at_once(ra).off == pytest.approx(days * DAY, abs=2)
    assert everything(ra) == before
    clock_of(ra).leap(days=-days)
    await scheduler.tick(ra)
    assert timekeeping.doubt_at_once(ra) is None
    assert everything(ra) == before


async def test_time_that_passes_is_acted_on(ra):
    """Rejection twin: the same days, counted by the machine too, close what is over."""
    await everybody(ra)
    clock_of(ra).advance(days=31)
    await scheduler.tick(ra)
    assert timekeeping.doubt_at_once(ra) is None
    db = look(ra.database)
    assert store.enrollments_of(db, "ISSUED01")[0].state is State.CLOSED
    assert store.enrollments_of(db, "FETCHED1")[0].sealed_key is None


async def test_what_waited_is_done_once_the_clock_is_confirmed(ra):
    """An operator's word ends the doubt, with an audit line, and what time brought about is done."""
    await everybody(ra)
    clock_of(ra).restart(off=31 * DAY)
    await scheduler.tick(ra)
    assert store.enrollments_of(look(ra.database), "ISSUED01")[0].state is State.ISSUED
    was = await timekeeping.confirm(ra, actor="desk")
    assert was.doubt.off == 31 * DAY
    line = store.audit_page(look(ra.database), "clock", 1)[0]
    assert (line["actor"], line["action"], line["detail"]) == (
        "desk",
        "clock.confirmed",
        {"seconds": 31 * DAY},
    )
    await scheduler.tick(ra)
    assert store.enrollments_of(look(ra.database), "ISSUED01")[0].state is State.CLOSED


async def test_a_long_weekend_needs_nobody(ra):
    """A machine that was off for four days goes on by itself, and the trail says that it did."""
    await everybody(ra)
    clock_of(ra).restart(off=4 * DAY)
    await scheduler.tick(ra)
    assert timekeeping.doubt_at_once(ra) is None
    line = store.audit_page(look(ra.database), "clock", 1)[0]
    assert (line["action"], line["detail"]) == ("clock.leapt", {"seconds": 4 * DAY})


async def test_what_expired_by_a_wrong_clock_is_alive_again(ra):
    """Also when an operator had confirmed it: live enrollments and open pick-ups, but for the keys that were
    wiped, are as they were; nobody gets 403 with a certificate that is valid for years."""
    await everybody(ra)
    held = store.enrollments_of(look(ra.database), "INUSE001")[0]
    print_ = ca.store.find_by_serial(look(ra.database), held.serial).fingerprint
    clock_of(ra).leap(days=1_460)
    await timekeeping.confirm(ra, actor="desk")
    await scheduler.tick(ra)
    with pytest.raises(Refusal) as refused:
        renewal.check_lives(look(ra.database), ra, store.enrollment_of(look(ra.database), held.serial))
    assert refused.value.code == "renewal_over"
    clock_of(ra).leap(days=-1_460)
    await timekeeping.confirm(ra, actor="desk")
    found = store.enrollment_of(look(ra.database), held.serial)
    renewal.check_lives(look(ra.database), ra, found)
    assert found.state is held.state
    waiting = store.enrollments_of(look(ra.database), "WAITING1")[0]
    await issuance.submit(ra, waiting.request_id, actor="WAITING1")
    clock_of(ra).set(held.not_after_at - 20 * DAY)
    assert (await renewal.look(ra, print_)).renewal.state is State.ACCEPTED


async def test_revoking_everything_misses_nothing_that_a_believed_leap_ended(ra):
    """A clock that was ahead by less than what is believed has left a tick: what seemed to have ended by it,
    and lives now that the clock is right, is revoked with the rest."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    ends = store.enrollment(look(ra.database), request_id).not_after_at
    clock_of(ra).set(ends - 3 * DAY)
    await scheduler.tick(ra)
    clock_of(ra).leap(days=6)
    await scheduler.tick(ra)
    clock_of(ra).leap(days=-6)
    assert await register.disable_user(ra, "K12345678", actor="desk") == 1
    assert ca.store.find_by_order(look(ra.database), request_id).status == "revoked"


async def test_revoking_everything_misses_nothing_by_a_clock_ahead(ra):
    """A user disabled while the clock is years ahead: what only seems to have expired ends, too."""
    await everybody(ra)
    clock_of(ra).leap(days=1_460)
    assert await register.disable_user(ra, "INUSE001", actor="desk") == 1
    clock_of(ra).leap(days=-1_460)
    found = store.enrollments_of(look(ra.database), "INUSE001")[0]
    assert found.state is State.REVOKED
    assert ca.store.find_by_serial(look(ra.database), found.serial).status == "revoked"


@pytest.mark.parametrize(("state", "code"), CAUSES.items())
async def test_who_comes_with_what_has_ended_is_told_why(ra, state, code):
    """One function says it for every door: the stored cause, or the date; and nothing while it lives."""
    await everybody(ra)
    at = ra.now()
    held = replace(store.enrollments_of(look(ra.database), "INUSE001")[0], not_after_at=at)
    renewal.check_lives(look(ra.database), ra, held)
    ended = replace(held, state=state, ended_at=at - 9)
    if state is State.EXPIRED:
        ended = replace(held, not_after_at=at - 1)
    with pytest.raises(Refusal) as refused:
        renewal.check_lives(look(ra.database), ra, ended)
    assert refused.value.code == code


async def test_nobody_is_told_a_cause_by_a_clock_in_doubt(ra):
    """Window over, or expired: whoever asks meanwhile hears that the clock is checked, and no more."""
    await everybody(ra)
    db = look(ra.database)
    of = {user_id: store.enrollments_of(db, user_id)[0] for user_id in ("WAITING1", "FETCHED1", "INUSE001")}
    held = of["INUSE001"]
    print_ = ca.store.find_by_serial(db, held.serial).fingerprint
    waits = [
        lambda: pickup.current(ra, of["WAITING1"].request_id),
        lambda: ra.database.read(lambda db: renewal.check_lives(db, ra, held)),
        lambda: renewal.look(ra, print_),
        lambda: issuance.submit(ra, of["FETCHED1"].request_id, actor="FETCHED1"),
        lambda: issuance.prepare_download(ra, of["FETCHED1"].request_id, "abc", "standard", actor="FETCHED1"),
    ]
    clock_of(ra).leap(days=1_460)
    for ask in waits:
        with pytest.raises(Refusal) as refused:
            await ask()
        assert refused.value.code == "clock_in_doubt"
    clock_of(ra).leap(days=-1_460)
    clock_of(ra).advance(days=1_460)  # the twin: time that passed is told as what it is
    codes = []
    for ask in waits:
        with pytest.raises(Refusal) as refused:
            await ask()
        codes.append(refused.value.code)
    assert codes == ["not_available", "renewal_over", "renewal_over", "not_available", "not_available"]


async def test_what_a_renewal_replaced_says_so(ra):
    """D3: the certificate that ends some days after its renewal's first use names no reissue as the cause."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    old = store.enrollment(look(ra.database), request_id)
    clock_of(ra).set(old.not_after_at - 20 * DAY)
    print_ = ca.store.find_by_order(look(ra.database), request_id).fingerprint
    begun = await renewal.submit(ra, print_, actor=FLOW)
    await issuance.complete(ra, begun.request_id)
    token = await issuance.prepare_download(ra, begun.request_id, "abc", "standard", actor=FLOW)
    await issuance.download(ra, token, begun.request_id, actor=FLOW)
    await first_login(ra, begun.request_id)
    clock_of(ra).advance(days=6)
    await scheduler.tick(ra)
    ended = store.enrollment(look(ra.database), request_id)
    assert (ended.state, LABELS[ended.state]) == (
        State.RENEWED,
        ("更新により無効", "Replaced by its renewal"),
    )
    with pytest.raises(Refusal) as refused:
        renewal.check_lives(look(ra.database), ra, ended)
    assert refused.value.code == "renewed"


async def test_only_a_reissue_is_told_as_one(ra):
    """An operator or a client may give "superseded" as the reason: that is a revocation, and called one."""
    await everybody(ra)
    found = store.enrollments_of(look(ra.database), "INUSE001")[0]
    at = ra.now()
    await ra.database.write(lambda db: end_certificate(db, ra, found.serial, SUPERSEDED, at, actor="desk"))
    assert store.enrollment(look(ra.database), found.request_id).state is State.REVOKED


async def test_a_letter_about_what_is_over_is_not_sent(ra):
    """A queued letter whose request is over by date is cancelled: after 31 days nobody can use it."""
    await admit(ra)
    clock_of(ra).advance(days=31)
    assert [letter.name for letter in await delivered(ra) if "pickup" in letter.name] == []
    states = {row["kind"]: (row["state"], row["result"]) for row in mail_store.listed(look(ra.database))}
    assert states["pickup"] == ("cancelled", "the request is closed")


async def test_a_confirmed_leap_that_was_wrong_has_its_way_back(ra):
    """Certificates dated by a clock that was confirmed and wrong do not keep the right one in doubt."""
    await everybody(ra)
    clock_of(ra).leap(days=31)
    await timekeeping.confirm(ra, actor="desk")
    await admit(ra, "LATER001")
    found = store.enrollments_of(look(ra.database), "LATER001")[0]
    await issuance.submit(ra, found.request_id, actor="LATER001")
    clock_of(ra).leap(days=-31)
    assert timekeeping.doubt_at_once(ra).kind == "behind"
    await timekeeping.confirm(ra, actor="desk")
    assert timekeeping.doubt_at_once(ra) is None


@pytest.mark.parametrize("days", LEAPS.values(), ids=LEAPS)
async def test_nothing_is_opened_or_issued_by_a_clock_in_doubt(ra, days):
    """A certificate's dates, a window, a deadline: whoever asks is told to come again, and loses nothing."""
    await everybody(ra)
    waiting = store.enrollments_of(look(ra.database), "WAITING1")[0]
    clock_of(ra).leap(days=days)
    before = everything(ra)
    asked = [
        lambda: issuance.submit(ra, waiting.request_id, actor="WAITING1"),
        lambda: admit(ra, "NEW00001"),
        lambda: credentials.create(ra, "WAITING1", actor="desk"),
    ]
    for ask in asked:
        with pytest.raises(Refusal) as refused:
            await ask()
        assert refused.value.code == "clock_in_doubt"
    assert everything(ra) == before
    clock_of(ra).leap(days=-days)
    await issuance.submit(ra, waiting.request_id, actor="WAITING1")
    assert (await issuance.complete(ra, waiting.request_id)).state is State.ISSUED


async def test_what_was_begun_waits_for_its_signature(ra):
    """A crash's reservation, signed by a clock in doubt, would have its window counted from nowhere."""
    await everybody(ra)
    waiting = store.enrollments_of(look(ra.database), "WAITING1")[0]
    await issuance.submit(ra, waiting.request_id, actor="WAITING1")
    clock_of(ra).leap(days=31)
    with pytest.raises(Refusal) as refused:
        await issuance.complete(ra, waiting.request_id)
    assert refused.value.code == "clock_in_doubt"
    clock_of(ra).advance(seconds=61)
    await scheduler.tick(ra)
    assert store.enrollment(look(ra.database), waiting.request_id).state is State.PROCESSING
    clock_of(ra).leap(days=-31)
    await scheduler.tick(ra)
    found = store.enrollment(look(ra.database), waiting.request_id)
    assert (found.state, found.window_ends_at) == (State.ISSUED, ra.now() + 30 * DAY)


async def test_the_protocol_says_that_it_may_be_asked_again(tmp_path):
    """newOrder and finalize: 503 with Retry-After, which costs neither the order nor the quota."""
    async with world(tmp_path) as site:
        client = await site.enrolled()
        ready = await client.order()
        before = everything(site.ra)
        clock_of(site.ra).leap(days=31)
        refused = [await client.post(ready.json["finalize"], {"csr": csr(FQDN)}), await client.order()]
        # An order lives shorter than the leap: by this clock it is over, and by the right one it is not.
        assert refused[0].problem == (403, "orderNotReady")
        assert (refused[1].problem, refused[1].headers["Retry-After"]) == ((503, "serverInternal"), "600")
        clock_of(site.ra).leap(days=-31, hours=-1)
        late = await client.post(ready.json["finalize"], {"csr": csr(FQDN)})
        assert (late.problem, late.headers["Retry-After"]) == ((503, "serverInternal"), "600")
        assert "sekisho" not in late.json["detail"]
        assert everything(site.ra) == before
        clock_of(site.ra).leap(hours=1)
        assert (await client.post(ready.json["finalize"], {"csr": csr(FQDN)})).json["status"] == "valid"


@pytest.mark.parametrize("days", LEAPS.values(), ids=LEAPS)
async def test_no_list_is_made_by_a_clock_in_doubt(ra, days):
    """A CRL is dated and numbered for good: the one that there is goes on, and no number is spent."""
    issuer = ra.authority.current
    first = await crls.publish(ra, issuer, alone=True)
    clock_of(ra).leap(days=days)
    before = everything(ra)
    assert await Publisher().look(ra) == 0
    await begin(ra)
    for make in (crls.publish(ra, issuer), crls.publish(ra, issuer, alone=True)):
        with pytest.raises(Refusal) as refused:
            await make
        assert refused.value.code == "clock_in_doubt"
    assert await crls.published(ra, issuer.issuer_id) == first
    assert len(list(crls.folder(ra).iterdir())) == 1
    assert everything(ra) == before
    clock_of(ra).leap(days=-days)
    clock_of(ra).advance(days=4)
    assert await Publisher().look(ra) == 1


async def test_a_directory_that_was_never_served_knows_its_newest_request(tmp_path):
    """What commands opened before the first start is a witness, too: 1,460 days ahead nothing is closed."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        await ra.database.write(lambda db: db.execute("DELETE FROM clock"))
        clock_of(ra).leap(days=1_460)
        await scheduler.tick(ra)
        assert timekeeping.doubt_at_once(ra).witness == "certificate"
        assert store.enrollments_of(look(ra.database), FLOW)[0].state is not State.CLOSED


async def test_two_processes_with_different_clocks(tmp_path):
    """The one whose clock disagrees with the tick of both holds; the other one goes on."""
    async with open_office(tmp_path) as ra, open_office(tmp_path) as other:
        clock_of(other).leap(days=31)
        await scheduler.tick(other)
        await scheduler.tick(ra)
        assert (timekeeping.doubt_at_once(ra), timekeeping.doubt_at_once(other).off) == (None, 31 * DAY)
        await admit(ra)
        with pytest.raises(Refusal) as refused:
            await admit(other, "OTHER001")
        assert refused.value.code == "clock_in_doubt"
        assert store.user(look(ra.database), "OTHER001") is None


async def test_the_newest_certificate_is_a_witness(ra):
    """A clock before the newest certificate is behind, also where nothing has looked since."""
    await admit(ra)
    await picked_up(ra)
    await ra.database.write(lambda db: db.execute("DELETE FROM clock"))
    assert ca.store.known_time(look(ra.database)).newest_at == ra.now()
    clock_of(ra).leap(hours=-1)
    doubt = timekeeping.doubt_at_once(ra)
    assert (doubt.witness, doubt.off) == ("certificate", -3_600)


async def test_a_demos_clock_is_not_judged(ra):
    """Nobody confirms a clock that is moved on purpose: it is believed, and the command says so."""

    class Moved:
        def seconds(self):
            return 5

        def reading(self):
            return None

    object.__setattr__(ra, "clock", Moved())
    assert timekeeping.doubt_at_once(ra) is None
    with pytest.raises(Refusal) as refused:
        await timekeeping.confirm(ra, actor="desk")
    assert refused.value.code == "not_permitted"


async def test_a_login_during_a_leap_is_a_login(ra):
    """What people do themselves goes on: their certificate is in time by the clock that judges it."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    clock_of(ra).leap(hours=-1)
    assert (await first_login(ra, request_id)).first_use


class Interrupted:
    """A database in which another process writes first whatever one writes."""

    def __init__(self, database, first):
        self._database, self._first = database, first

    def __getattr__(self, name):
        return getattr(self._database, name)

    async def write(self, work):
        await self._database.write(self._first)
        return await self._database.write(work)


async def test_a_look_is_written_by_what_is_known_then(ra):
    """What another process has written since the look is compared again: a clock that is behind it by now
    leaves nothing."""
    await timekeeping.tick(ra)
    ahead = replace(clock_of(ra).reading(), wall=ra.now() + DAY)
    interrupted = Interrupted(ra.database, lambda db: ca.store.write_tick(db, ahead))
    await timekeeping.tick(replace(ra, database=interrupted))
    assert ca.store.known_time(look(ra.database)).tick.wall == ahead.wall
