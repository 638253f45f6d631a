"""A day of each role at the console, one after the other, each at a PC of the own, by the keyboard alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from enroll import store
from enroll.operators import store as operators
from enroll.operators.roles import Role as Trusted
from gateway.web.context import Role
from tests.browser.eye import Eye
from tests.browser.kit import P12_PASSWORD, World, page, persona
from tests.browser.test_console import (
    AUTHENTICATOR,
    USER,
    admitted,
    applied,
    press,
    taken,
    world,
)

__all__ = ("world",)

pytestmark = pytest.mark.browser

_LABEL = "() => (document.activeElement.labels?.[0]?.innerText || '').trim()"
#: Role -> links of the menu that are absent.
ABSENT = {
    Trusted.DESK: ("運用者", "認証局", "設定", "監査", "文面", "連携"),
    Trusted.REGISTRAR: ("運用者", "認証局", "設定", "監査", "連携"),
    Trusted.APPROVER: ("認証局", "設定", "連携"),
    Trusted.CA_OFFICER: ("申請", "メール", "利用者", "団体", "証明書", "監査", "文面"),
    Trusted.AUDITOR: (),
}


@asynccontextmanager
async def _at_work(world: World, tmp_path: Path, role: Trusted) -> AsyncIterator[tuple[Page, Eye]]:
    """An operator of a role who has come in, from the code to the passkey, and sees the home page."""
    name = str(role).replace("-", "")
    _, p12, _ = await admitted(world, name, role, code=f"walk-in-{name}")
    pc = persona(tmp_path / name, world.deployment.datadir.server_ca_pem)
    (tmp_path / f"{name}.p12").write_bytes(p12)
    assert pc.import_p12(tmp_path / f"{name}.p12", P12_PASSWORD)
    async with page(pc) as on:
        eye = Eye(on, "console")
        devtools = await on.context.new_cdp_session(on)
        await devtools.send("WebAuthn.enable")
        await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        await on.goto(world.url(Role.CONSOLE, "/"))
        await _type(on, "登録用コード", f"walk-in-{name}")
        await on.keyboard.press("Enter")
        await expect(on.get_by_label("パスキーの名前")).to_be_visible()
        await press(on, "パスキーを作成する")
        await _said(on, "パスキーを登録しました")
        await press(on, "パスキーでログインする")
        await expect(on.get_by_role("heading", name="ホーム")).to_be_visible()
        await eye.look(f"home-{name}")
        menu = [
            each.strip() for each in await on.get_by_role("navigation").get_by_role("link").all_inner_texts()
        ]
        assert not {*ABSENT[role]} & {*menu}, menu
        yield on, eye
        assert eye.seen == {}, "\n".join(f"{k}: {v}" for k, v in eye.seen.items())


async def _type(on: Page, label: str, words: str) -> None:
    """On to a field by Tab, and into it."""
    for _ in range(80):
        if (await on.evaluate(_LABEL)).startswith(label):
            await on.keyboard.type(words)
            return
        await on.keyboard.press("Tab")
    raise AssertionError(f"no field {label} by the keyboard")


async def _said(on: Page, words: str) -> None:
    await expect(on.get_by_role("status")).to_contain_text(words)


# Five browsers; a minute each where others work beside it.
@pytest.mark.timeout(1800)
async def test_a_day_of_each_role(world: World, tmp_path: Path) -> None:
    """The desk finds a caller, notes the call and suspends the certificates; the registrar proposes what is
    applied for, the approver decides that from the home page, the CA officer proposes an operator, the
    auditor looks at an emergency and verifies the record. What a role may not do is absent."""
    number, _ = await applied(world)
    async with _at_work(world, tmp_path, Trusted.DESK) as (on, _):
        await on.keyboard.press("/")
        await on.keyboard.type("年金")
        await on.keyboard.press("Enter")
        await expect(on.get_by_role("heading", name="検索")).to_be_visible()
        await press(on, USER)
        await expect(on.get_by_role("heading", name="1. ご本人の確認")).to_be_visible()
        await _type(on, "応対の内容", "PCの紛失の連絡")
        await press(on, "記録する")
        await _said(on, "応対記録を残しました")
        await press(on, "利用停止（紛失・盗難のとき）")
        await _type(on, "停止の理由", "電車に置き忘れ")
        await press(on, "利用を停止する")
        await expect(on.get_by_role("status")).to_be_visible()
        assert await on.get_by_role("button", name="承認する").count() == 0

    async with _at_work(world, tmp_path, Trusted.REGISTRAR) as (on, _):
        await press(on, "申請：")
        await expect(on.get_by_role("heading", name=f"申請 {number}")).to_be_visible()
        assert await on.get_by_role("button", name="承認する", exact=True).count() == 0
        await press(on, "承認を起案する")
        await _said(on, "起案しました")

    async with _at_work(world, tmp_path, Trusted.APPROVER) as (on, _):
        await press(on, "申請の承認")
        await expect(on.get_by_role("heading", name=f"申請の承認：申請 {number}")).to_be_visible()
        await press(on, "承認する")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await _said(on, "承認しました")
        found = await world.ra.database.read(lambda db: store.application(db, number))
        assert found is not None
        assert found.state == "approved"

    async with _at_work(world, tmp_path, Trusted.CA_OFFICER) as (on, eye):
        await press(on, "認証局")
        await expect(on.get_by_role("heading", name="認証局", exact=True)).to_be_visible()
        await press(on, "運用者")
        await expect(on.get_by_role("heading", name="運用者", exact=True)).to_be_visible()
        await press(on, "運用者を起案する")
        await expect(on.get_by_label("氏名")).to_be_visible()
        await _type(on, "ID", "shinjin")
        await _type(on, "氏名", "新人 七子")
        await _type(on, "メールアドレス", "shinjin@example.jp")
        await _type(on, "窓口", " ")
        await _type(on, "理由", "増員")
        await press(on, "起案する")
        await _said(on, "起案しました")
        assert await on.get_by_role("button", name="承認する").count() == 0
        await eye.look("proposal-own")

    await taken(world)
    async with _at_work(world, tmp_path, Trusted.AUDITOR) as (on, _):
        await expect(on.get_by_role("region", name="非常時の権限")).to_contain_text("担当者全員不在")
        await press(on, "点検する")
        await expect(on.get_by_role("heading", name="非常時の権限", exact=True)).to_be_visible()
        await _type(on, "確認した内容", "報告のとおり")
        await press(on, "点検済みにする")
        await expect(on.get_by_role("heading", name="パスキーで確認")).to_be_visible()
        await press(on, "パスキーで確認する")
        await _said(on, "点検済みにしました")
        await press(on, "監査")
        await expect(on.get_by_role("heading", name="監査", exact=True)).to_be_visible()
        # Behind a table that is longer than the window, and has the focus before it.
        await on.get_by_role("button", name="記録を検証する").focus()
        await on.keyboard.press("Enter")
        await expect(on.get_by_role("heading", name="記録の検証")).to_be_visible()
    assert await world.ra.database.read(operators.glasses) == []
