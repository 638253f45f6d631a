"""Revocation: who may, what is refused, twice, and at once (RFC 8555 7.6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from conformance import acts, jose, pki
from conformance.case import MUST, OURS, SHOULD, Case, case
from conformance.check import Check, problem, refused, status
from conformance.draft import Draft, payload_of
from conformance.verdict import Skipped, expect, require
from conformance.wire import Answer
from conformance.world import Issued, World

CASES: list[Case] = []
DENIED = problem({401, 403}, "unauthorized")


async def by_key(world: World, private: jose.Private, der: bytes, **members: object) -> Answer:
    """A revokeCert request signed by a key itself (jwk), as the certificate's holder may."""
    key = jose.Key("ES256" if isinstance(private, ec.EllipticCurvePrivateKey) else "RS256", private)
    payload = payload_of({"certificate": jose.b64(der), **members})
    return await world.send(Draft(await world.resource("revokeCert"), payload, key, None))


UNFIT = refused("malformed", "unauthorized")


@dataclass(frozen=True)
class BadRevocation:
    name: str
    title: str
    members: dict[str, object]
    check: Check = UNFIT


REASON = problem(400, "badRevocationReason")

REFUSED = (
    *(BadRevocation(f"reason-{n}", f"reason {n}", {"reason": n}, REASON) for n in (7, 11, 100)),
    *(
        BadRevocation(
            f"reason-{name}",
            f"a reason that is {name}",
            {"reason": value},
            problem(400, "badRevocationReason", "malformed"),
        )
        for name, value in (
            ("negative", -1),
            ("string", "x"),
            ("float", 1.5),
            ("list", []),
            ("huge", 10**30),
            ("boolean", True),
        )
    ),
    BadRevocation("no-certificate", "no certificate", {"certificate": None}),
    BadRevocation("certificate-number", "a certificate that is a number", {"certificate": 7}),
    BadRevocation("not-der", "a certificate that is no DER", {"certificate": jose.b64(b"not DER")}),
    BadRevocation("empty", "an empty certificate", {"certificate": ""}),
)


def _refusal(bad: BadRevocation) -> None:
    @case(CASES, f"revoke.{bad.name}", "RFC 8555 7.6", MUST, f"revocation with {bad.title} is refused")
    async def steps(world: World) -> None:
        done = await acts.issued(world)
        expect(await acts.revoke(world, done.order.account, done.der, **bad.members), bad.check)


for _bad in REFUSED:
    _refusal(_bad)


def _bent(name: str, title: str, bend: object) -> None:
    @case(CASES, f"revoke.{name}", "RFC 8555 7.6", MUST, f"revocation of {title} is refused")
    async def steps(world: World) -> None:
        done = await acts.issued(world)
        certificate = bend(done)  # type: ignore[operator]
        expect(await acts.revoke(world, done.order.account, done.der, certificate=certificate), refused())


_bent("padded", "a certificate with padded base64url", lambda done: jose.b64(done.der) + "=")
_bent("trailing-octets", "a certificate with octets after it", lambda done: jose.b64(done.der + b"\0"))
_bent("pem", "a certificate in PEM", lambda done: jose.b64(done.download.body))
_bent("changed", "a certificate whose signature was changed", lambda done: jose.b64(pki.spoiled(done.der)))
_bent("version", "a certificate of an unknown version", lambda done: jose.b64(pki.unversioned(done.der)))
_bent("issuer", "the issuing CA's certificate", lambda done: jose.b64(pki.certificate_der(done.chain[-1])))


@case(
    CASES,
    "revoke.unknown-certificate",
    "RFC 8555 7.6",
    MUST,
    "revocation of a certificate this CA never issued is refused",
)
async def unknown(world: World) -> None:
    done = await acts.issued(world)
    private = pki.new_private()
    expect(await by_key(world, private, pki.self_signed(private)), refused(), about="by its own key")
    expect(
        await acts.revoke(world, done.order.account, pki.self_signed(private)),
        refused(),
        about="by an account",
    )


@case(
    CASES,
    "revoke.anothers",
    "RFC 8555 7.6",
    MUST,
    "an account without authorization for the names cannot revoke: 403 unauthorized",
)
async def anothers(world: World) -> None:
    done, second = await acts.issued(world), await acts.apart(world)
    if done.order.account.credential.names & second.credential.names:
        raise acts.lacking(world, "for other names")
    expect(await acts.revoke(world, second, done.der), problem(403, "unauthorized"))


@case(
    CASES,
    "revoke.other-key",
    "RFC 8555 7.6",
    MUST,
    "a key that is not the certificate's cannot revoke: 403 unauthorized",
)
async def other_key(world: World) -> None:
    done = await acts.issued(world)
    expect(await by_key(world, pki.new_private(), done.der), problem(403, "unauthorized"))


@case(
    CASES,
    "revoke.account-key-as-jwk",
    "RFC 8555 7.6",
    MUST,
    "the account key sent as jwk is no certificate key: unauthorized",
)
async def account_key_as_jwk(world: World) -> None:
    done = await acts.issued(world)
    expect(await by_key(world, done.order.account.key.private, done.der), DENIED)


@case(
    CASES,
    "revoke.refusals-revoke-nothing",
    "RFC 8555 7.6",
    MUST,
    "after all refused requests the certificate is not revoked",
)
async def still_good(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world))
    for reason in (7, 11):
        expect(await acts.revoke(world, done.order.account, done.der, reason=reason), refused())
    expect(await by_key(world, pki.new_private(), done.der), refused())
    # Only a certificate that is not revoked can be revoked with 200: anything else is alreadyRevoked.
    expect(await acts.revoke(world, done.order.account, done.der), status(200))


@case(
    CASES,
    "revoke.by-account",
    "RFC 8555 7.6",
    MUST,
    "the account that ordered a certificate can revoke it: 200",
)
async def by_account(world: World) -> None:
    await acts.revoked(world)


@case(CASES, "revoke.again", "RFC 8555 7.6", MUST, "a second revocation is 400 alreadyRevoked")
async def again(world: World) -> None:
    gone = await acts.revoked(world)
    expect(await acts.revoke(world, gone.order.account, gone.der), problem(400, "alreadyRevoked"))


@case(
    CASES,
    "revoke.again-by-key",
    "RFC 8555 7.6",
    MUST,
    "a second revocation by the certificate's key is 400 alreadyRevoked",
)
async def again_by_key(world: World) -> None:
    gone = await acts.revoked(world)
    expect(await by_key(world, gone.private, gone.der), problem(400, "alreadyRevoked"))


@case(
    CASES,
    "revoke.by-certificate-key",
    "RFC 8555 7.6",
    MUST,
    "the certificate's own key can revoke it, without account",
)
async def by_certificate_key(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world))
    expect(await by_key(world, done.private, done.der, reason=1), status(200))


@case(
    CASES,
    "revoke.by-rsa-certificate-key",
    "RFC 8555 7.6",
    SHOULD,
    "an RSA certificate's own key can revoke it",
)
async def by_rsa_key(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world), jose.new_key("RS256").private)
    expect(await by_key(world, done.private, done.der), status(200))


# Before the next one, for then there is an authorization in the certificate's own spelling.
@case(
    CASES,
    "revoke.by-authorized-account-in-capitals",
    "RFC 4343 3",
    SHOULD,
    "an account that holds authorizations for all the names, written in capitals, can revoke",
)
async def by_authorized_in_capitals(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world))
    second = await acts.namesake(world, done)
    names = [{**one, "value": one["value"].upper()} for one in second.credential.identifiers]
    await acts.fresh_order(world, second, identifiers=names)
    expect(await acts.revoke(world, second, done.der), status(200))


@case(
    CASES,
    "revoke.by-authorized-account",
    "RFC 8555 7.6",
    MUST,
    "an account that holds authorizations for all the names can revoke",
)
async def by_authorized(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world))
    second = await acts.namesake(world, done)
    await acts.fresh_order(world, second)
    expect(await acts.revoke(world, second, done.der), status(200))


@case(
    CASES,
    "revoke.race",
    "RFC 8555 7.6",
    MUST,
    "of four revocations at once one is 200, the rest alreadyRevoked",
)
async def race(world: World) -> None:
    done = await acts.issue(world, await acts.fresh_order(world))
    await world.wire.open_many(done.url, 4)
    answers = await acts.race(*(acts.revoke(world, done.order.account, done.der) for _ in range(4)))
    for answer in answers:
        if answer.status != 200:
            expect(answer, problem(400, "alreadyRevoked"))
    won = sum(answer.status == 200 for answer in answers)
    require(won == 1, f"{won} of 4 were 200")


def _reason(code: int) -> None:
    @case(
        CASES,
        f"revoke.reason-{code}-accepted",
        "RFC 5280 5.3.1",
        SHOULD,
        f"revocation with reason {code} is accepted",
    )
    async def steps(world: World) -> None:
        done: Issued = await acts.issue(world, await acts.fresh_order(world))
        expect(await acts.revoke(world, done.order.account, done.der, reason=code), status(200))


for _code in (0, 3, 5):
    _reason(_code)


@case(
    CASES,
    "revoke.certificate-still-served",
    "RFC 8555 7.4.2",
    OURS,
    "a revoked certificate can still be fetched, and its order stays valid",
)
async def still_served(world: World) -> None:
    gone = await acts.revoked(world)
    expect(await world.post(gone.order.account, gone.url), status(200))
    require((await acts.reload(world, gone.order)).status == "valid", "the order is not valid any more")


@case(
    CASES,
    "revoke.in-crl",
    "RFC 5280 6.3",
    SHOULD,
    "the CRL that a certificate points to has it once it is revoked",
)
async def in_crl(world: World) -> None:
    gone = await acts.revoked(world)
    listed = await _listed(world, gone)
    require(gone.leaf.serial_number in listed, f"it has {len(listed)} others")


@case(
    CASES,
    "revoke.no-reason-in-crl",
    "RFC 8555 7.6",
    SHOULD,
    "a certificate revoked without a reason is in the CRL without a reasonCode",
)
async def no_reason_in_crl(world: World) -> None:
    gone = await acts.issue(world, await acts.fresh_order(world))
    expect(await acts.revoke(world, gone.order.account, gone.der), status(200), about="revokeCert")
    listed = await _listed(world, gone)
    require(gone.leaf.serial_number in listed, f"it has {len(listed)} others")
    code = listed[gone.leaf.serial_number]
    require(code is None, f"its reasonCode is {code}")


async def _listed(world: World, gone: Issued) -> dict[int, str | None]:
    """The CRL that the certificate points to, once it is in there; what there is after a while otherwise."""
    url = pki.crl_url(gone.leaf)
    if url is None:
        raise Skipped("the certificate names no CRL over http or https")
    for _ in range(world.polls):
        listed = pki.crl_reasons(expect(await world.get(url), status(200)).body)
        if gone.leaf.serial_number in listed:
            break
        await asyncio.sleep(acts.POLL_SECONDS)
    return listed
