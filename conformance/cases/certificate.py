"""Certificates as they are downloaded (RFC 8555 7.4.2, RFC 8555 9.1) and what is in them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from conformance import acts, pki
from conformance.case import ADVICE, MUST, OURS, SHOULD, Case, case
from conformance.check import links, media_type, problem, status, told
from conformance.drafts import row
from conformance.pki import Wish
from conformance.verdict import Skipped, expect, require
from conformance.world import World

PEM = "application/pem-certificate-chain"
BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n")

CASES: list[Case] = [
    row(
        "certificate.media-type",
        "RFC 8555 7.4.2",
        MUST,
        f"a certificate comes as {PEM}",
        "certificate",
        media_type(PEM),
    ),
]


def only_certificates(body: bytes) -> bool:
    """RFC 8555 9.1: PEM CERTIFICATE blocks and nothing between them but line ends."""
    rest = BLOCK.sub(b"", body.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n")
    return BLOCK.search(body.replace(b"\r\n", b"\n")) is not None and not rest.strip()


@case(
    CASES,
    "certificate.only-pem-certificates",
    "RFC 8555 9.1",
    MUST,
    "the download has CERTIFICATE blocks only, no text, no keys",
)
async def only_pem(world: World) -> None:
    require(only_certificates((await acts.issued(world)).download.body), "there is something else in it")


@case(
    CASES,
    "certificate.leaf-first",
    "RFC 8555 9.1",
    MUST,
    "the first certificate is for the key of the CSR, and no CA",
)
async def leaf_first(world: World) -> None:
    done = await acts.issued(world)
    require(pki.same_key(done.leaf, done.private), "the first certificate is for another key")
    require(not _is_ca(done.leaf), "it is a CA certificate")


@case(CASES, "certificate.chain-order", "RFC 8555 9.1", SHOULD, "each certificate is certified by the next")
async def chain_order(world: World) -> None:
    chain = (await acts.issued(world)).chain
    require(len(chain) > 1 or chain[0].issuer == chain[0].subject, "there is no issuer in it")
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            require(False, f"{lower.subject.rfc4514_string()!r} is not certified by the next")


@case(
    CASES,
    "certificate.names",
    "RFC 8555 7.4",
    MUST,
    "the certificate has the order's names as dNSName, and no other",
)
async def names(world: World) -> None:
    done = await acts.issued(world)
    wanted = {one["value"].lower() for one in done.order.identifiers}
    found = {name.lower() for name in pki.dns_names(done.leaf)}
    require(found == wanted, f"names are {sorted(found)}")


@case(
    CASES,
    "certificate.names-folded",
    "sekisho PROTOCOL, certificates",
    OURS,
    "dNSNames are in lower case, each once",
)
async def names_folded(world: World) -> None:
    found = pki.dns_names((await acts.issued(world)).leaf)
    require(found == list(dict.fromkeys(name.lower() for name in found)), f"names are {found}")


@case(
    CASES,
    "certificate.validity",
    "RFC 5280 4.1.2.5",
    MUST,
    "the certificate is valid now and ends after it begins",
)
async def validity(world: World) -> None:
    leaf = (await acts.issued(world)).leaf
    now = datetime.now(UTC)
    require(
        leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc,
        f"{leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}",
    )


@case(
    CASES,
    "certificate.serial",
    "RFC 5280 4.1.2.2",
    MUST,
    "serial numbers are positive, at most 20 octets, and differ",
)
async def serial(world: World) -> None:
    first = (await acts.issued(world)).leaf.serial_number
    second = (await acts.revoked(world)).leaf.serial_number
    require(first != second, "two certificates have one serial")
    require(all(0 < one < 1 << 159 for one in (first, second)), f"serial {first:x}")


@case(
    CASES,
    "certificate.serial-unguessable",
    "RFC 5280 8",
    ADVICE,
    "serial numbers have 56 bits and more, so that nobody makes a colliding certificate ahead",
)
async def serial_unguessable(world: World) -> None:
    serials = [(await made(world)).leaf.serial_number for made in (acts.issued, acts.revoked)]
    require(max(one.bit_length() for one in serials) >= 56, "serials have less than 56 bits")


@case(
    CASES,
    "certificate.key-identifiers",
    "RFC 5280 4.2.1.1",
    MUST,
    "the certificate has an authority key identifier that is the issuer's",
)
async def key_identifiers(world: World) -> None:
    chain = (await acts.issued(world)).chain
    authority = pki.authority_key(chain[0])
    if len(chain) < 2:
        raise Skipped("the issuer is not in the chain")
    require(authority == pki.subject_key(chain[1]), "they differ")


@case(
    CASES,
    "certificate.alternates",
    "RFC 8555 7.4.2",
    MUST,
    "every alternate chain can be fetched and is for the same key",
)
async def alternates(world: World) -> None:
    done = await acts.issued(world)
    found = links(done.download, "alternate")
    if not found:
        raise Skipped("there are no alternate chains")
    for url in found:
        answer = expect(await world.post(done.order.account, url), status(200), media_type(PEM))
        chain = pki.chain(answer.body)
        require(pki.same_key(chain[0], done.private), "an alternate is for another key")
        require(answer.body != done.download.body, "an alternate is the same chain")


@case(CASES, "certificate.same-again", "RFC 8555 7.4.2", MUST, "a second download is the same certificate")
async def same_again(world: World) -> None:
    done = await acts.issued(world)
    answer = await world.post(done.order.account, done.url)
    require(pki.chain(answer.body)[0] == done.leaf, "it is another one")


@case(CASES, "certificate.anothers", "RFC 8555 7.4.2", MUST, "another account cannot fetch the certificate")
async def anothers(world: World) -> None:
    done = await acts.issued(world)
    expect(await world.post(await acts.stranger(world), done.url), problem({401, 403, 404}))


@case(
    CASES,
    "certificate.alternate-anothers",
    "RFC 8555 7.4.2",
    MUST,
    "another account cannot fetch an alternate chain either",
)
async def alternate_anothers(world: World) -> None:
    found = links((await acts.issued(world)).download, "alternate")
    if not found:
        raise Skipped("there are no alternate chains")
    second = await acts.stranger(world)
    for url in found:
        expect(await world.post(second, url), problem({401, 403, 404}))


@case(
    CASES,
    "certificate.unknown",
    "RFC 8555 6.7",
    SHOULD,
    "a certificate that does not exist is a problem document",
)
async def unknown(world: World) -> None:
    done = await acts.issued(world)
    expect(await world.post(done.order.account, f"{done.url}0"), problem({400, 401, 403, 404}))


@case(
    CASES,
    "certificate.unknown-like-anothers",
    "RFC 8555 10.5",
    ADVICE,
    "another's certificate and none at all are answered alike",
)
async def alike(world: World) -> None:
    done, second = await acts.issued(world), await acts.stranger(world)
    seen = [
        told(await world.post(second, url), url, url.rpartition("/")[2]) for url in (done.url, f"{done.url}0")
    ]
    require(seen[0] == seen[1], f"another's: {seen[0]}, none: {seen[1]}")


@case(
    CASES,
    "certificate.client-auth-only",
    "sekisho PROTOCOL, certificates",
    OURS,
    "the extended key usage is clientAuth alone, whatever the CSR asks",
)
async def client_auth(world: World) -> None:
    order = await acts.fresh_order(world)
    private = pki.new_private()
    wish = Wish(extra=((pki.BOTH_PURPOSES, False),))
    answer = await acts.finalize(world, order, pki.csr(private, order.identifiers, wish))
    order = await acts.settle(world, order, {"ready", "processing"})
    done = await acts.download(world, order, private, answer)
    require(
        pki.purposes(done.leaf) == [ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string],
        f"it is {pki.purposes(done.leaf)}",
    )


@case(
    CASES,
    "certificate.subject-from-account",
    "sekisho PROTOCOL, certificates",
    OURS,
    "the subject does not come from the CSR",
)
async def subject(world: World) -> None:
    order = await acts.fresh_order(world)
    private, name = pki.new_private(), order.identifiers[0]["value"]
    request = pki.csr(private, order.identifiers, Wish(common_name=name, organization="Somebody Else"))
    answer = await acts.finalize(world, order, request)
    if answer.status != 200:
        expect(answer, problem(400, "badCSR"))
        return
    order = await acts.settle(world, order, {"ready", "processing"})
    done = await acts.download(world, order, private, answer)
    require(
        "Somebody Else" not in done.leaf.subject.rfc4514_string(), "the CSR's organization is in the subject"
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
