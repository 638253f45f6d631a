"""Scripts of the service behind the gate try to reach our pages on the same origin, in real Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from enroll.acme.store import credentials_of
from enroll.store import applications
from gateway.serving.settings.reach import Sites
from gateway.web.context import Role
from tests.browser import kit
from tests.browser.planted import (
    Home,
    Planted,
    alone,
    gone,
    home,
    planted,
    read_from,
    register,
    registrations,
)
from tests.browser.steps import PASSWORD, USER, established
from tests.looking import look

pytestmark = pytest.mark.browser

FAKE = "planted login"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _service() -> AsyncIterator[Planted]:
    async with planted() as made:
        yield made


@pytest.fixture
def service(_service: Planted) -> Planted:
    """As it is before anybody has asked for anything."""
    _service.headers.clear()
    _service.asked.clear()
    return _service


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict(_service: Planted, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A gate as it is installed."""
    async with home(tmp_path_factory.mktemp("strict"), _service) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lenient(_service: Planted, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A gate that lets service workers be below a path."""
    async with home(tmp_path_factory.mktemp("lenient"), _service, service_workers=("/app/",)) as made:
        yield made


# -- service workers ----------------------------------------------------------------------------------


async def test_no_service_worker_is_registered(tmp_path: Path, service: Planted, strict: Home) -> None:
    """Neither for the whole origin nor for a path: not by the upstream's leave, not from its root, and not
    with a script of ours. The next login is on our own page."""
    service.headers["Service-Worker-Allowed"] = "/"
    world = strict.world
    async with strict.page(tmp_path) as page:
        await page.goto(world.url(Role.SERVICE, "/app/"))
        assert await page.inner_text("h1") == "planted"
        for script, scope in (
            ("/app/worker.js", "/"), ("/app/worker.js", ""), ("/worker.js", ""), ("/worker.js", "/app/"),
            ("/login", "/"), ("/portal/", ""),
        ):  # fmt: skip
            assert await register(page, script, scope) in ("TypeError", "SecurityError"), script
        assert await registrations(page) == []
        assert not [each for each in service.asked if each.endswith(".js")]
        await page.goto(world.url(Role.SERVICE, "/login"))
        assert await page.inner_text("h1") != FAKE


async def test_a_service_worker_from_before_is_dropped(tmp_path: Path, service: Planted) -> None:
    """One that was registered while the gate let it is gone after the first page that it answers, also where
    nobody is logged in. A page that asks for one loses nothing that it has stored."""
    free = service.config(public=("/app",))
    before = service.config(public=("/app",), service_workers=("/",))  # no file can say so
    async with kit.world(tmp_path, config=before) as world:
        person = kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
        await established(world, person, tmp_path)
    async with kit.page(person) as page:
        async with kit.served(tmp_path, world.clock.seconds(), before, world.port):
            await page.goto(world.url(Role.SERVICE, "/app/"))
            assert await register(page, "/app/worker.js", "/") == "/"
        async with kit.served(tmp_path, world.clock.seconds(), free, world.port):
            await page.goto(world.url(Role.SERVICE, "/login"))
            assert await page.inner_text("h1") == FAKE  # for the last time
            assert await gone(page)
            await page.goto(world.url(Role.SERVICE, "/login"))
            assert await page.inner_text("h1") != FAKE
            await page.goto(world.url(Role.SERVICE, "/app/"))
            await page.evaluate("localStorage.setItem('theirs', '1')")
            assert await register(page, "/app/worker.js") == "TypeError"
            assert await page.evaluate("localStorage.getItem('theirs')") == "1"


async def test_service_workers_keep_to_the_scope_that_the_operator_allows(
    tmp_path: Path, service: Planted, lenient: Home
) -> None:
    """Below it they work, whatever the upstream allows; a script elsewhere, and a wider scope, do not."""
    world = lenient.world
    async with lenient.page(tmp_path) as page:
        await page.goto(world.url(Role.SERVICE, "/app/"))
        for header in ("/", "/portal/", ""):
            service.headers["Service-Worker-Allowed"] = header
            assert await register(page, "/app/worker.js", "/") == "SecurityError"
            assert await register(page, "/app/worker.js", "/portal/") == "SecurityError"
            assert await register(page, "/worker.js", "/app/") == "TypeError"
        assert await register(page, "/app/deep/worker.js", "/app/") == "/app/"
        await page.goto(world.url(Role.SERVICE, "/app/forged?policy=unsafe-none"))
        assert await page.inner_text("h1") == "forged"


# -- reading our pages ---------------------------------------------------------------------------------

#: On every page of ours that says something of its visitor.
SECRET = "年金 太郎"
WAYS = {
    "fetch", "no-cors", "same-origin", "post", "XMLHttpRequest", "Cache", "iframe", "object", "embed",
    "Worker", "SharedWorker", "window", "named", "blank", "form",
}  # fmt: skip
_OURS = ("/portal/", f"/portal/members/{USER}")
POLICIES = ("", "same-origin", "same-origin-allow-popups", "noopener-allow-popups")


async def test_no_script_reads_a_page_of_ours(tmp_path: Path, service: Planted, strict: Home) -> None:
    """Not by fetch, in a frame, from a worker, or in a window that it opens, whatever opener policy the
    upstream asks for; the person whose page it is reads it."""
    world = strict.world
    async with strict.page(tmp_path) as page:
        apart = set[str]()
        for policy in POLICIES:
            service.headers.clear()
            if policy:
                service.headers["Cross-Origin-Opener-Policy"] = policy
            # What keeps a window apart are two header fields, ours and theirs: in each of ours the same one.
            for path in _OURS[: 1 if policy else None]:
                await page.goto(world.url(Role.SERVICE, "/app/"))
                seen = await read_from(page, path)
                assert set(seen) == WAYS
                assert {way: text for way, text in seen.items() if SECRET in text} == {}, policy
                answer = await page.goto(world.url(Role.SERVICE, path))
                assert answer is not None
                apart.add((await answer.all_headers())["cross-origin-opener-policy"])
                assert SECRET in await page.inner_text("main")
                await alone(page)
        assert len(apart) == 1


async def test_the_same_ways_read_the_upstreams_own_pages(
    tmp_path: Path, service: Planted, strict: Home
) -> None:
    """The twin: the ways work, and stay open to the service among its own pages."""
    async with strict.page(tmp_path) as page:
        await page.goto(strict.world.url(Role.SERVICE, "/app/"))
        seen = await read_from(page, "/app/other", patience=60)
        assert {way for way, text in seen.items() if "planted" in text} == WAYS


# Forms that a script fills in as it likes, sent in a window as a person's are; the password is known to it.
_SEND = """([action, fields]) => {
  const form = Object.assign(document.createElement('form'), {method: 'post', action});
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement('input'), {type: 'hidden', name, value}));
  }
  document.body.append(form);
  form.submit();
}"""


async def test_no_script_sends_a_form_of_ours(tmp_path: Path, service: Planted, strict: Home) -> None:
    """Not even with a password that it was told, because it cannot read what our page puts into the form;
    nor does it log anybody out. The person does both."""
    world = strict.world
    async with strict.page(tmp_path) as page:
        asks = {"known": "0", "password": PASSWORD, "reason": "lost_or_stolen"}
        for action in (f"/portal/members/{USER}/credentials", "/portal/reissue", "/logout"):
            for token in ("", "x"):
                await page.goto(world.url(Role.SERVICE, "/app/"))
                async with page.expect_navigation():
                    await page.evaluate(_SEND, [action, asks | {"token": token}])
                assert await page.inner_text("h1") == "画面を開きなおしてください"
        read = look(world.ra.database)
        assert credentials_of(read, USER) == []
        assert applications(read, state="submitted") == []
        await page.goto(world.url(Role.SERVICE, f"/portal/members/{USER}/credentials"))
        await page.get_by_label("ログインのパスワード").fill(PASSWORD)
        await page.get_by_role("button", name="認証情報を作成する").click()
        await page.get_by_text("認証情報を作成しました").wait_for()
        await page.goto(world.url(Role.SERVICE, "/logout"))
        await page.get_by_role("main").get_by_role("button", name="ログアウト").click()
        await page.get_by_text("ログアウトしました").wait_for()


async def test_a_service_worker_that_is_allowed_reads_no_page_of_ours(
    tmp_path: Path, service: Planted, lenient: Home
) -> None:
    """Its pages may claim any opener policy, and it fetches what its navigations are led to: it reads our
    pages neither in a window nor so."""
    world = lenient.world
    async with lenient.page(tmp_path) as page:
        await page.goto(world.url(Role.SERVICE, "/app/"))
        assert await register(page, "/app/worker.js") == "/app/"
        for policy in POLICIES[1:]:
            await page.goto(world.url(Role.SERVICE, f"/app/forged?policy={policy}"))
            assert await page.inner_text("h1") == "forged"
            seen = await read_from(page, "/portal/")
            assert {way: text for way, text in seen.items() if SECRET in text} == {}, policy
            await alone(page)
        await page.goto(world.url(Role.SERVICE, "/app/led"))
        assert "この画面は単独で開いてください" in await page.inner_text("body")


_SPECULATE = """async (path) => {
  const rules = Object.assign(document.createElement('script'), {type: 'speculationrules'});
  const what = {source: 'list', urls: [path], eagerness: 'immediate'};
  rules.textContent = JSON.stringify({prerender: [what], prefetch: [what]});
  const link = Object.assign(document.createElement('link'), {rel: 'prefetch', href: path});
  document.head.append(rules, link);
}"""


async def test_nothing_of_ours_is_loaded_ahead(tmp_path: Path, service: Planted, strict: Home) -> None:
    """A page of the upstream's cannot have one of ours loaded before somebody opens it, which works then."""
    world = strict.world
    async with strict.page(tmp_path) as page:
        await page.goto(world.url(Role.SERVICE, "/app/"))
        path = "/portal/certificates"
        statuses: list[int] = []
        page.context.on(
            "response", lambda got: statuses.append(got.status) if got.url.endswith(path) else None
        )
        await page.evaluate(_SPECULATE, path)
        async with asyncio.timeout(60):
            while not statuses:
                await asyncio.sleep(0.05)
        assert set(statuses) == {403}
        await page.goto(world.url(Role.SERVICE, path))
        assert await page.inner_text("h1") == "証明書の確認"


# -- a host for each -----------------------------------------------------------------------------------

_PRETEND = """(url) => {
  try { history.pushState({}, '', url); return 'shown'; } catch (error) { return error.name; }
}"""


async def test_a_portal_with_a_host_of_its_own_is_out_of_reach(tmp_path: Path, service: Planted) -> None:
    """The login leads on to the service and back. A script of the service's neither reads the portal nor
    shows its address over a page of its own, as it can on one host; who logs out is out on both."""
    sites = Sites(portal=("portal.localhost",))
    config = replace(service.config(start="/app/", service_workers=("/app/",)), sites=sites)
    async with kit.world(tmp_path, config=config) as world:
        person = kit.persona(tmp_path / "pc", world.deployment.datadir.server_ca_pem)
        await established(world, person, tmp_path)
        portal = f"https://portal.localhost:{world.port}"
        async with kit.page(person) as page:
            await page.goto(world.url(Role.SERVICE, "/app/deep?a=1"))
            assert page.url == f"{portal}/login?next=/portal/open%3Fnext%3D/app/deep%253Fa%253D1"
            await page.get_by_label("ユーザーID", exact=True).fill(USER)
            await page.get_by_label("パスワード", exact=True).fill(PASSWORD)
            await page.get_by_role("button", name="ログイン").click()
            await page.wait_for_url(world.url(Role.SERVICE, "/app/deep?a=1"))
            assert await page.inner_text("h1") == "planted"
            for path in ("/portal/", "/login"):
                seen = await read_from(page, portal + path)
                assert {way: text for way, text in seen.items() if SECRET in text} == {}
            assert await page.evaluate(_PRETEND, portal + "/login") == "SecurityError"
            assert await page.evaluate(_PRETEND, "/login") == "shown"
            await page.goto(world.url(Role.SERVICE, "/portal/"))
            assert page.url == portal + "/portal/"
            assert SECRET in await page.inner_text("h1")
            await page.get_by_role("link", name="オンラインサービスを開く").click()
            await page.wait_for_url(world.url(Role.SERVICE, "/app/"))
            names = {each["name"]: each["domain"] for each in await page.context.cookies()}
            assert names == {"__Host-service": "portal.localhost", "__Host-behind": "service.localhost"}
            await page.goto(world.url(Role.SERVICE, "/logout"))
            await page.get_by_role("main").get_by_role("button", name="ログアウト").click()
            await page.get_by_text("ログアウトしました").wait_for()
            await page.goto(world.url(Role.SERVICE, "/app/"))
            assert page.url.startswith(portal + "/login?")
