"""What PROTOCOL.md shows can be computed again from PROTOCOL.md alone, by other implementations than ours."""

from __future__ import annotations

import base64
import json
import re
import subprocess

import josepy
import jwt
import pytest
from jwt.api_jws import PyJWS

from enroll.acme.keys import parse_jwk
from tests.enroll.protocol_examples import DOCUMENT

TEXT = DOCUMENT.read_text("utf-8")
KEYS = dict(re.findall(r"^([a-z12, A-Z]+):\n  (\S+)$", TEXT, re.MULTILINE))
EXAMPLES = re.findall(
    r"```http\nPOST (\S+) HTTP/1.1\nHost: (\S+)\n.*?\n\n(\{\n.*?\n\})\n\nHTTP/1.1", TEXT, re.DOTALL
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(shown: str) -> str:
    """base64url of the JSON without white space; "" is the empty payload."""
    return "" if shown == '""' else b64(json.dumps(json.loads(shown), separators=(",", ":")).encode())


def taken_apart(body: str) -> tuple[str, str, str]:
    """A request's protected header, payload and signature, as they go over the wire."""
    found = re.fullmatch(
        r'\{\n  "protected": base64url\((.*?)\),\n  "payload": (?:base64url\((.*)\)|("")),\n'
        r'  "signature": "(\S+)"\n\}',
        body,
        re.DOTALL,
    )
    assert found is not None, body
    return encoded(found[1]), encoded(found[2] or found[3]), found[4]


def public(name: str) -> jwt.PyJWK:
    members = json.loads(KEYS[f"{name}, private"])
    return jwt.PyJWK({key: value for key, value in members.items() if key != "d"}, algorithm="ES256")


def signer(body: str) -> str:
    """Who signs, by what the document says: the account in ``kid``, or whoever's key is in ``jwk``."""
    header = json.loads(unb64(taken_apart(body)[0]))
    if "kid" in header:
        return str(header["kid"].rpartition("/")[2])
    return next(
        name for name in ("account1", "account2") if f'"{header["jwk"]["x"]}"' in KEYS[f"{name}, private"]
    )


@pytest.mark.parametrize(
    ("path", "host", "body"), EXAMPLES, ids=[f"{path}-{n}" for n, (path, _, _) in enumerate(EXAMPLES)]
)
def test_every_request_verifies(path: str, host: str, body: str) -> None:
    """Each JWS by PyJWT, with the key of section 15, for the URL that it goes to; a changed one does not."""
    first, second, signature = taken_apart(body)
    header = json.loads(unb64(first))
    assert header["url"] == f"https://{host}{path}"
    key = public(signer(body))
    assert PyJWS().decode(f"{first}.{second}.{signature}", key=key, algorithms=["ES256"]) == unb64(second)
    other = public("account2" if signer(body) == "account1" else "account1")
    with pytest.raises(jwt.InvalidSignatureError):
        PyJWS().decode(f"{first}.{second}.{signature}", key=other, algorithms=["ES256"])


def test_there_are_examples() -> None:
    """None is lost to a pattern that matches nothing, and none shows dots where something belongs."""
    assert len(EXAMPLES) == TEXT.count("\nContent-Type: application/jose+json\n") > 20
    assert '"..."' not in TEXT


def test_the_binding_verifies() -> None:
    """HMAC key, kid, URL and account key of the one binding: by PyJWT."""
    (payload,) = {unb64(taken_apart(body)[1]) for _, _, body in EXAMPLES if "externalAccountBinding" in body}
    binding = json.loads(payload)["externalAccountBinding"]
    token = f"{binding['protected']}.{binding['payload']}.{binding['signature']}"
    key = unb64(KEYS["credentials, HMAC key"])
    signed = PyJWS().decode(token, key=key, algorithms=["HS256"])
    assert {**json.loads(signed), "d": json.loads(KEYS["account1, private"])["d"]} == json.loads(
        KEYS["account1, private"]
    )
    assert json.loads(unb64(binding["protected"])) == {
        "alg": "HS256",
        "kid": KEYS["credentials, kid"],
        "url": "https://pickup.example/acme/new-account",
    }
    assert len(key) == 32
    with pytest.raises(jwt.InvalidSignatureError):
        PyJWS().decode(token, key=KEYS["credentials, HMAC key"].encode(), algorithms=["HS256"])


@pytest.mark.parametrize("name", ["account1", "account2"])
def test_thumbprints(name: str) -> None:
    """RFC 7638, by josepy, and the one that our server computes."""
    members = json.loads(KEYS[f"{name}, private"])
    assert b64(josepy.JWK.from_json(members).thumbprint()) == KEYS[f"{name}, thumbprint"]
    shown = {key: value for key, value in members.items() if key != "d"}
    assert parse_jwk(shown).thumbprint == KEYS[f"{name}, thumbprint"]


def _openssl(*words: str, given: bytes) -> str:
    ran = subprocess.run(["openssl", *words], input=given, capture_output=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode() + ran.stderr.decode()


def test_the_certificate_has_its_cert_id() -> None:
    """RFC 9773 section 4.1, from what openssl shows: the key identifier and the serial's content octets."""
    pem = re.findall(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n", TEXT)
    assert len(set(pem)) == 1
    shown = _openssl("x509", "-noout", "-serial", "-ext", "authorityKeyIdentifier", given=pem[0].encode())
    serial = re.search(r"serial=([0-9A-F]+)", shown)
    identifier = re.search(r"((?:[0-9A-F]{2}:){19}[0-9A-F]{2})", shown)
    assert serial is not None
    assert identifier is not None
    number = int(serial[1], 16)
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    aki = bytes.fromhex(identifier[1].replace(":", ""))
    assert f"{b64(aki)}.{b64(octets)}" == KEYS["certificate, CertID"]
    assert f'"replaces": "{KEYS["certificate, CertID"]}"' in TEXT
    assert f"/renewal-info/{KEYS['certificate, CertID']} " in TEXT


def test_requests_for_certificates_verify() -> None:
    """Each PKCS#10, by openssl: signed by the key that it is for, for the name of the order."""
    found = re.findall(r'"csr": "(\S+)"', TEXT)
    assert len(found) == 2
    for text in found:
        shown = _openssl("req", "-verify", "-noout", "-text", "-inform", "DER", given=unb64(text))
        assert "DNS:k12345678.users.kinen.example" in shown
        assert re.search(r"verify OK", shown)
