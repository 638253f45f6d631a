"""証明書の取得 with a script: the password shown, drawn, judged, copied and printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from enroll.identifiers import UNAMBIGUOUS
from gateway.web.context import Role
from tests.browser.kit import Persona, World, downloaded, faults, page
from tests.browser.steps import USER, authenticate
from tests.datadirs import admit

pytestmark = pytest.mark.browser

#: What is typed -> what the page says of it, in order.
TOLD = {
    "a": ["weak"],
    "password1": ["weak"],
    "Nenkin2026": ["weak"],
    "aaaaaaaaaaaaaaaaaaaa": ["weak"],
    "abcdefghijklmnopqrstuvwxyz0123456789": ["weak", "long"],
    "Qwertyuiop12345": ["weak"],
    "kuMPax73wvTe": ["fair"],
    "kuMPax73wvTeHn4f": ["strong"],
    "kuMPax73wvTeHn4fkuMPax73wvTeHn4f": ["strong", "long"],
    "a-b": ["characters"],
    "あ": ["characters"],
    "": [],
}

#: Drawn by chance once: t, u, V is a row.
_FAIR = "4NVyxAprvUNDtuVG"
_NEXT_BYTES = """(bytes) => {
  window.next = bytes;
  const drawn = crypto.getRandomValues.bind(crypto);
  crypto.getRandomValues = (into) => next.length ? (into.set([next.shift()]), into) : drawn(into);
}"""


async def told(on: Page, box: str) -> list[str]:
    """What stands there for people to read."""
    shown = on.locator(f"#{box} [data-told]:visible")
    return [str(await each.get_attribute("data-told")) for each in await shown.all()]


async def test_the_password_is_shown_drawn_judged_copied_and_printed(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """The generator's 16 unambiguous characters go into both fields, to the clipboard and onto a slip; the
    file opens with them; a clipboard that is forbidden is told. Strength and the 31 characters are told
    while somebody types."""
    await admit(world.ra, USER)
    async with page(person) as on:
        await on.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await authenticate(on, world)
        await on.goto(world.url(Role.PICKUP, "/certificate"))
        password, again = (on.get_by_label(name, exact=True) for name in ("パスワード", "パスワードの確認"))
        found = {}
        for text in TOLD:
            await password.fill(text)
            found[text] = await told(on, "strength")
        assert found == TOLD
        await password.fill("kuMPax73wvTe")
        await again.fill("kuMPax73wvTf")
        assert await told(on, "sameness") == ["differs"]
        await again.fill("kuMPax73wvTe")
        assert await told(on, "sameness") == ["same"]

        await _shows(on)
        chosen = await _draws(on)
        assert (await again.input_value(), await told(on, "strength")) == (chosen, ["strong"])
        assert await told(on, "password-done") == ["generated"]
        assert await faults(on) == []
        await on.get_by_role("button", name="コピー").click()
        await expect(on.get_by_text("コピーしました。")).to_be_visible()
        assert await on.evaluate("navigator.clipboard.readText()") == chosen

        await _forbid_copying(on)
        await on.get_by_role("button", name="コピー").click()
        await expect(on.get_by_text("コピーできませんでした。")).to_be_visible()
        assert await password.evaluate("(it) => it.value.slice(it.selectionStart, it.selectionEnd)") == chosen

        request_id = (await world.letter("pickup")).value("リクエストID")
        await on.get_by_label("リクエストID").fill(request_id)
        await _prints_a_slip(on, request_id, chosen)
        await on.get_by_role("button", name="Submit", exact=True).click()
        file = await downloaded(on, tmp_path)
    assert person.import_p12(file, chosen)


async def _shows(on: Page) -> None:
    """A toggle of both fields, which says which way it stands."""
    shows = on.get_by_role("button", name="パスワードを表示")
    for pressed, kind in (("false", "password"), ("true", "text"), ("false", "password")):
        assert await shows.get_attribute("aria-pressed") == pressed
        kinds = [await on.locator(field).get_attribute("type") for field in ("#password", "#confirmation")]
        assert kinds == [kind, kind]
        await shows.click()
    await shows.click()


async def _draws(on: Page) -> str:
    """Another password at each press; one with a row of letters, judged fair, is drawn again."""
    await on.evaluate(_NEXT_BYTES, [UNAMBIGUOUS.index(each) for each in _FAIR])
    drawn = set()
    for _ in range(3):
        await on.get_by_role("button", name="パスワードを自動作成").click()
        drawn.add(await on.get_by_label("パスワード", exact=True).input_value())
    assert await on.evaluate("window.next.length") == 0
    assert len(drawn - {_FAIR}) == 3
    assert all(re.fullmatch(f"[{UNAMBIGUOUS}]{{16}}", each) for each in drawn)
    return await on.get_by_label("パスワード", exact=True).input_value()


async def _forbid_copying(on: Page) -> None:
    """As a browser's settings or its administrator may."""
    await on.context.clear_permissions()
    # Chromium refuses whatever is not among those that are granted.
    await on.context.grant_permissions(["clipboard-read"])


async def _prints_a_slip(on: Page, request_id: str, password: str) -> None:
    """On paper there is the slip and nothing else; on the screen nothing of it is left afterwards."""
    slip = on.get_by_role("heading", name="証明書のパスワードの控え")
    await expect(slip).to_be_hidden()
    # A headless browser opens no dialog: what its paper would show is looked at when it would open.
    await on.evaluate("window.print = () => { window.printed = document.body.className; }")
    await on.get_by_role("button", name="控えを印刷").click()
    assert await on.evaluate("window.printed") == "slip-alone"
    await on.emulate_media(media="print")
    await expect(slip).to_be_visible()
    rows = await on.locator("#slip td:visible").all_inner_texts()
    assert rows[:2] == [request_id, password]
    for other in ("heading", "button", "textbox"):
        left = on.get_by_role(other)  # type: ignore[arg-type]
        assert await left.count() == (1 if other == "heading" else 0)
    await on.emulate_media(media="screen")
    await on.evaluate("window.dispatchEvent(new Event('afterprint'))")
    await expect(slip).to_be_hidden()
    assert password not in await on.locator("#slip").inner_html()
