"""How it was signed: algorithms and signatures (RFC 8555 6.2; RFC 7518)."""

from __future__ import annotations

import hashlib
import hmac

from conformance import acts, jose
from conformance.case import MUST, SHOULD, Case, case
from conformance.check import both, member, problem, refused, status
from conformance.draft import DROP, Twist
from conformance.drafts import row
from conformance.verdict import Failed, expect, require
from conformance.world import World

BAD_ALG = both(problem(400, "badSignatureAlgorithm"), member("algorithms"))
WRONG_SIGNATURE = problem({400, 401, 403}, "malformed", "unauthorized")


def mac_with_public(key: jose.Key, data: bytes) -> bytes:
    """HS256 keyed with the public key: the classic confusion of algorithms (RFC 8725 2.1)."""
    return hmac.new(jose.compact(key.jwk), data, hashlib.sha256).digest()


CASES: list[Case] = [
    row(
        "alg.none",
        "RFC 8555 6.2",
        MUST,
        "alg none is badSignatureAlgorithm and says which algorithms are served",
        "account",
        BAD_ALG,
        Twist(protected={"alg": "none"}, signature=lambda _: b""),
    ),
    row(
        "alg.none-jwk",
        "RFC 8555 6.2",
        MUST,
        "alg none is badSignatureAlgorithm at newAccount too",
        "existing",
        BAD_ALG,
        Twist(protected={"alg": "none"}, signature=lambda _: b""),
    ),
    *(
        row(
            f"alg.{alg.lower()}",
            "RFC 8555 6.2",
            MUST,
            f"{alg} on the outer JWS is badSignatureAlgorithm and says which algorithms are served",
            "account",
            BAD_ALG,
            Twist(protected={"alg": alg}, sign=mac_with_public),
        )
        for alg in ("HS256", "HS512")
    ),
    row(
        "alg.unknown",
        "RFC 8555 6.2",
        MUST,
        "an alg nobody knows is badSignatureAlgorithm and says which algorithms are served",
        "account",
        BAD_ALG,
        Twist(protected={"alg": "XX999"}),
    ),
    row(
        "alg.missing",
        "RFC 8555 6.2",
        MUST,
        "a JWS without alg is refused",
        "account",
        refused(),
        Twist(protected={"alg": DROP}),
    ),
    row(
        "alg.not-a-string",
        "RFC 7515 4.1.1",
        MUST,
        "an alg that is not a string is refused",
        "account",
        refused(),
        Twist(protected={"alg": ["ES256"]}),
    ),
    row(
        "alg.case",
        "RFC 7515 4.1.1",
        MUST,
        "alg is compared with case: es256 is not ES256",
        "account",
        refused("badSignatureAlgorithm", "malformed"),
        Twist(protected={"alg": "es256"}),
    ),
    row(
        "alg.es384-with-p256",
        "RFC 7518 3.4",
        MUST,
        "ES384 with a P-256 key is refused",
        "account",
        refused(),
        Twist(protected={"alg": "ES384"}),
    ),
    row(
        "alg.rs256-with-ec",
        "RFC 7518 3.3",
        MUST,
        "RS256 with an EC key is refused",
        "existing",
        refused(),
        Twist(protected={"alg": "RS256"}),
    ),
    row(
        "alg.jwk-alg-differs",
        "RFC 7517 4.4",
        SHOULD,
        "a jwk whose own alg differs from the header's is refused",
        "unknown key",
        refused("malformed", "badSignatureAlgorithm", "badPublicKey"),
        Twist(protected={"jwk": lambda jwk: {**jwk, "alg": "ES384"}}),
    ),
    row(
        "alg.jwk-use-enc",
        "RFC 7517 4.2",
        SHOULD,
        "a jwk for encryption (use enc) is refused",
        "unknown key",
        refused("malformed", "badPublicKey"),
        Twist(protected={"jwk": lambda jwk: {**jwk, "use": "enc"}}),
    ),
    row(
        "signature.wrong",
        "RFC 8555 6.2",
        MUST,
        "a signature with one bit changed is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(signature=lambda s: s[:-1] + bytes([s[-1] ^ 1])),
    ),
    row(
        "signature.empty",
        "RFC 8555 6.2",
        MUST,
        "an empty signature is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(signature=lambda _: b""),
    ),
    row(
        "signature.der",
        "RFC 7518 3.4",
        MUST,
        "an ECDSA signature in DER is refused: it is R || S",
        "account",
        WRONG_SIGNATURE,
        Twist(sign=lambda key, data: jose.der_signature(key.private, data)),
    ),
    row(
        "signature.63-octets",
        "RFC 7518 3.4",
        MUST,
        "an ES256 signature of 63 octets is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(sign=lambda key, data: short_signature(key, data)),
    ),
    row(
        "signature.65-octets",
        "RFC 7518 3.4",
        MUST,
        "an ES256 signature with a zero octet before it is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(signature=lambda s: b"\0" + s),
    ),
    row(
        "signature.zero-inside",
        "RFC 7518 3.4",
        MUST,
        "an ES256 signature with a zero octet between R and S is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(signature=lambda s: s[:32] + b"\0" + s[32:]),
    ),
    row(
        "signature.zeros",
        "FIPS 186-5 6.4.2",
        MUST,
        "an ECDSA signature of r = s = 0 is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(signature=lambda s: bytes(len(s))),
    ),
    row(
        "signature.payload-swapped",
        "RFC 8555 6.2",
        MUST,
        "a payload that was not signed is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(members=lambda m: {**m, "payload": jose.b64(b'{"status":"deactivated"}')}),
    ),
    row(
        "signature.other-key",
        "RFC 8555 6.2",
        MUST,
        "another key's signature under a kid is refused",
        "account",
        WRONG_SIGNATURE,
        Twist(sign=lambda _, data: jose.spare_key("ES256").sign(data)),
    ),
    row(
        "signature.other-key-jwk",
        "RFC 8555 6.2",
        MUST,
        "another key's signature beside a jwk is refused",
        "existing",
        WRONG_SIGNATURE,
        Twist(sign=lambda _, data: jose.spare_key("ES256").sign(data)),
    ),
]


def short_signature(key: jose.Key, data: bytes) -> bytes:
    """A signature whose R begins with a zero octet, with that octet dropped (as some platforms do)."""
    for _ in range(20_000):
        signature = key.sign(data)
        if signature[0] == 0:
            return signature[1:]
    raise Failed("no signature with a leading zero came up")


@case(
    CASES,
    "signature.rejection-twin",
    "RFC 8555 6.2",
    MUST,
    "the honest form of all these requests is accepted",
)
async def honest(world: World) -> None:
    owner = await acts.account(world)
    expect(await world.post(owner, owner.url), status(200))
    answer = await world.new_account(owner.key, {"onlyReturnExisting": True})
    expect(answer, status(200))
    require(
        answer.header("Location") == owner.url, f"Location is {answer.header('Location')}, not {owner.url}"
    )
