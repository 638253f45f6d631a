"""An upstream that was taken over: its pages attack ours, with which they share an origin."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Page

from gateway.serving.config import Config
from gateway.serving.settings.behind import Behind
from tests.browser import kit
from tests.browser.steps import USER, joined, log_in

# Takes over every page of its scope: a login page of its own, a page that says that it may share its windows
# with ours, and one that fetches where its navigation is led.
WORKER = """
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
const page = (text, headers) => new Response(`<h1>${text}</h1>`, {
  headers: {'Content-Type': 'text/html; charset=utf-8', ...headers}});
self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (url.pathname === '/login') event.respondWith(page('planted login'));
  if (url.pathname === '/app/forged') {
    event.respondWith(page('forged', {
      'Cross-Origin-Opener-Policy': url.searchParams.get('policy'), 'Permissions-Policy': 'ch-ua=()'}));
  }
  if (url.pathname === '/app/led') {
    event.respondWith(fetch(event.request.url).then(async (got) => page(await got.text())));
  }
});
"""


@dataclass
class Planted:
    """The attacker's service. ``headers``: what its answers carry besides, which a test changes; ``asked``:
    the paths that were asked of it."""

    address: str
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def config(self, **behind: Any) -> Config:
        """Settings with this service behind the gate; ``behind``: others of [upstream]."""
        return replace(Config(), upstream=Behind(addresses=(self.address,), **behind))


@asynccontextmanager
async def planted() -> AsyncIterator[Planted]:
    """The service, running."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Planted(f"http://127.0.0.1:{listening.getsockname()[1]}")
        runner = web.AppRunner(_service(made), access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        try:
            yield made
        finally:
            await runner.cleanup()


@dataclass(frozen=True)
class Home:
    """A gate before the service, and the file of a user of it, who is an administrator."""

    world: kit.World
    file: Path

    @asynccontextmanager
    async def page(self, path: Path) -> AsyncIterator[Page]:
        """The browser of the user, who is logged in."""
        person = kit.persona(path / "pc", self.world.deployment.datadir.server_ca_pem)
        assert person.import_p12(self.file)
        async with kit.page(person) as page:
            await log_in(page, self.world)
            await page.wait_for_url("**/portal/")
            yield page


@asynccontextmanager
async def home(path: Path, service: Planted, **behind: Any) -> AsyncIterator[Home]:
    """One, for as many tests as like it."""
    async with kit.world(path, config=service.config(**behind)) as world:
        got, _ = await joined(world, USER, "admin")
        (path / got.filename).write_bytes(got.content)
        yield Home(world, path / got.filename)


def _service(made: Planted) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        made.asked.append(request.path)
        if request.path == "/app/led":
            raise web.HTTPSeeOther("/portal/password")
        script = request.path.endswith(".js")
        return web.Response(
            text=WORKER if script else "<!doctype html><title>planted</title><h1>planted</h1>",
            content_type="text/javascript" if script else "text/html",
            headers={"Cache-Control": "no-cache", **made.headers},
        )

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    return app


_REGISTER = """async ([script, scope]) => {
  try {
    await navigator.serviceWorker.register(script, scope ? {scope} : undefined);
    const deadline = performance.now() + 60_000;
    for (;;) {
      const all = await navigator.serviceWorker.getRegistrations();
      if (all.some((each) => each.active?.state === 'activated')) {
        return all.map((each) => new URL(each.scope).pathname).join();
      }
      if (performance.now() > deadline) return 'never active';
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } catch (error) { return error.name; }
}"""


async def register(page: Page, script: str, scope: str = "") -> str:
    """Registers a service worker; the scopes that there are then, or the name of the error."""
    got: str = await page.evaluate(_REGISTER, [script, scope])
    return got


async def registrations(page: Page) -> list[str]:
    """The scopes of the service workers that the browser has for this origin."""
    found: list[str] = await page.evaluate(
        "async () => (await navigator.serviceWorker.getRegistrations())"
        ".map((each) => new URL(each.scope).pathname)"
    )
    return found


async def alone(page: Page) -> None:
    """Closes what the page has opened."""
    for other in page.context.pages:
        if other is not page:
            await other.close()


async def gone(page: Page) -> bool:
    """Whether the browser has dropped its service workers, in a minute at most."""
    for _ in range(600):
        if not await registrations(page):
            return True
        await asyncio.sleep(0.1)
    return False


# Every way that a script has to get at a page of its origin: what it saw there, or why not.
_READ = """async ([path, patience]) => {
  const late = () => new Promise((done) => setTimeout(done, patience, 'nothing'));
  const soon = (promise) => Promise.race([promise, late()]);
  const shown = (frame) => new Promise((done) => {
    frame.onload = () => {
      try { done((frame.contentDocument ?? window[window.length - 1].document).documentElement.innerText); }
      catch (error) { done(error.name); }
    };
    frame.onerror = () => done('error');
    document.body.append(frame);
  });
  const framed = (tag, name) => () => shown(Object.assign(document.createElement(tag), {[name]: path}));
  const fetched = (options) => () => fetch(path, options).then((got) => got.text());
  const from = (made) => new Promise((done) => {
    const port = made.port ?? made;
    port.onmessage = (event) => done(event.data);
    made.onerror = () => done('error');
  });
  const code = (post) => `data:text/javascript,${encodeURIComponent(post)}`;
  const source = `fetch(new URL('${path}', '${location.origin}')).then((got) => got.text())`;
  const blob = URL.createObjectURL(new Blob([`${source}.then((text) => postMessage(text))`]));
  const shared = URL.createObjectURL(new Blob([
    `onconnect = (event) => ${source}.then((text) => event.ports[0].postMessage(text))`]));
  const asked = () => new Promise((done) => {
    const request = new XMLHttpRequest();
    request.onload = () => done(request.responseText);
    request.onerror = () => done('error');
    request.open('GET', path);
    request.send();
  });
  const opened = (how) => async () => {
    const other = how();
    if (!other) return 'blocked';
    for (let turn = 0; turn < patience / 100; turn++) {
      await new Promise((done) => setTimeout(done, 50));
      try {
        if (other.closed) return 'closed';
        if (other.location.pathname !== location.pathname && other.document.readyState === 'complete'
            && other.location.href !== 'about:blank') return other.document.documentElement.innerText;
      } catch (error) { return error.name; }
    }
    return 'nothing';
  };
  const cached = async () => {
    const cache = await caches.open('planted');
    await cache.add(path);
    return (await cache.match(path)).text();
  };
  const ways = {
    fetch: fetched({}), 'no-cors': fetched({mode: 'no-cors'}), 'same-origin': fetched({mode: 'same-origin'}),
    post: fetched({method: 'POST', body: new URLSearchParams({known: '0'})}),
    XMLHttpRequest: asked, Cache: cached,
    iframe: framed('iframe', 'src'), object: framed('object', 'data'), embed: framed('embed', 'src'),
    Worker: () => from(new Worker(blob)), SharedWorker: () => from(new SharedWorker(shared)),
    window: opened(() => window.open(path)),
    named: opened(() => Object.assign(window.open('/app/', 'planted'), {location: path})),
    blank: opened(() => Object.assign(window.open(''), {location: path})),
    form: opened(() => {
      const other = window.open('', 'target');
      const form = Object.assign(document.createElement('form'), {action: path, target: 'target'});
      document.body.append(form);
      form.submit();
      return other;
    }),
  };
  const seen = {};
  for (const [name, way] of Object.entries(ways)) {
    try { seen[name] = String(await soon(way())); } catch (error) { seen[name] = error.name; }
  }
  return seen;
}"""


async def read_from(page: Page, path: str, patience: float = 3.0) -> dict[str, str]:
    """What each way of a script shows of a page: its text, or a word for why there is none.

    ``patience``: seconds until a way that shows nothing is given up, half as many for a window.
    """
    seen: dict[str, str] = await page.evaluate(_READ, [path, 1_000 * patience])
    return seen
