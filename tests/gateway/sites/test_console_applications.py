"""申請 at the console: the queue by due time, what each role makes of it, four eyes, and many at a time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from enroll import store
from enroll.jst import JST
from enroll.operators import actors, applied, asking, taking
from enroll.operators import store as operators
from enroll.operators.actors import By
from enroll.operators.applied import Wanted
from enroll.operators.asking import Proposed
from enroll.operators.roles import Role
from enroll.people import applications, changes
from enroll.people.applications import REJECTIONS
from enroll.people.register import Person
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from gateway.web import sessions
from tests.datadirs import POLICY_NUMBER, admit, clock_of, open_office
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, office, visited  # noqa: F401  a fixture
from tests.gateway.sites.test_console import Person as Operator
from tests.looking import look

USER = "K12345678"
DAY = 86_400


async def applied_for(ra: RegistrationAuthority, count: int = 1, *, by: str = USER) -> list[int]:
    """So many additions that a 管理者 has applied for; their numbers."""
    if store.organisation(look(ra.database), POLICY_NUMBER) is None:
        await admit(ra)
    made = []
    for each in range(count):
        there = len(store.applications(look(ra.database)))
        person = Person(POLICY_NUMBER, f"新規 {there}子", f"new{there}@example.jp")
        made.append((await applications.apply_addition(ra, person, channel="online", actor=by)).number)
        del each
    return made


def state_of(office: Office, number: int) -> store.Application:  # noqa: F811
    found = store.application(look(office.served.ra.database), number)
    assert found is not None
    return found


def numbers(page: Page) -> list[int]:
    """Of the rows of the list."""
    (table,) = [each for each in page.main.all("table") if "queue" in each.attributes.get("class", "")]
    return [int(row.one("td", role="rowheader").text) for row in table.one("tbody").all("tr")]


def actor_of(ra: RegistrationAuthority, who: Operator) -> actors.Actor:
    return actors.of_operator(look(ra.database), who.operator.number, By.CONSOLE)


# -- the queue -------------------------------------------------------------------------------------------


async def test_due_days_skip_weekends_and_holidays(tmp_path: Path) -> None:
    """What came on Sunday 22 November 2026 is due three business days later, on Thursday: Monday is
    a holiday. Until that day is over nothing is late; then it is, in the list and in the count alike."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        clock, actor = clock_of(ra), _host(ra)
        await applied_for(ra)
        clock.advance(seconds=_seconds_to(ra, "2026-11-26 23:59"))
        for due, expected in (("overdue", 0), ("today", 1)):
            found = applied.listed(look(ra.database), ra, actor, Wanted(due=due))  # type: ignore[arg-type]
            assert (found.total, len(found.rows)) == (expected, expected), due
        clock.advance(seconds=60)
        for due, expected in (("overdue", 1), ("today", 0)):
            found = applied.listed(look(ra.database), ra, actor, Wanted(due=due))  # type: ignore[arg-type]
            assert (found.total, len(found.rows)) == (expected, expected), due
        assert found.rows == []
        assert applied.count(look(ra.database), ra, actor, Wanted(due="overdue")) == 1


def _host(ra: RegistrationAuthority) -> actors.Actor:
    return actors.of_account(look(ra.database), "root", ra.now(), host=True)


def _seconds_to(ra: RegistrationAuthority, when: str) -> int:
    from datetime import datetime

    return int(datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=JST).timestamp()) - ra.now()


def _mine(page: Page) -> list[list[str]]:
    """The rows of the own queue at home, each link's words once."""
    if len(page.main.all("table")) == 1:
        return []
    return [[row[0], row[1].partition("：")[0], row[2]] for row in page.main.table()[1:]]


async def test_home_begins_with_ones_own_queue(office: Office) -> None:  # noqa: F811
    """O7: what one may decide or propose oneself, by due time in business days, as word and colour, over a
    holiday; what another one has to do is not there: not what one has entered or proposed, nor, once it is
    proposed, whatever a registrar could have proposed."""
    ra, clock = office.served.ra, clock_of(office.served.ra)
    desk, registrar = await office.admit("desk", Role.DESK), await office.admit("mori", Role.REGISTRAR)
    approver = await office.admit("sato", Role.APPROVER)
    assert "あなたが決定・起案・点検する案件はありません" in (await approver.at.get("/")).main.text
    (number,) = await applied_for(ra)  # on Sunday 22 November 2026; Monday is a holiday
    until = "2026年11月26日（木）"
    person = state_of(office, number).person["name"]
    row = [f"あと3営業日 {until}", "申請", person]
    for who, rows in ((approver, [row]), (registrar, [row]), (desk, [])):
        assert _mine(await who.at.get("/")) == rows, who.operator.name
    chip = (await approver.at.get("/")).main.all("span", class_="plain")
    assert [each.text for each in chip] == ["あと3営業日"]
    change = {"user_id": USER, "changes": {"name": "年金 改"}}
    asked = await asking.ask(ra, actor_of(ra, registrar), "user.change", change)
    assert isinstance(asked, Proposed)
    made = await asking.ask(
        ra,
        actor_of(ra, registrar),
        "application.approve",
        applied.payload_of("application.approve", number, {}),
    )
    assert isinstance(made, Proposed)
    assert _mine(await registrar.at.get("/")) == []
    # A proposal ends after five business days, an application's decision is due with the application.
    rows = _mine(await approver.at.get("/"))
    assert [each[0] for each in rows] == [row[0], "あと5営業日 2026年11月30日（月）"]
    assert [each[1] for each in rows] == ["申請の承認", "利用者の変更"]
    clock.advance(seconds=_seconds_to(ra, "2026-11-26 09:00"))
    await approver.log_in()
    page = await approver.at.get("/")
    assert [each[0] for each in _mine(page)] == [f"本日まで {until}", "あと2営業日 2026年11月30日（月）"]
    assert [each.text for each in page.main.all("span", class_="warn")] == ["本日まで"]
    clock.advance(seconds=_seconds_to(ra, "2026-11-27 00:00"))
    await approver.log_in()
    page = await approver.at.get("/?lang=en")
    assert "overdue" in [each.text for each in page.main.all("span", class_="bad")]
    await approver.at.get("/?lang=ja")
    await approver.confirm(await approver.at.post(f"/proposals/{made.number}/approve"))
    assert [each[1] for each in _mine(await approver.at.get("/"))] == ["利用者の変更"]


async def test_the_own_queue_ends_somewhere(office: Office) -> None:  # noqa: F811
    """Ten rows, the first by due time, however many come before that are somebody else's."""
    ra = office.served.ra
    registrar, approver = (
        await office.admit("mori", Role.REGISTRAR),
        await office.admit("sato", Role.APPROVER),
    )
    numbers = await applied_for(ra, 75)
    for number in numbers[:60]:
        await asking.ask(
            ra,
            actor_of(ra, registrar),
            "application.approve",
            applied.payload_of("application.approve", number, {}),
        )
    links = [each.attributes["href"] for each in (await registrar.at.get("/")).main.all("a")]
    assert [each for each in links if each.startswith("/applications/")] == [
        f"/applications/{number}" for number in numbers[60:70]
    ]
    assert len(_mine(await approver.at.get("/"))) == 10


async def test_pages_and_counts(office: Office) -> None:  # noqa: F811
    """50 a page by a cursor, each row once, "N of M" true on each, filters kept; home has the same number."""
    desk = await office.admit("desk", Role.DESK)
    ra = office.served.ra
    there = await applied_for(ra, 60)
    first = await desk.at.get("/applications")
    assert "1–50 / 60件" in first.main.text
    (following,) = [a.attributes["href"] for a in first.main.all("a") if a.text == "次のページ"]
    second = await desk.at.get(following)
    assert "51–60 / 60件" in second.main.text
    assert numbers(first) + numbers(second) == there
    newest = await desk.at.get("/applications?sort=newest")
    assert numbers(newest) == there[:9:-1]
    (following,) = [a.attributes["href"] for a in newest.main.all("a") if a.text == "次のページ"]
    assert "sort=newest" in following
    assert numbers(await desk.at.get(following)) == there[9::-1]
    assert ["決定待ちの申請", "60"] in (await desk.at.get("/")).main.table(-1)
    assert "0 / 0件" in (await desk.at.get("/applications?kind=reissue")).main.text
    assert len(numbers(await desk.at.get(f"/applications?policy_number={POLICY_NUMBER}"))) == 50
    assert "条件に合う申請はありません" in (await desk.at.get("/applications?policy_number=NONE")).main.text


@pytest.mark.parametrize(
    "query", ["state=made-up", "after=1", "after=1-x", "after=-", "sort=x", "due=x", f"after={'9' * 30}-1"]
)
async def test_what_no_page_of_ours_links_to(office: Office, query: str) -> None:  # noqa: F811
    """A filter or a cursor that was made up is refused in words; one that points nowhere is an empty page."""
    desk = await office.admit("desk", Role.DESK)
    assert (await desk.at.get(f"/applications?{query}")).status == 422
    assert (await desk.at.get("/applications?after=9999999999-9")).status == 200


async def test_an_empty_list_says_why(office: Office) -> None:  # noqa: F811
    """And what fills it; whoever may not take anything in is not led there."""
    desk, auditor = await office.admit("desk", Role.DESK), await office.admit("auditor", Role.AUDITOR)
    page = await desk.at.get("/applications")
    assert "決定待ちの申請はありません" in page.main.text
    assert "申請を受け付ける" in [a.text for a in page.main.all("a")]
    assert "申請を受け付ける" not in [a.text for a in (await auditor.at.get("/applications")).main.all("a")]


async def test_old_beside_new_and_likely_duplicates(office: Office) -> None:  # noqa: F811
    """A reissue beside the certificate that is there, an addition beside nothing; who may be the same is
    marked in the list and named on the page; so is a mail address that was just changed."""
    desk = await office.admit("desk", Role.DESK)
    ra = office.served.ra
    await admit(ra)
    alike = Person(POLICY_NUMBER, "年金　太郎", "another@example.jp")
    number = (await applications.apply_addition(ra, alike, channel="online", actor=USER)).number
    await changes.change_user(ra, USER, {"mail": "moved@example.jp"}, actor="test")
    again = (await applications.apply_reissue(ra, USER, "pc_change", channel="online", actor=USER)).number
    text = (await desk.at.get("/applications")).main.text
    assert ("似た登録あり" in text, "メール変更直後" in text, "パソコンを変更した" in text) == (
        True,
        True,
        True,
    )
    page = await desk.at.get(f"/applications/{number}")
    assert "同じ人の可能性がある" in page.main.text
    assert USER in page.main.text
    changed = page.main.table(2)
    assert ["氏名", "－", "年金 太郎"] in changed
    assert ["メールアドレス", "－", "another@example.jp"] in changed
    page = await desk.at.get(f"/applications/{again}")
    assert "この2週間の間に変更" in page.main.text
    assert ["申請の理由", "－", "パソコンを変更した"] in page.main.table(1)
    approver = await office.admit("approver", Role.APPROVER)
    page = await approver.at.get(f"/applications/{again}")
    assert (
        "登録担当がこの申請の承認を起案し" in page.main.text,
        "自分では決定できません" in page.main.text,
    ) == (
        True,
        False,
    )
    # To reject it takes one, here as in the list.
    assert page.buttons() == ["却下する"]
    sent = await approver.at.post(f"/applications/{again}/reject", {"step": "do", "rejection": "duplicate"})
    await approver.confirm(sent)
    assert state_of(office, again).state == "rejected"
    assert (await desk.at.get("/applications/999")).status == 404


# -- deciding --------------------------------------------------------------------------------------------


async def test_a_registrar_proposes_and_an_approver_decides(office: Office) -> None:  # noqa: F811
    """Each button is what comes of it: the desk has none; the registrar's makes a proposal and asks for no
    passkey; the approver's decides, once the passkey was used."""
    desk, registrar = await office.admit("desk", Role.DESK), await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    one, two, three = await applied_for(office.served.ra, 3)
    buttons = {
        who.operator.name: (await who.at.get(f"/applications/{one}")).buttons()
        for who in (desk, registrar, approver)
    }
    assert buttons == {
        "desk": [], "registrar": ["承認を起案する", "却下を起案する"], "approver": ["承認する", "却下する"],
    }  # fmt: skip
    assert (await desk.at.post(f"/applications/{one}/approve")).status == 403
    done = await registrar.at.post(f"/applications/{one}/approve", {"step": "propose"})
    assert done.path.startswith("/proposals/")
    assert "起案しました" in done.main.text
    # Whom it is about is said there, by its name, and it leads back to what was applied for.
    name = state_of(office, one).person["name"]
    assert name in done.h1
    assert f"/applications/{one}" in [each.attributes["href"] for each in done.main.all("a")]
    assert name in (await approver.at.get("/proposals")).main.text
    assert state_of(office, one).state == "submitted"
    assert (await registrar.at.post(f"/applications/{two}/approve", {"step": "do"})).status == 403
    asked = await approver.at.post(f"/applications/{two}/approve", {"step": "do", "department": "経理部"})
    assert asked.h1 == "パスキーで確認"
    assert state_of(office, two).state == "submitted"
    done = await approver.confirm(asked)
    assert (done.path, "承認しました" in done.main.text) == (f"/applications/{two}", True)
    decided = state_of(office, two)
    assert (decided.state, decided.decided_by) == ("approved", "operator:approver")
    opened = store.enrollment(look(office.served.ra.database), decided.request_id or "")
    assert opened is not None
    made = store.user(look(office.served.ra.database), opened.user_id)
    assert made is not None
    assert made.department == "経理部"
    assert f"/users/{made.user_id}" in [each.attributes["href"] for each in done.main.all("a")]
    assert (await approver.at.post(f"/applications/{two}/approve", {"step": "do"})).status == 409
    page = await approver.at.post(
        f"/applications/{three}/reject", {"step": "do", "rejection": "", "note": "x"}
    )
    assert "却下の理由を選択してください" in page.main.text
    assert page.field("申請者に伝える内容").attributes["value"] == "x"
    page = await approver.at.post(f"/applications/{three}/reject", {"step": "do", "rejection": "other"})
    assert "却下の理由を入力してください" in page.main.text
    fields = {"step": "do", "rejection": "not_entitled", "note": ""}
    done = await approver.confirm(await approver.at.post(f"/applications/{three}/reject", fields))
    assert REJECTIONS["not_entitled"][0] in done.main.text
    assert (state_of(office, three).state, state_of(office, three).rejection) == ("rejected", "not_entitled")


async def test_nobody_decides_what_one_entered_or_proposed(office: Office) -> None:  # noqa: F811
    """O4: whoever took it in may propose it, where that is the role, and gets 403 for deciding it: on the
    page, at once, through somebody else's proposal, and by the command line's function; by whichever door it
    was taken in. Another approver decides it."""
    ra = office.served.ra
    both = await office.admit("both", Role.REGISTRAR, Role.APPROVER)
    other = await office.admit("other", Role.REGISTRAR, Role.APPROVER)
    await admit(ra)
    fields = {"kind": "addition", "policy_number": POLICY_NUMBER, "name": "新規 書子",
              "mail": "kaku@example.jp",
              "role": "member", "notice_by": "mail", "language": "ja"}  # fmt: skip
    taken = await both.at.post("/applications/new", fields)
    assert "申請を受け付けました" in taken.main.text
    number = int(taken.path.rpartition("/")[2])
    here = f"/applications/{number}"
    assert taken.buttons() == ["承認を起案する", "却下を起案する"]
    for verb in ("approve", "reject"):
        sent = {"step": "do", "rejection": "duplicate"}
        assert (await both.at.post(f"{here}/{verb}", sent)).status == 403
    # The same person at the command line is no other one.
    at_shell = replace(actor_of(ra, both), name="operator:both/both")
    assert applied.one(look(ra.database), ra, at_shell, number).steps["application.approve"] == "propose"  # type: ignore[union-attr]
    payload = applied.payload_of("application.approve", number, {})
    # Somebody else proposes it: who entered it does not decide that either.
    less = replace(other.operator, roles=(Role.REGISTRAR,))
    assert await ra.database.write(lambda db: operators.change(db, other.operator, less))
    made = await asking.ask(ra, actor_of(ra, other), "application.approve", payload)
    assert isinstance(made, Proposed)
    page = await both.at.get(f"/proposals/{made.number}")
    assert "承認する" not in page.buttons()
    assert (await both.at.post(f"/proposals/{made.number}/approve")).status == 403
    with pytest.raises(Refusal, match="you have entered yourself"):
        await asking.approve(ra, actor_of(ra, both), made.number)
    # Who has proposed it does not decide it beside the proposal.
    assert await ra.database.write(
        lambda db: operators.change(db, less, replace(less, roles=both.operator.roles))
    )
    assert (await other.at.post(f"{here}/approve", {"step": "do"})).status == 403
    alone = replace(both.operator, roles=(Role.APPROVER,))
    assert await ra.database.write(lambda db: operators.change(db, both.operator, alone))
    page = await both.at.get(here)
    assert ("自分では決定できません" in page.main.text, "登録担当がこの申請" in page.main.text) == (
        True,
        False,
    )
    third = await office.admit("third", Role.APPROVER)
    done = await third.confirm(await third.at.post(f"{here}/approve", {"step": "do"}))
    assert "承認しました" in done.main.text


async def test_taken_in_by_another_door(tmp_path: Path) -> None:
    """What the same operator took in at a shell is entered by him at the console, too."""
    async with open_office(tmp_path) as ra:
        from tests.enroll.operators.test_actors import someone

        await admit(ra)
        await ra.database.write(
            lambda db: operators.add(db, someone("both", "registrar", "approver", at=ra.now()))
        )
        await ra.database.write(lambda db: operators.add(db, someone("officer", "ca-officer", at=ra.now())))
        (number,) = await applied_for(ra, by="operator:both/both")
        found = operators.named(look(ra.database), "both")
        assert found is not None
        actor = actors.of_operator(look(ra.database), found.number, By.CONSOLE)
        for decision in ("application.approve", "application.reject"):
            assert asking.step_of(look(ra.database), ra, actor, decision, {"number": number}) == "propose"


async def test_many_at_a_time(office: Office) -> None:  # noqa: F811
    """What cannot be done for one is done for the others, and said for each; at most 50, at least one; what
    was ticked and typed comes back; the passkey is asked for once."""
    ra = office.served.ra
    approver, registrar = (
        await office.admit("approver", Role.APPROVER),
        await office.admit("reg", Role.REGISTRAR),
    )
    one, two, three, four = await applied_for(ra, 4)
    await applications.withdraw(ra, two, actor=USER)
    page = await approver.at.post("/applications/bulk", {"act": "approve", "back": "kind=addition&evil=1"})
    assert "申請を選択してください" in page.main.text
    assert page.path == "/applications"
    ticks = {f"n{number}": "1" for number in (one, two, 999)}
    page = await approver.at.post("/applications/bulk", {**ticks, "act": "reject", "note": "typed"})
    assert "却下の理由を選択してください" in page.main.text
    ticked = [
        each.attributes["name"]
        for each in page.main.all("input", type="checkbox")
        if "checked" in each.attributes
    ]
    assert ticked == [f"n{one}"]
    asked = await approver.at.post("/applications/bulk", {**ticks, "act": "approve"})
    assert asked.h1 == "パスキーで確認"
    # Whom it concerns, and what comes of it.
    name = state_of(office, one).person["name"]
    for part in (f"申請 3件（{one} {name}、", "利用者として登録され", "取り消せません。"):
        assert part in asked.main.text, part
    rejection = {**ticks, "act": "reject", "rejection": "duplicate"}
    told = (await approver.at.post("/applications/bulk", rejection)).main.text
    assert ("却下とその理由が表示されます" in told, "利用者として登録され" in told) == (True, False)
    assert state_of(office, one).state == "submitted"
    done = await approver.confirm(asked)
    assert done.main.table()[1:] == [
        [str(one), "承認しました"], [str(two), "すでに決定または起案されています"],
        ["999", "該当する申請がありません"],
    ]  # fmt: skip
    assert "3件のうち1件を実行しました。2件は" in done.main.text
    many = {f"n{number}": "1" for number in range(1, 52)}
    assert "50件まで" in (await approver.at.post("/applications/bulk", {**many, "act": "approve"})).main.text
    done = await registrar.at.post(
        "/applications/bulk", {f"n{three}": "1", f"n{four}": "1", "act": "approve"}
    )
    assert [row[1] for row in done.main.table()[1:]] == ["起案しました（別の人が決定）"] * 2
    again = await registrar.at.post("/applications/bulk", {f"n{three}": "1", "act": "approve"})
    assert again.main.table()[1][1] == "すでに決定または起案されています"
    assert "表示できる結果はありません" in (await registrar.at.get("/applications/bulk")).main.text


async def test_a_form_outlives_its_session(office: Office) -> None:  # noqa: F811
    """O5: what was ticked and typed is there after the next login, and is not carried out before."""
    approver = await office.admit("approver", Role.APPROVER)
    one, two = await applied_for(office.served.ra, 2)
    clock_of(office.served.ra).advance(seconds=16 * 60)
    sent = {f"n{one}": "1", f"n{two}": "1", "act": "reject", "rejection": "incomplete", "note": "署名なし"}
    login = await approver.at.post("/applications/bulk", sent)
    assert "入力された内容は保持しています" in login.main.text
    form = login.main.one("form", data_passkey="get")
    typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    from tests.gateway.sites.test_console import options_of

    back = await approver.at.post("/login", typed | {"answer": approver.signed(options_of(login))})
    form = back.main.one("form")
    typed = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    done = await approver.confirm(await approver.at.post(form.attributes["action"], typed))
    assert [row[1] for row in done.main.table()[1:]] == ["却下しました"] * 2
    assert state_of(office, one).note == "署名なし"


async def test_what_ends_a_login_ends_its_sessions(office: Office) -> None:  # noqa: F811
    """A password that is reset, or a user who is stopped, by a decision at the console: nobody goes on in a
    session of before, as with the same command."""
    ra = office.served.ra
    desk, registrar = await office.admit("desk", Role.DESK), await office.admit("registrar", Role.REGISTRAR)
    approver = await office.admit("approver", Role.APPROVER)
    await admit(ra)

    async def logged_in() -> int:
        here = sessions.Client("192.0.2.1", "Edge")
        await sessions.start(ra, web.Response(), "service", USER, here)
        return len(sessions.listed(look(ra.database), ra.now(), USER))

    for proposer, decider, kind in (
        (desk, registrar, "user.reset_password"),
        (registrar, approver, "user.disable"),
    ):
        assert await logged_in() == 1
        made = await asking.ask(ra, actor_of(ra, proposer), kind, {"user_id": USER})
        assert isinstance(made, Proposed)
        done = await decider.confirm(await decider.at.post(f"/proposals/{made.number}/approve"))
        assert "承認しました" in done.main.text
        assert sessions.listed(look(ra.database), ra.now(), USER) == [], kind


# -- taking in -------------------------------------------------------------------------------------------


async def test_the_desk_takes_in(office: Office) -> None:  # noqa: F811
    """On paper, for somebody new and for a reissue; somebody who may be the same is asked about, what is
    wrong is said beside its field, and nothing that was typed is lost. An approver has no such form."""
    ra = office.served.ra
    desk, approver = await office.admit("desk", Role.DESK), await office.admit("approver", Role.APPROVER)
    await admit(ra)
    assert await visited(approver, "/applications/new") == 403
    assert (await approver.at.post("/applications/new", {"kind": "reissue"})).status == 403
    page = await desk.at.post(
        "/applications/new", {"kind": "reissue", "whose": "NOBODY1", "reason": "pc_change"}
    )
    assert "ユーザーIDを入力してください" in page.error("ユーザーID")
    assert page.field("ユーザーID").attributes["value"] == "NOBODY1"
    page = await desk.at.post("/applications/new", {"kind": "reissue", "whose": USER, "reason": "pc_change"})
    number = int(page.path.rpartition("/")[2])
    found = state_of(office, number)
    assert (found.channel, found.applied_by, found.revoke_old) == ("paper", "operator:desk", "on_pickup")
    again = await desk.at.post("/applications/new", {"kind": "reissue", "whose": USER, "reason": "pc_change"})
    assert "すでに受け付けられています" in again.main.text
    fields = {"kind": "addition", "policy_number": POLICY_NUMBER, "name": "年金 太郎", "mail": "no address",
              "role": "member", "notice_by": "mail", "language": "ja"}  # fmt: skip
    page = await desk.at.post("/applications/new", fields)
    assert "メールアドレスの形式" in page.error("メールアドレス")
    fields["mail"] = "another@example.jp"
    page = await desk.at.post("/applications/new", fields)
    assert "同じ人でないこと" in page.main.text
    mark = page.main.one("input", type="checkbox").attributes["value"]
    # Where postcards go: as elsewhere all of it or nothing, in the form in which it is printed.
    page = await desk.at.post("/applications/new", {**fields, "postal_code": "100", "alike": mark})
    assert "7桁の数字" in page.error("郵便番号")
    assert "選択してください" in page.error("都道府県")
    assert page.field("郵便番号").attributes["value"] == "100"
    where = {"postal_code": "１００8916", "prefecture": "東京都", "city": "千代田区", "street": "霞が関1-2-2"}
    done = await desk.at.post("/applications/new", {**fields, **where, "alike": mark})
    assert "申請を受け付けました" in done.main.text
    told = [row[0] for row in done.main.table(2)]
    assert ["郵便番号", "－", "100-8916"] in done.main.table(2)
    assert told.index("氏名") < told.index("メールアドレス") < told.index("郵便番号")
    taken = state_of(office, int(done.path.rpartition("/")[2])).person
    assert {name: taken[name] for name in where} == {**where, "postal_code": "100-8916"}
    with pytest.raises(Refusal, match="may not do that"):
        await taking.take_in_reissue(ra, actor_of(ra, approver), USER, "expired")


async def test_in_english(office: Office) -> None:  # noqa: F811
    """Each page, with values in words."""
    approver = await office.admit("approver", Role.APPROVER)
    (number,) = await applied_for(office.served.ra)
    page = await approver.at.get("/applications?lang=en")
    assert "3 business days left" in page.main.text
    assert "1–1 / 1" in page.main.text
    page = await approver.at.get(f"/applications/{number}")
    assert ["Name", "–", state_of(office, number).person["name"]] in page.main.table(1)
    assert re.search(r"\d+ \w{3} 20\d\d \(\w{3}\) \d\d:\d\d", page.main.text)
    assert not set(re.findall("承認|却下|申請|期限", page.main.text))
