"""What changes about people and organisations, and what never does."""

from dataclasses import replace

import pytest

from enroll import scheduler, store
from enroll.mail import store as mail_store
from enroll.people import applications, changes, login, register
from enroll.refusals import Refusal
from enroll.requests import issuance, pickup, renewal
from enroll.requests.states import State
from tests.datadirs import POLICY_NUMBER, admit, clock_of, delivered, letter_of, open_office
from tests.looking import look

USER = "K12345678"
ADDRESS = "192.0.2.1"


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


async def issued(ra):
    """The user's certificate, picked up from the mail; its fingerprint and enrollment."""
    mail = await letter_of(ra, "pickup")
    password = mail.value("証明書発行用パスワード")
    opened = await pickup.authenticate(ra, USER, password, address=ADDRESS)
    await issuance.submit(ra, opened.request_id, actor=USER)
    done = await issuance.complete(ra, opened.request_id)
    token = await issuance.prepare_download(ra, opened.request_id, "abc", "standard", actor=USER)
    await issuance.download(ra, token, opened.request_id, actor=USER)
    return login.certificates_of(look(ra.database), USER)[0].fingerprint, done


async def refused(coroutine):
    with pytest.raises(Refusal) as raised:
        await coroutine
    return raised.value.code, raised.value.field


def recipients(ra):
    """Kind -> where the newest letter of it goes."""
    letters = reversed(mail_store.listed(look(ra.database), USER))
    return {letter["kind"]: letter["recipient"] for letter in letters}


async def test_a_wrong_mail_address_is_mended_and_the_reissue_arrives(ra):
    """E13, R16: nothing is sent again; the mail of the reissue goes to the right address."""
    await admit(ra)
    await delivered(ra)
    await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="desk")
    assert recipients(ra)["pickup"] == "k12345678@example.jp"
    await applications.reissue(ra, USER, "mail_lost", actor="desk")
    assert recipients(ra)["pickup"] == "right@example.jp"
    trail = store.audit_page(look(ra.database), USER, 10)
    assert next(line["detail"] for line in trail if line["action"] == "user.changed") == {
        "mail": ["k12345678@example.jp", "right@example.jp"]
    }


async def test_letters_that_wait_go_to_the_new_address(ra):
    """E13: a letter that no server has taken yet is not sent to an address that is known to be wrong."""
    await admit(ra)
    await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="desk")
    assert set(recipients(ra).values()) == {"right@example.jp"}


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"mail": "no address"}, "invalid_input", "mail"),
        ({"mail": ""}, "invalid_input", "mail"),
        ({"name": " "}, "invalid_input", "name"),
        ({"role": "owner"}, "invalid_input", "role"),
        ({"policy_number": "99999999"}, "not_found", "policy_number"),
    ],
)
async def test_a_wrong_change_changes_nothing(ra, changed, code, field):
    """The rules are those of a new user (R2); the field at fault is named."""
    await admit(ra)
    before = store.user(look(ra.database), USER)
    wrong = {"name": "年金 花子", **changed}
    assert await refused(changes.change_user(ra, USER, wrong, actor="desk")) == (code, field)
    assert store.user(look(ra.database), USER) == before


async def test_nobody_is_changed_who_is_unknown(ra):
    """The twin: no user, no organisation."""
    name = {"name": "x"}
    assert await refused(changes.change_user(ra, USER, name, actor="desk")) == ("not_found", "user_id")
    unknown = ("not_found", "policy_number")
    assert await refused(changes.change_organisation(ra, "1234", name, actor="desk")) == unknown
    assert await refused(changes.disable_organisation(ra, "1234", actor="desk")) == unknown
    assert await refused(changes.enable_organisation(ra, "1234", actor="desk")) == unknown
    assert await refused(changes.reset_password(ra, USER, actor="desk")) == ("not_found", "user_id")


async def test_a_new_policy_number_changes_no_certificate(ra):
    """E26: users and applications follow; name, request and right of the certificate stay."""
    await admit(ra)
    fingerprint, before = await issued(ra)
    number = (await applications.apply_reissue(ra, USER, "pc_change", channel="paper", actor="desk")).number
    await changes.change_organisation(
        ra, POLICY_NUMBER, {"policy_number": "99990001", "name": "合併 基金"}, actor="desk"
    )
    db = look(ra.database)
    assert store.organisation(db, POLICY_NUMBER) is None
    assert store.user(db, USER).policy_number == "99990001"
    assert store.application(db, number).policy_number == "99990001"
    assert store.enrollment(db, before.request_id).common_name == before.common_name == "K123456780001"
    assert renewal.source_of(db, fingerprint).user_id == USER
    initial = (await letter_of(ra, "user_id")).value("パスワード")
    assert (await login.authenticate(ra, fingerprint, USER, initial, address=ADDRESS)).first_use


async def test_an_addition_follows_a_new_policy_number(ra):
    """E26, E19: what waits is completed in the organisation as it is called now, and is asked for once."""
    await admit(ra)
    person = register.Person(POLICY_NUMBER, "新規 太郎", "shinki@example.jp")
    number = (await applications.apply_addition(ra, person, channel="online", actor=USER)).number
    await changes.change_organisation(ra, POLICY_NUMBER, {"policy_number": "99990001"}, actor="desk")
    again = replace(person, policy_number="99990001")
    assert (await applications.apply_addition(ra, again, channel="online", actor=USER)).number == number
    made = await applications.approve(ra, number, actor="desk")
    user = store.user(look(ra.database), made.user_id)
    assert (user.policy_number, user.name) == ("99990001", "新規 太郎")


async def test_a_taken_policy_number_is_refused(ra):
    """The twin: two organisations never become one by a slip of the hand."""
    await admit(ra)
    await register.add_organisation(ra, "99990001", "別 基金", actor="desk")
    changed = {"policy_number": "99990001"}
    assert await refused(changes.change_organisation(ra, POLICY_NUMBER, changed, actor="desk")) == (
        "conflict",
        "policy_number",
    )
    assert store.user(look(ra.database), USER).policy_number == POLICY_NUMBER


async def test_a_user_moves_into_another_organisation(ra):
    """E26: after a merger its rules count, also for what waits for a decision; the certificate stays."""
    await admit(ra)
    _, before = await issued(ra)
    number = (await applications.apply_reissue(ra, USER, "pc_change", channel="online", actor=USER)).number
    await register.add_organisation(ra, "99990001", "新 基金", actor="desk", issue_password_by="postcard")
    await changes.change_user(ra, USER, {"policy_number": "99990001"}, actor="desk")
    made = await applications.approve(ra, number, actor="desk")
    assert "issue_password" in recipients(ra)
    assert made.common_name == "K123456780002"
    assert store.enrollment(look(ra.database), before.request_id).common_name == "K123456780001"


async def test_a_second_pc_where_the_organisation_allows_it(ra):
    """E18: one certificate is on one PC; with two lineages both log in, and a third is one too many."""
    await admit(ra)
    first, _ = await issued(ra)
    initial = (await letter_of(ra, "user_id")).value("パスワード")
    beside = {"actor": "desk", "revoke_old": "never"}
    too_many = ("limit_reached", "lineages")
    assert await refused(applications.reissue(ra, USER, "pc_change", **beside)) == too_many
    assert store.applications(look(ra.database), state="submitted") == []
    await changes.change_organisation(ra, POLICY_NUMBER, {"lineages": 2}, actor="desk")
    await applications.reissue(ra, USER, "pc_change", **beside)
    second, made = await issued(ra)
    assert (made.common_name, made.revoke_old) == ("K123456780002", "never")
    for fingerprint in (first, second):
        assert (await login.authenticate(ra, fingerprint, USER, initial, address=ADDRESS)).first_use
    number = (await applications.apply_reissue(ra, USER, "pc_change", channel="online", actor=USER)).number
    assert await refused(applications.approve(ra, number, **beside)) == too_many
    # As ever: the one for the PC that was changed takes the place of all others.
    await applications.approve(ra, number, actor="desk")
    third, _ = await issued(ra)
    certificates = login.certificates_of(look(ra.database), USER)
    assert [(each.fingerprint == third, each.status) for each in certificates] == [
        (True, "issued"),
        (False, "revoked"),
        (False, "revoked"),
    ]


async def test_a_further_pc_ends_no_renewal(ra):
    """E18, E10: beside a further PC the first one's renewal lives on, its only one; request IDs die (E2)."""
    await admit(ra)
    first, enrollment = await issued(ra)
    await changes.change_organisation(ra, POLICY_NUMBER, {"lineages": 2}, actor="desk")
    clock_of(ra).set(enrollment.not_after_at - 20 * 86_400)
    waiting = (await renewal.look(ra, first)).renewal
    beside = {"actor": "desk", "revoke_old": "never"}
    opened = await applications.reissue(ra, USER, "pc_change", **beside)
    assert (await renewal.look(ra, first)).renewal == replace(waiting, opened_at=ra.now())
    await applications.reissue(ra, USER, "pc_change", **beside)
    assert store.enrollment(look(ra.database), opened.request_id).state is State.SUPERSEDED
    await renewal.submit(ra, first, actor=USER)
    await issuance.complete(ra, waiting.request_id)
    await applications.reissue(ra, USER, "pc_change", **beside)
    assert store.enrollment(look(ra.database), waiting.request_id).state is State.ISSUED
    # The twin: a reissue for another PC takes the place of all of it.
    await applications.reissue(ra, USER, "pc_change", actor="desk")
    assert store.enrollment(look(ra.database), waiting.request_id).state is State.SUPERSEDED


async def test_a_report_of_theft_is_never_made_milder_by_chance(ra):
    """D3: whoever asks for something else while it waits ends the stolen PC's certificate all the same."""
    await admit(ra)
    await issued(ra)
    await changes.change_organisation(ra, POLICY_NUMBER, {"lineages": 2}, actor="desk")
    stolen = applications.reissue(ra, USER, "lost_or_stolen", actor="desk", revoke_old="never")
    assert await refused(stolen) == ("conflict", "revoke_old")
    assert store.applications(look(ra.database), state="submitted") == []
    number = (
        await applications.apply_reissue(ra, USER, "lost_or_stolen", channel="online", actor=USER)
    ).number
    beside = {"actor": "desk", "revoke_old": "never"}
    conflict = ("conflict", "application")
    assert await refused(applications.reissue(ra, USER, "pc_change", **beside)) == conflict
    assert await refused(applications.approve(ra, number, **beside)) == conflict
    assert store.application(look(ra.database), number).state == "submitted"
    assert login.certificates_of(look(ra.database), USER)[0].status == "held"
    await applications.reissue(ra, USER, "pc_change", actor="desk", revoke_old="on_pickup")
    assert store.application(look(ra.database), number).state == "approved"
    ended = login.certificates_of(look(ra.database), USER)[0]
    assert (ended.status, ended.revocation_reason) == ("revoked", 1)


async def test_a_disabled_organisation_and_back(ra):
    """E6: no login, no renewal, no mail, and no new user; nothing is revoked, so all is well again after."""
    await admit(ra)
    fingerprint, enrollment = await issued(ra)
    initial = (await letter_of(ra, "user_id")).value("パスワード")
    assert await changes.disable_organisation(ra, POLICY_NUMBER, actor="desk") == [USER]
    again = changes.disable_organisation(ra, POLICY_NUMBER, actor="desk")
    assert await refused(again) == ("conflict", "policy_number")
    entering = login.authenticate(ra, fingerprint, USER, initial, address=ADDRESS)
    assert await refused(entering) == ("user_disabled", "")
    clock_of(ra).set(enrollment.not_after_at - 30 * 86_400)
    await scheduler.tick(ra)
    assert "renewal_30" not in recipients(ra)
    assert await refused(renewal.look(ra, fingerprint)) == ("user_disabled", "")
    other = register.Person(POLICY_NUMBER, "新規 太郎", "shinki@example.jp")
    adding = register.add_user(ra, other, channel="paper", actor="desk")
    assert await refused(adding) == ("user_disabled", "policy_number")
    await changes.enable_organisation(ra, POLICY_NUMBER, actor="desk")
    assert await refused(changes.enable_organisation(ra, POLICY_NUMBER, actor="desk")) == (
        "conflict",
        "policy_number",
    )
    await scheduler.tick(ra)
    assert "renewal_30" in recipients(ra)
    assert (await renewal.look(ra, fingerprint)).source.user_id == USER


async def test_a_forgotten_login_password(ra):
    """A new first password comes in a letter of its own and has to be replaced; the old one is dead."""
    await admit(ra)
    fingerprint, _ = await issued(ra)
    old = (await letter_of(ra, "user_id")).value("パスワード")
    await login.authenticate(ra, fingerprint, USER, old, address=ADDRESS)
    await changes.reset_password(ra, USER, actor="desk")
    new = (await letter_of(ra, "password_reset")).value("パスワード")
    entering = login.authenticate(ra, fingerprint, USER, old, address=ADDRESS)
    assert await refused(entering) == ("bad_credentials", "")
    assert (await login.authenticate(ra, fingerprint, USER, new, address=ADDRESS)).user.password_initial
    assert [letter["kind"] for letter in mail_store.listed(look(ra.database), USER)] == [
        "password_reset",
        "user_id",
        "pickup",
    ]


async def test_only_the_newest_first_password_is_sent(ra):
    """A letter whose password is dead already stays at home; who is disabled is drawn none."""
    await admit(ra)
    for _ in range(2):
        await changes.reset_password(ra, USER, actor="desk")
    assert [each.name for each in await delivered(ra)] == [
        "000001-pickup.eml",
        "000004-password_reset.eml",
    ]
    await register.disable_user(ra, USER, actor="desk")
    assert await refused(changes.reset_password(ra, USER, actor="desk")) == ("user_disabled", "")
