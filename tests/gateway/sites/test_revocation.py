"""What the world reads of our CAs by plain HTTP: the same bytes as by HTTPS, with what caches need to
know."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPResponseStatus as Status

from ca import listfiles
from ca.ocsp import hashes_of
from ca.publication import bundle_path, certificate_path, list_path
from enroll import crls, generations
from enroll.answers import Answers
from enroll.ra import RegistrationAuthority
from gateway.sites import help as help_site
from gateway.sites.revocation import PREFIX, Publications
from gateway.web.context import Role
from tests.datadirs import clock_of, next_generation, open_office
from tests.gateway.plainly import Plainly, plainly
from tests.gateway.sites.kit import serve


@pytest.fixture
async def ra(tmp_path: Path) -> AsyncIterator[RegistrationAuthority]:
    async with open_office(tmp_path) as ra:
        yield ra


@pytest.fixture
async def site(ra: RegistrationAuthority) -> AsyncIterator[Plainly]:
    async with plainly(Publications(ra, Answers()).answer) as site:
        yield site


async def test_the_list_of_an_issuer(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 2585 section 4.2, RFC 9111: the published bytes, an ETag, no life beyond an hour nor nextUpdate."""
    issuer = ra.authority.current
    listed = await crls.publish(ra, issuer)
    status, fields, body = await site.ask(list_path(issuer.issuer_id))
    assert (status, hashlib.sha256(body).hexdigest()) == (200, listed.digest)
    assert fields["content-type"] == "application/pkix-crl"
    assert fields["cache-control"] == "public, max-age=3600, must-revalidate"
    assert fields["last-modified"] == "Sun, 22 Nov 2026 03:00:00 GMT"
    asked = await site.ask(list_path(issuer.issuer_id), If_None_Match=fields["etag"])
    assert (asked[0], asked[2], asked[1]["etag"]) == (304, b"", fields["etag"])
    head = await site.ask(list_path(issuer.issuer_id), method="HEAD")
    assert (head[0], head[1]["content-length"], head[2]) == (200, str(listed.size), b"")
    clock_of(ra).advance(days=8)
    assert (await site.ask(list_path(issuer.issuer_id)))[1]["cache-control"].startswith("public, max-age=0,")


async def test_before_the_first_list_there_is_a_time_to_come_again(
    ra: RegistrationAuthority, site: Plainly
) -> None:
    """503 with Retry-After, and asking makes none; the same where a file was taken away."""
    path = list_path(ra.authority.current.issuer_id)
    for _ in range(2):
        status, fields, _ = await site.ask(path)
        assert (status, fields["retry-after"], fields["cache-control"]) == (503, "5", "no-store")
        assert await crls.published(ra, ra.authority.current.issuer_id) is None
    listed = await crls.publish(ra, ra.authority.current)
    assert (await site.ask(path))[0] == 200
    listfiles.path_of(crls.folder(ra), listed).unlink()
    # A register on a server has it as well.
    assert (await site.ask(path))[0] == (200 if ra.database.shared else 503)


async def test_the_roots_list(ra: RegistrationAuthority, site: Plainly) -> None:
    """A file that was made with the root; caches have it for an hour, as any list."""
    root = ra.authority.current.root_id
    status, fields, body = await site.ask(list_path(root))
    assert (status, body, fields["content-type"]) == (200, ra.authority.root_list, "application/pkix-crl")
    assert fields["cache-control"] == "public, max-age=3600, must-revalidate"
    assert (await site.ask(list_path(root), If_None_Match=fields["etag"]))[0] == 304
    assert (await site.ask(list_path(root), If_Modified_Since=fields["last-modified"]))[0] == 304
    assert (await site.ask(list_path(root), If_Modified_Since="yesterday"))[0] == 200


async def test_certificates_of_cas(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 5280 section 4.2.2.1: one certificate in DER, as application/pkix-cert."""
    issuer = ra.authority.current
    for name, der in ((issuer.issuer_id, issuer.der), (issuer.root_id, issuer.chain[-1])):
        status, fields, body = await site.ask(certificate_path(name))
        assert (status, body, fields["content-type"]) == (200, der, "application/pkix-cert")
        assert (await site.ask(certificate_path(name), If_None_Match=fields["etag"]))[0] == 304


async def test_other_roots_that_vouch_for_ours(ra: RegistrationAuthority, site: Plainly) -> None:
    """RFC 5280 section 4.2.2.1: the root with them as a certs-only message; without any it is not there."""
    issuer = ra.authority.current
    assert (await site.ask(bundle_path(issuer.root_id)))[0] == 404
    authority = replace(ra.authority, crosses=(issuer.der,))
    async with plainly(Publications(replace(ra, authority=authority), Answers()).answer) as crossed:
        status, fields, body = await crossed.ask(bundle_path(issuer.root_id))
        assert (status, fields["content-type"]) == (200, "application/pkcs7-mime")
        shown = pkcs7.load_der_pkcs7_certificates(body)
        assert {each.public_bytes(Encoding.DER) for each in shown} == {issuer.chain[-1], issuer.der}
        again = await crossed.ask(bundle_path(issuer.root_id), If_None_Match=fields["etag"])
        assert (again[0], again[2]) == (304, b"")


async def test_of_one_that_is_put_away(ra: RegistrationAuthority) -> None:
    """RFC 5019 section 2.2.3: answers about its certificates are nobody's any more; its certificate and its
    last list stay, and where there is no list there will be none. Of another one all goes on."""
    g5 = next_generation(ra, "G5")
    old, new = (generations.named(g5, name) for name in (ra.authority.current.common_name, "G5"))
    await crls.publish(g5, old)
    issuers = tuple(
        replace(each, discarded_at=g5.now()) if each == old else each for each in g5.authority.issuers
    )
    g5 = replace(g5, authority=replace(g5.authority, issuers=issuers))
    assert not await crls.due(g5, old.issuer_id)
    async with plainly(Publications(g5, Answers()).answer) as site:
        asked = ocsp.OCSPRequestBuilder().add_certificate_by_hash
        for issuer, told in ((old, Status.UNAUTHORIZED), (new, Status.SUCCESSFUL)):
            name = hashes_of(issuer.certificate)["sha1"]
            question = asked(name.name, name.key, 1, hashes.SHA1()).build()
            _, _, body = await site.ask("/ocsp", question.public_bytes(Encoding.DER), method="POST")
            assert ocsp.load_der_ocsp_response(body).response_status is told
        assert (await site.ask(certificate_path(old.issuer_id)))[0] == 200
        listed = await crls.published(g5, old.issuer_id)
        assert (await site.ask(list_path(old.issuer_id)))[0] == 200
        assert listed is not None
        listfiles.path_of(crls.folder(g5), listed).unlink()
        assert (await site.ask(list_path(old.issuer_id)))[0] == (200 if ra.database.shared else 404)
        assert (await site.ask(list_path(new.issuer_id)))[0] == 503


async def test_a_whole_address_and_a_query_are_asked_for_as_well(
    ra: RegistrationAuthority, site: Plainly
) -> None:
    """RFC 9112 section 3.2.2: a server takes the absolute form; a query is nothing here."""
    path = certificate_path(ra.authority.current.issuer_id)
    for target in (f"http://pki.example{path}", f"HTTP://x:80{path}", f"{path}?now=1"):
        assert (await site.ask(target))[0] == 200, target


@pytest.mark.parametrize(
    "path",
    ["/", "/crl", "/crl/", "/crl/x.crl", "/crl/../ca/root.key", "/ca/root.pem", "/crl/%00", "//crl//", "*",
     "/crl/0000000000000000.crl", "/ca/" + "a" * 4_000, "http://", "http:///", "/.draft-0", "/sekisho.json"],
)  # fmt: skip
async def test_odd_paths_are_not_there(site: Plainly, path: str) -> None:
    """What is there stands in a table: no path is ever a file's."""
    status, fields, body = await site.ask(path)
    assert (status, fields["cache-control"], body) == (404, "no-store", b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_lists_are_only_read(ra: RegistrationAuthority, site: Plainly, method: str) -> None:
    """405, and what may be done instead."""
    status, fields, _ = await site.ask(list_path(ra.authority.current.issuer_id), method=method)
    assert (status, fields["allow"]) == (405, "GET, HEAD")


async def test_the_same_is_on_the_help_site(ra: RegistrationAuthority, site: Plainly, tmp_path: Path) -> None:
    """By HTTPS, below /pki: the same bytes and the same fields for caches."""
    issuer = ra.authority.current
    await crls.publish(ra, issuer)
    async with serve(ra, tmp_path, Role.HELP, help_site.application) as served:
        for path in (
            list_path(issuer.issuer_id),
            list_path(issuer.root_id),
            certificate_path(issuer.issuer_id),
        ):
            page = await served.visitor().get(PREFIX + path)
            plain = await site.ask(path)
            assert (page.status, page.body) == (200, plain[2])
            for name in ("ETag", "Last-Modified", "Cache-Control", "Content-Type"):
                assert page.headers[name] == plain[1][name.lower()]
            again = await served.visitor().get(PREFIX + path, If_None_Match=page.headers["ETag"])
            assert (again.status, again.body) == (304, b"")
        assert (await served.visitor().get(PREFIX + "/ca/x.cer")).status == 404


async def test_the_list_is_the_issuers(ra: RegistrationAuthority, site: Plainly) -> None:
    """Others verify it with the certificate that is beside it."""
    issuer = ra.authority.current
    await crls.publish(ra, issuer)
    _, _, der = await site.ask(certificate_path(issuer.issuer_id))
    _, _, crl = await site.ask(list_path(issuer.issuer_id))
    certificate = x509.load_der_x509_certificate(der)
    assert x509.load_der_x509_crl(crl).is_signature_valid(certificate.public_key())  # type: ignore[arg-type]
    assert certificate.public_bytes(Encoding.DER) == issuer.der
