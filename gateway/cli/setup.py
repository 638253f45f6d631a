"""Making a data directory, changing its passphrase, and looking whether all is in order."""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from ca import apart, datadir, requested
from ca.clock import SystemClock
from ca.errors import ConfigError
from ca.files import read_file, write_public
from ca.keyplaces import in_token
from ca.profiles import ISSUING, RESPONDER
from ca.publication import Places
from ca.sealing import change_passphrase, open_vaults
from ca.tokenlink import TokenKey
from enroll.operators.roles import Act
from gateway.cli.doctor import examine
from gateway.cli.frame import (
    PASSPHRASE_FILE,
    PASSPHRASE_VARIABLE,
    READS,
    Answer,
    answer,
    command,
    default_data,
    deployment_command,
    listing,
    new_passphrase_from,
    passphrase_from,
)
from gateway.cli.intoken import InToken, opened_token, token_options
from gateway.cli.placing import placed
from gateway.cli.root import GROUPS, root
from gateway.cli.trail import trail
from gateway.serving.config import FILE_NAME, Config, parse_config, toml_of
from gateway.serving.deployment import Deployment
from gateway.serving.settings.reach import Revocation, Sites
from gateway.serving.settings.tokens import KeyTable, TokenTable
from gateway.serving.tokens import seal_pin

_NEW_VARIABLE, _NEW_FILE = "SEKISHO_NEW_PASSPHRASE", "--new-passphrase-file"
_NAMES = datadir.Names()
# What a token is called in the settings that init writes.
_TOKEN = "hsm"


@command(root, "init")
@PASSPHRASE_FILE
@click.option(
    "--domain",
    default="localhost",
    show_default=True,
    help="Hosts become pickup.DOMAIN and so on; other than localhost, every IPv4 address is listened on.",
)
@click.option("--port", type=click.IntRange(1, 65_535), default=8443, show_default=True)
@click.option("--issuing-name", default=_NAMES.issuing, show_default=True, help="Name of the issuing CA.")
@click.option("--root-name", default=_NAMES.root, show_default=True, help="Name of the root above it.")
@click.option(
    "--organization", default=_NAMES.organization, show_default=True, help="O of both; '' for none."
)
@click.option(
    "--issuing-key", type=click.Choice(ISSUING.key_kinds), default=ISSUING.key_kinds[0], show_default=True
)
@click.option(
    "--root",
    "above",
    metavar="FILE",
    default=None,
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="Certificate of a root on another machine (sekisho ceremony root); then none is made here.",
)
@placed
@token_options
def _init(
    data: Path,
    passphrase_file: Path | None,
    domain: str,
    port: int,
    issuing_name: str,
    root_name: str,
    organization: str,
    issuing_key: str,
    above: Path | None,
    revocation_url: str | None,
    crl_url: str | None,
    shards: int,
    token_module: str,
    token_label: str,
    token_serial: str,
    token_pin_file: Path | None,
) -> Answer:
    """Make a data directory: a root, an issuing CA, sealed keys, and a configuration with every default.

    With --token-module and --token-label the keys of the CAs are made in a token, which they never leave; its
    PIN is sealed under the passphrase.
    """
    site = Places(_revocation_url(domain) if revocation_url is None else revocation_url, crl_url, shards)
    site.check()
    config = _config(domain, port, site.base)
    if (data / "sekisho.json").exists() and not (data / FILE_NAME).exists():
        # Interrupted after the CA was made, or somebody deleted the file: only that is written.
        created_at = datadir.read_marker(data, waiting=True)["created_at"]
    else:
        names = replace(_NAMES, issuing=issuing_name, root=root_name, organization=organization)
        passphrase = new_passphrase_from(passphrase_file, PASSPHRASE_VARIABLE, "--passphrase-file")
        created_at = SystemClock().seconds()
        root_above = None
        if above is not None:
            root_above = requested.read_root(read_file(above, "root's certificate"), created_at)
        with opened_token(token_module, token_label, token_serial, token_pin_file) as token:
            maker = in_token(token.tokens, token.token) if token is not None else None
            tokens = token.tokens if token is not None else None
            if root_above is not None:
                requested.create_below(
                    *(data, passphrase, created_at, root_above, names, issuing_key, site), maker=maker
                )
            else:
                datadir.create(
                    *(data, passphrase, created_at, names, issuing_key),
                    site=site,
                    maker=maker,
                    tokens=tokens,
                )
            if token is not None:
                config = _with_token(data, passphrase, config, token)
    write_public(data / FILE_NAME, toml_of(config).encode())
    where = "" if data == default_data() else f" --data {data}"
    value = {"data": str(data), "config": str(data / FILE_NAME), "created_at": created_at}
    waiting = [
        f"It waits for its issuing CA. Carry {each} to the root's machine: sekisho ceremony sign DIR FILE "
        f"--to FILE; what comes back: sekisho ca accept FILE{where}"
        for each in requested.requests(data)
    ]
    return answer(
        {"init": value},
        f"{data} is ready. Without its passphrase nothing in it can be used: keep it elsewhere, twice.",
        f"Settings, each with its default: {data / FILE_NAME}",
        *waiting,
        f"Next: sekisho org add NUMBER NAME{where}, then sekisho user add, then sekisho serve",
        f"Before people come: sekisho doctor{where} says what is not in order",
    )


@command(GROUPS["passphrase"], "change")
@PASSPHRASE_FILE
@click.option(
    _NEW_FILE,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"File with the new passphrase; default: ${_NEW_VARIABLE}, then a question.",
)
def _change(data: Path, passphrase_file: Path | None, new_passphrase_file: Path | None) -> Answer:
    """Seal the keys under another passphrase. A running server goes on; the next start needs the new one."""
    datadir.read_marker(data)
    datadir.check_owner(data)
    old = passphrase_from(passphrase_file)
    new = new_passphrase_from(new_passphrase_file, _NEW_VARIABLE, _NEW_FILE)
    # Opened first: what could keep it from the audit trail is said before anything is changed.
    with trail(data) as record:
        change_passphrase(data / "vault.json", old, new)
        record("passphrase.changed", "passphrase")
    return answer(
        {"passphrase": {"changed": True}},
        "The passphrase is changed. Backups made before today still open with the old one.",
        *_to_hand_over(data),
    )


def _to_hand_over(data: Path) -> list[str]:
    if (home := apart.home_of(data)) is None:
        return []
    return [f"Hand it over to the signer, as root, while both are stopped: sekisho ca part {home}"]


@deployment_command(root, "doctor", Act.STANDING, READS)
async def _doctor(deployment: Deployment) -> Answer:
    """Check the settings and what they need: certificates, names, mails, upstream, permissions."""
    findings = examine(deployment)
    bad = [each for each in findings if each.state == "bad"]
    records: list[dict[str, Any]] = [asdict(each) for each in findings]
    found = listing(
        "checks", records, {"check": "Check", "state": "State", "found": "Found", "hint": "What to do"}
    )
    return replace(found, value={**found.value, "ok": not bad}, failed=bool(bad))


def _with_token(data: Path, passphrase: str, config: Config, held: InToken) -> Config:
    """The settings that say which keys are in a token. Those for answers (OCSP) are made there as well."""
    tokens, token = held.tokens, held.token
    for name in datadir.places_of(data):
        if name.startswith("ocsp-"):
            tokens.generate(TokenKey(name, token, name, secrets.token_hex(8)), RESPONDER.key_kinds[0])
            tokens.keys[name] = TokenKey(name, token, name)
    vault = open_vaults(data / datadir.VAULT, passphrase).keys
    seal_pin(data, vault, replace(token, name=_TOKEN), held.pin)
    keys = {name: KeyTable(_TOKEN, each.label, each.id) for name, each in tokens.keys.items()}
    table = TokenTable(token.module, token.label, token.serial)
    return replace(config, tokens={_TOKEN: table}, keys=keys)


def _revocation_url(domain: str) -> str:
    """Where the world reads of a real domain's certificates, unless somebody says otherwise."""
    return "" if _is_here(domain) else f"http://pki.{domain}"


def _is_here(domain: str) -> bool:
    return domain == "localhost" or domain.endswith(".localhost")


def _config(domain: str, port: int, base: str) -> Config:
    default = Config()
    names = ("pickup", "renewal", "service", "connectivity", "help")
    hosts: dict[str, tuple[str, ...]] = {name: (f"{name}.{domain}",) for name in names}
    hosts["renewal"] += (f"*.renew.{domain}",)
    hosts["service"] += (f"*.login.{domain}",)
    sites = Sites(**hosts, try_suffix=f"*.try.{domain}")
    host = default.listen.host if _is_here(domain) else ("0.0.0.0",)  # noqa: S104  people come from elsewhere
    made = replace(default, listen=replace(default.listen, host=host, port=port), sites=sites)
    if base:
        made = replace(made, revocation=Revocation(urlsplit(base).port or 80))
    # Read back as the server will, so that a hostile domain is refused now and by name.
    try:
        return parse_config(toml_of(made))
    except ConfigError as error:
        raise ConfigError(f"--domain {domain}: {error}") from None
