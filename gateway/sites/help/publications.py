"""What the help publishes besides text: the hosts to allow, and the certificates of our CA. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.certificates import to_pem
from ca.generations.states import State
from enroll import generations
from enroll.ra import RegistrationAuthority
from gateway.web.context import Gate, Role
from gateway.web.words import Text

_PURPOSES: Mapping[Role, Text] = {
    Role.PICKUP: ("証明書取得サイト", "Pick-up site"),
    Role.RENEWAL: ("証明書更新サイト", "Renewal site"),
    Role.SERVICE: ("オンラインサービス", "Online service"),
    Role.BEHIND: ("オンラインサービス（業務画面）", "Online service (its own pages)"),
    Role.CONNECTIVITY: ("導通確認サイト", "Connectivity test"),
    Role.HELP: ("ヘルプ", "Help"),
}
#: Sites to which browsers show a client certificate: no device may open their TLS on the way (E23).
_WITH_CERTIFICATE = frozenset({Role.RENEWAL, Role.SERVICE, Role.BEHIND, Role.CONNECTIVITY})

_ROOT: Text = ("ルート認証局", "Root CA")
_EARLIER: Text = ("クライアント証明書の発行者（以前）", "Issuer of client certificates (earlier)")
_NEXT: Text = ("クライアント証明書の発行者（次期）", "Issuer of client certificates (next)")
#: What each issuing CA is to people who look it up.
_CAPTIONS: Mapping[State, Text] = {
    State.ISSUING: ("クライアント証明書の発行者（現在）", "Issuer of client certificates (current)"),
    State.STAGED: _NEXT,
    State.PLANNED: _NEXT,
    State.EARLIER: _EARLIER,
    State.RETURNING: _EARLIER,
    State.RETIRED: _EARLIER,
    State.DISTRUSTED: (
        "クライアント証明書の発行者（使用停止）",
        "Issuer of client certificates (no longer accepted)",
    ),
}


@dataclass(frozen=True)
class Host:
    """A name that an organisation's network has to let through."""

    name: str
    port: int
    purpose: Text
    with_certificate: bool

    @property
    def short(self) -> str:
        """``name``, with its port when that is not the usual one."""
        return self.name if self.port == 443 else f"{self.name}:{self.port}"


@dataclass(frozen=True)
class Published:
    """A CA certificate for download under ``/ca/<slug>.pem`` and ``/ca/<slug>.cer``."""

    slug: str
    common_name: str
    is_root: bool
    caption: Text
    not_before_at: int
    not_after_at: int
    sha1: str
    sha256: str
    der: bytes = field(repr=False)

    @property
    def pem(self) -> bytes:
        return to_pem(self.der)


def hosts_of(gate: Gate) -> tuple[Host, ...]:
    """Every host name of ours that people's browsers open (R5)."""
    found = []
    for role, purpose in _PURPOSES.items():
        if role not in gate.origins:
            continue
        parts = urlsplit(gate.origins[role])
        found.append(Host(parts.hostname or "", parts.port or 443, purpose, role in _WITH_CERTIFICATE))
    if gate.try_suffix:
        name, _, port = gate.try_suffix.partition(":")
        purpose = ("導通確認サイト（もう一度試す）", "Connectivity test (try again)")
        found.append(Host(f"*{name}", int(port or 443), purpose, True))
    for role, suffix in gate.fresh.items():
        name, _, port = suffix.partition(":")
        ja, en = _PURPOSES[role]
        purpose = (f"{ja}（証明書を選択しなおす）", f"{en} (choose again)")
        found.append(Host(f"*{name}", int(port or 443), purpose, True))
    return tuple(found)


def certificates_of(ra: RegistrationAuthority) -> tuple[Published, ...]:
    """The issuing CAs, the one that issues first, then the roots above them, each once. What is over is left
    out."""
    found = generations.look(ra)
    issuers = [
        _published(each.der, False, _CAPTIONS[found.state(each.issuer_id)])
        for each in generations.issuers(ra, frozenset(_CAPTIONS))
    ]
    roots = dict.fromkeys(issuer.chain[-1] for issuer in ra.authority.issuers if issuer.chain)
    return (*issuers, *(_published(der, True, _ROOT) for der in roots))


def chain_pem(certificates: Sequence[Published]) -> bytes:
    """All of them in one file, for programs that want a bundle."""
    return b"".join(each.pem for each in certificates)


def slug_of(der: bytes, *, is_root: bool = False) -> str:
    """The name of a CA certificate (DER) in addresses: what it is, and the start of its fingerprint."""
    return ("root-" if is_root else "issuing-") + hashlib.sha256(der).hexdigest()[:12]


def _published(der: bytes, is_root: bool, caption: Text) -> Published:
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    sha256 = hashlib.sha256(der).hexdigest()
    return Published(
        slug=slug_of(der, is_root=is_root),
        common_name=str(names[0].value) if names else "",
        is_root=is_root,
        caption=caption,
        not_before_at=int(certificate.not_valid_before_utc.timestamp()),
        not_after_at=int(certificate.not_valid_after_utc.timestamp()),
        # Windows shows SHA-1 as the thumbprint, and its root-install warning too.
        sha1=_grouped(hashlib.sha1(der, usedforsecurity=False).hexdigest()),
        sha256=_grouped(sha256),
        der=der,
    )


def _grouped(digest: str) -> str:
    """In groups of eight, as the Windows warning prints a thumbprint, so that eyes can compare."""
    return " ".join(digest[i : i + 8].upper() for i in range(0, len(digest), 8))
