"""The portal as its users and an organisation's 管理者 see it in a browser."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from enroll import store
from enroll.settings import DAY
from gateway.web.context import Role
from tests.browser.kit import Persona, World, downloaded_by, faults, page
from tests.browser.steps import PASSWORD, USER, established, fact, log_in
from tests.datadirs import admit
from tests.looking import look

LEAVER = "K22222222"

pytestmark = pytest.mark.browser


async def test_what_the_portal_tells_and_hands_out(world: World, person: Persona, tmp_path: Path) -> None:
    """The last login and what failed since, the own address, what comes after an application and when; a
    program's credentials are copied and downloaded."""
    await established(world, person, tmp_path, role="admin")
    async with page(person) as on:
        await on.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await log_in(on, world, "Wrong2026")
        await log_in(on, world)
        await expect(on.get_by_text("ログインの失敗が1回ありました。")).to_be_visible()
        assert (await fact(on, "メールアドレス")).startswith(f"{USER.lower()}@example.jp")
        assert await fact(on, "その後のログインの失敗") == "1回"
        assert await faults(on) == []
        await on.goto(world.url(Role.SERVICE, f"/portal/members/{USER}/credentials"))
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await on.get_by_role("button", name="認証情報を作成する").click()
        await _hands_out_credentials(on, tmp_path)
        assert await faults(on) == []
        await on.goto(world.url(Role.SERVICE, "/portal/reissue"))
        await on.get_by_label("パソコンを変更した").check()
        await on.get_by_label("ログインのパスワード").fill(PASSWORD)
        await on.get_by_role("button", name="申請する").click()
        await expect(on.get_by_role("heading", name="今後の流れ")).to_be_visible()
        await expect(on.get_by_text(f"送信先：{USER.lower()}@example.jp")).to_be_visible()
        await expect(on.get_by_text("頃までの予定）")).to_have_count(2)
        assert await faults(on) == []


async def test_an_administrator_looks_after_the_users(world: World, person: Persona, tmp_path: Path) -> None:
    """A mail address is corrected, an application withdrawn, a leaver suspended; who ends soon and who
    fetched what is seen, and comes as a file. All by links and buttons."""
    await established(world, person, tmp_path, role="admin")
    await admit(world.ra, LEAVER)
    end = store.enrollments_of(look(world.ra.database), USER)[0].not_after_at or 0
    await world.travel(end - 60 * DAY)
    async with page(person) as on:
        await log_in(on, world)
        await on.get_by_role("link", name="1名").click()
        await expect(on.get_by_role("heading", level=1)).to_have_text("期限・取得の状況")
        ending = on.get_by_role("region", name="期限が近い（60日以内）、または過ぎたユーザー").get_by_role(
            "row"
        )
        await expect(ending.nth(1)).to_contain_text("（あと60日）")
        assert await faults(on) == []
        link = on.get_by_role("link", name="CSVをダウンロード")
        file = await downloaded_by(on, link, tmp_path)
        rows = list(csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"))))
        assert [row["ユーザーID"] for row in rows] == [USER, LEAVER]

        await on.get_by_role("link", name="ユーザー一覧").click()
        await on.get_by_role("link", name=LEAVER).click()
        await on.get_by_role("link", name="メールアドレスを変更する").click()
        await on.get_by_label("新しいメールアドレス").fill(f"{USER.lower()}@example.jp")
        await _confirm(on, "変更する")
        meant = on.get_by_role("checkbox", name="誤りや重複ではないことを確認しました")
        await expect(meant).to_be_focused()
        await expect(meant).to_have_attribute("aria-invalid", "true")
        assert await faults(on) == []
        await on.get_by_label("新しいメールアドレス").fill("hanako@example.jp")
        await _confirm(on, "変更する")
        await expect(on.get_by_text("メールアドレスを変更しました。")).to_be_visible()
        assert await fact(on, "メールアドレス") == "hanako@example.jp"

        await on.get_by_role("main").get_by_role("link", name="再発行を申請する").click()
        await on.get_by_label("パソコンを変更した").check()
        await _confirm(on, "申請する")
        await on.get_by_role("link", name="申請の取り下げへ").click()
        assert await faults(on) == []
        await expect(on.get_by_text("取り下げた申請は元に戻せません。")).to_be_visible()
        await on.get_by_role("link", name="取り下げずに戻る").click()
        assert await fact(on, "状況") == "受付済み（手続き中）"
        await on.get_by_role("link", name="申請の取り下げへ").click()
        await on.get_by_role("button", name="申請を取り下げる").click()
        await expect(on.get_by_text("申請を取り下げました。")).to_be_visible()
        assert await fact(on, "状況") == "取り下げ済み"
        assert await fact(on, "発行済みの証明書") == "この申請では無効になりません"
        assert await faults(on) == []

        await on.goto(world.url(Role.SERVICE, f"/portal/members/{LEAVER}"))
        await on.get_by_role("link", name="利用停止の手続きへ").click()
        assert await faults(on) == []
        await _confirm(on, "利用を停止する")
        await expect(on.get_by_text("利用を停止しました。")).to_be_visible()
        assert (await fact(on, "証明書")).startswith("利用停止")
    await _reminded(world, end)
    found = store.user(look(world.ra.database), LEAVER)
    assert found is not None
    assert found.disabled_at is not None


async def _reminded(world: World, end: int) -> None:
    """Business letters; on D-7 another one than on D-30."""
    bodies = []
    for days, kind in ((30, "renewal_30"), (7, "renewal_7")):
        await world.travel(end - days * DAY)
        body = (await world.letter(kind)).body
        for said in ("霞が関商事", "年金 太郎 様", "厚く御礼申し上げます", "送信専用", f"あと{days}日"):
            assert said in body, (kind, said)
        bodies.append(body)
    assert "まだお済みではありません" in bodies[1]
    assert "まだお済みではありません" not in bodies[0]


async def _confirm(on: Page, button: str) -> None:
    """The password once more, and the button."""
    await on.get_by_label("ログインのパスワード").fill(PASSWORD)
    await on.get_by_role("main").get_by_role("button", name=button, exact=True).click()


async def _hands_out_credentials(on: Page, tmp_path: Path) -> None:
    """The clipboard, the file and the page have the same; the file needs no script."""
    shown = json.loads(await on.locator("pre").inner_text())
    (made,) = shown["credentials"]
    for button, text in (
        ("鍵IDをコピー", made["kid"]),
        ("HMAC鍵をコピー", made["hmac_key"]),
        ("全体をコピー", await on.locator("pre").text_content()),
    ):
        await on.get_by_role("button", name=button).click()
        await expect(on.get_by_text("コピーしました。")).to_be_visible()
        assert await on.evaluate("navigator.clipboard.readText()") == text
    file = await downloaded_by(on, on.get_by_role("link", name="ファイルとしてダウンロード"), tmp_path)
    assert (file.name, json.loads(file.read_text())) == (f"eab-{made['kid']}.json", shown)
