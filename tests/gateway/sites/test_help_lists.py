"""Revocation lists over HTTP: what is published, with what a cache needs to know, and never made anew."""

import asyncio
import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from cryptography import x509

from ca import listfiles
from ca.profiles import CRL_LIFETIME
from enroll import crls
from gateway.sites import help as help_site
from gateway.sites.help.publications import slug_of
from gateway.sites.revocation import lists
from gateway.web.context import Role
from tests.datadirs import START, clock_of, open_office, revoke_many
from tests.gateway.sites.kit import serve


@pytest.fixture
async def ra(tmp_path):
    async with open_office(tmp_path) as ra:
        yield ra


@pytest.fixture
async def served(ra, tmp_path):
    async with serve(ra, tmp_path, Role.HELP, help_site.application) as served:
        yield served


@pytest.fixture
def path(ra):
    return f"/ca/{slug_of(ra.authority.current.der)}.crl"


async def test_before_the_first_list_there_is_a_time_to_come_again(served, ra, path):
    """503 with Retry-After (RFC 9110 section 10.2.3), and asking makes none."""
    page = await served.visitor().get(path)
    assert (page.status, page.headers["Retry-After"]) == (503, "5")
    assert page.headers["Cache-Control"] == "no-store"
    assert await crls.published(ra, ra.authority.current.issuer_id) is None


async def test_the_published_list_with_what_caches_need(served, ra, path):
    """RFC 9111: Last-Modified, a strong ETag, and no life beyond nextUpdate, nor beyond an hour."""
    listed = await crls.publish(ra, ra.authority.current)
    page = await served.visitor().get(path)
    assert page.status == 200
    assert hashlib.sha256(page.body).hexdigest() == listed.digest
    assert page.headers["Content-Type"] == "application/pkix-crl"
    assert page.headers["Content-Length"] == str(listed.size)
    assert page.headers["ETag"] == f'"{listed.digest}"'
    assert page.headers["Last-Modified"] == _date(START)
    assert page.headers["Cache-Control"] == "public, max-age=3600, must-revalidate"
    assert x509.load_der_x509_crl(page.body).is_signature_valid(ra.authority.current.certificate.public_key())


@pytest.mark.parametrize(
    ("passed", "age"), [(0, 3_600), (CRL_LIFETIME - 3_600, 3_600), (CRL_LIFETIME - 9, 9), (CRL_LIFETIME, 0)]
)
async def test_a_copy_lives_no_longer_than_the_list(served, ra, path, passed, age):
    """max-age ends with nextUpdate; a list that nobody has renewed is handed out, and not kept."""
    await crls.publish(ra, ra.authority.current)
    clock_of(ra).advance(seconds=passed)
    page = await served.visitor().get(path)
    assert (page.status, page.headers["Cache-Control"]) == (200, f"public, max-age={age}, must-revalidate")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": '"{digest}"'}, 304),
        ({"If-None-Match": 'W/"{digest}"'}, 304),
        ({"If-None-Match": '"other", "{digest}"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": "{digest}"}, 200),
        ({"If-Modified-Since": "Sun, 22 Nov 2026 03:00:00 GMT"}, 304),
        ({"If-Modified-Since": "Sun, 22 Nov 2026 03:00:01 GMT"}, 304),
        ({"If-Modified-Since": "Sun, 22 Nov 2026 02:59:59 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        # RFC 9110 section 13.1.3: the tag decides.
        ({"If-None-Match": '"other"', "If-Modified-Since": "Sun, 22 Nov 2026 03:00:00 GMT"}, 200),
    ],
)
async def test_who_has_it_is_told_so(served, ra, path, headers, status):
    """RFC 9110 section 13: by tag, else by date; a 304 has no body and the same fields for caches."""
    listed = await crls.publish(ra, ra.authority.current)
    asked = {name: value.format(digest=listed.digest) for name, value in headers.items()}
    page = await served.visitor().get(path, **asked)
    assert (page.status, len(page.body)) == (status, listed.size if status == 200 else 0)
    assert page.headers["ETag"] == f'"{listed.digest}"'
    assert page.headers["Cache-Control"].startswith("public, max-age=")


async def test_head_has_the_length_and_no_body(served, ra, path):
    """RFC 9110 section 9.3.2."""
    listed = await crls.publish(ra, ra.authority.current)
    page = await served.visitor()._send("HEAD", path, None, True, {})
    assert (page.status, page.headers["Content-Length"], page.body) == (200, str(listed.size), b"")
    assert page.headers["ETag"] == f'"{listed.digest}"'


async def test_nothing_is_ever_made_because_somebody_asks(served, ra, path):
    """A change, or the end of the list, is the publisher's to see to: visitors get what there is."""
    listed = await crls.publish(ra, ra.authority.current)
    await ra.database.write(revoke_many(ra, 1))
    clock_of(ra).advance(days=30)
    assert await crls.due(ra, ra.authority.current.issuer_id)
    pages = await asyncio.gather(*(served.visitor().get(path) for _ in range(8)))
    assert {page.headers["ETag"] for page in pages} == {f'"{listed.digest}"'}
    assert await crls.published(ra, ra.authority.current.issuer_id) == listed


@pytest.mark.slow
async def test_a_list_that_is_replaced_is_still_read_to_its_end(served, ra, path):
    """Whoever is in the middle of a long list gets that one whole, though it is not the newest any more."""
    await ra.database.write(revoke_many(ra, 120_000))
    long = await crls.publish(ra, ra.authority.current, alone=True)
    visitor = served.visitor()
    async with visitor.session.get(visitor.origin + path) as got:
        first = await got.content.read(10)
        await crls.publish(ra, ra.authority.current)
        rest = await got.content.read()
    assert long.size > 4_000_000
    assert hashlib.sha256(first + rest).hexdigest() == long.digest
    assert (await served.visitor().get(path)).headers["Last-Modified"] == _date(START)
    assert (await served.visitor().get(path)).headers["ETag"] != f'"{long.digest}"'


async def test_a_file_that_is_gone_is_no_accident(served, ra, path):
    """Until the publisher has made another one: 503, not 500. A register on a server has it as well."""
    listed = await crls.publish(ra, ra.authority.current)
    listfiles.path_of(crls.folder(ra), listed).unlink()
    assert (await served.visitor().get(path)).status == (200 if ra.database.shared else 503)
    assert (await served.visitor().get("/ca/issuing-000000000000.crl")).status == 404


def test_the_longest_a_copy_is_kept():
    """An hour: whoever polls hears of a revocation within it."""
    assert lists.max_age(CRL_LIFETIME) == 3_600


def _date(at):
    return format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True)
