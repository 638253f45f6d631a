"""Where the world reads of an issuer's certificates: addresses that each of them carries, fixed with its CA.

They stand in certificates for years, so they are no setting: other ones are another generation's
(`sekisho ca add`). Plain HTTP only, since whoever checks a certificate must not need another one for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ca.errors import ConfigError

#: Numbers of shards: those of 2 to 256 that divide what the last octet of a serial can be. 0: none.
SHARDS = (0, 2, 4, 8, 16, 32, 64, 128, 256)
OCSP_PATH = "/ocsp"
# As much of a key identifier as names a CA in addresses and among files.
_NAMED = 16


@dataclass(frozen=True)
class Addresses:
    """What one certificate says of where to ask about it; None: nothing."""

    crl: str | None = None
    ocsp: str | None = None
    issuer: str | None = None


@dataclass(frozen=True)
class Site:
    """The addresses of one issuer, as it was made. ``shards``: into how many lists its own is divided,
    besides the full one."""

    crl: str | None = None
    ocsp: str | None = None
    issuer: str | None = None
    shards: int = 0

    def of(self, serial: int) -> Addresses:
        """What the certificate of a serial says."""
        listed = self.shard(shard_of(serial, self.shards)) if self.shards else self.crl
        return Addresses(listed, self.ocsp, self.issuer)

    @property
    def lists(self) -> tuple[int | None, ...]:
        """Which lists there are: the whole one, None, and each shard."""
        return None, *range(self.shards)

    def shard(self, number: int) -> str:
        """The address of one of the shards."""
        assert self.crl is not None
        return f"{self.crl.removesuffix('.crl')}/{number}.crl"


@dataclass(frozen=True)
class Places:
    """What an operator says of it when a CA is made: the base address of the site, '' for none; another
    address of the list alone; how many shards."""

    base: str = ""
    crl: str | None = None
    shards: int = 0

    def check(self) -> None:
        """`ConfigError` for what nobody could fetch from."""
        if self.base:
            check_url(self.base)
        if self.crl is not None:
            check_url(self.crl)
        if self.shards not in SHARDS:
            raise ConfigError(f"{self.shards} shards: write one of {', '.join(map(str, SHARDS))}")
        if self.shards and (not self.base or self.crl):
            raise ConfigError(
                "shards have addresses below --revocation-url, and no --crl-url; or no --shards"
            )

    def of(self, issuer_id: str) -> Site:
        """The addresses of an issuer, by its key identifier in hex."""
        base = self.base.rstrip("/")
        if not base:
            return Site(self.crl)
        listed = self.crl or base + list_path(issuer_id)
        return Site(listed, base + OCSP_PATH, base + certificate_path(issuer_id), self.shards)


#: Of an issuer whose certificates say nothing of it.
NO_SITE, NO_PLACES = Site(), Places()


def base_of(site: Site) -> str:
    """The base address that an issuer's are below; '' if it has none."""
    return (site.ocsp or "").removesuffix(OCSP_PATH)


def above(base: str, root_id: str) -> Addresses:
    """What the certificate of an issuing CA says: of its root, whose list is a file that seldom changes."""
    base = base.rstrip("/")
    if not base:
        return Addresses()
    return Addresses(base + list_path(root_id), None, base + certificate_path(root_id))


def list_path(ca_id: str, shard: int | None = None) -> str:
    """Where a CA's list is on the site."""
    return f"/crl/{ca_id[:_NAMED]}{'' if shard is None else f'/{shard}'}.crl"


def certificate_path(ca_id: str) -> str:
    """Where a CA's certificate is on the site (RFC 5280 section 4.2.2.1: one, in DER)."""
    return f"/ca/{ca_id[:_NAMED]}.cer"


def bundle_path(ca_id: str) -> str:
    """Where a root's certificate is on the site together with those by which others vouch for it."""
    return f"/ca/{ca_id[:_NAMED]}.p7c"


def list_id(issuer_id: str, shard: int | None = None) -> str:
    """What a list is called by: the issuer's whole one by the issuer, a shard with its number behind it."""
    return issuer_id if shard is None else f"{issuer_id}.{shard}"


def octets_of(shard: int, shards: int) -> tuple[str, ...]:
    """The last octets, in hex, of the serials that a shard tells of."""
    return tuple(f"{octet:02x}" for octet in range(shard, 256, shards))


def shard_of(serial: int, shards: int) -> int:
    """Which of the shards tells of a serial: its last octet is random."""
    return (serial & 0xFF) % shards


def check_url(url: str) -> None:
    """`ConfigError` for an address that relying parties could not fetch from (RFC 5280 section 4.2.1.13).

    It goes into every certificate for as long as the CA lives.
    """
    try:
        parts = urlsplit(url)
        scheme, good = parts.scheme, bool(parts.hostname) and not parts.fragment and parts.port != 0
    except ValueError:
        scheme, good = "", False
    if scheme == "https" and good:
        raise ConfigError(
            f"{url!r}: with https whoever checks a certificate has to check that server's first, and most do "
            f"not begin; lists and answers are signed themselves: write http{url[5:]}"
        )
    if not good or scheme != "http" or not re.fullmatch(r"[!-~]+", url):
        raise ConfigError(f"{url!r} is no address of a CRL; write one such as http://crl.example.jp/ca.crl")


def to_row(site: Site) -> Mapping[str, Any]:
    """The addresses as the data directory's marker has them."""
    return {
        "crl_url": site.crl,
        "ocsp_url": site.ocsp,
        "issuer_url": site.issuer,
        "shards": site.shards,
    }


def from_row(row: Mapping[str, Any]) -> Site:
    """The twin of `to_row`."""
    return Site(row.get("crl_url"), row.get("ocsp_url"), row.get("issuer_url"), int(row.get("shards", 0)))
