"""For whom a CA signs: each site believes one audience's CAs, and people are told of theirs alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import ca.store
from ca.keys import generate, spki
from ca.profiles import DAY, Audience
from ca.storage import Transaction
from ca.store import Reservation
from enroll import generations
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from gateway.serving.assembly import gate_of, trusts_of
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.deployment import Deployment, open_deployment
from gateway.sites.help.publications import certificates_of
from tests.datadirs import PASSPHRASE, next_generation, open_office
from tests.looking import look

THEIRS = "Operators CA"


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    """A directory with a CA of each audience, opened as a server opens it."""
    async with open_office(tmp_path) as ra:
        next_generation(ra, THEIRS, active=False, audience=Audience.OPERATORS)
        clock = ra.clock
    (tmp_path / "data" / FILE_NAME).write_text(toml_of(Config()))
    opened = open_deployment(tmp_path / "data", PASSPHRASE, clock=clock)
    yield opened
    await opened.close()


def _reserved(db: Transaction, ra: RegistrationAuthority) -> Reservation:
    """An operator's certificate, recorded and not signed yet."""
    issuer = generations.issuing(db, ra, Audience.OPERATORS)
    key = spki(generate("ec-p256").public_key())
    planned = ra.authority.plan(
        "client-operator", "desk-1", (), key, None, ra.now(), os.urandom(16), issuer=issuer
    )
    ca.store.reserve(db, planned)
    return planned


async def test_what_sites_believe(deployment: Deployment) -> None:
    """People's sites believe the CAs for clients and no other, and name no other to browsers."""
    trusts, authority = trusts_of(deployment), deployment.datadir.authority
    for audience in Audience:
        (issuer,) = authority.of(audience)
        assert trusts[audience].anchors.issuers == (issuer.certificate,)
        assert trusts[audience].advertised == (issuer.certificate, deployment.datadir.root)


async def test_what_people_are_told(deployment: Deployment) -> None:
    """Neither the chooser's help, nor policies for networks, nor the list of CAs tells of operators'."""
    gate = gate_of(deployment)
    named = {*gate.issuer_names, *gate.known_issuers}
    named |= {each.common_name for each in certificates_of(gate.ra)}
    assert len(named) == 2  # the one for clients, and the root
    assert THEIRS not in named


async def test_an_operators_certificate(deployment: Deployment) -> None:
    """By the audience's own CA, for a year, with a reservation like any other; what a crash leaves of one is
    given up, because its key is gone, and people's are finished."""
    ra = deployment.ra
    planned = await ra.database.write(lambda db: _reserved(db, ra))
    der = await ra.authority.certify(planned)
    assert ra.authority.issuer_of(der).common_name == THEIRS
    assert 365 * DAY - 2 < planned.not_after_at - ra.now() < 366 * DAY
    left = await ra.database.write(lambda db: _reserved(db, ra))
    await ra.database.write(lambda db: ca.store.store_issued(db, planned.serial, der, ra.now()))
    assert await issuance.recover(ra) == 0
    assert ca.store.find_by_serial(look(ra.database), left.serial) is None
    kept = ca.store.find_by_serial(look(ra.database), planned.serial)
    assert kept is not None
    assert (kept.status, kept.profile) == ("issued", "client-operator")
