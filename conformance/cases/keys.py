"""Account keys: which are served, and which are badPublicKey (RFC 8555 6.2; RFC 7517, 7518, 8037)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conformance import jose
from conformance.case import MUST, OURS, SHOULD, Case, Level, case
from conformance.check import Check, problem, refused
from conformance.draft import Draft, Twist, payload_of
from conformance.drafts import DRAFTS
from conformance.oddkeys import KEYS
from conformance.verdict import expect
from conformance.world import World

CASES: list[Case] = []

BAD_KEY = problem(400, "badPublicKey")
BAD_KEY_OR_FORM = problem(400, "badPublicKey", "malformed")
OR_ALGORITHM = refused("badPublicKey", "malformed", "badSignatureAlgorithm")


def _key_row(name: str, level: Level, title: str, check: Check = BAD_KEY_OR_FORM) -> None:
    @case(CASES, f"key.{name}", "RFC 8555 6.2", level, f"{title} is refused")
    async def steps(world: World) -> None:
        odd = KEYS[name]()
        # Where nothing can sign by the key a stand-in does: the jwk is judged before the signature.
        sign = odd.sign or jose.spare_key("ES256").sign
        twist = Twist(protected={"jwk": odd.jwk, "alg": odd.alg}, sign=lambda _, data: sign(data))
        expect(await world.send(await DRAFTS["unknown key"](world), twist), check)


_key_row("p-192", MUST, "an EC key on P-192")
_key_row("off-curve", MUST, "an EC point off the curve")
_key_row("origin", MUST, "the EC point (0, 0)")
_key_row("coordinate-too-big", MUST, "an EC coordinate beyond the field")
_key_row("short-coordinate", SHOULD, "an EC coordinate of 31 octets")
_key_row("no-y", MUST, "an EC key without y")
_key_row("rsa-even-modulus", SHOULD, "an RSA key with an even modulus")
_key_row("rsa-e-1", MUST, "an RSA key with exponent 1")
_key_row("rsa-e-even", SHOULD, "an RSA key with an even exponent")
_key_row("rsa-huge", SHOULD, "an RSA key of 16384 bits")
_key_row("symmetric", MUST, "a symmetric key (kty oct)", OR_ALGORITHM)
_key_row("unknown-kty", MUST, "a key of an unknown kind")
_key_row("not-an-object", MUST, "a jwk that is a string")
_key_row("empty", MUST, "an empty jwk")
_key_row("okp-short", MUST, "an Ed25519 key of 31 octets", OR_ALGORITHM)


@case(CASES, "key.rsa-1024", "RFC 7518 3.3", MUST, "an RSA account key of 1024 bits is badPublicKey")
async def rsa_1024(world: World) -> None:
    key = jose.spare_key("RS256", 1024)
    answer = await world.new_account(key, {"onlyReturnExisting": True})
    expect(answer, BAD_KEY)


@case(CASES, "key.private-member", "RFC 7517 4", SHOULD, "a jwk that carries its private part is refused")
async def private_member(world: World) -> None:
    key = jose.new_key()
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    secret = jose.number(key.private.private_numbers().private_value, 32)
    draft = Draft(await world.resource("newAccount"), payload_of({"onlyReturnExisting": True}), key, None)
    answer = await world.send(draft, Twist(protected={"jwk": {**key.jwk, "d": secret}}))
    expect(answer, refused("badPublicKey", "malformed"))


def _served(alg: str, level: Level) -> None:
    @case(CASES, f"alg.{alg.lower()}-served", "RFC 8555 6.2", level, f"account keys for {alg} are served")
    async def served(world: World) -> None:
        # An unknown key that is well signed gets as far as "no such account": no binding is spent.
        answer = await world.new_account(jose.spare_key(alg), {"onlyReturnExisting": True})
        expect(answer, problem(400, "accountDoesNotExist"))


for _alg_name, _alg_level in (
    ("ES256", MUST),
    ("EdDSA", SHOULD),
    ("ES384", SHOULD),
    ("ES512", SHOULD),
    ("RS256", SHOULD),
):
    _served(_alg_name, _alg_level)


def _rsa_served(bits: int, level: Level) -> None:
    @case(
        CASES,
        f"key.rsa-{bits}-served",
        "RFC 8555 6.2",
        level,
        f"RSA account keys of {bits} bits are served",
    )
    async def served(world: World) -> None:
        key = jose.spare_key("RS256", bits)
        answer = await world.new_account(key, {"onlyReturnExisting": True})
        expect(answer, problem(400, "accountDoesNotExist"))


for _bits, _bits_level in ((4096, SHOULD), (2056, OURS), (3000, OURS)):
    _rsa_served(_bits, _bits_level)


@case(CASES, "key.rsa-e-3", "RFC 8555 6.2", OURS, "an RSA account key with exponent 3 is badPublicKey")
async def rsa_exponent_3(world: World) -> None:
    key = jose.Key("RS256", rsa.generate_private_key(3, 2048))
    expect(await world.new_account(key, {"onlyReturnExisting": True}), BAD_KEY)
