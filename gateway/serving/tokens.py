"""Keys in tokens as the configuration names them: where their PINs come from, and whether they are there."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ca import datadir
from ca.certificates import public_key_of
from ca.errors import ConfigError
from ca.files import Snapshot, write_private, write_public
from ca.keys import kind_of
from ca.profiles import RESPONDER
from ca.sealing import BrokenSeal, Vault, forget, read_line
from ca.tokenkeeper import keep
from ca.tokenlink import PASSING, Link, Refusals, Token, TokenKey, TokenTrouble
from ca.tokens import Seen, Tokens
from gateway.serving.config import FILE_NAME, Config, parse_config, read_config, table_of
from gateway.serving.settings.tokens import KeyTable, TokenTable

log = logging.getLogger("sekisho.signer")


def keys_in(data: Path, config: Config) -> dict[str, TokenKey]:
    """The keys that are in tokens, by the names of their places; not those of CAs that were put away."""
    tokens = {name: token_of(name, table) for name, table in config.tokens.items()}
    gone = datadir.discarded_places(data)
    return {
        name: TokenKey(name, tokens[each.token], each.label, each.id)
        for name, each in config.keys.items()
        if name not in gone
    }


def token_of(name: str, table: TokenTable) -> Token:
    return Token(name, table.module, table.label, table.serial)


def asked(words: str) -> str:
    """A PIN from whoever sits there; '' where nobody does."""
    return getpass.getpass(words) if sys.stdin is not None and sys.stdin.isatty() else ""


class Pins:
    """Where PINs come from, as [tokens] says: a file, or what `seal_pin` has kept, which are read
    whenever one is needed; a variable or a question, once."""

    def __init__(
        self,
        data: Path,
        keys: Vault,
        tables: Mapping[str, TokenTable],
        ask: Callable[[str], str] = asked,
    ) -> None:
        self.data, self._keys, self._tables, self._ask = data, keys, dict(tables), ask
        self._known: dict[Token, str] = {}

    def __call__(self, token: Token) -> str:
        """ConfigError where there is none."""
        table = self._tables.get(token.name)
        if table is None or token_of(token.name, table) != token:
            # Whoever can write the settings, as a worker can, is not told a PIN by another module's name.
            raise ConfigError(
                f"the token {token} was another one, or none, at the start; stop sekisho serve and start it "
                "again"
            )
        if table.pin_file:
            try:
                return read_line(self.data / table.pin_file, "PIN")
            except ConfigError as error:
                raise ConfigError(f"tokens.{token.name}.pin_file: {error}") from None
        if not table.pin_variable and (sealed := self._sealed(token)):
            return sealed
        if token not in self._known:
            self._known[token] = self._given(token, table.pin_variable)
        return self._known[token]

    def _sealed(self, token: Token) -> str:
        sealed = Snapshot().find(_sealed_pin(self.data, token), "sealed PIN")
        try:
            return self._keys.open(_purpose(token), sealed).decode() if sealed is not None else ""
        except BrokenSeal:
            raise ConfigError(
                f"the PIN was sealed for another token, or another path of its module, than "
                f"[tokens.{token.name}] names now; seal it again: sekisho ca key pin {token.name}"
            ) from None

    def _given(self, token: Token, variable: str) -> str:
        pin = os.environ.get(variable, "") if variable else self._ask(f"PIN of the token {token}: ")
        if variable:
            forget(variable)
        if not pin:
            source = f"set {variable}" if variable else f"type: sekisho ca key pin {token.name}"
            raise ConfigError(f"no PIN was given for the token {token}; {source}")
        return pin

    def collect(self, tokens: Iterable[Token]) -> None:
        """Asks for all of them now: from here on nobody is asked any more."""
        for token in tokens:
            self(token)
        self._ask = lambda _: ""


def seal_pin(data: Path, keys: Vault, token: Token, pin: str) -> Path:
    """Keeps a PIN beside the sealed keys: for this very token by this very module."""
    file = _sealed_pin(data, token)
    write_private(file, keys.seal(_purpose(token), pin.encode()))
    return file


def _sealed_pin(data: Path, token: Token) -> Path:
    return data / "ca" / f"pin-{token.name}.sealed"


def _purpose(token: Token) -> str:
    return f"PIN {token.module} {token.label} {token.serial}"


def forget_pins(config: Config) -> None:
    """Takes them out of the environment: of children to come, and of what /proc/PID/environ shows."""
    for table in config.tokens.values():
        if table.pin_variable:
            forget(table.pin_variable)


def tokens_of(
    data: Path, config: Config, keys: Vault, pins: Pins | None = None, *, change: bool = False
) -> Tokens:
    """The tokens of a data directory; nothing is asked of one yet. ``change``: so that keys can be made."""
    found = pins or Pins(data, keys, config.tokens)
    return Tokens(keys_in(data, config), found, Refusals(found.data / "ca", keys), change=change)


def kept_tokens(data: Path, config: Config, keys: Vault, pins: Pins) -> Tokens:
    """The same for a process that starts no other any more: each token's keeper is started now. Only before
    there is any thread."""
    found = [token_of(name, table) for name, table in config.tokens.items()]
    refusals = Refusals(data / "ca", keys)
    return Tokens(
        keys_in(data, config), pins, refusals, {each: keep(Link(each, pins, refusals)) for each in found}
    )


def token_named(data: Path, config: Config, name: str) -> Token:
    """One of [tokens]. ConfigError if there is none of this name."""
    table = config.tokens.get(name)
    if table is None:
        there = ", ".join(config.tokens) or "none"
        raise ConfigError(
            f"there is no token {name!r} in {data / FILE_NAME} (there are: {there}); write [tokens.{name}] "
            "with module and label there"
        )
    return token_of(name, table)


def write_key(data: Path, key: TokenKey) -> str:
    """Says at the end of the settings where a key is, and returns these lines. The rest stays as it is."""
    path = data / FILE_NAME
    lines = table_of(f"keys.{key.name}", KeyTable(key.token.name, key.label, key.id))
    text = f"{path.read_text('utf-8').rstrip()}\n\n{lines}"
    parse_config(text)
    write_public(path, text.encode())
    return lines.rstrip()


def signing_places(tokens: Tokens) -> list[str]:
    """The places of keys in tokens by which a gateway signs: not the root's, which may be in a safe."""
    return [name for name in tokens.keys if name != "root"]


def prove(data: Path, tokens: Tokens, name: str) -> Seen:
    """That the key of a place is in its token and the certificate's. `TokenTrouble` otherwise."""
    file = datadir.places_of(data)[name]
    if file is not None:
        return tokens.signer(name, public_key_of(datadir.read_certificate(file, Snapshot()))).prove()
    public, signer = tokens.found(name)
    if name.startswith("ocsp-") and kind_of(public) not in RESPONDER.key_kinds:
        raise TokenTrouble("kind", signer.key.token, signer.key, kind_of(public))
    return signer.prove()


@dataclass(frozen=True)
class KeyState:
    """How it is with a key in a token. ``trouble``: '' when it is there and has signed; ``code``: which
    one of a token's it is (`ca.tokenlink.WORDS`)."""

    name: str
    where: str
    kind: str
    trouble: str
    code: str = ""


def state_of(data: Path, tokens: Tokens, name: str) -> KeyState:
    """How it is with the key of a place, by a signature."""
    where = str(tokens.keys[name])
    try:
        seen = prove(data, tokens, name)
    except TokenTrouble as trouble:
        return KeyState(name, where, "", str(trouble), trouble.code)
    except ConfigError as trouble:
        return KeyState(name, where, "", str(trouble))
    return KeyState(name, f"{where} ({seen.serial})", seen.kind, "")


def check_at_start(data: Path, tokens: Tokens) -> None:
    """ConfigError for what somebody has to mend. A token that is away may come back: that is logged only."""
    for name in signing_places(tokens):
        try:
            prove(data, tokens, name)
        except TokenTrouble as trouble:
            if trouble.code not in PASSING:
                raise
            log.error("%s: nothing is signed with it meanwhile", trouble)


def pins_checked(data: Path, keys: Vault) -> Pins:
    """Where PINs come from, once all keys that a gateway signs with were asked for: for a command that will
    sign. ConfigError for one that is not there."""
    config = read_config(data)
    pins = Pins(data, keys, config.tokens)
    with closing(tokens_of(data, config, keys, pins)) as tokens:
        for name in signing_places(tokens):
            prove(data, tokens, name)
    return pins
