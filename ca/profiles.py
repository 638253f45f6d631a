"""Certificate profiles as a table: what each kind of certificate may say, and for how long.

Those of clients are also examples: an operator's begin with one of them, and say what is different.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

MINUTE = 60
DAY = 86_400


class Audience(StrEnum):
    """For whom an issuing CA signs. No CA signs for two, and what a site trusts is those of one."""

    CLIENTS = "clients"
    """People, and their programs."""
    OPERATORS = "operators"
    """Those who run all this: the console and the API."""


@dataclass(frozen=True)
class Source:
    """Where a value in a certificate comes from: a fact that somebody else knows by ``field``, between two
    texts; without a field, the text ``before`` alone. Nothing in a fact is read as anything but text."""

    field: str = ""
    before: str = ""
    after: str = ""

    def of(self, fact: str) -> str:
        return f"{self.before}{fact}{self.after}"


@dataclass(frozen=True)
class Profile:
    """One row. `years` are calendar years in Japan's time, `days` are days of 86,400 seconds."""

    name: str
    key_kinds: tuple[str, ...]
    """Allowed kinds (`ca.keys.KINDS`); the first is the default."""
    years: int
    days: int
    backdate: int
    """Seconds that notBefore lies before issuance, because clocks on PCs run behind (E15)."""
    key_usage: frozenset[str]
    extended_key_usage: tuple[ObjectIdentifier, ...]
    is_ca: bool = False
    path_length: int | None = None
    no_check: bool = False
    """Whether nobody need ask whether it was revoked (id-pkix-ocsp-nocheck, RFC 6960 section 4.2.2.2.1)."""
    needs_names: bool = False
    """Whether subjectAltName dNSNames are required (True) or refused (False)."""
    subject: tuple[tuple[str, Source], ...] = ()
    """What stands in the subject before the common name, in this order (`ca.naming.ATTRIBUTES`)."""
    alternative: tuple[tuple[str, Source], ...] = ()
    """What stands in subjectAltName behind the dNSNames (`ca.naming.ALTERNATIVES`)."""
    policy: str = ""
    """The OID of a certificate policy, dotted; '' for none (RFC 5280 section 4.2.1.4)."""
    cps: str = ""
    """Where the practice statement of that policy is; '' for none."""
    like: str = ""
    """The built-in profile that an operator's begins with; '' for those that are built in."""
    description: str = ""
    """One line for people, and for the protocol's directory."""
    audience: Audience = Audience.CLIENTS
    """Which issuing CA signs it: never one of another audience."""


_SIGNING = frozenset({"key_cert_sign", "crl_sign"})
_ANY_RSA = ("rsa-2048", "rsa-3072", "rsa-4096")

ROOT = Profile(
    name="root",
    key_kinds=("ec-p384", "rsa-4096", "rsa-3072", "ec-p256"),
    years=20,
    days=0,
    backdate=DAY,
    key_usage=_SIGNING,
    extended_key_usage=(),
    is_ca=True,
)
ISSUING = Profile(
    name="issuing",
    key_kinds=("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"),
    years=10,
    days=0,
    # Backdated as its root, so that a leaf issued in the first minute does not precede its issuer.
    backdate=DAY,
    key_usage=_SIGNING,
    extended_key_usage=(),
    is_ca=True,
    path_length=0,
)
CROSS = Profile(
    # Another root, seen from ours: above its issuing CAs there is one CA more.
    name="cross",
    key_kinds=ROOT.key_kinds,
    years=10,
    days=0,
    backdate=DAY,
    key_usage=_SIGNING,
    extended_key_usage=(),
    is_ca=True,
    path_length=1,
)
CLIENT_PERSON = Profile(
    # RSA-2048 first: the widest choice of Windows key stores and smart-card middleware takes it (D10).
    # No keyEncipherment: TLS 1.2 and 1.3 clients only sign, and Windows asks for no more.
    name="client-person",
    key_kinds=("rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384"),
    years=3,
    days=0,
    backdate=10 * MINUTE,
    key_usage=frozenset({"digital_signature"}),
    extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    description="TLS client certificates for people: three years, RSA or EC keys, no dNSName",
)
CLIENT_AUTOMATED = Profile(
    name="client-automated",
    key_kinds=("ec-p256", "ec-p384", *_ANY_RSA, "ed25519"),
    years=0,
    days=90,
    backdate=10 * MINUTE,
    key_usage=frozenset({"digital_signature"}),
    extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    needs_names=True,
    description="TLS client certificates for programs: 90 days, any supported key",
)
CLIENT_OPERATOR = Profile(
    # Made in a command or on the console and carried to a PC once: RSA-2048 first, as for people (D10).
    name="client-operator",
    key_kinds=CLIENT_PERSON.key_kinds,
    years=1,
    days=0,
    backdate=10 * MINUTE,
    key_usage=frozenset({"digital_signature"}),
    extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    description="TLS client certificates for operators: one year, opens the console and the API",
    audience=Audience.OPERATORS,
)
SERVER = Profile(
    # 397 days: longer ones are refused by Apple and Chrome even under a root added by hand.
    name="server",
    key_kinds=("ec-p256", "ec-p384", *_ANY_RSA),
    years=0,
    days=397,
    backdate=10 * MINUTE,
    key_usage=frozenset({"digital_signature"}),
    extended_key_usage=(ExtendedKeyUsageOID.SERVER_AUTH,),
    needs_names=True,
)

RESPONDER = Profile(
    # Nobody asks about it, so it is short; but an answer must not outlive who has signed it (`ca.responder`).
    name="responder",
    key_kinds=("ec-p256",),
    years=0,
    days=30,
    backdate=10 * MINUTE,
    key_usage=frozenset({"digital_signature"}),
    extended_key_usage=(ExtendedKeyUsageOID.OCSP_SIGNING,),
    no_check=True,
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        p.name: p
        for p in (ROOT, ISSUING, CROSS, CLIENT_PERSON, CLIENT_AUTOMATED, CLIENT_OPERATOR, SERVER, RESPONDER)
    }
)
#: What clients may have where no operator says anything. The order is that of the protocol's directory.
CLIENTS: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (CLIENT_AUTOMATED, CLIENT_PERSON)})
#: What operators have: built in, whatever the settings say. Nobody asks for one by page or protocol.
OPERATORS: Mapping[str, Profile] = MappingProxyType({CLIENT_OPERATOR.name: CLIENT_OPERATOR})

CRL_LIFETIME = 8 * DAY
"""Seconds from thisUpdate to nextUpdate."""
CRL_PERIOD = DAY
"""Seconds from one list to the next where nothing changes: so there always are some for a week ahead."""
CRL_AHEAD = 10 * MINUTE
"""Seconds that a list may be dated ahead, so that a clock that is corrected takes no time back."""
ANSWER_LIFETIME, ANSWER_PERIOD = CRL_LIFETIME, CRL_PERIOD
"""The same of answers (OCSP)."""
ROOT_LIST_LIFETIME = 366 * DAY
"""The same of the root's, whose key is mostly kept elsewhere."""


def figures(profile: Profile) -> dict[str, Any]:
    """All that a profile says, as data: lists and texts, seconds, OIDs dotted."""
    return {
        "name": profile.name,
        "like": profile.like,
        "description": profile.description,
        "years": profile.years,
        "days": profile.days,
        "backdate_seconds": profile.backdate,
        "keys": list(profile.key_kinds),
        "key_usage": sorted(profile.key_usage),
        "extended_key_usage": [each.dotted_string for each in profile.extended_key_usage],
        "is_ca": profile.is_ca,
        "path_length": profile.path_length,
        "no_check": profile.no_check,
        "dns_names": profile.needs_names,
        "subject": [[name, *_as_list(source)] for name, source in profile.subject],
        "alternative_names": [[name, *_as_list(source)] for name, source in profile.alternative],
        "policy": profile.policy,
        "cps": profile.cps,
    }


# What a certificate does not show of its profile.
_UNSEEN = frozenset({"name", "like", "description"})


@lru_cache(maxsize=256)
def version_of(profile: Profile) -> str:
    """What tells this state of a profile from every other: 16 hexadecimal digits of SHA-256 over its
    figures."""
    seen = {name: value for name, value in figures(profile).items() if name not in _UNSEEN}
    text = json.dumps(seen, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(profiles: Mapping[str, Profile]) -> dict[str, str]:
    """The state of each profile, by its name."""
    return {name: version_of(each) for name, each in profiles.items()}


def _as_list(source: Source) -> list[str]:
    return [source.before, source.field, source.after]
