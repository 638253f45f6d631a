"""What the shell of enrollment works with: one value that every operation takes first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ca.authority import Authority
from ca.clock import Clock
from ca.epochs import Epochs
from ca.sealing import Vault
from ca.storage import Storage
from ca.workers import KeyStock, Workers
from enroll.mail.writing import Templates
from enroll.settings import Settings


@dataclass(frozen=True)
class RegistrationAuthority:
    """The database, the authority and the policies. Build one per process."""

    database: Storage
    clock: Clock
    vault: Vault
    #: Seals what may be opened for a while only.
    epochs: Epochs
    authority: Authority
    workers: Workers
    #: Keys for people's certificates, made in advance; its kind is the setting ``person_key``.
    keys: KeyStock
    settings: Settings = field(default_factory=Settings)
    #: Operators' own mail templates; those that it lacks come from the package.
    templates: Templates | None = None
    #: Seconds that somebody waits for a signature, until told to come back for it.
    patience: float = 5.0

    def now(self) -> int:
        """Seconds since the epoch by the registration authority's clock."""
        return self.clock.seconds()


def token_hash(token: str) -> str:
    """How a random token is stored: SHA-256 in hex (the token has 256 bits; no salt is needed)."""
    return hashlib.sha256(token.encode()).hexdigest()
