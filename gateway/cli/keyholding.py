"""Who has the issuing CAs' keys, and whether anything is signed with them."""

from __future__ import annotations

import asyncio
import base64
import os
import pwd
from dataclasses import replace
from pathlib import Path

import click

from ca import apart, datadir, emergency
from ca import store as certificates
from ca.errors import ConfigError
from ca.sealing import Vault, open_vaults
from ca.signerlink import Message, RemoteSigner
from ca.signing import NoSignature
from ca.storage import StorageTrouble, Transaction, in_log
from enroll import store
from gateway.cli.caller import actor
from gateway.cli.frame import PASSPHRASE_FILE, Answer, command, detail, passphrase_command, passphrase_from
from gateway.cli.restoring import stopped
from gateway.cli.root import GROUPS
from gateway.cli.trail import trail
from gateway.serving.config import FILE_NAME, read_config
from gateway.serving.database import DATABASE
from gateway.serving.deployment import Deployment, clock_of, opened_deployment, turns_of

_CA = GROUPS["ca"]


@command(_CA, "stop")
@PASSPHRASE_FILE
@click.option("--reason", default="", help="Why, for the log and for whoever comes next.")
def _stop(data: Path, passphrase_file: Path | None, reason: str) -> Answer:
    """Emergency stop: from now on nothing is signed, no certificate and no list.

    Logins, pages and what exists go on; requests wait, and are finished after sekisho ca resume.
    """
    datadir.read_marker(data)
    passphrase = passphrase_from(passphrase_file)
    keys, at = open_vaults(data / datadir.VAULT, passphrase).keys, clock_of(data).seconds()
    # First, and by the keys alone: it counts also where the database cannot be opened, nor anything recorded.
    turned = emergency.Stop(True, reason, at, 1 + _turns(data, keys))
    try:
        _turn(data, keys, turned)
    except OSError as error:
        raise ConfigError(
            f"the emergency stop is NOT on: it cannot be written ({error.strerror}); end the gateway, then "
            "nothing is signed: systemctl stop sekisho-signer sekisho"
        ) from error
    try:
        asyncio.run(_recorded(data, passphrase, turned))
    except (ConfigError, OSError, StorageTrouble) as error:
        raise ConfigError(
            f"nothing is signed from now on, but that is not recorded: {in_log(error)}; mend that, then once "
            "more: sekisho ca stop"
        ) from error
    return detail("ca", {"stopped": True, "reason": reason}, "Nothing is signed until: sekisho ca resume")


async def _recorded(data: Path, passphrase: str, turned: emergency.Stop) -> None:
    async with opened_deployment(data, passphrase) as deployment:
        keys = deployment.datadir.keys
        assert keys is not None  # a command has the passphrase
        # An older copy of the file may have been put back before it was turned.
        number = max(turned.number, 1 + turns_of(data, keys, deployment.ra.database))
        if number != turned.number:
            _turn(data, keys, replace(turned, number=number))
        await _record_turn(deployment, "ca.stopped", replace(turned, number=number))


async def _record_turn(deployment: Deployment, act: str, turned: emergency.Stop) -> None:
    def record(db: Transaction) -> None:
        certificates.note_stop(db, turned.number, turned.on, turned.reason, turned.at)
        store.audit(db, turned.at, actor(), act, "ca", reason=turned.reason)

    await deployment.ra.database.write(record)


@passphrase_command(_CA, "resume")
async def _resume(deployment: Deployment) -> Answer:
    """Take the emergency stop back: what waits is signed."""
    data, keys, at = deployment.data, deployment.datadir.keys, deployment.ra.now()
    assert keys is not None  # a command has the passphrase
    number = 1 + max(turns_of(data, keys, deployment.ra.database), _turns(data, keys))
    turned = emergency.Stop(False, "", at, number)
    await _record_turn(deployment, "ca.resumed", turned)
    _turn(data, keys, turned)
    return detail("ca", {"stopped": False, "reason": ""}, "What waits is signed within two minutes")


def _turns(data: Path, keys: Vault) -> int:
    """How often it was turned, by whoever holds it: a file, or a signer with keys of its own."""
    if apart.home_of(data) is None:
        return emergency.read(data, keys).number
    return int(_asked(data, {"ask": "status"})["turns"])


def _turn(data: Path, keys: Vault, turn: emergency.Stop) -> None:
    if apart.home_of(data) is None:
        emergency.write(data, keys, turn)
    else:
        sealed = base64.b64encode(emergency.sealed(keys, turn)).decode()
        _asked(data, {"ask": "turn", "sealed": sealed})


def _asked(data: Path, message: Message) -> Message:
    try:
        told = RemoteSigner(Path(read_config(data).signer.socket)).ask_now(message)
    except NoSignature as gone:
        raise ConfigError(f"{gone}; start it: systemctl start sekisho-signer") from None
    if why := told.get("refused") or told.get("later"):
        raise ConfigError(f"the signer says: {why}; then the same again")
    return told


@command(_CA, "part")
@click.argument("home", type=click.Path(path_type=Path, file_okay=False))
@click.option("--user", default="sekisho-signer", show_default=True, help="Whose the keys will be.")
def _part(data: Path, home: Path, user: str) -> Answer:
    """Move the issuing keys into a directory of a user of their own, as root, while both are stopped.

    From then on sekisho signer --home HOME runs as that user, and who serves cannot read them. Again after
    sekisho ca add or accept: what came since is moved, too.
    """
    if os.geteuid() != 0:
        raise ConfigError("this gives files to another user: run it as root")
    datadir.read_marker(data)
    stopped(data)
    uid = _uid_of(user)
    # This makes the register as well, where there is none yet: the signer makes nothing.
    with trail(data) as record:
        moved = apart.part(data, home.absolute(), uid, FILE_NAME)
        record("ca.parted", "ca", home=str(home.absolute()), user=user, moved=moved)
    apart.share(data, DATABASE)
    found = {"home": str(home.absolute()), "user": user, "moved": moved}
    return detail(
        "part", found, "Next: signer.socket = '/run/sekisho-signer' in sekisho.toml; start the signer"
    )


def _uid_of(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        if user.isdecimal():
            return int(user)
    raise ConfigError(
        f"there is no user {user}; make it: useradd --system --home-dir /nonexistent --shell "
        f"/usr/sbin/nologin {user}"
    )
