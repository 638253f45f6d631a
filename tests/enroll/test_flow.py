"""The life of a request from mail to login, through the shell, without pages."""

import asyncio
import threading
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

import ca.store
from enroll import scheduler, store
from enroll.jst import day_of
from enroll.mail import store as mail_store
from enroll.people import applications, login, register
from enroll.refusals import Refusal
from enroll.requests import issuance, pickup, renewal
from enroll.requests.enrollment import state_at
from enroll.requests.states import Event, State
from enroll.requests.transitions import apply
from tests.datadirs import SharingWorkers, admit, clock_of, delivered, letter_of, open_office, together
from tests.engines import IN_A_FILE
from tests.looking import Counting, look, rows

FLOW = "K12345678"
ADDRESS = "192.0.2.1"


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


async def picked_up(ra, user_id=FLOW, password="abc"):
    """A user with a certificate in hand: mail, login, Submit, Download."""
    letter = await letter_of(ra, "pickup")
    opened = await pickup.authenticate(ra, user_id, letter.value("証明書発行用パスワード"), address=ADDRESS)
    assert opened.request_id == letter.value("リクエストID")
    await issuance.submit(ra, opened.request_id, actor=user_id)
    await issuance.complete(ra, opened.request_id)
    token = await issuance.prepare_download(ra, opened.request_id, password, "standard", actor=user_id)
    got = await issuance.download(ra, token, opened.request_id, actor=user_id)
    return pkcs12.load_pkcs12(got.content, password.encode()), opened.request_id


def print_of(ra, request_id):
    return ca.store.find_by_order(look(ra.database), request_id).fingerprint


async def first_login(ra, request_id, user_id=FLOW):
    password = (await letter_of(ra, "user_id")).value("パスワード")
    return await login.authenticate(ra, print_of(ra, request_id), user_id, password, address=ADDRESS)


async def test_from_mail_to_login(ra):
    """R11 to R29 and R51: four items in the mail lead to a certificate that logs in."""
    admission = await admit(ra)
    bundle, request_id = await picked_up(ra)
    assert request_id == admission.request_id
    assert bundle.cert.certificate.subject.rfc4514_string() == "CN=K123456780001"
    result = await first_login(ra, request_id)
    assert (result.user.user_id, result.user.password_initial, result.first_use) == (FLOW, True, True)
    assert store.enrollment(look(ra.database), request_id).sealed_key is None


async def test_pickup_mail_has_exactly_four_items(ra):
    """R11: URL, ユーザーID, 証明書発行用パスワード and リクエストID, and no secret in the URL."""
    await admit(ra)
    letter = await letter_of(ra, "pickup")
    assert letter.subject == "【重要】（企業年金ビジネスサービス）クライアント証明書取得に関するご案内"
    url = next(line for line in letter.body.splitlines() if line.startswith("https://"))
    assert url == ra.settings.pickup_url
    labels = [line.partition("：")[0] for line in letter.body.splitlines() if "：" in line]
    assert labels[:3] == ["ユーザーID", "証明書発行用パスワード", "リクエストID"]


@pytest.mark.parametrize("user_id", [FLOW, "NOBODY99"])
async def test_wrong_issue_password_and_unknown_user_get_the_same_answer(ra, user_id):
    """R25: nobody learns which user IDs exist."""
    await admit(ra)
    with pytest.raises(Refusal) as refused:
        await pickup.authenticate(ra, user_id, "wrong", address=ADDRESS)
    assert refused.value == Refusal("bad_credentials")


async def test_guessing_is_throttled_but_the_victim_is_not_locked_out(ra):
    """Ten failures stop one address for a quarter of an hour; the owner elsewhere logs in."""
    await admit(ra)
    password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
    for _ in range(ra.settings.attempts):
        with pytest.raises(Refusal, match="wrong"):
            await pickup.authenticate(ra, FLOW, "guess", address="203.0.113.9")
    with pytest.raises(Refusal) as refused:
        await pickup.authenticate(ra, FLOW, password, address="203.0.113.9")
    assert refused.value == Refusal("throttled", at=ra.now() + ra.settings.attempt_seconds)
    assert (await pickup.authenticate(ra, FLOW, password, address=ADDRESS)).user_id == FLOW
    clock_of(ra).advance(seconds=ra.settings.attempt_seconds)
    assert (await pickup.authenticate(ra, FLOW, password, address="203.0.113.9")).user_id == FLOW


async def test_fifty_submits_give_one_certificate(ra):
    """E19: of fifty parallel Submits one reserves a serial; all see the same request."""
    await admit(ra)
    letter = await letter_of(ra, "pickup")
    request_id = letter.value("リクエストID")
    results = await together(*(issuance.submit(ra, request_id, actor=FLOW) for _ in range(50)))
    assert {r.state for r in results} == {State.PROCESSING}
    assert len({r.serial for r in results}) == 1
    done = await together(*(issuance.complete(ra, request_id) for _ in range(50)))
    assert {r.state for r in done} == {State.ISSUED}
    assert ca.store.count_by_status(look(ra.database)) == {"issued": 1}


async def test_the_same_certificate_again_under_another_password(ra):
    """Z1, R31: until the window closes the mail leads to the same certificate and key."""
    await admit(ra)
    first, _ = await picked_up(ra, password="one")
    second, request_id = await picked_up(ra, password="two")
    assert first.cert.certificate == second.cert.certificate
    assert first.key.private_numbers() == second.key.private_numbers()
    actions = [line["action"] for line in store.audit_page(look(ra.database), request_id, 50)]
    assert actions.count("p12.built") == 2


async def test_the_fifth_download_is_the_last(ra):
    """E1: five downloads, then the refusal."""
    await admit(ra)
    for _ in range(ra.settings.window_downloads):
        await picked_up(ra)
    with pytest.raises(Refusal) as refused:
        await picked_up(ra)
    assert refused.value.code == "not_available"


async def test_the_key_goes_with_the_last_download(ra):
    """E1, D2: no key once the downloads are used up and the last button has had its time (E20)."""
    await admit(ra)
    for _ in range(ra.settings.window_downloads - 1):
        _, request_id = await picked_up(ra)
    clock_of(ra).advance(days=1)
    token = await issuance.prepare_download(ra, request_id, "x", "standard", actor=FLOW)
    last = await issuance.download(ra, token, request_id, actor=FLOW)
    clock_of(ra).advance(seconds=ra.settings.ticket_seconds - 1)
    await scheduler.close_overdue(ra)
    assert await issuance.download(ra, token, request_id, actor=FLOW) == last
    clock_of(ra).advance(seconds=1)
    await scheduler.close_overdue(ra)
    closed = store.enrollment(look(ra.database), request_id)
    assert (closed.state, closed.sealed_key) == (State.PICKED_UP, None)
    assert not list(rows(look(ra.database), "SELECT 1 FROM tickets"))


async def test_no_file_is_kept_when_the_key_was_wiped_while_it_was_built(ra):
    """E1: a login wipes the key and every built file, the one that is being built included."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    built, go_on = asyncio.Event(), asyncio.Event()

    class Holding(SharingWorkers):
        async def run(self, *work):
            content = await super().run(*work)
            built.set()
            await go_on.wait()
            return content

    slow = replace(ra, workers=Holding(processes=1))
    building = asyncio.ensure_future(issuance.prepare_download(slow, request_id, "x", "standard", actor=FLOW))
    await built.wait()
    await ra.database.write(lambda db: apply(db, ra, request_id, Event.USE, ra.now(), actor=FLOW))
    go_on.set()
    with pytest.raises(Refusal) as refused:
        await building
    assert refused.value.code == "not_available"
    assert not list(rows(look(ra.database), "SELECT 1 FROM tickets"))


async def test_a_download_fetched_again_counts_once(ra):
    """E20: a download manager fetches the same button's file twice; a foreign request does not."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    token = await issuance.prepare_download(ra, request_id, "x", "standard", actor=FLOW)
    first = await issuance.download(ra, token, request_id, actor=FLOW)
    assert await issuance.download(ra, token, request_id, actor=FLOW) == first
    assert store.enrollment(look(ra.database), request_id).downloads == 2
    with pytest.raises(Refusal, match="expired"):
        await issuance.download(ra, token, "another", actor=FLOW)
    clock_of(ra).advance(seconds=ra.settings.ticket_seconds)
    with pytest.raises(Refusal, match="expired"):
        await issuance.download(ra, token, request_id, actor=FLOW)


async def test_after_the_window_the_key_is_gone_and_the_answer_is_z4(ra):
    """E1, R30: the window closes, no row holds a key, the right password leads to the refusal."""
    await admit(ra)
    await picked_up(ra)
    clock_of(ra).advance(days=30)
    await scheduler.close_overdue(ra)
    assert not list(rows(look(ra.database), "SELECT 1 FROM enrollments WHERE sealed_key IS NOT NULL"))
    assert not list(rows(look(ra.database), "SELECT 1 FROM tickets"))
    with pytest.raises(Refusal) as refused:
        await picked_up(ra)
    assert refused.value.code == "not_available"


@IN_A_FILE
async def test_a_wiped_key_is_in_no_file(ra):
    """E1: a copy of the directory, made after the window closed, holds the sealed key nowhere."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    sealed = store.enrollment(look(ra.database), request_id).sealed_key

    def files_with_it():
        directory = ra.database.folder
        return [path.name for path in directory.rglob("*") if path.is_file() and sealed in path.read_bytes()]

    await scheduler.tick(ra)
    assert files_with_it() == ["sekisho.db"]
    await first_login(ra, request_id)
    await scheduler.tick(ra)
    assert files_with_it() == []


async def test_a_certificate_in_use_is_not_picked_up_again(ra):
    """Its key went with the first login: whoever has the letter still is told at the door."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
    assert (await pickup.authenticate(ra, FLOW, password, address=ADDRESS)).request_id == request_id
    assert (await pickup.current(ra, request_id)).request_id == request_id
    await first_login(ra, request_id)
    with pytest.raises(Refusal) as refused:
        await pickup.authenticate(ra, FLOW, password, address=ADDRESS)
    assert refused.value.code == "not_available"
    with pytest.raises(Refusal) as refused:
        await pickup.current(ra, request_id)
    assert refused.value.code == "not_available"


async def test_a_reissue_ends_the_old_request_at_once_and_the_certificate_on_pickup(ra):
    """E2, D3: old request ID and issue password die; the old certificate works until pick-up."""
    await admit(ra)
    old = await letter_of(ra, "pickup")
    _, old_request = await picked_up(ra)
    await applications.reissue(ra, FLOW, "pc_change", actor="desk")
    with pytest.raises(Refusal, match="ended"):
        await pickup.authenticate(ra, FLOW, old.value("証明書発行用パスワード"), address=ADDRESS)
    assert ca.store.find_by_order(look(ra.database), old_request).status == "issued"
    bundle, new_request = await picked_up(ra)
    assert bundle.cert.certificate.subject.rfc4514_string() == "CN=K123456780002"
    assert ca.store.find_by_order(look(ra.database), old_request).status == "revoked"
    assert ca.store.find_by_order(look(ra.database), new_request).status == "issued"
    assert store.enrollment(look(ra.database), old_request).state is State.SUPERSEDED


async def test_a_reissue_ends_what_is_being_signed_when_it_is_picked_up(ra):
    """D3: a renewal of the old certificate that was submitted meanwhile does not outlive it."""
    await admit(ra)
    bundle, old_request = await picked_up(ra)
    clock_of(ra).set(int(bundle.cert.certificate.not_valid_after_utc.timestamp()) - 10 * 86_400)
    await applications.reissue(ra, FLOW, "pc_change", actor="desk")
    begun = await renewal.submit(ra, print_of(ra, old_request), actor=FLOW)
    _, new_request = await picked_up(ra)
    assert (await issuance.complete(ra, begun.request_id)).state is State.SUPERSEDED
    assert await issuance.recover(ra) == 1
    for request_id in (old_request, begun.request_id):
        assert ca.store.find_by_order(look(ra.database), request_id).status == "revoked"
    assert ca.store.find_by_order(look(ra.database), new_request).status == "issued"


async def test_a_reissue_after_theft_revokes_at_once(ra):
    """D3: lost or stolen means revoked now."""
    await admit(ra)
    _, old_request = await picked_up(ra)
    await applications.reissue(ra, FLOW, "lost_or_stolen", actor="desk")
    assert ca.store.find_by_order(look(ra.database), old_request).status == "revoked"


async def test_an_application_that_waits_becomes_urgent_when_the_pc_is_stolen(ra):
    """D3, E19: theft reported while a milder application is open revokes at once; nothing takes that back."""
    await admit(ra)
    _, old_request = await picked_up(ra)
    first = (await applications.apply_reissue(ra, FLOW, "pc_change", channel="online", actor=FLOW)).number
    stolen = (
        await applications.apply_reissue(ra, FLOW, "lost_or_stolen", channel="online", actor=FLOW)
    ).number
    later = (await applications.apply_reissue(ra, FLOW, "mail_lost", channel="online", actor=FLOW)).number
    assert first == stolen == later
    urgent = store.application(look(ra.database), first)
    assert (urgent.reason, urgent.revoke_old) == ("lost_or_stolen", "at_once")
    trail = [line["action"] for line in store.audit_page(look(ra.database), str(first), 9)]
    assert trail == ["application.hastened", "application.submitted"]
    await applications.approve(ra, first, actor="desk")
    assert ca.store.find_by_order(look(ra.database), old_request).status == "revoked"


async def test_a_reissue_leaves_user_id_and_password(ra):
    """R24: no second ID notice, the login password is unchanged."""
    await admit(ra)
    before = store.user(look(ra.database), FLOW).password_hash
    await applications.reissue(ra, FLOW, "mail_lost", actor="desk")
    assert store.user(look(ra.database), FLOW).password_hash == before
    kinds = [letter.name.partition("-")[2] for letter in await delivered(ra)]
    assert kinds.count("user_id.eml") == 1


async def test_renewal_from_the_mail_to_the_new_certificate(ra):
    """R14, R32 to R37: the D-30 mail's request ID and name are those of the renewal."""
    await admit(ra)
    bundle, request_id = await picked_up(ra)
    await first_login(ra, request_id)
    old_print = print_of(ra, request_id)
    not_after = int(bundle.cert.certificate.not_valid_after_utc.timestamp())
    clock_of(ra).set(not_after - 30 * 86_400)
    counting = Counting(ra.database)
    watched = replace(ra, database=counting)
    assert await scheduler.notify(watched, day_of(ra.now())) == scheduler.Noticed(renewal_30=1)
    assert counting.writes > 0
    # From there on the certificate is looked at for weeks, twice a minute: no transaction for that.
    counting.writes = 0
    assert await scheduler.notify(watched, day_of(ra.now())) == scheduler.Noticed()
    assert counting.writes == 0
    letter = await letter_of(ra, "renewal_30")
    opened = await renewal.look(ra, old_print)
    assert (opened.renewal.request_id, opened.source.common_name) == (
        letter.value("リクエストID"),
        letter.value("コモンネーム"),
    )
    assert renewal.status(look(ra.database), old_print) == []
    results = await together(*(renewal.submit(ra, old_print, actor=FLOW) for _ in range(50)))
    assert len({r.serial for r in results}) == 1
    renewed = await issuance.complete(ra, opened.renewal.request_id)
    assert [row.request_id for row in renewal.status(look(ra.database), old_print)] == [renewed.request_id]
    token = await issuance.prepare_download(ra, renewed.request_id, "pw", "compatible", actor=FLOW)
    got = await issuance.download(ra, token, renewed.request_id, actor=FLOW)
    new = pkcs12.load_pkcs12(got.content, b"pw").cert.certificate
    assert new.subject == bundle.cert.certificate.subject
    assert new.serial_number != bundle.cert.certificate.serial_number
    assert ca.store.find_by_order(look(ra.database), request_id).status == "issued"
    clock_of(ra).set(not_after - 7 * 86_400)
    assert await scheduler.notify(ra, day_of(ra.now())) == scheduler.Noticed()


@pytest.mark.parametrize("days", [-1, 3])
async def test_a_renewed_certificate_can_be_ended_some_days_after(tmp_path, days):
    """D3: the old one stays valid until its own end, unless the policy ends it N days after first use."""
    async with open_office(tmp_path, revoke_renewed_days=days) as ra:
        await admit(ra)
        bundle, request_id = await picked_up(ra)
        not_after = int(bundle.cert.certificate.not_valid_after_utc.timestamp())
        clock_of(ra).set(not_after - 20 * 86_400)
        begun = await renewal.submit(ra, print_of(ra, request_id), actor=FLOW)
        await issuance.complete(ra, begun.request_id)
        await first_login(ra, begun.request_id)
        clock_of(ra).advance(days=2)
        await scheduler.tick(ra)
        assert ca.store.find_by_order(look(ra.database), request_id).status == "issued"
        clock_of(ra).advance(days=1)
        await scheduler.tick(ra)
        expected = "issued" if days < 0 else "revoked"
        assert ca.store.find_by_order(look(ra.database), request_id).status == expected


async def test_reminder_on_d_7_once(ra):
    """R15: one mail on D-30, one on D-7; downtime over D-30 is caught up once."""
    await admit(ra)
    bundle, _ = await picked_up(ra)
    not_after = int(bundle.cert.certificate.not_valid_after_utc.timestamp())
    clock_of(ra).set(not_after - 31 * 86_400)
    assert await scheduler.notify(ra, day_of(ra.now())) == scheduler.Noticed()
    clock_of(ra).set(not_after - 20 * 86_400)
    assert await scheduler.notify(ra, day_of(ra.now())) == scheduler.Noticed(renewal_30=1)
    for days in (7, 6, 1):
        clock_of(ra).set(not_after - days * 86_400)
        seven = await scheduler.notify(ra, day_of(ra.now()))
        assert seven == scheduler.Noticed(renewal_7=1 if days == 7 else 0)


async def test_renewal_is_refused_outside_its_period(ra):
    """E9, R38: before D-30 the first day is told; after the end only a reissue helps."""
    await admit(ra)
    bundle, request_id = await picked_up(ra)
    not_after = int(bundle.cert.certificate.not_valid_after_utc.timestamp())
    with pytest.raises(Refusal) as early:
        await renewal.look(ra, print_of(ra, request_id))
    assert early.value.code == "not_yet_renewable"
    assert 30 <= (not_after - early.value.at) / 86_400 < 31
    clock_of(ra).set(not_after + 1)
    for _ in ("before the scheduler saw it", "after"):
        with pytest.raises(Refusal) as late:
            await renewal.look(ra, print_of(ra, request_id))
        assert late.value == Refusal("renewal_over", at=not_after)
        await scheduler.close_overdue(ra)


@pytest.mark.parametrize("grace_days", [0, 10])
async def test_the_renewal_period_has_its_last_second(tmp_path, grace_days):
    """D8, RFC 5280 section 4.1.2.5: notAfter is in the period, and so is the grace that an operator sets."""
    async with open_office(tmp_path, grace_days=grace_days) as ra:
        await admit(ra)
        bundle, request_id = await picked_up(ra)
        last = int(bundle.cert.certificate.not_valid_after_utc.timestamp()) + grace_days * 86_400
        clock_of(ra).set(last)
        await scheduler.close_overdue(ra)
        assert store.enrollment(look(ra.database), request_id).state is State.PICKED_UP
        opened = await renewal.look(ra, print_of(ra, request_id))
        await issuance.submit(ra, opened.renewal.request_id, actor=FLOW)
        clock_of(ra).advance(seconds=1)
        await scheduler.close_overdue(ra)
        with pytest.raises(Refusal) as refused:
            await renewal.look(ra, print_of(ra, request_id))
        assert refused.value.code == "renewal_over"
        # What has expired is said so, and not stored: nothing was done to it.
        found = store.enrollment(look(ra.database), request_id)
        assert (found.state, state_at(found, ra.now())) == (State.PICKED_UP, State.EXPIRED)


async def test_an_order_outlives_the_certificate_it_renews(ra):
    """E7: submitted at 23:59, downloaded at 00:01."""
    await admit(ra)
    bundle, request_id = await picked_up(ra)
    not_after = int(bundle.cert.certificate.not_valid_after_utc.timestamp())
    clock_of(ra).set(not_after - 60)
    begun = await renewal.submit(ra, print_of(ra, request_id), actor=FLOW)
    clock_of(ra).set(not_after + 60)
    await scheduler.close_overdue(ra)
    await issuance.complete(ra, begun.request_id)
    token = await issuance.prepare_download(ra, begun.request_id, "pw", "standard", actor=FLOW)
    assert (await issuance.download(ra, token, begun.request_id, actor=FLOW)).content


async def test_a_crash_between_serial_and_certificate_is_finished_later(tmp_path):
    """A reservation without a certificate is signed after the restart, once, under the same serial."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        request_id = (await letter_of(ra, "pickup")).value("リクエストID")
        begun = await issuance.submit(ra, request_id, actor=FLOW)
    async with open_office(tmp_path) as ra:
        assert await issuance.recover(ra) == 1
        assert await issuance.recover(ra) == 0
        issued = store.enrollment(look(ra.database), request_id)
        assert (issued.state, issued.serial) == (State.ISSUED, begun.serial)


async def test_a_user_disabled_while_signing_gets_a_revoked_certificate(ra):
    """E6, E27: nothing issued to a disabled user stays valid, and no mail goes out."""
    await admit(ra)
    request_id = (await letter_of(ra, "pickup")).value("リクエストID")
    await issuance.submit(ra, request_id, actor=FLOW)
    await register.disable_user(ra, FLOW, actor="desk")
    assert (await issuance.complete(ra, request_id)).state is State.REVOKED
    assert ca.store.find_by_order(look(ra.database), request_id).status == "revoked"
    with pytest.raises(Refusal) as refused:
        await applications.reissue(ra, FLOW, "mail_lost", actor="desk")
    assert refused.value.code == "user_disabled"


async def test_another_users_certificate_does_not_log_in(ra):
    """R51: user A's certificate with user B's ID fails whatever the password, is audited, and is no guess."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    await admit(ra, "K87654321")
    password = (await letter_of(ra, "user_id")).value("パスワード")
    for typed in (password, "wrong", ""):
        with pytest.raises(Refusal) as refused:
            await login.authenticate(ra, print_of(ra, request_id), "K87654321", typed, address=ADDRESS)
        assert refused.value == Refusal("wrong_user_id", field="user_id")
    trail = store.audit_page(look(ra.database), FLOW, 10)
    assert trail[0]["action"] == "login.wrong_user"


async def test_a_wrong_user_id_stops_nobody_and_fills_no_disk(ra):
    """However often: the right login is not paused, and the trail says it so often and no more."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    mark = print_of(ra, request_id)
    password = (await letter_of(ra, "user_id")).value("パスワード")
    for _ in range(ra.settings.attempts + 3):
        with pytest.raises(Refusal, match="not the one of the certificate"):
            await login.authenticate(ra, mark, "NOBODY99", password, address=ADDRESS)
    assert (await login.authenticate(ra, mark, FLOW, password, address=ADDRESS)).user.user_id == FLOW
    trail = store.audit_page(look(ra.database), FLOW, 50)
    assert len([row for row in trail if row["action"] == "login.refused"]) == ra.settings.attempts


@pytest.mark.parametrize(
    ("password", "confirmation", "code"),
    [
        ("", "", "password_empty"),
        ("ａ１", "ａ１", "password_characters"),
        ("あ", "あ", "password_characters"),
        ("a b", "a b", "password_characters"),
        ("a-b", "a-b", "password_characters"),
        ("abc", "abd", "password_mismatch"),
        ("a" * 2000, "a" * 2000, "password_too_long"),
    ],
)
def test_p12_passwords_are_half_width_letters_and_digits(password, confirmation, code):
    """R28: the form refuses what readers of PKCS#12 refuse."""
    assert issuance.p12_password_problem(password, confirmation).code == code
    assert issuance.p12_password_problem("a" * 200, "a" * 200) is None


async def test_the_first_password_is_changed(ra):
    """The initial password is replaced; the old one and a weak one are refused."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    old = (await letter_of(ra, "user_id")).value("パスワード")
    with pytest.raises(Refusal) as weak:
        await login.change_password(ra, FLOW, old, "short1", "short1")
    assert weak.value == Refusal("weak_password", field="new")
    with pytest.raises(Refusal) as same:
        await login.change_password(ra, FLOW, old, old, old)
    assert same.value.code in ("same_password", "weak_password")
    await login.change_password(ra, FLOW, old, "Tegata2026", "Tegata2026")
    result = await login.authenticate(ra, print_of(ra, request_id), FLOW, "Tegata2026", address=ADDRESS)
    assert result.user.password_initial is False


async def test_a_login_is_over_if_the_password_changes_while_it_is_checked(ra):
    """The old password was right when it was looked at, and opens nothing once there is a new one."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    release = threading.Event()
    busy = [asyncio.ensure_future(ra.workers.run_in_thread(release.wait)) for _ in range(2)]
    old_one = asyncio.ensure_future(first_login(ra, request_id))
    async with asyncio.timeout(60):
        while ra.workers.waiting == 0:  # until the check of the password waits for a thread
            await asyncio.sleep(0.001)
    user = store.user(look(ra.database), FLOW)
    assert await ra.database.write(lambda db: store.set_password(db, FLOW, user.password_hash, "new"))
    release.set()
    with pytest.raises(Refusal) as refused:
        await old_one
    assert refused.value == Refusal("bad_credentials")
    assert store.audit_page(look(ra.database), FLOW, 1)[0]["action"] == "login.refused"
    await asyncio.gather(*busy)


async def test_secrets_are_masked_for_operators_and_wiped_after_delivery(ra):
    """House rule 7: what operators read has no password, and a sent mail leaves no body behind."""

    await admit(ra)
    letter = await letter_of(ra, "pickup")
    db = look(ra.database)
    for row in mail_store.listed(db):
        shown = mail_store.shown(db, row["id"])["shown_body"]
        assert letter.value("証明書発行用パスワード") not in shown
    assert not list(rows(db, "SELECT 1 FROM mails WHERE sealed_body IS NOT NULL"))
