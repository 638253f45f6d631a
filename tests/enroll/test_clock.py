"""A clock that is wrong for a while does nothing that cannot be undone."""

from dataclasses import replace

import pytest

import ca.store
from enroll import crls, issuance, mails, people, pickup, renewal, scheduler, store, timekeeping
from enroll.acme import credentials
from enroll.enrollment import SUPERSEDED
from enroll.refusals import Refusal
from enroll.states import CAUSES, LABELS, Event, State
from enroll.transitions import apply, end_certificate
from gateway.running.lists import Publisher, begin
from tests.enroll.acme.acme_world import FQDN, csr, world
from tests.enroll.test_flow import FLOW, first_login, picked_up
from tests.offices import admit, clock_of, delivered, letter_of, open_office

DAY = 86_400
LEAPS = {"four years": 1_460, "a year": 365, "a month": 31, "an hour back": -1 / 24, "a year back": -365}


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path, revoke_renewed_days=5) as office:
        yield office


async def everybody(office):
    """A user in each state that time ends: mail sent, issued with its key, fetched, in use."""
    for user_id in ("WAITING1", "ISSUED01", "FETCHED1", "INUSE001"):
        await admit(office, user_id)
    letters = {}
    for user_id in ("ISSUED01", "FETCHED1", "INUSE001"):
        found = store.enrollments_of(office.database.read(), user_id)[0]
        letters[user_id] = found.request_id
    await letter_of(office, "pickup")
    await issuance.submit(office, letters["ISSUED01"], actor="ISSUED01")
    await issuance.complete(office, letters["ISSUED01"])
    for user_id in ("FETCHED1", "INUSE001"):
        request_id = letters[user_id]
        await issuance.submit(office, request_id, actor=user_id)
        await issuance.complete(office, request_id)
        token = await issuance.prepare_download(office, request_id, "abc", "standard", actor=user_id)
        await issuance.download(office, token, request_id, actor=user_id)
    request_id, at = letters["INUSE001"], office.now()
    await office.database.write(lambda db: apply(db, office, request_id, Event.USE, at, actor="INUSE001"))
    await scheduler.tick(office)


def everything(office):
    """Every row of every table but the tick itself."""
    db = office.database.read()
    names = [name for (name,) in db.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: sorted((tuple(row) for row in db.rows(f"SELECT * FROM {name}")), key=repr)
        for name in names
        if name != "clock" and not name.startswith("_")
    }


@pytest.mark.parametrize("days", LEAPS.values(), ids=LEAPS)
async def test_a_leap_does_nothing_and_leaves_nothing(office, days):
    """Keys, windows, notices, tickets, registers: nothing changes while the clock is off, nor afterwards."""
    await everybody(office)
    before = everything(office)
    clock_of(office).leap(days=days)
    for _ in range(3):
        clock_of(office).advance(seconds=30)
        await scheduler.tick(office)
    assert timekeeping.doubt_now(office).off == pytest.approx(days * DAY, abs=2)
    assert everything(office) == before
    clock_of(office).leap(days=-days)
    await scheduler.tick(office)
    assert timekeeping.doubt_now(office) is None
    assert everything(office) == before


async def test_time_that_passes_is_acted_on(office):
    """Rejection twin: the same days, counted by the machine too, close what is over."""
    await everybody(office)
    clock_of(office).advance(days=31)
    await scheduler.tick(office)
    assert timekeeping.doubt_now(office) is None
    db = office.database.read()
    assert store.enrollments_of(db, "ISSUED01")[0].state is State.CLOSED
    assert store.enrollments_of(db, "FETCHED1")[0].sealed_key is None


async def test_what_waited_is_done_once_the_clock_is_confirmed(office):
    """An operator's word ends the doubt, with an audit line, and what time brought about is done."""
    await everybody(office)
    clock_of(office).restart(off=31 * DAY)
    await scheduler.tick(office)
    assert store.enrollments_of(office.database.read(), "ISSUED01")[0].state is State.ISSUED
    was = await timekeeping.confirm(office, actor="desk")
    assert was.doubt.off == 31 * DAY
    line = store.audit_page(office.database.read(), "clock", 1)[0]
    assert (line["actor"], line["action"], line["detail"]) == (
        "desk",
        "clock.confirmed",
        {"seconds": 31 * DAY},
    )
    await scheduler.tick(office)
    assert store.enrollments_of(office.database.read(), "ISSUED01")[0].state is State.CLOSED


async def test_a_long_weekend_needs_nobody(office):
    """A machine that was off for four days goes on by itself, and the trail says that it did."""
    await everybody(office)
    clock_of(office).restart(off=4 * DAY)
    await scheduler.tick(office)
    assert timekeeping.doubt_now(office) is None
    line = store.audit_page(office.database.read(), "clock", 1)[0]
    assert (line["action"], line["detail"]) == ("clock.leapt", {"seconds": 4 * DAY})


async def test_what_expired_by_a_wrong_clock_is_alive_again(office):
    """Also when an operator had confirmed it: live enrollments and open pick-ups, but for the keys that were
    wiped, are as they were; nobody gets 403 with a certificate that is valid for years."""
    await everybody(office)
    held = store.enrollments_of(office.database.read(), "INUSE001")[0]
    print_ = ca.store.find_by_serial(office.database.read(), held.serial).fingerprint
    clock_of(office).leap(days=1_460)
    await timekeeping.confirm(office, actor="desk")
    await scheduler.tick(office)
    with pytest.raises(Refusal) as refused:
        renewal.check_lives(office, store.enrollment_of(office.database.read(), held.serial))
    assert refused.value.code == "renewal_over"
    clock_of(office).leap(days=-1_460)
    await timekeeping.confirm(office, actor="desk")
    found = store.enrollment_of(office.database.read(), held.serial)
    renewal.check_lives(office, found)
    assert found.state is held.state
    waiting = store.enrollments_of(office.database.read(), "WAITING1")[0]
    await issuance.submit(office, waiting.request_id, actor="WAITING1")
    clock_of(office).set(held.not_after_at - 20 * DAY)
    assert (await renewal.look(office, print_)).renewal.state is State.ACCEPTED


async def test_revoking_everything_misses_nothing_that_a_believed_leap_ended(office):
    """A clock that was ahead by less than what is believed has left a tick: what seemed to have ended by it,
    and lives now that the clock is right, is revoked with the rest."""
    await admit(office)
    _, request_id = await picked_up(office)
    ends = store.enrollment(office.database.read(), request_id).not_after_at
    clock_of(office).set(ends - 3 * DAY)
    await scheduler.tick(office)
    clock_of(office).leap(days=6)
    await scheduler.tick(office)
    clock_of(office).leap(days=-6)
    assert await people.disable_user(office, "K12345678", actor="desk") == 1
    assert ca.store.find_by_order(office.database.read(), request_id).status == "revoked"


async def test_revoking_everything_misses_nothing_by_a_clock_ahead(office):
    """A user disabled while the clock is years ahead: what only seems to have expired ends, too."""
    await everybody(office)
    clock_of(office).leap(days=1_460)
    assert await people.disable_user(office, "INUSE001", actor="desk") == 1
    clock_of(office).leap(days=-1_460)
    found = store.enrollments_of(office.database.read(), "INUSE001")[0]
    assert found.state is State.REVOKED
    assert ca.store.find_by_serial(office.database.read(), found.serial).status == "revoked"


@pytest.mark.parametrize(("state", "code"), CAUSES.items())
async def test_who_comes_with_what_has_ended_is_told_why(office, state, code):
    """One function says it for every door: the stored cause, or the date; and nothing while it lives."""
    await everybody(office)
    at = office.now()
    held = replace(store.enrollments_of(office.database.read(), "INUSE001")[0], not_after_at=at)
    renewal.check_lives(office, held)
    ended = replace(held, state=state, ended_at=at - 9)
    if state is State.EXPIRED:
        ended = replace(held, not_after_at=at - 1)
    with pytest.raises(Refusal) as refused:
        renewal.check_lives(office, ended)
    assert refused.value.code == code


async def test_nobody_is_told_a_cause_by_a_clock_in_doubt(office):
    """Window over, or expired: whoever asks meanwhile hears that the clock is checked, and no more."""
    await everybody(office)
    db = office.database.read()
    of = {user_id: store.enrollments_of(db, user_id)[0] for user_id in ("WAITING1", "FETCHED1", "INUSE001")}
    held = of["INUSE001"]
    print_ = ca.store.find_by_serial(db, held.serial).fingerprint
    asked = [
        lambda: pickup.current(office, of["WAITING1"].request_id),
        lambda: renewal.check_lives(office, held),
    ]
    waits = [
        lambda: renewal.look(office, print_),
        lambda: issuance.submit(office, of["FETCHED1"].request_id, actor="FETCHED1"),
        lambda: issuance.prepare_download(
            office, of["FETCHED1"].request_id, "abc", "standard", actor="FETCHED1"
        ),
    ]
    clock_of(office).leap(days=1_460)
    for ask in asked:
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.code == "clock_in_doubt"
    for ask in waits:
        with pytest.raises(Refusal) as refused:
            await ask()
        assert refused.value.code == "clock_in_doubt"
    clock_of(office).leap(days=-1_460)
    clock_of(office).advance(days=1_460)  # the twin: time that passed is told as what it is
    codes = []
    for ask in asked:
        with pytest.raises(Refusal) as refused:
            ask()
        codes.append(refused.value.code)
    for ask in waits:
        with pytest.raises(Refusal) as refused:
            await ask()
        codes.append(refused.value.code)
    assert codes == ["not_available", "renewal_over", "renewal_over", "not_available", "not_available"]


async def test_what_a_renewal_replaced_says_so(office):
    """D3: the certificate that ends some days after its renewal's first use names no reissue as the cause."""
    await admit(office)
    _, request_id = await picked_up(office)
    old = store.enrollment(office.database.read(), request_id)
    clock_of(office).set(old.not_after_at - 20 * DAY)
    print_ = ca.store.find_by_order(office.database.read(), request_id).fingerprint
    begun = await renewal.submit(office, print_, actor=FLOW)
    await issuance.complete(office, begun.request_id)
    token = await issuance.prepare_download(office, begun.request_id, "abc", "standard", actor=FLOW)
    await issuance.download(office, token, begun.request_id, actor=FLOW)
    await first_login(office, begun.request_id)
    clock_of(office).advance(days=6)
    await scheduler.tick(office)
    ended = store.enrollment(office.database.read(), request_id)
    assert (ended.state, LABELS[ended.state]) == (
        State.RENEWED,
        ("更新により無効", "Replaced by its renewal"),
    )
    with pytest.raises(Refusal) as refused:
        renewal.check_lives(office, ended)
    assert refused.value.code == "renewed"


async def test_only_a_reissue_is_told_as_one(office):
    """An operator or a client may give "superseded" as the reason: that is a revocation, and called one."""
    await everybody(office)
    found = store.enrollments_of(office.database.read(), "INUSE001")[0]
    at = office.now()
    await office.database.write(
        lambda db: end_certificate(db, office, found.serial, SUPERSEDED, at, actor="desk")
    )
    assert store.enrollment(office.database.read(), found.request_id).state is State.REVOKED


async def test_a_letter_about_what_is_over_is_not_sent(office):
    """A queued letter whose request is over by date is cancelled: after 31 days nobody can use it."""
    await admit(office)
    clock_of(office).advance(days=31)
    assert [letter.name for letter in await delivered(office) if "pickup" in letter.name] == []
    states = {row["kind"]: (row["state"], row["result"]) for row in mails.listed(office.database.read())}
    assert states["pickup"] == ("cancelled", "the request is closed")


async def test_a_confirmed_leap_that_was_wrong_has_its_way_back(office):
    """Certificates dated by a clock that was confirmed and wrong do not keep the right one in doubt."""
    await everybody(office)
    clock_of(office).leap(days=31)
    await timekeeping.confirm(office, actor="desk")
    await admit(office, "LATER001")
    found = store.enrollments_of(office.database.read(), "LATER001")[0]
    await issuance.submit(office, found.request_id, actor="LATER001")
    clock_of(office).leap(days=-31)
    assert timekeeping.doubt_now(office).kind == "behind"
    await timekeeping.confirm(office, actor="desk")
    assert timekeeping.doubt_now(office) is None


@pytest.mark.parametrize("days", LEAPS.values(), ids=LEAPS)
async def test_nothing_is_opened_or_issued_by_a_clock_in_doubt(office, days):
    """A certificate's dates, a window, a deadline: whoever asks is told to come again, and loses nothing."""
    await everybody(office)
    waiting = store.enrollments_of(office.database.read(), "WAITING1")[0]
    clock_of(office).leap(days=days)
    before = everything(office)
    asked = [
        lambda: issuance.submit(office, waiting.request_id, actor="WAITING1"),
        lambda: admit(office, "NEW00001"),
        lambda: credentials.create(office, "WAITING1", actor="desk"),
    ]
    for ask in asked:
        with pytest.raises(Refusal) as refused:
            await ask()
        assert refused.value.code == "clock_in_doubt"
    assert everything(office) == before
    clock_of(office).leap(days=-days)
    await issuance.submit(office, waiting.request_id, actor="WAITING1")
    assert (await issuance.complete(office, waiting.request_id)).state is State.ISSUED


async def test_what_was_begun_waits_for_its_signature(office):
    """A crash's reservation, signed by a clock in doubt, would have its window counted from nowhere."""
    await everybody(office)
    waiting = store.enrollments_of(office.database.read(), "WAITING1")[0]
    await issuance.submit(office, waiting.request_id, actor="WAITING1")
    clock_of(office).leap(days=31)
    with pytest.raises(Refusal) as refused:
        await issuance.complete(office, waiting.request_id)
    assert refused.value.code == "clock_in_doubt"
    clock_of(office).advance(seconds=61)
    await scheduler.tick(office)
    assert store.enrollment(office.database.read(), waiting.request_id).state is State.PROCESSING
    clock_of(office).leap(days=-31)
    await scheduler.tick(office)
    found = store.enrollment(office.database.read(), waiting.request_id)
    assert (found.state, found.window_ends_at) == (State.ISSUED, office.now() + 30 * DAY)


async def test_the_protocol_says_that_it_may_be_asked_again(tmp_path):
    """newOrder and finalize: 503 with Retry-After, which costs neither the order nor the quota."""
    async with world(tmp_path) as site:
        client = await site.enrolled()
        ready = await client.order()
        before = everything(site.office)
        clock_of(site.office).leap(days=31)
        refused = [await client.post(ready.json["finalize"], {"csr": csr(FQDN)}), await client.order()]
        # An order lives shorter than the leap: by this clock it is over, and by the right one it is not.
        assert refused[0].problem == (403, "orderNotReady")
        assert (refused[1].problem, refused[1].headers["Retry-After"]) == ((503, "serverInternal"), "600")
        clock_of(site.office).leap(days=-31, hours=-1)
        late = await client.post(ready.json["finalize"], {"csr": csr(FQDN)})
        assert (late.problem, late.headers["Retry-After"]) == ((503, "serverInternal"), "600")
        assert "sekisho" not in late.json["detail"]
        assert everything(site.office) == before
        clock_of(site.office).leap(hours=1)
        assert (await client.post(ready.json["finalize"], {"csr": csr(FQDN)})).json["status"] == "valid"


@pytest.mark.parametrize("days", LEAPS.values(), ids=LEAPS)
async def test_no_list_is_made_by_a_clock_in_doubt(office, days):
    """A CRL is dated and numbered for good: the one that there is goes on, and no number is spent."""
    issuer = office.authority.current
    first = await crls.publish(office, issuer, alone=True)
    clock_of(office).leap(days=days)
    before = everything(office)
    assert await Publisher().look(office) == 0
    await begin(office)
    for make in (crls.publish(office, issuer), crls.publish(office, issuer, alone=True)):
        with pytest.raises(Refusal) as refused:
            await make
        assert refused.value.code == "clock_in_doubt"
    assert crls.published(office, issuer.issuer_id) == first
    assert len(list(crls.folder(office).iterdir())) == 1
    assert everything(office) == before
    clock_of(office).leap(days=-days)
    clock_of(office).advance(days=4)
    assert await Publisher().look(office) == 1


async def test_a_directory_that_was_never_served_knows_its_newest_request(tmp_path):
    """What commands opened before the first start is a witness, too: 1,460 days ahead nothing is closed."""
    async with open_office(tmp_path) as office:
        await admit(office)
        await office.database.write(lambda db: db.execute("DELETE FROM clock"))
        clock_of(office).leap(days=1_460)
        await scheduler.tick(office)
        assert timekeeping.doubt_now(office).witness == "certificate"
        assert store.enrollments_of(office.database.read(), FLOW)[0].state is not State.CLOSED


async def test_two_processes_with_different_clocks(tmp_path):
    """The one whose clock disagrees with the tick of both holds; the other one goes on."""
    async with open_office(tmp_path) as office, open_office(tmp_path) as other:
        clock_of(other).leap(days=31)
        await scheduler.tick(other)
        await scheduler.tick(office)
        assert (timekeeping.doubt_now(office), timekeeping.doubt_now(other).off) == (None, 31 * DAY)
        await admit(office)
        with pytest.raises(Refusal) as refused:
            await admit(other, "OTHER001")
        assert refused.value.code == "clock_in_doubt"
        assert store.user(office.database.read(), "OTHER001") is None


async def test_the_newest_certificate_is_a_witness(office):
    """A clock before the newest certificate is behind, also where nothing has looked since."""
    await admit(office)
    await picked_up(office)
    await office.database.write(lambda db: db.execute("DELETE FROM clock"))
    assert ca.store.known_time(office.database.read()).newest_at == office.now()
    clock_of(office).leap(hours=-1)
    doubt = timekeeping.doubt_now(office)
    assert (doubt.witness, doubt.off) == ("certificate", -3_600)


async def test_a_demos_clock_is_not_judged(office):
    """Nobody confirms a clock that is moved on purpose: it is believed, and the command says so."""

    class Moved:
        def seconds(self):
            return 5

        def reading(self):
            return None

    object.__setattr__(office, "clock", Moved())
    assert timekeeping.doubt_now(office) is None
    with pytest.raises(Refusal) as refused:
        await timekeeping.confirm(office, actor="desk")
    assert refused.value.code == "not_permitted"


async def test_a_login_during_a_leap_is_a_login(office):
    """What people do themselves goes on: their certificate is in time by the clock that judges it."""
    await admit(office)
    _, request_id = await picked_up(office)
    clock_of(office).leap(hours=-1)
    assert (await first_login(office, request_id)).first_use
