"""The credentials file: external account bindings to spend, and optionally a certificate to renew by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
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


#: MAC algorithms that a binding may name (RFC 8555 7.3.4, RFC 7518 3.2).
MACS = ("HS256", "HS384", "HS512")
LOOKS_LIKE = (
    '{"credentials":[{"kid":"..","hmac_key":"<base64url>","identifiers":[{"type":"dns","value":".."}]}]}'
)


@dataclass(frozen=True)
class _Member:
    """A member that an object of the file may have: what its value has to be, in words and as a test."""

    name: str
    expected: str
    fits: Callable[[object], bool]
    required: bool = False


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _base64url(value: object) -> bool:
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z0-9_-]+=*", value):
        return False
    try:
        return bool(jose.unb64(value.rstrip("=")))
    except ValueError:
        return False


_IDENTIFIERS = _Member(
    "identifiers",
    'an array of {"type": "dns", "value": NAME}, at least one',
    lambda value: isinstance(value, list) and bool(value),
    required=True,
)
_FILE = (
    _Member("credentials", "an array", lambda value: isinstance(value, list), required=True),
    _Member("renewal", "an object", lambda value: isinstance(value, dict)),
)
_BINDING = (
    _Member("kid", "a text that is not empty", _text),
    _Member("hmac_key", "base64url, as the server's operator gave it", _base64url),
    _Member("alg", f"one of {', '.join(MACS)}", lambda value: value in MACS),
    _IDENTIFIERS,
    _Member("profile", "a text", _text),
    _Member("reusable", "true or false", lambda value: isinstance(value, bool)),
)
_RENEWAL = (
    _Member("directory", "a URL", _text, required=True),
    _IDENTIFIERS,
    _Member("certificate", "PEM", _text),
    _Member("key", "PEM", _text),
)
_IDENTIFIER = (
    _Member("type", "a text, such as dns", _text, required=True),
    _Member("value", "a text that is not empty", _text, required=True),
)
#: Members of which one is of no use without the other.
_PAIRS = (("kid", "hmac_key"), ("certificate", "key"))


def load(path: str) -> Credentials:
    """Reads the file; raises Usage naming the entry and the member that is wrong."""
    try:
        return parse(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise Usage(f"--credentials {path}: {error.strerror}; name a file that can be read") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Usage(
            f"--credentials {path}: not JSON ({where}: {error.msg}); it looks like {LOOKS_LIKE}"
        ) from error
    except ValueError as error:
        raise Usage(f"--credentials {path}: {error}; it looks like {LOOKS_LIKE}") from error


def parse(value: object) -> Credentials:
    """Builds Credentials from the decoded file; ValueError names the entry and the member."""
    file = _checked(value, _FILE, "the file")
    entries = file["credentials"]
    assert isinstance(entries, list)
    return Credentials(
        tuple(_credential(item, f"credentials, entry {number}") for number, item in enumerate(entries, 1)),
        _renewal(file["renewal"]) if "renewal" in file else None,
    )


def _checked(value: object, members: Sequence[_Member], where: str) -> dict[str, object]:
    """The object without members that are null, once each is known and fits."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_shown(value)}, not an object")
    given = {str(name): found for name, found in value.items() if found is not None}
    known = {one.name: one for one in members}
    for name in given.keys() - known.keys():
        absent = [one for one in known if one not in given]
        near = [one for one in absent if name.replace("-", "_").lower() == one] or get_close_matches(
            name, absent, 1, 0.5
        )
        meant = f'did you mean "{near[0]}"?' if near else f"it may have {', '.join(known)}"
        raise ValueError(f'{where} has "{name}", which nothing reads: {meant}')
    for one in members:
        if one.required and one.name not in given:
            has = f"it has {', '.join(given)}" if given else "it is empty"
            raise ValueError(f'{where} lacks "{one.name}" ({has})')
        if one.name in given and not one.fits(given[one.name]):
            raise ValueError(f'{where}: "{one.name}" is {_shown(given[one.name])}, not {one.expected}')
    for pair in _PAIRS:
        there = [name for name in pair if name in given]
        if len(there) == 1 and there[0] in known:
            (lacks,) = set(pair) - set(there)
            raise ValueError(f'{where} has "{there[0]}" and lacks "{lacks}"')
    return given


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "…"


def _credential(value: object, where: str) -> Credential:
    item = _checked(value, _BINDING, where)
    bound = "kid" in item
    return Credential(
        kid=str(item["kid"]) if bound else "",
        hmac_key=jose.unb64(str(item["hmac_key"]).rstrip("=")) if bound else b"",
        identifiers=_identifiers(item["identifiers"], where),
        alg=str(item.get("alg", "HS256")),
        profile=str(item["profile"]) if "profile" in item else None,
        reusable=not bound or item.get("reusable") is True,
    )


def _renewal(value: object) -> Renewal:
    item = _checked(value, _RENEWAL, "renewal")
    return Renewal(
        directory=str(item["directory"]),
        identifiers=_identifiers(item["identifiers"], "renewal"),
        certificate=str(item["certificate"]) if "certificate" in item else None,
        key=str(item["key"]) if "key" in item else None,
    )


def _identifiers(value: object, where: str) -> tuple[Identifier, ...]:
    assert isinstance(value, list)
    checked = [
        _checked(one, _IDENTIFIER, f"{where}, identifier {number}") for number, one in enumerate(value, 1)
    ]
    return tuple({"type": str(one["type"]), "value": str(one["value"])} for one in checked)


#: A host name as it may be ordered: labels of letters, digits and hyphens (RFC 1123 2.1).
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


def unbound(name: str) -> Credential:
    """What --identifier NAME gives: a name or an address to order where no binding is asked for."""
    try:
        identifier = {"type": "ip", "value": str(ip_address(name))}
    except ValueError:
        identifier = {"type": "dns", "value": name}
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise Usage(
                f"--identifier {name!r}: no DNS name and no address; write it as --identifier www.example.org"
            ) from None
    return Credential("", b"", (identifier,), reusable=True)
