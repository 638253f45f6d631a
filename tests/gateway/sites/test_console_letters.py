"""メール・はがき at the console: the list and its counts, one letter with its history, and once more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ca.storage import Transaction
from enroll import store
from enroll.jst import day_of
from enroll.listings import Letters
from enroll.listings.store import LETTER_STATES as STATES
from enroll.mail import occasions
from enroll.mail import store as mail_store
from enroll.mail.bounces import Bounce, record_bounce
from enroll.mail.states import IN_TURN, State, state_of
from enroll.mail.writing import MASK, TEMPLATES
from enroll.operators import actors, letters
from enroll.operators.actors import By
from enroll.operators.roles import Role
from enroll.people import applications, changes, register
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.scheduler import notify
from enroll.settings import DAY
from gateway.sites.console.finding_words import CHANNELS, LETTER_EVENTS, LETTER_GROUPS, LETTER_STATES, LETTERS
from tests.datadirs import admit, clock_of, delivered
from tests.enroll.test_flow import first_login, picked_up
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, office
from tests.looking import look

__all__ = ("office",)

USER = "K12345678"


def numbers(page: Page) -> list[int]:
    """Of the rows of the list."""
    found = [each for each in page.main.all("table") if "queue" in each.attributes.get("class", "")]
    return [int(row.one("td", role="rowheader").text) for t in found for row in t.one("tbody").all("tr")]


async def reminded(ra: RegistrationAuthority, days: int = 30) -> int:
    """Somebody who has picked up and is reminded so many days before the end; the number of that letter."""
    await admit(ra)
    _, request_id = await picked_up(ra)
    await first_login(ra, request_id)
    source = store.enrollments_of(look(ra.database), USER)[0]
    clock_of(ra).set((source.not_after_at or 0) - days * DAY)
    await notify(ra, day_of(ra.now()))
    await delivered(ra)
    return newest(ra)


def newest(ra: RegistrationAuthority) -> int:
    return mail_store.newest(look(ra.database))


async def came_back(ra: RegistrationAuthority, number: int) -> None:
    letter = mail_store.shown(look(ra.database), number)
    assert letter is not None
    bounce = Bounce(number, letter["created_at"], "5.1.1 smtp; 550 User unknown")
    assert await record_bounce(ra, bounce, actor="test")


async def refused(ra: RegistrationAuthority, number: int, *, given_up: bool = False) -> None:
    """As delivery settles one whose recipient is not there."""

    def work(db: Transaction) -> None:
        row = mail_store.next_due(db, "mail", ra.now(), IN_TURN)
        assert row is not None
        assert row["id"] == number
        mail_store.failed(db, mail_store.begin(db, row, ra.now()), ra.now(), "RCPT 550 no", given_up=given_up)

    await ra.database.write(work)


# -- the list --------------------------------------------------------------------------------------------


async def test_every_state_has_its_list(office: Office) -> None:
    """O14: a bounce is a state, as are refused and given up; of each, and of what is to be seen to, the count
    is the list's, on its page and at home."""
    ra = office.served.ra
    first = await reminded(ra)
    desk = await office.admit("desk", Role.DESK)
    await came_back(ra, first)
    await admit(ra, "K22222222")
    await admit(ra, "K33333333")
    pickup, notice, third, fourth = range(first + 1, first + 5)
    await refused(ra, pickup)
    await refused(ra, notice, given_up=True)
    held = "UPDATE mails SET held_at = :at WHERE id = :id"
    await ra.database.write(lambda db: db.execute(held, {"at": ra.now(), "id": fourth}))
    expected = {"bounced": [first], "refused": [pickup], "given_up": [notice], "held": [fourth]}
    expected |= {"waiting": [third], "failed": [notice, pickup, first], "open": [notice, pickup, first]}
    home = dict(row for row in (await desk.at.get("/")).main.table(-1) if len(row) == 2)
    for state, those in expected.items():
        page = await desk.at.get(f"/letters?state={state}")
        assert numbers(page) == those, state
        assert f"1–{len(those)} / {len(those)}件" in page.main.text
    assert (home["届いていないメール・はがき（要対応）"], home["送信待ちのメール・はがき"]) == ("3", "1")
    assert home["保留中のメール・はがき"] == "1"
    assert numbers(await desk.at.get("/letters?state=sent&kind=pickup")) == [1]
    assert len(numbers(await desk.at.get(f"/letters?user_id={USER.lower()}"))) == 3
    assert numbers(await desk.at.get("/letters?channel=postcard")) == []
    today = day_of(ra.now()).isoformat()
    assert len(numbers(await desk.at.get(f"/letters?from={today}&to={today}"))) == 5
    assert (
        "条件に合うものはありません" in (await desk.at.get(f"/letters?to=2020-01-01&from={today}")).main.text
    )
    lines = store.audit_page(look(ra.database), "letters", 50)
    assert ("operator:desk", "letters.seen") in {(each["actor"], each["action"]) for each in lines}


async def test_what_failed_is_open_until_something_arrives(office: Office) -> None:
    """An address that was put right opens nothing by itself: the letter is open until one has left for the
    user again; nobody sees to whoever is stopped."""
    ra = office.served.ra
    first = await reminded(ra)
    await came_back(ra, first)
    wanted = Letters(state="open")
    desk = await office.admit("desk", Role.DESK)
    actor = actors.of_operator(look(ra.database), desk.operator.number, By.CONSOLE)
    await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="test")
    assert letters.count(look(ra.database), actor, wanted) == 1
    await letters.send_again(ra, actor, first)
    assert letters.count(look(ra.database), actor, wanted) == 1
    await delivered(ra)
    assert letters.count(look(ra.database), actor, wanted) == 0
    await came_back(ra, newest(ra))
    assert letters.count(look(ra.database), actor, wanted) == 2
    await register.disable_user(ra, USER, actor="test")
    assert letters.count(look(ra.database), actor, wanted) == 0


async def test_a_password_that_did_not_arrive_is_open_until_another_one_has(office: Office) -> None:
    """Of both letters to somebody new each waits for one of its own kind: a pick-up email brings no login
    password, and the other way round."""
    ra = office.served.ra
    await admit(ra)
    await delivered(ra)
    desk = await office.admit("desk", Role.DESK)
    actor = actors.of_operator(look(ra.database), desk.operator.number, By.CONSOLE)

    def open_kinds() -> set[str]:
        rows = letters.listed(look(ra.database), ra, actor, Letters(state="open")).rows
        return {row.letter["kind"] for row in rows}

    for each in mail_store.listed(look(ra.database), USER, 9):
        await came_back(ra, each["id"])
    assert open_kinds() == {"pickup", "user_id"}
    await applications.reissue(ra, USER, "mail_lost", actor="test")
    await delivered(ra)
    assert open_kinds() == {"user_id"}
    await changes.reset_password(ra, USER, actor="test")
    await delivered(ra)
    assert open_kinds() == set()


async def test_pages_of_the_list(office: Office) -> None:
    """50 a page by a cursor, each row once, "N of M" true on each, filters kept."""
    ra = office.served.ra
    for each in range(30):
        await admit(ra, f"KA{each:04d}")
    auditor = await office.admit("auditor", Role.AUDITOR)
    page = await auditor.at.get("/letters?state=waiting")
    assert ("1–50 / 60件" in page.main.text, page.buttons()) == (True, ["絞り込む"])
    (following,) = [a.attributes["href"] for a in page.main.all("a") if a.text == "次のページ"]
    assert "state=waiting" in following
    further = await auditor.at.get(following)
    assert "51–60 / 60件" in further.main.text
    assert numbers(page) + numbers(further) == list(range(60, 0, -1))


@pytest.mark.parametrize("query", ["state=made-up", "kind=x", "channel=fax", "before=x", "from=yesterday"])
async def test_what_no_page_of_ours_links_to(office: Office, query: str) -> None:
    """A filter or a cursor that was made up is refused in words, a day beside its field."""
    desk = await office.admit("desk", Role.DESK)
    page = await desk.at.get(f"/letters?{query}")
    assert page.status == 422
    if query.startswith("from"):
        assert page.error("作成日（から）").startswith("日付を入力してください")
    assert (await desk.at.get(f"/letters?before=1&user_id=%27{'x' * 300}")).status == 200
    assert (await desk.at.get("/letters/999")).status == 404


async def test_an_empty_list_says_why(office: Office) -> None:
    """And what fills it."""
    desk = await office.admit("desk", Role.DESK)
    assert "まだありません" in (await desk.at.get("/letters")).main.text


# -- one -------------------------------------------------------------------------------------------------


async def test_a_letter_with_its_history(office: Office) -> None:
    """What was sent to whom and when, each refusal, that it came back and why; passwords masked; and that the
    address takes nothing, there and on the person's page, until it is another one."""
    ra = office.served.ra
    await admit(ra)
    at = ra.now()

    def work(db: Transaction) -> None:
        row = mail_store.next_due(db, "mail", at, IN_TURN)
        assert row is not None
        mail_store.put_back(db, mail_store.begin(db, row, at), at, at + 60, at, 0, "RCPT 450 busy")

    await ra.database.write(work)
    clock_of(ra).advance(seconds=120)
    sent = next(each for each in await delivered(ra) if "パスワード：" in each.body)
    clock_of(ra).advance(seconds=60)
    await came_back(ra, 1)
    desk = await office.admit("desk", Role.DESK)
    page = await desk.at.get("/letters/1")
    assert [row[1:] for row in page.main.table(1)[1:]] == [
        ["作成", ""],
        ["一時拒否（後で再試行）", "RCPT 450 busy"],
        ["送信（メールサーバーが受理）", ""],
        ["不着（返送）", "5.1.1 smtp; 550 User unknown"],
    ]
    assert "不着（返送）" in page.main.table(0)[0][1]
    assert ("いま、メールは届きません" in page.main.text, MASK in page.main.text) == (False, True)
    assert "に、いまメールは届きません" not in page.main.text  # a newer one has left since: the ID notice
    secret = [line.partition("：")[2] for line in sent.body.splitlines() if "パスワード：" in line]
    assert [each for each in secret if each in page.html] == []
    await came_back(ra, 2)
    assert "に、いまメールは届きません" in (await desk.at.get("/letters/1")).main.text
    assert (
        "登録のメールアドレスへのメールが届いていません" in (await desk.at.get(f"/callers/{USER}")).main.text
    )
    await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="test")
    assert "メールが届いていません" not in (await desk.at.get(f"/callers/{USER}")).main.text
    lines = store.audit_page(look(ra.database), USER, 50)
    assert {(each["actor"], each["action"]) for each in lines} >= {("operator:desk", "letter.seen")}


async def test_what_tells_a_password_leads_to_another_one(office: Office) -> None:
    """O14: no button, one next step by the kind; whoever sends the form all the same changes nothing."""
    ra = office.served.ra
    await admit(ra)
    await delivered(ra)
    desk = await office.admit("desk", Role.DESK)
    for number, step in ((1, f"/applications/new?whose={USER}"), (2, f"/callers/{USER}#reset")):
        page = await desk.at.get(f"/letters/{number}")
        assert "再送する" not in page.buttons()
        assert step in [a.attributes["href"] for a in page.main.all("a")]
        page = await desk.at.post(f"/letters/{number}/again")
        assert "再送できません" in page.main.one("div", role="alert").text
    assert newest(ra) == 2


async def test_again_to_the_present_address(office: Office) -> None:
    """What tells no password goes once a day, to the address that is recorded by then; others may look."""
    ra = office.served.ra
    number = await reminded(ra)
    await changes.change_user(ra, USER, {"mail": "right@example.jp"}, actor="test")
    desk, auditor = await office.admit("desk", Role.DESK), await office.admit("auditor", Role.AUDITOR)
    assert "再送する" not in (await auditor.at.get(f"/letters/{number}")).buttons()
    assert (
        "登録中のアドレス（right@example.jp）へもう一度"
        in (await desk.at.get(f"/letters/{number}")).main.text
    )
    assert (await auditor.at.post(f"/letters/{number}/again")).status == 403
    page = await desk.at.post(f"/letters/{number}/again")
    assert "送信待ちに入れました" in page.main.one("div", role="status").text
    again = mail_store.shown(look(ra.database), newest(ra))
    assert again is not None
    assert (again["recipient"], again["kind"]) == ("right@example.jp", "renewal_30")
    assert dict(page.main.table())["再送したもの"] == str(newest(ra))
    assert f"/letters/{newest(ra)}" in [each.attributes["href"] for each in page.main.all("a")]
    assert "再送したもの" not in dict((await desk.at.get(f"/letters/{newest(ra)}")).main.table())
    page = await desk.at.post(f"/letters/{number}/again")
    assert "再送できません" in page.main.one("div", role="alert").text


async def test_many_again_each_by_itself(office: Office) -> None:
    """At most 50 at once: what is refused for one is done for the others, told row by row, from the part of
    the list where they were ticked; none ticked, or too many, sends none."""
    ra = office.served.ra
    number = await reminded(ra)
    desk = await office.admit("desk", Role.DESK)
    page = await desk.at.get("/letters?state=sent")
    boxes = [each.attributes["name"] for each in page.main.all("input", type="checkbox")]
    assert boxes == [f"n{number}"]
    before = newest(ra)
    ticks = {"n1": "1", f"n{number}": "1", "n999": "1", "back": "state=sent&evil=1"}
    page = await desk.at.post("/letters/bulk", ticks)
    assert page.h1 == "再送の結果"
    assert [row[0] for row in page.main.table()[1:]] == ["1", str(number), "999"]
    assert [row[1][:4] for row in page.main.table()[1:]] == ["再送でき", "送信待ち", "該当する"]
    assert "3件のうち1件を再送します。" in page.main.text
    (back,) = [a for a in page.main.all("a") if a.text == "一覧へ"]
    assert (back.attributes["href"], newest(ra)) == ("/letters?state=sent", before + 1)
    page = await desk.at.post("/letters/bulk", {"back": "state=sent"})
    assert page.main.one("div", role="alert").text == "再送するメールを選択してください。"
    page = await desk.at.post("/letters/bulk", {f"n{each}": "1" for each in range(1, 52)})
    assert "50件まで" in page.main.one("div", role="alert").text
    assert newest(ra) == before + 1


async def test_an_operators_letter_is_tried_again_where_it_was_to_go(office: Office) -> None:
    """Who is no user has no other address: what was refused goes there again, alone and with all others."""
    ra = office.served.ra
    desk = await office.admit("desk", Role.DESK)
    await ra.database.write(
        lambda db: occasions.operator_code(db, ra, "ito", "伊藤", "ito@example.jp", "C", "ja", ra.now())
    )
    await refused(ra, 1)
    assert "運用者" in (await desk.at.get("/letters?state=open")).main.text
    page = await desk.at.post("/letters/1/again")
    assert "送信待ちに入れました" in page.main.one("div", role="status").text
    await refused(ra, 1)
    assert await ra.database.write(lambda db: mail_store.retry_failed(db, ra.now())) == 1
    letter = mail_store.shown(look(ra.database), 1)
    assert letter is not None
    assert (letter["recipient"], letter["state"]) == ("ito@example.jp", "queued")


async def test_who_may_not_is_told_by_the_function(office: Office) -> None:
    """The pages are not what keeps anybody out."""
    ra = office.served.ra
    await admit(ra)
    officer = await office.admit("officer", Role.CA_OFFICER, enrolled=False)
    actor = actors.of_operator(look(ra.database), officer.operator.number, By.CONSOLE)
    for asked in (
        lambda: letters.listed(look(ra.database), ra, actor, Letters()),
        lambda: letters.count(look(ra.database), actor, Letters()),
        lambda: letters.one(look(ra.database), ra, actor, 1),
    ):
        with pytest.raises(Refusal, match="may not do that"):
            asked()
    with pytest.raises(Refusal, match="may not do that"):
        await letters.send_again(ra, replace(actor), 1)


def test_every_letter_has_its_words() -> None:
    """Each kind, state, event and channel is called by a name in both languages."""
    assert set(LETTERS) == {*TEMPLATES, "template_test"}
    assert set(LETTER_STATES) == set(State)
    assert {*LETTER_STATES, *LETTER_GROUPS, "queued"} == set(STATES)
    for table in (LETTERS, LETTER_GROUPS, CHANNELS):
        assert all(ja and en for ja, en in table.values())
    for chips in (LETTER_STATES, LETTER_EVENTS):
        assert all(ja and en for (ja, en), _ in chips.values())


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"state": "queued", "held_at": None}, State.WAITING),
        ({"state": "queued", "held_at": 1}, State.HELD),
        ({"state": "failed", "failure": "given_up"}, State.GIVEN_UP),
        ({"state": "failed", "failure": "bounced"}, State.BOUNCED),
        ({"state": "sent", "failure": ""}, State.SENT),
        ({"state": "cancelled", "failure": ""}, State.CANCELLED),
    ],
)
def test_where_a_letter_stands(row: dict[str, object], state: State) -> None:
    """By the row alone."""
    assert state_of(row) is state


# -- held back -------------------------------------------------------------------------------------------


async def test_letters_that_are_held_back_are_let_go(office: Office) -> None:
    """With their number, which is their list's, and what comes of it; as many as were named and no others.
    One line of the trail says who; who may not do it finds no way there."""
    ra = office.served.ra
    await admit(ra)
    await admit(ra, "K22222222")
    for user_id in (USER, "K22222222"):
        await ra.database.write(lambda db, whose=user_id: mail_store.hold_back(db, whose, ra.now()))  # type: ignore[misc]
    desk, auditor = await office.admit("desk", Role.DESK), await office.admit("kansa", Role.AUDITOR)
    page = await desk.at.get("/letters?state=held")
    assert len(numbers(page)) == 4
    assert [a for a in page.main.all("a") if a.attributes["href"] == "/letters/release"]
    letter = numbers(await desk.at.get(f"/letters?state=held&user_id={USER}"))[0]
    links = [a.attributes["href"] for a in (await desk.at.get(f"/letters/{letter}")).main.all("a")]
    page = await desk.at.get(next(each for each in links if each.startswith("/letters/release")))
    assert page.buttons() == ["2通の保留を解除する"]
    assert "（この利用者宛てのもの）" in page.main.text
    assert len(numbers(await desk.at.get(page.main.all("p")[0].one("a").attributes["href"]))) == 2
    page = await desk.at.post("/letters/release", {"count": "2", "user_id": USER})
    assert "保留を解除しました" in page.main.text
    assert numbers(await desk.at.get("/letters?state=held")) == numbers(
        await desk.at.get("/letters?state=held&user_id=K22222222")
    )
    # Somebody has done it meanwhile, or the number is made up.
    for count in ("2", "3", "", "x", "9" * 30):
        page = await desk.at.post(
            "/letters/release", {"count": count, "user_id": "K22222222" if count == "3" else USER}
        )
        assert "件数が変わっています" in page.main.one("div", role="alert").text
    assert (await desk.at.get("/letters/release?user_id=K99999999")).status == 404
    assert (await auditor.at.post("/letters/release", {"count": "2"})).status == 403
    assert "解除する" not in (await auditor.at.get("/letters?state=held")).main.text
    assert mail_store.held(look(ra.database)) == 2
    page = await desk.at.post("/letters/release", {"count": "2"})
    assert mail_store.held(look(ra.database)) == 0
    assert "保留中のメール・はがきはありません" in (await desk.at.get("/letters/release")).main.text
    lines = [x for x in store.audit_page(look(ra.database), None, 30) if x["action"] == "letters.released"]
    assert [(x["actor"], x["subject"], x["detail"]["letters"]) for x in lines] == [
        ("operator:desk", "", 2),
        ("operator:desk", USER, 2),
    ]
    await delivered(ra)
    assert numbers(await desk.at.get("/letters?state=sent")) != []
