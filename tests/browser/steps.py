"""What a person does with the manual in hand, step by step, for the tests and the screenshots."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page, expect

import ca.store
from enroll.people import login
from enroll.requests import issuance, pickup
from gateway.web.context import Role
from tests.browser.kit import P12_PASSWORD, Persona, World, downloaded
from tests.datadirs import admit
from tests.looking import look

USER = "K12345678"
PASSWORD = "Sekisho2026"
ADDRESS = "192.0.2.1"


async def authenticate(on: Page, world: World) -> None:
    """Manual, chapter 2, steps 1 and 2: the address and the passwords of the mail."""
    mail = await world.letter("pickup")
    await on.goto(world.url(Role.PICKUP))
    await expect(on.get_by_role("heading", level=1)).to_have_text("ユーザー認証")
    await on.get_by_label("ユーザー ID").fill(mail.value("ユーザーID"))
    await on.get_by_label("証明書発行用パスワード").fill(mail.value("証明書発行用パスワード"))
    await on.get_by_role("button", name="Login").click()


async def submit(on: Page, password: str, request_id: str = "") -> None:
    """「証明書の取得」: request ID where it is typed, the chosen password twice, Submit."""
    await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
    if request_id:
        await on.get_by_label("リクエストID").fill(request_id)
    await on.get_by_label("パスワード", exact=True).fill(password)
    await on.get_by_label("パスワードの確認").fill(password)
    await on.get_by_role("button", name="Submit", exact=True).click()
    await expect(on.get_by_text("証明書をダウンロードします。")).to_be_visible()


async def pick_up(on: Page, world: World, to: Path, password: str = P12_PASSWORD) -> Path:
    """Steps 1 to 5, from the mail to the file."""
    await authenticate(on, world)
    await on.get_by_role("navigation", name="メニュー").get_by_role("link", name="証明書の取得").click()
    await submit(on, password, (await world.letter("pickup")).value("リクエストID"))
    return await downloaded(on, to)


async def established(world: World, person: Persona, tmp_path: Path, role: str = "member") -> None:
    """A user whose certificate is installed, and who has logged in and chosen a password.

    By the functions behind the pages; ``test_from_the_mail_to_the_login`` goes page by page.
    """
    got, _ = await joined(world, USER, role)
    file = tmp_path / got.filename
    file.write_bytes(got.content)
    assert person.import_p12(file)


async def joined(world: World, user_id: str, role: str = "member") -> tuple[issuance.Download, str]:
    """Somebody who has fetched a certificate, logged in and chosen a password: the file, and the
    certificate's fingerprint."""
    ra = world.ra
    await admit(ra, user_id, role=role)
    mail, notice = await world.letter("pickup"), await world.letter("user_id")
    opened = await pickup.authenticate(ra, user_id, mail.value("証明書発行用パスワード"), address=ADDRESS)
    await issuance.submit(ra, opened.request_id, actor=user_id)
    await issuance.complete(ra, opened.request_id)
    got = await fetched(world, opened.request_id, user_id)
    found = ca.store.find_by_order(look(ra.database), opened.request_id)
    assert found is not None
    assert found.fingerprint is not None
    initial = notice.value("パスワード")
    await login.authenticate(ra, found.fingerprint, user_id, initial, address=ADDRESS)
    await login.change_password(ra, user_id, initial, PASSWORD, PASSWORD)
    return got, found.fingerprint


async def fetched(world: World, request_id: str, user_id: str) -> issuance.Download:
    """The file of a request whose certificate was issued."""
    ra = world.ra
    token = await issuance.prepare_download(ra, request_id, P12_PASSWORD, "standard", actor=user_id)
    return await issuance.download(ra, token, request_id, actor=user_id)


async def log_in(on: Page, world: World, password: str = PASSWORD) -> None:
    await on.goto(world.url(Role.SERVICE))
    await on.get_by_label("ユーザーID", exact=True).fill(USER)
    await on.get_by_label("パスワード", exact=True).fill(password)
    await on.get_by_role("button", name="ログイン").click()


async def choose_password(on: Page, initial: str) -> None:
    await expect(on.get_by_role("heading", level=1)).to_have_text("パスワードの変更")
    await on.get_by_label("現在のパスワード").fill(initial)
    await on.get_by_label("新しいパスワード", exact=True).fill(PASSWORD)
    await on.get_by_label("新しいパスワードの確認").fill(PASSWORD)
    await on.get_by_role("button", name="変更する").click()
    await expect(on.get_by_text("パスワードを変更しました。")).to_be_visible()


async def fact(on: Page, name: str) -> str:
    """The cell beside a row's heading."""
    row = on.get_by_role("row").filter(has=on.get_by_role("rowheader", name=name, exact=True))
    return (await row.get_by_role("cell").inner_text()).strip()
