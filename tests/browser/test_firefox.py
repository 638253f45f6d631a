"""Debian's Firefox: its chooser, its downloads, its windows, and the policies that we give for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ca.store
from ca.certificates import serial_in_chooser
from enroll import store
from enroll.requests import issuance, renewal
from enroll.requests.enrollment import Enrollment
from enroll.settings import DAY
from gateway.web.context import Role
from tests.browser import firefox
from tests.browser.kit import P12_PASSWORD, Persona, World
from tests.browser.steps import PASSWORD, USER, established
from tests.datadirs import admit
from tests.looking import look

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(firefox.missing() is not None, reason="Debian's firefox-esr is not installed"),
]

_SENT = """
  const [fields] = arguments, form = document.querySelector("main form");
  if (!form || Object.keys(fields).some((name) => !form.elements[name])) return false;
  for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
  form.requestSubmit(form.querySelector("button[value=standard]"));
  return true;
"""
# Without a click of anybody's behind it.
_OPENS = "return window.open('/popup', 'another') !== null;"


async def test_firefox_asks_saves_and_reads_its_policies(
    world: World, person: Persona, tmp_path: Path
) -> None:
    """In one without policies, and in one with those that the help gives: its chooser, its downloads, its
    windows."""
    await established(world, person, tmp_path)
    old, new = await _renewed(world, tmp_path)
    files = dict.fromkeys(tmp_path.glob("*.p12"), P12_PASSWORD)
    allowed, nothing, saved = (tmp_path / name for name in ("allowed", "nothing", "saved"))
    for folder in (allowed, nothing, saved):
        folder.mkdir()
    trusted = person.home / "ca.pem"
    async with firefox.firefox(tmp_path / "one", trusted, files, saved, policies=nothing) as on:
        await _lists_what_our_pages_name(on, world, old, new)
        await _says_that_it_has_saved(on, world, saved)
        await _opened(on, world.url(Role.HELP, "/hosts"))
        fetched = "return fetch('/handouts/firefox-policies.json').then((got) => got.text());"
        (allowed / "policies.json").write_text(await on.script(fetched))
        await _opened(on, world.url(Role.CONNECTIVITY))
        assert await on.script(_OPENS) is False
    async with firefox.firefox(tmp_path / "two", trusted, {}, tmp_path, policies=allowed) as on:
        await _reads_its_policies(on, world)


async def _lists_what_our_pages_name(
    on: firefox.Firefox, world: World, old: Enrollment, new: Enrollment
) -> None:
    """Its chooser has the serial that we tell; with the old certificate the page names the new one's, with
    which one logs in."""
    await on.goto(world.url(Role.CONNECTIVITY))
    listed = await on.chooser()
    marks = [":".join(re.findall("..", serial_in_chooser(each.serial or ""))) for each in (old, new)]
    places = [[n for n, label in enumerate(listed) if f"[{mark}" in label] for mark in marks]
    assert [len(each) for each in places] == [1, 1], listed
    await on.choose(places[0][0])
    told = await on.until("return document.querySelector('section.notice')?.innerText")
    assert "新しい証明書があります" in told
    assert serial_in_chooser(new.serial or "") in told
    await on.goto(world.url(Role.SERVICE))
    listed = await on.chooser()
    (place,) = [n for n, label in enumerate(listed) if f"[{marks[1]}" in label]
    await on.choose(place)
    await on.until(_SENT, {"user_id": USER, "password": PASSWORD})
    await on.until("return location.pathname === '/portal/'")
    assert new.common_name in await on.until("return document.querySelector('main').innerText")


async def _says_that_it_has_saved(on: firefox.Firefox, world: World, saved: Path) -> None:
    """After Download its page says so, as in Chromium."""
    await admit(world.ra, "K87654321")
    mail = await world.letter("pickup")
    await on.goto(world.url(Role.PICKUP))
    issue_password, request_id = mail.value("証明書発行用パスワード"), mail.value("リクエストID")
    await on.until(_SENT, {"user_id": "K87654321", "password": issue_password})
    await on.until("return location.pathname === '/menu'")
    await on.goto(world.url(Role.PICKUP, "/certificate"))
    fields = {"request_id": request_id, "password": P12_PASSWORD, "confirmation": P12_PASSWORD}
    await on.until(_SENT, fields)
    hidden = "return document.getElementById('downloaded')?.hidden"
    assert await on.until(hidden) is True
    await on.script("document.querySelector('form[data-download] button').click()")
    await on.until("return document.getElementById('downloaded').hidden === false")
    assert await on.until("return document.activeElement.id") == "downloaded-heading"
    assert [each.suffix for each in saved.iterdir() if each.suffix != ".part"] == [".p12"]


async def _reads_its_policies(on: firefox.Firefox, world: World) -> None:
    """As downloaded and put into its folder: our pages open windows, which it stopped without the file, and
    those of others are stopped as before."""
    active = await on.script("return Services.policies.status === Services.policies.ACTIVE;", chrome=True)
    assert active is True
    await _opened(on, world.url(Role.HELP))
    assert await on.script(_OPENS) is False
    await _opened(on, world.url(Role.CONNECTIVITY))
    assert await on.script(_OPENS) is True


async def _opened(on: firefox.Firefox, address: str) -> None:
    await on.goto(address)
    there = "return document.readyState === 'complete' && location.href.startsWith(arguments[0]);"
    await on.until(there, address)


async def _renewed(world: World, tmp_path: Path) -> tuple[Enrollment, Enrollment]:
    """The user's certificate and its renewal, whose file lies beside the other's."""
    old = _newest(world)
    await world.travel((old.not_after_at or 0) - 30 * DAY)
    source = ca.store.find_by_serial(look(world.ra.database), old.serial or "")
    assert source is not None
    order = await renewal.submit(world.ra, source.fingerprint or "", actor=USER)
    await issuance.complete(world.ra, order.request_id)
    token = await issuance.prepare_download(world.ra, order.request_id, P12_PASSWORD, "standard", actor=USER)
    got = await issuance.download(world.ra, token, order.request_id, actor=USER)
    (tmp_path / got.filename).write_bytes(got.content)
    return old, _newest(world)


def _newest(world: World) -> Enrollment:
    return store.enrollments_of(look(world.ra.database), USER)[0]
