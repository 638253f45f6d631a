"""The wall around keys: a signature comes from elsewhere, may be another one each time, and is verified."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca import store
from ca.authority import Authority
from ca.certificates import assemble, build, common_name, distinguished_name, to_be_signed, validity
from ca.crls import build_crl
from ca.keys import KINDS, generate, spki
from ca.profiles import CLIENT_PERSON, ISSUING, ROOT
from ca.signing import FileSigner, NoSignature, ToSign, hash_of, key_id, signature, signature_now
from ca.sqlite import Database
from ca.store import Reservation
from tests.ca.conftest import AT, DAY
from tests.looking import look
from tests.signers import LikeAToken, Rubbish


def _planned(authority: Authority) -> Reservation:
    public = spki(generate("ec-p256").public_key())
    return authority.plan("client-person", "K1234560001", (), public, "order", AT, os.urandom(16))


@pytest.mark.parametrize("kind", ISSUING.key_kinds)
def test_what_is_to_be_signed_is_what_the_library_would_sign(kind: str) -> None:
    """Bytes, algorithm and all: a root made by cryptography's own builder with the key itself is the same."""
    key = generate(kind)
    name, period = distinguished_name("Root", "Kumiai", "JP"), validity(ROOT, AT)
    made = build(ROOT, name, key.public_key(), (), 7, period, None, FileSigner.of(key))
    certificate = x509.load_der_x509_certificate(made)
    certificate.verify_directly_issued_by(certificate)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(certificate.not_valid_after_utc)
    )
    for each in certificate.extensions:
        builder = builder.add_extension(each.value, each.critical)
    fixed = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    theirs = builder.sign(key, hash_of(key), ecdsa_deterministic=fixed)  # type: ignore[arg-type]
    assert theirs.public_bytes(serialization.Encoding.DER) == made


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ISSUING.key_kinds])
def test_no_ca_signs_with_a_key_of_another_kind(kind: str) -> None:
    """The twin: what no issuing key may be has no digest to hand over."""
    with pytest.raises(ValueError, match="no issuing key is of this kind"):
        hash_of(generate(kind).public_key())


async def test_a_file_key_signs_beside_the_event_loop(authority: Authority) -> None:
    """Never on it: the digest of a list of tens of megabytes alone would stop everybody."""
    threads = list[int]()

    class Watched(FileSigner):
        def sign_now(self, asked: ToSign) -> bytes:
            threads.append(threading.get_ident())
            return super().sign_now(asked)

    key = generate("ec-p256")
    asked = ToSign(key_id(key.public_key()), "own", b"bytes")
    await signature(Watched.of(key), key.public_key(), asked)
    assert threads != [threading.get_ident()]


def test_a_file_is_signed_as_its_bytes(tmp_path: Path) -> None:
    """A list is not carried through memory: whoever signs reads it where it lies."""
    key, content = generate("ec-p256"), os.urandom(3 << 20)
    (tmp_path / "list").write_bytes(content)
    name = key_id(key.public_key())
    signed = FileSigner.of(key).sign_now(ToSign(name, "list", tmp_path / "list"))
    assert signed == FileSigner.of(key).sign_now(ToSign(name, "list", content))


@pytest.mark.parametrize("kind", ISSUING.key_kinds)
async def test_what_is_no_signature_is_not_taken_for_one(kind: str) -> None:
    """Neither a builder nor the register would notice; the twin is every other test here."""
    key = generate(kind)
    asked = ToSign(key_id(key.public_key()), "own", b"bytes")
    for signer in (Rubbish(FileSigner.of(key)), _Says(b""), _Says(b"\0" * 64)):
        with pytest.raises(NoSignature, match=r"what was given as a signature of .* is none"):
            signature_now(signer, key.public_key(), asked)
        with pytest.raises(NoSignature, match="is none"):
            await signature(signer, key.public_key(), asked)
    assert signature_now(FileSigner.of(key), key.public_key(), asked)


def test_a_list_and_a_root_are_verified_too(authority: Authority) -> None:
    """Whatever a CA key signs: a list that nobody could verify revokes nothing."""
    bad = Rubbish(authority.signer)
    with pytest.raises(NoSignature, match="is none"):
        build_crl(authority.current.certificate, bad, [], 1, AT, AT + DAY)
    key = generate("ec-p256")
    with pytest.raises(NoSignature, match="is none"):
        build(ROOT, distinguished_name("R"), key.public_key(), (), 7, validity(ROOT, AT), None, bad_of(key))


def bad_of(key: ec.EllipticCurvePrivateKey) -> Rubbish:
    return Rubbish(FileSigner.of(key))


def test_nobody_signs_with_a_key_that_he_has_not(authority: Authority) -> None:
    """The issuer is named, not guessed."""
    with pytest.raises(NoSignature, match="there is no key deadbeef here"):
        authority.signer.sign_now(ToSign("deadbeef", "certificate", b"bytes"))


def test_two_signatures_are_two_certificates_and_the_first_stored_is_the_one(
    authority: Authority, db: Database
) -> None:
    """A token signs otherwise each time: the register has one certificate for one serial, and keeps it."""
    token = replace(authority, signer=LikeAToken.instead_of(authority.signer))
    reservation = _planned(authority)
    db.write_now(lambda db: store.reserve(db, reservation))
    first, second = token.certify_now(reservation), token.certify_now(reservation)
    assert first != second
    assert db.write_now(lambda db: store.store_issued(db, reservation.serial, first, AT))
    assert not db.write_now(lambda db: store.store_issued(db, reservation.serial, second, AT))
    record = store.find_by_serial(look(db), reservation.serial)
    assert record is not None
    assert record.der == first


def test_after_a_crash_the_recorded_bytes_are_signed_whatever_would_be_made_today(
    authority: Authority, db: Database
) -> None:
    """Not made anew out of the fields: another release might encode them otherwise, under the same serial."""
    reservation = _planned(authority)
    other = to_be_signed(
        *(CLIENT_PERSON, common_name("ANOTHER"), generate("ec-p256").public_key(), ()),
        *(int(reservation.serial, 16), (AT, AT + DAY), authority.current.certificate),
    )
    db.write_now(lambda db: store.reserve(db, replace(reservation, tbs=other)))
    (left,) = store.reserved_unsigned(look(db))
    made = x509.load_der_x509_certificate(authority.certify_now(left))
    assert made.tbs_certificate_bytes == other
    assert made.subject == common_name("ANOTHER")


def test_what_has_its_certificate_is_not_signed_again(authority: Authority, db: Database) -> None:
    """Once there is a certificate what was to be signed is gone, and nothing is signed in its place."""
    reservation = _planned(authority)
    db.write_now(lambda db: store.reserve(db, reservation))
    der = authority.certify_now(reservation)
    db.write_now(lambda db: store.store_issued(db, reservation.serial, der, AT))
    found = store.find_reservation(look(db), reservation.serial)
    assert found == replace(reservation, tbs=b"")
    with pytest.raises(ValueError, match="has its certificate"):
        authority.certify_now(found)


@pytest.mark.parametrize("kind", ISSUING.key_kinds)
def test_a_certificate_of_any_length_of_signature_is_put_together(kind: str) -> None:
    """An ECDSA signature has 70 to 72 octets, an RSA one hundreds: lengths of one, two and three octets."""
    key, name = generate(kind), distinguished_name("Root")
    tbs = to_be_signed(ROOT, name, key.public_key(), (), 7, validity(ROOT, AT), None)
    for size in (1, 60, 127, 128, 255, 256, 70_000):
        certificate = x509.load_der_x509_certificate(assemble(tbs, b"\x30" * size))
        assert (certificate.signature, certificate.tbs_certificate_bytes) == (b"\x30" * size, tbs)


class _Says:
    def __init__(self, words: bytes) -> None:
        self._words = words

    async def sign(self, _: ToSign) -> bytes:
        return self._words

    def sign_now(self, _: ToSign) -> bytes:
        return self._words
