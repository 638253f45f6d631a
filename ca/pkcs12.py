"""PKCS#12 files that every reader opens: the PFX put together bag by bag, in two formats.

`cryptography` could write one, but leaves the MAC at 2048 rounds (an attacker then guesses through the
MAC) and cannot add the Microsoft provider attribute, without which Edge does not offer an EC key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from asn1crypto import algos, cms, core, keys, pkcs12
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from ca.errors import Unacceptable
from ca.pkcs12kdf import KEY, MAC, VECTOR, derive_key

ROUNDS = 100_000
"""Rounds of each key derivation, the MAC's included: the cheapest of them is the one that is attacked."""
ENTROPY_BYTES = 80
LONG_PASSWORD = 31
"""Passwords longer than this do not fit into the dialogs of old Windows versions: warn, do not refuse."""
MAX_PASSWORD = 1024
CONTENT_TYPE = "application/x-pkcs12"

_PROVIDER_OID = "1.3.6.1.4.1.311.17.1"
_PROVIDER = "Microsoft Software Key Storage Provider"


@dataclass(frozen=True)
class Format:
    """A row of the format table: how bags are encrypted and which hash the MAC uses."""

    name: str
    label: str
    mac_hash: str
    encrypt: Callable[[str, bytes, bytes, bytes], tuple[algos.EncryptionAlgorithm, bytes]]


def assemble(
    key: bytes,
    leaf: bytes,
    chain: Sequence[bytes],
    password: str,
    format: str,
    friendly_name: str,
    entropy: bytes,
) -> bytes:
    """A PFX (RFC 7292), DER, of a PKCS#8 key, its certificate and the issuing CA (never the root).

    `format` is a name in `FORMATS`; `entropy` is `ENTROPY_BYTES` random bytes for salts and vectors.
    CPU only, 30 ms (standard) to 50 ms (compatible), the lock held for none of it: see `ca.pkcs12kdf`.
    Raises `Unacceptable("p12-password")`.
    """
    check_password(password)
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"assemble takes {ENTROPY_BYTES} bytes of entropy")
    row = FORMATS[format]
    salts = [entropy[i : i + 16] for i in range(0, ENTROPY_BYTES, 16)]
    key_id = hashlib.sha1(leaf, usedforsecurity=False).digest()
    attributes = [_friendly_name(friendly_name), _local_key_id(key_id)]
    certificates = pkcs12.SafeContents(
        [_certificate_bag(leaf, attributes), *(_certificate_bag(der, []) for der in chain)]
    )
    safe = pkcs12.AuthenticatedSafe(
        [
            _encrypted(row, password, certificates.dump(), salts[0], salts[1]),
            _data(pkcs12.SafeContents([_key_bag(row, password, key, salts[2:4], attributes)]).dump()),
        ]
    ).dump()
    pfx = pkcs12.Pfx(
        {"version": "v3", "auth_safe": _data(safe), "mac_data": _mac(row, password, safe, salts[4])}
    )
    return bytes(pfx.dump())


def check_password(password: str) -> None:
    """`Unacceptable("p12-password")` unless the password is half-width letters and digits, one or more.

    JDK 17 refuses anything else, and of the empty password's two encodings no reader knows both (Z3).
    """
    if not re.fullmatch(r"[A-Za-z0-9]+", password):
        raise Unacceptable("p12-password", "the password must be half-width letters and digits, at least one")
    if len(password) > MAX_PASSWORD:
        raise Unacceptable("p12-password", f"the password has more than {MAX_PASSWORD} characters")


def _encrypt_pbes2(
    password: str, plaintext: bytes, salt: bytes, vector: bytes
) -> tuple[algos.EncryptionAlgorithm, bytes]:
    """PBES2 (RFC 8018 section 6.2) with PBKDF2-HMAC-SHA256 and AES-256-CBC."""
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(password.encode())
    kdf = {
        "salt": algos.Pbkdf2Salt({"specified": salt}),
        "iteration_count": ROUNDS,
        "prf": {"algorithm": "sha256", "parameters": core.Null()},
    }
    parameters = {
        "key_derivation_func": {"algorithm": "pbkdf2", "parameters": kdf},
        "encryption_scheme": {"algorithm": "aes256_cbc", "parameters": vector},
    }
    algorithm = algos.EncryptionAlgorithm({"algorithm": "pbes2", "parameters": parameters})
    return algorithm, _cbc(AES(key), vector, plaintext)


def _encrypt_3des(
    password: str, plaintext: bytes, salt: bytes, _: bytes
) -> tuple[algos.EncryptionAlgorithm, bytes]:
    """pbeWithSHAAnd3-KeyTripleDES-CBC (RFC 7292 appendix C), whose vector is derived, not sent."""
    key = derive_key("sha1", password, salt, KEY, 24, ROUNDS)
    vector = derive_key("sha1", password, salt, VECTOR, 8, ROUNDS)
    algorithm = algos.EncryptionAlgorithm(
        {
            "algorithm": "pkcs12_sha1_tripledes_3key",
            "parameters": {"salt": salt, "iterations": ROUNDS},
        }
    )
    return algorithm, _cbc(TripleDES(key), vector, plaintext)


STANDARD = "standard"
COMPATIBLE = "compatible"
FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        STANDARD: Format(STANDARD, "標準形式", "sha256", _encrypt_pbes2),
        # For macOS up to 14, iOS up to 17, Android up to 13, Windows before 10 1709 (D11).
        COMPATIBLE: Format(COMPATIBLE, "互換形式", "sha1", _encrypt_3des),
    }
)


def _mac(row: Format, password: str, content: bytes, salt: bytes) -> pkcs12.MacData:
    size = hashlib.new(row.mac_hash, usedforsecurity=False).digest_size
    key = derive_key(row.mac_hash, password, salt, MAC, size, ROUNDS)
    return pkcs12.MacData(
        {
            "mac": {
                "digest_algorithm": {"algorithm": row.mac_hash, "parameters": core.Null()},
                "digest": hmac.digest(key, content, row.mac_hash),
            },
            "mac_salt": salt,
            "iterations": ROUNDS,
        }
    )


def _key_bag(
    row: Format, password: str, key: bytes, salts: Sequence[bytes], attributes: Sequence[Any]
) -> pkcs12.SafeBag:
    algorithm, encrypted = row.encrypt(password, key, salts[0], salts[1])
    shrouded = keys.EncryptedPrivateKeyInfo({"encryption_algorithm": algorithm, "encrypted_data": encrypted})
    provider = _attribute(_PROVIDER_OID, pkcs12.SetOfBMPString([_PROVIDER]))
    return pkcs12.SafeBag(
        {
            "bag_id": "pkcs8_shrouded_key_bag",
            "bag_value": shrouded,
            "bag_attributes": pkcs12.Attributes([*attributes, provider]),
        }
    )


def _certificate_bag(der: bytes, attributes: Sequence[Any]) -> pkcs12.SafeBag:
    bag: dict[str, Any] = {
        "bag_id": "cert_bag",
        "bag_value": pkcs12.CertBag({"cert_id": "x509", "cert_value": core.ParsableOctetString(der)}),
    }
    if attributes:
        bag["bag_attributes"] = pkcs12.Attributes(list(attributes))
    return pkcs12.SafeBag(bag)


def _encrypted(row: Format, password: str, content: bytes, salt: bytes, vector: bytes) -> cms.ContentInfo:
    algorithm, encrypted = row.encrypt(password, content, salt, vector)
    return cms.ContentInfo(
        {
            "content_type": "encrypted_data",
            "content": {
                "version": "v0",
                "encrypted_content_info": {
                    "content_type": "data",
                    "content_encryption_algorithm": algorithm,
                    "encrypted_content": encrypted,
                },
            },
        }
    )


def _data(content: bytes) -> cms.ContentInfo:
    return cms.ContentInfo({"content_type": "data", "content": core.OctetString(content)})


def _friendly_name(name: str) -> pkcs12.Attribute:
    if not name.isascii():
        raise ValueError("a friendly name is ASCII: readers disagree about everything else")
    return _attribute("friendly_name", pkcs12.SetOfBMPString([name]))


def _local_key_id(key_id: bytes) -> pkcs12.Attribute:
    return _attribute("local_key_id", pkcs12.SetOfOctetString([key_id]))


class _AnyAttribute(pkcs12.Attribute):  # type: ignore[misc]
    # asn1crypto knows the provider attribute's OID under another name and would not take its value.
    _oid_specs = {  # noqa: RUF012
        **pkcs12.Attribute._oid_specs,
        "microsoft_local_machine_keyset": pkcs12.SetOfBMPString,
    }


def _attribute(kind: str, values: core.SetOf) -> pkcs12.Attribute:
    return _AnyAttribute({"type": kind, "values": values})


def _cbc(algorithm: AES | TripleDES, vector: bytes, plaintext: bytes) -> bytes:
    padder = padding.PKCS7(algorithm.block_size).padder()
    encryptor = Cipher(algorithm, CBC(vector)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
