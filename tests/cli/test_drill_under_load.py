"""A backup and a drill of a gateway that is at work: nothing of what was answered meanwhile is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.bench.acme_load import Target
from tests.soak.drilling import Load, drilled, lost


@pytest.mark.slow
async def test_nothing_goes_backwards_while_clients_enroll(tmp_path: Path) -> None:
    """Programs enroll, renew and revoke, a person picks up, somebody reads the lists; the backup that is made
    then becomes, with the journal, the register as it is at the end."""
    told = await drilled(tmp_path, seconds=0, clients=2, people=1)
    assert told["broken"] == []
    assert min(told["counts"].values()) >= 1, told["counts"]


def test_what_is_lost_is_named() -> None:
    """The twin: a certificate that is another, one that is good again, one that was begun."""
    load = Load(Target("", "", 0, "", ()), "", "", asyncio.Event(), {"a": "1", "b": "2"}, {"b"})
    assert lost(load, {"a": ("1", "issued"), "b": ("2", "revoked")}) == []
    assert lost(load, {"a": ("9", "issued"), "b": ("2", "issued"), "c": (None, "reserved")}) == [
        "1 certificates that somebody has are not there",
        "1 that were revoked are good",
        "1 were begun and never ended",
    ]
