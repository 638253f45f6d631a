"""Search and caller view on a real listener: who sees what, what may be done, and that no secret is told."""

from __future__ import annotations

from dataclasses import replace

from ca.trust import CertificateState
from enroll import store
from enroll.jst import day_of
from enroll.mail import store as mail_store
from enroll.operators.roles import Role
from enroll.people import applications, register
from enroll.scheduler import notify
from enroll.settings import DAY
from gateway.sites.console import seeing
from gateway.sites.console.finding_words import GROUP_WORDS, LETTERS, MEANINGS
from gateway.web import references
from gateway.web.words import BY_THE_MAIL, CERTIFICATE
from tests.datadirs import admit, clock_of, delivered, letter_of
from tests.enroll.test_flow import first_login, picked_up
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, Person, office, visited
from tests.looking import look, rows

__all__ = ("office",)

USER = "K12345678"
PATH = f"/callers/{USER}"


#: Columns that open something, besides those whose names say so.
_OPENING = ("password_mark", "handle")


async def desk_of(office: Office) -> Person:
    return await office.admit("desk", Role.DESK)


def said(page: Page) -> str:
    return page.main.text


# -- the search ------------------------------------------------------------------------------------------


async def test_one_box_finds_the_person(office: Office) -> None:
    """O8: from any page, in one step from an exact hit to the caller view; every count is its list's."""
    await admit(office.served.ra)
    desk = await desk_of(office)
    box = (await desk.at.get("/proposals")).dom.one("form", role="search")
    assert (box.attributes["action"], box.one("input").attributes["name"]) == ("/search", "q")
    page = await desk.at.get("/search?q=k1234-5678")
    assert page.main.one("a", class_="button").attributes["href"] == PATH
    page = await desk.at.get("/search?q=年金")
    assert (page.main.table()[1][0], "全1件のうち1件を表示" in said(page)) == (USER, True)
    assert (await desk.at.get(PATH)).status == 200
    page = await desk.at.get("/search?q=誰もいない")
    assert "該当するものはありません" in said(page)
    assert "次のように解釈しました：氏名" in said(page)
    assert "有効期限の日付" in said(await desk.at.get("/search"))


async def test_a_reference_number(office: Office) -> None:
    """What somebody reads out leads to what is recorded, and is in the person's timeline."""
    ra = office.served.ra
    await admit(ra)
    number = await references.note(ra, "service", "bad_credentials", path="/login", common_name=f"{USER}0001")
    forged = await references.note(ra, "service", "certificate.unknown_issuer", common_name=f"{USER}0001")
    desk = await desk_of(office)
    page = await desk.at.get(f"/search?q={number.lower().replace('-', '')}")
    assert (number in said(page), "bad_credentials" in said(page)) == (True, True)
    page = await desk.at.get(PATH)
    assert (number in said(page), "認証できませんでした" in said(page), forged in said(page)) == (
        True,
        True,
        False,
    )


async def test_pages_of_a_group(office: Office) -> None:
    """A long list is paged by cursor, with what was looked for in the address."""
    ra = office.served.ra
    await admit(ra)
    one = store.user(look(ra.database), USER)
    assert one is not None
    user = one
    for number in range(70):
        await ra.database.write(lambda db, n=number: store.add_user(db, replace(user, user_id=f"KA{n:04d}")))
    desk = await desk_of(office)
    page = await desk.at.get("/search?q=年金")
    assert ("全71件のうち10件を表示" in said(page), len(page.main.table())) == (True, 11)
    (whole,) = [a for a in page.main.all("a") if "group=users" in a.attributes["href"]]
    page = await desk.at.get(whole.attributes["href"])
    assert ("全71件のうち50件を表示" in said(page), len(page.main.table())) == (True, 51)
    (further,) = [
        a for a in page.main.all("a") if "after=" in a.attributes["href"] and a.text == "次のページ"
    ]
    page = await desk.at.get(further.attributes["href"])
    assert ("全71件のうち21件を表示" in said(page), len(page.main.table())) == (True, 22)
    for made_up in ("q=年金&group=nothing", "q=年金&group=users&after=%27", "q=" + "a" * 3000, "q=%E2%80%8B"):
        assert (await desk.at.get(f"/search?{made_up}")).status == 200


# -- the caller view -------------------------------------------------------------------------------------


async def test_what_the_desk_sees(office: Office) -> None:
    """O9: questions first, then what the person sees with the same words as on the person's page."""
    ra = office.served.ra
    await admit(ra)
    await delivered(ra)
    desk = await desk_of(office)
    page = await desk.at.get(PATH)
    assert [each.text for each in page.main.all("h2")][:3] == [
        "1. ご本人の確認", "2. いまの状態と、伝えること", "3. 対応",
    ]  # fmt: skip
    assert page.main.table()[1:4] == [
        ["団体名と証券番号をお願いします。", "霞が関商事 12345678"],
        ["お名前をお願いします。", "年金 太郎"],
        ["ご登録のメールアドレスをお願いします。", "k12345678@example.jp"],
    ]
    assert BY_THE_MAIL[0] in said(page)
    assert "証明書取得のご案内：送信済み" in said(page)
    _, request_id = await picked_up(ra)
    await first_login(ra, request_id)
    page = await desk.at.get(PATH)
    assert "オンラインサービスへログインすることが可能です。" in said(page)
    assert "新しい証明書での初回ログイン" in said(page)


async def step_of(office: Office, active: bool = True) -> tuple[str, str]:
    """Heading and next step of what the user gets now."""
    ra, db = office.served.ra, look(office.served.ra.database)
    mine = store.enrollments_of(db, USER)
    held = seeing.held(db, ra, mine, None)
    found = await seeing.seen(office.served.gate, active, mine, held)
    return found.title[0], found.step[0]


async def test_the_next_step_is_the_persons_own(office: Office) -> None:
    """The words are those of the page that the person gets: before, while and after a certificate is good."""
    ra = office.served.ra
    assert (await step_of(office))[0] == "お手続きはありません"
    await admit(ra)
    assert await step_of(office) == (
        "証明書の取得待ちです",
        "「クライアント証明書取得に関するご案内」のメールは、まだ送信されていません。",
    )
    await delivered(ra)
    assert await step_of(office) == ("証明書の取得待ちです", BY_THE_MAIL[0])
    _, request_id = await picked_up(ra)
    assert (await step_of(office))[1] == "オンラインサービスへログインすることが可能です。"
    await first_login(ra, request_id)
    assert (await step_of(office, active=False))[0] == "ご利用いただけません"
    report = await applications.apply_reissue(ra, USER, "lost_or_stolen", channel="online", actor=USER)
    held = CERTIFICATE[CertificateState.HELD]
    assert await step_of(office) == (held.title[0], held.next_step[0])
    await applications.reject(ra, report.number, actor="desk", note="found")
    source = store.enrollments_of(look(ra.database), USER)[0]
    assert source.not_after_at is not None
    clock_of(ra).set(source.not_after_at - 10 * DAY)
    assert (await step_of(office))[1] == "有効期限日までにクライアント証明書更新のお手続きをしてください。"
    clock_of(ra).advance(days=11)
    expired = CERTIFICATE[CertificateState.EXPIRED]
    assert await step_of(office) == (expired.title[0], expired.next_step[0])


async def test_no_secret_is_on_it(office: Office) -> None:
    """O9: whatever opens anything is on no page of the desk: passwords, hashes, tokens, sealed keys."""
    ra = office.served.ra
    await admit(ra)
    letters = await delivered(ra)
    secrets = {
        line.partition("：")[2]
        for each in letters
        for line in each.body.splitlines()
        if "パスワード：" in line
    }
    assert len(secrets) == 2
    _, request_id = await picked_up(ra)
    await first_login(ra, request_id)
    for table in ("users", "enrollments", "tickets", "sessions", "mails", "operator_codes", "operators"):
        for row in rows(look(ra.database), f"SELECT * FROM {table}"):
            for name, value in row.items():
                secret = name.endswith("_hash") or name.startswith("sealed") or name in _OPENING
                if secret and value:
                    secrets.add(value.hex() if isinstance(value, bytes) else str(value))
    person = await office.admit("registrar", Role.REGISTRAR)
    pages = [await person.at.get(path) for path in (PATH, f"/search?q={USER}", f"/search?q={request_id}")]
    for page in pages:
        assert page.status == 200
        assert [secret for secret in secrets if secret in page.html] == []


async def test_what_a_role_may_not_is_absent(office: Office) -> None:
    """O3: notes, letters again and 利用停止 are the desk's and the registrar's; others see no such button,
    and whoever sends the form all the same gets 403."""
    ra = office.served.ra
    await admit(ra)
    await office.admit("officer", Role.CA_OFFICER)
    for role, may in (
        (Role.DESK, True),
        (Role.REGISTRAR, True),
        (Role.APPROVER, False),
        (Role.AUDITOR, False),
    ):
        person = await office.admit(role, role)
        page = await person.at.get(PATH)
        assert (page.status, "利用を停止する" in page.buttons(), "記録する" in page.buttons()) == (
            200,
            may,
            may,
        )
        if not may:
            for form in ("note", "letters", "suspend"):
                sent = {"note": "x", "letter": "1", "reason": "x"}
                assert (await person.at.post(f"{PATH}/{form}", sent)).status == 403
    officer = office.people["officer"]
    assert await visited(officer, PATH) == 403
    assert (await officer.at.get("/")).dom.all("form", role="search") == []
    desk = office.people["desk"]
    assert (await desk.at.get("/callers/KNOBODY1")).status == 404


async def test_reading_is_noted(office: Office) -> None:
    """O18: who looked at whom stands in the trail, and is no part of the person's timeline."""
    await admit(office.served.ra)
    desk = await desk_of(office)
    page = await desk.at.get(PATH)
    lines = store.audit_page(look(office.served.ra.database), USER, 20)
    assert ("operator:desk", "person.seen") in {(each["actor"], each["action"]) for each in lines}
    assert "person.seen" not in page.html


async def test_a_note_and_a_suspension(office: Office) -> None:
    """Both need words; 利用停止 holds every certificate at once and revokes none."""
    ra = office.served.ra
    await admit(ra)
    await picked_up(ra)
    desk = await desk_of(office)
    page = await desk.at.post(f"{PATH}/note", {"note": "  "})
    assert "応対の内容を1行" in page.main.one("div", role="alert").text
    page = await desk.at.post(f"{PATH}/note", {"note": "<b>折り返し</b>電話"})
    assert ("応対記録を残しました" in said(page), "<b>折り返し</b>電話" in said(page)) == (True, True)
    page = await desk.at.post(f"{PATH}/suspend", {"reason": ""})
    assert "停止の理由を1行" in page.main.one("div", role="alert").text
    assert (
        rows(
            look(ra.database), "SELECT status FROM certificates WHERE subject_cn = :cn", {"cn": f"{USER}0001"}
        )[0]["status"]
        == "issued"
    )
    assert "証明書を利用停止中" not in page.main.text
    page = await desk.at.post(f"{PATH}/suspend", {"reason": "PCを電車に置き忘れた"})
    assert page.main.table(1)[0][1].startswith("証明書を利用停止中")
    assert "利用を停止しました" in page.main.one("div", role="status").text
    # The person waits for a certificate that nobody has applied for: the desk is told, until somebody has.
    assert "受け付けていません" in dict(page.main.table(1))["再発行の申請"]
    taken = await desk.at.post(
        "/applications/new", {"kind": "reissue", "whose": USER, "reason": "lost_or_stolen"}
    )
    number = taken.path.rpartition("/")[2]
    page = await desk.at.get(PATH)
    facts = dict(page.main.table(1))
    assert ("再発行の申請" in facts, number in facts["決定待ちの申請"]) == (False, True)
    assert "PCを電車に置き忘れた" in said(page)
    assert (
        rows(
            look(ra.database), "SELECT status FROM certificates WHERE subject_cn = :cn", {"cn": f"{USER}0001"}
        )[0]["status"]
        == "held"
    )
    assert CERTIFICATE[CertificateState.HELD].title[0] in said(page)


async def test_a_login_password_anew(office: Office) -> None:
    """O3, O9: a registrar resets it at once and the desk proposes that, each with a reason that is kept; the
    page says what the person gets, and tells no password; whoever may neither sees no button."""
    ra = office.served.ra
    await admit(ra)
    await delivered(ra)
    desk, registrar = await desk_of(office), await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    assert "再設定を起案する" in (await desk.at.get(PATH)).buttons()
    assert not {"再設定を起案する", "再設定する"} & set((await approver.at.get(PATH)).buttons())
    page = await registrar.at.post(f"{PATH}/reset", {"reason": " "})
    assert "再設定の理由を1行" in page.main.one("div", role="alert").text
    first = store.user(look(ra.database), USER)
    page = await desk.at.post(f"{PATH}/reset", {"reason": "本人が忘れた"})
    assert (page.path.startswith("/proposals/"), "本人が忘れた" in said(page)) == (True, True)
    assert store.user(look(ra.database), USER) == first
    page = await desk.at.post(f"{PATH}/reset", {"reason": "本人が忘れた"})
    assert "すでに起案され" in page.main.one("div", role="alert").text
    page = await registrar.at.post(f"{PATH}/reset", {"reason": "本人が忘れた"})
    assert "登録のアドレスにすぐに届きます" in page.main.one("div", role="status").text
    assert "本人が忘れた" in said(page)
    after = store.user(look(ra.database), USER)
    assert first is not None
    assert after is not None
    assert (after.password_hash == first.password_hash, after.password_initial) == (False, True)
    letter = await letter_of(ra, "password_reset")
    assert letter.value("パスワード") not in page.html
    assert len(letter.value("パスワード")) > 8


async def test_whoever_is_stopped_has_no_login_to_reset(office: Office) -> None:
    """No button, and the form says why; nothing is changed by it."""
    ra = office.served.ra
    await admit(ra)
    await register.disable_user(ra, USER, actor="test")
    registrar = await office.admit("registrar", Role.REGISTRAR)
    assert "再設定する" not in (await registrar.at.get(PATH)).buttons()
    page = await registrar.at.post(f"{PATH}/reset", {"reason": "x"})
    assert "停止中のため" in page.main.one("div", role="alert").text
    lines = store.audit_page(look(ra.database), USER, 20)
    assert {"password.reset", "reason.given"} & {each["action"] for each in lines} == set()


async def test_where_a_password_is_in_it(office: Office) -> None:
    """O14: from the letter one step leads to what makes another password, with the user ID typed already."""
    ra = office.served.ra
    await admit(ra)
    await delivered(ra)
    desk = await desk_of(office)
    links = {a.text: a.attributes["href"] for a in (await desk.at.get(PATH)).main.all("a")}
    assert links["再設定へ"] == "#reset"
    page = await desk.at.get(links["再発行を受け付ける"])
    assert page.field("ユーザーID").attributes["value"] == USER


async def test_a_letter_again(office: Office) -> None:
    """O14: what has no secret in it is sent once more, once a day, to the address that is recorded now; what
    tells a password is not, and the page says what instead; what never left is tried again."""
    ra = office.served.ra
    await admit(ra)
    _, request_id = await picked_up(ra)
    await first_login(ra, request_id)
    source = store.enrollments_of(look(ra.database), USER)[0]
    clock_of(ra).set((source.not_after_at or 0) - 30 * DAY)
    await notify(ra, day_of(ra.now()))
    await delivered(ra)
    desk = await desk_of(office)
    page = await desk.at.get(PATH)
    assert page.buttons().count("再送する") == 1
    assert "再発行の申請をご案内ください" in said(page)
    letters = mail_store.listed(look(ra.database), USER)
    notice = next(each for each in letters if each["kind"] == "renewal_30")
    secret = next(each for each in letters if each["kind"] == "pickup")
    page = await desk.at.post(f"{PATH}/letters", {"letter": str(notice["id"])})
    assert "送信待ちに入れました" in said(page)
    page = await desk.at.post(f"{PATH}/letters", {"letter": str(notice["id"])})
    assert "再送できません" in page.main.one("div", role="alert").text
    page = await desk.at.post(f"{PATH}/letters", {"letter": str(secret["id"])})
    assert "再送できません" in page.main.one("div", role="alert").text
    for nonsense in ("", "x", "9" * 30, "99999"):
        assert (await desk.at.post(f"{PATH}/letters", {"letter": nonsense})).status == 404
    before = len(await delivered(ra))
    again = [each for each in mail_store.listed(look(ra.database), USER) if each["kind"] == "renewal_30"]
    assert ([each["state"] for each in again], before > 0) == (["sent", "sent"], True)


def test_everything_has_its_words() -> None:
    """Every group, meaning and letter is called by a name in both languages."""
    for table in (GROUP_WORDS, MEANINGS, LETTERS):
        assert all(ja and en for ja, en in table.values())
