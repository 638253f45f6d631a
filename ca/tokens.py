"""Keys in tokens (PKCS#11): one more kind of signer behind the wall of `ca.signing`."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from ca.errors import ConfigError
from ca.keys import PublicKey, kind_of, parse_public_key, spki
from ca.signerlink import Message
from ca.signing import NoSignature, ToSign, digest_of, hash_of, verify_digest
from ca.tokenlink import PATIENCE_TO_MAKE, Asked, Link, Refusals, Token, TokenKey, TokenTrouble

_PROOF = b"sekisho: whether this key is the certificate's\0"


@dataclass(frozen=True)
class Seen:
    """A key that has just proven itself."""

    token: str
    serial: str
    kind: str
    id: str


class TokenSigner:
    """Signs with one key of a token. ``public``: the certificate's, which says what kind it has to be."""

    def __init__(self, key: TokenKey, link: Asked, public: PublicKey) -> None:
        self.key, self._link, self._public = key, link, public
        self._known = 0
        # One thread: while a token hangs nobody else's threads wait for it.
        self._thread = ThreadPoolExecutor(1, "token")

    async def sign(self, asked: ToSign) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.sign_now, asked)

    def sign_now(self, asked: ToSign) -> bytes:
        try:
            return self.sign_digest(digest_of(asked.content, hash_of(self._public)))
        except ConfigError as error:
            raise NoSignature(str(error)) from None

    def sign_digest(self, digest: bytes) -> bytes:
        """`TokenTrouble` where there is no signature; whoever asks verifies."""
        if self._known != self._link.opened or not self._known:
            self._look()
        answer = self._link.ask("sign", self.key, digest=base64.b64encode(digest).decode())
        return base64.b64decode(str(answer["signature"]))

    def prove(self) -> Seen:
        """That the key is there and the certificate's, by a signature. `TokenTrouble` otherwise."""
        told = self._look()
        algorithm = hash_of(self._public)
        digest = digest_of(_PROOF + secrets.token_bytes(32), algorithm)
        try:
            verify_digest(self._public, self.sign_digest(digest), digest)
        except InvalidSignature:
            raise TokenTrouble("other", self.key.token, self.key) from None
        about = self._link.about()
        return Seen(str(about["label"]), str(about["serial"]), str(told["kind"]), str(told["id"]))

    def _look(self) -> Message:
        told = self._link.ask("look", self.key)
        if told["kind"] != kind_of(self._public):
            raise TokenTrouble("kind", self.key.token, self.key, str(told["kind"]))
        if told["spki"] is not None and base64.b64decode(told["spki"]) != spki(self._public):
            raise TokenTrouble("other", self.key.token, self.key)
        self._known = self._link.opened
        return told


class Tokens:
    """The keys that are in tokens, by the names of their places. ``pin``: gives a token's PIN, asked once;
    ``links``: the tokens that can be asked, if not every one can."""

    def __init__(
        self,
        keys: Mapping[str, TokenKey],
        pin: Callable[[Token], str],
        refusals: Refusals | None = None,
        links: Mapping[Token, Asked] | None = None,
        *,
        change: bool = False,
    ) -> None:
        self.keys, self._pin, self._refusals, self._change = dict(keys), pin, refusals, change
        self._links, self._closed_set = dict[Token, Asked](links or {}), links is not None
        self._signers: dict[tuple[TokenKey, bytes], TokenSigner] = {}

    def signer(self, name: str, public: PublicKey) -> TokenSigner:
        """Who signs with the key of a place; nothing is asked of the token yet."""
        key = self.keys[name]
        named = key, spki(public)
        if named not in self._signers:
            self._signers[named] = TokenSigner(key, self.link(key.token), public)
        return self._signers[named]

    def troubles(self) -> dict[str, str]:
        """The tokens that are in use -> what is wrong with each; '' for nothing that is known."""
        return {token.name: link.trouble for token, link in self._links.items()}

    def found(self, name: str) -> tuple[PublicKey, TokenSigner]:
        """The key of a place that has no certificate yet, by what the token says. `TokenTrouble`."""
        key = self.keys[name]
        told = self.link(key.token).ask("look", key)
        if told["spki"] is None:
            raise TokenTrouble("no-public", key.token, key)
        public = parse_public_key(base64.b64decode(told["spki"]))
        return public, self.signer(name, public)

    def generate(self, key: TokenKey, kind: str) -> tuple[PublicKey, TokenSigner]:
        """A new key, made in the token, which it never leaves. `TokenTrouble`."""
        told = self.link(key.token).ask("generate", key, PATIENCE_TO_MAKE, kind=kind)
        public = parse_public_key(base64.b64decode(told["spki"]))
        self.keys[key.name] = key
        return public, self.signer(key.name, public)

    def take(self, key: TokenKey, pkcs8: bytes, public: PublicKey) -> TokenSigner:
        """A key from outside, put into the token. `TokenTrouble`."""
        self.link(key.token).ask("take", key, pkcs8=base64.b64encode(pkcs8).decode())
        self.keys[key.name] = key
        return self.signer(key.name, public)

    def delete(self, key: TokenKey) -> None:
        """Out of the token, for good."""
        self.link(key.token).ask("delete", key)
        self.keys.pop(key.name, None)

    def forget_refusal(self, token: Token) -> None:
        """Whatever PIN it refused: the one that it has now was just taken."""
        if self._refusals is not None:
            self._refusals.forget(token)

    def link(self, token: Token) -> Asked:
        if token not in self._links:
            if self._closed_set:
                raise TokenTrouble("later", token)
            self._links[token] = Link(token, self._pin, self._refusals, change=self._change)
        return self._links[token]

    def close(self) -> None:
        """Ends the tokens' processes."""
        for link in self._links.values():
            link.close()


def _no_pin(token: Token) -> str:
    raise ConfigError(
        f"no PIN was given for the token {token}; write a file with it: {token.setting('pin_file')}"
    )


def no_tokens() -> Tokens:
    """Of a directory all of whose keys are sealed files."""
    return Tokens({}, _no_pin)
