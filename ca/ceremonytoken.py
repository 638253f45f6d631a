"""A ceremony's root whose key is in a token (PKCS#11), and not under shares: `ca.ceremony` does the rest."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from ca.ceremony import CERTIFICATE, InToken, Record, Root, check_new, look, write_record
from ca.certificates import public_key_of, root_of, to_pem
from ca.errors import ConfigError
from ca.files import make_private_directory, write_public
from ca.publication import Places
from ca.tokenlink import Token, TokenKey
from ca.tokens import Tokens


def create_in_token(
    folder: Path,
    subject: x509.Name,
    kind: str,
    tokens: Tokens,
    key: TokenKey,
    at: int,
    *,
    revocation_url: str = "",
    rehearsal: bool = False,
) -> Root:
    """Makes a root in a new folder, its key in a token. Raises `ConfigError`; then there is no folder, and no
    key."""
    Places(revocation_url).check()
    check_new(folder)
    public, signer = tokens.generate(key, kind)
    try:
        der = root_of(subject, public, signer, at)
        signer.prove()
        held = InToken(key.token.module, key.token.label, key.token.serial, key.label)
        record = Record(0, (), 0, at, rehearsal, revocation_url, token=held)
        make_private_directory(folder)
        write_public(folder / CERTIFICATE, to_pem(der))
        write_record(folder, record)
    except BaseException:
        tokens.delete(key)
        raise
    return Root(folder, record, x509.load_der_x509_certificate(der), signer)


def key_of(folder: Path) -> TokenKey:
    """Where a root's key is. `ConfigError` for a root whose key is shared among people."""
    record, _ = look(folder)
    held = record.token
    if held is None:
        raise ConfigError(f"{folder} is a root with shares; its holders have to come")
    return TokenKey("root", Token("", held.module, held.label, held.serial), held.key)


def open_in_token(folder: Path, tokens: Tokens) -> Root:
    """The root with its key, once that has proven itself. `ConfigError` otherwise."""
    record, certificate = look(folder)
    tokens.keys["root"] = key_of(folder)
    signer = tokens.signer("root", public_key_of(certificate))
    signer.prove()
    return Root(folder, record, certificate, signer)
