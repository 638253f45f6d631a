"""Debian's Firefox, driven over Marionette: a browser with a certificate store and a chooser of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browser.kit import with_folder
from tests.ports import free_port
from tests.started import started

FIREFOX = "/usr/bin/firefox-esr"
# Where it looks for policies.json.
_DISTRIBUTION = "/usr/lib/firefox-esr/distribution"
_PREFERENCES = {
    "security.default_personal_cert": "Ask Every Time",
    "browser.download.folderList": 2,
    "browser.download.useDownloadDir": True,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "intl.accept_languages": "ja",
    # No page that nobody looks at: neither the first, nor one in reserve, nor processes for more.
    "browser.startup.page": 0,
    "browser.newtabpage.enabled": False,
    "browser.newtab.preload": False,
    "dom.ipc.processPrelaunch.enabled": False,
    "dom.ipc.processCount": 1,
    "toolkit.cosmeticAnimations.enabled": False,
    "app.normandy.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "extensions.systemAddon.update.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "browser.topsites.contile.enabled": False,
    "toolkit.telemetry.enabled": False,
}

_LOAD = """
  const triggeringPrincipal = Services.scriptSecurityManager.getSystemPrincipal();
  gBrowser.selectedBrowser.fixupAndLoadURIString(arguments[0], { triggeringPrincipal });
  return true;
"""

_LOADED = 'if (document.readyState !== "complete") return null;'
_ASKING = """
  const frame = [...document.querySelectorAll("browser")].find(
    (each) => each.currentURI?.spec.endsWith("/clientauthask.xhtml"));
  const names = frame?.contentDocument?.getElementById("nicknames");
  if (!names?.itemCount) return null;
"""
_LISTED = (
    f"{_ASKING} return Array.from({{length: names.itemCount}}, (_, n) => names.getItemAtIndex(n).label);"
)
_CHOOSE = f"""{_ASKING}
  names.selectedIndex = arguments[0];
  names.dispatchEvent(new Event("command", {{ bubbles: true }}));
  frame.contentDocument.getElementById("certAuthAsk").acceptDialog();
  return true;
"""


def missing() -> str | None:
    """What keeps a Firefox from running here, or None."""
    return None if Path(FIREFOX).exists() else "Debian's firefox-esr is not installed"


@dataclass
class Firefox:
    """One window. What `script` runs is JavaScript of the page, or with ``chrome`` of the browser itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _number: int = field(default=0)

    async def ask(self, command: str, **parameters: Any) -> Any:
        """A command of Marionette and its answer. RuntimeError if the browser refuses it."""
        self._number += 1
        message = json.dumps([0, self._number, f"WebDriver:{command}", parameters]).encode()
        self.writer.write(b"%d:%s" % (len(message), message))
        await self.writer.drain()
        async with asyncio.timeout(60):
            _, _, error, result = await self.answer()
        if error is not None:
            raise RuntimeError(f"{command}: {error['error']}: {error['message']}")
        return result

    async def answer(self) -> Any:
        size = int((await self.reader.readuntil(b":"))[:-1])
        return json.loads(await self.reader.readexactly(size))

    async def goto(self, address: str) -> None:
        """Begins to load a page: the browser may ask for a certificate first."""
        await self.script(_LOAD, address, chrome=True)

    async def script(self, code: str, *arguments: Any, chrome: bool = False) -> Any:
        if chrome:
            await self._context("chrome")
        try:
            return (await self.ask("ExecuteScript", script=code, args=list(arguments)))["value"]
        finally:
            if chrome:
                await self._context("content")

    async def until(self, code: str, *arguments: Any, chrome: bool = False) -> Any:
        """The first value of a script that is one. A page's is asked once the page's own scripts have run.

        TimeoutError after a minute of none.
        """
        code = code if chrome else f"{_LOADED} {code}"
        async with asyncio.timeout(60):
            while True:
                try:
                    found = await self.script(code, *arguments, chrome=chrome)
                except RuntimeError as problem:
                    # The page is being replaced: the script had nowhere to run, and has not begun.
                    if "evalInSandbox" not in str(problem):
                        raise
                    found = None
                if found:
                    return found
                await asyncio.sleep(0.1)

    async def chooser(self) -> list[str]:
        """What the certificate chooser lists, once it is there."""
        labels: list[str] = await self.until(_LISTED, chrome=True)
        return labels

    async def choose(self, position: int) -> None:
        """One of them, for this session."""
        await self.script(_CHOOSE, position, chrome=True)

    async def _context(self, name: str) -> None:
        self._number += 1
        message = json.dumps([0, self._number, "Marionette:SetContext", {"value": name}]).encode()
        self.writer.write(b"%d:%s" % (len(message), message))
        await self.answer()


@asynccontextmanager
async def firefox(
    home: Path, server_ca: Path, files: dict[Path, str], downloads: Path, policies: Path | None = None
) -> AsyncIterator[Firefox]:
    """A Firefox with a new profile in ``home``. It trusts our hosts; ``files``: P12 to hold -> password.

    ``policies``: the only folder of policies that it reads; then it stops pop-ups unless they allow them.
    """
    profile = home / "firefox"
    profile.mkdir(parents=True)
    port = free_port()
    # Or it would be made fit for tests, and let every window open.
    as_installed = {} if policies is None else {"remote.prefs.recommended": False}
    wanted = _PREFERENCES | as_installed | {"marionette.port": port, "browser.download.dir": str(downloads)}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in wanted.items()]
    (profile / "user.js").write_text("".join(lines))
    store = f"sql:{profile}"
    for command in (
        ["certutil", "-N", "--empty-password", "-d", store],
        ["certutil", "-A", "-n", "server CA", "-t", "C,,", "-i", str(server_ca), "-d", store],
        *(["pk12util", "-d", store, "-i", str(file), "-W", word, "-K", ""] for file, word in files.items()),
    ):
        subprocess.run(command, check=True, capture_output=True)
    program = FIREFOX if policies is None else str(with_folder(FIREFOX, policies, _DISTRIBUTION))
    command = [program, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "ja_JP.UTF-8"}
    with started(
        [*command, "--profile", str(profile)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ):  # fmt: skip
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                await asyncio.sleep(0.2)
        driven = Firefox(reader, writer)
        await driven.answer()  # the greeting
        await driven.ask("NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "none"}})
        try:
            yield driven
        finally:
            writer.close()
            shutil.rmtree(profile, ignore_errors=True)
