"""The issuing side: our issuers, and the two steps plan (decide) and certify (have it signed).

Between the two the reservation is recorded (`ca.store.reserve`) with what is to be signed; after a crash that
is signed again, and nothing else under its serial. The signature may be another one then: of two the first
that is stored counts (`ca.store.store_issued`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from ca.certificates import (
    assemble,
    check_names,
    common_name,
    key_identifier,
    public_key_of,
    serial_from,
    serial_hex,
    to_be_signed,
    to_pem,
    validity,
)
from ca.crls import build_crl
from ca.errors import Unacceptable
from ca.keys import PublicKey, parse_public_key
from ca.naming import NOTHING, Naming, subject_of
from ca.profiles import CLIENTS, OPERATORS, Audience, Profile, version_of
from ca.publication import NO_SITE, Site
from ca.revocation import RevokedEntry
from ca.signing import Signer, ToSign, signature, signature_now
from ca.store import Reservation


@dataclass(frozen=True)
class Issuer:
    """One CA certificate of ours. `chain` holds what stands above it, root last."""

    issuer_id: str
    """Hex of the certificate's subject key identifier."""
    certificate: x509.Certificate
    chain: tuple[bytes, ...] = ()
    site: Site = NO_SITE
    """Where the world reads of its certificates."""
    audience: Audience = Audience.CLIENTS
    """Whose certificates it signs."""
    discarded_at: int | None = None
    """Since when it is put away: it is over, and its key is wanted no more (`ca.datadir.discard`)."""

    @property
    def root_id(self) -> str:
        """Hex of the key identifier of the root above; '' if there is none."""
        return key_identifier(x509.load_der_x509_certificate(self.chain[-1])).hex() if self.chain else ""

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def common_name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @property
    def not_after_at(self) -> int:
        return int(self.certificate.not_valid_after_utc.timestamp())


def _newest(issuers: tuple[Issuer, ...]) -> Issuer:
    return next(each for each in issuers if each.audience is Audience.CLIENTS)


@dataclass(frozen=True)
class Authority:
    """Our issuers of every audience, the newest first. Each signs its own CRLs for as long as it has
    certificates (E17)."""

    issuers: tuple[Issuer, ...]
    signer: Signer = field(repr=False)
    """Whoever holds their keys."""
    root_list: bytes = field(repr=False, default=b"")
    """The root's revocation list (DER); empty where there is none."""
    crosses: tuple[bytes, ...] = field(repr=False, default=())
    """Certificates (DER) by which other roots vouch for ours."""
    choose: Callable[[tuple[Issuer, ...]], Issuer] = field(repr=False, default=_newest)
    """Which of them issues now: a register knows (`ca.generations`); where there is none, the newest."""
    profiles: Mapping[str, Profile] = field(default_factory=lambda: CLIENTS)
    """What clients may have, by name."""

    @property
    def current(self) -> Issuer:
        """The one that issues to people now, or did last."""
        return self.choose(self.issuers)

    def of(self, audience: Audience) -> tuple[Issuer, ...]:
        """Those that sign for an audience, the newest first."""
        return tuple(each for each in self.issuers if each.audience is audience)

    def audiences(self) -> dict[str, Audience]:
        """For whom each of ours signs, by its id, the newest first."""
        return {each.issuer_id: each.audience for each in self.issuers}

    def profile(self, name: str) -> Profile | None:
        """A profile that somebody may have here, of whatever audience."""
        return OPERATORS.get(name) or self.profiles.get(name)

    @property
    def at_work(self) -> tuple[Issuer, ...]:
        """Those whose lists and answers go on, and whose keys are needed for that."""
        return tuple(each for each in self.issuers if each.discarded_at is None)

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
        naming: Naming = NOTHING,
        issuer: Issuer | None = None,
    ) -> Reservation:
        """Decides everything about a certificate to be issued at `at`, and signs nothing.

        `entropy` is 16 random bytes for the serial; ``naming`` is what `naming_of` gives for the profile;
        `issuer` is the current one unless a transaction has said. Raises `Unacceptable` for a name or key
        that the profile refuses, KeyError for one that nobody has, ValueError for one of another audience
        than the issuer's, and `ConfigError` once the issuing CA has expired.
        """
        issuer = issuer or self.current
        row = self.profile(profile)
        if row is None:
            raise KeyError(profile)
        if row.audience is not issuer.audience:
            raise ValueError(f"{issuer.common_name} signs nothing for {row.audience}")
        key = parse_public_key(spki_der, row.key_kinds)
        if not row.needs_names and not subject_cn:
            raise Unacceptable("bad-name", "a person's certificate needs a common name")
        check_names(row, names)
        subject = subject_of(common_name(subject_cn), naming.subject)
        not_before_at, not_after_at = validity(row, at, issuer.not_after_at)
        serial = serial_from(entropy)
        return Reservation(
            serial=serial_hex(serial),
            issuer_id=issuer.issuer_id,
            profile=profile,
            subject_cn=subject_cn,
            names=tuple(names),
            spki=spki_der,
            not_before_at=not_before_at,
            not_after_at=not_after_at,
            reserved_at=at,
            order_id=order_id,
            version=version_of(row),
            naming=naming,
            tbs=to_be_signed(
                *(row, subject, key, names, serial, (not_before_at, not_after_at)),
                issuer.certificate,
                issuer.site.of(serial),
                naming.alternative,
            ),
        )

    async def certify(self, reservation: Reservation) -> bytes:
        """The certificate (DER) of a recorded reservation. Not the same bytes every time.

        `NoSignature` when there is none now.
        """
        key, asked = self._asked(reservation)
        return assemble(reservation.tbs, await signature(self.signer, key, asked))

    def certify_now(self, reservation: Reservation) -> bytes:
        """The same for callers without an event loop; blocks."""
        key, asked = self._asked(reservation)
        return assemble(reservation.tbs, signature_now(self.signer, key, asked))

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
        return build_crl(self.issuer(issuer_id).certificate, self.signer, entries, number, at, until)

    def _asked(self, reservation: Reservation) -> tuple[PublicKey, ToSign]:
        if not reservation.tbs:
            raise ValueError("this reservation has its certificate")
        asked = ToSign(reservation.issuer_id, "certificate", reservation.tbs, reservation.serial)
        return public_key_of(self.issuer(reservation.issuer_id).certificate), asked
