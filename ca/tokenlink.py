"""The way to a token (PKCS#11), and what may be wrong with one.

Each token has a process of its own (`ca.tokenhost`), which is started when it is first needed and again after
a fault; so a token that was taken away signs again once it is back, with the PIN that was given once. A PIN
that a token has refused is never tried again: after a few of those a token locks itself.
"""

from __future__ import annotations

import hmac
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ca.errors import ConfigError
from ca.files import write_private
from ca.sealing import Vault
from ca.signerlink import Message, packed, receive_now

# Seconds for an answer; an RSA key of 4096 bits may take a token more than a minute.
PATIENCE, PATIENCE_TO_MAKE = 8.0, 240.0
# Seconds in which a token that failed is not asked again: those who wait are told at once.
_REST = 1.0


@dataclass(frozen=True)
class Token:
    """A token, as it is named. ``name``: of its table in sekisho.toml; '' for one that options name."""

    name: str
    module: str
    label: str = ""
    serial: str = ""

    def setting(self, which: str) -> str:
        """What to mend."""
        return f"tokens.{self.name}.{which}" if self.name else f"--token-{which}"

    def __str__(self) -> str:
        return repr(self.label) if self.label else f"with the serial number {self.serial}"


@dataclass(frozen=True)
class TokenKey:
    """A key in a token. ``name``: of the key's place, such as ``root`` or ``issuing-0123456789abcdef``."""

    name: str
    token: Token
    label: str = ""
    id: str = ""
    """CKA_ID in hex."""

    def __str__(self) -> str:
        called = repr(self.label) if self.label else f"with the id {self.id}"
        return f"the key {called} in the token {self.token}"


#: What is wrong with a token or a key of one -> what to say. ``{seen}``: what was found there.
WORDS: Mapping[str, str] = {
    "library": "keys in tokens need python-pkcs11, which is not there; type: pip install 'sekisho[pkcs11]'",
    "module": "{token.module} is no PKCS#11 module ({seen}); write the path of your token's: "
    "{setting_module}",
    "no-token": "there is no token {token} (tokens that are there: {seen}); put it in, or write its name: "
    "{setting_label}",
    "several-tokens": "there are several tokens {token} (serial numbers: {seen}); write one of those: "
    "{setting_serial}",
    "pin": "the token {token} refused the PIN, which is not tried again: a token locks itself after a few "
    "wrong ones; give the right one: {setting_pin}",
    "refused": "the token {token} refused this PIN before, and it is not tried again: a token locks itself "
    "after a few wrong ones; give the right one: {setting_pin}; or, if it is right now: rm {seen}",
    "locked": "the token {token} takes no PIN any more: it is locked, or has none yet; set a new one with "
    "what came with it (pkcs11-tool --module {token.module} --login --login-type so --init-pin), then give "
    "it: {setting_pin}",
    "no-key": "{key} is not there (keys that are: {seen}); write its name: {setting_key}",
    "several-keys": "{key} is there several times (ids: {seen}); write one of those: {setting_id}",
    "kind": "{key} is {seen}, and the certificate's another kind of key; name the right one: {setting_key}",
    "other": "{key} is not the certificate's; name the right one: {setting_key}",
    "no-public": "{key} has no public key beside it in the token; put it there, or take another key: "
    "{setting_key}",
    "taken": "{key} is there already; give the new one another name: --label NAME",
    "full": "the token {token} takes no key ({seen}): it is full, or may only be read; make room in it, or "
    "let it be written (SoftHSM: ls -ld of its directories.tokendir)",
    "later": "the token {token} was another one, or none, at the start; stop sekisho serve and start it "
    "again",
    "gone": "the token {token} does not answer ({seen}); put it in again",
}
#: What ends by itself when the token is there again: with these a gateway starts, and issues later.
PASSING = frozenset({"no-token", "gone"})
#: With these a key may be gone for good; with any other one it is where it was, or another one is meant.
LOST = frozenset({"no-token", "gone", "no-key"})
# What stays until somebody has written another PIN.
_FINAL = frozenset({"pin", "locked", "refused"})


# What is asked again and again, by whoever waits for a signature.
_ASKED_AGAIN = frozenset({"look", "sign"})


class TokenTrouble(ConfigError):
    """What is wrong with a token or a key of one, in `WORDS`. ``code``: which of them."""

    def __init__(self, code: str, token: Token, key: TokenKey | None = None, seen: str = "") -> None:
        named = f"keys.{key.name}." if key is not None and token.name else "--"
        super().__init__(
            WORDS[code].format(
                token=token,
                key=key if key is not None else "the key",
                seen=seen,
                setting_key=f"{named}label",
                setting_id=f"{named}id",
                **{f"setting_{each}": token.setting(each) for each in ("module", "label", "serial")},
                setting_pin=f"sekisho ca key pin {token.name}, or {token.setting('pin_file')}"
                if token.name
                else token.setting("pin-file"),
            )
        )
        self.code, self.seen = code, seen


class Refusals:
    """Which PIN a token has refused last: a file for each, from which nobody learns the PIN."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self._folder, self._key = folder, vault.derive("refused PIN")

    def file(self, token: Token) -> Path:
        return self._folder / f"refused-pin-{token.name}"

    def known(self, token: Token, serial: str, pin: str) -> bool:
        """Whether this token refused this PIN."""
        with suppress(OSError):
            return hmac.compare_digest(self.file(token).read_text().strip(), self._mark(serial, pin))
        return False

    def note(self, token: Token, serial: str, pin: str) -> None:
        write_private(self.file(token), self._mark(serial, pin).encode() + b"\n")

    def forget(self, token: Token) -> None:
        self.file(token).unlink(missing_ok=True)

    def _mark(self, serial: str, pin: str) -> str:
        return hmac.digest(self._key, f"{serial}\0{pin}".encode(), "sha256").hex()


class Asked(Protocol):
    """What can be asked of a token. ``opened``: how often it was opened; what was learnt of a key before
    counts no more."""

    token: Token
    opened: int

    @property
    def trouble(self) -> str:
        """What was wrong when it was asked last; '' for nothing."""

    def ask(
        self, do: str, key: TokenKey | None = None, patience: float = PATIENCE, **facts: object
    ) -> Message:
        """An answer of the open token; blocks. `TokenTrouble` if there is none."""

    def about(self) -> Message:
        """What the open token says of itself: label, serial, model."""

    def close(self) -> None: ...


class Link:
    """The process of one token: started when it is asked, one question at a time."""

    def __init__(
        self,
        token: Token,
        pin: Callable[[Token], str],
        refusals: Refusals | None = None,
        *,
        change: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token, self._pin, self._refusals, self._change = token, pin, refusals, change
        self._monotonic, self._turn = monotonic, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._told: Message = {}
        self.opened = 0
        #: What is said once more until then, of a key or ('') of all.
        self._troubles: dict[str, tuple[TokenTrouble, float]] = {}
        self._refused = ""

    def ask(
        self, do: str, key: TokenKey | None = None, patience: float = PATIENCE, **facts: object
    ) -> Message:
        """As of `Asked`."""
        with self._turn:
            self._rest(key)
            try:
                if self._socket is None:
                    self._open()
                named = {"label": key.label, "id": key.id} if key is not None else {}
                answer = self._exchange({"do": do, **named, **facts}, patience, key)
            except TokenTrouble as trouble:
                self._note(trouble, key if do in _ASKED_AGAIN else None)
                raise
            self._troubles.pop(_name_of(key), None)
            return answer

    @property
    def trouble(self) -> str:
        """As of `Asked`."""
        return next((str(trouble) for trouble, _ in self._troubles.values()), "")

    def about(self) -> Message:
        """As of `Asked`."""
        with self._turn:
            return self._told

    def close(self) -> None:
        with self._turn:
            self._end()

    def _rest(self, key: TokenKey | None) -> None:
        """Says once more what was said a moment ago, instead of trying again."""
        for name in ("", _name_of(key)):
            trouble, until = self._troubles.get(name, (None, 0.0))
            if trouble is not None and self._monotonic() < until and not self._has_other_pin(trouble):
                raise trouble

    def _note(self, trouble: TokenTrouble, key: TokenKey | None) -> None:
        """What a fault means for those who ask next: of the token all of them, of a key those of that key."""
        if trouble.code in _FINAL:
            self._troubles[""] = trouble, float("inf")
        elif trouble.code in PASSING:
            self._troubles[""] = trouble, self._monotonic() + _REST
            self._end()
        elif key is not None:
            self._troubles[key.name] = trouble, self._monotonic() + _REST
            self._end()  # of a token that is being taken away the keys are gone first

    def _has_other_pin(self, trouble: TokenTrouble) -> bool:
        """Whether somebody has put right what was refused. Nothing is tried for that."""
        with suppress(ConfigError):
            return trouble.code in _FINAL and self._pin(self.token) != self._refused
        return False

    def _open(self) -> None:
        self._start()
        token = self.token
        named = {"do": "open", "module": token.module, "label": token.label, "serial": token.serial}
        try:
            # Looked for before a PIN is asked for: it may be the wrong one's.
            told = self._exchange({**named, "pin": None}, PATIENCE, None)
            pin = self._refused = self._pin(token)
            serial = str(told["serial"])
            if self._refusals is not None and self._refusals.known(token, serial, pin):
                raise TokenTrouble("refused", token, seen=str(self._refusals.file(token)))
            try:
                self._exchange({**named, "pin": pin, "change": self._change}, PATIENCE, None)
            except TokenTrouble as trouble:
                if trouble.code == "pin" and self._refusals is not None:
                    self._refusals.note(token, serial, pin)
                raise
        except BaseException:
            self._end()
            raise
        if self._refusals is not None:
            self._refusals.forget(token)
        self._told = told
        self._troubles.pop("", None)
        self.opened += 1

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        words = [sys.executable, "-m", "ca.tokenhost", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603  our own
        self._socket = ours

    def _exchange(self, message: Message, patience: float, key: TokenKey | None) -> Message:
        assert self._socket is not None
        try:
            self._socket.settimeout(patience)
            self._socket.sendall(packed(message))
            answer = receive_now(self._socket)
        except (OSError, ValueError) as error:
            raise TokenTrouble("gone", self.token, seen=type(error).__name__) from None
        if answer is None:
            raise TokenTrouble("gone", self.token, seen="its module has crashed")
        if (code := answer.get("error")) is not None:
            raise TokenTrouble(str(code), self.token, key, str(answer.get("seen", "")))
        return answer

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            # It ends by itself when it reads that; one that hangs in its module does not.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None


def _name_of(key: TokenKey | None) -> str:
    return key.name if key is not None else ""
