"""Every screen of every site, on a desk and on a phone, in both languages: nothing on it may be at fault.

Those on which people get a certificate, renew it, and learn what is the matter with it; the portal's and the
help's have files of their own, so that none of them takes long.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from enroll import store
from enroll.people import register
from enroll.settings import DAY
from gateway.web.context import Role
from tests.browser.eye import SCHEMES, Eye, press, refused
from tests.browser.kit import AXE_OF_COLOURS, P12_PASSWORD, Persona, World, axe, page, persona
from tests.browser.steps import PASSWORD, USER, authenticate, established, log_in, submit
from tests.datadirs import admit
from tests.looking import look

pytestmark = pytest.mark.browser


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
      @media (prefers-color-scheme: light) { #pale { color: #bbb } }
      @media (max-width: 700px) { img { display: none } }
      div { height: 48px }
      #far { position: absolute; left: 54rem; width: 48px }
      @media (max-width: 700px) { #far { left: 0 } }
      @media (max-width: 500px) { p + p button { width: 9px; height: 9px; padding: 0 } }
      </style><main><h1>x</h1><img src="data:,"><p id="faint">words</p><p id="pale">pale</p>
      <div><button id="far">far</button></div><p>words</p><p><button>s</button><button>t</button></p>
      し直</main>"""
    async with page(person) as on:
        eye = Eye(on, "planted")
        await on.set_content(planted)
        await eye._look("1.ja")
        await eye._look("2.en", SCHEMES[1:])
        await on.set_content(planted.replace("<img", '<img role="presentation"><img'))
        await eye._look("3.en", SCHEMES[1:])
        said = {name: " ".join(found) for name, found in eye.seen.items()}
    assert set(said) == {
        f"1.ja{seen}" for seen in ("", ".desktop.dark", ".desktop.light", ".phone.dark", ".phone.light")
    } | {f"{name}{seen}" for name in ("2.en", "3.en") for seen in ("", ".desktop.light", ".phone.light")}
    for name, widths in (("1.ja", (768, 853, 911)), ("2.en", (768,))):
        assert [each for each in eye.seen[name] if "out of sight" in each] == [
            *(f"{width}px out of sight: far ends at 912" for width in widths),
            "letters twice as large: out of sight: far ends at 1776",
        ]
        assert "says し直" in said[name]
    assert "in another language: ja" in said["2.en"]
    assert "in another language" not in said["1.ja"]
    for name, found in said.items():
        assert ("not in the colours" in found) == name.endswith("dark"), name
        assert ("contrast 1.6: words" in found) == name.endswith("dark"), name
        assert ("small target: s 9x9" in found) == (".phone" in name), name
        assert ("axe target-size" in found) == (name == "1.ja.phone.dark"), name
        # Once for what is built alike.
        assert ("axe image-alt" in found) == (name in ("1.ja.desktop.dark", "3.en.desktop.light")), name
        assert ("axe color-contrast: #faint" in found) == (name == "1.ja.desktop.dark"), name
        assert ("axe color-contrast: #pale" in found) == (name == "1.ja.desktop.light"), name


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
