"""The fixed keys, and the certificate, of PROTOCOL.md's examples: whoever reads them can compute the rest.

Written from the RFCs and not from the code under test. ECDSA signatures are those of RFC 6979, the same each
time; nothing here is a secret, and nothing but the document may use it.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.enroll.acme.signing import b64, jwk, mac_jws, number

Key = ec.EllipticCurvePrivateKey

HOSTS = {"pickup": "https://pickup.example/acme", "renewal": "https://renewal.example/acme"}
KID = "4051605117702254"
NONCE = "bm9uY2Utbm9uY2Utbm9uY2U"
USER_CN = "K123456780002"
FQDN = "k12345678.users.kinen.example"
HMAC_KEY = hashlib.sha256(b"sekisho example HMAC key").digest()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _key(name: str) -> Key:
    scalar = int.from_bytes(hashlib.sha256(f"sekisho example {name}".encode()).digest(), "big")
    return ec.derive_private_key(scalar % (_ORDER - 1) + 1, ec.SECP256R1())


#: What each key is for, in the document's words.
KEYS: dict[str, Key] = {
    "account1": _key("account 1"),
    "account2": _key("account 2"),
    "certificate": _key("certificate"),
    "renewed": _key("renewed certificate"),
    "authority": _key("authority"),
}


def compact(document: Any) -> str:
    """JSON as the examples are signed: no white space, members in the order shown."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def signed(key: Key, protected: dict[str, Any], payload: Any) -> dict[str, str]:
    """A flattened JWS by ES256 with the deterministic signature of RFC 6979."""
    first, second = b64(compact(protected)), b64("" if payload == "" else compact(payload))
    message = f"{first}.{second}".encode()
    der = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return {"protected": first, "payload": second, "signature": b64(r.to_bytes(32) + s.to_bytes(32))}


def binding(key: Key) -> dict[str, str]:
    """The external account binding of the examples."""
    protected = compact({"alg": "HS256", "kid": KID, "url": HOSTS["pickup"] + "/new-account"})
    return mac_jws(HMAC_KEY, protected, compact(jwk(key)))  # type: ignore[arg-type]


def thumbprint(key: Key) -> str:
    """RFC 7638: SHA-256 of the required members in lexicographic order."""
    return b64(hashlib.sha256(json.dumps(jwk(key), sort_keys=True, separators=(",", ":")).encode()).digest())


def private_jwk(key: Key) -> dict[str, str]:
    return {**jwk(key), "d": number(key.private_numbers().private_value, 32)}


def csr(key: Key) -> str:
    """PKCS#10 for the one name of the examples, DER in base64url."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(FQDN)]), critical=False)
    made = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    return b64(made.public_bytes(serialization.Encoding.DER))


def certificate(serial: int, key: Key) -> x509.Certificate:
    """A client's certificate, shaped like those of `client-automated`."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (USER_CN, "Example CA")]
    authority = KEYS["authority"].public_key()
    builder = (
        x509.CertificateBuilder(issuer_name=names[1], subject_name=names[0], serial_number=serial)
        .public_key(key.public_key())
        .not_valid_before(datetime(2026, 11, 22, 2, 50, tzinfo=UTC))
        .not_valid_after(datetime(2027, 2, 20, 3, 0, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(FQDN)]), critical=False)
    )
    return builder.sign(KEYS["authority"], hashes.SHA256(), ecdsa_deterministic=True)


#: RFC 9773's own example has this serial: its first bit is set, so that a zero octet leads.
FIRST = certificate(0x87654321, KEYS["certificate"])
SECOND = certificate(0x12345678, KEYS["renewed"])


def der(made: x509.Certificate) -> str:
    return b64(made.public_bytes(serialization.Encoding.DER))


def pem(made: x509.Certificate) -> str:
    return made.public_bytes(serialization.Encoding.PEM).decode()


def cert_id(made: x509.Certificate) -> str:
    """RFC 9773 section 4.1: the key identifier and the serial's DER content octets."""
    aki = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = made.serial_number
    return f"{b64(aki or b'')}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def shown() -> str:
    """The block of the document: every key with what follows from it."""
    rows = {
        "account1, private": compact(private_jwk(KEYS["account1"])),
        "account1, thumbprint": thumbprint(KEYS["account1"]),
        "account2, private": compact(private_jwk(KEYS["account2"])),
        "account2, thumbprint": thumbprint(KEYS["account2"]),
        "certificate key, private": compact(private_jwk(KEYS["certificate"])),
        "key of the renewed one, private": compact(private_jwk(KEYS["renewed"])),
        "credentials, kid": KID,
        "credentials, HMAC key": b64(HMAC_KEY),
        "nonce of every request": NONCE,
        "certificate, CertID": cert_id(FIRST),
        "renewed one, CertID": cert_id(SECOND),
    }
    lines = "".join(f"{name}:\n  {value}\n" for name, value in rows.items())
    return f"```text\n{lines}```\n\n```text\n{pem(FIRST)}```\n"
