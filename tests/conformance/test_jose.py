"""The suite's own JWS against the vectors of the RFCs."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from conformance import jose

OKP_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
OKP_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def test_ed25519_vector() -> None:
    """RFC 8037 A.4: the Ed25519 example signs to the published octets."""
    private = ed25519.Ed25519PrivateKey.from_private_bytes(jose.unb64(OKP_D))
    data = jose.signing_input(b'{"alg":"EdDSA"}', b"Example of Ed25519 signing")
    assert jose.b64(jose.sign(private, "EdDSA", data)) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert jose.public_jwk(private)["x"] == OKP_X


def test_okp_thumbprint_vector() -> None:
    """RFC 8037 A.3: the thumbprint of the Ed25519 example key."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": OKP_X}
    assert jose.thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_hmac_vector() -> None:
    """RFC 7515 A.1: the HS256 example."""
    key = jose.unb64("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
    payload = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
    data = jose.signing_input(b'{"typ":"JWT",\r\n "alg":"HS256"}', payload)
    assert jose.b64(jose.mac(key, "HS256", data)) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.mark.parametrize(("alg", "length"), [("ES256", 64), ("ES384", 96), ("ES512", 132)])
def test_ecdsa_is_raw(alg: str, length: int) -> None:
    """RFC 7518 3.4: an ECDSA signature is R || S of full length, and verifies."""
    key = jose.new_key(alg)
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    signature = key.sign(b"data")
    assert len(signature) == length
    r, s = (int.from_bytes(half, "big") for half in (signature[: length // 2], signature[length // 2 :]))
    digest = jose._curve_hash(key.private)
    key.private.public_key().verify(encode_dss_signature(r, s), b"data", ec.ECDSA(digest))


def test_short_coordinates_keep_their_length() -> None:
    """RFC 7518 6.2.1.2: coordinates keep their leading zero octets."""
    private = next(
        key
        for key in (ec.derive_private_key(n, ec.SECP256R1()) for n in range(1, 5000))
        if key.public_key().public_numbers().x < 1 << 248
    )
    assert len(jose.unb64(jose.public_jwk(private)["x"])) == 32


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "A+/A", "AA\n"])
def test_decoding_is_canonical(text: str) -> None:
    """RFC 7515 2: padding, plain base64 and loose trailing bits are not base64url here."""
    with pytest.raises(ValueError, match=r"base64|canonical|adding|encoded"):
        jose.unb64(text)
