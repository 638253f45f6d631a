"""What strangers send to our pages fills no disk, leads nobody elsewhere and passes no limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.sites.help import application as help_site
from gateway.sites.pickup import application as pickup_site
from gateway.web import references, sessions
from gateway.web.context import Role
from tests.datadirs import START, admit, clock_of, letter_of, open_office
from tests.gateway.sites.kit import Served, serve
from tests.looking import look, rows


@pytest.fixture
async def help_pages(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.HELP, help_site) as served,
    ):
        yield served


@pytest.fixture
async def pickup(tmp_path: Path) -> AsyncIterator[Served]:
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.PICKUP, pickup_site) as served,
    ):
        yield served


@pytest.mark.parametrize("path", ["/%2Fevil.example/", "/%5Cevil.example", "/%2F%2Fevil.example/x"])
async def test_the_language_link_stays_on_the_site(help_pages: Served, path: str) -> None:
    """An encoded slash in our own path must not become the other site that a link leads to."""
    from yarl import URL

    visitor = help_pages.visitor()
    async with visitor.session.get(URL(visitor.origin + path, encoded=True)) as got:
        text = await got.text()
    assert "evil.example" in text
    assert 'href="//' not in text
    assert 'href="/\\' not in text


@pytest.mark.parametrize("origin", ["https://[", "https://pickup.test:x", "null", "//pickup.test"])
async def test_an_origin_that_is_none_is_refused_as_foreign(pickup: Served, origin: str) -> None:
    """A malformed Origin is the peer's fault: 403, not an accident of ours."""
    fields = {"user_id": "K1", "password": "x"}
    page = await pickup.visitor().post("/login", fields, Origin=origin, Sec_Fetch_Site="none")
    assert page.status == 403
    kept = rows(look(pickup.ra.database), "SELECT code FROM desk_references")
    assert [row["code"] for row in kept] == ["cross_site"]


async def test_reference_numbers_do_not_fill_the_disk(
    help_pages: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind only so many are kept, the newest; a flood of one kind leaves the others alone."""
    monkeypatch.setattr(references, "KEPT_PER_KIND", 5)
    ra = help_pages.ra
    kept = await references.note(ra, "pickup", "bad_credentials")
    numbers = [await references.note(ra, "help", "not_found", path="/x") for _ in range(12)]
    db = look(ra.database)
    assert references.found(db, kept) is not None
    assert [references.found(db, each) is not None for each in numbers] == [False] * 7 + [True] * 5


async def test_a_reference_keeps_little_of_what_was_sent(help_pages: Served) -> None:
    """A path of thousands of characters is cut: a record stays small."""
    visitor = help_pages.visitor()
    assert (await visitor.get("/" + "a" * 6_000)).status == 404
    kept = rows(look(help_pages.ra.database), "SELECT detail FROM desk_references")
    assert [len(row["detail"]) < 400 for row in kept] == [True]


async def test_a_session_from_a_clock_that_ran_ahead_is_over(tmp_path: Path) -> None:
    """When the clock is set back, a session does not live until the wrong time comes again."""
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.PICKUP, pickup_site) as served,
    ):
        await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        clock_of(ra).advance(days=20)
        visitor = served.visitor()
        fields = {"user_id": "K12345678", "password": password}
        assert (await visitor.post("/login", fields)).path == "/menu"
        clock_of(ra).set(START + 60)
        assert (await visitor.get("/menu")).path == "/"


async def test_the_download_token_is_not_in_the_database(tmp_path: Path) -> None:
    """Whoever reads the database, a backup, finds nothing that opens a built file."""
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.PICKUP, pickup_site) as served,
    ):
        admission = await admit(ra)
        password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
        visitor = served.visitor()
        await visitor.post("/login", {"user_id": "K12345678", "password": password})
        fields = {"request_id": admission.request_id, "password": "p12", "confirmation": "p12"}
        assert (await visitor.post("/certificate", fields)).path == "/certificate/download"
        assert (await visitor.get("/download")).headers["Content-Type"] == "application/x-pkcs12"
        hashes = {row["token_hash"] for row in rows(look(ra.database), "SELECT * FROM tickets")}
        from enroll.ra import token_hash

        stored = rows(look(ra.database), "SELECT data FROM sessions")[0]["data"]
        words = stored.replace('"', " ").split()
        assert not hashes & {token_hash(word) for word in words}
        assert sessions.IDLE < sessions.ABSOLUTE


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/login"])
async def test_every_page_says_what_a_browser_may_do_with_it(pickup: Served, path: str) -> None:
    """TLS only, no frame around it, nothing kept, no sniffing: errors and redirects included."""
    headers = (await pickup.visitor().get(path, follow=False)).headers
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


async def test_what_was_typed_is_text(pickup: Served) -> None:
    """It is shown again, and is never a tag, nor the end of the attribute that it stands in."""
    typed = "\"'><script>alert(1)</script>&amp;"
    page = await pickup.visitor().post("/login", {"user_id": typed, "password": "x"})
    assert page.status == 403
    assert page.field("ユーザー ID").attributes["value"] == typed.upper()
    assert "<script>alert" not in page.html.lower()
