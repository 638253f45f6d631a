"""The configuration: one TOML file, whose sections are the classes in `serving/settings/`.

A name that is not here, a wrong type and an impossible value are refused by name. ``toml_of`` writes
the file that ``sekisho init`` leaves behind; reading that file back gives the defaults.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from ca.errors import ConfigError
from ca.files import Snapshot
from ca.profiles import CLIENTS, Profile
from enroll.retention.periods import Periods
from enroll.settings import Settings
from gateway.edge.facts import Limits
from gateway.serving.rates import Rates
from gateway.serving.settings.behind import Behind
from gateway.serving.settings.checks import HOURS, Check
from gateway.serving.settings.enrollment import Operator, Policy, Protocol, Timekeeping
from gateway.serving.settings.keeping import Backups, Copying, Retention
from gateway.serving.settings.mail import Mail, Postcards
from gateway.serving.settings.profiles import commented, parse_profiles
from gateway.serving.settings.reach import Internal, Listen, Revocation, Sites, Tls
from gateway.serving.settings.running import (
    LIMIT_MEANINGS,
    RATE_MEANINGS,
    Log,
    Operators,
    Signing,
    Storage,
)
from gateway.serving.settings.tokens import NAME, KeyTable, TokenTable
from gateway.serving.settings.webhooks import Webhooks

FILE_NAME = "sekisho.toml"

T = TypeVar("T")

# Of seconds and of bytes alike: more of either is a slip.
_LARGEST = 10**9


@dataclass(frozen=True)
class Config:
    """The whole file. Built by ``read_config`` or ``parse_config``."""

    listen: Listen = field(default_factory=Listen)
    revocation: Revocation = field(default_factory=Revocation)
    sites: Sites = field(default_factory=Sites)
    tls: Tls = field(default_factory=Tls)
    operator: Operator = field(default_factory=Operator)
    policy: Policy = field(default_factory=Policy)
    mail: Mail = field(default_factory=Mail)
    webhooks: Webhooks = field(default_factory=Webhooks)
    postcards: Postcards = field(default_factory=Postcards)
    protocol: Protocol = field(default_factory=Protocol)
    upstream: Behind = field(default_factory=Behind)
    limits: Limits = field(default_factory=Limits)
    rates: Rates = field(default_factory=Rates)
    log: Log = field(default_factory=Log)
    internal: Internal = field(default_factory=Internal)
    database: Storage = field(default_factory=Storage)
    clock: Timekeeping = field(default_factory=Timekeeping)
    signer: Signing = field(default_factory=Signing)
    operators: Operators = field(default_factory=Operators)
    journal: Copying = field(default_factory=Copying)
    backup: Backups = field(default_factory=Backups)
    retention: Retention = field(default_factory=Retention)
    tokens: Mapping[str, TokenTable] = field(default_factory=dict)
    keys: Mapping[str, KeyTable] = field(default_factory=dict)
    #: The operator's own profiles, by name: no section, but a table for each.
    profile: Mapping[str, Profile] = field(default_factory=dict)

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """Every profile that clients' certificates may have, the built-in ones first."""
        return {**CLIENTS, **self.profile}

    @property
    def public_port(self) -> int:
        """The port in the addresses that people use."""
        return self.listen.public_port or self.listen.port


# -- reading -------------------------------------------------------------------------------------------


def read_config(data: Path, files: Snapshot | None = None) -> Config:
    """The configuration of a data directory. ConfigError names the setting and what to write instead."""
    return _of_file(data, files or Snapshot(), parse_config)


def read_database(data: Path) -> Storage:
    """Of the configuration what leads to the database: for a command that has to write there that the rest
    is wrong."""
    return _of_file(data, Snapshot(), _database)


def _of_file(data: Path, files: Snapshot, parse: Callable[[str], T]) -> T:
    path = data / FILE_NAME
    content = files.find(path, "configuration")
    if content is None:
        raise ConfigError(f"{path} is missing; write one with every default: sekisho init --data {data}")
    try:
        return parse(content.decode())
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8; save it as UTF-8") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_config(text: str) -> Config:
    """The configuration that a TOML text says; what it leaves out has its default. ConfigError as above."""
    raw = _toml(text)
    sections: dict[str, Any] = {"profile": parse_profiles(raw.pop("profile", {}))}
    for name, content in raw.items():
        if name in _TABLES:
            sections[name] = _tables(name, content)
            continue
        default = getattr(_DEFAULT, name, None) if name in _SECTIONS else None
        if default is None:
            known = ", ".join((*_SECTIONS, "profile.NAME"))
            raise ConfigError(f"[{name}] is no section; the sections are {known}")
        sections[name] = _table(name, default, content)
    config = replace(_DEFAULT, **sections)
    _check_together(config)
    return config


def _database(text: str) -> Storage:
    content = _toml(text).get("database", {})
    return cast(Storage, _table("database", _DEFAULT.database, content))


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}; mend that line") from None


def _table(name: str, default: Any, content: Any) -> Any:
    if not isinstance(content, dict):
        raise ConfigError(f"{name} must be a section; write [{name}] on a line of its own")
    return _section(name, default, content)


def settings_of(config: Config) -> Settings:
    """The policies that `enroll` works by, with the addresses of our sites in them."""
    port = config.public_port
    opens, closes = minutes(config.mail.notice_hours)
    letters_from, letters_until = minutes(config.mail.hours)
    policy = {each.name: getattr(config.policy, each.name) for each in fields(config.policy)}
    return Settings(
        **policy,
        operator_name=config.operator.name,
        ca_brand=config.operator.brand,
        telephone=config.operator.telephone,
        operator_mail=config.operator.mail,
        zone=config.protocol.zone,
        quota=config.protocol.quota,
        clock_ahead_days=config.clock.ahead_days,
        clock_behind_minutes=config.clock.behind_minutes,
        mail_from=config.mail.from_,
        mail_return_path=config.mail.return_path,
        postcards=cast(Any, config.postcards.print),
        postcard_font=config.postcards.font,
        postcard_writing=cast(Any, config.postcards.writing),
        postcard_frame=config.postcards.frame,
        postcard_sender=config.postcards.sender,
        notice_opens=opens,
        notice_closes=closes,
        letter_opens=letters_from,
        letter_closes=letters_until,
        pickup_url=origin(config.sites.pickup[0], port) + "/",
        renewal_url=origin(config.sites.renewal[0], port) + "/",
        console_url=origin(config.sites.console[0], port) + "/" if config.sites.console else "",
        service_url=origin((config.sites.portal or config.sites.service)[0], port) + "/",
        help_url=origin(config.sites.help[0], port) + "/",
        webhook_hosts=config.webhooks.hosts,
        webhook_networks=config.webhooks.networks,
        webhook_days=config.webhooks.keep_days,
        periods=Periods(
            **{
                each.name.removesuffix("_days"): getattr(config.retention, each.name)
                for each in fields(config.retention)
            }
        ),
    )


def minutes(hours: str) -> tuple[int, int]:
    """Both ends of hours, in minutes from midnight; equal for any time."""
    found = HOURS.fullmatch(hours)
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
    lines += ["", "# Keys of CAs may be in tokens (PKCS#11): [tokens.NAME] for each token, [keys.PLACE] for"]
    lines += ["# each key; sekisho ca key move writes them, docs/operations/tokens.md says more."]
    for name in _TABLES:
        for named, table in getattr(config, name).items():
            lines += ["", table_of(f"{name}.{named}", table).rstrip()]
    lines += [
        "",
        "# Profiles of your own: what a certificate says, and for how long. Each is like one of the two that",
        "# are built in, which stand here as examples, and says what is different. Its settings: like,",
        "# description, years or days, keys, subject, names, extended_key_usage, policy, cps.",
    ]
    for profile in CLIENTS.values():
        lines += ["#", *commented(profile)]
    return "\n".join(lines) + "\n"


def table_of(name: str, table: object) -> str:
    """A table of a token or of a key as it stands in the file, without what it leaves out."""
    said = {_toml_name(entry): getattr(table, entry.name) for entry in fields(table)}  # type: ignore[arg-type]
    lines = [f"{key} = {_toml_value(value)}" for key, value in said.items() if value != ""]
    return "\n".join([f"[{name}]", *lines]) + "\n"


def every_setting() -> Iterator[tuple[str, Field[Any]]]:
    """(section, field) of each setting, in the order of the file."""
    for name in _SECTIONS:
        for entry in fields(getattr(_DEFAULT, name)):
            yield name, entry


def rows_of(config: Config) -> dict[tuple[str, str], str]:
    """Every setting by section and name, with its value as the file would have it; of tables of the
    operator's own each with what it says."""
    found = {
        (name, _toml_name(entry)): _toml_value(getattr(getattr(config, name), entry.name))
        for name, entry in every_setting()
    }
    for name in _TABLES:
        for named, table in getattr(config, name).items():
            said = ((_toml_name(each), getattr(table, each.name)) for each in fields(table))
            found |= {(f"{name}.{named}", key): _toml_value(value) for key, value in said if value != ""}
    for named, profile in config.profile.items():
        lines = (line.removeprefix("# ").partition(" = ") for line in commented(profile)[1:])
        found |= {(f"profile.{named}", key): value for key, _, value in lines}
    return found


def meaning_of(entry: Field[Any]) -> str:
    """One line on what a setting means."""
    return str(entry.metadata.get("meaning") or (LIMIT_MEANINGS | RATE_MEANINGS)[entry.name])


# -- within --------------------------------------------------------------------------------------------

_DEFAULT = Config()
# Lists of which one may be written as a text.
_ONE_OR_MORE = frozenset({"listen.host"})
# What there may be several of, by names of the operator's.
_TABLES: Mapping[str, Any] = {"tokens": TokenTable(), "keys": KeyTable()}
_SECTIONS = tuple(each.name for each in fields(Config) if each.name not in (*_TABLES, "profile"))


def _tables(name: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(each, dict) for each in content.values()):
        raise ConfigError(f"{name}: write a table for each, such as [{name}.NAME] on a line of its own")
    for each in content:
        if not NAME.fullmatch(each):
            raise ConfigError(f"{name}.{each}: write a name of small letters, digits and hyphens")
    return {each: _section(f"{name}.{each}", _TABLES[name], told) for each, told in content.items()}


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
            it_is = f" (it is {_toml_value(parsed)})" if entry.metadata.get("shown", True) else ""
            raise ConfigError(f"{name}.{key}: {problem}{it_is}")
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
    taken = {outside.port, inside.port if overlap else 0}
    if config.revocation.port and config.revocation.port in taken:
        raise ConfigError(
            "revocation.port: write another port than that of [listen] and [internal], or 0 for none"
        )
    if config.protocol.host and config.protocol.host not in config.sites.pickup:
        raise ConfigError("protocol.host: write one of the hosts of sites.pickup, or '' for the first")
    if (config.tls.certificate == "local") != (config.tls.key == ""):
        raise ConfigError(
            "tls.key: name the key's PEM file beside tls.certificate, or neither ('local' and '')"
        )
    if config.upstream.hours and not config.upstream.addresses:
        raise ConfigError("upstream.hours: write '', or upstream.addresses: there is nothing to close")
    chosen, renewed = config.profiles.get(config.policy.person_profile), config.policy.renewal_days
    people = [name for name, each in config.profiles.items() if not each.needs_names]
    if chosen is None or chosen.needs_names:
        raise ConfigError(f"policy.person_profile: write a profile for people: {', '.join(people)}")
    for name in people:
        if not config.profiles[name].years and config.profiles[name].days <= renewed:
            raise ConfigError(
                f"profile.{name}.days: write more days than policy.renewal_days, which are {renewed}, or its "
                "certificates are to be renewed on their first day"
            )
    if config.policy.reminder_days >= config.policy.renewal_days:
        raise ConfigError("policy.reminder_days: write fewer days than policy.renewal_days")
    for name, token in config.tokens.items():
        if not token.module or not (token.label or token.serial):
            missing = "label" if token.module else "module"
            raise ConfigError(
                f"tokens.{name}.{missing}: write it: a token has a module, and a label or serial"
            )
        if token.pin_file and token.pin_variable:
            raise ConfigError(f"tokens.{name}.pin_variable: write it, or pin_file, but not both")
    for name, key in config.keys.items():
        if key.token not in config.tokens:
            there = ", ".join(config.tokens) or "none: write [tokens.NAME]"
            raise ConfigError(f"keys.{name}.token: write the name of one of the tokens ({there})")
        if not (key.label or key.id):
            raise ConfigError(f"keys.{name}.label: write the key's label in the token, or its id")
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
