"""A whole gateway on loopback, and people before it: real Chromium, each with a certificate store of
their own.

A browser remembers a chosen certificate, and "none", until it is restarted; so does a context of
Chromium's, and a new one is what a start of somebody's browser is here. The process behind it, whose
start takes four times the CPU, goes on: the next test's people find its store empty (`Room`).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import axe_playwright_python
from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    Locator,
    Page,
    Playwright,
    async_playwright,
)

from ca import datadir
from ca.clock import ManualClock, SystemClock
from ca.workers import KeyStock
from enroll import scheduler
from enroll.jst import JST
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from enroll.settings import DAY
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.deployment import Deployment, open_deployment
from gateway.serving.server import run
from gateway.serving.settings.behind import Behind
from gateway.serving.settings.reach import Listen
from gateway.web.context import Role
from tests.datadirs import CHEAP, PASSPHRASE, Letter, SharingWorkers, letter_of
from tests.looking import look

CHROMIUM = "/usr/bin/chromium"
P12_PASSWORD = "Tegata2026"
#: Days that a certificate from the first day of a world has left by the machine's clock. A browser
#: hides certificates that have ended, or not begun, by its own clock; the gate judges by the world's.
LEFT = 25
#: Those of people's certificates, unless a test asks for what a gateway makes by itself (`test_manual`): a
#: world whose keys are RSA starts a process of its own for them.
QUICK_KEY = "ec-p256"

_POLICIES = Path("/etc/chromium/policies/managed")
_POLICY = _POLICIES / "sekisho-test.json"
_LOCK = Path("/tmp/sekisho-test-policy.lock")
# Without it headless Chromium waits for ever at a certificate chooser that nobody sees.
_CHOOSE_BY_ITSELF = {
    "AutoSelectCertificateForUrls": [json.dumps({"pattern": "https://[*.]localhost", "filter": {}})]
}
_TOOLS = ("certutil", "pk12util")
# What its address bar would show is two pages of each window, 0.7 s of CPU. The others are those that
# Playwright turns off, whose list this one replaces.
_OFF = (
    *(
        "WebUIOmniboxPopup",
        "WebUIOmniboxAimPopup",
        "AimEnabled",
        "LensOverlay",
        "MediaRouter",
        "OptimizationHints",
    ),
    *(
        "AvoidUnnecessaryBeforeUnloadCheckSync",
        "AvoidCorsURLLoaderRestartOnRedirect",
        "DestroyProfileOnBrowserClose",
    ),
    *("HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable", "PaintHolding", "ThirdPartyStoragePartitioning"),
    *("NetworkTimeServiceQuerying", "PreconnectToSearch"),
    # A process for the next site, of which few of our people's windows see one.
    "SpareRendererForSitePerProcess",
)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    f"--disable-features={','.join(_OFF)}",
    # A domain of its own for cookies: those of *.localhost are a host's each.
    "--host-resolver-rules=MAP *.example.test 127.0.0.1",
]


def missing() -> str | None:
    """What keeps a browser from running here, or None."""
    if not Path(CHROMIUM).exists():
        return "Debian's chromium is not installed"
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            return f"{tool} is not installed (libnss3-tools)"
    if not os.access(_POLICIES.parent.parent if not _POLICIES.exists() else _POLICIES, os.W_OK):
        return "a Chromium policy can be set by root only"
    return None


@contextmanager
def chooser_policy() -> Iterator[None]:
    """Chromium chooses certificates by itself for ``*.localhost`` while somebody is in here.

    The policy is the machine's, so that several test processes share it: the last one takes it away.
    """
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        _POLICIES.mkdir(parents=True, exist_ok=True)
        _POLICY.write_text(json.dumps(_CHOOSE_BY_ITSELF))
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _POLICY.unlink(missing_ok=True)


# -- the world -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A running gateway whose clock a test moves."""

    deployment: Deployment
    clock: ManualClock
    port: int

    @property
    def ra(self) -> RegistrationAuthority:
        return self.deployment.ra

    def url(self, role: Role, path: str = "/") -> str:
        return f"https://{getattr(self.deployment.config.sites, str(role))[0]}:{self.port}{path}"

    async def letter(self, kind: str) -> Letter:
        """The newest letter of a kind, once everything that is queued was delivered."""
        async with asyncio.timeout(60):
            while mail_store.waiting(look(self.ra.database)):
                await asyncio.sleep(0.05)
        return await letter_of(self.ra, kind)

    async def travel(self, at: int) -> None:
        """Moves the clock, and lets happen what falls due."""
        self.clock.set(at)
        await scheduler.tick(self.ra)


@asynccontextmanager
async def world(
    path: Path, left: int = LEFT, config: Config | None = None, person_key: str = QUICK_KEY
) -> AsyncIterator[World]:
    """A gateway that was set up three years ago, less ``left`` days, and lives at that time."""
    start = _years_ago(3) + left * DAY
    datadir.create(path / "world", PASSPHRASE, start - DAY, cost=CHEAP)
    async with served(path, start, config or Config(), person_key=person_key) as made:
        yield made


@asynccontextmanager
async def served(
    path: Path, start: int, config: Config, port: int = 0, person_key: str = QUICK_KEY
) -> AsyncIterator[World]:
    """The gateway of a world that was made in ``path``, with these settings, living at ``start``."""
    data = path / "world"
    with socket.create_server(("127.0.0.1", port)) as listening:
        port = listening.getsockname()[1]
        # Notices at any time: a world begins at whatever hour it is.
        mail = replace(config.mail, notice_hours="")
        policy = replace(config.policy, person_key=person_key)
        config = replace(config, listen=Listen(port=port), mail=mail, policy=policy)
        # [upstream] as it is given: a test may want what no file can say.
        (data / FILE_NAME).write_text(toml_of(replace(config, upstream=Behind())))
        clock = ManualClock(start)
        opened = open_deployment(data, PASSPHRASE, clock=clock)
        opened.ra.workers.close()
        workers = SharingWorkers()
        ra = replace(opened.ra, workers=workers, keys=KeyStock(workers, person_key, size=0))
        deployment = replace(opened, config=config, ra=ra)
        stop, ready = asyncio.Event(), asyncio.Event()

        async def started(_: int) -> None:
            ready.set()

        serving = asyncio.create_task(run(deployment, stop, started, socks=(listening,)))
        first = asyncio.create_task(ready.wait())
        await asyncio.wait({serving, first}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if serving.done():
                serving.result()
            yield World(deployment, clock, port)
        finally:
            stop.set()
            first.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await deployment.close()


def _years_ago(years: int) -> int:
    now = datetime.fromtimestamp(SystemClock().seconds(), JST)
    day = 28 if (now.month, now.day) == (2, 29) else now.day
    return int(now.replace(year=now.year - years, day=day).timestamp())


# -- people --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Persona:
    """A person's PC: a home directory with a certificate store."""

    home: Path
    computer: Computer

    @property
    def store(self) -> str:
        return f"sql:{self.home}/.pki/nssdb"

    def import_p12(self, file: Path, password: str = P12_PASSWORD) -> bool:
        """Installs a P12 as a person would; False when the password is refused."""
        done = subprocess.run(
            ["pk12util", "-d", self.store, "-i", file, "-W", password, "-K", ""], capture_output=True
        )
        return done.returncode == 0

    def certificates(self) -> list[str]:
        """The nicknames of what is installed for this person."""
        listed = subprocess.run(["certutil", "-d", self.store, "-L"], capture_output=True, check=True)
        lines = listed.stdout.decode().splitlines()
        return [line.rpartition("  ")[0].strip() for line in lines if line.rstrip().endswith("u,u,u")]


@dataclass
class Computer:
    """A certificate store, and the Chromium that reads it once somebody has started it."""

    home: Path
    running: Browser | None = None

    def __post_init__(self) -> None:
        (self.home / ".pki" / "nssdb").mkdir(parents=True)
        _certutil(self.home, "-N", "--empty-password")

    def empty(self) -> None:
        """Nothing is in the store any more, as if another program had deleted each thing."""
        for name, statements in _EMPTIED.items():
            with closing(sqlite3.connect(self.home / ".pki" / "nssdb" / name, timeout=60)) as store, store:
                for statement in statements:
                    store.execute(statement)

    async def chromium(self, playwright: Playwright) -> Browser:
        if self.running is None or not self.running.is_connected():
            self.running = await playwright.chromium.launch(
                executable_path=CHROMIUM, env=environment(self.home), args=FLAGS
            )
        return self.running


_EMPTIED = {
    "cert9.db": ("DELETE FROM nssPublic",),
    "key4.db": ("DELETE FROM nssPrivate", "DELETE FROM metaData WHERE id LIKE 'sig_%'"),
}


@dataclass
class Room:
    """The computers of a test process: whoever comes takes one that is free, with an empty store."""

    folder: Path
    playwright: Playwright
    free: list[Computer] = field(default_factory=list)
    taken: list[Computer] = field(default_factory=list)
    made: int = 0

    def take(self) -> Computer:
        if self.free:
            computer = self.free.pop(0)
            computer.empty()
        else:
            self.made += 1
            computer = Computer(self.folder / f"pc{self.made}")
        self.taken.append(computer)
        return computer

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Computers that are taken in here are free afterwards."""
        before = len(self.taken)
        try:
            yield
        finally:
            self.free += self.taken[before:]
            del self.taken[before:]


_rooms: list[Room] = []


@asynccontextmanager
async def room(folder: Path) -> AsyncIterator[Room]:
    """What people sit in while somebody is in here."""
    async with async_playwright() as playwright:
        made = Room(folder, playwright)
        _rooms.append(made)
        try:
            yield made
        finally:
            _rooms.remove(made)
            for computer in (*made.free, *made.taken):
                if computer.running is not None:
                    await computer.running.close()


def driver() -> Playwright:
    """The process that drives browsers for this one."""
    return _rooms[-1].playwright


def persona(home: Path, server_ca: bytes) -> Persona:
    """Somebody at a PC that trusts the CA (PEM) of our own hosts."""
    home.mkdir(parents=True)
    computer = _rooms[-1].take()
    (home / ".pki").symlink_to(computer.home / ".pki")
    (home / "ca.pem").write_bytes(server_ca)
    _certutil(home, "-A", "-n", "server CA", "-t", "C,,", "-i", str(home / "ca.pem"))
    return Persona(home, computer)


def _certutil(home: Path, *arguments: str) -> None:
    command = ["certutil", "-d", f"sql:{home}/.pki/nssdb", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def environment(home: Path) -> dict[str, str | float | bool]:
    """Of a browser that reads the certificate store in this home."""
    return {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}


def with_folder(program: str, folder: Path, place: str) -> Path:
    """A command that is the program, which finds a folder of the test's in the place of the machine's: in
    a mount namespace of its own, so that no other test's browser sees it."""
    command = folder.parent / f"{folder.name}-{Path(program).name}"
    inside = 'mount --bind "$0" "$1" && shift && exec "$@"'
    command.write_text(
        f"#!/bin/sh\nexec unshare --mount sh -c '{inside}' {folder} {place} {program} \"$@\"\n"
    )
    command.chmod(0o755)
    return command


@asynccontextmanager
async def with_policies(person: Persona, policies: Path) -> AsyncIterator[Browser]:
    """A Chromium on the person's PC that reads policies in this folder only, and stops pop-ups unless they
    allow them."""
    running = await driver().chromium.launch(
        executable_path=with_folder(CHROMIUM, policies, str(_POLICIES.parent)),
        ignore_default_args=["--disable-popup-blocking"],
        env=environment(person.home),
        args=FLAGS,
    )
    try:
        yield running
    finally:
        await running.close()


@asynccontextmanager
async def browser(
    person: Persona, *, running: Browser | None = None, **context: Any
) -> AsyncIterator[BrowserContext]:
    """Starts the person's browser anew. ``context``: Playwright's options, such as ``viewport``.

    ``running``: another one than that of everybody, by `with_policies`.
    """
    running = running or await person.computer.chromium(driver())
    started = await running.new_context(**({"locale": "ja-JP", "accept_downloads": True} | context))
    started.set_default_timeout(60_000)
    try:
        yield started
    finally:
        await started.close()


@asynccontextmanager
async def page(person: Persona, **context: Any) -> AsyncIterator[Page]:
    """The first page of a browser that was just started."""
    async with browser(person, **context) as started:
        yield await started.new_page()


async def downloaded(on: Page, to: Path) -> Path:
    """Clicks「Download」and gives the file where the browser put it."""
    button = on.get_by_role("button", name="Download", exact=True)
    return await downloaded_by(on, button.or_(on.get_by_role("link", name="Download", exact=True)), to)


async def downloaded_by(on: Page, button: Locator, to: Path) -> Path:
    """Clicks a button or link that gives a file, and gives the file where the browser put it."""
    async with on.expect_download() as expected:
        await button.click()
    download = await expected.value
    file = to / download.suggested_filename
    await download.save_as(file)
    return file


# Ends once the page is there as a whole. A click is over when the next page has begun, which by then lacks
# some of its words and, for a moment longer, the focus in the field at fault. After a minute it is as it is.
_THERE = """() => new Promise((done) => {
  const focused = () =>
    document.activeElement !== document.body || !document.querySelector('[aria-invalid=true][autofocus]');
  const look = () => {
    const there = document.readyState === 'complete' && focused();
    if (there || performance.now() > 60_000) done();
    else setTimeout(look, 10);
  };
  look();
})"""


async def answers(on: Page, *asked: tuple[str, Any]) -> list[Any]:
    """What functions of the page answer once it is there, each asked with a value, one after the other and in
    one message."""
    calls = ", ".join(f"await ({function})(given[{at}])" for at, (function, _) in enumerate(asked))
    work = f"async (given) => {{ await ({_THERE})(); return [{calls}]; }}"
    found: list[Any] = await on.evaluate(work, [given for _, given in asked])
    return found


#: With a colour scheme or "" what is wrong with a page, and with a size of letters or "" which controls are
#: out of sight.
FAULTS = (Path(__file__).parent / "faults.js").read_text()
REACH = (Path(__file__).parent / "reach.js").read_text()
#: Widths of windows: of phones, of a tablet, of a screen at 150 %, of a desk at 200 % and at 100 %.
WIDTHS = (320, 375, 640, 768, 853, 911, 960, 1280)


async def faults(on: Page, scheme: str = "") -> list[str]:
    """What is wrong with the page as it stands, in the colours of this scheme: see ``faults.js``."""
    (found,) = await answers(on, (FAULTS, scheme))
    return list(found)


_AXE = (files(axe_playwright_python) / "axe.min.js").read_text()
#: With which of axe-core's rules are asked and what was judged before, what it finds: see ``axe.js``.
ASK_AXE = (Path(__file__).parent / "axe.js").read_text()
#: Of axe's rules those that look at colours.
AXE_OF_COLOURS = ("color-contrast", "link-in-text-block")
_ALL_OF_AXE = """async (only) => {
  const which = only.length ? {runOnly: {type: 'rule', values: only}} : {};
  const how = {resultTypes: ['violations'], preload: {assets: ['media']}};
  const found = await axe.run(document, {...how, ...which});
  return found.violations.map((each) => `axe ${each.id}: ${each.nodes.map((node) => node.target).join(' ')}`);
}"""


async def bring_axe(on: Page) -> None:
    """Has axe in the page as it stands. Not in each that is opened, most of which nobody looks at; nor by
    Playwright, which takes eight times as long to hand it over."""
    await (await _devtools(on)).send("Runtime.evaluate", {"expression": _AXE})


async def axe(on: Page, *only: str) -> list[str]:
    """What axe-core finds on the page as it stands, by its rules, or by ``only`` these."""
    await bring_axe(on)
    (found,) = await answers(on, (_ALL_OF_AXE, only))
    return list(found)


_DEVTOOLS: WeakKeyDictionary[Page, CDPSession] = WeakKeyDictionary()


async def _devtools(on: Page) -> CDPSession:
    # Never detached: the end of any session takes the page's virtual authenticator along.
    if on not in _DEVTOOLS:
        _DEVTOOLS[on] = await on.context.new_cdp_session(on)
    return _DEVTOOLS[on]


async def windows(on: Page, widths: Sequence[int] = WIDTHS, *, pictures: bool = False) -> AsyncIterator[int]:
    """The page in a window of each of these widths, one after another.

    By Chromium's own means, the page alone and drawn in a tenth of its size: Playwright's change the window
    around it as well, and draw all of it anew, at four times the CPU. Who takes ``pictures`` needs those.
    """
    if pictures:
        for width in widths:
            await on.set_viewport_size({"width": width, "height": 800})
            yield width
        return
    devtools = await _devtools(on)
    drawn = {"height": 800, "deviceScaleFactor": 1, "mobile": False, "scale": 0.1, "dontSetVisibleSize": True}
    for width in widths:
        await devtools.send("Emulation.setDeviceMetricsOverride", {"width": width, **drawn})
        yield width
    await devtools.send("Emulation.clearDeviceMetricsOverride")
