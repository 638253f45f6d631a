"""One small CA for all tests of the ground, and ways to make certificates that it would never issue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ca import datadir, schema
from ca.authority import Authority
from ca.keys import PrivateKey, generate, spki
from ca.sealing import PassphraseCost
from ca.sqlite import Database
from ca.store import Reservation

AT = 1_800_000_000
"""2027-01-15 08:00:00 UTC, 17:00:00 in Japan."""
DAY = 86_400
PASSPHRASE = "correct horse battery"
CHEAP = PassphraseCost(iterations=1, lanes=1, memory_kib=64)


@dataclass(frozen=True)
class Issued:
    """A certificate as the product makes it, with its key."""

    key: PrivateKey
    reservation: Reservation
    der: bytes


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> datadir.DataDir:
    return datadir.create(tmp_path_factory.mktemp("data") / "d", PASSPHRASE, AT, cost=CHEAP)


@pytest.fixture(scope="session")
def authority(opened: datadir.DataDir) -> Authority:
    return opened.authority


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "ca.sqlite", [schema.SCHEMA])
    yield database
    database.close()


@pytest.fixture(scope="session")
def person(authority: Authority) -> Issued:
    return issue_person(authority, "K1234560001", key=generate("rsa-2048"))


def issue_person(
    authority: Authority,
    cn: str = "K1234560001",
    at: int = AT,
    order_id: str | None = None,
    key: PrivateKey | None = None,
) -> Issued:
    key = key or generate("ec-p256")
    reservation = authority.plan(
        "client-person", cn, (), spki(key.public_key()), order_id, at, os.urandom(16)
    )
    return Issued(key, reservation, authority.certify_now(reservation))
