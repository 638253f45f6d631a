"""Every screen of every site, on a desk and on a phone, in both languages: nothing on it may be at fault.

With SEKISHO_SCREENSHOTS=DIR each is written there as a picture, to be looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import web
from playwright.async_api import Error, Page, Route, expect
from yarl import URL

from enroll import store
from enroll.acme import credentials
from enroll.people import applications, login, register
from enroll.people.register import Person
from enroll.settings import DAY
from gateway.sites.help.topics import TOPICS
from gateway.web import sessions
from gateway.web.context import Role
from tests.browser.kit import (
    AXE_OF_COLOURS,
    AXE_OF_SIZES,
    P12_PASSWORD,
    Persona,
    World,
    axe,
    faults,
    out_of_reach,
    page,
    persona,
    windows,
)
from tests.browser.steps import PASSWORD, USER, authenticate, established, log_in, submit
from tests.datadirs import POLICY_NUMBER, admit
from tests.looking import look
from tests.started import started

pytestmark = pytest.mark.browser

#: Where pictures are wanted, if they are.
PICTURES = os.environ.get("SEKISHO_SCREENSHOTS")
_SIZES = {1280: "desktop", 375: "phone"}
_SCHEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")
#: In English too, but not in both, except for pictures: colours do not depend on words.
_ENGLISH = _SCHEMES if PICTURES else _SCHEMES[1:]


# Ends once the page has been drawn as it is by now; a picture that is taken before lacks parts of it.
_DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

_SAID = "() => [document.documentElement.lang, document.body.innerText]"
#: What screens once said (issue 15, row 19): `tests/gateway/test_words.py` has what instead.
_FORMERLY = (
    "未確認 未確認です",
    "こちらで決定します",
    "覚えのないログイン",
    "認証情報を終了",
    "紛失した、または盗難にあった",
    "形跡は見つかりませんでした",
    "時刻の差（秒）",
    "現在使用中",
    "チェックすると",
    "し直",
)


@dataclass
class Eye:
    """Looks at what the browser shows, and takes its picture where pictures are wanted."""

    on: Page
    site: str
    #: Screen -> what is at fault there. A test asserts that nothing is.
    seen: dict[str, list[str]] = field(default_factory=dict)
    _count: int = 0

    async def look(self, name: str, *, english: bool = True) -> None:
        """At the page as it stands, in both sizes; in English, where its address alone brings it back."""
        self._count += 1
        await self._look(f"{self._count:02d}-{name}.ja")
        if english:
            here = self.on.url
            glue = "&" if "?" in here else "?"
            await self.on.goto(f"{here}{glue}lang=en")
            await self._look(f"{self._count:02d}-{name}.en", _ENGLISH)
            await self.on.goto(f"{here}{glue}lang=ja")

    async def stay(self, name: str) -> None:
        """At a page that goes on by itself: it may not until everything was looked at."""

        async def hold(route: Route) -> None:
            await (route.abort("aborted") if route.request.is_navigation_request() else route.continue_())

        await self.on.route("**/*", hold)
        await self.look(name, english=False)
        await self.on.unroute("**/*", hold)
        # Its own script may be faster, which ends what was asked for here.
        with suppress(Error):
            await self.on.reload()

    async def visit(self, address: str, name: str) -> None:
        """Goes there and looks: in English first, so that Japanese is left."""
        self._count += 1
        for language, schemes in (("en", _ENGLISH), ("ja", _SCHEMES)):
            cookie = {"name": "__Host-lang", "value": language, "url": str(URL(address).origin())}
            await self.on.context.add_cookies([cookie])
            await self.on.goto(address)
            await self._look(f"{self._count:02d}-{name}.{language}", schemes)

    async def _look(self, name: str, schemes: tuple[Literal["dark", "light"], ...] = _SCHEMES) -> None:
        found = []
        async for width in windows(self.on, pictures=bool(PICTURES)):
            found += [f"{width}px {each}" for each in await out_of_reach(self.on)]
            if (size := _SIZES.get(width)) is None:
                continue
            for scheme in schemes:
                await self.on.emulate_media(color_scheme=scheme)
                fault = await faults(self.on, scheme) + await self._axe(
                    schemes.index(scheme), size, english=name.endswith(".en")
                )
                if fault:
                    self.seen[f"{name}.{size}.{scheme}"] = fault
                if PICTURES:
                    await self.on.evaluate(_DRAWN)
                    file = Path(PICTURES) / f"{self.site}-{name}.{size}.{scheme}.png"
                    await self.on.screenshot(path=file, full_page=True, animations="disabled")
        found += [f"letters twice as large: {each}" for each in await out_of_reach(self.on, "200%")]
        language, text = await self.on.evaluate(_SAID)
        found += [f"says {each}" for each in _FORMERLY if each in text]
        if not name.endswith(f".{language}"):
            found.append(f"in another language: {language}")
        if found:
            self.seen[name] = found

    async def _axe(self, turn: int, size: str, *, english: bool) -> list[str]:
        """Each rule once, those of sizes in both windows, those of colours in Japanese in each scheme."""
        if size == "phone":
            return [] if turn else await axe(self.on, *AXE_OF_SIZES)
        if english:
            return await axe(self.on, without=AXE_OF_COLOURS)
        return await axe(self.on, *(AXE_OF_COLOURS if turn else ()))


async def press(on: Page, name: str) -> None:
    """A button of the page's own part, by its name."""
    await on.get_by_role("main").get_by_role("button", name=name, exact=True).click()


async def refused(on: Page, *labels: str) -> None:
    """A login that failed: both fields are marked, say why to whoever hears them, and the last has focus."""
    for label in labels:
        field = on.get_by_role("main").get_by_label(label, exact=True)
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_have_accessible_description(re.compile("ユーザーIDは区別しません"))
    await expect(on.get_by_label(labels[-1], exact=True)).to_be_focused()


async def test_who_looks_sees(person: Persona) -> None:
    """axe runs, with all of its rules or some: what is planted is found, in the colours of either scheme."""
    planted = (
        '<!doctype html><html lang="ja"><title>x</title><main><h1>x</h1><img src="data:,">'
        '<p style="%s">words</p>'
    )
    async with page(person) as on:
        await on.set_content(planted % "color: #ccc; background: #fff")
        found = " ".join(await axe(on))
        assert "axe image-alt: img" in found
        assert "axe color-contrast: p" in found
        assert [each.partition(":")[0] for each in await axe(on, *AXE_OF_COLOURS)] == ["axe color-contrast"]
        await on.set_content(planted % "color: #000; background: #fff")
        assert await axe(on, *AXE_OF_COLOURS) == []


async def test_who_looks_at_a_screen_sees(person: Persona) -> None:
    """In each window, scheme and language that a screen is looked at, and with larger letters: what is
    planted for one of them is found there alone."""
    planted = """<!doctype html><html lang="ja"><title>x</title><style>
      body { margin: 0; background: #fff; color: #000 }
      @media (prefers-color-scheme: dark) { #faint { color: #ccc } }
      @media (max-width: 700px) { img { display: none } }
      div { height: 48px }
      #far { position: absolute; left: 54rem; width: 48px }
      @media (max-width: 800px) { #far { left: 0 } }
      @media (max-width: 500px) { p + p button { width: 9px; height: 9px; padding: 0 } }
      </style><main><h1>x</h1><img src="data:,"><p id="faint">words</p>
      <div><button id="far">far</button></div><p>words</p><p><button>s</button><button>t</button></p>
      し直</main>"""
    async with page(person) as on:
        eye = Eye(on, "planted")
        await on.set_content(planted)
        await eye._look("1.ja")
        await eye._look("2.en", _SCHEMES[1:])
        said = {name: " ".join(found) for name, found in eye.seen.items()}
    assert set(said) == {
        f"1.ja{seen}" for seen in ("", ".desktop.dark", ".desktop.light", ".phone.dark", ".phone.light")
    } | {f"2.en{seen}" for seen in ("", ".desktop.light", ".phone.light")}
    for name in ("1.ja", "2.en"):
        assert [each for each in eye.seen[name] if "out of sight" in each] == [
            "853px out of sight: far ends at 912", "911px out of sight: far ends at 912",
            "letters twice as large: out of sight: far ends at 1776",
        ]  # fmt: skip
        assert "says し直" in said[name]
    assert "in another language: ja" in said["2.en"]
    assert "in another language" not in said["1.ja"]
    for name, found in said.items():
        assert ("not in the colours" in found) == name.endswith("dark"), name
        assert ("contrast 1.6: words" in found) == name.endswith("dark"), name
        assert ("small target: s 9x9" in found) == (".phone" in name), name
        assert ("axe target-size" in found) == (name in ("1.ja.phone.dark", "2.en.phone.light")), name
        assert ("axe image-alt" in found) == (name in ("1.ja.desktop.dark", "2.en.desktop.light")), name
        assert ("axe color-contrast" in found) == (name == "1.ja.desktop.dark"), name


async def test_pickup_screens(world: World, person: Persona) -> None:
    """R25 to R31."""
    await admit(world.ra, USER)
    async with page(person) as on:
        eye = Eye(on, "pickup")
        await eye.visit(world.url(Role.PICKUP), "login")
        await on.get_by_label("ユーザー ID").fill(USER)
        await on.get_by_label("証明書発行用パスワード").fill("wrong")
        await press(on, "Login")
        await refused(on, "ユーザー ID", "証明書発行用パスワード")
        await eye.look("login-refused")
        await authenticate(on, world)
        await expect(on.get_by_role("link", name="証明書の取得").first).to_be_visible()
        await eye.look("menu")
        await eye.visit(world.url(Role.PICKUP, "/certificate"), "input")
        await on.get_by_label("リクエストID").fill("1234")
        await on.get_by_label("パスワード", exact=True).fill("a-b")
        await on.get_by_label("パスワードの確認").fill("a-b")
        await press(on, "Submit")
        await eye.look("input-refused")
        await submit(on, P12_PASSWORD, (await world.letter("pickup")).value("リクエストID"))
        await eye.look("download")
        await world.travel(world.ra.now() + 31 * DAY)
        await authenticate(on, world)
        await eye.look("not-available")
        await eye.visit(world.url(Role.PICKUP, "/nothing"), "not-found")
    assert eye.seen == {}


async def test_renewal_screens(world: World, person: Persona, tmp_path: Path) -> None:
    """R33 to R44, E9."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        eye = Eye(on, "renewal")
        await eye.visit(world.url(Role.RENEWAL), "menu")
        await eye.visit(world.url(Role.RENEWAL, "/application"), "too-early")
        end = store.enrollments_of(look(world.ra.database), USER)[0].not_after_at or 0
        await world.travel(end - 30 * DAY)
        await eye.visit(world.url(Role.RENEWAL, "/status"), "status-empty")
        await eye.visit(world.url(Role.RENEWAL, "/application"), "application")
        await press(on, "Submit")
        await expect(on.get_by_role("heading", level=1)).to_have_text("しばらくお待ちください")
        await eye.stay("waiting")
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
        await eye.look("input")
        await submit(on, P12_PASSWORD)
        await eye.look("download")
        await eye.visit(world.url(Role.RENEWAL, "/status"), "status")
        await eye.visit(world.url(Role.RENEWAL, "/application"), "applied-already")
    assert eye.seen == {}


async def test_service_screens_of_a_member(world: World, person: Persona, tmp_path: Path) -> None:
    """R21, R49 to R51."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        eye = Eye(on, "service")
        await eye.visit(world.url(Role.SERVICE, "/login"), "login")
        await log_in(on, world, "wrong password 1")
        await refused(on, "ユーザーID", "パスワード")
        await eye.look("login-refused")
        await log_in(on, world)
        await eye.look("portal")
        await eye.visit(world.url(Role.SERVICE, "/portal/certificates"), "certificates")
        # An address as long as they get, and something to end.
        elsewhere = sessions.Client("2001:db8:85a3:1234:5678:8a2e:370:7334", "Microsoft Edge 142")
        await sessions.start(world.ra, web.Response(), "service", USER, elsewhere)
        await eye.visit(world.url(Role.SERVICE, "/portal/sessions"), "sessions")
        await eye.visit(world.url(Role.SERVICE, "/portal/language"), "language")
        await eye.visit(world.url(Role.SERVICE, "/portal/password"), "password")
        await on.get_by_label("現在のパスワード").fill("x")
        await on.get_by_label("新しいパスワード", exact=True).fill("short")
        await on.get_by_label("新しいパスワードの確認").fill("short")
        await press(on, "変更する")
        await eye.look("password-refused")
        await eye.visit(world.url(Role.SERVICE, "/portal/reissue"), "reissue")
        await on.get_by_label("パソコンを変更した").check()
        await on.get_by_label("ログインのパスワード").fill("Wrong2026")
        await press(on, "申請する")
        await eye.look("reissue-refused")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await eye.look("application")
        await eye.visit(world.url(Role.SERVICE, "/portal/reissue"), "reissue-pending")
        await eye.visit(world.url(Role.SERVICE, "/portal/applications"), "applications")
        await eye.visit(world.url(Role.SERVICE, "/portal/members"), "not-permitted")
        await eye.visit(world.url(Role.SERVICE, "/logout"), "logout")
        await press(on, "ログアウト")
        await eye.look("logged-out")
    assert eye.seen == {}


async def test_service_screens_of_a_first_login(world: World, person: Persona, tmp_path: Path) -> None:
    """The first password, the delete guide, the hint from D-30."""
    await established(world, person, tmp_path)
    initial = "Tegata20260401"
    async with page(person) as on:
        eye = Eye(on, "service-first")
        await _set_first_password(world, initial)
        await log_in(on, world, initial)
        await eye.look("password-initial")
    end = store.enrollments_of(look(world.ra.database), USER)[0].not_after_at or 0
    await world.travel(end - 29 * DAY)
    async with page(person) as on:
        eye.on = on
        await log_in(on, world, initial)
        await on.get_by_label("現在のパスワード").fill(initial)
        await on.get_by_label("新しいパスワード", exact=True).fill(PASSWORD)
        await on.get_by_label("新しいパスワードの確認").fill(PASSWORD)
        await press(on, "変更する")
        await eye.look("portal-renewal-hint")
        await on.goto(world.url(Role.RENEWAL, "/application"))
        await press(on, "Submit")
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
        await on.goto(world.url(Role.SERVICE, "/portal/"))
        await eye.look("portal-newer-certificate")
    await applications.reissue(world.ra, USER, "pc_change", actor="desk")
    new_pc = persona(tmp_path / "new-pc", world.deployment.datadir.server_ca_pem)
    async with page(new_pc) as on:
        await authenticate(on, world)
        await on.goto(world.url(Role.PICKUP, "/certificate"))
        await submit(on, P12_PASSWORD, (await world.letter("pickup")).value("リクエストID"))
        async with on.expect_download() as expected:
            await press(on, "Download")
        await (await expected.value).save_as(tmp_path / "new.p12")
    assert new_pc.import_p12(tmp_path / "new.p12")
    async with page(new_pc) as on:
        eye.on = on
        await log_in(on, world)
        await eye.look("portal-delete-guide")
    assert eye.seen == {}


async def test_service_screens_of_an_administrator(world: World, person: Persona, tmp_path: Path) -> None:
    """R18, R19, R23."""
    await established(world, person, tmp_path, role="admin")
    ra = world.ra
    for user_id, name in (("SHINKI01", "新規 太郎"), ("RIYOU001", "利用 花子"), ("TEISHI01", "停止 次郎")):
        added = Person(POLICY_NUMBER, name, f"{user_id.lower()}@example.jp", user_id)
        await register.add_user(ra, added, channel="paper", actor="desk")
    await register.disable_user(ra, "TEISHI01", actor="desk")
    open_one = await applications.apply_reissue(ra, "RIYOU001", "pc_change", channel="paper", actor="desk")
    number = (await applications.apply_reissue(ra, USER, "expired", channel="online", actor=USER)).number
    await applications.reject(ra, number, actor="desk", note="有効期限内のため、更新をご案内しました。")
    await world.letter("pickup")
    async with page(person) as on:
        eye = Eye(on, "service-admin")
        await log_in(on, world)
        await eye.look("portal")
        await eye.visit(world.url(Role.SERVICE, "/portal/members"), "members")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01"), "member")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/reissue"), "member-reissue")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/TEISHI01/reissue"), "member-disabled")
        await eye.visit(world.url(Role.SERVICE, "/portal/applications"), "applications")
        await eye.visit(world.url(Role.SERVICE, f"/portal/applications/{number}"), "application-rejected")
        withdrawal = world.url(Role.SERVICE, f"/portal/applications/{open_one.number}/withdrawal")
        await eye.visit(withdrawal, "withdrawal")
        await press(on, "申請を取り下げる")
        await eye.look("withdrawn")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/credentials"), "credentials")
        made = await credentials.create(ra, "SHINKI01", actor="desk", profile="client-automated")
        ending = f"/portal/members/SHINKI01/credentials/{made[0].kid}/withdrawal"
        await eye.visit(world.url(Role.SERVICE, ending), "credentials-end")
        await eye.visit(world.url(Role.SERVICE, "/portal/overview"), "overview")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/mail"), "mail")
        await on.get_by_label("新しいメールアドレス").fill("shinki01@example")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "変更する")
        await eye.look("mail-refused")
        await eye.visit(world.url(Role.SERVICE, "/portal/members/SHINKI01/suspension"), "suspension")
        await on.get_by_label("ログインのパスワード").fill("Wrong2026")
        await press(on, "利用を停止する")
        await eye.look("suspension-refused")
        await eye.visit(world.url(Role.SERVICE, "/portal/addition"), "addition")
        await on.get_by_label("氏名").fill("利用 花子")
        await on.get_by_label("メールアドレス", exact=True).fill("shinki01@example.jp")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await expect(on.get_by_role("group", name="同じ氏名またはメールアドレスの方")).to_be_visible()
        await eye.look("addition-alike")
        await on.get_by_label("氏名").fill("年金 花子")
        await on.get_by_label("メールアドレス", exact=True).fill("hanako@example.jp")
        await on.get_by_label("希望するユーザーID（任意）").fill(USER)
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await eye.look("addition-refused")
        await on.get_by_label("希望するユーザーID（任意）").fill("")
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await press(on, "申請する")
        await eye.look("addition-applied")
    assert eye.seen == {}


async def test_screens_about_certificates(world: World, person: Persona, tmp_path: Path) -> None:
    """None, valid, expired, revoked: on the sites that require one, and on the connectivity test."""
    nobody = persona(tmp_path / "nobody", world.deployment.datadir.server_ca_pem)
    async with page(nobody) as on:
        eye = Eye(on, "certificate")
        await eye.visit(world.url(Role.SERVICE), "none")
        await eye.visit(world.url(Role.CONNECTIVITY), "test-none")
    await established(world, person, tmp_path)
    async with page(person) as on:
        eye.on = on
        await eye.visit(world.url(Role.CONNECTIVITY), "test-valid")
        await eye.visit(world.url(Role.CONNECTIVITY, "/popup"), "test-popup")
    end = store.enrollments_of(look(world.ra.database), USER)[0].not_after_at or 0
    await world.travel(end + 1)
    async with page(person) as on:
        eye.on = on
        await eye.visit(world.url(Role.RENEWAL), "expired")
        await eye.visit(world.url(Role.CONNECTIVITY), "test-expired")
    assert eye.seen == {}


async def test_screens_of_a_revoked_certificate(world: World, person: Persona, tmp_path: Path) -> None:
    """E27."""
    await established(world, person, tmp_path)
    await register.disable_user(world.ra, USER, actor="desk")
    async with page(person) as on:
        eye = Eye(on, "revoked")
        await eye.visit(world.url(Role.SERVICE), "service")
        await eye.visit(world.url(Role.CONNECTIVITY), "test")
    assert eye.seen == {}


async def test_help_screens(world: World, person: Persona) -> None:
    """R45 to R57."""
    async with page(person) as on:
        eye = Eye(on, "help")
        await eye.visit(world.url(Role.HELP), "contents")
        for topic in TOPICS:
            await eye.visit(world.url(Role.HELP, f"/{topic.slug}"), topic.slug)
    assert eye.seen == {}


async def test_demo_screens(tmp_path: Path) -> None:
    """The mailbox and the clock, as ``make demo`` shows them."""
    summary = tmp_path / "summary.json"
    sekisho = Path(sys.executable).with_name("sekisho")
    command = [str(sekisho), "demo", "--port", "0", "--summary", str(summary)]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        async with asyncio.timeout(90):
            while not summary.exists():
                assert demo.poll() is None, "the demo has ended"
                await asyncio.sleep(0.2)
        told = json.loads(summary.read_text())
        visitor = persona(tmp_path / "pc", Path(told["ca_file"]).read_bytes())
        async with page(visitor) as on:
            eye = Eye(on, "demo")
            mailbox = told["sites"]["mailbox"]
            await eye.visit(mailbox, "mailbox")
            await on.get_by_role("main").get_by_role("link").first.click()
            await eye.look("mail")
            await eye.visit(mailbox + "clock", "clock")
            await eye.visit(told["sites"]["pickup"], "pickup")
            # A landmark with a name, on each site.
            await expect(on.get_by_role("complementary", name="デモ")).to_contain_text("これはデモです。")
        assert eye.seen == {}
        demo.send_signal(signal.SIGTERM)
        demo.wait(60)


async def _set_first_password(world: World, password: str) -> None:
    """Puts the user before the first login again."""
    await login.change_password(world.ra, USER, PASSWORD, password, password)
    await world.ra.database.write(
        lambda db: db.execute("UPDATE users SET password_initial = 1 WHERE user_id = ?", [USER])
    )


async def test_theft_screens(world: World, person: Persona, tmp_path: Path) -> None:
    """A theft that is reported: the last page of the login, and what the certificate meets from then on."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        eye = Eye(on, "theft")
        await log_in(on, world)
        await on.goto(world.url(Role.SERVICE, "/portal/reissue"))
        await on.get_by_label("紛失").first.check()
        await on.get_by_label("パスワード", exact=False).last.fill(PASSWORD)
        await press(on, "申請する")
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の利用を停止しました")
        await eye.look("reported", english=False)  # The answer to the form itself: no address has it.
        for role in (Role.SERVICE, Role.RENEWAL):
            await on.goto(world.url(role))
            await expect(on.get_by_role("main")).to_contain_text("盗難")
            await eye.look(f"stopped-at-{role}")
    assert eye.seen == {}
