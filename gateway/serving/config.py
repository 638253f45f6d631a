"""The configuration: one TOML file, every setting of which is a field below with its default and meaning.

A name that is not here, a wrong type and an impossible value are refused by name. ``toml_of`` writes
the file that ``sekisho init`` leaves behind; reading that file back gives the defaults.
"""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ca.errors import ConfigError
from ca.files import Snapshot
from ca.storage import CACHE_MIB
from enroll.settings import Settings
from gateway.edge.facts import Limits
from gateway.proxy.products import NAMES
from gateway.proxy.upstream import Waits
from gateway.proxy.waiting import path_waits
from gateway.serving.rates import Rates
from gateway.wire.ownpaths import is_own

FILE_NAME = "sekisho.toml"

T = TypeVar("T")
#: What is wrong with a value, in words that follow "section.name: "; None if nothing is.
Check = Callable[[Any], str | None]

_POLICY = Settings()
_WAITS = Waits()
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_UPSTREAM = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/?")
_MAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9.-]{1,253}")


# -- checks: each says what to write instead -----------------------------------------------------------


def _between(low: float, high: float) -> Check:
    return lambda value: None if low <= value <= high else f"write a number from {low} to {high}"


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"write one of {', '.join(map(repr, words))}"


def _matching(pattern: str, hint: str) -> Check:
    return lambda value: None if re.fullmatch(pattern, value) else hint


def _address(value: str) -> str | None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "write the IP address to listen on, such as '127.0.0.1' or '0.0.0.0'"
    return None


def _addresses(value: tuple[str, ...]) -> str | None:
    if not value or len(set(value)) < len(value):
        return "write each IP address to listen on once, such as ['192.0.2.7', '2001:db8::7']"
    return next((problem for problem in map(_address, value) if problem is not None), None)


def _networks(value: tuple[str, ...]) -> str | None:
    for network in value:
        try:
            found = ipaddress.ip_network(network)
        except ValueError:
            return f"{network!r} is no network; write each as '192.0.2.0/24' or '192.0.2.7'"
        if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped:
            return f"{network!r} is one of IPv4 within IPv6, where nobody comes from; write it as IPv4"
    return None


def _hosts(value: tuple[str, ...]) -> str | None:
    if not value:
        return "write at least one host name, such as ['pickup.example.jp']"
    if value[0].startswith("*."):
        return "write an exact host name first: it is the one in mails and links"
    for host in value:
        if len(host) > 253 or not _HOST.fullmatch(host.removeprefix("*.")):
            return f"{host!r} is no host name; write it in lower case, without port, path or final dot"
    return None


def _hosts_or_none(value: tuple[str, ...]) -> str | None:
    return _hosts(value) if value else None


def _wildcard(value: str) -> str | None:
    if value == "" or (value.startswith("*.") and _HOST.fullmatch(value[2:]) and len(value) <= 200):
        return None
    return "write a wildcard such as '*.try.example.jp', or '' for none"


def _mail(value: str) -> str | None:
    return None if _MAIL.fullmatch(value) else "write a mail address, such as 'sender@example.jp'"


def _mail_or_none(value: str) -> str | None:
    return None if value == "" else _mail(value)


_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)")


def _hours(value: str) -> str | None:
    found = _HOURS.fullmatch(value)
    if value == "" or (found and found.group(1, 2) != found.group(3, 4)):
        return None
    return "write two times of Japan's day, such as '8:00-20:00', or '' for any time"


def _line(value: str) -> str | None:
    return None if value and value.isprintable() else "write one line of text"


def _link(value: str) -> str | None:
    good = value == "" or re.fullmatch(r"https://[^\s\"'<>]+", value)
    return None if good else "write an address that begins with https://, or '' for none"


def _paths(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"(?:/[A-Za-z0-9_~.-]+)+", path) for path in value)
    return None if good else "write paths that begin with / and end without one"


def _scopes(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*/)+", path) for path in value)
    good = good and not any(map(is_own, value))
    return None if good else "write paths of the upstream's that begin and end with /, such as '/app/'"


def _start(value: str) -> str | None:
    good = re.fullmatch(r"/[A-Za-z0-9_~.-][A-Za-z0-9/_~.-]*", value) and not is_own(value)
    return None if value == "" or good else "write a path that is the upstream's, such as '/app/', or ''"


def _path_waits(value: tuple[str, ...]) -> str | None:
    try:
        path_waits(_WAITS, value)
    except ConfigError as error:
        return str(error).removeprefix("waits: ")
    return None


def _field_names(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*\*?", name) for name in value)
    return None if good else "write names such as 'X-Auth-User', or how they begin, such as 'X-Auth-*'"


def _pairs(value: tuple[str, ...]) -> str | None:
    good = all(re.fullmatch(r"[A-Za-z0-9-]+=[a-z-]+", pair) for pair in value)
    return None if good else "write each as 'Header-Name=what', such as 'X-Remote-User=user'"


def _setting(default: T, meaning: str, check: Check | None = None) -> T:
    return field(default=default, metadata={"meaning": meaning, "check": check})


_PORT = _between(1, 65_535)
# Of seconds and of bytes alike: more of either is a slip.
_LARGEST = 10**9
_WAIT = _between(0.1, 604_800)


# -- the settings --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listen:
    """Where the gateway listens."""

    host: tuple[str, ...] = _setting(
        ("127.0.0.1",),
        "IP addresses to listen on, one or a list; 0.0.0.0 is every one of IPv4, :: of both IPv6 and IPv4",
        _addresses,
    )
    port: int = _setting(8443, "TCP port to listen on", _PORT)
    public_port: int = _setting(
        0,
        "port in the addresses people use, when something in front forwards it; 0: the same",
        _between(0, 65_535),
    )
    proxy_protocol: tuple[str, ...] = _setting(
        (),
        "load balancers whose connections begin with a PROXY header, such as ['10.0.0.0/24']; [] for none",
        _networks,
    )


@dataclass(frozen=True)
class Internal:
    """Where this machine asks how the gateway is."""

    host: str = _setting("127.0.0.1", "IP address of /healthz, /readyz and /metrics: keep it local", _address)
    port: int = _setting(0, "their port, such as 9441, by plain HTTP; 0 for none", _between(0, 65_535))
    hosts: tuple[str, ...] = _setting(
        (), "names that they are asked by, besides IP addresses and localhost", _hosts_or_none
    )


@dataclass(frozen=True)
class Sites:
    """Host names of each site; the first is the one in mails and links."""

    pickup: tuple[str, ...] = _setting(("pickup.localhost",), "pick-up: never asks for a certificate", _hosts)
    renewal: tuple[str, ...] = _setting(
        ("renewal.localhost", "*.renew.localhost"),
        "renewal: requires one; under a wildcard a browser asks for another certificate",
        _hosts,
    )
    service: tuple[str, ...] = _setting(
        ("service.localhost", "*.login.localhost"), "online service: requires one; wildcard as above", _hosts
    )
    portal: tuple[str, ...] = _setting(
        (),
        "its login and portal on a host apart from what is in [upstream], such as ['portal.example.jp']; []: "
        "the same; wildcard as above",
        _hosts_or_none,
    )
    connectivity: tuple[str, ...] = _setting(
        ("connectivity.localhost",), "connectivity test: asks for one and works without", _hosts
    )
    help: tuple[str, ...] = _setting(("help.localhost",), "help pages: never asks", _hosts)
    mailbox: tuple[str, ...] = _setting(
        (), "pages that show the outbox; in a demo's directory only, elsewhere an empty list", _hosts_or_none
    )
    try_suffix: str = _setting(
        "*.try.localhost",
        "wildcard for fresh hosts on which a browser asks for the certificate again; '' for none",
        _wildcard,
    )


@dataclass(frozen=True)
class Tls:
    """The certificate of our own hosts."""

    certificate: str = _setting(
        "local",
        "'local' (made by the data directory's own server CA), or a PEM file: leaf, then issuers",
        _line,
    )
    key: str = _setting("", "PEM file of the certificate's private key; '' with 'local'")


@dataclass(frozen=True)
class Operator:
    """What people see of the operator."""

    name: str = _setting(_POLICY.operator_name, "shown on every screen and in every mail", _line)
    brand: str = _setting(_POLICY.ca_brand, "brand of the CA, shown after the name", _line)
    telephone: str = _setting(_POLICY.telephone, "the help desk", _line)
    manual_url: str = _setting(
        "", "オンライン操作マニュアル第3章, linked from the help; '' for no link", _link
    )


@dataclass(frozen=True)
class Policy:
    """Rules of enrollment (D1 to D11)."""

    window_days: int = _setting(
        _POLICY.window_days, "pick-up window, in days from issuance", _between(1, 365)
    )
    window_downloads: int = _setting(_POLICY.window_downloads, "downloads in that window", _between(1, 100))
    announced_days: int = _setting(
        _POLICY.announced_days,
        "days until an announced pick-up that nobody started is closed",
        _between(1, 365),
    )
    ticket_seconds: int = _setting(
        _POLICY.ticket_seconds, "how long a Download button works, in seconds", _between(60, 3_600)
    )
    renewal_days: int = _setting(
        _POLICY.renewal_days, "first renewal mail, days before the end", _between(1, 365)
    )
    reminder_days: int = _setting(
        _POLICY.reminder_days, "second renewal mail, days before the end", _between(0, 365)
    )
    grace_days: int = _setting(
        _POLICY.grace_days,
        "days after the end in which pages and accounts still renew; 0: none",
        _between(0, 90),
    )
    decision_days: int = _setting(
        _POLICY.decision_days,
        "business days in which applications are decided as a rule, told to applicants; 0: no day is told",
        _between(0, 60),
    )
    lineages: int = _setting(
        _POLICY.lineages,
        "PCs with a certificate that a user may have, and credentials for programs",
        _between(1, 100),
    )
    revoke_renewed_days: int = _setting(
        _POLICY.revoke_renewed_days,
        "revoke the old certificate this many days after the renewed one's first use; -1: never",
        _between(-1, 365),
    )
    person_key: str = _setting(
        _POLICY.person_key, "keys of people's certificates", _one_of("rsa-2048", "rsa-3072", "ec-p256")
    )
    attempts: int = _setting(
        _POLICY.attempts, "failed logins before the next one has to wait", _between(1, 1_000)
    )
    attempt_seconds: int = _setting(
        _POLICY.attempt_seconds, "period that they are counted in", _between(1, 86_400)
    )


@dataclass(frozen=True)
class Mail:
    """How mails leave."""

    transport: str = _setting(
        "outbox", "'outbox' (.eml files in the data directory) or 'smtp'", _one_of("outbox", "smtp")
    )
    from_: str = _setting(_POLICY.mail_from, "From of every mail", _mail)
    return_path: str = _setting(
        "", "where bounces go, for sekisho mail bounce; '' is the From address", _mail_or_none
    )
    host: str = _setting("localhost", "SMTP server", _matching(r"[0-9A-Za-z.:-]{1,253}", "write a host name"))
    port: int = _setting(587, "its port", _PORT)
    security: str = _setting("starttls", "'starttls', 'tls' or 'none'", _one_of("starttls", "tls", "none"))
    username: str = _setting("", "login at the SMTP server; '' for none")
    password_file: str = _setting("", "file with the password of that login, on one line; '' for none")
    ca: str = _setting("", "PEM file of the only CA trusted for the SMTP server; '' trusts the system's CAs")
    timeout: float = _setting(
        30.0,
        "seconds to wait for its answers; a letter it has got whole is waited for longer (RFC 5321)",
        _between(1, 300),
    )
    connections: int = _setting(
        4, "connections to it at once; most servers take ten or more of one client", _between(1, 100)
    )
    letters_per_connection: int = _setting(
        100, "letters on each; many servers close after a hundred", _between(1, 100_000)
    )
    per_minute: int = _setting(
        1_200,
        "letters in a minute at most; 0: as many as go. Providers tell you theirs",
        _between(0, 1_000_000),
    )
    notice_hours: str = _setting(
        "8:00-20:00",
        "when renewal notices leave, in Japan; '' at any time. What somebody waits for always leaves at once",
        _hours,
    )


@dataclass(frozen=True)
class Protocol:
    """Enrollment by automated clients."""

    host: str = _setting(
        "",
        "host of the pick-up site that clients use; '' for its first",
        lambda value: None if value == "" or _HOST.fullmatch(value) else "write a host name in lower case",
    )
    zone: str = _setting(
        _POLICY.zone,
        "identifiers are <user-id>.<zone>",
        lambda value: None if _HOST.fullmatch(value) else "write a domain name in lower case",
    )
    quota: int = _setting(
        _POLICY.quota,
        "certificates, and open orders, outside the renewal period that one credential may have at a time",
        _between(1, 100_000),
    )
    terms_of_service: str = _setting(
        "", "address of the terms that clients have to agree to; '' for none", _link
    )
    website: str = _setting("", "address told to clients; '' for none", _link)


@dataclass(frozen=True)
class Storage:
    """The database in the data directory."""

    cache: int = _setting(
        CACHE_MIB,
        "MiB of it that each of a worker's three connections may keep in memory",
        _between(1, 65_536),
    )


@dataclass(frozen=True)
class Behind:
    """The service behind the online service's login."""

    addresses: tuple[str, ...] = _setting(
        (),
        "where it is, such as ['http://127.0.0.1:8000']; [] for none, several for more than one server",
        lambda value: None if all(map(_UPSTREAM.fullmatch, value)) else "write each as http://host:port",
    )
    start: str = _setting(
        "",
        "path of its first page, which the portal leads to, such as '/app/'; '' for no link",
        _start,
    )
    ca: str = _setting("", "PEM file of the only CA trusted for https addresses; '' with http")
    server_name: str = _setting("", "name in the certificate of https addresses; '' for that in the address")
    health: str = _setting(
        "",
        "path asked every 5 seconds, an answer below 500 is well; '' asks nothing",
        lambda value: None if re.fullmatch(r"|/[!-~]*", value) else "write a path such as '/healthz'",
    )
    connections: int = _setting(1_000, "connections to it at most", _between(1, 100_000))
    public: tuple[str, ...] = _setting((), "paths without a login, such as ['/public']", _paths)
    certificate: tuple[str, ...] = _setting(
        (), "paths for which the certificate is enough, such as ['/api']", _paths
    )
    connect_seconds: float = _setting(
        _WAITS.connect, "seconds until it takes a connection, then the next address is tried", _WAIT
    )
    answer_seconds: float = _setting(
        _WAITS.answer, "seconds from the end of a request to the head of its answer; then 504", _WAIT
    )
    body_seconds: float = _setting(
        _WAITS.body, "seconds between two pieces of an answer's body; event streams are silent long", _WAIT
    )
    tunnel_seconds: float = _setting(
        _WAITS.tunnel, "seconds in which nothing moves on a WebSocket, in either direction", _WAIT
    )
    waits: tuple[str, ...] = _setting(
        (),
        "other waits below a path, such as ['/reports answer=600 body=600', '/live tunnel=86400']",
        _path_waits,
    )
    rewrite_addresses: bool = _setting(
        True,
        "whether Location, Content-Location and Refresh that name this host by http or another port, or the "
        "service's own address, become addresses of this host",
    )
    taken_off: tuple[str, ...] = _setting(
        NAMES,
        "fields of other gateways that visitors may not send to it; * at the end stands for any more",
        _field_names,
    )
    service_workers: tuple[str, ...] = _setting(
        (), "paths whose pages may have service workers, such as ['/app/']; [] for none", _scopes
    )
    headers: tuple[str, ...] = _setting(
        (),
        "plain headers about the caller besides the signed one, such as ['X-Remote-User=user']",
        _pairs,
    )


@dataclass(frozen=True)
class Timekeeping:
    """How far the clock is believed; beyond, what cannot be undone waits for: sekisho clock confirm."""

    ahead_days: int = _setting(
        _POLICY.clock_ahead_days,
        "days that it may be ahead of what is known: the gateway was off or suspended, or somebody set it",
        _between(1, 365),
    )
    behind_minutes: int = _setting(
        _POLICY.clock_behind_minutes, "minutes that it may be behind of it", _between(1, 1_440)
    )


@dataclass(frozen=True)
class Log:
    """What is written down while the gateway runs: one JSON document a line."""

    level: str = _setting(
        "info", "'debug', 'info', 'warning' or 'error'", _one_of("debug", "info", "warning", "error")
    )
    file: str = _setting("", "file to append to, below the data directory or absolute; '' is standard error")
    access: bool = _setting(True, "whether each request is a line")


@dataclass(frozen=True)
class Config:
    """The whole file. Built by ``read_config`` or ``parse_config``."""

    listen: Listen = Listen()
    sites: Sites = Sites()
    tls: Tls = Tls()
    operator: Operator = Operator()
    policy: Policy = Policy()
    mail: Mail = Mail()
    protocol: Protocol = Protocol()
    upstream: Behind = Behind()
    limits: Limits = Limits()  # noqa: RUF009 (frozen)
    rates: Rates = Rates()  # noqa: RUF009 (frozen)
    log: Log = Log()
    internal: Internal = Internal()
    database: Storage = Storage()
    clock: Timekeeping = Timekeeping()

    @property
    def public_port(self) -> int:
        """The port in the addresses that people use."""
        return self.listen.public_port or self.listen.port


#: Meanings of ``gateway.edge.connection.Limits``, whose defaults say their reasons there.
LIMIT_MEANINGS: dict[str, str] = {
    "proxy_header": "seconds for the PROXY header of a load balancer",
    "handshake": "seconds for the TLS handshake",
    "head": "seconds from the first byte of a request to the end of its header",
    "idle": "seconds between two requests of a connection",
    "stall": "seconds in which a body or an answer has to move stall_bytes",
    "stall_bytes": "bytes that have to move in that time",
    "lingering": "seconds of reading on after an early answer",
    "drain": "seconds for running requests when the gateway stops",
    "tick": "seconds between two looks at limits and expiries",
    "handshake_bytes": "bytes of a TLS handshake",
    "barren_bytes": "bytes of TLS records that carry no data",
    "line_bytes": "bytes of a request line or header line",
    "headers": "header lines of a request",
    "connections": "open connections of a worker",
    "connections_per_address": "open connections from one address (IPv6: one /64), to all workers together",
    "connections_per_certificate": "open connections with one client certificate, to all workers together",
    "handshakes_per_address": "unfinished handshakes from one address, to all workers together",
}

#: Meanings of ``gateway.serving.rates.Rates``.
RATE_MEANINGS: dict[str, str] = {
    "page_address": "forms a second from one address, to all workers together",
    "page_certificate": "forms a second with one certificate",
    "protocol_address": "requests of the protocol a second from one address",
    "protocol_certificate": "requests of the protocol a second with one certificate",
    "burst_seconds": "seconds' worth of them that may come at once",
}


# -- reading -------------------------------------------------------------------------------------------


def read_config(data: Path, files: Snapshot | None = None) -> Config:
    """The configuration of a data directory. ConfigError names the setting and what to write instead."""
    path = data / FILE_NAME
    content = (files or Snapshot()).find(path, "configuration")
    if content is None:
        raise ConfigError(f"{path} is missing; write one with every default: sekisho init --data {data}")
    try:
        return parse_config(content.decode())
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8; save it as UTF-8") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_config(text: str) -> Config:
    """The configuration that a TOML text says; what it leaves out has its default. ConfigError as above."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}; mend that line") from None
    sections: dict[str, Any] = {}
    for name, content in raw.items():
        default = getattr(_DEFAULT, name, None) if name in _SECTIONS else None
        if default is None:
            raise ConfigError(f"[{name}] is no section; the sections are {', '.join(_SECTIONS)}")
        if not isinstance(content, dict):
            raise ConfigError(f"{name} must be a section; write [{name}] on a line of its own")
        sections[name] = _section(name, default, content)
    config = replace(_DEFAULT, **sections)
    _check_together(config)
    return config


def settings_of(config: Config) -> Settings:
    """The policies that `enroll` works by, with the addresses of our sites in them."""
    port = config.public_port
    opens, closes = _minutes(config.mail.notice_hours)
    policy = {each.name: getattr(config.policy, each.name) for each in fields(config.policy)}
    return Settings(
        **policy,
        operator_name=config.operator.name,
        ca_brand=config.operator.brand,
        telephone=config.operator.telephone,
        zone=config.protocol.zone,
        quota=config.protocol.quota,
        clock_ahead_days=config.clock.ahead_days,
        clock_behind_minutes=config.clock.behind_minutes,
        mail_from=config.mail.from_,
        mail_return_path=config.mail.return_path,
        notice_opens=opens,
        notice_closes=closes,
        pickup_url=origin(config.sites.pickup[0], port) + "/",
        renewal_url=origin(config.sites.renewal[0], port) + "/",
        service_url=origin((config.sites.portal or config.sites.service)[0], port) + "/",
        help_url=origin(config.sites.help[0], port) + "/",
    )


def _minutes(hours: str) -> tuple[int, int]:
    """Both ends of hours, in minutes from midnight; equal for any time."""
    found = _HOURS.fullmatch(hours)
    opens, opening, closes, closing = (int(each) for each in found.groups()) if found else (0, 0, 0, 0)
    return 60 * opens + opening, 60 * closes + closing


def origin(host: str, port: int) -> str:
    """The web origin of a host, as browsers write it: the port is left out when it is 443."""
    return f"https://{host}" if port == 443 else f"https://{host}:{port}"


def toml_of(config: Config) -> str:
    """The file that holds these settings, each with its meaning beside it."""
    lines = [
        "# Configuration of sekisho. Every setting is here with its default; see each one's comment.",
        "# After a change: sekisho doctor, then sekisho reload. For hosts and ports of listen and internal,",
        "# for log.file and for database stop it and start it again.",
    ]
    for name in _SECTIONS:
        section = getattr(config, name)
        lines += ["", f"[{name}]"]
        for entry in fields(section):
            lines.append(f"# {meaning_of(entry)}")
            value = getattr(section, entry.name)
            if f"{name}.{entry.name}" in _ONE_OR_MORE and len(value) == 1:
                (value,) = value
            lines.append(f"{_toml_name(entry)} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def every_setting() -> Iterator[tuple[str, Field[Any]]]:
    """(section, field) of each setting, in the order of the file."""
    for name in _SECTIONS:
        for entry in fields(getattr(_DEFAULT, name)):
            yield name, entry


def meaning_of(entry: Field[Any]) -> str:
    """One line on what a setting means."""
    return str(entry.metadata.get("meaning") or (LIMIT_MEANINGS | RATE_MEANINGS)[entry.name])


# -- within --------------------------------------------------------------------------------------------

_DEFAULT = Config()
# Lists of which one may be written as a text.
_ONE_OR_MORE = frozenset({"listen.host"})
_SECTIONS = tuple(each.name for each in fields(Config))


def _section(name: str, default: Any, content: Mapping[str, Any]) -> Any:
    known = {_toml_name(entry): entry for entry in fields(default)}
    changes: dict[str, Any] = {}
    for key, value in content.items():
        entry = known.get(key)
        if entry is None:
            raise ConfigError(f"{name}.{key} is no setting; [{name}] knows {', '.join(known)}")
        parsed = _typed(f"{name}.{key}", getattr(default, entry.name), value)
        check: Check = entry.metadata.get("check") or _check_by_type
        problem = check(parsed)
        if problem is not None:
            raise ConfigError(f"{name}.{key}: {problem} (it is {_toml_value(parsed)})")
        changes[entry.name] = parsed
    return replace(default, **changes)


def _typed(name: str, default: Any, value: Any) -> Any:
    """The value in the type of the default; TOML's own types, and an integer where a float is meant."""
    if isinstance(default, tuple):
        if isinstance(value, str) and name in _ONE_OR_MORE:
            return (value,)
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise ConfigError(f"{name}: write a list of texts, such as {_toml_value(default)}")
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        words = {str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{name}: write {words[type(default)]}, such as {_toml_value(default)}")
    return value


def _check_by_type(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if value == "" or value.isprintable() else "write one line of text"
    # What has no check of its own is a limit: nothing works with none of it.
    return None if 0 < value < _LARGEST else f"write a number above 0 and below {_LARGEST:,}"


def _check_together(config: Config) -> None:
    owners: dict[str, str] = {}
    suffix = (config.sites.try_suffix,) if config.sites.try_suffix else ()
    for entry in fields(config.sites):
        hosts = suffix if entry.name == "try_suffix" else getattr(config.sites, entry.name)
        for host in hosts:
            if host in owners:
                raise ConfigError(
                    f"sites.{entry.name}: {host} belongs to sites.{owners[host]} already; remove one"
                )
            owners[host] = entry.name
    inside, outside = config.internal, config.listen
    overlap = inside.host in outside.host or {inside.host, *outside.host} & {"0.0.0.0", "::"}  # noqa: S104
    if inside.port == outside.port and overlap:
        raise ConfigError("internal.port: write another port than that of [listen], or 0 for none")
    if config.protocol.host and config.protocol.host not in config.sites.pickup:
        raise ConfigError("protocol.host: write one of the hosts of sites.pickup, or '' for the first")
    if (config.tls.certificate == "local") != (config.tls.key == ""):
        raise ConfigError(
            "tls.key: name the key's PEM file beside tls.certificate, or neither ('local' and '')"
        )
    if config.policy.reminder_days >= config.policy.renewal_days:
        raise ConfigError("policy.reminder_days: write fewer days than policy.renewal_days")
    if bool(config.mail.username) != bool(config.mail.password_file):
        raise ConfigError("mail.password_file: name the file with the password of mail.username, or neither")


def _toml_name(entry: Field[Any]) -> str:
    return entry.name.removesuffix("_")


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        listed = ", ".join(_toml_value(each) for each in value)
        return f"[{listed}]" if len(listed) < 400 else _toml_lines(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _toml_lines(value: tuple[Any, ...]) -> str:
    """A long list, a few to a line."""
    lines: list[str] = []
    line = "   "
    for each in map(_toml_value, value):
        if len(line) + len(each) > 108:
            lines, line = [*lines, line], "   "
        line += f" {each},"
    return "\n".join(["[", *lines, line, "]"])
