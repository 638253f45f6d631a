"""Sealing at rest: one passphrase opens two data keys, and everything secret is sealed under one of them.

passphrase --argon2id--> key-encryption key --AES-256-GCM--> random data keys --HKDF--> a key per purpose.
So a new passphrase rewraps 64 bytes and touches nothing else. One data key is the gateway's, the other is for
the keys of our CAs: who holds the first, as a worker does, cannot open what is sealed under the second.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ca.errors import ConfigError
from ca.files import Snapshot, read_file, write_private

MINIMUM_PASSPHRASE = 8
_SEAL_VERSION = b"s1"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class BrokenSeal(Exception):
    """Sealed bytes that are not ours, were altered, or were sealed for another purpose."""


@dataclass(frozen=True)
class PassphraseCost:
    """argon2id parameters; the defaults are RFC 9106 section 4's second recommended option (64 MiB)."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 65536


RFC9106_SECOND = PassphraseCost()


class Vault:
    """Seals, opens and derives under one data key. Never prints, pickles or returns that key."""

    __slots__ = ("_data_key",)

    def __init__(self, data_key: bytes) -> None:
        if len(data_key) != 32:
            raise ValueError("a data key is 32 bytes")
        self._data_key = data_key

    def seal(self, purpose: str, plaintext: bytes) -> bytes:
        """`plaintext` sealed with AES-256-GCM; only `open` with the same `purpose` gives it back."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self._sealing_key(purpose)).encrypt(nonce, plaintext, _associated(purpose))
        return _SEAL_VERSION + nonce + sealed

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """The plaintext of `sealed`; `BrokenSeal` unless it was sealed here for this very purpose."""
        start = len(_SEAL_VERSION) + _NONCE_BYTES
        if len(sealed) < start + _TAG_BYTES or not sealed.startswith(_SEAL_VERSION):
            raise BrokenSeal(f"not a sealed value (purpose {purpose})")
        nonce = sealed[len(_SEAL_VERSION) : start]
        try:
            return AESGCM(self._sealing_key(purpose)).decrypt(nonce, sealed[start:], _associated(purpose))
        except InvalidTag:
            raise BrokenSeal(f"the seal is broken (purpose {purpose})") from None

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key of its own for `purpose`, the same each time (HKDF-Expand, RFC 5869)."""
        return self._expand(b"sekisho derive 1\0" + purpose.encode())

    # A key per purpose keeps random nonces far below GCM's 2^32 bound however much is sealed.
    def _sealing_key(self, purpose: str) -> bytes:
        return self._expand(b"sekisho seal 1\0" + purpose.encode())

    def _expand(self, info: bytes) -> bytes:
        return HKDFExpand(algorithm=hashes.SHA256(), length=32, info=info).derive(self._data_key)

    def handed_over(self) -> bytes:
        """The data key itself, for another process of ours over a socket that is nobody else's."""
        return self._data_key

    def __repr__(self) -> str:
        return "<Vault>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault stays in its process")


@dataclass(frozen=True)
class Vaults:
    """What one passphrase opens."""

    #: What the gateway seals: people's keys, tickets, secrets of its own.
    gateway: Vault
    #: The keys of our CAs.
    keys: Vault


def create_vaults(path: Path, passphrase: str, cost: PassphraseCost = RFC9106_SECOND) -> Vaults:
    """Makes fresh data keys, writes them to `path` wrapped under `passphrase`, and opens them."""
    check_passphrase(passphrase)
    data_keys = secrets.token_bytes(32), secrets.token_bytes(32)
    write_private(path, _wrap(data_keys, passphrase, cost))
    return Vaults(*map(Vault, data_keys))


def open_vaults(path: Path, passphrase: str) -> Vaults:
    """The vaults in `path`. `ConfigError` if the passphrase is wrong or the file was altered."""
    return Vaults(*map(Vault, _unwrap(path, passphrase)))


def change_passphrase(path: Path, old: str, new: str, cost: PassphraseCost = RFC9106_SECOND) -> None:
    """Rewraps the data keys under `new`. What was sealed stays as it is and stays readable."""
    check_passphrase(new)
    write_private(path, _wrap(_unwrap(path, old), new, cost))


def check_passphrase(passphrase: str) -> None:
    """`ConfigError` for a passphrase too short to protect a CA key."""
    if len(passphrase) < MINIMUM_PASSPHRASE:
        raise ConfigError(
            f"the passphrase has {len(passphrase)} characters; choose one of at least {MINIMUM_PASSPHRASE}"
        )


def read_passphrase(
    env: str | None = None,
    file: Path | None = None,
    prompt: Callable[[], str] | None = None,
    environ: Mapping[str, str] = os.environ,
    option: str = "--passphrase-file",
) -> str:
    """The passphrase from `file`, else from the environment variable named `env`, else from `prompt`.

    An empty source is an error, not a reason to try the next one. `option` names the file for whoever gave
    none.
    """
    if file is not None:
        return read_line(file, "passphrase")
    if env is not None and env in environ:
        return _line(environ[env], f"the environment variable {env}", "passphrase")
    if prompt is not None:
        return _line(prompt(), "the prompt", "passphrase")
    hint = f"set {env} or " if env else ""
    raise ConfigError(f"no passphrase was given; {hint}name a file with {option} FILE")


def forget(name: str) -> None:
    """Takes a secret out of the environment: of children to come, and of what ``/proc/PID/environ`` shows."""
    if name not in os.environ:
        return
    # What the kernel shows is the memory in which this process got it, and unsetenv(3) leaves that as it is.
    libc = ctypes.CDLL(None)
    libc.getenv.restype, libc.getenv.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    at = libc.getenv(name.encode())
    if at:
        ctypes.memset(at, 0, len(ctypes.string_at(at)))
    # Python has read it as well, at its start, and would leave it in memory that is free.
    held = os.environ._data[os.environ.encodekey(name)]  # type: ignore[attr-defined]
    ctypes.memset(id(held) + bytes.__basicsize__ - 1, 0, len(held))
    del os.environ[name]


def read_line(file: Path, what: str, files: Snapshot | None = None) -> str:
    """The secret in a file, `what` it is: one line of UTF-8, without its line break. `ConfigError` if not."""
    try:
        text = (files or Snapshot()).read(file, f"{what} file").decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8; write the {what} as UTF-8 text") from None
    return _line(text.removesuffix("\n").removesuffix("\r"), str(file), what)


def _line(text: str, source: str, what: str) -> str:
    if not text or "\n" in text:
        raise ConfigError(f"{source} must hold the {what} on one line; write it there")
    return text


def _wrap(data_keys: tuple[bytes, bytes], passphrase: str, cost: PassphraseCost) -> bytes:
    salt, nonce = os.urandom(16), os.urandom(_NONCE_BYTES)
    header = {"version": 1, "kdf": "argon2id", **asdict(cost), "salt": _b64(salt)}
    wrapped = AESGCM(_kek(passphrase, salt, cost)).encrypt(nonce, b"".join(data_keys), _canonical(header))
    document = {**header, "wrapped": _b64(nonce + wrapped)}
    return json.dumps(document, indent=1).encode() + b"\n"


def _unwrap(path: Path, passphrase: str) -> tuple[bytes, bytes]:
    header, salt, cost, wrapped = _parse(read_file(path, "vault"), path)
    try:
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        opened = AESGCM(_kek(passphrase, salt, cost)).decrypt(nonce, sealed, _canonical(header))
        return opened[:32], opened[32:]
    except InvalidTag:
        raise ConfigError(
            f"the passphrase does not open {path} (or the file was altered);"
            " type the passphrase again, or restore the file from a backup"
        ) from None


def _parse(content: bytes, path: Path) -> tuple[dict[str, Any], bytes, PassphraseCost, bytes]:
    try:
        document = json.loads(content)
        wrapped = base64.b64decode(document.pop("wrapped"), validate=True)
        salt = base64.b64decode(document["salt"], validate=True)
        cost = PassphraseCost(*(int(document[k]) for k in ("iterations", "lanes", "memory_kib")))
        # Bounds before work: a hostile file must not make us take all memory or wait for ever.
        sane = 1 <= cost.iterations <= 64 and 1 <= cost.lanes <= 16 and cost.memory_kib <= 1 << 21
        if (document["version"], document["kdf"]) != (1, "argon2id") or not sane:
            raise ValueError("unknown version or cost")
        if len(wrapped) != _NONCE_BYTES + 64 + _TAG_BYTES or len(salt) != 16:
            raise ValueError("wrong lengths")
        if cost.memory_kib < 8 * cost.lanes:
            raise ValueError("argon2 needs 8 KiB per lane")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is not a vault; restore it from a backup") from error
    return document, salt, cost, wrapped


def _kek(passphrase: str, salt: bytes, cost: PassphraseCost) -> bytes:
    # The same words typed on another keyboard may arrive decomposed: NFC makes them one.
    secret = unicodedata.normalize("NFC", passphrase).encode()
    kdf = Argon2id(
        salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    return kdf.derive(secret)


def _associated(purpose: str) -> bytes:
    return _SEAL_VERSION + b"\0" + purpose.encode()


def _canonical(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
