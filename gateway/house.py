"""An opened data directory with everything that the server and the command line work with."""

from __future__ import annotations

import importlib.util
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from sqlite_utils.migrations import Migrations

from ca import datadir, servers
from ca.clock import Clock, OffsetClock, SystemClock
from ca.database import Database
from ca.datadir import DataDir
from ca.errors import ConfigError
from ca.files import read_file
from ca.sealing import read_line
from ca.workers import KeyStock, Workers
from enroll import mails, timekeeping
from enroll.mail.smtp import Smtp
from enroll.mail.transport import Outbox, Transport
from enroll.office import Office
from gateway.config import Config, Mail, read_config, settings_of

DATABASE = "sekisho.db"
OUTBOX = "outbox"
TEMPLATES = "templates"
#: Its presence makes a directory a demo's: the clock may be moved there, and nowhere else.
DEMO_MARKER = "demo.json"
CLOCK = "clock.json"
# A command reads everything once, if at all.
_COMMANDS_CACHE = 8
# In this order: later tables refer to earlier ones.
_SCHEMAS = ("ca.schema", "enroll.schema", "enroll.acme.schema", "gateway.schema")


@dataclass(frozen=True)
class House:
    """What is open. Close it once, with the event loop that it was used in still running."""

    data: Path
    config: Config
    datadir: DataDir
    office: Office
    transport: Transport
    #: When somebody began to read the directory (monotonic seconds, the same for every process here).
    read_at: float

    @property
    def outbox(self) -> Path:
        return self.data / OUTBOX

    @property
    def is_demo(self) -> bool:
        return is_demo(self.data)

    async def close(self) -> None:
        """Ends the workers and closes the database."""
        await self.office.keys.close()
        self.office.workers.close()
        self.office.database.close()


def open_house(
    data: Path,
    passphrase: str,
    *,
    spare_keys: int = 0,
    clock: Clock | None = None,
    most_cache: int | None = None,
) -> House:
    """Opens a data directory. ConfigError for whatever of it is missing, wrong or locked.

    ``spare_keys``: how many keys to make in advance; a server wants some, a single command none.
    ``clock``: another than the directory's own, for a demo that is being made. ``most_cache``: MiB of the
    database that are kept in memory, where the setting says more.
    """
    read_at = time.monotonic()
    # Before the configuration, because its answer to a directory that is none is the better one.
    datadir.read_marker(data)
    config = read_config(data)
    opened = datadir.load(data, passphrase)
    templates = data / TEMPLATES
    settings = settings_of(config)
    workers = Workers()
    office = Office(
        database=Database(
            data / DATABASE,
            migrations(),
            cache_mib=min(config.database.cache, most_cache or config.database.cache),
        ),
        clock=clock or clock_of(data),
        vault=opened.vault,
        authority=opened.authority,
        workers=workers,
        keys=KeyStock(workers, settings.person_key, size=spare_keys),
        settings=settings,
        templates=templates if templates.is_dir() else None,
    )
    return House(data, config, opened, office, transport_of(config.mail, data), read_at)


def reopened(house: House) -> House:
    """The same house after a look at its directory: settings, CAs, mail templates and transport anew.

    Database, clock and workers stay. ConfigError as above, and the house is as it was.
    """
    read_at = time.monotonic()
    config = read_config(house.data)
    opened = datadir.read(house.data, house.datadir.vault)
    settings, old, templates = settings_of(config), house.office, house.data / TEMPLATES
    changed = settings.person_key != old.settings.person_key
    office = replace(
        old,
        authority=opened.authority,
        keys=KeyStock(old.workers, settings.person_key, size=old.keys.size) if changed else old.keys,
        settings=settings,
        templates=templates if templates.is_dir() else None,
    )
    mails.check_templates(office.templates)
    return House(house.data, config, opened, office, transport_of(config.mail, house.data), read_at)


@asynccontextmanager
async def opened_house(data: Path, passphrase: str) -> AsyncIterator[House]:
    """``open_house`` for the length of a block."""
    house = open_house(data, passphrase, most_cache=_COMMANDS_CACHE)
    try:
        yield house
    finally:
        await house.close()


def migrations() -> list[Migrations]:
    """Every room's tables, those of rooms that are not built in left out."""
    found = [name for name in _SCHEMAS if importlib.util.find_spec(name) is not None]
    return [import_module(name).migrations for name in found]


def clock_of(data: Path) -> Clock:
    """The machine's clock; in a demo's directory, the one that its visitors move."""
    return OffsetClock(data / CLOCK) if is_demo(data) else SystemClock()


def is_demo(data: Path) -> bool:
    return (data / DEMO_MARKER).exists()


def transport_of(mail: Mail, data: Path) -> Transport:
    """How letters leave. ConfigError if the password or the CA cannot be read."""
    outbox = Outbox(data / OUTBOX)
    if mail.transport == "outbox":
        return outbox
    password = ""
    if mail.password_file:
        try:
            password = read_line(data / mail.password_file, "password")
        except ConfigError as error:
            raise ConfigError(f"mail.password_file: {error}") from None
    return Smtp(
        mail.host,
        mail.port,
        mail.username,
        password,
        mail.security,
        mail.timeout,
        outbox,
        mail.connections,
        mail.letters_per_connection,
        mail.per_minute,
        _mail_ca(data / mail.ca) if mail.ca else "",
    )


def _mail_ca(path: Path) -> str:
    try:
        pem = read_file(path, "CA").decode("ascii")
        ssl.create_default_context(cadata=pem)
    except ConfigError as error:
        raise ConfigError(f"mail.ca: {error}") from None
    except (ssl.SSLError, ValueError):
        raise ConfigError(f"mail.ca: {path} holds no certificate; name a PEM file of the CA") from None
    return pem


def server_certificate(house: House, at: int) -> servers.ServerCertificate:
    """The chain and key for every configured host. ``at``: the machine's own time, never a demo's.

    ConfigError says what is wrong with the operator's files.
    """
    tls, hosts = house.config.tls, configured_hosts(house.config)
    if tls.certificate == "local":
        believed = timekeeping.doubt_now(house.office) is None
        return servers.local(house.datadir, hosts, at, believed=believed)
    try:
        return servers.from_files(house.data / Path(tls.certificate), house.data / Path(tls.key), hosts, at)
    except ConfigError as error:
        raise ConfigError(f"tls.certificate: {error}") from None


def configured_hosts(config: Config) -> tuple[str, ...]:
    """Every host name that our server certificate has to cover."""
    sites = config.sites
    named = (*sites.pickup, *sites.renewal, *sites.service, *sites.connectivity, *sites.help, *sites.mailbox)
    return (*named, sites.try_suffix) if sites.try_suffix else named
