"""Of a CSR only the key is used; everything in it that could mean something else is refused."""

import base64
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.profiles import CLIENT_AUTOMATED
from enroll.acme.csr import CheckedCsr, check_csr, read_csr
from enroll.acme.orders import Entitlement, Identifier
from enroll.problems import Problem
from tests.ca.dsakeys import dsa_key
from tests.ca.roca import roca_key

FQDN = "k12345678.users.kinen.example"
ENTITLEMENT = Entitlement(FQDN, frozenset({"k12345678", "k123456780001"}), ("client-automated",))
KEY = ec.generate_private_key(ec.SECP256R1())
BASIC = x509.BasicConstraints
USAGE = dict.fromkeys(
    (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make(
    *names: x509.GeneralName | str,
    cn: str | None = None,
    key: Any = KEY,
    digest: Any = hashes.SHA256(),  # noqa: B008 - a value
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> bytes:
    subject = [] if cn is None else [x509.NameAttribute(NameOID.COMMON_NAME, cn)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        general = [x509.DNSName(name) if isinstance(name, str) else name for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, digest).public_bytes(serialization.Encoding.DER)


def check(
    der: bytes | str,
    ordered: tuple[str, ...] = (FQDN,),
    is_account_key: bool = False,
) -> CheckedCsr:
    return check_csr(
        read_csr(b64(der) if isinstance(der, bytes) else der),
        identifiers=[Identifier("dns", value) for value in ordered],
        entitlement=ENTITLEMENT,
        key_kinds=CLIENT_AUTOMATED.key_kinds,
        is_account_key=is_account_key,
    )


def refusal(der: Any, **arguments: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        check(der, **arguments)
    assert caught.value.name == "badCSR"
    assert caught.value.status == 400
    return caught.value


EKUS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
SIGNING = x509.KeyUsage(digital_signature=True, key_cert_sign=False, **USAGE)


@pytest.mark.parametrize(
    ("der", "ordered"),
    [
        (make(FQDN), (FQDN,)),
        (make(FQDN, cn=FQDN), (FQDN,)),
        (make(cn="K12345678"), ("k12345678",)),
        (make(FQDN.upper(), cn="K12345678"), (FQDN, "k12345678")),
        (make(FQDN, cn="K123456780001"), (FQDN,)),
        (make(FQDN, FQDN.upper()), (FQDN, FQDN, FQDN.upper())),
        (make("k12345678", FQDN), ("K12345678", "k12345678", FQDN)),
        (make(FQDN, extensions=(EKUS, SIGNING, BASIC(ca=False, path_length=None))), (FQDN,)),
        (make(FQDN, extensions=(x509.TLSFeature([x509.TLSFeatureType.status_request]),)), (FQDN,)),
        (make(FQDN, digest=hashes.SHA512()), (FQDN,)),
    ],
)
def test_what_clients_send(der: bytes, ordered: tuple[str, ...]) -> None:
    """Empty subject, CN only, aliases, any case, usages asked for (acme.sh): all end in the same key."""
    spki = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert check(der, ordered) == CheckedCsr(spki, hashlib.sha256(spki).hexdigest())


@pytest.mark.parametrize(
    "made",
    [
        partial(ec.generate_private_key, ec.SECP384R1()),
        partial(rsa.generate_private_key, 65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_kinds_of_key(made: Callable[[], Any]) -> None:
    """P-256, P-384, RSA from 2048 bits and Ed25519, as the profile says."""
    key = made()
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    assert check(make(FQDN, key=key, digest=digest))


@pytest.mark.parametrize(
    ("made", "digest"),
    [
        (partial(rsa.generate_private_key, 65537, 1024), hashes.SHA256()),
        (partial(rsa.generate_private_key, 3, 2048), hashes.SHA256()),
        (partial(ec.generate_private_key, ec.SECP521R1()), hashes.SHA512()),
        (partial(ec.generate_private_key, ec.SECP256K1()), hashes.SHA256()),
        (partial(ec.generate_private_key, ec.SECP192R1()), hashes.SHA256()),
        (dsa_key, hashes.SHA256()),
        (ed448.Ed448PrivateKey.generate, None),
    ],
)
def test_weak_and_foreign_keys(made: Callable[[], Any], digest: Any) -> None:
    """RFC 8555 section 7.4: the CSR's key has to meet the policy."""
    refusal(make(FQDN, key=made(), digest=digest))


def test_a_key_of_the_faulty_library() -> None:
    """CVE-2017-15361: badCSR, which names the fault."""
    assert "ROCA" in refusal(make(FQDN, key=roca_key(2048))).detail


@pytest.mark.parametrize(("number", "version"), [(1, 2), (2, 3)])
def test_the_version_is_named(number: int, version: int) -> None:
    """RFC 2986 section 4.1: PKCS#10 has version 1, which is the number 0, and no other."""
    der = bytearray(make(FQDN))
    at = der.index(b"\x02\x01\x00")  # the first INTEGER
    der[at + 2] = number
    assert refusal(bytes(der)).detail == f"the CSR says version {version}; PKCS#10 has version 1 only"


@pytest.mark.parametrize(
    ("der", "ordered", "says"),
    [
        (make(FQDN, "other.example"), (FQDN,), "not in the order: other.example"),
        (make(FQDN, cn="other.example"), (FQDN,), "not in the order: other.example"),
        (make(FQDN, "k12345678"), (FQDN,), "not in the order: k12345678"),
        (make(FQDN), (FQDN, "K12345678"), "lacks names of the order: k12345678"),
        (make(), (FQDN,), "lacks"),
        (make(cn="K123456780001"), (FQDN,), "lacks"),
        (make(FQDN, x509.RFC822Name("a@kinen.example")), (FQDN,), "other than dNSNames"),
        (make(FQDN, x509.UniformResourceIdentifier("https://a.example")), (FQDN,), "other than dNSNames"),
        (make(FQDN, x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))), (FQDN,), "other than dNSNames"),
        (make(FQDN, extensions=(BASIC(ca=True, path_length=0),)), (FQDN,), "a CA certificate"),
        (
            make(FQDN, extensions=(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **USAGE),)),
            (FQDN,),
            "usages of a CA",
        ),
    ],
)
def test_names_and_extensions(der: bytes, ordered: tuple[str, ...], says: str) -> None:
    """RFC 8555 section 7.4: exactly the names of the order, dNSNames only, and no CA."""
    assert says in refusal(der, ordered=ordered).detail


def forge(change: Callable[[Any], None]) -> bytes:
    """An honest CSR changed in its ASN.1, its signature left as it was."""
    parsed = asn1_csr.CertificationRequest.load(make(FQDN))
    change(parsed)
    return bytes(parsed.dump(force=True))


def _set_sha1(parsed: Any) -> None:
    parsed["signature_algorithm"]["algorithm"] = "sha1_ecdsa"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "!!",
        b64(make(FQDN)) + "=",
        b64(make(FQDN))[:-1],
        b"",
        b"\x30\x00",
        make(FQDN) + b"\0",
        make(FQDN)[:-1],
        forge(_set_sha1),
        make(FQDN)[:-8] + bytes(8),
        b"-----BEGIN CERTIFICATE REQUEST-----",
        5,
        None,
        {},
    ],
)
def test_unreadable(sent: Any) -> None:
    """Bad base64url, bad DER, trailing bytes, a wrong signature: badCSR, never another error."""
    with pytest.raises(Problem) as caught:
        check_csr(
            read_csr(b64(sent) if isinstance(sent, bytes) else sent),
            identifiers=[Identifier("dns", FQDN)],
            entitlement=ENTITLEMENT,
            key_kinds=CLIENT_AUTOMATED.key_kinds,
            is_account_key=False,
        )
    assert caught.value.name == "badCSR"


def test_sha1_is_refused() -> None:
    """A CSR signed with SHA-1 is badCSR, even where the library still verifies it."""
    assert "sha1" in refusal(forge(_set_sha1)).detail


def test_account_keys_are_not_certified() -> None:
    """RFC 8555 section 11.1: the key of an account is refused."""
    assert check(make(FQDN), is_account_key=False).spki_sha256
    assert "account key" in refusal(make(FQDN), is_account_key=True).detail


HONEST = make(FQDN, cn="K12345678", extensions=(EKUS, SIGNING))


@settings(max_examples=400)
@given(st.data())
def test_any_der_is_checked_or_refused(data: st.DataObject) -> None:
    """However an honest CSR is bent, the answer is badCSR or, unbent, the key."""
    der = bytearray(HONEST)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(der) - 1))
        der[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        checked = check(bytes(der))
    except Problem as problem:
        assert problem.name == "badCSR"  # noqa: PT017 - either outcome is right
        return
    assert checked == check(HONEST)
