"""Revocation lists as bytes: as others read them, for each kind of key, at a price that grows with them."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from ca.authority import Authority
from ca.certificates import build, distinguished_name, validity
from ca.crls import build_crl, fill, frame_of
from ca.keys import generate
from ca.profiles import ISSUING, ROOT
from ca.revocation import REASONS, RevokedEntry
from ca.signing import FileSigner, Signer, hash_of
from tests.ca.conftest import AT, DAY


def _issuer(kind: str) -> tuple[x509.Certificate, Signer]:
    key = generate(kind)
    name, signer = distinguished_name("Test CA", "Kumiai", "JP"), FileSigner.of(key)
    der = build(ROOT, name, key.public_key(), (), 7, validity(ROOT, AT), None, signer)
    return x509.load_der_x509_certificate(der), signer


def _of(authority: Authority) -> tuple[x509.Certificate, Signer]:
    return authority.current.certificate, authority.signer


@pytest.mark.parametrize("kind", ISSUING.key_kinds)
def test_every_kind_of_key_signs(kind: str) -> None:
    """RFC 5280 section 5.1.1: the algorithm within is the one outside, and the issuer's key verifies it."""
    issuer, signer = _issuer(kind)
    crl = x509.load_der_x509_crl(
        build_crl(issuer, signer, [RevokedEntry("0a", AT, 4)], 300, AT, AT + 7 * DAY)
    )
    assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    assert not crl.is_signature_valid(_issuer("ec-p256")[0].public_key())  # type: ignore[arg-type]
    assert crl.issuer.public_bytes() == issuer.subject.public_bytes()
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 300
    above = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert above == own.digest
    assert (crl.last_update_utc, crl.next_update_utc) == (_moment(AT), _moment(AT + 7 * DAY))


def test_a_key_that_issues_nothing_signs_no_list() -> None:
    """Ed25519 hashes by itself: there is no digest to hand over, and no issuing CA has such a key."""
    assert "ed25519" not in ISSUING.key_kinds
    with pytest.raises(ValueError, match="no issuing key is of this kind"):
        hash_of(ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 127, 128, 4_095, 4_096, 4_097, 9_000])
def test_every_entry_is_there_once_and_in_order(authority: Authority, count: int) -> None:
    """Lengths of DER of one, two and three octets; chunks that are full, and one that is not."""
    entries = [_entry(i) for i in range(count)]
    crl = x509.load_der_x509_crl(build_crl(*_of(authority), entries, 1, AT, AT + DAY))
    assert [_read(each) for each in crl] == entries


@pytest.mark.parametrize("serial", ["01", "7f", "80", "ff", "0080", "7f" * 20, "80" + "00" * 15, "00ff"])
def test_a_serial_is_written_as_a_positive_integer(authority: Authority, serial: str) -> None:
    """X.690 8.3.2: no octet too many and none too few, however the register spells it."""
    der = build_crl(*_of(authority), [RevokedEntry(serial, AT, 0)], 1, AT, AT + DAY)
    assert [each.serial_number for each in x509.load_der_x509_crl(der)] == [int(serial, 16)]
    subprocess.run(["openssl", "asn1parse", "-inform", "DER"], input=der, capture_output=True, check=True)


@pytest.mark.parametrize(
    "moment",
    ["1950-01-01 00:00:00", "1999-12-31 23:59:59", "2026-11-28 08:09:10", "2049-12-31 23:59:59",
     "2050-01-01 00:00:00", "2107-02-03 04:05:06"],
)  # fmt: skip
def test_times_have_two_digits_of_the_year_until_2049(authority: Authority, moment: str) -> None:
    """RFC 5280 sections 5.1.2.4 and 5.1.2.6: UTCTime until 2049, GeneralizedTime from then on."""
    at = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
    der = build_crl(*_of(authority), [RevokedEntry("05", at, 1)], 1, at, at + DAY)
    crl = x509.load_der_x509_crl(der)
    assert [_read(each) for each in crl] == [RevokedEntry("05", at, 1)]
    assert (crl.last_update_utc, crl.next_update_utc) == (_moment(at), _moment(at + DAY))


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_each_reason_is_the_one_of_its_code(authority: Authority, reason: int) -> None:
    """RFC 5280 section 5.3.1: unspecified is said by leaving it out, certificateHold is 6."""
    der = build_crl(*_of(authority), [RevokedEntry("05", AT, reason)], 1, AT, AT + DAY)
    (entry,) = x509.load_der_x509_crl(der)
    found = [each.value.reason.value for each in entry.extensions if isinstance(each.value, x509.CRLReason)]
    assert found == ([REASONS[reason].name] if reason else [])


def test_the_same_list_has_the_same_bytes(authority: Authority) -> None:
    """RFC 6979: whoever makes a list of the same entries, number and times makes the same one."""
    entries = [_entry(i) for i in range(9)]
    first, second, other = (build_crl(*_of(authority), entries, n, AT, AT + DAY) for n in (1, 1, 2))
    assert first == second != other


def test_the_price_grows_with_the_list(authority: Authority) -> None:
    """Four times the entries take about four times the work (in CPU time of this process), not sixteen."""
    frame = frame_of(authority.current.certificate, 1, AT, AT + DAY)

    def cost(count: int) -> float:
        entries, best = [_entry(i) for i in range(count)], float("inf")
        for _ in range(5):
            begun = time.process_time()
            assert fill(frame, entries).entries == count
            best = min(best, time.process_time() - begun)
        return best

    assert cost(40_000) < 9 * cost(10_000)


def test_a_list_is_put_together_chunk_by_chunk(authority: Authority) -> None:
    """A million rows come out of the register one after the other: no object is kept for each."""
    frame = frame_of(authority.current.certificate, 1, AT, AT + DAY)
    unsigned = fill(frame, (_entry(i) for i in range(20_000)))
    assert unsigned.entries == 20_000
    assert len(unsigned.chunks) < 10


def _entry(i: int) -> RevokedEntry:
    return RevokedEntry(f"{(i + 1) * 0x9E3779B97F4A7C15:032x}", AT - 7 * i, (0, 1, 4, 5, 6)[i % 5])


def _read(entry: x509.RevokedCertificate) -> RevokedEntry:
    reasons = [each.value.reason.value for each in entry.extensions if isinstance(each.value, x509.CRLReason)]
    code = next((code for code, row in REASONS.items() if [row.name] == reasons), 0)
    width = 2 if entry.serial_number < 256 else 32
    at = int(entry.revocation_date_utc.timestamp())
    return RevokedEntry(f"{entry.serial_number:0{width}x}", at, code)


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
