"""An opened data directory with everything that the server and the command line work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ca.store
from ca import apart, datadir, memory, servers
from ca import schema as ca_schema
from ca.clock import Clock, OffsetClock, SystemClock
from ca.datadir import DataDir
from ca.epochs import Epochs, sharing
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.journal import Journal
from ca.sealing import Vault, open_vaults, read_line
from ca.signerlink import RemoteSigner
from ca.signing import Signer
from ca.storage import Storage
from ca.workers import KeyStock, Workers
from enroll import schema as enroll_schema
from enroll import timekeeping
from enroll.acme import schema as acme_schema
from enroll.campaigns import schema as campaigns_schema
from enroll.generations import Chooser
from enroll.hooks import schema as hooks_schema
from enroll.hooks.reach import Way
from enroll.jobs import schema as jobs_schema
from enroll.mail import store as letters
from enroll.mail import wording, writing
from enroll.mail.smtp import Smtp
from enroll.mail.transport import Outbox, Transport
from enroll.operators import schema as operators_schema
from enroll.postcards import schema as postcards_schema
from enroll.postcards import store as postcards
from enroll.ra import RegistrationAuthority
from enroll.repeats import schema as repeats_schema
from enroll.repeats import store as repeats
from enroll.requests import store as requests
from gateway.serving.config import Config, read_config, settings_of
from gateway.serving.database import open_database
from gateway.serving.settings.mail import Mail
from gateway.serving.settings.webhooks import Webhooks
from gateway.serving.standing import compare as standing_of
from gateway.serving.standing import journal_of, put_away
from gateway.serving.tokens import Pins, tokens_of
from gateway.web import schema as web_schema
from gateway.web import store as web

OUTBOX = "outbox"
TEMPLATES = "templates"
#: Its presence makes a directory a demo's: the clock may be moved there, and nowhere else.
DEMO_MARKER = "demo.json"
CLOCK = "clock.json"
# A command reads everything once, if at all.
_COMMANDS_CACHE = 8
#: Every room's tables. In this order: later tables refer to earlier ones.
SCHEMAS = (
    *(ca_schema.SCHEMA, enroll_schema.SCHEMA, acme_schema.SCHEMA, web_schema.SCHEMA),
    operators_schema.SCHEMA,
    jobs_schema.SCHEMA,
    repeats_schema.SCHEMA,
    hooks_schema.SCHEMA,
    campaigns_schema.SCHEMA,
    postcards_schema.SCHEMA,
)
#: Every column of those that is sealed for a while.
SEALED = (
    *(requests.KEY, requests.FILE, letters.BODY, postcards.PDF, repeats.ANSWER),
    web.UPLOAD,
)


@dataclass(frozen=True)
class Deployment:
    """What is open. Close it once, with the event loop that it was used in still running."""

    data: Path
    config: Config
    datadir: DataDir
    ra: RegistrationAuthority
    transport: Transport
    #: How webhooks leave.
    hooks_way: Way
    #: What its settings, keys and certificates are read from, and nothing but that.
    files: Snapshot

    @property
    def outbox(self) -> Path:
        return self.data / OUTBOX

    @property
    def is_demo(self) -> bool:
        return is_demo(self.data)

    async def close(self) -> None:
        """Ends the workers and the tokens' processes, and closes the database."""
        self.datadir.tokens.close()
        await self.ra.keys.close()
        self.ra.workers.close()
        self.ra.database.close()


def open_deployment(
    data: Path,
    passphrase: str,
    *,
    spare_keys: int = 0,
    clock: Clock | None = None,
    most_cache: int | None = None,
    files: Snapshot | None = None,
    compare: bool = True,
    pins: Pins | None = None,
) -> Deployment:
    """Opens a data directory. ConfigError for whatever of it is missing, wrong or locked.

    ``spare_keys``: how many keys to make in advance; a server wants some, a single command none.
    ``clock``: another than the directory's own, for a demo that is being made. ``most_cache``: MiB of the
    database that are kept in memory, where the setting says more. ``files``: what was read of it before.
    ``compare``: refuse a database that does not fit its journal. ``pins``: where PINs of tokens come from, if
    not from this directory.
    """
    # Before the configuration, because its answer to a directory that is none is the better one.
    datadir.read_marker(data)
    datadir.check_owner(data)
    files = files or Snapshot()
    # Before the passphrase: who has a slip in the settings is not to look for one there.
    read_config(data, files)
    vaults = open_vaults(data / datadir.VAULT, passphrase)
    return deployment_of(
        *(data, vaults.gateway, files),
        keys=vaults.keys,
        signer=_apart(data, files),
        spare_keys=spare_keys,
        clock=clock,
        most_cache=most_cache,
        compare=compare,
        pins=pins,
    )


def _apart(data: Path, files: Snapshot) -> Signer | None:
    """The signer, where the issuing keys are its alone, for a command too. ConfigError where nothing says how
    to reach it."""
    home = apart.home_of(data)
    if home is None:
        return None
    socket = read_config(data, files).signer.socket
    if not socket:
        raise ConfigError(
            f"the issuing keys are in {home}: write where its signer's socket is into signer.socket, such as "
            "'/run/sekisho-signer'"
        )
    return RemoteSigner(Path(socket))


def deployment_of(
    data: Path,
    vault: Vault,
    files: Snapshot,
    *,
    keys: Vault | None = None,
    signer: Signer | None = None,
    spare_keys: int = 0,
    clock: Clock | None = None,
    most_cache: int | None = None,
    compare: bool = True,
    pins: Pins | None = None,
) -> Deployment:
    """The same with a vault that is open, by what the directory's files held. The issuing keys are opened by
    ``keys``, or are ``signer``'s."""
    config = read_config(data, files)

    def turns() -> int:
        return turns_of(data, keys, database)

    kept = journal_of(data, datadir.identity(data, files))
    database = open_database(
        data,
        config.database,
        SCHEMAS,
        ca_id=kept.ca,
        kept=kept,
        cache_mib=min(config.database.cache, most_cache or config.database.cache),
        files=files,
    )
    try:
        # Before the keys are looked for, of which one may be destroyed.
        if not files.frozen:
            put_away(data, database)
        tokens = tokens_of(data, config, keys, pins) if keys is not None else None
        opened = datadir.read(data, vault, files, keys=keys, signer=signer, turns=turns, tokens=tokens)
    except BaseException:
        database.close()
        raise
    opened = _issuing_by(config, opened)
    settings, workers = settings_of(config), Workers()
    ra = RegistrationAuthority(
        database=database,
        clock=clock or clock_of(data),
        vault=opened.vault,
        epochs=Epochs(data, opened.vault, SEALED),
        authority=opened.authority,
        workers=workers,
        keys=KeyStock(workers, settings.person_key, size=spare_keys),
        settings=settings,
        templates=writing.read_templates(data / TEMPLATES, files),
    )
    ra, opened = _by_register(ra, opened)
    ways = transport_of(config.mail, data, files), webhooks_way(config.webhooks, data, files)
    deployment = Deployment(data, config, opened, ra, *ways, files)
    if compare:
        try:
            _compare(data, kept, ra, config.journal.copy)
        except BaseException:
            workers.close()
            ra.database.close()
            raise
    if not files.frozen:
        sharing.join(ra.epochs, database, ra.now())
    return deployment


def _issuing_by(config: Config, opened: DataDir) -> DataDir:
    """The data directory with the operator's profiles."""
    return replace(opened, authority=replace(opened.authority, profiles=config.profiles))


def _compare(data: Path, kept: Journal, ra: RegistrationAuthority, copy: str) -> None:
    """What a crash may have left is carried out. ConfigError for a database that does not fit its journal."""
    if standing_of(data, kept, ra.database, copy) == "undecided":
        # Only then: it brings all of enrollment along, which the signer never uses.
        from gateway.serving.recovery import bring_level

        bring_level(data, kept, ra)


def reopened(deployment: Deployment, files: Snapshot) -> Deployment:
    """The same deployment by other contents of its files: settings, CAs, mail templates and transport.

    Database, clock and workers stay. ConfigError as above, and the deployment is as it was.
    """
    config = read_config(deployment.data, files)
    before = deployment.datadir
    # Without a vault of their own the keys are another process's, and stay there.
    signer = before.authority.signer if isinstance(before.authority.signer, RemoteSigner) else None
    settings, old = settings_of(config), deployment.ra

    def turns() -> int:
        return turns_of(deployment.data, before.keys, old.database)

    opened = datadir.read(
        *(deployment.data, before.vault, files),
        keys=before.keys,
        signer=signer,
        turns=turns,
        tokens=before.tokens,
    )
    opened = _issuing_by(config, opened)
    changed = settings.person_key != old.settings.person_key
    ra = replace(
        old,
        authority=opened.authority,
        keys=KeyStock(old.workers, settings.person_key, size=old.keys.size) if changed else old.keys,
        settings=settings,
        templates=writing.read_templates(deployment.data / TEMPLATES, files),
    )
    wording.check_templates(ra.templates)
    ra, opened = _by_register(ra, opened)
    data = deployment.data
    ways = transport_of(config.mail, data, files), webhooks_way(config.webhooks, data, files)
    return Deployment(data, config, opened, ra, *ways, files)


def _by_register(ra: RegistrationAuthority, opened: DataDir) -> tuple[RegistrationAuthority, DataDir]:
    """Both with the issuing CA that the register says."""
    authority = replace(ra.authority, choose=Chooser(ra))
    return replace(ra, authority=authority), replace(opened, authority=authority)


@asynccontextmanager
async def opened_deployment(
    data: Path, passphrase: str, *, compare: bool = True
) -> AsyncIterator[Deployment]:
    """``open_deployment`` for the length of a block."""
    deployment = open_deployment(data, passphrase, most_cache=_COMMANDS_CACHE, compare=compare)
    try:
        yield deployment
    finally:
        await deployment.close()


def turns_of(data: Path, keys: Vault | None, database: Storage) -> int:
    """How often the emergency stop was turned, by the register and by what the signer has seen: an older copy
    of its file takes nothing back. ConfigError for a signer's memory that was altered."""
    seen = 0 if keys is None else memory.seen_in(data / memory.FILE, keys).turns
    return max(seen, database.read_now(ca.store.stop_number))


def clock_of(data: Path) -> Clock:
    """The machine's clock; in a demo's directory, the one that its visitors move."""
    return OffsetClock(data / CLOCK) if is_demo(data) else SystemClock()


def is_demo(data: Path) -> bool:
    return (data / DEMO_MARKER).exists()


def transport_of(mail: Mail, data: Path, files: Snapshot) -> Transport:
    """How letters leave. ConfigError if the password or the CA cannot be read."""
    outbox = Outbox(data / OUTBOX)
    if mail.transport == "outbox":
        return outbox
    password = ""
    if mail.password_file:
        try:
            password = read_line(data / mail.password_file, "password", files)
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
        servers.trusted("mail.ca", data / mail.ca, files) if mail.ca else "",
    )


def webhooks_way(webhooks: Webhooks, data: Path, files: Snapshot) -> Way:
    """How webhooks leave. ConfigError if the CA cannot be read."""
    ca = servers.trusted("webhooks.ca", data / webhooks.ca, files) if webhooks.ca else ""
    return Way(webhooks.networks, ca)


def server_certificate(deployment: Deployment, at: int) -> servers.ServerCertificate:
    """The chain and key for every configured host. ``at``: the machine's own time, never a demo's.

    ConfigError says what is wrong with the operator's files.
    """
    tls, hosts = deployment.config.tls, configured_hosts(deployment.config)
    if tls.certificate == "local":
        believed = deployment.files.frozen or timekeeping.doubt_at_once(deployment.ra) is None
        return servers.local(deployment.datadir, hosts, at, deployment.files, believed=believed)
    chain, key = deployment.data / Path(tls.certificate), deployment.data / Path(tls.key)
    try:
        return servers.from_files(chain, key, hosts, at, files=deployment.files)
    except ConfigError as error:
        raise ConfigError(f"tls.certificate: {error}") from None


def configured_hosts(config: Config) -> tuple[str, ...]:
    """Every host name that our server certificate has to cover."""
    sites = config.sites
    named = (
        *sites.pickup,
        *sites.renewal,
        *sites.service,
        *sites.portal,
        *sites.connectivity,
        *sites.help,
        *sites.mailbox,
        *sites.console,
        *sites.api,
    )
    return (*named, sites.try_suffix) if sites.try_suffix else named
