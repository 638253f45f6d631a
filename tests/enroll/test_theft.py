"""A theft that is reported stops everything at once; what is decided then says whether for good."""

import pytest

import ca.store
from ca.revocation import RevocationStatus
from enroll import applications, issuance, login, people, pickup, renewal, scheduler, store
from enroll.acme import credentials
from enroll.refusals import Refusal
from enroll.states import State
from tests.enroll.acme.acme_world import FQDN, USER, csr, world
from tests.enroll.test_flow import ADDRESS, FLOW, first_login, picked_up, print_of
from tests.offices import admit, clock_of, letter_of, open_office


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path) as office:
        yield office


async def report(office, user_id=FLOW, reason="lost_or_stolen"):
    return (await applications.apply_reissue(office, user_id, reason, channel="online", actor=user_id)).number


def certificate(office, request_id):
    record = ca.store.find_by_order(office.database.read(), request_id)
    return record.status, record.revocation_reason


async def refused(doing):
    with pytest.raises(Refusal) as caught:
        await doing
    return caught.value.code


async def test_a_reported_theft_stops_the_certificate_before_anybody_decides(office):
    """It is held in the register with its line in the trail; what was in use stays so in its history."""
    await admit(office)
    _, request_id = await picked_up(office)
    await first_login(office, request_id)
    fingerprint = print_of(office, request_id)
    await report(office)
    db = office.database.read()
    assert certificate(office, request_id) == ("held", None)
    assert ca.store.certificate_status(db, fingerprint) is RevocationStatus.HELD
    assert store.enrollment(db, request_id).state is State.IN_USE
    serial = ca.store.find_by_order(db, request_id).serial
    assert store.audit_page(db, serial, 1)[0]["action"] == "certificate.held"
    await report(office)
    assert ca.store.last_change(office.database.read()) == 1


async def test_other_reasons_stop_nothing_before_they_are_decided(office):
    """The twin: a new PC, a lost mail, and the box that ends the old one on completion."""
    await admit(office)
    _, request_id = await picked_up(office)
    for reason in applications.REASONS:
        if reason not in applications.AT_ONCE:
            number = (
                await applications.apply_reissue(
                    office, FLOW, reason, channel="online", actor=FLOW, revoke_old="at_once"
                )
            ).number
            assert certificate(office, request_id) == ("issued", None)
            await applications.reject(office, number, actor="desk", note="")


@pytest.mark.parametrize("revoke_old", [None, "at_once"])
async def test_an_approval_revokes_as_compromised(office, revoke_old):
    """RFC 5280 section 5.3.1: keyCompromise, which the register, the trail and the list say; others
    stay superseded."""
    await admit(office)
    _, request_id = await picked_up(office)
    number = await report(office)
    held_at = ca.store.find_by_order(office.database.read(), request_id).held_at
    clock_of(office).advance(seconds=3_600)
    await applications.approve(office, number, actor="desk", revoke_old=revoke_old)
    assert certificate(office, request_id) == ("revoked", 1)
    record = ca.store.find_by_order(office.database.read(), request_id)
    assert (record.held_at, record.revoked_at) == (held_at, held_at + 3_600)
    assert store.audit_page(office.database.read(), record.serial, 1)[0]["detail"] == {
        "reason": "keyCompromise"
    }
    assert store.enrollment(office.database.read(), request_id).state is State.REVOKED
    _, second = await picked_up(office)
    assert certificate(office, second) == ("issued", None)
    await applications.reissue(office, FLOW, "pc_change", actor="desk", revoke_old="at_once")
    assert certificate(office, second) == ("revoked", 4)


async def test_what_was_issued_and_not_fetched_yet_is_compromised_too(office):
    """Its letter may be on the PC that is gone; so may the request that is being signed."""
    await admit(office)
    request_id = (await letter_of(office, "pickup")).value("リクエストID")
    await issuance.submit(office, request_id, actor=FLOW)
    await issuance.complete(office, request_id)
    await applications.reissue(office, FLOW, "lost_or_stolen", actor="desk")
    assert certificate(office, request_id) == ("revoked", 1)
    assert store.enrollment(office.database.read(), request_id).sealed_key is None


@pytest.mark.parametrize(
    ("then", "status", "state"),
    [
        ("nothing", ("held", None), State.ISSUED),
        ("approved", ("revoked", 1), State.REVOKED),
        ("rejected", ("issued", None), State.ISSUED),
    ],
)
async def test_what_is_being_signed_meanwhile_is_no_way_out(office, then, status, state):
    """Submitted before the report and signed after it: held, revoked, or good, as was decided by then."""
    await admit(office)
    request_id = (await letter_of(office, "pickup")).value("リクエストID")
    await issuance.submit(office, request_id, actor=FLOW)
    number = await report(office)
    if then == "approved":
        await applications.approve(office, number, actor="desk")
    elif then == "rejected":
        await applications.reject(office, number, actor="desk", note="found")
    assert await issuance.recover(office) == 1
    assert store.enrollment(office.database.read(), request_id).state is state
    assert certificate(office, request_id) == status


@pytest.mark.parametrize(
    ("ends", "reason"), [("pc_change", 4), ("disabled", 9)], ids=["superseded", "privilegeWithdrawn"]
)
async def test_what_ends_while_it_is_signed_is_revoked_for_the_right_reason(office, ends, reason):
    """The reason is the one of what ended it, not one for all."""
    await admit(office)
    request_id = (await letter_of(office, "pickup")).value("リクエストID")
    await issuance.submit(office, request_id, actor=FLOW)
    if ends == "disabled":
        await people.disable_user(office, FLOW, actor="desk")
    else:
        await applications.reissue(office, FLOW, ends, actor="desk", revoke_old="at_once")
    assert await issuance.recover(office) == 1
    assert certificate(office, request_id) == ("revoked", reason)


async def test_a_report_that_is_turned_down_changes_nothing(office):
    """Found again: every door is open as before, and the trail has both."""
    await admit(office)
    bundle, request_id = await picked_up(office)
    number = await report(office)
    await applications.reject(office, number, actor="desk", note="found")
    assert certificate(office, request_id) == ("issued", None)
    clock_of(office).set(int(bundle.cert.certificate.not_valid_after_utc.timestamp()) - 86_400)
    assert (await renewal.look(office, print_of(office, request_id))).renewal.state is State.ACCEPTED
    serial = ca.store.find_by_order(office.database.read(), request_id).serial
    trail = [line["action"] for line in store.audit_page(office.database.read(), serial, 2)]
    assert trail == ["certificate.released", "certificate.held"]


async def test_turning_it_down_frees_nobody_else(office):
    """Two thefts are two decisions; and what was revoked while it was held stays revoked."""
    await admit(office)
    _, mine = await picked_up(office)
    await admit(office, "OTHER001")
    other = store.enrollments_of(office.database.read(), "OTHER001")[0].request_id
    await issuance.submit(office, other, actor="OTHER001")
    await issuance.complete(office, other)
    number, _ = await report(office), await report(office, "OTHER001")
    serial = ca.store.find_by_order(office.database.read(), mine).serial
    await office.database.write(lambda db: ca.store.revoke(db, serial, 5, office.now()))
    await applications.reject(office, number, actor="desk", note="found")
    assert certificate(office, other) == ("held", None)
    assert certificate(office, mine) == ("revoked", 5)


async def test_an_operator_who_knows_better_lets_the_old_one_go_on(office):
    """D3: the operator says which. Decided for the pick-up, what was held is good until then."""
    await admit(office)
    _, old = await picked_up(office)
    number = await report(office)
    assert await refused(applications.approve(office, number, actor="desk", revoke_old="never")) == "conflict"
    assert certificate(office, old) == ("held", None)
    await applications.approve(office, number, actor="desk", revoke_old="on_pickup")
    assert certificate(office, old) == ("issued", None)
    await picked_up(office)
    assert certificate(office, old) == ("revoked", 4)


async def test_a_theft_is_a_theft_whatever_waits_already(office):
    """A milder application becomes one, and so does one that was to end the old certificate on completion;
    nothing makes it another thing again."""
    await admit(office)
    _, request_id = await picked_up(office)
    first = (
        await applications.apply_reissue(
            office, FLOW, "pc_change", channel="online", actor=FLOW, revoke_old="at_once"
        )
    ).number
    assert certificate(office, request_id) == ("issued", None)
    assert await report(office) == first
    assert certificate(office, request_id) == ("held", None)
    later = (
        await applications.apply_reissue(
            office, FLOW, "mail_lost", channel="online", actor=FLOW, revoke_old="at_once"
        )
    ).number
    found = store.application(office.database.read(), later)
    assert (found.id, found.reason, found.revoke_old) == (first, "lost_or_stolen", "at_once")


async def test_every_door_says_that_a_theft_was_reported(office):
    """Login, renewal, pick-up by the letter, its download, a new credential: one code, with its own words."""
    await admit(office)
    _, old = await picked_up(office)
    first_password = (await letter_of(office, "user_id")).value("パスワード")
    fingerprint = print_of(office, old)
    await applications.reissue(office, FLOW, "pc_change", actor="desk")
    waiting = await letter_of(office, "pickup")
    request_id = waiting.value("リクエストID")
    await report(office)
    doors = [
        renewal.look(office, fingerprint),
        renewal.submit(office, fingerprint, actor=FLOW),
        login.authenticate(office, fingerprint, FLOW, first_password, address=ADDRESS),
        issuance.submit(office, request_id, actor=FLOW),
        pickup.authenticate(office, FLOW, waiting.value("証明書発行用パスワード"), address=ADDRESS),
        issuance.prepare_download(office, old, "abc", "standard", actor=FLOW),
        credentials.create(office, FLOW, actor="desk"),
    ]
    assert [await refused(door) for door in doors] == ["theft_reported"] * len(doors)
    with pytest.raises(Refusal, match="theft"):
        pickup.current(office, request_id)


async def test_no_renewal_is_written_about_while_a_theft_waits(office):
    """The letter comes once it was nothing, and never if it was one."""
    await admit(office)
    bundle, _ = await picked_up(office)
    number = await report(office)
    clock_of(office).set(int(bundle.cert.certificate.not_valid_after_utc.timestamp()) - 20 * 86_400)
    today = scheduler.day_of(office.now())
    assert await scheduler.notify(office, today) == scheduler.Noticed(0, 0)
    await applications.reject(office, number, actor="desk", note="found")
    assert await scheduler.notify(office, today) == scheduler.Noticed(1, 0)


async def test_the_protocol_refuses_what_was_reported(tmp_path):
    """No order, no finalize, whatever vouched for it; revocation by its own account stays possible."""
    async with world(tmp_path) as site:
        client = await site.enrolled()
        done, ready = await client.order(), await client.order()
        valid = await client.post(done.json["finalize"], {"csr": csr(FQDN)})
        assert valid.json["status"] == "valid"
        number = await report(site.office, USER)
        assert ca.store.count_by_status(site.office.database.read()) == {"held": 1}
        told = "the theft of a PC of this user was reported, and has not been decided on"
        for answer in (await client.order(), await client.post(ready.json["finalize"], {"csr": csr(FQDN)})):
            assert (answer.problem, answer.json["detail"]) == ((403, "unauthorized"), told)
        await applications.reject(site.office, number, actor="desk", note="found")
        assert (await client.post(ready.json["finalize"], {"csr": csr(FQDN)})).json["status"] == "valid"
