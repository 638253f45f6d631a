"""A head that is too large, mostly for its cookies, and the way out of it (431, RFC 6585 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.wire import oversize
from tests.gateway.conftest import Pki, Serve
from tests.gateway.proxy.deployments import Build
from tests.gateway.rawtls import connect, get
from tests.gateway.samples import check, login, open_site
from tests.gateway.sites.members import online_service

HOST = b"enroll.test"
OWN = (b"Origin: https://enroll.test",)


def _cookies(size: int) -> bytes:
    """A Cookie field of so many bytes, as a browser with many cookies sends it."""
    return b"Cookie: " + b"; ".join(b"c%d=%s" % (n, b"x" * 990) for n in range(size // 1_000))


def _button(*lines: bytes) -> bytes:
    return get(HOST, oversize.PATH.encode(), b"Content-Length: 0", *lines).replace(b"GET", b"POST", 1)


@pytest.mark.parametrize("size", [9_000, 60_000, 64_000, 70_000, 200_000])
@pytest.mark.parametrize("target", [b"/", b"/login", b"/acme/directory", b"/assets/x/style.css"])
async def test_too_many_cookies_have_a_page_with_a_button(
    serve: Serve, pki: Pki, size: int, target: bytes
) -> None:
    """Whatever is asked, and however much comes: 431, the words in both languages, and a form that posts; it
    clears nothing by itself."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        answer = await client.get(HOST, target, _cookies(size))
        assert (answer.status, answer.headers["content-type"]) == (431, "text/html; charset=utf-8")
        assert 'lang="ja"' in answer.text
        assert 'lang="en"' in answer.text
        assert f'<form method="post" action="{oversize.PATH}">' in answer.text
        assert "clear-site-data" not in answer.headers
        assert (await client.end()).alert == "close_notify"
    assert running.listener.counts["refused.too-large"] == 1


@pytest.mark.parametrize("size", [9_000, 60_000, 200_000])
@pytest.mark.parametrize(
    "lines", [OWN, (*OWN, b"Sec-Fetch-Site: same-origin"), (b"Origin: null", b"Sec-Fetch-Site: same-origin")]
)
async def test_the_button_works_although_its_request_is_too_large(
    serve: Serve, pki: Pki, size: int, lines: tuple[bytes, ...]
) -> None:
    """Its answer clears the cookies, without which nothing else on the site can be asked for."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        answer = await client.ask(_button(*lines, _cookies(size)))
    assert (answer.status, answer.headers["clear-site-data"]) == (200, '"cookies"')
    assert "Cookieを消去しました" in answer.text
    assert 'href="/"' in answer.text


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Origin: https://evil.test",),
        (b"Origin: null",),
        (b"Sec-Fetch-Site: none",),
        (*OWN, b"Sec-Fetch-Site: cross-site"),
        (*OWN, b"Origin: https://evil.test"),
        (b"Origin: null", b"Sec-Fetch-Site: same-site"),
        (*OWN, b"Host: evil.test"),
    ],
)
async def test_no_other_page_clears_them(serve: Serve, pki: Pki, lines: tuple[bytes, ...]) -> None:
    """Another site's form, or nobody's, gets the page with the button like any other request."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        answer = await client.ask(_button(*lines, _cookies(9_000)))
    assert answer.status == 431
    assert "clear-site-data" not in answer.headers


@pytest.mark.parametrize("change", [b"GET", b"PUT"])
async def test_only_the_form_clears_them(serve: Serve, pki: Pki, change: bytes) -> None:
    """An image or a link with the button's address does not; nor does another address."""
    running = await serve(open_site(pki))
    for asked in (
        _button(*OWN, _cookies(9_000)).replace(b"POST", change, 1),
        _button(*OWN, _cookies(9_000)).replace(oversize.PATH.encode(), b"/logout"),
    ):
        async with connect(running.port, HOST) as client:
            answer = await client.ask(asked)
        assert (answer.status, "clear-site-data" in answer.headers) == (431, False)


@pytest.mark.parametrize("site", [open_site, check, login])
async def test_every_site_has_it(serve: Serve, pki: Pki, site: Any) -> None:
    """Also where a certificate is required and there is none: the head is not read so far."""
    behind = site(pki)
    running = await serve(behind)
    host = behind.hosts[0].encode()
    async with connect(running.port, host) as client:
        assert (await client.get(host, b"/", _cookies(9_000))).status == 431


async def test_it_stands_before_an_upstream_too(deployment: Build, pki: Pki) -> None:
    """Nothing of it is handed on, the answers to requests before it come first, and the log has it."""
    running = await deployment("http://127.0.0.1:9")
    async with running.client() as client:
        both = get(b"login.test", b"/own/page") + get(b"login.test", b"/app/?x", _cookies(9_000))
        assert (await client.ask(both)).status == 200
        assert (await client.answer()).status == 431
    assert running.log.lines() == [("GET", "/own/page", 200), ("GET", "/app/?x", 431)]


async def test_a_head_at_the_limit_is_served(serve: Serve, pki: Pki) -> None:
    """The twin: as large as it may be, and HEAD has no body with its 431."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        limit = running.listener.limits.line_bytes - len(b"Cookie")
        assert (await client.get(HOST, b"/", b"Cookie: " + b"a" * limit)).status == 200
        answer = await client.get(HOST, b"/", b"Cookie: " + b"a" * (limit + 1))
        assert answer.status == 431
    async with connect(running.port, HOST) as client:
        await client.send(get(HOST, b"/", _cookies(9_000)).replace(b"GET", b"HEAD", 1))
        said = b""
        while b"\r\n\r\n" not in said:
            said += await client.some()
        assert said.startswith(b"HTTP/1.1 431 ")
        assert said.endswith(b"\r\n\r\n")
        assert (await client.end()).alert == "close_notify"


@pytest.mark.parametrize("size", [8_191, 70_000])
async def test_a_target_that_is_too_long_is_414(serve: Serve, pki: Pki, size: int) -> None:
    """RFC 9110 15.5.15: no cookie is at fault, and the page does not say so."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        answer = await client.get(HOST, b"/" + b"a" * size)
    assert answer.status == 414
    assert "Cookie" not in answer.text


async def test_a_body_after_it_is_read_past(serve: Serve, pki: Pki) -> None:
    """A form that is on its way does not tear the answer from the browser."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        head = get(HOST, b"/x", b"Content-Length: 300000", _cookies(9_000)).replace(b"GET", b"POST", 1)
        await client.send(head + b"x" * 300_000)
        assert (await client.answer()).status == 431


async def test_the_button_has_an_address_on_every_site(tmp_path: Path) -> None:
    """Whose cookies are not too large may clear them as well, without a certificate or a login; another
    site's page may not."""
    async with online_service(tmp_path) as service:
        visitor = service.visitor()
        page = await visitor.get(oversize.PATH)
        assert (page.status, "Clear-Site-Data" in page.headers) == (200, False)
        assert page.dom.all("form")[0].attributes == {"method": "post", "action": oversize.PATH}
        page = await visitor.post(oversize.PATH)
        assert (page.status, page.headers["Clear-Site-Data"]) == (200, '"cookies"')
        page = await visitor.post(oversize.PATH, Origin="https://evil.test", Sec_Fetch_Site="cross-site")
        assert (page.status, "Clear-Site-Data" in page.headers) == (403, False)


async def test_a_trailer_section_is_no_reason_to_clear(serve: Serve, pki: Pki) -> None:
    """What is too long there breaks the body, as before."""
    running = await serve(open_site(pki))
    async with connect(running.port, HOST) as client:
        head = get(HOST, b"/", b"Transfer-Encoding: chunked").replace(b"GET", b"POST", 1)
        await client.send(head + b"0\r\nX: " + b"a" * 9_000 + b"\r\n\r\n")
        assert (await client.answer()).status != 431
