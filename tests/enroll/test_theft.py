"""A theft that is reported stops everything at once; what is decided then says whether for good."""

import pytest

import ca.store
from ca.revocation import RevocationStatus
from enroll import scheduler, store
from enroll.acme import credentials
from enroll.people import applications, login, register
from enroll.refusals import Refusal
from enroll.requests import issuance, pickup, renewal
from enroll.requests.states import State
from tests.datadirs import admit, clock_of, letter_of, open_office
from tests.enroll.acme.acme_world import FQDN, USER, csr, world
from tests.enroll.test_flow import ADDRESS, FLOW, first_login, picked_up, print_of
from tests.looking import look


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


async def report(ra, user_id=FLOW, reason="lost_or_stolen"):
    return (await applications.apply_reissue(ra, user_id, reason, channel="online", actor=user_id)).number


def certificate(ra, request_id):
    record = ca.store.find_by_order(look(ra.database), request_id)
    return record.status, record.revocation_reason


async def refused(doing):
    with pytest.raises(Refusal) as caught:
        await doing
    return caught.value.code


async def test_a_reported_theft_stops_the_certificate_before_anybody_decides(ra):
    """It is held in the register with its line in the trail; what was in use stays so in its history."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    await first_login(ra, request_id)
    fingerprint = print_of(ra, request_id)
    await report(ra)
    db = look(ra.database)
    assert certificate(ra, request_id) == ("held", None)
    assert ca.store.certificate_status(db, fingerprint) is RevocationStatus.HELD
    assert store.enrollment(db, request_id).state is State.IN_USE
    serial = ca.store.find_by_order(db, request_id).serial
    assert store.audit_page(db, serial, 1)[0]["action"] == "certificate.held"
    await report(ra)
    assert ca.store.last_change(look(ra.database)) == 1


async def test_other_reasons_stop_nothing_before_they_are_decided(ra):
    """The twin: a new PC, a lost mail, and the box that ends the old one on completion."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    for reason in applications.REASONS:
        if reason not in applications.AT_ONCE:
            number = (
                await applications.apply_reissue(
                    ra, FLOW, reason, channel="online", actor=FLOW, revoke_old="at_once"
                )
            ).number
            assert certificate(ra, request_id) == ("issued", None)
            await applications.reject(ra, number, actor="desk", note="", rejection="not_needed")


@pytest.mark.parametrize("revoke_old", [None, "at_once"])
async def test_an_approval_revokes_as_compromised(ra, revoke_old):
    """RFC 5280 section 5.3.1: keyCompromise, which the register, the trail and the list say; others
    stay superseded."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    number = await report(ra)
    held_at = ca.store.find_by_order(look(ra.database), request_id).held_at
    clock_of(ra).advance(seconds=3_600)
    await applications.approve(ra, number, actor="desk", revoke_old=revoke_old)
    assert certificate(ra, request_id) == ("revoked", 1)
    record = ca.store.find_by_order(look(ra.database), request_id)
    assert (record.held_at, record.revoked_at) == (held_at, held_at + 3_600)
    assert store.audit_page(look(ra.database), record.serial, 1)[0]["detail"] == {"reason": "keyCompromise"}
    assert store.enrollment(look(ra.database), request_id).state is State.REVOKED
    _, second = await picked_up(ra)
    assert certificate(ra, second) == ("issued", None)
    await applications.reissue(ra, FLOW, "pc_change", actor="desk", revoke_old="at_once")
    assert certificate(ra, second) == ("revoked", 4)


async def test_what_was_issued_and_not_fetched_yet_is_compromised_too(ra):
    """Its letter may be on the PC that is gone; so may the request that is being signed."""
    await admit(ra)
    request_id = (await letter_of(ra, "pickup")).value("リクエストID")
    await issuance.submit(ra, request_id, actor=FLOW)
    await issuance.complete(ra, request_id)
    await applications.reissue(ra, FLOW, "lost_or_stolen", actor="desk")
    assert certificate(ra, request_id) == ("revoked", 1)
    assert store.enrollment(look(ra.database), request_id).sealed_key is None


@pytest.mark.parametrize(
    ("then", "status", "state"),
    [
        ("nothing", ("held", None), State.ISSUED),
        ("approved", ("revoked", 1), State.REVOKED),
        ("rejected", ("issued", None), State.ISSUED),
    ],
)
async def test_what_is_being_signed_meanwhile_is_no_way_out(ra, then, status, state):
    """Submitted before the report and signed after it: held, revoked, or good, as was decided by then."""
    await admit(ra)
    request_id = (await letter_of(ra, "pickup")).value("リクエストID")
    await issuance.submit(ra, request_id, actor=FLOW)
    number = await report(ra)
    if then == "approved":
        await applications.approve(ra, number, actor="desk")
    elif then == "rejected":
        await applications.reject(ra, number, actor="desk", note="found")
    assert await issuance.recover(ra) == 1
    assert store.enrollment(look(ra.database), request_id).state is state
    assert certificate(ra, request_id) == status


@pytest.mark.parametrize(
    ("ends", "reason"), [("pc_change", 4), ("disabled", 9)], ids=["superseded", "privilegeWithdrawn"]
)
async def test_what_ends_while_it_is_signed_is_revoked_for_the_right_reason(ra, ends, reason):
    """The reason is the one of what ended it, not one for all."""
    await admit(ra)
    request_id = (await letter_of(ra, "pickup")).value("リクエストID")
    await issuance.submit(ra, request_id, actor=FLOW)
    if ends == "disabled":
        await register.disable_user(ra, FLOW, actor="desk")
    else:
        await applications.reissue(ra, FLOW, ends, actor="desk", revoke_old="at_once")
    assert await issuance.recover(ra) == 1
    assert certificate(ra, request_id) == ("revoked", reason)


async def test_a_report_that_is_turned_down_changes_nothing(ra):
    """Found again: every door is open as before, and the trail has both."""
    await admit(ra)
    bundle, request_id = await picked_up(ra)
    number = await report(ra)
    await applications.reject(ra, number, actor="desk", note="found")
    assert certificate(ra, request_id) == ("issued", None)
    clock_of(ra).set(int(bundle.cert.certificate.not_valid_after_utc.timestamp()) - 86_400)
    assert (await renewal.look(ra, print_of(ra, request_id))).renewal.state is State.ACCEPTED
    serial = ca.store.find_by_order(look(ra.database), request_id).serial
    trail = [line["action"] for line in store.audit_page(look(ra.database), serial, 2)]
    assert trail == ["certificate.released", "certificate.held"]


async def test_turning_it_down_frees_nobody_else(ra):
    """Two thefts are two decisions; and what was revoked while it was held stays revoked."""
    await admit(ra)
    _, mine = await picked_up(ra)
    await admit(ra, "OTHER001")
    other = store.enrollments_of(look(ra.database), "OTHER001")[0].request_id
    await issuance.submit(ra, other, actor="OTHER001")
    await issuance.complete(ra, other)
    number, _ = await report(ra), await report(ra, "OTHER001")
    serial = ca.store.find_by_order(look(ra.database), mine).serial
    await ra.database.write(lambda db: ca.store.revoke(db, serial, 5, ra.now()))
    await applications.reject(ra, number, actor="desk", note="found")
    assert certificate(ra, other) == ("held", None)
    assert certificate(ra, mine) == ("revoked", 5)


async def test_an_operator_who_knows_better_lets_the_old_one_go_on(ra):
    """D3: the operator says which. Decided for the pick-up, what was held is good until then."""
    await admit(ra)
    _, old = await picked_up(ra)
    number = await report(ra)
    assert await refused(applications.approve(ra, number, actor="desk", revoke_old="never")) == "conflict"
    assert certificate(ra, old) == ("held", None)
    await applications.approve(ra, number, actor="desk", revoke_old="on_pickup")
    assert certificate(ra, old) == ("issued", None)
    await picked_up(ra)
    assert certificate(ra, old) == ("revoked", 4)


async def test_a_theft_is_a_theft_whatever_waits_already(ra):
    """A milder application becomes one, and so does one that was to end the old certificate on completion;
    nothing makes it another thing again."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    first = (
        await applications.apply_reissue(
            ra, FLOW, "pc_change", channel="online", actor=FLOW, revoke_old="at_once"
        )
    ).number
    assert certificate(ra, request_id) == ("issued", None)
    assert await report(ra) == first
    assert certificate(ra, request_id) == ("held", None)
    later = (
        await applications.apply_reissue(
            ra, FLOW, "mail_lost", channel="online", actor=FLOW, revoke_old="at_once"
        )
    ).number
    found = store.application(look(ra.database), later)
    assert (found.id, found.reason, found.revoke_old) == (first, "lost_or_stolen", "at_once")


async def test_every_door_says_that_a_theft_was_reported(ra):
    """Login, renewal, pick-up by the letter, its download, a new credential: one code, with its own words."""
    await admit(ra)
    _, old = await picked_up(ra)
    first_password = (await letter_of(ra, "user_id")).value("パスワード")
    fingerprint = print_of(ra, old)
    await applications.reissue(ra, FLOW, "pc_change", actor="desk")
    waiting = await letter_of(ra, "pickup")
    request_id = waiting.value("リクエストID")
    await report(ra)
    doors = [
        renewal.look(ra, fingerprint),
        renewal.submit(ra, fingerprint, actor=FLOW),
        login.authenticate(ra, fingerprint, FLOW, first_password, address=ADDRESS),
        issuance.submit(ra, request_id, actor=FLOW),
        pickup.authenticate(ra, FLOW, waiting.value("証明書発行用パスワード"), address=ADDRESS),
        issuance.prepare_download(ra, old, "abc", "standard", actor=FLOW),
        credentials.create(ra, FLOW, actor="desk"),
    ]
    assert [await refused(door) for door in doors] == ["theft_reported"] * len(doors)
    with pytest.raises(Refusal, match="theft"):
        await pickup.current(ra, request_id)


async def test_no_renewal_is_written_about_while_a_theft_waits(ra):
    """The letter comes once it was nothing, and never if it was one."""
    await admit(ra)
    bundle, _ = await picked_up(ra)
    number = await report(ra)
    clock_of(ra).set(int(bundle.cert.certificate.not_valid_after_utc.timestamp()) - 20 * 86_400)
    today = scheduler.day_of(ra.now())
    assert await scheduler.notify(ra, today) == scheduler.Noticed(0, 0)
    await applications.reject(ra, number, actor="desk", note="found")
    assert await scheduler.notify(ra, today) == scheduler.Noticed(1, 0)


async def test_the_protocol_refuses_what_was_reported(tmp_path):
    """No order, no finalize, whatever vouched for it; revocation by its own account stays possible."""
    async with world(tmp_path) as site:
        client = await site.enrolled()
        done, ready = await client.order(), await client.order()
        valid = await client.post(done.json["finalize"], {"csr": csr(FQDN)})
        assert valid.json["status"] == "valid"
        number = await report(site.ra, USER)
        assert ca.store.count_by_status(look(site.ra.database)) == {"held": 1}
        told = "the theft of a PC of this user was reported, and has not been decided on"
        for answer in (await client.order(), await client.post(ready.json["finalize"], {"csr": csr(FQDN)})):
            assert (answer.problem, answer.json["detail"]) == ((403, "unauthorized"), told)
        await applications.reject(site.ra, number, actor="desk", note="found")
        assert (await client.post(ready.json["finalize"], {"csr": csr(FQDN)})).json["status"] == "valid"
