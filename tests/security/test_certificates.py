"""Certificates that strangers present are shown, whatever they say, and open nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from enroll.jst import days_left, shown
from gateway.edge.tls import ClientCertificate
from gateway.sites.connectivity import application as connectivity
from gateway.sites.service import application as service
from gateway.web.context import Role
from gateway.web.pages import refused
from tests.datadirs import START, open_office
from tests.gateway.rawtls import issue
from tests.gateway.sites.kit import serve

# RFC 5280 section 4.1.2.5: "no well-defined expiration date". In Japan that is the year 10000.
_FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _p12(common_name: str, **more: datetime) -> bytes:
    made = issue(common_name, issue("OTHER CA", ca=True), **more)
    return pkcs12.serialize_key_and_certificates(
        b"", made.key, made.certificate, None, BestAvailableEncryption(b"abc")
    )


async def test_a_certificate_without_end_is_no_accident(tmp_path: Path) -> None:
    """The last moment of X.509 lies beyond the last that a calendar here can show: the page says 9999."""
    for_ever = _p12("device", not_after=_FOR_EVER)
    async with open_office(tmp_path) as ra:
        async with serve(ra, tmp_path, Role.CONNECTIVITY, connectivity, ClientCertificate.ASK) as served:
            page = await served.visitor(for_ever, "abc").get("/?c=1")
            assert (page.status, "9999.12.31" in page.html) == (200, True)
        async with serve(
            ra,
            tmp_path,
            Role.SERVICE,
            service,
            ClientCertificate.REQUIRE,
            lambda gate: refused(gate, Role.SERVICE),
        ) as served:
            page = await served.visitor(for_ever, "abc").get("/")
            assert (page.status, "9999年12月31日" in page.html) == (403, True)


@pytest.mark.parametrize("at", [253402300799, 2**40, -62135596800])
def test_every_moment_can_be_shown(at: int) -> None:
    """No moment that a certificate can name is an exception on a page."""
    assert len(shown(at).split(".")) == 3
    assert isinstance(days_left(at, START), int)


async def test_names_in_a_certificate_are_text(tmp_path: Path) -> None:
    """Markup, quotes and direction marks in a stranger's common name stay text on the page."""
    name = "<script>alert(1)</script>\"'\u202e{{7*7}}"
    async with (
        open_office(tmp_path) as ra,
        serve(ra, tmp_path, Role.CONNECTIVITY, connectivity, ClientCertificate.ASK) as served,
    ):
        page = await served.visitor(_p12(name), "abc").get("/?c=1")
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "\u202e" not in page.html
        assert "{{7*7}}" in page.html
