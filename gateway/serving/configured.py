"""The settings as operators look at them: what is in force, the default, and what a reload would change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ca.errors import ConfigError
from gateway.serving.config import Config, every_setting, meaning_of, read_config, rows_of
from gateway.serving.deployment import Deployment
from gateway.web.examined import Configured, Setting

#: Settings that belong to what is opened once.
AT_START = (
    "listen.host",
    "listen.port",
    "listen.public_port",
    "revocation.port",
    "internal.host",
    "internal.port",
    "log.file",
    "database.url",
    "database.password_file",
    "database.sslmode",
    "database.ca",
    "database.pool",
    "database.connect_seconds",
    "database.statement_seconds",
    "database.lock_seconds",
    "database.cache",
    "signer.socket",
    "signer.per_hour",
    "operators.group",
    "operators.socket",
)
#: Every setting by section and name, as its file would have it.
Rows = Mapping[tuple[str, str], str]

_LOGIN = re.compile(r'//[^/@\s"]+@')


def configured(deployment: Deployment, refused: Callable[[Deployment], str]) -> Configured:
    """Reads the file as a reload would. No setting is a secret: those stand in files that settings name; a
    login in an address is left out all the same. ``refused``: why a reload would be; empty: it would not."""
    force, default = rows_of(deployment.config), rows_of(Config())
    try:
        file = rows_of(read_config(deployment.data))
    except ConfigError:
        file = force  # the problem says why
    meanings = {
        (section, entry.name.removesuffix("_")): meaning_of(entry) for section, entry in every_setting()
    }
    rows = []
    for section, name in dict.fromkeys((*force, *file)):
        value, told = (each.get((section, name), "") for each in (force, file))
        rows.append(
            Setting(
                section=section,
                name=name,
                value=plainly(value),
                default=default.get((section, name), ""),
                meaning=meanings.get((section, name), ""),
                pending=plainly(told) if told != value else None,
                at_start=f"{section}.{name}" in AT_START,
            )
        )
    return Configured(rows, refused(deployment))


def plainly(value: str) -> str:
    """A value without a login that stands in an address."""
    return _LOGIN.sub("//***@", value)


def opened_once(force: Rows) -> dict[str, str]:
    """What is in force of the settings that only a start takes, by name."""
    return {name: plainly(force[_key(name)]) for name in AT_START}


def check_unchanged(force: Rows, file: Rows) -> None:
    """ConfigError for a setting that a reload does not take over."""
    found = changed(opened_once(force), file)
    if found is not None:
        raise ConfigError("; ".join(found))


def changed(once: Mapping[str, str], file: Rows) -> tuple[str, str] | None:
    """What the file says of a setting that only a start takes, where another is in force, and what to do.
    ``once``: as `opened_once` has it."""
    for name, before in once.items():
        after = plainly(file[_key(name)])
        if before != after:
            return (
                f"{name}: {before} became {after}, which takes a restart",
                "write the old value, or stop sekisho serve and start it again",
            )
    return None


def _key(name: str) -> tuple[str, str]:
    section, _, setting = name.partition(".")
    return section, setting
