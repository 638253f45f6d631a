"""A certificate of a profile for somebody who does not exist, to look at and to lint, by keys of the moment.

It is as its issuer's would be, but for the keys: nothing of the CA is opened for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from cryptography import x509

from ca.authority import Authority, Issuer
from ca.certificates import build, key_identifier, new_serial, public_key_of, to_pem, validity
from ca.keys import PrivateKey, generate, kind_of, spki
from ca.naming import naming_of
from ca.profiles import ISSUING, Profile
from ca.signing import FileSigner

_DNS_NAME = "k12345678.users.example.jp"
_COMMON_NAME = "K123456780001"


def sample(profile: Profile, issuer: Issuer, facts: Mapping[str, str], at: int) -> bytes:
    """The certificate (DER), of the profile's usual kind of key. ``facts``: of the sample person.

    `Unacceptable` for a profile that these do not meet.
    """
    stand_in = _stand_in(issuer, at)
    authority = Authority(*stand_in, profiles={profile.name: profile})
    key = spki(_key(profile.key_kinds[0]).public_key())
    names = (_DNS_NAME,) if profile.needs_names else ()
    naming = naming_of(profile, facts)
    planned = authority.plan(profile.name, _COMMON_NAME, names, key, None, at, os.urandom(16), naming)
    return authority.certify_now(planned)


def stand_in_pem(issuer: Issuer, at: int) -> bytes:
    """The certificate that a sample was issued by."""
    return to_pem(_stand_in(issuer, at)[0][0].der)


@cache
def _stand_in(issuer: Issuer, at: int) -> tuple[tuple[Issuer], FileSigner]:
    """An issuer of the same name, kind of key and addresses, for as long as that one lasts."""
    kind = kind_of(public_key_of(issuer.certificate))
    key = _key(kind)
    signer = FileSigner.of(key)
    end = issuer.not_after_at
    period = (at - ISSUING.backdate, max(end, validity(ISSUING, at)[0]))
    profile = replace(ISSUING, key_kinds=(kind,))
    der = build(profile, issuer.certificate.subject, key.public_key(), (), new_serial(), period, None, signer)
    certificate = x509.load_der_x509_certificate(der)
    made = replace(issuer, issuer_id=key_identifier(certificate).hex(), certificate=certificate, chain=())
    return (made,), signer


@cache
def _key(kind: str) -> PrivateKey:
    return generate(kind)
