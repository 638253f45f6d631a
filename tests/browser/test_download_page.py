"""What the Download screen gives besides the file: dates for a calendar, the help on a phone, a profile."""

from __future__ import annotations

import asyncio
import plistlib
import shutil
import subprocess
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import icalendar
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from playwright.async_api import Page, expect

from enroll import store
from enroll.jst import day_of
from gateway.serving.config import Config
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.kit import P12_PASSWORD, World, downloaded_by, faults
from tests.browser.steps import USER, choose_password, log_in, pick_up
from tests.datadirs import admit

pytestmark = pytest.mark.browser


async def test_dates_help_and_profile(tmp_path: Path) -> None:
    """From the Download screen and the portal: D-30, D-7 and the end as three entries; a QR code that leads
    to the help's steps and says nothing else; where phones are allowed a profile, with no password in it."""
    config = Config()
    config = replace(config, policy=replace(config.policy, phones=True))
    async with kit.world(tmp_path, config=config) as world:
        person = kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
        await admit(world.ra, USER)
        async with kit.page(person) as on:
            file = await pick_up(on, world, tmp_path)
            assert await faults(on) == []
            assert await _read_qr(on, tmp_path) == world.url(Role.HELP, "/pickup#step-6")
            dates = await downloaded_by(on, on.get_by_role("link", name="カレンダーに登録する"), tmp_path)
            await _check_dates(world, dates)
            button = on.get_by_role("button", name="構成プロファイルをダウンロード")
            async with on.expect_response("**/*as=mobileconfig*") as answered:
                _check_profile(await downloaded_by(on, button, tmp_path), file)
            # What iOS goes by.
            kind = await (await answered.value).header_value("Content-Type")
            assert kind == "application/x-apple-aspen-config"
        assert person.import_p12(file)
        initial = (await world.letter("user_id")).value("パスワード")
        async with kit.page(person) as on:
            await log_in(on, world, initial)
            await choose_password(on, initial)
            link = on.get_by_role("link", name="カレンダーに登録する")
            assert (await downloaded_by(on, link, tmp_path / "portal")).read_bytes() == dates.read_bytes()


async def test_phones_are_not_offered_where_they_are_not_allowed(
    world: World, person: kit.Persona, tmp_path: Path
) -> None:
    """Neither section nor file, whoever asks for it by its address."""
    await admit(world.ra, USER)
    async with kit.page(person) as on:
        await pick_up(on, world, tmp_path)
        await expect(on.get_by_role("heading", name="スマートフォン・タブレットで")).to_have_count(0)
        await on.goto(world.url(Role.PICKUP, "/download?as=mobileconfig"))
        await expect(on.get_by_role("heading", level=1)).to_have_text("ページが見つかりません")


async def _read_qr(on: Page, to: Path) -> str:
    """What a scanner reads off the screen."""
    if shutil.which("zbarimg") is None:
        pytest.skip("zbarimg is not installed (zbar-tools)")
    picture = to / "qr.png"
    command = ["zbarimg", "--quiet", "--raw", picture]
    # A person holds a phone there until it has read it; the page may move below the first picture.
    async with asyncio.timeout(60):
        while True:
            await on.locator("svg.qr").screenshot(path=picture)
            read = await asyncio.to_thread(subprocess.run, command, capture_output=True)
            if read.returncode == 0:
                return read.stdout.decode().strip()
            await asyncio.sleep(0.1)


async def _check_dates(world: World, file: Path) -> None:
    (enrollment, *_) = await world.ra.database.read(lambda db: store.enrollments_of(db, USER))
    end = day_of(enrollment.not_after_at or 0)
    assert file.name == f"{enrollment.common_name}.ics"
    content = file.read_bytes()
    assert all(len(line) <= 75 for line in content.split(b"\r\n"))
    events = icalendar.Calendar.from_ical(content.decode()).walk("VEVENT")
    expected: list[date] = [end - timedelta(days=30), end - timedelta(days=7), end]
    assert [each.decoded("DTSTART") for each in events] == expected
    assert len({str(each["UID"]) for each in events}) == 3
    for each in events:
        assert f"コモンネーム：{enrollment.common_name}" in str(each["DESCRIPTION"])
        assert len(each.walk("VALARM")) == 1


def _check_profile(profile: Path, file: Path) -> None:
    told = plistlib.loads(profile.read_bytes())
    (payload,) = told["PayloadContent"]
    assert payload["PayloadType"] == "com.apple.security.pkcs12"
    assert P12_PASSWORD.encode() not in profile.read_bytes()
    assert "Password" not in payload
    inside = pkcs12.load_pkcs12(payload["PayloadContent"], P12_PASSWORD.encode())
    outside = pkcs12.load_pkcs12(file.read_bytes(), P12_PASSWORD.encode())
    assert inside.cert == outside.cert
