"""Who looks at every screen, in every width, scheme and language, and says what is at fault on it.

With SEKISHO_SCREENSHOTS=DIR each is written there as a picture, to be looked at. With SEKISHO_TURNS=N
one screen in N is looked at so, others when it is the test's turn again; the rest in Japanese, light and four
widths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.async_api import Error, Page, Route, expect
from yarl import URL

from tests.browser.kit import (
    ASK_AXE,
    FAULTS,
    REACH,
    WIDTHS,
    answers,
    bring_axe,
    windows,
)
from tests.turns import turn

#: Where pictures are wanted, if they are.
PICTURES = os.environ.get("SEKISHO_SCREENSHOTS")
_SIZES = {1280: "desktop", 375: "phone"}
#: In English, and where it is not a screen's turn: where it is narrowest, a tablet's, and those of `_SIZES`.
_FEW = (320, 375, 768, 1280)
_EVERY = 1 if PICTURES else int(os.environ.get("SEKISHO_TURNS") or 1)
# A test comes up each so many commits (tests/conftest.py): the screens change each time that it does.
_TURN = turn() // _EVERY
SCHEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")
#: In English too, but not in both, except for pictures: colours do not depend on words.
_ENGLISH = SCHEMES if PICTURES else SCHEMES[1:]


# Ends once the page has been drawn as it is by now; a picture that is taken before lacks parts of it.
_DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

# Ends once the page knows how wide its window is: a menu that folds does so before the next picture.
_FOLDED = "() => new Promise(requestAnimationFrame)"

# Where everything stands, as one number.
_PLACES = """() => {
  let sum = 7;
  for (const each of document.body.querySelectorAll('*')) {
    const { left, top, width, height } = each.getBoundingClientRect();
    for (const part of [left + scrollX, top + scrollY, width, height])
      sum = (sum * 31 + Math.round(part * 4)) % 1_000_000_007;
  }
  return String(sum);
}"""

# The language, all words, and of a Japanese page what reads as a sentence of English: but for what says so
# itself, what is typed, an identifier, or a letter.
_SAID = """() => {
  const english = [], lang = document.documentElement.lang;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (lang === 'ja' && texts.nextNode()) {
    const { parentElement: around, textContent: text } = texts.currentNode;
    const skipped = around.closest('[lang=en], code, pre, textarea, script, .number');
    if (skipped || !around.checkVisibility()) continue;
    const sentences = text.match(/[A-Za-z]{2,}(?:[ ,;:]+[A-Za-z]{2,}){3,}/g) ?? [];
    english.push(...sentences.filter((each) => /[a-z]/.test(each))); // In capitals: the name of a CA.
  }
  return [lang, document.body.innerText, english];
}"""
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
    #: Structures and combinations of colours that axe has judged, on whichever screen.
    _judged: set[str] = field(default_factory=set)

    async def look(self, name: str, *, english: bool = True) -> None:
        """At the page as it stands, in both sizes; in English, where its address alone brings it back."""
        whole = self._next()
        await self._look(f"{self._count:02d}-{name}.ja", SCHEMES if whole else SCHEMES[1:])
        if english and whole:
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
        whole = (("en", _ENGLISH), ("ja", SCHEMES))
        for language, schemes in whole if self._next() else (("ja", SCHEMES[1:]),):
            cookie = {"name": "__Host-lang", "value": language, "url": str(URL(address).origin())}
            await self.on.context.add_cookies([cookie])
            await self.on.goto(address)
            await self._look(f"{self._count:02d}-{name}.{language}", schemes)

    def _next(self) -> bool:
        """Counts a screen, and says whether it is its turn to be looked at in every way."""
        self._count += 1
        return self._count % _EVERY == _TURN % _EVERY

    async def _look(self, name: str, schemes: tuple[Literal["dark", "light"], ...] = SCHEMES) -> None:
        found = []
        widths = WIDTHS if schemes == SCHEMES and name.endswith(".ja") else _FEW
        async for width in windows(self.on, widths, pictures=bool(PICTURES)):
            (unseen,) = await answers(self.on, (REACH, ""))
            found += [f"{width}px {each}" for each in unseen]
            if (size := _SIZES.get(width)) is None:
                continue
            places = set[str]()
            if self.site == "console":
                await self.on.evaluate(_FOLDED)
            for scheme in schemes:
                await self.on.emulate_media(color_scheme=scheme)
                rules = _rules(schemes.index(scheme), size, english=name.endswith(".en"))
                fault, place = await self._at_fault(scheme, rules)
                places.add(place)
                if fault:
                    self.seen[f"{name}.{size}.{scheme}"] = fault
                if PICTURES:
                    await self.on.evaluate(_DRAWN)
                    file = Path(PICTURES) / f"{self.site}-{name}.{size}.{scheme}.png"
                    await self.on.screenshot(path=file, full_page=True, animations="disabled")
            if len(places) > 1:
                found.append(f"{width}px stands elsewhere in another scheme")
        unseen, (language, text, english) = await answers(self.on, (REACH, "200%"), (_SAID, None))
        found += [f"letters twice as large: {each}" for each in unseen]
        found += [f"says {each}" for each in _FORMERLY if each in text]
        found += [f"English on a Japanese page: {each}" for each in english if self.site == "console"]
        if not name.endswith(f".{language}"):
            found.append(f"in another language: {language}")
        if found:
            self.seen[name] = found

    async def _at_fault(self, scheme: str, rules: Sequence[str]) -> tuple[list[str], str]:
        """By ours and by these of axe's, which is fetched into a page that has none yet; and where everything
        stands."""
        theirs = (ASK_AXE, (rules, list(self._judged)))
        place, ours, found = await answers(self.on, (_PLACES, None), (FAULTS, scheme), theirs)
        if found is None:
            await bring_axe(self.on)
            (found,) = await answers(self.on, theirs)
        self._judged.update(found["judged"])
        return [*ours, *found["found"]], place


def _rules(turn: int, size: str, *, english: bool) -> Sequence[str]:
    """Of axe's, as ``axe.js`` has them: each once, and those of colours in Japanese in each scheme."""
    if size == "phone":
        return () if turn or english else ("sizes",)
    if english:
        return ("structure",)
    return ("colours",) if turn else ("structure", "colours")


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
