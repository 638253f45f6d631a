"""The 管理者 in the portal: what they see and do, and what members may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.generations import store as written
from ca.generations.states import Row
from ca.storage import Transaction
from enroll import store
from enroll.mail import occasions
from enroll.people import applications, register
from gateway.web.words import REFUSALS
from tests.datadirs import POLICY_NUMBER, admit
from tests.gateway.sites.kit import Served
from tests.gateway.sites.members import (
    ADMIN,
    FOREIGN_POLICY,
    OTHER,
    STRANGER,
    USER,
    admin_at_home,
    at_home,
    fetched,
    foreign_user,
    log_in,
)
from tests.looking import look


@pytest.mark.parametrize(
    "path",
    ["/portal/members", f"/portal/members/{USER}", "/portal/addition", f"/portal/members/{USER}/reissue"],
)
async def test_a_member_may_not_do_what_an_administrator_may(service: Served, path: str) -> None:
    """The administrator's pages are refused to members."""
    page = await (await at_home(service)).get(path)
    assert (page.status, page.h1) == (403, REFUSALS["not_permitted"].title[0])


async def test_a_member_may_not_apply_for_a_further_user(service: Served) -> None:
    """Nor for somebody else's reissue."""
    visitor = await at_home(service)
    before = len(store.applications(look(service.ra.database)))
    person = {"name": "年金 花子", "mail": "h@example.jp", "role": "member", "notice_by": "mail"}
    assert (await visitor.post("/portal/addition", person)).status == 403
    assert (await visitor.post(f"/portal/members/{USER}/reissue", {"reason": "expired"})).status == 403
    assert len(store.applications(look(service.ra.database))) == before


async def test_the_administrator_sees_every_user_of_the_organisation(service: Served) -> None:
    """With the certificates' states, and nobody of another organisation."""
    await admit(service.ra, OTHER)
    await foreign_user(service)
    page = await (await admin_at_home(service)).get("/portal/members")
    rows = {row[0]: row[1:] for row in page.main.table()[1:]}
    assert set(rows) == {ADMIN, OTHER, USER}
    assert rows[OTHER] == ["年金 太郎", "利用者", "案内送信済", "－"]
    assert rows[ADMIN][1:] == ["管理者", "利用中", "2029.11.22（あと1096日）"]


async def test_whose_issuer_is_trusted_no_more_is_marked(service: Served) -> None:
    """In the list, on the page and in the CSV, with what they were told; whoever has another one by now is
    not."""
    ra, visitor = service.ra, await admin_at_home(service)
    await admit(ra, OTHER)
    await fetched(service, OTHER)
    serial = store.enrollments_of(look(ra.database), OTHER)[0].serial
    row = Row("ab" * 20, active_at=1)

    def distrust(db: Transaction) -> None:
        db.execute(
            "UPDATE certificates SET issuer_id = :gone WHERE serial = :serial",
            {"gone": "ab" * 20, "serial": serial},
        )
        written.write(db, row, replace(row, retired_at=2, distrusted_at=2, reason="keyCompromise"))

    await ra.database.write(distrust)

    async def shown() -> list[str]:
        rows = {each[0]: each[1:] for each in (await visitor.get("/portal/members")).main.table()[1:]}
        assert (rows[ADMIN][2], rows[USER][2]) == ("利用中", "案内送信済")
        said = rows[OTHER][2].replace("使用停止（発行者）", "").strip()
        csv = (await visitor.get("/portal/overview/members.csv")).body.decode("utf-8-sig")
        assert f"使用停止（発行者） {said}" in csv
        assert said in (await visitor.get(f"/portal/members/{OTHER}")).main.text
        return rows[OTHER][2:]

    assert await shown() == ["使用停止（発行者） 再取得のご案内前", "－"]
    user = store.active_user(look(ra.database), OTHER)
    assert user is not None
    await ra.database.write(lambda db: occasions.issuer_distrusted(db, ra, user, "G3", "ab" * 20, ra.now()))
    assert (await shown())[0].startswith("使用停止（発行者） 再取得のご案内済 20")
    await applications.reissue(ra, OTHER, applications.ISSUER, actor="desk")
    await fetched(service, OTHER)
    rows = {each[0]: each[1:] for each in (await visitor.get("/portal/members")).main.table()[1:]}
    assert rows[OTHER][2] == "取得済み"


async def test_a_reissue_for_somebody_disabled_says_whom_to_call_and_leads_back(service: Served) -> None:
    """No page ends without a next step."""
    visitor = await admin_at_home(service)
    await register.disable_user(service.ra, USER, actor="desk")
    page = await visitor.get(f"/portal/members/{USER}/reissue")
    assert "下記のご照会先へお問合せください。" in page.main.one("div", class_="problem").text
    assert page.main.one("a").attributes["href"] == f"/portal/members/{USER}"
    assert page.buttons() == []


async def test_who_may_change_an_address_is_led_there(service: Served) -> None:
    """An application's mail goes to the address on record: 管理者 change it, a member asks one."""
    page = await (await at_home(service)).get("/portal/reissue")
    assert "団体の管理者の方にご依頼ください。" in page.main.one("table").text
    assert page.main.one("table").all("a") == []
    page = await (await admin_at_home(service)).get(f"/portal/members/{USER}/reissue")
    assert page.main.one("table").one("a").attributes["href"] == f"/portal/members/{USER}/mail"


@pytest.mark.parametrize("form", ["reissue", "mail", "suspension", "credentials"])
async def test_who_acts_for_somebody_else_is_asked_for_the_own_password(service: Served, form: str) -> None:
    """The page names whose password it is; about oneself there is no doubt."""
    visitor = await admin_at_home(service)
    page = await visitor.get(f"/portal/members/{USER}/{form}")
    assert page.main.one("span", id="password-hint").text.startswith("操作しているご自身（年金 太郎 様）")
    if form != "suspension":
        page = await visitor.get(f"/portal/members/{ADMIN}/{form}")
        assert page.main.one("span", id="password-hint").text.startswith("ご本人であること")


async def test_a_list_of_applications_names_everybody(service: Served) -> None:
    """A reissue's has no name of its own, nor has what is completed."""
    visitor = await admin_at_home(service)
    await visitor.post(f"/portal/members/{USER}/reissue", {"reason": "pc_change"})
    rows = (await visitor.get("/portal/applications")).main.table()[1:]
    assert rows[0][2] == f"{USER} 年金 太郎"
    assert all(row[2].endswith(" 年金 太郎") for row in rows)


async def test_the_administrator_follows_a_new_users_progress(service: Served) -> None:
    """R18: the five boxes, reached and still to come."""
    page = await (await admin_at_home(service)).get(f"/portal/members/{USER}")
    steps = page.main.one("ol", class_="progress").all("li")
    reached = ["done" in step.attributes.get("class", "") for step in steps]
    assert reached == [True, True, True, False, False]


@pytest.mark.parametrize("user_id", [STRANGER, "NOBODY99", "..%2F..", "%00"])
async def test_another_organisations_users_are_not_found(service: Served, user_id: str) -> None:
    """A foreign user and none at all get the same answer; nothing is recorded."""
    visitor = await admin_at_home(service)
    await foreign_user(service)
    for path in (f"/portal/members/{user_id}", f"/portal/members/{user_id}/reissue"):
        assert (await visitor.get(path)).status in (400, 404)
    await visitor.post(f"/portal/members/{user_id}/reissue", {"reason": "pc_change"})
    found = store.applications(look(service.ra.database), state="submitted")
    assert found == []


async def test_another_organisations_applications_are_not_found(service: Served) -> None:
    """The twin of seeing one's own."""
    visitor = await admin_at_home(service)
    await foreign_user(service)
    number = (
        await applications.apply_reissue(service.ra, STRANGER, "pc_change", channel="paper", actor="desk")
    ).number
    assert (await visitor.get(f"/portal/applications/{number}")).status == 404
    listed = (await visitor.get("/portal/applications")).main.table()[1:]
    assert str(number) not in [row[0] for row in listed]


async def test_a_member_whose_certificate_is_dead_is_reissued_by_the_administrator(service: Served) -> None:
    """R23: from application to pick-up; user ID and password stay (R24)."""
    dead = await at_home(service)
    visitor = await admin_at_home(service)
    await applications.reissue(service.ra, USER, "lost_or_stolen", actor="desk")
    assert (await dead.get("/portal/")).status == 403
    page = await visitor.post(f"/portal/members/{USER}/reissue", {"reason": "refused"})
    number = int(page.path.rpartition("/")[2])
    await applications.approve(service.ra, number, actor="desk")
    page = await visitor.get(f"/portal/applications/{number}")
    assert dict(page.main.table())["状況"] == "手続き完了"
    assert (
        page.main.one("ol", class_="progress").all("li")[0].one("strong").text == "クライアント証明書再発行"
    )
    again = (await fetched(service)).visitor(service)
    assert (await log_in(again)).path == "/portal/"


async def test_a_further_user_is_applied_for_and_admitted(service: Served) -> None:
    """R19: the online channel makes the same record as paper; the policy number is the visitor's own."""
    visitor = await admin_at_home(service)
    page = await visitor.get("/portal/addition")
    assert page.labels() == [
        "氏名",
        "メールアドレス",
        "利用者",
        "管理者",
        "メール",
        "はがき",
        "日本語",
        "英語（English）",
        "希望するユーザーID（任意）",
        "ログインのパスワード",
    ]
    fields = {
        "name": "年金 花子",
        "mail": "hanako@example.jp",
        "role": "admin",
        "notice_by": "postcard",
        "user_id": "HANAKO01",
        "policy_number": FOREIGN_POLICY,
    }
    first = await visitor.post("/portal/addition", fields)
    second = await visitor.post("/portal/addition", fields)
    assert first.path == second.path
    assert [page.main.one("div", role="status").text for page in (first, second)] == [
        "申請を受け付けました。",
        "この申請はすでに受け付けています。あらためて申請していただく必要はありません。",
    ]
    found = store.application(look(service.ra.database), int(first.path.rpartition("/")[2]))
    assert found is not None
    assert (found.channel, found.policy_number, found.applied_by) == ("online", POLICY_NUMBER, ADMIN)
    await applications.approve(service.ra, found.id, actor="desk")
    user = store.user(look(service.ra.database), "HANAKO01")
    assert user is not None
    assert (user.name, user.role, user.notice_by) == ("年金 花子", "admin", "postcard")
    page = await visitor.get(first.path)
    assert len(page.main.one("ol", class_="progress").all("li")) == 5


@pytest.mark.parametrize(
    ("field", "value", "label", "told"),
    [
        ("name", "", "氏名", "氏名を100文字以内で入力してください。"),
        ("name", "年" * 101, "氏名", "氏名を100文字以内で入力してください。"),
        ("name", "a\u0007b", "氏名", "氏名を100文字以内で入力してください。"),
        (
            "mail",
            "hanako@",
            "メールアドレス",
            "メールアドレスを半角で正しく入力してください（例：taro@example.jp）。",
        ),
        (
            "mail",
            "a@b.jp\r\nBcc: x@y.jp",
            "メールアドレス",
            "メールアドレスを半角で正しく入力してください（例：taro@example.jp）。",
        ),
        (
            "user_id",
            "ab",
            "希望するユーザーID（任意）",
            "ユーザーIDは半角の英字と数字、4～12文字で入力してください。",
        ),
        (
            "user_id",
            USER,
            "希望するユーザーID（任意）",
            "このユーザーIDはすでに使用されています。別のユーザーIDを入力してください。",
        ),
        ("role", "operator", "利用者", "権限を選択してください。"),
        ("notice_by", "fax", "メール", "通知の方法を選択してください。"),
    ],
)
async def test_a_bad_field_of_an_addition_is_told_beside_it(
    service: Served, field: str, value: str, label: str, told: str
) -> None:
    """The others keep what was typed; nothing is recorded."""
    visitor = await admin_at_home(service)
    good = {"name": "年金 花子", "mail": "hanako@example.jp", "role": "admin", "notice_by": "postcard"}
    page = await visitor.post("/portal/addition", good | {field: value})
    assert (page.status, page.error(label)) == (422, told)
    if field != "mail":
        assert page.field("メールアドレス").attributes["value"] == good["mail"]
    if field != "notice_by":
        assert "checked" in page.field("はがき").attributes
    assert store.applications(look(service.ra.database), state="submitted") == []


@pytest.mark.parametrize("name", ["年金 太郎", "年金\u3000太郎", "\u200b年金 太郎"])
async def test_somebody_who_is_a_user_already_is_told(service: Served, name: str) -> None:
    """However name and address are typed: no second user of the same person by oversight."""
    visitor = await admin_at_home(service)
    known = store.user(look(service.ra.database), USER)
    assert known is not None
    fields = {"name": name, "mail": known.mail.upper(), "role": "member", "notice_by": "mail"}
    page = await visitor.post("/portal/addition", fields)
    assert page.status == 422
    assert page.error("氏名").startswith("この氏名とメールアドレスのユーザーはすでに登録されています。")
    assert store.applications(look(service.ra.database), state="submitted") == []
    # A user ID of its own says that it is meant; and the same application twice is one.
    asked = await visitor.post("/portal/addition", fields | {"user_id": "ksecond"})
    mark = asked.main.one("input", id="alike-meant").attributes["value"]
    first = await visitor.post("/portal/addition", fields | {"user_id": "ksecond", "alike": mark})
    assert first.path.startswith("/portal/applications/")
    again = await visitor.post("/portal/addition", fields | {"user_id": "ＫＳＥＣＯＮＤ", "name": f"{name} "})
    assert first.path == again.path


async def test_every_bad_field_of_an_addition_is_told_at_once(service: Served) -> None:
    """Nobody sends the form once for each mistake; the good fields have no message."""
    visitor = await admin_at_home(service)
    page = await visitor.post("/portal/addition", {"name": "", "mail": "a", "role": "admin", "user_id": "ab"})
    assert (page.status, page.error("氏名")) == (422, "氏名を100文字以内で入力してください。")
    assert page.error("メールアドレス").startswith("メールアドレスを半角で")
    assert page.error("希望するユーザーID（任意）").startswith("ユーザーIDは半角の英字と数字")
    assert page.error("メール") == "通知の方法を選択してください。"
    assert "権限を選択してください。" not in page.main.text
    assert [each.attributes["name"] for each in page.main.all("input") if "autofocus" in each.attributes] == [
        "name"
    ]


async def test_a_members_theft_is_reported_by_the_administrator(service: Served) -> None:
    """Everywhere it says that the certificate is stopped, until it is decided; the administrator works on."""
    stopped = await at_home(service)
    visitor = await admin_at_home(service)
    page = await visitor.post(f"/portal/members/{USER}/reissue", {"reason": "lost_or_stolen"})
    assert page.main.one("div", role="status").text.startswith("届出を受け付け、")
    assert dict(page.main.table())["発行済みの証明書"] == "届出により利用停止中（お手続きの完了と同時に失効）"
    assert (await stopped.get("/portal/")).h1 == "クライアント証明書の利用を停止しています"
    told = "利用停止中（紛失・盗難の届出）"
    rows = (await visitor.get("/portal/members")).main.table()
    assert next(row for row in rows if row[0] == USER)[3] == told
    assert told in (await visitor.get(f"/portal/members/{USER}")).main.table(1)[1]
    assert (await visitor.get(f"/portal/members/{USER}/reissue")).main.all("form") == []
    await applications.reject(
        service.ra, int(page.path.rpartition("/")[2]), actor="desk", note="見つかりました"
    )
    assert (await stopped.get("/portal/")).path == "/login"
    assert told not in (await visitor.get("/portal/members")).main.text
    page = await visitor.get(page.path)
    assert dict(page.main.table())["状況"] == "お受けできませんでした"
