"""The console's pages about what went wrong: with the menu of whoever is logged in, with nobody else's, with
one next step, and always there, whatever is at fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from ca.storage import Storage, StorageTrouble
from enroll.operators.roles import Role
from enroll.refusals import CODES, Refusal
from gateway.sites import console
from gateway.sites.console.visitors import Visitor, inside
from gateway.sites.console.words import STEPS
from gateway.web.context import Gate
from gateway.web.words import REFUSALS
from tests.datadirs import clock_of
from tests.gateway.sites.kit import Page
from tests.gateway.sites.test_console import DAY, Office, office, opened_office

__all__ = ("office",)

#: Role -> entries of its menu that are not everybody's, and not another's either.
ENTRIES = {Role.DESK: {"メール", "利用者"}, Role.CA_OFFICER: {"認証局", "設定"}}


def menu(page: Page) -> set[str]:
    """What the menu has; nothing where there is none."""
    found = page.dom.all("nav", aria_label="メニュー") + page.dom.all("nav", aria_label="Menu")
    return {each.text for nav in found for each in nav.all("a")}


def is_whole(page: Page, entries: set[str], *, addressed: bool = True) -> None:
    """A page in the console's frame: these entries, the other language if its address opens the page, one
    heading of what is next, and a way on."""
    assert entries <= menu(page), page.html
    assert [each.text for each in page.dom.all("a", class_="language")] == ["English"] * addressed
    assert [each.text for each in page.main.all("h2")] == ["次にすること"]
    assert [each.attributes["href"] for each in page.main.one("div", class_="actions").all("a")][-1] == "/"
    assert "ログアウト" in [each.text for each in page.dom.all("button")]


@pytest.mark.parametrize("role", ENTRIES)
async def test_who_is_logged_in_keeps_the_menu(office: Office, role: Role) -> None:
    """By the roles, on each of them; in English as well."""
    person = await office.admit("someone", role)
    at, forbidden = person.at, "/postcards" if role is Role.CA_OFFICER else "/settings"
    abroad = {"Origin": "https://elsewhere.test", "Sec_Fetch_Site": "cross-site"}
    (others,) = (ENTRIES[each] for each in ENTRIES if each is not role)
    for page, status in (
        (await at.get("/nowhere"), 404),
        (await at.get("/proposals/99"), 404),
        (await at.post("/proposals/99/withdraw"), 404),
        (await at.get("/logout"), 405),
        (await at.post("/me/sessions", {"token": "of another session"}), 403),
        (await at.post("/me/sessions", **abroad), 403),
        (await at.get(forbidden), 403),
    ):
        assert page.status == status, page.html
        is_whole(page, ENTRIES[role] | {"ホーム", "権限"}, addressed="別のサイト" not in page.main.text)
        assert not menu(page) & others, page.html
    ways = page.main.one("div", class_="actions").all("a")
    assert [each.attributes["href"] for each in ways] == ["/permissions", "/"]
    page = await at.get("/nowhere?lang=en")
    assert {"Home", "Permissions"} <= menu(page)
    assert page.dom.one("a", class_="language").text == "日本語"


async def test_nobody_else_has_a_menu(office: Office) -> None:
    """Without a login, with one that has ended, and without a certificate there is the same page, and nothing
    of anybody's on it."""
    out = await office.admit("out", Role.CA_OFFICER)
    await out.at.post("/logout")
    late = await office.admit("late", Role.CA_OFFICER)
    clock_of(office.served.ra).advance(seconds=DAY // 2)
    never = await office.admit("never", Role.DESK, enrolled=False)
    for at, status in ((out.at, 404), (late.at, 404), (never.at, 404), (office.served.visitor(), 403)):
        page = await at.get("/nowhere")
        assert (page.status, menu(page), "ログアウト" in page.html) == (status, set(), False)
        assert "さん" not in page.html
        assert page.main.one("p", class_="reference")


def failing(gate: Gate) -> web.Application:
    """The console with a page for each refusal, and for what is nobody's fault but ours."""
    app = console.application(gate)

    async def fail(request: web.Request, _: Visitor) -> web.StreamResponse:
        code = request.match_info["code"]
        if code in CODES:
            raise Refusal(code, at=gate.now() + 60 if code == "throttled" else 0)
        if code == "away":
            raise StorageTrouble("no answer", "Away", "is away")
        raise RuntimeError(code)

    for method in ("GET", "POST"):
        app.router.add_route(method, "/fails/{code}", inside(fail))
    return app


async def test_every_refusal_has_the_menu_and_a_step_for_operators(tmp_path: Path) -> None:
    """Whatever comes of a page or a form; none sends an operator to the help desk, or to people's mails."""
    async with opened_office(tmp_path, failing) as office:
        person = await office.admit("officer", Role.CA_OFFICER)
        statuses = {each: REFUSALS[each].status for each in CODES} | {"away": 503, "wrong": 500}
        for code, status in statuses.items():
            for page in (await person.at.get(f"/fails/{code}"), await person.at.post(f"/fails/{code}")):
                assert page.status == status, code
                is_whole(page, {"ホーム", "認証局"})
                for word in ("ご照会先", "メールに記載のURL", "団体の管理者"):
                    assert word not in page.main.text, code
        assert (await person.at.get("/fails/throttled")).headers["Retry-After"] == "60"
    assert set(STEPS) <= set(REFUSALS)


class Away:
    """A storage that is out of reach after so many reads and writes (``left``); it counts those that it is
    asked for then."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.left, self.asked = 10**9, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def read(self, work: Any) -> Any:
        self._passed()
        return await self._storage.read(work)

    async def write(self, work: Any) -> Any:
        self._passed()
        return await self._storage.write(work)

    def _passed(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.asked += 1
            raise StorageTrouble("no answer", "Away", "is away")


@pytest.mark.parametrize("path", ["/me", "/nowhere", "/operators", "/jobs/99"])
async def test_a_database_that_is_away_takes_no_page_away(tmp_path: Path, path: str) -> None:
    """From each read and write of a page on: there is one, with the menu once it is known whose; of a page
    about that nothing is asked any more beside its reference number."""
    away = list[Away]()

    def application(gate: Gate) -> web.Application:
        away.append(Away(gate.ra.database))
        return console.application(replace(gate, ra=replace(gate.ra, database=cast(Storage, away[0]))))

    async with opened_office(tmp_path, application) as office:
        person = await office.admit("desk", Role.DESK)
        expected = (await person.at.get(path)).status
        menus = list[bool]()
        for left in range(40):
            away[0].left, away[0].asked = left, 0
            page = await person.at.get(path)
            assert page.main.one("p", class_="reference") if page.status != 200 else page.status == expected
            assert page.status in (503, expected), page.html
            if not away[0].asked:
                break
            menus.append(bool(menu(page)))
            if page.status == 503:
                # What failed, and the record of it.
                assert away[0].asked == 2
                assert page.headers["Retry-After"] == "60"
        away[0].left = 10**9
        assert menu(await person.at.get(path))
        # Known once, it stays.
        assert menus == sorted(menus)
        assert (menus[0], len(menus) > 1) == (False, True)
