"""Account keys: which are served, and which are badPublicKey (RFC 8555 6.2; RFC 7517, 7518, 8037)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conformance import jose
from conformance.case import MUST, SHOULD, Case, Level, case
from conformance.check import Check, problem, refused
from conformance.draft import Draft, Twist, payload_of
from conformance.drafts import row
from conformance.verdict import expect
from conformance.world import World

CASES: list[Case] = []

# Keys: the jwk is judged before the signature, so a stand-in key may sign.


def _key_row(name: str, title: str, level: Level, jwk: dict[str, object], alg: str, check: Check) -> None:
    CASES.append(
        row(
            f"key.{name}",
            "RFC 8555 6.2",
            level,
            f"{title} is refused",
            "unknown key",
            check,
            Twist(protected={"jwk": jwk, "alg": alg}),
        )
    )


BAD_KEY = problem(400, "badPublicKey")
BAD_KEY_OR_FORM = problem(400, "badPublicKey", "malformed")
_EC = jose.spare_key("ES256").jwk
_MODULUS = jose.number((1 << 2047) | (1 << 1024) | 1)

for _name, _title, _level, _jwk, _alg, _check in (
    (
        "p-192",
        "an EC key on P-192",
        MUST,
        {**_EC, "crv": "P-192", "x": jose.b64(b"x" * 24), "y": jose.b64(b"y" * 24)},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    (
        "off-curve",
        "an EC point off the curve",
        MUST,
        {**_EC, "y": jose.b64(bytes(31) + b"\1")},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    (
        "origin",
        "the EC point (0, 0)",
        MUST,
        {**_EC, "x": jose.b64(bytes(32)), "y": jose.b64(bytes(32))},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    (
        "coordinate-too-big",
        "an EC coordinate beyond the field",
        MUST,
        {**_EC, "x": jose.b64(b"\xff" * 32)},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    (
        "short-coordinate",
        "an EC coordinate of 31 octets",
        SHOULD,
        {**_EC, "x": jose.b64(b"x" * 31)},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    (
        "no-y",
        "an EC key without y",
        MUST,
        {k: v for k, v in _EC.items() if k != "y"},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    (
        "rsa-even-modulus",
        "an RSA key with an even modulus",
        SHOULD,
        {"kty": "RSA", "e": "AQAB", "n": jose.number(1 << 2047)},
        "RS256",
        BAD_KEY_OR_FORM,
    ),
    (
        "rsa-e-1",
        "an RSA key with exponent 1",
        MUST,
        {"kty": "RSA", "e": "AQ", "n": _MODULUS},
        "RS256",
        BAD_KEY_OR_FORM,
    ),
    (
        "rsa-e-even",
        "an RSA key with an even exponent",
        SHOULD,
        {"kty": "RSA", "e": jose.number(65536), "n": _MODULUS},
        "RS256",
        BAD_KEY_OR_FORM,
    ),
    (
        "rsa-huge",
        "an RSA key of 16384 bits",
        SHOULD,
        {"kty": "RSA", "e": "Aw", "n": jose.number((1 << 16383) | 1)},
        "RS256",
        BAD_KEY_OR_FORM,
    ),
    (
        "symmetric",
        "a symmetric key (kty oct)",
        MUST,
        {"kty": "oct", "k": jose.b64(b"k" * 32)},
        "ES256",
        BAD_KEY_OR_FORM,
    ),
    ("unknown-kty", "a key of an unknown kind", MUST, {"kty": "XYZ", "x": "AAAA"}, "ES256", BAD_KEY_OR_FORM),
    ("not-an-object", "a jwk that is a string", MUST, "AAAA", "ES256", BAD_KEY_OR_FORM),
    ("empty", "an empty jwk", MUST, {}, "ES256", BAD_KEY_OR_FORM),
    (
        "okp-short",
        "an Ed25519 key of 31 octets",
        MUST,
        {"kty": "OKP", "crv": "Ed25519", "x": jose.b64(b"x" * 31)},
        "EdDSA",
        refused("badPublicKey", "malformed", "badSignatureAlgorithm"),
    ),
):
    _key_row(_name, _title, _level, _jwk, _alg, _check)  # type: ignore[arg-type]


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


@case(CASES, "key.rsa-4096-served", "RFC 8555 6.2", SHOULD, "RSA account keys of 4096 bits are served")
async def rsa_4096(world: World) -> None:
    key = jose.spare_key("RS256", 4096)
    assert isinstance(key.private, rsa.RSAPrivateKey)
    expect(await world.new_account(key, {"onlyReturnExisting": True}), problem(400, "accountDoesNotExist"))
