"""The settings as operators look at them: what is in force, the default, and what a reload would change."""

from __future__ import annotations

import re

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
_LOGIN = re.compile(r'//[^/@\s"]+@')


def configured(deployment: Deployment) -> Configured:
    """Reads the file as a reload would. No setting is a secret: those stand in files that settings name; a
    login in an address is left out all the same."""
    force, default, problem = rows_of(deployment.config), rows_of(Config()), ""
    file = force
    try:
        found = read_config(deployment.data)
        file = rows_of(found)
        check_unchanged(deployment.config, found)
    except ConfigError as error:
        problem = str(error)
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
    return Configured(rows, problem)


def plainly(value: str) -> str:
    """A value without a login that stands in an address."""
    return _LOGIN.sub("//***@", value)


def check_unchanged(old: Config, new: Config) -> None:
    """ConfigError for a setting that a reload does not take over."""
    for name in AT_START:
        section, setting = name.split(".")
        before, after = (getattr(getattr(each, section), setting) for each in (old, new))
        if before != after:
            raise ConfigError(
                f"{name}: {before!r} became {after!r}, which takes a restart; write the old value, or "
                "stop sekisho serve and start it again"
            )
