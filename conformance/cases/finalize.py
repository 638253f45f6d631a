"""Finalizing: CSRs that must be refused, CSRs that must not, and eight of them at once (RFC 8555 7.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from conformance import acts, jose, pki
from conformance.case import ADVICE, MUST, OURS, SHOULD, Case, Level, case
from conformance.check import header, member, problem, refused, said, status
from conformance.credentials import Identifier
from conformance.pki import Wish
from conformance.verdict import Failed, expect, require
from conformance.wire import Answer
from conformance.world import Issued, Order, World

CASES: list[Case] = []
BAD_CSR = problem(400, "badCSR")
NOT_READY = problem(403, "orderNotReady")
MakeCsr = Callable[[World, Order], Awaitable[object]]


def _rsa(bits: int = 2048) -> rsa.RSAPrivateKey:
    private = jose.spare_key("RS256", bits).private
    assert isinstance(private, rsa.RSAPrivateKey)
    return private


def _simple(make: Callable[[tuple[Identifier, ...]], object]) -> MakeCsr:
    async def build(_: World, order: Order) -> object:
        made = make(order.identifiers)
        return jose.b64(made) if isinstance(made, bytes) else made

    return build


def _named(*more: str, wish: Wish | None = None) -> MakeCsr:
    """A CSR for the order's names and these."""
    extra = tuple({"type": "dns", "value": name} for name in more)
    return _simple(lambda ids: pki.csr(pki.new_private(), (*ids, *extra), wish))


async def _account_key(_: World, order: Order) -> object:
    return jose.b64(pki.csr(order.account.key.private, order.identifiers))


async def _other_account_key(world: World, order: Order) -> object:
    return jose.b64(pki.csr((await acts.stranger(world)).key.private, order.identifiers))


def _fresh(ids: tuple[Identifier, ...]) -> bytes:
    return pki.csr(pki.new_private(), ids)


ELSEWHERE = ({"type": "dns", "value": "elsewhere.example"},)


@dataclass(frozen=True)
class BadCsr:
    """A CSR to be refused; typed says whether badCSR is the type to expect (it is not for broken JSON)."""

    name: str
    level: Level
    title: str
    make: MakeCsr
    typed: bool = True


REFUSED = (
    BadCsr("missing", MUST, "no csr at all", _simple(lambda ids: None), typed=False),
    BadCsr("not-string", MUST, "a csr that is a number", _simple(lambda ids: 5), typed=False),
    BadCsr(
        "padded", MUST, "a csr with padding", _simple(lambda ids: jose.b64(_fresh(ids)) + "="), typed=False
    ),
    BadCsr(
        "plain-base64",
        MUST,
        "a csr in plain base64",
        _simple(lambda ids: "++//" + jose.b64(_fresh(ids))[4:]),
        typed=False,
    ),
    BadCsr("empty", MUST, "an empty csr", _simple(lambda ids: ""), typed=False),
    BadCsr("not-der", MUST, "octets that are no DER", _simple(lambda ids: b"not a CSR")),
    BadCsr(
        "pem",
        MUST,
        "a CSR in PEM",
        _simple(lambda ids: b"-----BEGIN CERTIFICATE REQUEST-----\n" + _fresh(ids)),
    ),
    BadCsr("truncated", MUST, "a CSR cut short", _simple(lambda ids: _fresh(ids)[:-8])),
    BadCsr("trailing-octets", MUST, "a CSR with octets after it", _simple(lambda ids: _fresh(ids) + b"\0\0")),
    BadCsr(
        "bad-signature", MUST, "a CSR whose signature is wrong", _simple(lambda ids: pki.spoiled(_fresh(ids)))
    ),
    BadCsr("md5", MUST, "a CSR signed over MD5", _simple(lambda ids: pki.weakly_signed(_rsa(), ids, "md5"))),
    BadCsr(
        "sha1", SHOULD, "a CSR signed over SHA-1", _simple(lambda ids: pki.weakly_signed(_rsa(), ids, "sha1"))
    ),
    BadCsr(
        "rsa-1024",
        ADVICE,
        "a CSR for an RSA key of 1024 bits (it can be factored)",
        _simple(lambda ids: pki.csr(_rsa(1024), ids)),
    ),
    BadCsr(
        "rsa-e-3",
        OURS,
        "a CSR for an RSA key with exponent 3",
        _simple(lambda ids: pki.csr(rsa.generate_private_key(3, 2048), ids)),
    ),
    BadCsr(
        "p-192",
        SHOULD,
        "a CSR for a key on P-192",
        _simple(lambda ids: pki.csr(ec.generate_private_key(ec.SECP192R1()), ids)),
    ),
    BadCsr(
        "no-names",
        MUST,
        "a CSR without names",
        _simple(lambda ids: pki.csr(pki.new_private(), ids, Wish(san=False))),
    ),
    BadCsr(
        "other-name",
        MUST,
        "a CSR for another name",
        _simple(lambda ids: pki.csr(pki.new_private(), ELSEWHERE)),
    ),
    BadCsr("extra-name", MUST, "a CSR with a name more than the order", _named("elsewhere.example")),
    BadCsr("wildcard", MUST, "a CSR with a wildcard more than the order", _named("*.elsewhere.example")),
    BadCsr(
        "common-name-differs",
        MUST,
        "a CSR whose common name is not in the order",
        _named(wish=Wish(common_name="elsewhere.example")),
    ),
    BadCsr("ca", SHOULD, "a CSR that asks to be a CA", _named(wish=Wish(extra=((pki.CA_TRUE, True),)))),
    BadCsr("account-key", MUST, "a CSR for the account key", _account_key),
    BadCsr("other-account-key", MUST, "a CSR for another account's key", _other_account_key),
)


async def _refuse(world: World, bad: BadCsr) -> tuple[Answer, str]:
    """Sends the CSR once; the answer and the order's status after it."""

    async def send() -> tuple[Answer, str]:
        order = await acts.ready_order(world)
        answer = await world.post(
            order.account, order.link("finalize"), {"csr": await bad.make(world, order)}
        )
        return answer, (await acts.reload(world, order)).status

    return await world.once(f"csr {bad.name}", send)


def _refusals(bad: BadCsr) -> None:
    @case(
        CASES, f"csr.{bad.name}", "RFC 8555 7.4", bad.level, f"{bad.title} is refused, and nothing is issued"
    )
    async def refusal(world: World) -> None:
        answer, after = await _refuse(world, bad)
        expect(answer, refused())
        require(after in {"ready", "invalid"}, f"the order is {after!r} afterwards")

    if not bad.typed:
        return

    @case(
        CASES,
        f"csr.{bad.name}-type",
        "RFC 8555 7.4",
        bad.level if bad.level == OURS else SHOULD,
        f"{bad.title} is badCSR, and the order stays ready",
    )
    async def kind(world: World) -> None:
        answer, after = await _refuse(world, bad)
        expect(answer, BAD_CSR)
        require(after == "ready", f"the order is {after!r} afterwards")


for _bad in REFUSED:
    _refusals(_bad)


@case(CASES, "finalize.payload-empty", "RFC 8555 7.4", MUST, "finalize with an empty payload is refused")
async def empty(world: World) -> None:
    order = await acts.ready_order(world)
    expect(await world.post(order.account, order.link("finalize")), refused())
    expect((await acts.reload(world, order)).answer, member("status", "ready"))


@case(CASES, "finalize.anothers", "RFC 8555 6.3", MUST, "another account cannot finalize the order")
async def anothers(world: World) -> None:
    order, second = await acts.ready_order(world), await acts.stranger(world)
    payload = {"csr": jose.b64(_fresh(order.identifiers))}
    expect(await world.post(second, order.link("finalize"), payload), problem({401, 403, 404}))


@case(
    CASES,
    "finalize.amended",
    "RFC 8555 7.4",
    SHOULD,
    "after a refused CSR an amended one is accepted for the same order",
)
async def amended(world: World) -> None:
    order = await acts.fresh_order(world)
    expect(await acts.finalize(world, order, _fresh(ELSEWHERE)), refused())
    await acts.issue(world, order)


@case(
    CASES,
    "finalize.issues",
    "RFC 8555 7.4",
    MUST,
    "finalize answers the order, processing or valid, and a certificate follows",
)
async def issues(world: World) -> None:
    expect((await acts.issued(world)).finalized, status(200), member("status", "processing", "valid"))


@case(CASES, "finalize.location", "RFC 8555 7.4", SHOULD, "finalize answers with Location, the order's URL")
async def location(world: World) -> None:
    done = await acts.issued(world)
    expect(done.finalized, header("Location"))
    require(done.finalized.header("Location") == done.order.url, "it is another URL")


@case(CASES, "finalize.again", "RFC 8555 7.4", MUST, "finalize of a valid order is 403 orderNotReady")
async def again(world: World) -> None:
    done = await acts.issued(world)
    expect(await acts.finalize(world, done.order, _fresh(done.order.identifiers)), NOT_READY)


@case(
    CASES,
    "finalize.again-changes-nothing",
    "RFC 8555 7.4",
    MUST,
    "a second finalize does not change the certificate",
)
async def unchanged(world: World) -> None:
    done = await acts.issued(world)
    await acts.finalize(world, done.order, _fresh(done.order.identifiers))
    answer = await world.post(done.order.account, done.url)
    require(answer.body == done.download.body, "the certificate is another one now")


@case(
    CASES, "finalize.race", "RFC 8555 7.4", MUST, "of eight finalize requests at once one certificate comes"
)
async def race(world: World) -> None:
    order = await acts.fresh_order(world)
    privates = [pki.new_private() for _ in range(8)]
    requests = [pki.csr(private, order.identifiers) for private in privates]
    await world.wire.open_many(order.url, 8)
    answers = await acts.race(*(acts.finalize(world, order, request) for request in requests))
    won = [private for private, answer in zip(privates, answers, strict=True) if answer.status == 200]
    for answer in answers:
        if answer.status != 200:
            expect(answer, problem({403, 409}))
    require(won, "no request was accepted")
    order = await acts.settle(world, order, {"ready", "processing"})
    urls = {str(a.object()["certificate"]) for a in answers if "certificate" in a.object()}
    urls.add(order.link("certificate"))
    require(len(urls) == 1, f"{len(urls)} certificates came of one order")
    done = await acts.download(world, order, won[0], answers[0])
    holders = [private for private in privates if pki.same_key(done.leaf, private)]
    require(len(holders) == 1, "the certificate is for none of the keys")
    require(holders[0] in won, "the certificate is for a key whose request was refused")


@case(
    CASES,
    "finalize.race-one-winner",
    "RFC 8555 7.4",
    OURS,
    "of eight finalize requests with different keys at once one is 200, the rest orderNotReady",
)
async def race_winner(world: World) -> None:
    order = await acts.fresh_order(world)
    requests = [_fresh(order.identifiers) for _ in range(8)]
    await world.wire.open_many(order.url, 8)
    answers = await acts.race(*(acts.finalize(world, order, request) for request in requests))
    statuses = sorted(answer.status for answer in answers)
    require(statuses == [200, *[403] * 7], f"the answers were {statuses}")


# CSRs that must be accepted.


async def _accepted(
    world: World, private: jose.Private, wish: Wish | None = None, shout: bool = False
) -> Issued:
    order = await acts.fresh_order(world)
    names = [{**one, "value": one["value"].upper() if shout else one["value"]} for one in order.identifiers]
    answer = await acts.finalize(world, order, pki.csr(private, names, wish))
    expect(answer, status(200), about="finalize")
    order = await acts.settle(world, order, {"ready", "processing"})
    if order.status != "valid":
        raise Failed(f"the order is {order.status!r}: {said(order.answer.object().get('error'))}")
    done = await acts.download(world, order, private, answer)
    require(pki.same_key(done.leaf, private), "the certificate is for another key")
    return done


def _accept(
    name: str, level: Level, title: str, private: Callable[[], jose.Private], shout: bool = False
) -> None:
    @case(CASES, f"csr.{name}-accepted", "RFC 8555 7.4", level, f"{title} is accepted")
    async def steps(world: World) -> None:
        await _accepted(world, private(), shout=shout)


_accept("rsa-2048", MUST, "a CSR for an RSA key of 2048 bits", lambda: jose.new_key("RS256").private)
for _bits in (2056, 3000):
    _accept(f"rsa-{_bits}", OURS, f"a CSR for an RSA key of {_bits} bits", partial(_rsa, _bits))
_accept("p-384", SHOULD, "a CSR for a P-384 key", lambda: ec.generate_private_key(ec.SECP384R1()))
_accept("ed25519", OURS, "a CSR for an Ed25519 key", ed25519.Ed25519PrivateKey.generate)
_accept(
    "other-case",
    SHOULD,
    "a CSR whose names differ from the order's in case only",
    pki.new_private,
    shout=True,
)


@case(
    CASES,
    "csr.both-purposes-accepted",
    "RFC 8555 7.4",
    SHOULD,
    "a CSR that asks for serverAuth and clientAuth, as some clients do, is accepted",
)
async def both_purposes(world: World) -> None:
    await _accepted(world, pki.new_private(), Wish(extra=((pki.BOTH_PURPOSES, False),)))


@case(
    CASES,
    "csr.common-name-accepted",
    "RFC 8555 7.4",
    MUST,
    "a CSR with the name as common name and subjectAltName is accepted",
)
async def common_name(world: World) -> None:
    order = await acts.fresh_order(world)
    private = pki.new_private()
    request = pki.csr(private, order.identifiers, Wish(common_name=order.identifiers[0]["value"]))
    expect(await acts.finalize(world, order, request), status(200))


@case(
    CASES,
    "csr.common-name-only-accepted",
    "RFC 8555 7.4",
    SHOULD,
    "a CSR whose only name is the common name is accepted",
)
async def common_name_only(world: World) -> None:
    order = await acts.fresh_order(world)
    wish = Wish(common_name=order.identifiers[0]["value"], san=False)
    if len(order.identifiers) == 1:
        expect(
            await acts.finalize(world, order, pki.csr(pki.new_private(), order.identifiers, wish)),
            status(200),
        )


@case(
    CASES,
    "csr.key-usage-accepted",
    "RFC 8555 7.4",
    SHOULD,
    "a CSR with keyUsage, as some clients send, is accepted",
)
async def key_usage(world: World) -> None:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    await _accepted(world, pki.new_private(), Wish(extra=((usage, True),)))
