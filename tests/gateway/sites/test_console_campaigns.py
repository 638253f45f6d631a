"""The console's campaigns and the board of generations: what they show, what is typed, what is confirmed."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from enroll import store
from enroll.jobs import running
from enroll.jobs import store as jobs
from enroll.mail.bounces import Bounce, record_bounce
from enroll.operators.roles import Role
from enroll.requests import renewal
from tests.datadirs import POLICY_NUMBER, admit, letter_of
from tests.enroll.test_campaigns import renewable
from tests.enroll.test_flow import picked_up, print_of
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, Person, office
from tests.looking import look

__all__ = ("office",)  # the fixture

DAY = 86_400
TYPED = {"name": "春の更新", "from": "", "to": "", "organisation": POLICY_NUMBER, "ca": "", "every": "7"}


async def _registrar(office: Office) -> Person:
    await office.admit("officer", Role.CA_OFFICER)
    return await office.admit("touroku", Role.REGISTRAR)


async def _due(office: Office) -> str:
    """A user's certificate, 20 days before its end, the first notice queued; its request ID."""
    ra = office.served.ra
    await admit(ra)
    _, request_id = await picked_up(ra)
    found = store.enrollment(look(ra.database), request_id)
    assert found is not None
    await renewable(ra, found)
    return request_id


def _numbers(page: Page) -> list[str]:
    return page.main.table(1)[-1][1:]


async def _last_letter(person: Person) -> str:
    """What the list of people says of it."""
    page = await person.at.get("/campaigns/1/people")
    assert page.status == 200
    return page.main.table()[1][-1]


def _file(page: Page) -> list[list[str]]:
    return list(csv.reader(io.StringIO(page.body.decode("utf-8-sig"))))


def _acts(office: Office, subject: str) -> list[Any]:
    found = store.audit_page(look(office.served.ra.database), subject, 50)
    return [each["action"] for each in found if each["action"].startswith("campaign.")]


@pytest.mark.slow
async def test_a_campaign_from_begin_to_end(office: Office) -> None:
    """O17: begun on a page, its numbers lead to the people of each step and are those of the file; a reminder
    says how many letters it is, is confirmed by the passkey with a reason, and is a job; ended, it stays."""
    ra = office.served.ra
    request_id = await _due(office)
    person = await _registrar(office)
    empty = await person.at.get("/campaigns")
    assert "実施中のキャンペーンはありません" in empty.main.text
    page = await person.at.post("/campaigns/new", TYPED)
    assert (page.path, page.h1) == ("/campaigns/1", "春の更新")
    assert _numbers(page) == ["1", "0", "0", "0", "0", "1", "0", "0"]
    (link, _) = [each for each in page.main.all("a") if each.attributes.get("aria-label", "")[:3] == "未更新"]
    people = await person.at.get(link.attributes["href"])
    assert people.main.table()[1][0] == "K12345678"
    assert "全1枚のうち1枚を表示" in people.main.text

    asked = await person.at.get("/campaigns/1/remind")
    assert "1通" in asked.main.text
    refused = await person.at.post("/campaigns/1/remind", {"letters": "1", "reason": " "})
    assert (refused.status, refused.error("理由")) == (422, "理由を1行で入力してください。")
    changed = await person.at.post("/campaigns/1/remind", {"letters": "2", "reason": "期末"})
    assert "件数が変わりました" in changed.main.one("div", role="alert").text
    assert jobs.jobs(look(ra.database)) == []
    confirm = await person.at.post("/campaigns/1/remind", {"letters": "1", "reason": "期末"})
    assert "春の更新：更新の案内を1通送る" in confirm.main.text
    assert "送信後は取り消せません" in confirm.main.text
    begun = await person.confirm(confirm)
    assert begun.path == "/jobs/1"
    await running.work(ra, "r")
    assert jobs.counted(look(ra.database), 1) == {"mailed": 1}
    assert "案内を送信待ちに登録" in (await person.at.get("/jobs/1")).main.text
    again = await person.at.get("/campaigns/1/remind")
    assert "いま案内を送る人はいません" in again.main.text
    # Where the letter stands: it waits, has left, has come back.
    assert (await _last_letter(person)).startswith("送信待ち")
    sent = await letter_of(ra, "renewal_7")
    assert (await _last_letter(person)).startswith("送信済み")
    number = int(sent.name.partition("-")[0])
    row = look(ra.database).one("SELECT created_at FROM mails WHERE id = :id", {"id": number})
    assert row is not None
    await record_bounce(ra, Bounce(number, row[0], "550 5.1.1 no such mailbox"), actor="test")
    assert (await _last_letter(person)).startswith("不着")

    await renewal.look(ra, print_of(ra, request_id))
    page = await person.at.get("/campaigns/1")
    assert _numbers(page) == ["1", "1", "1", "0", "0", "1", "0", "0"]
    file = await person.at.get("/campaigns/1.csv")
    assert _file(file)[-2][2:] == _numbers(page)
    listed = _file(await person.at.get("/campaigns/1/people.csv?view=opened"))
    assert [line[0] for line in listed] == ["ユーザーID", "K12345678", "#以上"]
    assert (await person.at.get("/campaigns/1/people.csv?view=used")).body.count(b"\n") == 1 + 1

    end = await person.at.post("/campaigns/1/end", {"reason": "期末まで"})
    assert "再開できません" in end.main.text
    over = await person.confirm(end)
    assert (over.path, "終了" in over.main.text) == ("/campaigns/1", True)
    assert _acts(office, "1") == [
        "campaign.ended", *["campaign.people"] * 3, "campaign.reminded", "campaign.people", "campaign.begun",
    ]  # fmt: skip
    assert "実施中のキャンペーンはありません" in (await person.at.get("/campaigns")).main.text
    assert len((await person.at.get("/campaigns?state=all")).main.table()) == 2


async def test_what_is_typed_wrong_is_said_beside_its_field(office: Office) -> None:
    """Nothing is begun, and what was typed is there still."""
    person = await _registrar(office)
    for field, value, label in (
        ("name", "", "名称"),
        ("organisation", "", "有効期限：始めの日"),
        ("organisation", "99999999", "団体（証券番号）"),
        ("to", "2020-01-01", "有効期限：終わりの日"),
        ("from", "昨日", "有効期限：始めの日"),
        ("every", "0", "案内の間隔（日）"),
    ):
        page = await person.at.post("/campaigns/new", TYPED | {field: value})
        assert (page.status, bool(page.error(label))) == (422, True), field
        assert page.field("名称").attributes["value"] == (TYPED | {field: value})["name"]
    assert "実施中のキャンペーンはありません" in (await person.at.get("/campaigns")).main.text
    assert (await person.at.get("/campaigns/7")).status == 404
    made_up = await person.at.get("/campaigns?before=x")
    assert made_up.status == 200


async def test_a_ca_officer_sees_no_person(office: Office) -> None:
    """Sums and generations, without a link to anybody."""
    await _due(office)
    person = await _registrar(office)
    await person.at.post("/campaigns/new", TYPED)
    officer = office.people["officer"]
    page = await officer.at.get("/campaigns/1")
    assert _numbers(page)[0] == "1"
    assert [each for each in page.main.all("a") if "/people" in each.attributes["href"]] == []
    assert (await officer.at.get("/campaigns/1/people")).status == 403


async def test_the_board_of_generations(office: Office) -> None:
    """What is left of each, whom it would hurt, what comes next; by organisation and by month."""
    await _due(office)
    person = await _registrar(office)
    page = await person.at.get("/rollover")
    name = office.served.ra.authority.current.common_name
    first = page.main.table()[1]
    assert (first[0], first[1], first[2:5]) == (name, "発行中", ["1", "1", "1"])
    assert "sekisho ca add" in first[6]
    assert page.main.table(1)[-1][1:] == ["1", "1", "1"]
    assert len(page.main.table(2)) == 2
    assert (await person.at.get("/rollover?ca=x&after=%3C")).status == 200
