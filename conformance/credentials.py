"""The credentials file: external account bindings to spend, and optionally a certificate to renew by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance import jose

Identifier = Mapping[str, str]


class Usage(Exception):
    """The person at the keyboard got something wrong; the text ends with what to do."""


@dataclass(frozen=True)
class Credential:
    """One external account binding (RFC 8555 7.3.4) and the identifiers it may order.

    An empty kid stands for a server that asks for no binding: any number of accounts may be made.
    """

    kid: str
    hmac_key: bytes
    identifiers: tuple[Identifier, ...]
    alg: str = "HS256"
    profile: str | None = None
    reusable: bool = False

    @property
    def binds(self) -> bool:
        return bool(self.kid)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(identifier["value"].lower() for identifier in self.identifiers)


@dataclass(frozen=True)
class Renewal:
    """A certificate-bearing way in: the directory of the mutual-TLS site and what to present there."""

    directory: str
    identifiers: tuple[Identifier, ...]
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Credentials:
    bindings: tuple[Credential, ...] = ()
    renewal: Renewal | None = None


def load(path: str) -> Credentials:
    """Reads the file; raises Usage naming what is wrong with it."""
    try:
        return parse(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Usage(
            f"{path}: not a credentials file ({type(error).__name__}: {error}); it looks like "
            '{"credentials":[{"kid":"..","hmac_key":"<base64url>","identifiers":[{"type":"dns","value":".."}]}]}'
        ) from error


def parse(value: Mapping[str, object]) -> Credentials:
    """Builds Credentials from the decoded file; raises ValueError, KeyError or TypeError when it cannot."""
    bindings = value["credentials"]
    if not isinstance(bindings, list):
        raise TypeError("credentials is not an array")
    renewal = value.get("renewal")
    return Credentials(
        tuple(_credential(item) for item in bindings),
        _renewal(renewal) if isinstance(renewal, dict) else None,
    )


def _credential(item: Mapping[str, object]) -> Credential:
    profile, bound = item.get("profile"), "kid" in item
    return Credential(
        kid=str(item["kid"]) if bound else "",
        hmac_key=jose.unb64(str(item["hmac_key"]).rstrip("=")) if bound else b"",
        identifiers=_identifiers(item["identifiers"]),
        alg=str(item.get("alg") or "HS256"),
        profile=None if profile is None else str(profile),
        reusable=not bound or item.get("reusable") is True,
    )


def _renewal(item: Mapping[str, object]) -> Renewal:
    certificate, key = item.get("certificate"), item.get("key")
    return Renewal(
        directory=str(item["directory"]),
        identifiers=_identifiers(item["identifiers"]),
        certificate=None if certificate is None else str(certificate),
        key=None if key is None else str(key),
    )


def _identifiers(value: object) -> tuple[Identifier, ...]:
    if not isinstance(value, list):
        raise TypeError("identifiers is not an array")
    return tuple({"type": str(one["type"]), "value": str(one["value"])} for one in value)
