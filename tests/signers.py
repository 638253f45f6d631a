"""Whoever signs, and not as files do: with other bytes each time, badly, late, or not at all."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec, utils

from ca.keys import PrivateKey
from ca.signing import FileSigner, Keyring, NoSignature, Signer, ToSign, digest_of, hash_of
from enroll.ra import RegistrationAuthority


class LikeAToken(FileSigner):
    """ECDSA with fresh randomness: of the same bytes there are no two equal signatures."""

    def sign_now(self, asked: ToSign) -> bytes:
        key = self._keys[asked.key_id]
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        algorithm = hash_of(key)
        return key.sign(digest_of(asked.content, algorithm), ec.ECDSA(utils.Prehashed(algorithm)))

    @classmethod
    def instead_of(cls, signer: Signer) -> LikeAToken:
        return cls(file_keys(signer))


def file_keys(signer: Signer) -> dict[str, PrivateKey]:
    """The keys out of sealed files that somebody signs with, by what they go by."""
    assert isinstance(signer, Keyring)
    found = dict[str, PrivateKey]()
    for each in signer._holders.values():
        assert isinstance(each, FileSigner)
        found |= each._keys
    return found


@dataclass
class Unreliable:
    """Says no to so many of a hundred."""

    signer: Signer
    of_a_hundred: int
    chance: random.Random = field(default_factory=lambda: random.Random(20261128))

    async def sign(self, asked: ToSign) -> bytes:
        return await asyncio.to_thread(self.sign_now, asked)

    def sign_now(self, asked: ToSign) -> bytes:
        if self.chance.randrange(100) < self.of_a_hundred:
            raise NoSignature("the token was pulled out")
        return self.signer.sign_now(asked)


@dataclass
class Gone:
    """Is away until ``back``; remembers what it was asked for."""

    signer: Signer
    back: bool = False
    asked: list[ToSign] = field(default_factory=list)

    async def sign(self, asked: ToSign) -> bytes:
        return self.sign_now(asked)

    def sign_now(self, asked: ToSign) -> bytes:
        self.asked.append(asked)
        if not self.back:
            raise NoSignature("nobody is there")
        return self.signer.sign_now(asked)


@dataclass
class Slow:
    """Signs once it is let; remembers what it was asked for."""

    signer: Signer
    let: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[ToSign] = field(default_factory=list)

    async def sign(self, asked: ToSign) -> bytes:
        self.asked.append(asked)
        await self.let.wait()
        return self.signer.sign_now(asked)

    def sign_now(self, asked: ToSign) -> bytes:
        raise AssertionError("it is asked by who can wait")


@dataclass
class Rubbish:
    """Answers with what is no signature of what it was asked for."""

    signer: Signer

    async def sign(self, asked: ToSign) -> bytes:
        return self.sign_now(asked)

    def sign_now(self, asked: ToSign) -> bytes:
        return self.signer.sign_now(replace(asked, content=b"something else"))


def given_to(ra: RegistrationAuthority, signer: Signer, *, patience: float = 5.0) -> None:
    """Lets another one sign for a registration authority that is in use already, as by a site."""
    for name, value in (("authority", replace(ra.authority, signer=signer)), ("patience", patience)):
        object.__setattr__(ra, name, value)


def signed_by(ra: RegistrationAuthority, signer: Signer, *, patience: float = 5.0) -> RegistrationAuthority:
    """The same registration authority with another one who signs."""
    return replace(ra, authority=replace(ra.authority, signer=signer), patience=patience)
