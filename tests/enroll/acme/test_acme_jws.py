"""Every check on a signed request has a request that passes it and one that fails nothing else."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

import enroll.acme.jws as under_test
from enroll.acme.jws import (
    MAX_BODY,
    MacKey,
    Signer,
    VerifiedRequest,
    verify,
    verify_binding,
    verify_key_change,
)
from enroll.acme.keys import AccountKey, parse_jwk, stored_key
from enroll.acme.wire import decode_base64url
from enroll.mediatype import media_type
from enroll.problems import Problem
from tests.ca.roca import roca_key
from tests.enroll.acme.signing import ALGORITHM, KEYS, KID, OTHER, URL, b64, header, jwk, jws, mac_jws, number

JOSE = "application/jose+json"


@dataclass(frozen=True)
class Account:
    key: AccountKey
    status: str = "valid"


class World:
    """One account, and a list of the nonces that were spent."""

    def __init__(self, kind: str = "P-256", status: str = "valid") -> None:
        self.account = Account(parse_jwk(jwk(KEYS[kind])), status)
        self.spent: list[str] = []

    def verify(
        self, body: Any, signer: Signer = Signer.ACCOUNT, content_type: str | None = JOSE
    ) -> VerifiedRequest[Account]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        accounts = {KID: self.account}
        kind = media_type([] if content_type is None else [content_type])
        return verify(data, kind, url=URL, signer=signer, account_of=accounts.get, spend=self.spent.append)

    def refusal(self, body: Any, signer: Signer = Signer.ACCOUNT, content_type: str | None = JOSE) -> Problem:
        with pytest.raises(Problem) as caught:
            self.verify(body, signer, content_type)
        return caught.value


def signed(kind: str = "P-256", payload: Any = "{}", **changes: Any) -> dict[str, str]:
    return jws(KEYS[kind], header(kind, **changes), payload)


@pytest.mark.parametrize("kind", KEYS)
def test_every_algorithm_verifies(kind: str) -> None:
    """RFC 8555 section 6.2: ES256 MUST, EdDSA SHOULD; the table's others too; the nonce is spent once."""
    world = World(kind)
    request = world.verify(signed(kind, {"a": 1}))
    assert request.account is world.account
    assert request.kid == KID
    assert request.members() == {"a": 1}
    assert world.spent == ["AAAA"]


@pytest.mark.parametrize("kind", KEYS)
def test_a_new_key_signs_for_itself(kind: str) -> None:
    """RFC 8555 section 7.3: newAccount is signed by the key in the header."""
    request = World().verify(signed(kind, kid=None, jwk=jwk(KEYS[kind])), Signer.NEW_KEY)
    assert request.account is None
    assert request.key == parse_jwk(jwk(KEYS[kind]))


def test_the_fully_specified_name_of_eddsa() -> None:
    """RFC 9864: Ed25519 names the same algorithm."""
    assert World("Ed25519").verify(signed("Ed25519", alg="Ed25519")).account


@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_by_another_key(kind: str) -> None:
    """A signature that does not verify is malformed; its nonce is spent (RFC 8555 section 6.5)."""
    good = signed(kind)
    tampered = good | {"payload": b64("{ }")}
    world = World(kind)
    assert world.refusal(tampered).name == "malformed"
    assert world.spent == ["AAAA"]


def test_a_nonce_that_has_appeared_is_spent() -> None:
    """RFC 8555 section 6.5: also by who cannot sign; what has no readable header brings none to spend."""
    world = World()
    assert world.refusal(jws(OTHER, header(), "{}")).name == "malformed"
    assert world.spent == ["AAAA"]
    assert world.refusal(signed() | {"protected": "AAAA"}).name == "malformed"
    assert world.spent == ["AAAA"]


def test_a_bad_nonce_is_told_before_anything_else() -> None:
    """Whatever else is wrong: a client that tries again with the fresh one learns it then."""

    def spend(_: str) -> None:
        raise Problem("badNonce", "spent")

    body = json.dumps(signed(url=URL + "x")).encode()
    with pytest.raises(Problem) as caught:
        verify(body, JOSE, url=URL, signer=Signer.ACCOUNT, account_of={KID: None}.get, spend=spend)
    assert caught.value.name == "badNonce"


def test_content_type() -> None:
    """RFC 8555 section 6.2: anything but application/jose+json is answered 415."""
    world = World()
    assert world.verify(signed(), content_type="Application/JOSE+json; charset=utf-8").account
    for other in (
        None,
        "",
        "application/json",
        "application/jose",
        "text/application/jose+json",
        "application/jose+jsonx",
    ):
        problem = world.refusal(signed(), content_type=other)
        assert (problem.name, problem.status) == ("malformed", 415)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in signed().items() if key != name}


@pytest.mark.parametrize(
    "body",
    [
        {"payload": b64("{}"), "signatures": [{"protected": b64(header()), "signature": "AA"}]},
        signed() | {"signatures": []},
        signed() | {"header": {"nonce": "AAAA"}},
        without("protected"),
        without("payload"),
        without("signature"),
        signed() | {"payload": None},
        signed() | {"signature": 5},
        ".".join(signed()[part] for part in ("protected", "payload", "signature")),
        [signed()],
        b"",
        b"\xff",
        b"null",
        json.dumps(signed()).encode()[:-1] + b',"payload":"e30"}',
        b"[" * 5000,
    ],
)
def test_only_the_flattened_serialization(body: Any) -> None:
    """RFC 8555 section 6.2: flattened JSON, one signature, no unprotected header."""
    assert World().refusal(body).name == "malformed"


@pytest.mark.parametrize("part", ["protected", "payload", "signature"])
@pytest.mark.parametrize(
    "change", [lambda s: s + "=", lambda s: s + "==", lambda s: "+" + s, lambda s: s + "\n"]
)
def test_padding_is_rejected(part: str, change: Any) -> None:
    """RFC 8555 section 6.1: trailing = MUST be rejected as malformed."""
    good = signed()
    assert World().refusal(good | {part: change(good[part])}).name == "malformed"


def test_a_body_too_large() -> None:
    """A body above the bound is 413 before it is parsed."""
    problem = World().refusal(b" " * (MAX_BODY + 1))
    assert (problem.name, problem.status) == ("malformed", 413)


@pytest.mark.parametrize("alg", ["none", "HS256", "RS1", "PS256", "es256", "ES256K", "RS384", ""])
def test_unsupported_algorithms_list_what_would_do(alg: str) -> None:
    """RFC 8555 section 6.2: badSignatureAlgorithm MUST come with algorithms."""
    problem = World().refusal(signed(alg=alg))
    assert problem.name == "badSignatureAlgorithm"
    assert problem.to_json()["algorithms"] == ["ES256", "ES384", "ES512", "RS256", "EdDSA", "Ed25519"]


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("alg", ALGORITHM.values())
def test_algorithm_and_key_have_to_match(kind: str, alg: str) -> None:
    """ES256 with P-384, RS256 with an EC key and so on are refused."""
    if ALGORITHM[kind] == alg:
        assert World(kind).verify(signed(kind, alg=alg)).account
    else:
        assert World(kind).refusal(signed(kind, alg=alg)).name == "badSignatureAlgorithm"


def test_the_alg_of_the_jwk() -> None:
    """RFC 7517 section 4.4: a JWK's alg has to be the header's."""
    good = signed(kid=None, jwk=jwk(KEYS["P-256"]) | {"alg": "ES256"})
    assert World().verify(good, Signer.NEW_KEY).key
    bad = signed(kid=None, jwk=jwk(KEYS["P-256"]) | {"alg": "ES384"})
    assert World().refusal(bad, Signer.NEW_KEY).name == "badSignatureAlgorithm"


@pytest.mark.parametrize(
    ("signer", "changes"),
    [
        (Signer.ACCOUNT, {"jwk": jwk(KEYS["P-256"])}),
        (Signer.EITHER, {"jwk": jwk(KEYS["P-256"])}),
        (Signer.NEW_KEY, {}),
        (Signer.ACCOUNT, {"kid": None, "jwk": jwk(KEYS["P-256"])}),
        (Signer.ACCOUNT, {"kid": None}),
        (Signer.EITHER, {"kid": None}),
        (Signer.ACCOUNT, {"kid": 1}),
        (Signer.NEW_KEY, {"kid": None, "jwk": "x"}),
        (Signer.ACCOUNT, {"url": None}),
        (Signer.ACCOUNT, {"url": [URL]}),
        (Signer.ACCOUNT, {"alg": None}),
        (Signer.ACCOUNT, {"alg": {}}),
    ],
)
def test_header_members(signer: Signer, changes: dict[str, Any]) -> None:
    """RFC 8555 section 6.2: alg, url and exactly the one of kid and jwk that is asked for."""
    world = World()
    assert world.refusal(signed(**changes), signer).name == "malformed"
    assert world.spent == ["AAAA"]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"nonce": None}, "badNonce"),  # RFC 8555 section 6.5: "(or not present)"
        ({"nonce": "a+b="}, "malformed"),
        ({"nonce": 7}, "malformed"),
        ({"crit": ["b64"], "b64": False}, "malformed"),
        ({"b64": True}, "malformed"),
        ({"crit": []}, "malformed"),
    ],
)
def test_what_has_no_nonce_to_spend(changes: dict[str, Any], kind: str) -> None:
    """RFC 8555 sections 6.5 and 6.5.2; and a header that is not understood at all."""
    world = World()
    assert world.refusal(signed(**changes)).name == kind
    assert world.spent == []


@pytest.mark.parametrize(
    "url",
    [
        URL + "/", URL + "?a", URL.upper(), URL.replace("https", "http"),
        URL.replace(".example", ".example:443"), URL.replace("ca.", "evil."), "/acme/new-order", "",
    ],
)  # fmt: skip
def test_the_signed_url_is_the_requested_one(url: str) -> None:
    """RFC 8555 section 6.4: byte for byte, else unauthorized."""
    world = World()
    assert world.refusal(signed(url=url)).name == "unauthorized"
    assert world.spent == ["AAAA"]


@pytest.mark.parametrize(
    "kid", [KID + "/", "1", "https://evil.example/acme/account/1", KID.upper(), KID + "?", ""]
)
def test_kid_is_the_full_account_url(kid: str) -> None:
    """RFC 8555 section 6.2: kid is the account URL, no part of it; unknown is accountDoesNotExist."""
    assert World().refusal(signed(kid=kid)).name == "accountDoesNotExist"


@pytest.mark.parametrize("status", ["deactivated", "revoked"])
def test_a_deactivated_account(status: str) -> None:
    """RFC 8555 section 7.3.6: 401 unauthorized, said to the holder of the key only."""
    problem = World(status=status).refusal(signed())
    assert (problem.name, problem.status) == ("unauthorized", 401)
    assert World(status=status).refusal(jws(OTHER, header(), "{}")).name == "malformed"


def test_es256_signature_is_raw() -> None:
    """RFC 7518 section 3.4: 64 octets; DER or a dropped zero is refused."""
    good = signed()
    der = KEYS["P-256"].sign(f"{good['protected']}.{good['payload']}".encode(), ec.ECDSA(hashes.SHA256()))
    for wrong in (der, b"", b"\0" * 63, b"\0" * 65, b"\0" * 64, b"\xff" * 64):
        assert World().refusal(good | {"signature": b64(wrong)}).name == "malformed"
    raw = decode_base64url(good["signature"], "signature")
    # The same two numbers with more zeros before the second, or the first: one signature has one spelling.
    for wrong in (raw[:32] + b"\0" + raw[32:], b"\0" + raw, raw + b"\0"):
        assert World().refusal(good | {"signature": b64(wrong)}).name == "malformed"
    World().verify(good)


def test_payload_kinds() -> None:
    """RFC 8555 section 6.3: empty is POST-as-GET; a resource takes either an object or nothing."""
    empty = World().verify(signed(payload=""))
    assert empty.is_post_as_get
    empty.expect_post_as_get()
    with pytest.raises(Problem, match="needs a payload"):
        empty.members()
    full = World().verify(signed(payload="{}"))
    with pytest.raises(Problem, match="has to be empty"):
        full.expect_post_as_get()
    for payload in ("[]", "null", "1", '{"a":1,"a":2}', "\x00", b"\xff"):
        with pytest.raises(Problem):
            World().verify(signed(payload=payload)).members()


OFF_CURVE = jwk(KEYS["P-256"]) | {"y": number(1, 32)}
P192_SIZED = {"kty": "EC", "crv": "P-192", "x": number(1, 24), "y": number(1, 24)}


@pytest.mark.parametrize(
    ("members", "name"),
    [
        (OFF_CURVE, "badPublicKey"),
        (P192_SIZED, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"crv": "P-384"}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"crv": "secp256k1"}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"x": number(0, 32), "y": number(0, 32)}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"x": b64(b"\0" + b"\1" * 32)}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"x": "AQ"}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"x": "AQ="}, "malformed"),
        (jwk(KEYS["P-256"]) | {"d": "AQ"}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"use": "enc"}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"key_ops": ["sign"]}, "badPublicKey"),
        (jwk(KEYS["P-256"]) | {"key_ops": 3}, "badPublicKey"),
        (jwk(rsa.generate_private_key(65537, 1024)), "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"e": "Aw"}, "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"e": "AQ"}, "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"e": ""}, "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"n": ""}, "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"n": b64(b"\0" + b"\xff" * 256)}, "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"n": number(2**2047)}, "badPublicKey"),
        (jwk(roca_key(2048)), "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"n": number(2**8191 + 1)}, "badPublicKey"),
        (jwk(KEYS["RSA"]) | {"n": number(3 * (2**2046 + 1))}, "badPublicKey"),
        (jwk(KEYS["Ed25519"]) | {"crv": "X25519"}, "badPublicKey"),
        (jwk(KEYS["Ed25519"]) | {"crv": "Ed448"}, "badPublicKey"),
        (jwk(KEYS["Ed25519"]) | {"x": "AQ"}, "badPublicKey"),
        (jwk(KEYS["Ed25519"]) | {"x": b64(b"\1" + b"\0" * 31)}, "badPublicKey"),
        ({"kty": "oct", "k": "AQ"}, "badPublicKey"),
        ({"kty": "EC"}, "malformed"),
        ({"kty": 1}, "malformed"),
        ({}, "malformed"),
    ],
)  # fmt: skip
def test_weak_and_foreign_keys(members: dict[str, Any], name: str) -> None:
    """RFC 8555 section 6.7: badPublicKey for what is not supported or too weak."""
    body = signed(kid=None, jwk=members)
    assert World().refusal(body, Signer.NEW_KEY).name == name


def test_rfc7638_thumbprint() -> None:
    """The example of RFC 7638 section 3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE"
        "CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Q"
        "vzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6"
        "WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = parse_jwk({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_rfc8037_vectors() -> None:
    """RFC 8037 appendices A.3 and A.4: an Ed25519 key's thumbprint and signature."""
    key = parse_jwk({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    assert key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    envelope = under_test.parse_members(
        {
            "protected": "eyJhbGciOiJFZERTQSJ9",
            "payload": "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "signature": "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6"
            "dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        },
        "x",
    )
    under_test._check_signature(envelope, "EdDSA", key)


def test_stored_keys_read_back() -> None:
    """What is stored is the canonical JWK; it reads back as the same key."""
    key = parse_jwk(jwk(KEYS["P-256"]) | {"kid": "x", "use": "sig"})
    assert stored_key(key.jwk) == key
    assert key.jwk == json.dumps(jwk(KEYS["P-256"]), separators=(",", ":"), sort_keys=True)


SECRET = bytes(range(32))
MAC_KEYS = {"4000000000000002": MacKey("4000000000000002", SECRET)}


def binding(
    payload: Any = None, secret: bytes = SECRET, digest: str = "sha256", **changes: Any
) -> dict[str, str]:
    protected = {"alg": "HS256", "kid": "4000000000000002", "url": URL} | changes
    members = {name: value for name, value in protected.items() if value is not None}
    return mac_jws(secret, members, jwk(KEYS["P-256"]) if payload is None else payload, digest)


def bind(members: dict[str, Any]) -> MacKey:
    return verify_binding(members, url=URL, key=parse_jwk(jwk(KEYS["P-256"])), mac_key_of=MAC_KEYS.get)


def test_binding() -> None:
    """RFC 8555 section 7.3.4: a MAC over the account key by the credential's key."""
    assert bind(binding()) == MAC_KEYS["4000000000000002"]


@pytest.mark.parametrize(("alg", "digest"), [("HS384", "sha384"), ("HS512", "sha512")])
def test_a_mac_that_wants_a_longer_key(alg: str, digest: str) -> None:
    """RFC 7518 section 3.2: the key is as long as the hash at least. What is taken is told."""
    with pytest.raises(Problem) as caught:
        bind(binding(alg=alg, digest=digest))
    assert caught.value.name == "badSignatureAlgorithm"
    assert caught.value.members == {"algorithms": ["HS256"]}


@pytest.mark.parametrize(
    ("members", "name"),
    [
        (binding(alg="ES256"), "badSignatureAlgorithm"),
        (binding(alg="none"), "badSignatureAlgorithm"),
        (binding(nonce="AAAA"), "malformed"),
        (binding(url=URL + "x"), "malformed"),
        (binding(url=None), "malformed"),
        (binding(kid=None), "malformed"),
        (binding(kid=4), "malformed"),
        (binding(jwk=jwk(KEYS["P-256"])), "malformed"),
        (binding(kid="4000000000000003"), "unauthorized"),
        (binding(kid="4000000000000003", secret=b"\0" * 32), "unauthorized"),
        (binding(secret=b"\0" * 32), "unauthorized"),
        (binding() | {"payload": b64(jwk(OTHER))}, "unauthorized"),
        (binding(payload=jwk(OTHER)), "malformed"),
        (binding(payload={}), "malformed"),
        (binding() | {"header": {}}, "malformed"),
        (binding() | {"signature": ""}, "unauthorized"),
        ({}, "malformed"),
    ],
)
def test_binding_refused(members: dict[str, Any], name: str) -> None:
    """RFC 8555 section 7.3.4: each of the five checks, and unknown kid as wrong MAC."""
    with pytest.raises(Problem) as caught:
        bind(members)
    assert caught.value.name == name


def change_key(
    new: Any = OTHER, account: Any = KID, old: Any = None, by: Any = None, **changes: Any
) -> AccountKey:
    """A key change from the account's P-256 key, whose inner JWS ``by`` signs."""
    protected = {"alg": "ES256", "jwk": jwk(new), "url": URL} | changes
    inner_header = {name: value for name, value in protected.items() if value is not None}
    payload = {"account": account, "oldKey": old or jwk(KEYS["P-256"])}
    inner = jws(by or new, inner_header, {k: v for k, v in payload.items() if v is not None})
    return verify_key_change(World().verify(signed(payload=inner)))


def test_key_change() -> None:
    """RFC 8555 section 7.3.5: the new key signs account and oldKey."""
    assert change_key() == parse_jwk(jwk(OTHER))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"nonce": "AAAA"}, "malformed"),
        ({"url": URL + "/x"}, "malformed"),
        ({"url": None}, "malformed"),
        ({"jwk": None}, "malformed"),
        ({"jwk": None, "kid": KID}, "malformed"),
        ({"kid": KID}, "malformed"),
        ({"alg": "HS256"}, "badSignatureAlgorithm"),
        ({"alg": "RS256"}, "badSignatureAlgorithm"),
        ({"by": KEYS["P-256"]}, "malformed"),
        ({"account": KID + "2"}, "malformed"),
        ({"account": None}, "malformed"),
        ({"old": jwk(OTHER)}, "malformed"),
        ({"old": "x"}, "malformed"),
        ({"new": KEYS["P-256"]}, "malformed"),
        ({"jwk": OFF_CURVE}, "badPublicKey"),
    ],
)
def test_key_change_refused(changes: dict[str, Any], name: str) -> None:
    """RFC 8555 section 7.3.5: each check of the inner JWS."""
    with pytest.raises(Problem) as caught:
        change_key(**changes)
    assert caught.value.name == name


@settings(max_examples=300)
@given(st.data())
def test_any_request_verifies_or_is_refused(data: st.DataObject) -> None:
    """Whatever is done to an honest request, the answer is a Problem or, untouched, the proof."""
    body = bytearray(json.dumps(signed(payload={"a": 1})).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        assert World().verify(bytes(body)).members() == {"a": 1}
    except Problem as problem:
        assert problem.status < 500  # noqa: PT017 - either outcome is right


JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.text(max_size=6)
    | st.sampled_from(["AQ", "P-256", KID, URL]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["kty", "x", "alg"]), inner),
    max_leaves=4,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "jwk", "nonce", "url", "crit"]), JSONISH, max_size=3),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "use", "key_ops", "alg", "d"]), JSONISH, max_size=3
    ),
    st.sampled_from(sorted(KEYS)),
)
def test_any_header_and_key_verifies_or_is_refused(
    changes: dict[str, Any], key_changes: dict[str, Any], kind: str
) -> None:
    """Headers and keys of every wrong type and shape raise Problems only."""
    protected = header(kind, kid=None, jwk=jwk(KEYS[kind]) | key_changes) | changes
    body = json.dumps(signed() | {"protected": b64(protected)}).encode()
    for signer in Signer:
        with pytest.raises(Problem) as caught:
            World(kind).verify(body, signer)
        assert caught.value.status < 500


def test_the_proof_is_built_in_one_place() -> None:
    """A VerifiedRequest is constructed by ``prove`` and nowhere else in the product."""
    root = Path(under_test.__file__).parents[2]
    builders = []
    for path in [*root.glob("enroll/**/*.py"), *root.glob("gateway/**/*.py")]:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                builders += [
                    function.name
                    for call in ast.walk(function)
                    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "VerifiedRequest"
                ]
    assert builders == ["prove"]
