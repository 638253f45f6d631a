"""The issuing side: issuers with their keys, and the two steps plan (decide) and sign (compute).

Between the two the reservation is recorded (`ca.store.reserve`); a crash after that signs again and
gets the same certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from ca.certificates import (
    Signer,
    build,
    check_names,
    common_name,
    serial_from,
    serial_hex,
    to_pem,
    validity,
)
from ca.crls import build_crl
from ca.errors import Unacceptable
from ca.keys import PrivateKey, parse_public_key
from ca.profiles import CLIENT_PERSON, PROFILES
from ca.revocation import RevokedEntry
from ca.store import Reservation


@dataclass(frozen=True)
class Issuer:
    """One CA certificate of ours with its key. `chain` holds what stands above it, root last."""

    issuer_id: str
    """Hex of the certificate's subject key identifier."""
    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[bytes, ...] = ()
    crl_url: str | None = None

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def common_name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @property
    def not_after_at(self) -> int:
        return int(self.certificate.not_valid_after_utc.timestamp())

    @property
    def signer(self) -> Signer:
        return Signer(self.certificate, self.key)


@dataclass(frozen=True)
class Authority:
    """Our issuers, the current one first. Older ones stay trusted and keep signing their own CRLs (E17)."""

    issuers: tuple[Issuer, ...]

    @property
    def current(self) -> Issuer:
        return self.issuers[0]

    def issuer(self, issuer_id: str) -> Issuer:
        """The issuer of this id; `KeyError` if it is not ours."""
        for issuer in self.issuers:
            if issuer.issuer_id == issuer_id:
                return issuer
        raise KeyError(issuer_id)

    def plan(
        self,
        profile: str,
        subject_cn: str,
        names: Sequence[str],
        spki_der: bytes,
        order_id: str | None,
        at: int,
        entropy: bytes,
    ) -> Reservation:
        """Decides everything about a certificate to be issued at `at`, and signs nothing.

        `entropy` is 16 random bytes for the serial. Raises `Unacceptable` for a name or key that the
        profile refuses, and `ConfigError` once the issuing CA has expired.
        """
        row, issuer = PROFILES[profile], self.current
        if row.is_ca:
            raise ValueError("CA certificates are made by ca.datadir")
        key = parse_public_key(spki_der, row.key_kinds)
        if row is CLIENT_PERSON and isinstance(key, ed25519.Ed25519PublicKey):
            raise Unacceptable("key-type", "browsers do not take Ed25519 client certificates (D10)")
        if row is CLIENT_PERSON and not subject_cn:
            raise Unacceptable("bad-name", "a person's certificate needs a common name")
        check_names(row, names)
        common_name(subject_cn)
        not_before_at, not_after_at = validity(row, at, issuer.not_after_at)
        return Reservation(
            serial=serial_hex(serial_from(entropy)),
            issuer_id=issuer.issuer_id,
            profile=profile,
            subject_cn=subject_cn,
            names=tuple(names),
            spki=spki_der,
            not_before_at=not_before_at,
            not_after_at=not_after_at,
            reserved_at=at,
            order_id=order_id,
            crl_url=issuer.crl_url,
        )

    def sign(self, reservation: Reservation) -> bytes:
        """The certificate (DER) of a recorded reservation. No I/O; the same bytes every time."""
        row = PROFILES[reservation.profile]
        return build(
            profile=row,
            subject=common_name(reservation.subject_cn),
            public_key=parse_public_key(reservation.spki, row.key_kinds),
            names=reservation.names,
            serial=int(reservation.serial, 16),
            validity=(reservation.not_before_at, reservation.not_after_at),
            issuer=self.issuer(reservation.issuer_id).signer,
            crl_url=reservation.crl_url,
        )

    def issuer_of(self, leaf: bytes) -> Issuer:
        """Which of our issuers signed this certificate (DER); `KeyError` if none did."""
        certificate = x509.load_der_x509_certificate(leaf)
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        return self.issuer((extension.value.key_identifier or b"").hex())

    def chain_der(self, leaf: bytes) -> tuple[bytes, ...]:
        """The leaf and the CA certificates below the root: what a client sends and a P12 holds."""
        issuer = self.issuer_of(leaf)
        return (leaf, issuer.der, *issuer.chain[:-1])

    def chain_pem(self, leaf: bytes) -> bytes:
        """`chain_der` as PEM, leaf first (RFC 8555 section 7.4.2; the root is left out)."""
        return b"".join(to_pem(der) for der in self.chain_der(leaf))

    def crl(self, issuer_id: str, entries: Sequence[RevokedEntry], number: int, at: int, until: int) -> bytes:
        """The CRL (DER) of one of our issuers, valid from `at` to `until`."""
        return build_crl(self.issuer(issuer_id).signer, entries, number, at, until)
