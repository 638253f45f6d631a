"""The keys that the signer signs with, wherever they are: out of sealed files in memory, or in tokens."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ca import datadir
from ca.authority import Issuer
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.inspection import Unsignable
from ca.keyplaces import responder_of
from ca.keys import PublicKey
from ca.responder import Responder, fresh
from ca.sealing import Vault
from ca.signerlink import Message
from ca.signing import Keyring, NoSignature, Signer
from ca.tokens import Tokens, no_tokens
from gateway.serving.config import FILE_NAME, read_config
from gateway.serving.tokens import keys_in, signing_places, state_of

log = logging.getLogger("sekisho.signer")


class Places:
    """The issuing CAs with their keys. ``tokens``: those that were there at the start; which keys are in them
    the settings say, also while it runs."""

    def __init__(self, data: Path, keys: Vault, tokens: Tokens | None = None) -> None:
        self._data, self._keys = data, keys
        self._tokens, self._by_settings = tokens or no_tokens(), tokens is not None
        self._mark = self._settings_mark()
        try:
            self._open()
        except ConfigError as error:
            # A signer that was killed comes back whatever somebody is writing: by what was accepted.
            log.error("the keys are where they were: %s", error)
            self._open(anew=False)

    def follow(self) -> None:
        """A key may be in another place now (`sekisho ca key move`): looked at when the settings changed."""
        if self._mark == (mark := self._settings_mark()):
            return
        self._mark = mark
        try:
            self._open()
        except ConfigError as error:
            log.error("the keys are where they were: %s", error)

    def issuer(self, key: str) -> Issuer:
        """Perhaps one that was made since (`sekisho ca add`). `Unsignable` for none of ours."""
        for again in (False, True):
            if again:
                self._open()
            with suppress(KeyError):
                return self.authority.issuer(key)
        raise Unsignable(f"there is no issuer {key[:40]!r}")

    def holder(self, key: str) -> Signer:
        """Who signs with an issuer's key. `NoSignature` if nobody does."""
        keyring = self.authority.signer
        assert isinstance(keyring, Keyring)
        return keyring.holder(key)

    def told(self) -> list[Message]:
        """Of each key in a token whether it is there, and the certificate's: it signs something for that."""
        return [asdict(state_of(self._data, self._tokens, name)) for name in signing_places(self._tokens)]

    def troubles(self) -> dict[str, str]:
        """The tokens -> what is wrong with each; '' for nothing that is known."""
        return self._tokens.troubles()

    def close(self) -> None:
        self._tokens.close()

    def _open(self, *, anew: bool = True) -> None:
        before = self._tokens.keys
        if anew and self._by_settings:
            self._tokens.keys = keys_in(self._data, read_config(self._data, Snapshot()))
        try:
            self.authority = datadir.authority_of(self._data, self._keys, self._tokens)
        except BaseException:
            self._tokens.keys = before
            raise
        self.responder = Responder(self._responders_key)

    def _responders_key(self, issuer: Issuer) -> tuple[PublicKey, Signer]:
        name = responder_of(issuer.issuer_id)
        if name not in self._tokens.keys:
            return fresh(issuer)
        try:
            return self._tokens.found(name)
        except ConfigError as error:
            raise NoSignature(str(error)) from None

    def _settings_mark(self) -> tuple[int, ...]:
        """Which files of settings and of CAs these are; others when they are written anew."""
        with suppress(OSError):
            found = [(self._data / name).stat() for name in (FILE_NAME, datadir.MARKER)]
            return tuple(part for each in found for part in (each.st_ino, each.st_mtime_ns, each.st_size))
        return ()
