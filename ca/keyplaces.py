"""Where a CA's key is: a sealed file or a token (PKCS#11), how one is made there, and who signs with it.

A place is named as its file would be: ``root``, ``issuing-ID``, ``ocsp-ID`` (ID: of the issuer, 16 digits).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from ca.certificates import public_key_of, to_pem
from ca.errors import ConfigError
from ca.files import Snapshot, write_private, write_public
from ca.keys import PrivateKey, PublicKey, from_pkcs8, generate, spki, spki_of, to_pkcs8
from ca.sealing import BrokenSeal, Vault
from ca.signing import FileSigner, Signer, key_id
from ca.tokenlink import Token, TokenKey
from ca.tokens import Tokens


@dataclass(frozen=True)
class Made:
    """A key that was just made. ``keep``: gives it its place, by the stem of its files."""

    public: PublicKey
    signer: Signer
    keep: Callable[[str], None]


#: Makes a key of a kind for what the word says: ``root`` or ``issuing``.
Maker = Callable[[str, str], Made]


def in_files(path: Path, vault: Vault) -> Maker:
    """Into files that are sealed under a vault."""

    def make(_: str, kind: str) -> Made:
        key = generate(kind)
        return Made(key.public_key(), FileSigner.of(key), lambda stem: save_key(path, vault, stem, key))

    return make


def in_token(
    tokens: Tokens, token: Token, label: str = "", kept: Callable[[TokenKey], object] = lambda _: None
) -> Maker:
    """In a token, which the keys never leave: called by the label, or by what they are for and a number.

    ``tokens.keys`` then says where each of them is; ``kept`` writes it down, before anything else is written.
    """

    def make(what: str, kind: str) -> Made:
        number = secrets.token_hex(8)
        key = TokenKey(f"new-{number}", token, label or f"{what}-{number[:8]}", number)
        public, signer = tokens.generate(key, kind)

        def keep(stem: str) -> None:
            del tokens.keys[key.name]
            named = tokens.keys[place_of(stem)] = replace(key, name=place_of(stem), id="")
            kept(named)

        return Made(public, signer, keep)

    return make


def stem_of(issuer_id: str) -> str:
    """What an issuing CA's files begin with, below the data directory."""
    return f"ca/issuing-{issuer_id[:16]}"


def responder_of(issuer_id: str) -> str:
    """The place of the key by which answers (OCSP) about an issuer's certificates are signed, if it is to be
    the same one all along."""
    return f"ocsp-{issuer_id[:16]}"


def place_of(stem: str) -> str:
    """The name of the place of a CA's key, by the stem of its files."""
    return stem.removeprefix("ca/")


def holder(
    path: Path, vault: Vault, stem: str, certificate: x509.Certificate, files: Snapshot, tokens: Tokens
) -> Signer:
    """Who signs with the key of a certificate: the token that its place names, else its sealed file."""
    if place_of(stem) in tokens.keys:
        return tokens.signer(place_of(stem), public_key_of(certificate))
    key = open_key(path, vault, stem, certificate, files)
    return FileSigner({key_id(public_key_of(certificate)): key})


def save_key(path: Path, vault: Vault, stem: str, key: PrivateKey) -> None:
    """Seals a CA's key into its place."""
    write_private(path / f"{stem}.key", vault.seal(f"key {stem}", to_pkcs8(key)))


def save(path: Path, made: Made, stem: str, der: bytes) -> None:
    """A new CA's key and certificate into their places."""
    made.keep(stem)
    write_public(path / f"{stem}.pem", to_pem(der))


def open_key(
    path: Path, vault: Vault, stem: str, certificate: x509.Certificate, files: Snapshot
) -> PrivateKey:
    """The key out of its sealed file. `ConfigError` for one that is missing, altered or another's."""
    file = path / f"{stem}.key"
    try:
        key = from_pkcs8(vault.open(f"key {stem}", files.read(file, "sealed key")))
    except (BrokenSeal, ValueError) as error:
        raise ConfigError(
            f"{file} was altered or is another directory's; restore it from a backup"
        ) from error
    if spki(key.public_key()) != spki_of(certificate):
        raise ConfigError(f"{file} does not belong to {stem}.pem; restore both from a backup")
    return key
