"""What a page says is so, and the next step is on it: hours, states, dates, applications, ways back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import expect

from enroll import store
from enroll.jst import JST, shown_day
from enroll.requests import issuance, renewal, transitions
from enroll.requests.enrollment import KEY_COMPROMISE
from enroll.settings import DAY
from gateway.serving.config import Config
from gateway.serving.settings.behind import Behind
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.kit import World, page
from tests.browser.steps import PASSWORD, USER, authenticate, established, fetched, joined, log_in
from tests.datadirs import admit
from tests.looking import look

pytestmark = pytest.mark.browser

_PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
#: Nothing answers there: outside of its hours nobody is led to it.
_BEHIND = Behind(addresses=("http://127.0.0.1:9",), hours="8:00-18:00", start="/app/")


async def _saturday_night(world: World) -> datetime:
    """Goes to a Saturday, 23:50, within the renewal period, when everybody but RIYOU001 has the mail only."""
    end = store.enrollments_of(look(world.ra.database), USER)[0].not_after_at or 0
    day = datetime.fromtimestamp(end - 29 * DAY, JST)
    saturday = (day + timedelta(days=(5 - day.weekday()) % 7)).replace(hour=23, minute=50, second=0)
    await world.travel(int(saturday.timestamp()))
    return saturday


async def test_what_is_said_is_so(tmp_path: Path) -> None:
    """A phone is told on the first screen; hours are kept as stated; an application is taken once, its ID
    in capitals; a list has the certificate in use, what waits beside it, and when one ended; five downloads
    are called that; who logs out is told so; and what is to be compared stands before the button."""
    async with kit.world(tmp_path, config=replace(Config(), upstream=_BEHIND)) as world:
        person = kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
        await established(world, person, tmp_path, "admin")
        _, used = await joined(world, "RIYOU001")
        await joined(world, "SHIKKO01")
        old = store.enrollments_of(look(world.ra.database), "RIYOU001")[0].not_after_at or 0
        lost = store.enrollments_of(look(world.ra.database), "SHIKKO01")[0].serial or ""
        saturday = await _saturday_night(world)
        order = await renewal.submit(world.ra, used, actor="RIYOU001")
        await issuance.complete(world.ra, order.request_id)
        await fetched(world, order.request_id, "RIYOU001")
        at = world.ra.now()
        await world.ra.database.write(
            lambda db: transitions.end_certificate(db, world.ra, lost, KEY_COMPROMISE, at, actor="desk")
        )
        async with page(person, user_agent=_PHONE) as on:
            for role in (Role.PICKUP, Role.RENEWAL, Role.SERVICE):
                await on.goto(world.url(role))
                await expect(on.get_by_text("スマートフォンまたはタブレット")).to_be_visible()
        async with page(person) as on:
            # Hours.
            await log_in(on, world)
            monday = saturday + timedelta(days=2)
            await expect(on.get_by_text("ただいまご利用時間外です。")).to_be_visible()
            await expect(on.get_by_role("link", name="オンラインサービスを開く")).to_have_count(0)
            await on.goto(world.url(Role.SERVICE, "/app/"))
            await expect(on.get_by_role("heading", level=1)).to_have_text("ただいまご利用時間外です")
            opens = await on.get_by_text("次の開始日時：").inner_text()
            day = datetime.strptime(opens.partition("：")[2].partition("（")[0], "%Y年%m月%d日")
            assert monday.date() <= day.date() <= datetime.fromtimestamp(at + 7 * DAY, JST).date()
            # States with their dates.
            await on.goto(world.url(Role.SERVICE, "/portal/members"))
            row = on.get_by_role("row").filter(has_text="RIYOU001")
            await expect(row).to_contain_text("新証明書 未使用")
            await expect(row.get_by_role("cell").last).to_contain_text(shown_day(old))
            ended = on.get_by_role("row").filter(has_text="SHIKKO01")
            await expect(ended).to_contain_text(f"失効 {shown_day(at)}")
            # The same application twice.
            for said in ("申請を受け付けました。", "この申請はすでに受け付けています。"):
                await on.goto(world.url(Role.SERVICE, "/portal/addition"))
                # Where a postcard goes.
                await expect(on.get_by_text("へ、ご本人宛にお送りします。")).to_be_visible()
                await on.get_by_label("氏名").fill("年金 花子")
                await on.get_by_label("メールアドレス").fill("hanako@example.jp")
                await on.get_by_label("希望するユーザーID（任意）").fill("hanako01")
                await on.get_by_label("ログインのパスワード").fill(PASSWORD)
                await on.get_by_role("main").get_by_role("button", name="申請する").click()
                await expect(on.get_by_text(said)).to_be_visible()
                await expect(on.get_by_role("cell", name="HANAKO01")).to_be_visible()
            # Before the button.
            await on.goto(world.url(Role.RENEWAL, "/application"))
            compare = on.get_by_role("heading", name="メールの内容と一致しているかご確認ください")
            button = on.get_by_role("button", name="Submit")
            above, below = await compare.bounding_box(), await button.bounding_box()
            assert above is not None
            assert below is not None
            assert above["y"] < below["y"]
            # Five downloads.
            await button.click()
            await expect(on.get_by_role("heading", level=1)).to_have_text("証明書の取得")
            mine = store.enrollments_of(look(world.ra.database), USER)[0].request_id
            for _ in range(world.ra.settings.window_downloads):
                await fetched(world, mine, USER)
            await on.goto(world.url(Role.RENEWAL, "/status"))
            await expect(on.get_by_role("cell", name="取得回数の上限")).to_be_visible()
            await expect(on.get_by_role("link", name="再発行のお手続きを見る")).to_be_visible()
            # Out of the pick-up site, and out of a refusal.
            await admit(world.ra, "SHINKI01")
            await authenticate(on, world)
            await on.get_by_role("button", name="ログアウト").click()
            await expect(on.get_by_text("ログアウトしました。")).to_be_visible()
            await on.goto(world.url(Role.PICKUP, "/nothing"))
            await on.get_by_role("link", name="最初の画面へ戻る").click()
            await expect(on.get_by_role("heading", level=1)).to_have_text("ユーザー認証")
