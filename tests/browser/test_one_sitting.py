"""A renewal in one sitting, from the mail to the imported file: no screen, no click more than the manual has.

Playwright's trace is the witness of what was clicked, and of the seconds that the pages took. What a
practised person needs besides is reckoned by the keystroke-level model (Card, Moran and Newell, 1980): it is
the same on every machine, and only the pages' own part is measured.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Request, expect

from enroll import store
from enroll.settings import DAY
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.kit import P12_PASSWORD, Persona, World
from tests.browser.steps import USER, established
from tests.datadirs import look

pytestmark = pytest.mark.browser

#: The screens of the manual's chapter 3, steps 3 to 7, in its order.
SCREENS = (
    "確定給付企業年金オンラインサービス クライアント証明書更新画面",
    "証明書の更新情報",
    "しばらくお待ちください",
    "証明書の取得",
    "証明書の取得",
)
#: What is clicked on them: 更新の申請, Submit, Submit, Download.
CLICKS = 4
# On Windows besides: the link in the mail, OK in the picker, the downloaded file, and in the wizard four
# times 次へ, then 完了, OK (the manual's steps 1, 2 and 8 to 15).
_CLICKS_ELSEWHERE = 9
# Seconds of the model: to point, to press, to type a character, to make up one's mind at a screen.
_POINT, _PRESS, _KEY, _MIND = 1.1, 0.2, 0.28, 1.35
_SCREENS_ELSEWHERE = 8


@dataclass(frozen=True)
class Trace:
    """What was done on the pages, and for how many seconds one waited for them."""

    actions: Counter[str]
    seconds: float


def read(file: Path) -> Trace:
    """Playwright's own record of a walk."""
    with zipfile.ZipFile(file) as archive:
        lines = [json.loads(line) for line in archive.read("trace.trace").splitlines()]
    begun: dict[str, dict[str, Any]] = {line["callId"]: line for line in lines if line["type"] == "before"}
    ended = {line["callId"]: line["endTime"] for line in lines if line["type"] == "after"}
    done = [line for line in begun.values() if line["method"] in ("goto", "click", "fill")]
    first, last = min(line["startTime"] for line in done), max(ended.values())
    return Trace(Counter(line["method"] for line in done), (last - first) / 1_000)


def reckoned(password: str) -> float:
    """Seconds of a practised person's own: every click and key, and a look at each screen."""
    clicks = CLICKS + _CLICKS_ELSEWHERE + 2  # and into the two fields
    # Typed twice on the page and once in the wizard.
    keys = 3 * len(password)
    return clicks * (_POINT + _PRESS) + keys * _KEY + (len(SCREENS) + _SCREENS_ELSEWHERE) * _MIND


async def test_a_renewal_in_one_sitting(
    world: World, person: Persona, tmp_path: Path, record_property: Any
) -> None:
    """Five screens and four clicks, as in the manual; nothing is asked twice, and the file is imported."""
    await established(world, person, tmp_path)
    (first, *_) = store.enrollments_of(look(world.ra.database), USER)
    await world.travel((first.not_after_at or 0) - 30 * DAY)
    address = next(
        line for line in (await world.letter("renewal_30")).body.splitlines() if "://renewal" in line
    )
    assert address.startswith("https://renewal.localhost")
    async with kit.page(person) as on:
        seen = _screens(on)
        await on.context.tracing.start(screenshots=False, snapshots=False)
        shown = on.get_by_role("heading", level=1)
        await on.goto(world.url(Role.RENEWAL))
        await expect(shown).to_have_text(SCREENS[0])
        await on.get_by_role("navigation", name="メニュー").get_by_role("link", name="更新の申請").click()
        await expect(shown).to_have_text(SCREENS[1])
        await on.get_by_role("button", name="Submit").click()
        await expect(shown).to_have_text(SCREENS[2])
        await expect(shown).to_have_text(SCREENS[3])
        await on.get_by_label("パスワード", exact=True).fill(P12_PASSWORD)
        await on.get_by_label("パスワードの確認").fill(P12_PASSWORD)
        await on.get_by_role("button", name="Submit", exact=True).click()
        async with on.expect_download() as expected:
            await on.get_by_role("button", name="Download", exact=True).click()
        file = tmp_path / "renewed.p12"
        await (await expected.value).save_as(file)
        await on.context.tracing.stop(path=tmp_path / "trace.zip")
        paths = [each for each in seen if not each.endswith("/file")]
        assert [_name(path) for path in paths] == ["menu", "application", "waiting", "input", "download"]
        await expect(shown).to_have_text(SCREENS[4])
    assert person.import_p12(file)
    trace = read(tmp_path / "trace.zip")
    assert trace.actions == {"goto": 1, "click": CLICKS, "fill": 2}
    record_property("seconds of the pages", round(trace.seconds, 1))
    record_property("seconds of the person", round(reckoned(P12_PASSWORD), 1))
    # What the help says: about a minute, of which the person's own part is three quarters.
    assert 40 < reckoned(P12_PASSWORD) < 50
    assert len(SCREENS) == len(paths)


def _screens(on: Page) -> list[str]:
    """The paths of the pages that were opened, as they are; one that is asked for again counts once."""
    found: list[str] = []

    def opened(request: Request) -> None:
        path = request.url.partition("://")[2].partition("/")[2].partition("?")[0]
        answered = request.is_navigation_request() and request.method == "GET"
        if answered and (not found or found[-1] != f"/{path}"):
            found.append(f"/{path}")

    on.on("request", opened)
    return found


def _name(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] != "certificate":
        return parts[0] or "menu"
    return "download" if parts[-1] == "download" else "input"
