"""What a certificate says, how long it lasts, and that signing again gives the same one."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.authority import Authority
from ca.certificates import (
    JST,
    build,
    common_name,
    distinguished_name,
    is_dns_name,
    serial_from,
    serial_hex,
    validity,
)
from ca.datadir import DataDir
from ca.errors import ConfigError, Unacceptable
from ca.keys import generate, spki
from ca.profiles import CLIENT_AUTOMATED, CLIENT_PERSON, ISSUING, SERVER
from ca.publication import Site
from ca.signing import FileSigner
from tests.ca.conftest import AT, DAY, Issued


def _jst(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=JST).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("issued", "ends"),
    [
        ((2027, 1, 15, 17, 0, 0), (2030, 1, 15, 17, 0, 0)),
        ((2028, 2, 29, 12, 0, 0), (2031, 2, 28, 12, 0, 0)),
        # 28 February in UTC is 29 February in Japan for nine hours; people read Japan's date.
        ((2028, 2, 29, 3, 0, 0), (2031, 2, 28, 3, 0, 0)),
        ((2028, 3, 1, 3, 0, 0), (2031, 3, 1, 3, 0, 0)),
        ((2027, 12, 31, 23, 59, 59), (2030, 12, 31, 23, 59, 59)),
    ],
)
def test_three_calendar_years(issued: tuple[int, ...], ends: tuple[int, ...]) -> None:
    """D9: notAfter is three calendar years after issuance, 29 February becomes the 28th."""
    assert validity(CLIENT_PERSON, _jst(*issued)) == (_jst(*issued) - 600, _jst(*ends))


def test_the_years_are_japans() -> None:
    """By the epoch, not by the code's own zone: 2028-02-28 18:00 in Greenwich is the 29th here."""
    begins, ends = datetime(2028, 2, 28, 18, tzinfo=UTC), datetime(2031, 2, 27, 18, tzinfo=UTC)
    assert (begins.timestamp(), ends.timestamp()) == (1835373600, 1929981600)
    assert validity(CLIENT_PERSON, 1_835_373_600)[1] == 1_929_981_600


def test_never_after_the_issuer() -> None:
    """A certificate ends with its issuing CA's at the latest."""
    assert validity(CLIENT_PERSON, AT, AT + DAY) == (AT - 600, AT + DAY)


@pytest.mark.parametrize("left", [0, -1])
def test_an_expired_issuer_issues_nothing(left: int) -> None:
    """With the issuing CA over, the operator is told what to type."""
    with pytest.raises(ConfigError, match="make its successor: sekisho ca add NAME"):
        validity(CLIENT_PERSON, AT, AT + left)


def test_days_are_days() -> None:
    """Automated and server certificates count days."""
    assert validity(CLIENT_AUTOMATED, AT)[1] == AT + 90 * DAY
    assert validity(SERVER, AT)[1] == AT + 397 * DAY


def test_a_persons_certificate_says_exactly_this(opened: DataDir, person: Issued) -> None:
    """The profile of issue 2: digitalSignature critical, clientAuth only, SKI, AKI, no CA, D9."""
    certificate = x509.load_der_x509_certificate(person.der)
    issuer = opened.authority.current.certificate
    certificate.verify_directly_issued_by(issuer)
    said = {e.oid._name: (e.critical, e.value) for e in certificate.extensions}
    assert set(said) == {
        "basicConstraints",
        "keyUsage",
        "extendedKeyUsage",
        "subjectKeyIdentifier",
        "authorityKeyIdentifier",
    }
    assert said["basicConstraints"] == (True, x509.BasicConstraints(ca=False, path_length=None))
    critical, usage = said["keyUsage"]
    assert critical
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    refused = (usage.key_encipherment, usage.key_cert_sign, usage.key_agreement, usage.crl_sign)
    assert not any(refused)
    assert said["extendedKeyUsage"] == (False, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    aki = said["authorityKeyIdentifier"][1]
    assert isinstance(aki, x509.AuthorityKeyIdentifier)
    assert aki.key_identifier == issuer_id
    assert certificate.subject.rfc4514_string() == "CN=K1234560001"
    assert certificate.not_valid_before_utc == datetime.fromtimestamp(AT - 600, UTC)


def test_the_issuing_ca_is_named_as_in_the_manual(opened: DataDir) -> None:
    """R48: 発行者 is `CORPORATE-PENSION BUSINESS SERVICE CA-G4`; it may sign leaves and nothing below."""
    issuer = opened.authority.current.certificate
    names = issuer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [n.value for n in names] == ["CORPORATE-PENSION BUSINESS SERVICE CA-G4"]
    constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(True, 0))
    issuer.verify_directly_issued_by(opened.root)
    assert opened.root.issuer == opened.root.subject


def test_openssl_agrees(opened: DataDir, person: Issued, tmp_path: object) -> None:
    """OpenSSL's strict verification accepts the chain for TLS clients, and not for servers."""
    folder = opened.path
    (folder / "leaf.pem").write_bytes(opened.authority.chain_pem(person.der))

    def verify(purpose: str) -> int:
        command = [
            *("openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose),
            *("-attime", str(AT), "-CAfile", "ca/root.pem", "-untrusted", "leaf.pem", "leaf.pem"),
        ]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode

    assert verify("sslclient") == 0
    assert verify("sslserver") != 0


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
def test_a_file_key_gives_nothing_away(kind: str) -> None:
    """RFC 6979: however bad the randomness of a machine, the same bytes have the same signature."""
    key, signer = generate("ec-p256").public_key(), FileSigner.of(ca := generate(kind))
    name = distinguished_name("CA")
    root = x509.load_der_x509_certificate(
        build(ISSUING, name, ca.public_key(), (), 1, validity(ISSUING, AT), None, signer)
    )
    period = validity(CLIENT_PERSON, AT)
    first, second = (
        build(CLIENT_PERSON, common_name("K1"), key, (), 1 << 126, period, root, signer) for _ in range(2)
    )
    assert first == second


def test_serials_are_positive_and_of_sixteen_octets() -> None:
    """RFC 5280 section 4.1.2.2: positive, at most 20 octets; at least 64 random bits."""
    assert serial_from(b"\xff" * 16).bit_length() == 127
    assert serial_from(b"\0" * 16).bit_length() == 127
    assert serial_from(b"\0" * 15 + b"\1") != serial_from(b"\0" * 16)
    assert serial_hex(0xABC) == "0abc"
    with pytest.raises(ValueError, match="16 bytes"):
        serial_from(b"")


@pytest.mark.parametrize("cn", ["x" * 65, "あ", "a\0b", "a\nb", " a", "a "])
def test_impossible_common_names_are_refused(cn: str) -> None:
    """ub-common-name is 64; control characters and look-alikes never get into a subject (V27)."""
    with pytest.raises(Unacceptable) as caught:
        common_name(cn)
    assert caught.value.code == "bad-name"


def test_a_common_name_of_64_characters_is_taken(authority: Authority) -> None:
    """The twin: exactly 64 characters pass."""
    key = spki(generate("ec-p256").public_key())
    reservation = authority.plan("client-person", "x" * 64, (), key, None, AT, os.urandom(16))
    assert x509.load_der_x509_certificate(authority.certify_now(reservation)).subject == common_name("x" * 64)


@pytest.mark.parametrize(
    ("profile", "cn", "names", "code"),
    [
        ("client-person", "", (), "bad-name"),
        ("client-person", "K1", ("a.example",), "bad-name"),
        ("client-automated", "", (), "bad-name"),
        ("client-automated", "", ("*.a.example",), "bad-name"),
        ("client-automated", "", ("192.0.2.1",), "bad-name"),
        ("client-automated", "", ("a.example", "a.example"), "bad-name"),
        ("client-automated", "", ("A.example",), "bad-name"),
        ("client-automated", "", ("a..example",), "bad-name"),
    ],
)
def test_names_that_a_profile_refuses(
    authority: Authority, profile: str, cn: str, names: tuple[str, ...], code: str
) -> None:
    """Each profile takes its own kind of name and no other."""
    key = spki(generate("ec-p256").public_key())
    with pytest.raises(Unacceptable) as caught:
        authority.plan(profile, cn, names, key, None, AT, os.urandom(16))
    assert caught.value.code == code


def test_an_automated_client_without_common_name(authority: Authority) -> None:
    """RFC 5280 section 4.1.2.6: with an empty subject, subjectAltName is critical."""
    key = spki(generate("ed25519").public_key())
    names = ("batch.example", "b2.example")
    reservation = authority.plan("client-automated", "", names, key, None, AT, os.urandom(16))
    certificate = x509.load_der_x509_certificate(authority.certify_now(reservation))
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.critical
    assert tuple(found.value.get_values_for_type(x509.DNSName)) == names


def test_ed25519_is_for_machines(authority: Authority) -> None:
    """D10: no Ed25519 in a person's certificate."""
    key = spki(generate("ed25519").public_key())
    with pytest.raises(Unacceptable) as caught:
        authority.plan("client-person", "K1", (), key, None, AT, os.urandom(16))
    assert caught.value.code == "key-type"


def test_ca_certificates_are_not_for_order(authority: Authority) -> None:
    """No order, whatever it says, yields a CA certificate."""
    key = spki(generate("ec-p256").public_key())
    with pytest.raises(KeyError):
        authority.plan("issuing", "K1", (), key, None, AT, os.urandom(16))


@pytest.mark.parametrize("name", ["a.example", "localhost", "*.check.example", "xn--n3h.example"])
def test_dns_names(name: str) -> None:
    """Lower-case LDH labels, a wildcard only as the whole first label."""
    assert is_dns_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        "-a.example",
        "a_b",
        "A.example",
        "*",
        "*.*.a",
        "a.*.b",
        "1.2.3.4",
        "é.example",
        "a" * 64,
    ],
)
def test_what_is_no_dns_name(name: str) -> None:
    """The twin: everything else."""
    assert not is_dns_name(name)


def test_the_crl_url_is_written_where_configured(authority: Authority) -> None:
    """An issuer with a CRL address puts it into what it signs, others leave the extension out."""
    url = "http://crl.example/g4.crl"
    with_url = Authority((replace(authority.current, site=Site(crl=url)),), authority.signer)
    key = spki(generate("ec-p256").public_key())
    der = with_url.certify_now(with_url.plan("client-person", "K1", (), key, None, AT, os.urandom(16)))
    point = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.CRLDistributionPoints)
    assert point.value[0].full_name == [x509.UniformResourceIdentifier(url)]
