"""What somebody took by the passphrase, as the console shows it to everybody, and an auditor looks at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from enroll.operators import actors, emergency
from enroll.operators import store as operators
from enroll.operators.actors import Actor
from enroll.operators.roles import Role
from tests.datadirs import clock_of
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import Office, opened_office, visited
from tests.looking import look

LIST = "/emergencies"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened_office(tmp_path) as opened:
        await opened.admit("officer", Role.CA_OFFICER)
        yield opened


async def _taken(office: Office, account: str = "root", role: Role = Role.REGISTRAR) -> int:
    ra = office.served.ra

    def who() -> Actor:
        return actors.of_account(look(ra.database), account, ra.now(), host=account == "root")

    return (await emergency.take(ra, who(), role, "夜間の障害"))[0].number


def _banner(page: Page) -> str:
    return " ".join(each.text for each in page.dom.all("section", class_="alarm"))


async def test_every_page_says_in_red_that_a_role_is_in_force(office: Office) -> None:
    """O6: to everybody, on every page, who has which role until when and why; when the hour is over to
    auditors alone, until one has looked at it."""
    desk, auditor = await office.admit("desk", Role.DESK), await office.admit("auditor", Role.AUDITOR)
    assert _banner(await desk.at.get("/")) == ""
    await _taken(office)
    for person, path in ((desk, "/"), (desk, "/users"), (desk, "/permissions"), (auditor, "/audit")):
        said = _banner(await person.at.get(path))
        assert "非常時の権限が使用されています：root、登録担当" in said
        assert "夜間の障害" in said
        assert ("点検する" in said) == (person is auditor)
    assert "in force: root, registrar" in _banner(await desk.at.get("/?lang=en"))
    clock_of(office.served.ra).advance(seconds=emergency.LIFETIME)
    await desk.log_in()
    await auditor.log_in()
    assert _banner(await desk.at.get("/me")) == ""
    assert "非常時の権限の点検待ち：root" in _banner(await auditor.at.get("/me"))
    clock_of(office.served.ra).advance(days=4)
    await auditor.log_in()
    assert "点検が期限を過ぎています：root" in _banner(await auditor.at.get("/me"))


async def test_an_auditor_looks_at_it_at_the_console(office: Office) -> None:
    """O6: what was done is a link away; the review says what was found, takes the passkey and ends the role.
    The home page counts what the list has."""
    ra, auditor = office.served.ra, await office.admit("auditor", Role.AUDITOR)
    assert "点検を待つものはありません" in (await auditor.at.get(LIST)).main.text
    number = await _taken(office)
    assert ["点検待ちの非常時の権限", "1"] in (await auditor.at.get("/")).main.table(-1)
    page = await auditor.at.get(LIST)
    assert len(page.main.table()) == 1 + 1
    assert "2026年11月24日（火）23:59" in page.main.text  # taken on a Sunday before a holiday
    done = {each.text: each.attributes["href"] for each in page.main.all("a")}[f"行ったことを見る：{number}"]
    assert done == "/audit?actor=break-glass%3Aroot%2Fregistrar&from=2026-11-22&to=2026-11-22"
    assert "非常時の権限を行使" in (await auditor.at.get(done)).main.text
    path = f"{LIST}/{number}"
    refused = await auditor.at.post(path, {"note": " "})
    assert (refused.status, "確認した内容を" in refused.main.one("div", role="alert").text) == (422, True)
    asked = await auditor.at.post(path, {"note": "登録1件を確認"})
    assert (asked.h1, "取り消せません" in asked.main.text) == ("パスキーで確認", True)
    assert len(operators.glasses(look(ra.database))) == 1
    page = await auditor.confirm(asked)
    assert (page.path, "点検済みにしました" in page.main.one("div", role="status").text) == (LIST, True)
    assert not actors.of_account(look(ra.database), "root", ra.now(), host=True).roles
    assert ["点検待ちの非常時の権限", "0"] in (await auditor.at.get("/")).main.table(-1)
    assert (len(page.main.all("table")), _banner(page)) == (0, "")
    both = await auditor.at.get(f"{LIST}?state=all")
    assert ("登録1件を確認" in both.main.text, "auditorさん" in both.main.text) == (True, True)
    again = await auditor.confirm(await auditor.at.post(path, {"note": "もう一度"}))
    assert (again.status, "すでに点検済みです" in again.main.text) == (422, True)


async def test_nobody_looks_at_the_own(office: Office) -> None:
    """Whoever took it is told that another auditor does, and is refused; other roles find no page."""
    auditor, approver = await office.admit("auditor", Role.AUDITOR), await office.admit("sato", Role.APPROVER)
    ra = office.served.ra
    with_account = operators.named(look(ra.database), "auditor")
    assert with_account is not None
    changed = replace(with_account, account="auditor")
    assert await ra.database.write(lambda db: operators.change(db, with_account, changed))
    number = await _taken(office, "auditor", Role.APPROVER)
    page = await auditor.at.get(LIST)
    assert ("別の監査担当が点検します" in page.main.text, "点検済みにする" in page.buttons()) == (True, False)
    mine = await auditor.confirm(await auditor.at.post(f"{LIST}/{number}", {"note": "x"}))
    assert mine.status == 403
    assert await visited(approver, LIST) == 403
    assert (await approver.at.post(f"{LIST}/{number}", {"note": "x"})).status == 403
    assert len(operators.glasses(look(ra.database))) == 1
