"""Where the CAs' keys are: in sealed files or in tokens (PKCS#11), and the way from one into the other."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ca import datadir
from ca.errors import ConfigError
from ca.keys import PrivateKey, generate, kind_of, to_pkcs8
from ca.profiles import RESPONDER
from ca.sealing import read_line
from ca.signing import key_id
from ca.tokenlink import Token, TokenKey, TokenTrouble
from ca.tokens import Seen, Tokens
from enroll import store
from gateway.cli.caller import actor
from gateway.cli.frame import Answer, answer, listing, passphrase_command
from gateway.cli.root import GROUPS
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import Deployment
from gateway.serving.keystates import states
from gateway.serving.tokens import Pins, asked, seal_pin, token_named, tokens_of, write_key

_KEY = click.Group("key", help="Where the CAs' keys are: in sealed files, or in tokens (PKCS#11).")
GROUPS["ca"].add_command(_KEY)
_TOKEN = click.option("--token", required=True, metavar="NAME", help="One of [tokens] in sekisho.toml.")


@passphrase_command(_KEY, "show")
async def _show(deployment: Deployment) -> Answer:
    """Show where each key is, and whether it is there. Keys in tokens sign something to show it."""
    columns = {"name": "Key", "of": "Of", "where": "Where", "kind": "Kind", "state": "State"}
    return listing("keys", [vars(each) for each in states(deployment)], columns)


@passphrase_command(_KEY, "pin")
@click.argument("token", metavar="TOKEN")
@click.option(
    "--pin-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File with the PIN; default: a question.",
)
async def _pin(deployment: Deployment, token: str, pin_file: Path | None) -> Answer:
    """Seal a token's PIN beside the keys, once the token has taken it: then nobody types it at the start."""
    named, keys = token_named(deployment.data, deployment.config, token), deployment.datadir.keys
    assert keys is not None  # a command has the passphrase
    pin = read_line(pin_file, "PIN") if pin_file is not None else asked(f"PIN of the token {named}: ")
    if not pin:
        raise ConfigError("no PIN was given; name a file with --pin-file FILE")
    trial = Tokens({}, lambda _: pin)
    try:
        trial.link(named).ask("look", TokenKey("", named, secrets.token_hex(8)))
    except TokenTrouble as trouble:
        if trouble.code != "no-key":  # nothing is called so: it has let us look
            raise
    finally:
        trial.close()
    file = seal_pin(deployment.data, keys, named, pin)
    tokens_of(deployment.data, deployment.config, keys).forget_refusal(named)
    await _record(deployment, "pin.sealed", token)
    table = deployment.config.tokens[token]
    other = next((each for each in ("pin_file", "pin_variable") if getattr(table, each)), None)
    hint = [f"It is not used while there is tokens.{token}.{other}: take that line away"] if other else []
    return answer({"pin": {"token": token, "file": str(file)}}, f"{file}: sealed under the passphrase", *hint)


@passphrase_command(_KEY, "move")
@click.argument("place", metavar="KEY")
@_TOKEN
@click.option("--label", default="", metavar="LABEL", help="What it is called in the token; default: KEY.")
@click.option("--dry-run", is_flag=True, help="Only the rehearsal, with a key that is thrown away.")
async def _move(deployment: Deployment, place: str, token: str, label: str, dry_run: bool) -> Answer:
    """Put a key out of its sealed file into a token, and have the gateway use it there.

    KEY is one that sekisho ca key show lists. First a key of the same kind is put in, signs, and is deleted.
    Of an ocsp- key, which is in no file, one is made in the token.
    """
    where, keys = token_named(deployment.data, deployment.config, token), deployment.datadir.keys
    assert keys is not None
    held = _held(deployment, place)
    pins = Pins(deployment.data, keys, deployment.config.tokens)
    tokens = tokens_of(deployment.data, deployment.config, keys, pins, change=True)
    try:
        kind = kind_of(held.public_key()) if held is not None else RESPONDER.key_kinds[0]
        _rehearse(tokens, where, kind)
        said = f"a key ({kind}) was put into the token {where}, has signed there, and is deleted again"
        value: dict[str, Any] = {"key": place, "token": token, "dry_run": dry_run, "kind": kind}
        if dry_run:
            return answer({"moved": value}, f"Rehearsal: {said}. Nothing has changed.")
        key = TokenKey(place, where, label or place, "")
        seen = _put(deployment, tokens, key, held)
    finally:
        tokens.close()
    lines = write_key(deployment.data, key)
    await _record(deployment, "key.moved", place, token=token, label=key.label)
    file = deployment.data / f"ca/{place}.key"
    rest = _what_remains(file) if held is not None else []
    value |= {"label": key.label, "id": seen.id, "file": str(file) if held is not None else None}
    return answer(
        {"moved": value},
        f"{key} has signed, and its certificate verifies that ({seen.kind}, id {seen.id}).",
        f"In {deployment.data / FILE_NAME} now:\n{lines}",
        "A gateway that runs signs with it from now on, if it knew the token when it was started; else stop "
        "sekisho serve and start it again.",
        *rest,
    )


def _what_remains(file: Path) -> list[str]:
    return [
        f"{file} is still there, sealed under the passphrase, and read by nobody any more. When sekisho "
        f"doctor is content: shred -u {file}",
        "Every backup that was made before has it, too: it is a secret as long as one of them is.",
    ]


def _held(deployment: Deployment, place: str) -> PrivateKey | None:
    """The key in the sealed file of a place; None where the place has none. ConfigError for no place."""
    opened = deployment.datadir
    places = datadir.places_of(opened.path)
    if place not in places:
        raise ConfigError(f"there is no key {place!r}; the keys are {', '.join(places)}")
    if place in opened.tokens.keys:
        raise ConfigError(f"{opened.tokens.keys[place]} is {place} already; see: sekisho ca key show")
    if place.startswith("ocsp-"):
        return None
    return datadir.file_key(opened, place)


def _rehearse(tokens: Tokens, where: Token, kind: str) -> None:
    """A key of this kind goes in, signs, and is gone again. `TokenTrouble` for a token that takes none."""
    name = f"rehearsal-{secrets.token_hex(8)}"
    key, private = TokenKey(name, where, name, secrets.token_hex(8)), generate(kind)
    try:
        tokens.take(key, to_pkcs8(private), private.public_key()).prove()
    finally:
        if name in tokens.keys:
            tokens.delete(key)


def _put(deployment: Deployment, tokens: Tokens, key: TokenKey, held: PrivateKey | None) -> Seen:
    """The key in the token, proven. One that is there already, as of a move that was interrupted, is that."""
    if held is None:
        try:
            _, signer = tokens.generate(replace(key, id=secrets.token_hex(8)), RESPONDER.key_kinds[0])
        except TokenTrouble as trouble:
            if trouble.code != "taken":
                raise
            tokens.keys[key.name] = key
            _, signer = tokens.found(key.name)
        return signer.prove()
    public = held.public_key()
    try:
        tokens.take(replace(key, id=key_id(public)), to_pkcs8(held), public)
    except TokenTrouble as trouble:
        if trouble.code != "taken":
            raise
    tokens.keys[key.name] = key
    return tokens.signer(key.name, public).prove()


async def _record(deployment: Deployment, act: str, subject: str, **detail: str) -> None:
    ra = deployment.ra
    await ra.database.write(lambda db: store.audit(db, ra.now(), actor(), act, subject, **detail))
