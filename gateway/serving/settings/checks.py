"""What a setting's value must look like: each check says what to write instead, or None."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar

from ca.errors import ConfigError
from gateway.proxy import waiting
from gateway.proxy.waiting import Waits
from gateway.wire.ownpaths import is_own

T = TypeVar("T")
#: What is wrong with a value, in words that follow "section.name: "; None if nothing is.
Check = Callable[[Any], str | None]

_WAITS = Waits()
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9.-]{1,253}")
#: Two times of a day.
HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)")


def between(low: float, high: float) -> Check:
    return lambda value: None if low <= value <= high else f"write a number from {low} to {high}"


def one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"write one of {', '.join(map(repr, words))}"


def matching(pattern: str, hint: str) -> Check:
    return lambda value: None if re.fullmatch(pattern, value) else hint


def directory_or_none(value: str) -> str | None:
    good = value == "" or value.startswith("/")
    return None if good else "write a directory, such as '/run/sekisho-signer', or '' for none"


def address(value: str) -> str | None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "write the IP address to listen on, such as '127.0.0.1' or '0.0.0.0'"
    return None


def addresses(value: tuple[str, ...]) -> str | None:
    if not value or len(set(value)) < len(value):
        return "write each IP address to listen on once, such as ['192.0.2.7', '2001:db8::7']"
    return next((problem for problem in map(address, value) if problem is not None), None)


def networks(value: tuple[str, ...]) -> str | None:
    for network in value:
        try:
            found = ipaddress.ip_network(network)
        except ValueError:
            return f"{network!r} is no network; write each as '192.0.2.0/24' or '192.0.2.7'"
        if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped:
            return f"{network!r} is one of IPv4 within IPv6, where nobody comes from; write it as IPv4"
    return None


def hosts(value: tuple[str, ...]) -> str | None:
    if not value:
        return "write at least one host name, such as ['pickup.example.jp']"
    if value[0].startswith("*."):
        return "write an exact host name first: it is the one in mails and links"
    for host in value:
        if len(host) > 253 or not HOST.fullmatch(host.removeprefix("*.")):
            return f"{host!r} is no host name; write it in lower case, without port, path or final dot"
    return None


def hosts_or_none(value: tuple[str, ...]) -> str | None:
    return hosts(value) if value else None


def host_or_none(value: tuple[str, ...]) -> str | None:
    if len(value) > 1 or any(each.startswith("*.") for each in value):
        return "write one host and no wildcard, or [] for none"
    return hosts_or_none(value)


def wildcard(value: str) -> str | None:
    if value == "" or (value.startswith("*.") and HOST.fullmatch(value[2:]) and len(value) <= 200):
        return None
    return "write a wildcard such as '*.try.example.jp', or '' for none"


def mail(value: str) -> str | None:
    return None if _MAIL.fullmatch(value) else "write a mail address, such as 'sender@example.jp'"


def mail_or_none(value: str) -> str | None:
    return None if value == "" else mail(value)


def hours(value: str) -> str | None:
    found = HOURS.fullmatch(value)
    if value == "" or (found and found.group(1, 2) != found.group(3, 4)):
        return None
    return "write two times of Japan's day, such as '8:00-20:00', or '' for any time"


def business_hours(value: str) -> str | None:
    found = HOURS.fullmatch(value)
    if value == "" or (found and tuple(map(int, found.group(1, 2))) < tuple(map(int, found.group(3, 4)))):
        return None
    return "write two times of one business day in Japan, such as '8:00-18:00', or '' for any time"


def line(value: str) -> str | None:
    return None if value and value.isprintable() else "write one line of text"


def link(value: str) -> str | None:
    good = value == "" or re.fullmatch(r"https://[^\s\"'<>]+", value)
    return None if good else "write an address that begins with https://, or '' for none"


def paths(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"(?:/[A-Za-z0-9_~.-]+)+", path) for path in value)
    return None if good else "write paths that begin with / and end without one"


def scopes(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*/)+", path) for path in value)
    good = good and not any(map(is_own, value))
    return None if good else "write paths of the upstream's that begin and end with /, such as '/app/'"


def start(value: str) -> str | None:
    good = re.fullmatch(r"/[A-Za-z0-9_~.-][A-Za-z0-9/_~.-]*", value) and not is_own(value)
    return None if value == "" or good else "write a path that is the upstream's, such as '/app/', or ''"


def path_waits(value: tuple[str, ...]) -> str | None:
    try:
        waiting.path_waits(_WAITS, value)
    except ConfigError as error:
        return str(error).removeprefix("waits: ")
    return None


def field_names(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*\*?", name) for name in value)
    return None if good else "write names such as 'X-Auth-User', or how they begin, such as 'X-Auth-*'"


def pairs(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"[A-Za-z0-9-]+=[a-z-]+", pair) for pair in value)
    return None if good else "write each as 'Header-Name=what', such as 'X-Remote-User=user'"


def setting(default: T, meaning: str, check: Check | None = None, *, shown: bool = True) -> T:
    """A field of a section. ``meaning``: the line above it in the file; ``check``: instead of its type's;
    ``shown``: whether an error says what stands there, and not only what is wrong with it."""
    return field(default=default, metadata={"meaning": meaning, "check": check, "shown": shown})


PORT = between(1, 65_535)
