"""Whoever holds our CAs' keys, as those see it who need a signature: it is asked for, and comes later or not.

Perhaps from another process, or from a token. So nobody asks inside a transaction or on the event loop,
nobody counts on getting the same bytes twice, and what came back is verified before anything is made of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from ca.keys import PrivateKey, PublicKey

#: What is signed: a certificate that is reserved, a revocation list, a certificate of a CA or host of ours.
Purpose = Literal["certificate", "list", "own"]

_PIECE = 1 << 20


class NoSignature(Exception):
    """There is no signature now: whoever signs is not there, too slow, or answers with something else.

    Nothing is lost by it: what was to be signed may be asked for again. The message is for the log, and holds
    no secret.
    """


class SignatureRefused(NoSignature):
    """Whoever signs has looked at it, and will not sign it, however often it is asked. ``number``: of a list,
    if it is the number that another one had: the next one's has to be higher."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True)
class ToSign:
    """What a signature is asked for."""

    key_id: str
    """Of the CA whose key is to sign: its subject key identifier, in hex."""
    purpose: Purpose
    content: bytes | Path
    """The to-be-signed bytes, or the file that has them: a list may be of tens of megabytes."""
    serial: str | None = None
    """The reservation that they belong to."""


class Signer(Protocol):
    """Holds keys. Both ways raise `NoSignature`, and are for the functions below: they verify."""

    async def sign(self, asked: ToSign) -> bytes:
        """The signature, when it is there."""

    def sign_now(self, asked: ToSign) -> bytes:
        """The same for callers without an event loop; blocks."""


class Keyring:
    """Keys in several places, by one table: who holds which.

    ``check`` is called before each signature, and raises `NoSignature` where there is to be none.
    """

    def __init__(self, holders: Mapping[str, Signer], check: Callable[[], None] = lambda: None) -> None:
        self._holders, self.check = dict(holders), check

    async def sign(self, asked: ToSign) -> bytes:
        return await self.holder(asked.key_id).sign(asked)

    def sign_now(self, asked: ToSign) -> bytes:
        return self.holder(asked.key_id).sign_now(asked)

    def holder(self, name: str) -> Signer:
        """Who signs with the key of this identifier, now. `NoSignature` if nobody does."""
        self.check()
        if name not in self._holders:
            raise NoSignature(f"there is no key {name[:16]} here")
        return self._holders[name]


class FileSigner:
    """Keys of this process, out of sealed files. They sign in a thread."""

    def __init__(self, keys: Mapping[str, PrivateKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def of(cls, *keys: PrivateKey) -> FileSigner:
        """Of keys that go by their own identifiers."""
        return cls({key_id(key.public_key()): key for key in keys})

    async def sign(self, asked: ToSign) -> bytes:
        return await asyncio.to_thread(self.sign_now, asked)

    def sign_now(self, asked: ToSign) -> bytes:
        key = self._keys.get(asked.key_id)
        if key is None:
            raise NoSignature(f"there is no key {asked.key_id[:16]} here")
        algorithm = hash_of(key)
        prehashed = utils.Prehashed(algorithm)
        digest = digest_of(asked.content, algorithm)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            # RFC 6979: a bad source of randomness gives no key away.
            return key.sign(digest, ec.ECDSA(prehashed, deterministic_signing=True))
        assert isinstance(key, rsa.RSAPrivateKey)
        return key.sign(digest, padding.PKCS1v15(), prehashed)


class Elsewhere:
    """Keys that are in another process, which is not asked here. ``where``: after "the keys are used"."""

    def __init__(self, where: str) -> None:
        self._where = where

    async def sign(self, asked: ToSign) -> bytes:
        return self.sign_now(asked)

    def sign_now(self, asked: ToSign) -> bytes:
        raise NoSignature(f"the keys are used {self._where}")


async def signature(signer: Signer, key: PublicKey, asked: ToSign, digest: bytes | None = None) -> bytes:
    """A signature that the issuer's ``key`` verifies. ``digest``: of the content, where it is known already.

    `NoSignature`, also for one that is none.
    """
    return _verified(await signer.sign(asked), key, asked, digest)


def signature_now(signer: Signer, key: PublicKey, asked: ToSign, digest: bytes | None = None) -> bytes:
    """The same for callers without an event loop; blocks."""
    return _verified(signer.sign_now(asked), key, asked, digest)


def hash_of(key: PublicKey | PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash that goes with a signing key. ValueError for a kind that no CA of ours has."""
    if isinstance(key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey)):
        # It hashes by itself: there would be no digest to hand over.
        raise ValueError("no issuing key is of this kind (ca.profiles.ISSUING)")
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)) and key.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def digest_of(content: bytes | Path, algorithm: hashes.HashAlgorithm) -> bytes:
    """The digest of bytes, or of a file's."""
    digest = hashlib.new(algorithm.name)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.digest()


def verify_digest(key: PublicKey, made: bytes, digest: bytes) -> None:
    """`InvalidSignature` unless it is one of this digest."""
    prehashed = utils.Prehashed(hash_of(key))
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(made, digest, ec.ECDSA(prehashed))
    else:
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(made, digest, padding.PKCS1v15(), prehashed)


def key_id(key: PublicKey) -> str:
    """What a key goes by: its certificate's subject key identifier (RFC 5280 section 4.2.1.2), in hex."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()


def _verified(made: bytes, key: PublicKey, asked: ToSign, digest: bytes | None) -> bytes:
    """Neither a builder nor the register would notice a signature that is none; who logs in with it would."""
    try:
        verify_digest(key, made, digest or digest_of(asked.content, hash_of(key)))
    except InvalidSignature:
        raise NoSignature(f"what was given as a signature of {asked.key_id[:16]} is none") from None
    return made
