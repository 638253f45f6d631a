"""The manual, followed page by page in Debian's Chromium as the person who holds it would."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from playwright.async_api import expect

import ca.store
from enroll import store
from enroll.jst import shown, shown_day
from enroll.people import applications, register
from enroll.settings import DAY
from gateway.serving.config import Config
from gateway.web.context import Role
from gateway.web.words import NOT_AVAILABLE_JA
from tests.browser import kit
from tests.browser.kit import P12_PASSWORD, Persona, World, downloaded, page, persona
from tests.browser.steps import (
    PASSWORD,
    USER,
    authenticate,
    choose_password,
    established,
    fact,
    log_in,
    pick_up,
    submit,
)
from tests.datadirs import admit
from tests.gateway.rawtls import issue
from tests.looking import look

pytestmark = pytest.mark.browser

FIRST_NAME, SECOND_NAME = "K123456780001", "K123456780002"


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A whole gateway with nobody in it. With a parameter it makes keys of that kind: of the default one
    where somebody gets a certificate, and renews it, from the first page to the last."""
    async with kit.world(tmp_path, person_key=getattr(request, "param", kit.QUICK_KEY)) as made:
        yield made


_AS_INSTALLED = pytest.mark.parametrize("world", [Config().policy.person_key], indirect=True)


def not_after(world: World) -> int:
    """The end of the user's first certificate."""
    first = store.enrollments_of(look(world.ra.database), USER)[-1]
    assert first.not_after_at is not None
    return first.not_after_at


async def at_d_30(world: World) -> None:
    """The day of the mail, at a moment when the machine's clock is later already."""
    await world.travel(not_after(world) - 30 * DAY)


# -- chapter 2: 取得 -------------------------------------------------------------------------------


@_AS_INSTALLED
@pytest.mark.parametrize("javascript", [True, False])
async def test_from_the_mail_to_the_login(
    world: World, person: Persona, tmp_path: Path, javascript: bool
) -> None:
    """Chapter 2: the mail's four items, the file, the certificate store, the login (R11 to R29, R51)."""
    await admit(world.ra, USER)
    async with page(person, java_script_enabled=javascript) as on:
        file = await pick_up(on, world, tmp_path)
        assert file.name == f"{FIRST_NAME}_{shown_day(not_after(world)).replace('.', '')}.p12"
    assert person.import_p12(file)
    assert len(person.certificates()) == 1
    initial = (await world.letter("user_id")).value("パスワード")
    async with page(person, java_script_enabled=javascript) as on:
        await log_in(on, world, initial)
        await choose_password(on, initial)
        assert await fact(on, "発行先（コモンネーム）") == FIRST_NAME
        assert await fact(on, "発行者") == "CORPORATE-PENSION BUSINESS SERVICE CA-G4"
        await on.get_by_role("link", name="ログアウト").click()
        await on.get_by_role("main").get_by_role("button", name="ログアウト").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("ログアウトしました")
        await on.goto(world.url(Role.SERVICE, "/portal/"))
        await expect(on.get_by_role("button", name="ログイン")).to_be_visible()


async def test_the_login_by_keyboard_alone(world: World, person: Persona, tmp_path: Path) -> None:
    """WCAG 2.1.1: tabs lead through the fields in their order, Enter submits; the skip link comes first."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        await on.goto(world.url(Role.SERVICE))
        await on.keyboard.press("Tab")
        await expect(on.get_by_role("link", name="本文へ移動")).to_be_focused()
        await on.keyboard.press("Enter")
        await on.keyboard.press("Tab")
        await expect(on.get_by_label("ユーザーID", exact=True)).to_be_focused()
        await on.keyboard.type(USER)
        await on.keyboard.press("Tab")
        await on.keyboard.type(PASSWORD)
        await on.keyboard.press("Enter")
        await expect(on.get_by_role("heading", level=1)).to_have_text("年金 太郎 様")


async def test_a_forgotten_p12_password(world: World, person: Persona, tmp_path: Path) -> None:
    """FAQ 2: from the same mail to the same certificate under another password (Z1, R31)."""
    await admit(world.ra, USER)
    async with page(person) as on:
        first = await pick_up(on, world, tmp_path, "forgotten1")
    assert not person.import_p12(first, "whatwasit")
    async with page(person) as on:
        again = await pick_up(on, world, tmp_path, "remembered2")
    assert not person.import_p12(again, "forgotten1")
    assert person.import_p12(again, "remembered2")
    assert ca.store.count_by_status(look(world.ra.database)) == {"issued": 1}


async def test_the_download_is_there_after_going_back_and_again(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """E19: back, reload and a second click break nothing and issue nothing twice."""
    await admit(world.ra, USER)
    async with page(person) as on:
        await pick_up(on, world, tmp_path)
        await downloaded(on, tmp_path)
        await on.reload()
        await on.go_back()
        await submit(on, P12_PASSWORD, (await world.letter("pickup")).value("リクエストID"))
        file = await downloaded(on, tmp_path)
    assert person.import_p12(file)
    assert ca.store.count_by_status(look(world.ra.database)) == {"issued": 1}


async def test_after_the_window_the_refusal_text(world: World, person: Persona, tmp_path: Path) -> None:
    """FAQ 4, Z4: the sentence to the letter, then what to do."""
    await admit(world.ra, USER)
    async with page(person) as on:
        await pick_up(on, world, tmp_path)
    await world.travel(world.ra.now() + 31 * DAY)
    async with page(person) as on:
        await authenticate(on, world)
        await expect(on.get_by_text(NOT_AVAILABLE_JA)).to_be_visible()
        await expect(on.get_by_text("当メールからクライアント証明書の取得はできません。")).to_be_visible()
        await expect(on.get_by_text("照会番号：")).to_be_visible()


async def test_after_a_reissue_the_former_mail_is_refused(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """E2, E3: the newest mail counts; the certificate from it logs in, and the old one is deleted."""
    await established(world, person, tmp_path)
    old = store.enrollments_of(look(world.ra.database), USER)[0]
    former = await world.letter("pickup")
    await applications.reissue(world.ra, USER, "pc_change", actor="desk")
    new_pc = persona(tmp_path / "new-pc", world.deployment.datadir.server_ca_pem)
    async with page(new_pc) as on:
        await on.goto(world.url(Role.PICKUP))
        await on.get_by_label("ユーザー ID").fill(USER)
        await on.get_by_label("証明書発行用パスワード").fill(former.value("証明書発行用パスワード"))
        await on.get_by_role("button", name="Login").click()
        await expect(on.get_by_text(NOT_AVAILABLE_JA)).to_be_visible()
        file = await pick_up(on, world, tmp_path)
    assert new_pc.import_p12(file)
    async with page(new_pc) as on:
        await log_in(on, world)
        assert await fact(on, "発行先（コモンネーム）") == SECOND_NAME
        guide = on.get_by_role("region", name="以前の証明書を削除してください")
        await expect(guide.get_by_role("cell", name=(old.serial or "").upper())).to_be_visible()
    async with page(person) as on:
        await on.goto(world.url(Role.SERVICE))
        await expect(on.get_by_role("heading", level=1)).to_have_text("クライアント証明書は失効しています")


# -- chapter 3: 更新 and 更新の再申請 -------------------------------------------------------------------


@_AS_INSTALLED
async def test_renewal_interrupted_and_taken_up_again(world: World, person: Persona, tmp_path: Path) -> None:
    """Chapter 3 at D-30: mail, 更新の申請, interruption, 更新の再申請, login (R32 to R44)."""
    await established(world, person, tmp_path)
    old_end = not_after(world)
    await at_d_30(world)
    mail = await world.letter("renewal_30")
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL))
        menu = on.get_by_role("navigation", name="メニュー")
        await menu.get_by_role("link", name="更新の再申請").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("更新の申請状況")
        await expect(on.get_by_role("button", name="Download cert")).to_have_count(0)
        await menu.get_by_role("link", name="更新の申請", exact=True).click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の更新情報")
        assert await fact(on, "リクエストID") == mail.value("リクエストID")
        assert await fact(on, "コモンネーム") == mail.value("コモンネーム")
        await on.get_by_role("button", name="Submit").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("しばらくお待ちください")
        assert await fact(on, "証明書ステータス") == "証明書生成中"
        # Nobody clicks: the page goes on by itself (R35).
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
        await expect(on.get_by_label("リクエストID")).to_have_value(mail.value("リクエストID"))
        await submit(on, "forgotten1")
    # The browser is closed before Download: an interruption, and the password is forgotten besides.
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL))
        menu = on.get_by_role("navigation", name="メニュー")
        await menu.get_by_role("link", name="更新の再申請").click()
        row = on.get_by_role("row").filter(has_text=mail.value("リクエストID"))
        await expect(row.get_by_role("button", name="Download cert")).to_be_visible()
        cells = await row.get_by_role("cell").all_inner_texts()
        renewed = store.enrollments_of(look(world.ra.database), USER)[0]
        assert cells[1:5] == [
            FIRST_NAME,
            shown(renewed.submitted_at or 0),
            shown(renewed.not_after_at or 0),
            "発行済み",
        ]
        await row.get_by_role("button", name="Download cert").click()
        await submit(on, "remembered2")
        file = await downloaded(on, tmp_path)
    assert not person.import_p12(file, "forgotten1")
    assert person.import_p12(file, "remembered2")
    assert len(person.certificates()) == 2
    async with page(person) as on:
        await log_in(on, world)
        assert (await fact(on, "有効期限")).startswith(shown(renewed.not_after_at or 0))
        guide = on.get_by_role("region", name="以前の証明書を削除してください")
        await expect(guide.get_by_role("cell", name=shown(old_end))).to_be_visible()
    assert ca.store.count_by_status(look(world.ra.database)) == {"issued": 2}


async def test_renewal_without_javascript(world: World, person: Persona, tmp_path: Path) -> None:
    """R35: the waiting page goes on by itself with JavaScript off as well."""
    await established(world, person, tmp_path)
    await at_d_30(world)
    async with page(person, java_script_enabled=False) as on:
        await on.goto(world.url(Role.RENEWAL, "/application"))
        await on.get_by_role("button", name="Submit").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("しばらくお待ちください")
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
        await submit(on, P12_PASSWORD)
        assert person.import_p12(await downloaded(on, tmp_path))


async def test_renewal_and_login_on_another_host(world: World, person: Persona, tmp_path: Path) -> None:
    """E11, E12: 証明書を選択しなおす leads to a host of the same site, on which everything works."""
    await established(world, person, tmp_path)
    await at_d_30(world)
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL, "/application"))
        await on.get_by_role("link", name="証明書を選択しなおす").click()
        await expect(on).to_have_url(re.compile(r"https://[0-9a-f]{16}\.renew\.localhost:\d+/"))
        await on.get_by_role("navigation", name="メニュー").get_by_role("link", name="更新の申請").click()
        await on.get_by_role("button", name="Submit").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
        await submit(on, P12_PASSWORD)
        assert person.import_p12(await downloaded(on, tmp_path))
        await on.goto(world.url(Role.SERVICE, "/login"))
        await on.get_by_role("link", name="証明書を選択しなおす").click()
        await expect(on).to_have_url(re.compile(r"https://[0-9a-f]{16}\.login\.localhost:\d+/login"))
        await on.get_by_label("ユーザーID", exact=True).fill(USER)
        await on.get_by_label("パスワード", exact=True).fill(PASSWORD)
        await on.get_by_role("button", name="ログイン").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("年金 太郎 様")


async def test_before_d_30_the_first_day_is_told(world: World, person: Persona, tmp_path: Path) -> None:
    """E9: not yet, and from when."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL, "/application"))
        await expect(on.get_by_role("heading", level=1)).to_have_text("まだ更新期間ではありません")


# -- certificates that do not do -------------------------------------------------------------------

_ASK_FOR_ONE = (Role.SERVICE, Role.RENEWAL)


async def test_an_expired_certificate(world: World, person: Persona, tmp_path: Path) -> None:
    """R38, FAQ 7: one second after its end our page says that only a reissue helps, on either site."""
    await established(world, person, tmp_path)
    await world.travel(not_after(world) + 1)
    async with page(person) as on:
        for role in _ASK_FOR_ONE:
            await on.goto(world.url(role))
            heading = "クライアント証明書の有効期限が切れています"
            await expect(on.get_by_role("heading", level=1)).to_have_text(heading)
            again = on.get_by_text("クライアント証明書再発行をして取得しなおしてください。")
            await expect(again).to_be_visible()
            assert await fact(on, "発行先（コモンネーム）") == FIRST_NAME


async def test_an_expired_certificate_that_the_browser_hides(tmp_path: Path) -> None:
    """A certificate that has ended by the PC's own clock is not even offered: the page names that cause."""
    async with kit.world(tmp_path, left=-1) as world:
        person = persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
        await established(world, person, tmp_path)
        await world.travel(not_after(world) + DAY)
        async with page(person) as on:
            await on.goto(world.url(Role.SERVICE))
            heading = "クライアント証明書が提示されませんでした"
            await expect(on.get_by_role("heading", level=1)).to_have_text(heading)
            await expect(on.get_by_text("有効期限が切れている")).to_be_visible()


async def test_a_revoked_certificate(world: World, person: Persona, tmp_path: Path) -> None:
    """Our page, while the portal is open, on either site: revocation reaches the next request."""
    await established(world, person, tmp_path)
    async with page(person) as on:
        await on.goto(world.url(Role.RENEWAL))
        await expect(on.get_by_role("navigation", name="メニュー")).to_be_visible()
        await log_in(on, world)
        await expect(on.get_by_role("heading", level=1)).to_have_text("年金 太郎 様")
        await register.disable_user(world.ra, USER, actor="desk")
        for role in _ASK_FOR_ONE:
            await on.goto(world.url(role))
            heading = on.get_by_role("heading", level=1)
            await expect(heading).to_have_text("クライアント証明書は失効しています")


async def test_no_certificate(world: World, person: Persona) -> None:
    """On either site our page with the three causes, a reference number and the way to the connectivity
    test."""
    async with page(person) as on:
        for role in _ASK_FOR_ONE:
            await on.goto(world.url(role))
            heading = "クライアント証明書が提示されませんでした"
            await expect(on.get_by_role("heading", level=1)).to_have_text(heading)
            await expect(on.get_by_text("照会番号：")).to_be_visible()
            await on.get_by_role("link", name="導通確認サイトを開く").click()
            await expect(on.get_by_role("heading", level=1)).to_have_text("導通確認サイト")


async def test_a_foreign_certificate(world: World, person: Persona, tmp_path: Path) -> None:
    """Chromium offers no certificate of another issuer, because our CA's name is advertised."""
    stranger = issue("Somebody else", issue("Other CA", ca=True))
    content = pkcs12.serialize_key_and_certificates(
        b"stranger", stranger.key, stranger.certificate, None, NoEncryption()
    )
    (tmp_path / "stranger.p12").write_bytes(content)
    assert person.import_p12(tmp_path / "stranger.p12", "")
    async with page(person) as on:
        await on.goto(world.url(Role.SERVICE))
        heading = "クライアント証明書が提示されませんでした"
        await expect(on.get_by_role("heading", level=1)).to_have_text(heading)
