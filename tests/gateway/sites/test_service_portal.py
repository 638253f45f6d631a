"""The portal: what it shows of the own certificates, and applying for new ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ca.keys import spki
from enroll import store
from enroll.jst import JST, shown, shown_day
from enroll.people import applications, changes, login
from enroll.people.register import disable_user
from enroll.requests import issuance, renewal
from enroll.requests.enrollment import Enrollment
from enroll.requests.states import State
from gateway.edge.tls import ClientCertificate
from gateway.sites.service import application
from gateway.sites.service.standing import expected as expected_after
from gateway.sites.service.standing import standing
from gateway.web import sessions
from gateway.web.context import Role
from tests.datadirs import POLICY_NUMBER, START, admit, clock_of, letter_of, open_office
from tests.gateway.sites.kit import Served, serve
from tests.gateway.sites.members import (
    DAY,
    OTHER,
    PASSWORD,
    USER,
    admin_at_home,
    at_home,
    downloaded,
    established,
    fetched,
    fingerprint_of,
    first_password,
    log_in,
    newest,
)
from tests.looking import look

# -- what to say of a certificate, without a server --------------------------------------------------

AT = 1_800_000_000


def enrollment(state: State, ends_in: int | None = None, kind: str = "addition") -> Enrollment:
    not_after = None if ends_in is None else AT + ends_in
    return Enrollment(
        "1", kind, USER, state, "K123456780001", "client-person", "page", AT, not_after_at=not_after
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], ("なし", "plain", None)),
        ([enrollment(State.ACCEPTED)], ("申請受付", "warn", None)),
        ([enrollment(State.PROCESSING)], ("証明書生成中", "warn", None)),
        ([enrollment(State.ISSUED, 31 * DAY)], ("発行済み", "good", 31)),
        ([enrollment(State.IN_USE, 30 * DAY)], ("利用中", "warn", 30)),
        ([enrollment(State.IN_USE, 0)], ("利用中", "warn", 0)),
        ([enrollment(State.IN_USE, -1)], ("期限切れ", "bad", None)),
        ([enrollment(State.EXPIRED, -DAY)], ("期限切れ", "bad", None)),
        ([enrollment(State.REVOKED, 900 * DAY)], ("失効", "bad", None)),
        ([enrollment(State.CLOSED)], ("取得期限切れ", "bad", None)),
        # A renewal that waits, or ended with its source, says nothing of the certificate in hand.
        (
            [enrollment(State.ANNOUNCED, kind="renewal"), enrollment(State.IN_USE, 20 * DAY)],
            ("利用中", "warn", 20),
        ),
        (
            [enrollment(State.EXPIRED, kind="renewal"), enrollment(State.REVOKED, 20 * DAY)],
            ("失効", "bad", None),
        ),
        # A reissue under way: the old one counts until the new one is there.
        (
            [enrollment(State.ANNOUNCED, kind="reissue"), enrollment(State.IN_USE, 90 * DAY)],
            ("利用中", "good", 90),
        ),
    ],
)
def test_a_persons_certificates_in_one_word(
    found: list[Enrollment], said: tuple[str, str, int | None]
) -> None:
    """The newest that counts, else why none does; the last second still counts."""
    told = standing(found, AT, 30)
    assert (told.label[0], told.tone, told.days) == said


def test_the_certificate_in_use_counts_before_a_newer_one() -> None:
    """Whoever has fetched a renewal and not logged in with it uses the old one, whose days are left."""
    old, new = enrollment(State.IN_USE, 20 * DAY), enrollment(State.PICKED_UP, 1_000 * DAY, "renewal")
    told = standing([new, old], AT, 30)
    assert (told.enrollment, told.days, told.unused) == (old, 20, new)
    used = replace(new, state=State.IN_USE)
    assert (standing([used, old], AT, 30).enrollment, standing([used, old], AT, 30).unused) == (used, None)


@pytest.mark.parametrize(
    ("last", "ended_at"),
    [
        (enrollment(State.IN_USE, -DAY), AT - DAY),
        (replace(enrollment(State.REVOKED, 900 * DAY), ended_at=AT - 5), AT - 5),
        (replace(enrollment(State.ANNOUNCED), window_ends_at=AT - 7), AT - 7),
        (replace(enrollment(State.REVOKED, 900 * DAY, "renewal"), issued_at=AT - 9, ended_at=AT - 3), AT - 3),
        (enrollment(State.ANNOUNCED), None),
    ],
)
def test_what_has_ended_says_when(last: Enrollment, ended_at: int | None) -> None:
    """By its date, by a decision, or unfetched; of a renewal that was issued, and not of what it followed."""
    assert standing([last, enrollment(State.RENEWED, -9 * DAY)], AT, 30).ended_at == ended_at


# -- the portal ------------------------------------------------------------------------------------


async def test_the_portal_shows_the_certificate_and_the_days_left(service: Served) -> None:
    """R50: CN, issuer, 有効期限, days left and state; R18: the five labels with their dates."""
    page = await (await at_home(service)).get("/portal/")
    assert page.h1 == "年金 太郎 様"
    facts = dict(page.main.table())
    source = newest(service, USER)
    assert facts == {
        "発行先（コモンネーム）": "K123456780001",
        "発行者": "CORPORATE-PENSION BUSINESS SERVICE CA-G4",
        "シリアル番号": (source.serial or "").upper(),
        "有効期限": f"{shown(source.not_after_at or 0)}（あと1096日）",
        "ステータス": "利用中",
    }
    steps = page.main.one("ol", class_="progress").all("li")
    assert [step.one("strong").text for step in steps] == [
        "ユーザー登録",
        "ユーザーIDのお知らせ",
        "クライアント証明書取得のご案内",
        "クライアント証明書取得のお手続き",
        "オンラインサービスへのログイン",
    ]
    assert [step.lines[-1] for step in steps] == ["2026.11.22 12:00"] * 5
    assert page.main.all("section") == []


async def test_the_portal_leads_to_the_service_behind_it(tmp_path: Path) -> None:
    """Where an upstream has a first page, the portal opens it; without one there is no such button."""
    links = []
    for start in ("/app/", ""):
        async with (
            open_office(tmp_path / f"at{start}") as ra,
            serve(
                ra,
                tmp_path / f"at{start}",
                Role.SERVICE,
                lambda gate, start=start: application(replace(gate, start=start)),
                ClientCertificate.REQUIRE,
            ) as served,
        ):
            await admit(ra, USER)
            page = await (await at_home(served)).get("/portal/")
            links.append([a.attributes["href"] for a in page.main.all("a") if "開く" in a.text])
    assert links == [["/app/"], []]


async def test_members_have_no_menu_of_the_administrator(service: Served) -> None:
    """The twin: an administrator has it."""
    member = (await (await at_home(service)).get("/portal/")).menu()
    assert member == [
        "トップ",
        "証明書の確認",
        "再発行の申請",
        "申請の状況",
        "ログインの状況",
        "言語の設定",
        "パスワードの変更",
        "ログアウト",
    ]
    admin = (await (await admin_at_home(service)).get("/portal/")).menu()
    only = [entry for entry in admin if entry not in member]
    assert only == ["ユーザー一覧", "期限・取得の状況", "ユーザーID追加発行"]


@pytest.mark.parametrize(("days", "hinted"), [(31, False), (30, True), (1, True)])
async def test_the_renewal_is_hinted_at_from_d_30(service: Served, days: int, hinted: bool) -> None:
    """R15's day: the portal leads to the renewal site as the mail does."""
    visitor = await at_home(service)
    clock_of(service.ra).set((newest(service, USER).not_after_at or 0) - days * 86_400)
    page = await log_in(visitor)
    links = [each.attributes["href"] for each in page.main.all("a")]
    assert (f"{service.gate.origins[Role.RENEWAL]}/" in links) is hinted
    assert (f"あと{days}日です" in page.main.text) is hinted


async def test_an_interrupted_renewal_is_hinted_at(service: Served) -> None:
    """R39: 更新の再申請 continues it until it was fetched; then it is the one to choose (E11).

    Whoever presents the renewed certificate has nothing left to do.
    """
    visitor = await at_home(service)
    old = newest(service, USER)
    clock_of(service.ra).set((old.not_after_at or 0) - 20 * 86_400)
    begun = await renewal.submit(service.ra, fingerprint_of(service, old.request_id), actor=USER)
    assert "「更新の再申請」から続けてください。" in (await log_in(visitor)).main.text
    await issuance.complete(service.ra, begun.request_id)
    page = await visitor.get("/portal/")
    assert "「更新の再申請」から続けてください。" in page.main.text
    assert "新しい証明書があります" not in page.main.text
    renewed = await downloaded(service, begun.request_id)
    page = await visitor.get("/portal/")
    assert "新しい証明書があります（コモンネーム K123456780001、" in page.main.text
    assert "更新の再申請" not in page.main.text
    # Their administrator reads which of the two ends when.
    facts = (await (await admin_at_home(service)).get(f"/portal/members/{USER}")).main.table(0)
    ends, new_ends = shown(old.not_after_at or 0), shown_day(newest(service, USER).not_after_at or 0)
    told = f"利用中 {ends}（あと20日） 新証明書 未使用 {new_ends}まで有効"
    assert [row[1] for row in facts if row[0] == "証明書"] == [told]
    page = await log_in(renewed.visitor(service))
    assert "（あと1096日）" in page.main.text
    assert "更新の再申請" not in page.main.text


@pytest.mark.parametrize("by_another", [True, False])
async def test_a_renewal_by_another_is_told_for_a_month(service: Served, by_another: bool) -> None:
    """Who renewed it is not said; that it was, and what to do if nobody here did. Of one's own: nothing."""
    visitor, ra = await at_home(service), service.ra
    old = newest(service, USER)
    clock_of(ra).set((old.not_after_at or 0) - 20 * DAY)
    waiting = (await renewal.look(ra, fingerprint_of(service, old.request_id))).renewal
    key = spki(rsa.generate_private_key(65537, 2048).public_key())
    await ra.database.write(
        lambda db: issuance.begin_for_client(
            db, ra, waiting, key, (), waiting.profile, actor="acme:thief", by_another=by_another
        )
    )
    await issuance.complete(ra, waiting.request_id)
    words = "これまでとは別の方法（別のプログラム、または更新サイト）で更新されました"
    page = await log_in(visitor)
    assert (words in page.main.text) is by_another
    assert ("「パソコンの紛失・盗難」を理由に再発行を申請してください" in page.main.text) is by_another
    clock_of(ra).advance(days=19)
    assert (words in (await log_in(visitor)).main.text) is by_another
    clock_of(ra).advance(seconds=12 * 3_600)
    told = store.audit_page(look(ra.database), old.serial, 9)
    found = [row["actor"] for row in told if row["action"] == "certificate.renewed-by-another"]
    assert found == (["acme:thief"] if by_another else [])


async def test_the_delete_guide_after_the_first_login_with_a_new_certificate(service: Served) -> None:
    """R49: the old certificate's name, serial and end, once there is an old one.

    What was issued and never fetched is on no PC: it is not to be deleted from any.
    """
    visitor = await at_home(service)
    assert "削除してください" not in (await visitor.get("/portal/")).main.text
    old = newest(service, USER)
    clock_of(service.ra).set((old.not_after_at or 0) - 20 * DAY)
    never_fetched = await renewal.submit(service.ra, fingerprint_of(service, old.request_id), actor=USER)
    await issuance.complete(service.ra, never_fetched.request_id)
    await applications.reissue(service.ra, USER, "pc_change", actor="desk")
    new = (await fetched(service)).visitor(service)
    page = await log_in(new)
    guide = page.main.one("section")
    assert guide.one("h2").text == "以前の証明書を削除してください"
    assert guide.table()[1:] == [
        ["K123456780001", (old.serial or "").upper(), shown(old.not_after_at or 0), "再発行により無効"]
    ]
    # One piece of advice, whenever the former one ends; and where that is done.
    assert "有効期限の前でも必要ありません。" in guide.text
    # After a change of the PC it never was on this one.
    assert "このパソコンに残っている場合は、" in guide.text
    assert "削除は、この画面ではなく、Windowsの「証明書」画面で行います。上の証明書を選択" in guide.text
    assert "有効期限が切れた証明書" not in guide.text
    await new.post("/logout")
    assert (await log_in(new)).main.all("section") == []


async def test_two_pcs_are_told_nothing_about_each_other(service: Served) -> None:
    """E18: what is good on another PC is neither to be deleted here nor to be chosen here."""
    visitor = await at_home(service)
    await changes.change_organisation(service.ra, POLICY_NUMBER, {"lineages": 2}, actor="desk")
    clock_of(service.ra).advance(days=1)
    await applications.reissue(service.ra, USER, "pc_change", actor="desk", revoke_old="never")
    other = (await fetched(service)).visitor(service)
    assert "削除してください" not in (await log_in(other)).main.text
    await log_in(visitor)
    page = await visitor.get("/portal/")
    assert (page.status, "新しい証明書があります" in page.main.text) == (200, False)


async def test_the_certificates_page_lists_all_of_them(service: Served) -> None:
    """R48: issuer and common names, which is in use, and how to delete."""
    visitor_of_old = await at_home(service)
    await applications.reissue(service.ra, USER, "pc_change", actor="desk")
    new = (await fetched(service)).visitor(service)
    await log_in(new)
    page = await new.get("/portal/certificates")
    rows = page.main.table()[1:]
    assert [(row[0], row[3]) for row in rows] == [
        ("K123456780002", "利用中 （この画面で使用中）"),
        ("K123456780001", "再発行により無効"),
    ]
    assert "CORPORATE-PENSION BUSINESS SERVICE CA-G4" in page.main.text
    # The page has no such button.
    assert "削除は、この画面ではなく、Windowsの「証明書」画面で行います。" in page.main.text
    # Whoever comes with the former one is told which one it is now.
    page = await visitor_of_old.get("/portal/")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")
    assert "新しい証明書（コモンネーム K123456780002、シリアル番号が " in page.main.text


async def test_who_is_suspended_is_not_sent_to_a_reissue(service: Served) -> None:
    """It would be refused: the page says whom to ask instead; that of somebody else still offers it."""
    visitor = await at_home(service)
    await disable_user(service.ra, USER, actor="desk")
    page = await visitor.get("/portal/")
    assert (page.status, page.h1) == (403, "クライアント証明書は失効しています")
    assert "このユーザーIDは現在ご利用を停止している" in page.main.text
    assert "再発行のお手続き" not in page.main.text


# -- 再発行 ----------------------------------------------------------------------------------------


async def test_the_reissue_form_has_all_six_reasons_and_the_checkbox(service: Served) -> None:
    """R22, E4; FAQ 1: the address that the mail goes to is there to be checked."""
    page = await (await at_home(service)).get("/portal/reissue")
    assert page.labels() == [
        *(words[0] for words in applications.REASONS.values()),
        "発行済みのクライアント証明書を無効にして再発行する",
        "ログインのパスワード",
    ]
    assert len(page.main.all("input", type="radio", name="reason")) == 6
    assert page.main.table()[0][0] == "メールの送信先"
    assert page.main.table()[0][1].startswith(f"{USER.lower()}@example.jp")


@pytest.mark.parametrize("reason", [each for each in applications.REASONS if each != store.THEFT])
@pytest.mark.parametrize("checked", [True, False])
async def test_a_reissue_is_applied_for(service: Served, reason: str, checked: bool) -> None:
    """R22, D3: reason and choice are recorded, and nothing stops before it is decided."""
    visitor = await at_home(service)
    fields = {"reason": reason} | ({"revoke_old": "at_once"} if checked else {})
    page = await visitor.post("/portal/reissue", fields)
    assert page.main.one("div", role="status").text == "申請を受け付けました。"
    facts = dict(page.main.table())
    assert facts["再発行の理由"] == applications.REASONS[reason][0]
    (found,) = store.applications(look(service.ra.database), state="submitted")
    assert (found.reason, found.channel, found.user_id, found.applied_by, found.revoke_old) == (
        reason,
        "online",
        USER,
        USER,
        "at_once" if checked else "on_pickup",
    )
    assert (await visitor.get("/portal/")).status == 200


@pytest.mark.parametrize("fields", [{}, {"reason": "whim"}, {"reason": ""}])
async def test_a_reissue_needs_a_reason(service: Served, fields: dict[str, str]) -> None:
    """The twin: nothing is recorded, the checkbox keeps its mark."""
    page = await (await at_home(service)).post("/portal/reissue", fields | {"revoke_old": "at_once"})
    assert page.status == 422
    assert "再発行の理由を選択してください。" in page.main.lines
    assert "checked" in page.main.one("input", name="revoke_old").attributes
    assert store.applications(look(service.ra.database), state="submitted") == []


async def test_applying_twice_is_applying_once(service: Served) -> None:
    """E19: a double click and a reload give the same application; the page then shows it."""
    visitor = await at_home(service)
    first = await visitor.post("/portal/reissue", {"reason": "pc_change"})
    second = await visitor.post("/portal/reissue", {"reason": "mail_lost"})
    assert first.path == second.path
    page = await visitor.get("/portal/reissue")
    assert page.labels() == ["ログインのパスワード"]  # of the button for a theft
    assert "再発行の申請を受け付けています。" in page.main.text
    assert (await visitor.get("/portal/")).main.all("a", href=first.path)


@pytest.mark.parametrize(
    "before", [{}, {"reason": "pc_change"}, {"reason": "pc_change", "revoke_old": "at_once"}]
)
async def test_a_theft_that_is_reported_stops_everything_at_once(
    service: Served, before: dict[str, str]
) -> None:
    """D3, E19: with the form, or with the button while a milder application waits. The last page says so,
    every session is gone, and the gate has words of its own; turned down, the certificate is good again."""
    visitor = await at_home(service)
    if before:
        assert (await visitor.post("/portal/reissue", before)).status == 200
        button = (await visitor.get("/portal/reissue")).main.one("input", name="reason").attributes
        assert button == {"type": "hidden", "name": "reason", "value": "lost_or_stolen"}
    page = await visitor.post("/portal/reissue", {"reason": "lost_or_stolen"})
    (found,) = store.applications(look(service.ra.database), state="submitted")
    assert (page.status, page.h1) == (200, "証明書の利用を停止しました")
    assert f"（受付番号{found.id}）" in page.main.one("div", role="status").text
    assert (found.reason, found.revoke_old, found.user_id) == ("lost_or_stolen", "at_once", USER)
    assert not [each.key for each in visitor.session.cookie_jar if each.key == "__Host-service"]
    assert sessions.listed(look(service.ra.database), service.ra.now(), USER) == []
    for path in ("/portal/", "/login", "/app/"):
        page = await visitor.get(path)
        assert (page.status, page.h1) == (403, "クライアント証明書の利用を停止しています")
        assert "パソコンの紛失・盗難の届出を受け付けたため" in page.main.text
        assert "新しい証明書のご案内が届くまでお待ちください。" in page.main.text
        assert "失効" not in page.main.text
    english = await visitor.get("/login?lang=en")
    assert english.h1 == "The client certificate is suspended"
    await applications.reject(service.ra, found.id, actor="desk", note="found")
    assert (await visitor.get("/portal/")).path == "/login"
    assert (await log_in(visitor)).path == "/portal/"


async def test_a_theft_that_is_approved_is_a_revocation(service: Served) -> None:
    """The twin: from then on the gate says revoked, and the register keyCompromise."""
    visitor = await at_home(service)
    await visitor.post("/portal/reissue", {"reason": "lost_or_stolen"})
    (found,) = store.applications(look(service.ra.database), state="submitted")
    await applications.approve(service.ra, found.id, actor="desk")
    assert (await visitor.get("/portal/")).h1 == "クライアント証明書は失効しています"
    (record,) = login.certificates_of(look(service.ra.database), USER)
    assert (record.status, record.revocation_reason) == ("revoked", 1)


@pytest.mark.parametrize(
    ("applied", "days", "decided", "notice_by", "expected"),
    [
        # A Sunday before a holiday: Tuesday is the first business day.
        ("2026.11.22", 3, None, "mail", ("2026.11.26", "2026.11.28", "2026.11.28")),
        ("2026.11.22", 3, None, "postcard", ("2026.11.26", "2026.11.28", "2026.12.03")),
        # Over the end of the year (R55): 12/31 to 1/3 are none.
        ("2026.12.30", 1, None, "", ("2027.01.04", "2027.01.06", None)),
        ("2026.11.22", 3, "2026.11.24", "postcard", ("2026.11.24", "2026.11.26", "2026.12.01")),
        ("2026.11.22", 0, None, "mail", (None, None, None)),
    ],
)
def test_what_is_expected_after_an_application(
    applied: str, days: int, decided: str | None, notice_by: str, expected: tuple[str | None, ...]
) -> None:
    """Business days until the decision, then the manual's two days for a mail and a week for a postcard
    (L70, L71); without a number of days nobody is promised any."""

    def at(day: str) -> int:
        return int(datetime.strptime(day, "%Y.%m.%d").replace(hour=15, tzinfo=JST).timestamp())

    application = store.Application(
        1, "addition" if notice_by else "reissue", "online", "", "12345678", "", {"notice_by": notice_by},
        "on_pickup", "x", "submitted", at(applied), decided_at=at(decided) if decided else None,
    )  # fmt: skip
    found = expected_after(application, days)
    moments = (found.decision_at, found.pickup_mail_at, found.id_notice_at)
    assert tuple(moment and shown_day(moment) for moment in moments) == expected


async def test_going_back_past_a_refused_reissue_that_was_mended(service: Served) -> None:
    """The page says that it is received, and not what was wrong before; a report of theft refused is told."""
    visitor = await at_home(service)
    asked = {"reason": "pc_change", "password": "Wrong2026"}
    told = (await visitor.post("/portal/reissue", asked, follow=False)).headers["Location"]
    assert "パスワードに誤りがあります。" in (await visitor.get(told)).main.text
    await visitor.post("/portal/reissue", asked | {"password": PASSWORD})
    page = await visitor.get(told)
    assert "再発行の申請を受け付けています。" in page.main.text
    assert (page.status, page.main.all("div", role="alert")) == (200, [])
    page = await visitor.post("/portal/reissue", asked | {"reason": "lost_or_stolen"})
    assert "パスワードに誤りがあります。" in page.main.text


async def test_what_failed_before_the_first_login_is_not_said_to_be_since_a_last_one(service: Served) -> None:
    """Somebody who mistyped the password of the letter has had no login before: nothing says so."""
    initial, visitor = await first_password(service), (await fetched(service)).visitor(service)
    await log_in(visitor, password="Wrong2026")
    await log_in(visitor, password=initial)
    chosen = {"current": initial, "new": PASSWORD, "confirmation": PASSWORD}
    page = await visitor.post("/portal/password", chosen)
    assert "今回のログインまでに、ログインの失敗が1回ありました。" in page.main.text
    assert "今回までのログインの失敗 1回" in page.main.text
    assert "前回のログインの後" not in page.main.text
    assert "その後のログインの失敗" not in page.main.text


async def test_the_login_page_says_which_password_and_the_first_change_which_is_the_present(
    service: Served,
) -> None:
    """That of the letter only until it is changed, and as the present one while it is."""
    initial, mine = await first_password(service), await fetched(service)
    visitor = mine.visitor(service)
    page = await visitor.get("/login")
    assert "変更した後は、ご自身で設定したパスワードです。" in page.main.text
    said = "今回ログインに使用したパスワードです。"
    assert said in (await log_in(visitor, password=initial)).main.text
    await visitor.post("/portal/password", {"current": initial, "new": PASSWORD, "confirmation": PASSWORD})
    assert said not in (await visitor.get("/portal/password")).main.text
    # After a reset it is no first login.
    await changes.reset_password(service.ra, USER, actor="desk")
    drawn = (await letter_of(service.ra, "password_reset")).value("パスワード")
    page = await log_in(mine.visitor(service), password=drawn)
    assert "パスワード再設定後のログインのため、パスワードを変更してください。" in page.main.text
    assert said in page.main.text


async def test_the_last_login_and_what_failed_since_are_told(service: Served) -> None:
    """Of one's own logins only; a login that worked begins the count anew."""
    mine = await established(service)
    clock_of(service.ra).advance(seconds=3_600)
    visitor = mine.visitor(service)
    for password in ("Wrong2026", "Wrong2027"):
        await log_in(visitor, password=password)
    page = await log_in(visitor)
    rows = {row[0]: row[1] for table in range(len(page.main.all("table"))) for row in page.main.table(table)}
    assert rows["メールアドレス"].startswith("k12345678@example.jp お手続きのご案内は")
    assert rows["前回のログイン"] == f"{shown(START)}（接続元：127.0.0.1）"
    assert rows["その後のログインの失敗"] == "2回"
    assert "ログインの失敗が2回ありました。" in page.main.text
    page = await log_in(mine.visitor(service))
    assert "ログインの失敗が" not in page.main.text
    assert "0回" in page.main.text


async def test_an_application_says_what_comes_next(service: Served) -> None:
    """Steps, the day by which each is expected, where the mail goes; nothing of it once it was picked up, and
    nothing after a refusal."""
    visitor = await at_home(service)
    page = await visitor.post("/portal/reissue", {"reason": "pc_change"})
    steps = [each.text for each in page.main.one("ol", class_="steps").all("li")]
    assert steps[0].endswith("（2026.11.26頃までの予定）")
    assert steps[1].endswith("（2026.11.28頃までの予定） 送信先：k12345678@example.jp")
    (application,) = store.applications(look(service.ra.database), user_id=USER, state="submitted")
    await applications.reject(service.ra, application.id, actor="desk", note="", rejection="not_needed")
    assert "今後の流れ" not in (await visitor.get(page.path)).main.text
    page = await visitor.post("/portal/reissue", {"reason": "pc_change"})
    (application,) = store.applications(look(service.ra.database), user_id=USER, state="submitted")
    await applications.approve(service.ra, application.id, actor="desk")
    page = await visitor.get(page.path)
    (step, _) = page.main.one("ol", class_="steps").all("li")
    assert "（2026.11.24頃までの予定）" in step.text
    await fetched(service)
    assert "今後の流れ" not in (await visitor.get(page.path)).main.text


async def test_an_application_says_what_was_decided(service: Served) -> None:
    """E18: beside a further PC the issued certificate stays, whatever was applied for."""
    visitor = await at_home(service)
    page = await visitor.post("/portal/reissue", {"reason": "pc_change"})
    number = int(page.path.rpartition("/")[2])
    await changes.change_organisation(service.ra, POLICY_NUMBER, {"lineages": 2}, actor="desk")
    await applications.approve(service.ra, number, actor="desk", revoke_old="never")
    page = await visitor.get(f"/portal/applications/{number}")
    assert dict(page.main.table())["発行済みの証明書"] == "そのまま使用できる"


async def test_a_member_sees_the_own_applications_only(service: Served) -> None:
    """Others' are not found, of the same organisation or of another."""
    visitor = await at_home(service)
    await admit(service.ra, OTHER)
    theirs = (
        await applications.apply_reissue(service.ra, OTHER, "pc_change", channel="online", actor=OTHER)
    ).number
    mine = await visitor.post("/portal/reissue", {"reason": "expired"})
    page = await visitor.get("/portal/applications")
    links = [each.attributes["href"] for each in page.main.all("a")]
    assert links == [mine.path, "/portal/applications/1"]
    assert (await visitor.get(links[1])).h1 == "申請の内容（受付番号1）"
    assert (await visitor.get(f"/portal/applications/{theirs}")).status == 404
    assert (await visitor.get("/portal/applications/999999")).status == 404
