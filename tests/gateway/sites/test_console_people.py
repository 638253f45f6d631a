"""団体 and 利用者 at the console: lists with counts that are theirs, and what changes as proposals."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, replace
from typing import Any

import pytest

from ca.storage import Transaction, inserting
from enroll import rosters, store
from enroll.operators import actors, helping
from enroll.operators.actors import By
from enroll.operators.roles import Role
from enroll.people import applications, register
from enroll.refusals import Refusal
from enroll.rosters import WantedOrganisations, WantedUsers
from enroll.store import Organisation, User
from tests.datadirs import POLICY_NUMBER, admit
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, Person, office  # noqa: F401  a fixture
from tests.looking import look

USER = "K12345678"
DAY = 86_400


async def _many(office: Office, count: int = 60) -> list[str]:  # noqa: F811
    """So many organisations with a user each, in one transaction; the user IDs."""
    at = office.served.ra.now()

    def work(db: Transaction) -> list[str]:
        made = []
        for n in range(count):
            store.add_organisation(db, Organisation(f"2{n:07}", f"第{n}商事", at + n))
            one = User(
                f"M{n:07}", f"2{n:07}", f"=甲 {n}", f"m{n}@x.jp", "member", "mail", "-", True, 0, at + n
            )
            store.add_user(db, replace(one, role="admin") if n % 10 == 0 else one)
            made.append(one.user_id)
        return made

    return await office.served.ra.database.write(work)


def _firsts(page: Page) -> list[str]:
    """What names the rows of the list."""
    table = page.main.all("table")[-1]
    return [row.all("a")[0].text for row in table.one("tbody").all("tr")]


def _next(page: Page) -> str:
    (following,) = [a.attributes["href"] for a in page.main.all("a") if a.text == "次のページ"]
    return following


def _alert(page: Page) -> str:
    return page.main.one("div", role="alert").text


async def _decided(approver: Person, proposed: Page) -> Page:
    assert "起案しました" in proposed.main.text, proposed.main.text
    return await approver.confirm(await approver.at.post(f"{proposed.path}/approve"))


async def _letter(office: Office, user_id: str, state: str, recipient: str) -> None:  # noqa: F811
    """A letter in a state, the newest one there is."""
    at, failure = office.served.ra.now(), "bounced" if state == "failed" else ""
    row = {
        "cause": f"{user_id} {state} {recipient}",
        "kind": "renewal_30",
        "channel": "mail",
        "user_id": user_id,
    }
    row |= {"recipient": recipient, "subject": "x", "shown_body": "x", "state": state}
    values: dict[str, Any] = row | {
        "next_attempt_at": at,
        "created_at": at,
        "queued_at": at,
        "failure": failure,
    }
    await office.served.ra.database.write(lambda db: db.execute(inserting("mails", values), values))


# -- lists -----------------------------------------------------------------------------------------------


async def test_lists_and_their_counts(office: Office) -> None:  # noqa: F811
    """50 a page by a cursor, each row once, "N of M" true on each; what narrows and orders stays in the
    address, and every count is that of its list."""
    desk = await office.admit("desk", Role.DESK)
    assert "団体はまだ登録されていません" in (await desk.at.get("/organisations")).main.text
    assert "利用者はまだ登録されていません" in (await desk.at.get("/users")).main.text
    people = await _many(office)
    numbers = [f"2{n:07}" for n in range(60)]
    for path, there in (("/organisations", numbers), ("/users", people)):
        for sort, expected in (("", there), ("&sort=newest", there[::-1])):
            first = await desk.at.get(f"{path}?state=active{sort}")
            assert "1–50 / 60件" in first.main.text, path
            second = await desk.at.get(_next(first))
            assert "51–60 / 60件" in second.main.text
            assert _firsts(first) + _firsts(second) == expected
            assert all(
                "state=active" in a.attributes["href"]
                for a in second.main.all("a")
                if a.text == "最初のページ"
            )
        assert "条件に合う" in (await desk.at.get(f"{path}?q=誰でもない")).main.text
        assert _firsts(await desk.at.get(f"{path}?q={there[7]}")) == [there[7]]
        for query in ("state=x", "sort=x", "after=1", "after=x-K", f"after=1-{'x' * 30}", "after=-1-K"):
            assert (await desk.at.get(f"{path}?{query}")).status == 422, (path, query)
        assert (await desk.at.get(f"{path}?after=0-ZZZZZZZZ")).status == 200
        assert "0 / 60件" in (await desk.at.get(f"{path}?after=0-ZZZZZZZZ")).main.text
    assert _firsts(await desk.at.get("/organisations?q=第7商事")) == [numbers[7]]
    one = await desk.at.get(f"/organisations/{numbers[7]}")
    assert (_firsts(one), "1 / 1名" in one.main.text, one.buttons()) == ([people[7]], True, [])
    assert [row[2] for row in (await desk.at.get("/organisations")).main.table()[1:]] == ["1"] * 50
    assert (await desk.at.get("/organisations/99999999")).status == 404
    assert (await desk.at.get("/users/K99999999")).status == 404


async def test_what_narrows_users(office: Office) -> None:  # noqa: F811
    """Organisation, state, kind, a certificate's end, and mail that does not arrive."""
    ra = office.served.ra
    desk = await office.admit("desk", Role.DESK)
    people = await _many(office, 20)
    at = ra.now()

    def work(db: Transaction) -> None:
        for n, (user_id, days) in enumerate(
            ((people[1], 5), (people[2], 20), (people[3], -1), (people[4], 7))
        ):
            row: dict[str, Any] = {
                "request_id": f"{n:016}", "kind": "addition", "user_id": user_id, "door": "page",
                "profile": "client-person", "state": "in_use", "common_name": f"{user_id}0001",
                "revoke_old": "never", "created_at": at, "not_after_at": at + days * DAY,
                "serial": f"{n:040x}",
            }  # fmt: skip
            db.execute(inserting("enrollments", row), row)
        store.disable_user(db, people[5], at)
        store.disable_organisation(db, "20000006", at)

    await ra.database.write(work)
    for user_id, states in ((people[7], ("failed",)), (people[8], ("failed", "sent")), (people[9], ())):
        for state in states:
            await _letter(office, user_id, state, f"m{int(user_id[1:])}@x.jp")
    await _letter(office, people[9], "failed", "former@x.jp")
    expected = {
        "policy_number=20000003": [people[3]],
        "policy_number=%EF%BC%92%EF%BC%90000003": [people[3]],
        "role=admin": [people[0], people[10]],
        "state=stopped": [people[5], people[6]],
        "ends=7": [people[1], people[4]],
        "ends=30": [people[1], people[2], people[4]],
        "bounced=1": [people[7]],
        "ends=7&q=m1%40": [people[1]],
        "ends=none": [each for each in people if each not in (people[1], people[2], people[4])],
    }
    for query, there in expected.items():
        page = await desk.at.get(f"/users?{query}")
        assert _firsts(page) == there, query
        assert f"1–{len(there)} / {len(there)}件" in page.main.text, query
    assert "不達" in (await desk.at.get(f"/users/{people[7]}")).main.text
    assert "不達" not in (await desk.at.get(f"/users/{people[8]}")).main.text


async def test_whose_data_is_read_is_noted(office: Office) -> None:  # noqa: F811
    """A list of people leaves a line with who was shown, and nothing of what was typed; so does a file, and
    one person's page. No page has a password in it."""
    ra = office.served.ra
    auditor = await office.admit("auditor", Role.AUDITOR)
    desk = await office.admit("desk", Role.DESK)
    await admit(ra)
    await desk.at.get("/users?q=kept-secret")
    await desk.at.get("/users?role=member")
    page = await desk.at.get(f"/users/{USER}")
    user = store.user(look(ra.database), USER)
    assert user is not None
    assert user.password_hash not in page.html
    got = await auditor.at.get("/users.csv?role=member")
    rows = list(csv.reader(io.StringIO(got.body.decode("utf-8-sig"))))
    lines = store.audit_page(look(ra.database), None, 20)
    told = [
        (each["action"], each["detail"])
        for each in lines
        if each["action"].startswith(("person.", "export."))
    ]
    assert "kept-secret" not in str(told)
    assert {action for action, _ in told} == {
        "person.searched",
        "person.seen",
        "export.begun",
        "export.ended",
    }
    assert (len(rows), "'rows': 1" in str(told)) == (3, True)


async def test_the_list_as_a_file(office: Office) -> None:  # noqa: F811
    """All of what is listed, in the reader's language, with nothing in it that a spreadsheet would run; who
    may not look at what is recorded gets none."""
    approver = await office.admit("approver", Role.APPROVER)
    desk = await office.admit("desk", Role.DESK)
    people = await _many(office)
    got = await approver.at.get("/users.csv?sort=newest")
    assert got.headers["Content-Disposition"] == 'attachment; filename="users.csv"'
    rows = list(csv.reader(io.StringIO(got.body.decode("utf-8-sig"))))
    assert rows[0][:4] == ["ユーザーID", "証券番号", "団体名", "氏名"]
    assert [row[0] for row in rows[1:-1]] == people
    assert (rows[1][3], rows[-1][:2]) == ("'=甲 0", ["#以上", "60"])
    assert len((await approver.at.get("/users.csv?role=admin&lang=en")).body.splitlines()) == 1 + 6 + 1
    assert (await desk.at.get("/users.csv")).status == 403


async def test_the_functions_ask_by_themselves(office: Office) -> None:  # noqa: F811
    """The pages are not what keeps anybody out."""
    ra = office.served.ra
    officer = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    desk = await office.admit("desk", Role.DESK, enrolled=False)
    nobody, reads = [
        actors.of_operator(look(ra.database), each.operator.number, By.CONSOLE) for each in (officer, desk)
    ]
    db = look(ra.database)
    with pytest.raises(Refusal, match="may not do that"):
        rosters.organisations(db, nobody, WantedOrganisations())
    with pytest.raises(Refusal, match="may not do that"):
        await rosters.users(ra, nobody, WantedUsers())
    with pytest.raises(Refusal, match="may not do that"):
        rosters.every_user(db, reads, WantedUsers(), ra.now(), "", 1)
    with pytest.raises(Refusal, match="may not do that"):
        rosters.user(db, nobody, USER, ra.now())


# -- organisations ---------------------------------------------------------------------------------------


async def test_an_organisation_from_its_beginning(office: Office) -> None:  # noqa: F811
    """Added, changed with a new number, stopped and in use again: each proposed with a reason by one operator
    and decided by another; what is wrong is said beside its field, and nothing that was typed is lost."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    typed = {
        "policy_number": "２０００－０００１",
        "name": "=虎ノ門商事 𠮷",
        "issue_password_by": "admin",
        "lineages": "3",
    }
    wrong = await registrar.at.post("/organisations/new", typed | {"lineages": "x", "reason": "新規"})
    assert (wrong.status, wrong.path) == (422, "/organisations/new")
    assert "入力内容が正しくありません" in wrong.error("1人あたりの台数（任意）")
    assert wrong.field("団体名").attributes["value"] == "=虎ノ門商事 𠮷"
    wrong = await registrar.at.post("/organisations/new", typed)
    assert "理由を1行" in wrong.error("起案の理由")
    wrong = await registrar.at.post("/organisations/new", typed | {"name": "a\x07b", "reason": "新規"})
    assert "U+0007" in wrong.error("団体名")
    proposed = await registrar.at.post("/organisations/new", typed | {"reason": "新規契約"})
    assert store.organisation(look(ra.database), "2000-0001") is None
    twice = await registrar.at.post("/organisations/new", typed | {"reason": "新規契約"})
    assert "同じ内容の起案がすでに承認を待っています" in _alert(twice)
    await _decided(approver, proposed)
    made = store.organisation(look(ra.database), "2000-0001")
    assert made is not None
    assert (made.name, made.lineages, made.issue_password_by) == ("=虎ノ門商事 𠮷", 3, "admin")

    here = "/organisations/2000-0001"
    page = await registrar.at.get(here)
    stands = {name: str(value) for name, value in typed.items()} | {"policy_number": "2000-0001"}
    assert page.field("団体名").attributes["value"] == "=虎ノ門商事 𠮷"
    same = await registrar.at.post(f"{here}/change", stands | {"reason": "誤記"})
    assert "変更された項目がありません" in _alert(same)
    await store_organisation(office, "30000001")
    taken = await registrar.at.post(
        f"{here}/change", stands | {"policy_number": "30000001", "reason": "変更"}
    )
    assert "別の内容で登録されているか" in taken.error("証券番号")
    changed = await registrar.at.post(
        f"{here}/change", stands | {"policy_number": "20000002", "lineages": "", "reason": "証券番号の変更"}
    )
    assert [row[0] for row in changed.main.table(1)[1:]] == ["証券番号", "1人あたりの台数"]
    waiting = await registrar.at.get(here)
    assert "承認待ちの起案：団体の変更" in waiting.main.text
    await _decided(approver, changed)
    moved = store.organisation(look(ra.database), "20000002")
    assert moved is not None
    assert (moved.name, moved.lineages) == ("=虎ノ門商事 𠮷", None)
    assert (await registrar.at.get(here)).status == 404

    here = "/organisations/20000002"
    refused = await registrar.at.post(f"{here}/enable", {"reason": "再開"})
    assert refused.status == 422
    await _decided(approver, await registrar.at.post(f"{here}/disable", {"reason": "契約終了"}))
    assert "利用を再開する" in (await registrar.at.get(here)).main.text
    assert (await registrar.at.post(f"{here}/disable", {"reason": "契約終了"})).status == 422
    await _decided(approver, await registrar.at.post(f"{here}/enable", {"reason": "契約の更新"}))
    back = store.organisation(look(ra.database), "20000002")
    assert back is not None
    assert back.disabled_at is None


async def store_organisation(office: Office, number: str) -> None:  # noqa: F811
    await register.add_organisation(office.served.ra, number, "別の商事", actor="test")


# -- users -----------------------------------------------------------------------------------------------


async def test_a_user_is_added(office: Office) -> None:  # noqa: F811
    """Proposed, and both letters once it is approved; whoever may be somebody else is looked at first; a name
    with a control character, an organisation that nobody has or that is stopped: said beside the field."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    await admit(ra)
    form = await registrar.at.get(f"/users/new?policy_number={POLICY_NUMBER}")
    assert form.field("証券番号").attributes["value"] == POLICY_NUMBER
    typed = {
        "policy_number": POLICY_NUMBER,
        "name": "葛\U000e0101城 花子",
        "mail": "h@example.jp",
        "role": "admin",
    }
    typed |= {"notice_by": "mail", "language": "ja", "reason": "増員"}
    for field, value, label, said in (
        ("name", "花\x07子", "氏名", "U+0007"),
        ("mail", "x", "メールアドレス", "入力内容が正しくありません"),
        ("policy_number", "99999999", "証券番号", "この証券番号の団体は登録されていません"),
        ("user_id", "!", "希望するユーザーID（任意）", "入力内容が正しくありません"),
    ):
        wrong = await registrar.at.post("/users/new", typed | {field: value})
        assert said in wrong.error(label), field
    user = store.user(look(ra.database), USER)
    assert user is not None
    same = await registrar.at.post("/users/new", typed | {"mail": user.mail})
    assert USER in same.main.one("div", class_="warning").text
    (box,) = same.main.all("input", name="alike")
    other = await registrar.at.post("/users/new", typed | {"mail": user.mail, "alike": "made up"})
    assert other.main.all("input", name="alike") != []
    proposed = await registrar.at.post(
        "/users/new", typed | {"mail": user.mail, "alike": box.attributes["value"]}
    )
    assert "起案者が確認済み" in proposed.main.text
    await registrar.at.post(f"{proposed.path}/withdraw")
    await _decided(approver, await registrar.at.post("/users/new", typed))
    (made,) = [each for each in store.users(look(ra.database)) if each.mail == "h@example.jp"]
    assert (made.name, made.role) == ("葛\U000e0101城 花子", "admin")
    kinds = {
        row["kind"] for row in look(ra.database).rows("SELECT * FROM mails") if row["user_id"] == made.user_id
    }
    assert kinds == {"user_id", "pickup"}


async def test_what_changes_about_a_user(office: Office) -> None:  # noqa: F811
    """Name, address, kind and organisation; the end of somebody's access and of a 利用停止: proposed by one
    and decided by another, by the same functions as the commands; nobody sees a button of another role."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    desk = await office.admit("desk", Role.DESK)
    await admit(ra)
    await store_organisation(office, "30000001")
    here = f"/users/{USER}"
    before = store.user(look(ra.database), USER)
    assert before is not None
    stands = {name: str(value) for name, value in asdict(before).items()}
    for person in (desk, approver):
        seen = await person.at.get(here)
        assert (seen.status, "変更の起案" in seen.main.text, f"/callers/{USER}" in seen.html) == (
            200,
            False,
            True,
        )
    assert (await desk.at.post(f"{here}/change", stands | {"name": "x", "reason": "x"})).status == 403
    # As it stands, and written in another way.
    for same in ({}, {"name": "年金　太郎"}):
        assert "変更された項目がありません" in _alert(
            await registrar.at.post(f"{here}/change", stands | same | {"reason": "x"})
        )
    wanted = stands | {
        "name": "年金 次郎",
        "mail": "j@example.jp",
        "role": "admin",
        "policy_number": "30000001",
    }
    wrong = await registrar.at.post(f"{here}/change", wanted | {"mail": "j@", "reason": "改姓"})
    assert (wrong.error("メールアドレス") != "", wrong.field("氏名").attributes["value"]) == (
        True,
        "年金 次郎",
    )
    gone = await registrar.at.post(f"{here}/change", wanted | {"policy_number": "99999999", "reason": "改姓"})
    assert "この証券番号の団体は登録されていません" in gone.error("証券番号")
    await _decided(approver, await registrar.at.post(f"{here}/change", wanted | {"reason": "改姓"}))
    after = store.user(look(ra.database), USER)
    assert after is not None
    assert (after.name, after.mail, after.role, after.policy_number) == (
        "年金 次郎", "j@example.jp", "admin", "30000001",
    )  # fmt: skip

    assert "解除を起案する" not in (await registrar.at.get(here)).buttons()
    desks = actors.of_operator(look(ra.database), desk.operator.number, By.CONSOLE)
    await helping.suspend(ra, desks, USER, "紛失")
    await _decided(approver, await registrar.at.post(f"{here}/release", {"reason": "見つかった"}))
    assert (await registrar.at.post(f"{here}/enable", {"reason": "x"})).status == 422
    await _decided(approver, await registrar.at.post(f"{here}/disable", {"reason": "退職"}))
    assert "利用再開を起案する" in (await registrar.at.get(here)).buttons()
    assert (await registrar.at.post(f"{here}/disable", {"reason": "退職"})).status == 422
    await _decided(approver, await registrar.at.post(f"{here}/enable", {"reason": "復職"}))
    back = store.user(look(ra.database), USER)
    assert back is not None
    assert back.disabled_at is None


async def test_lists_lead_to_people(office: Office) -> None:  # noqa: F811
    """Applications, proposals, the record and the search name people and organisations with a way to their
    pages, and nobody else so."""
    ra = office.served.ra
    registrar = await office.admit("registrar", Role.REGISTRAR)
    auditor = await office.admit("auditor", Role.AUDITOR)
    await admit(ra)
    await applications.apply_reissue(ra, USER, "pc_change", channel="paper", actor="test")
    proposed = await registrar.at.post(f"/users/{USER}/disable", {"reason": "退職"})
    await registrar.at.post(f"/organisations/{POLICY_NUMBER}/disable", {"reason": "解約"})
    user, organisation = f'href="/users/{USER}"', f'href="/organisations/{POLICY_NUMBER}"'
    for path in ("/applications", "/applications/1", "/proposals"):
        page = await auditor.at.get(path)
        assert (user in page.html, organisation in page.html) == (True, True), path
    for path in (f"/audit?about={USER}", proposed.path, f"/callers/{USER}"):
        assert user in (await auditor.at.get(path)).html, path
    assert organisation in (await auditor.at.get(f"/search?q={POLICY_NUMBER}")).html
    assert 'href="/users/registrar"' not in (await auditor.at.get("/audit")).html
