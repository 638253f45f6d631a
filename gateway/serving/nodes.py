"""Nodes: data directories of one CA that share a database. How another one is made.

What all of them have alike is copied: keys, certificates, settings, templates. What is one node's alone is
made anew: its journal, its identity, the signer's memory, lists, the log.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from ca import datadir
from ca.errors import ConfigError
from ca.files import make_private_directory, write_private
from gateway.serving import backup
from gateway.serving.config import Config, read_config
from gateway.serving.database import database_of
from gateway.serving.deployment import SCHEMAS
from gateway.serving.standing import compare, journal_of


def join(source: Path, target: Path) -> list[str]:
    """Makes a new node out of another one's directory, whether that is served or not; returns which files the
    settings name that are not in the new one. ConfigError for what is in the way; then there is nothing."""
    datadir.read_marker(source)
    config = read_config(source)
    if not config.database.url:
        raise ConfigError(
            f"{source} has its database in it, and is alone with that: nodes share one on a server, whose "
            "address is in database.url"
        )
    with backup.beside(target) as shop:
        for name, path in backup.present(source).items():
            _copy(path, shop / name)
        for name in (config.database.password_file, config.database.ca):
            if name and _is_within(source, name):
                _copy(source / name, shop / name)
        kept = journal_of(shop)
        # Which makes the node known to the others, and its journal.
        with closing(database_of(shop, SCHEMAS, kept)) as database:
            compare(shop, kept, database)
    return [name for name in _named(config) if not (target / name).exists()]


def _copy(path: Path, to: Path) -> None:
    make_private_directory(to.parent)
    write_private(to, path.read_bytes())
    shutil.copymode(path, to)


def _is_within(data: Path, name: str) -> bool:
    return not Path(name).is_absolute() and (data / name).is_file()


def _named(config: Config) -> list[str]:
    tls = () if config.tls.certificate == "local" else (config.tls.certificate, config.tls.key)
    database, mail = config.database, config.mail
    names = (*tls, mail.password_file, mail.ca, config.webhooks.ca, database.password_file, database.ca)
    return [name for name in names if name]
