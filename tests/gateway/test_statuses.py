"""The status of a certificate on the hot path: as fresh as the last commit, and no statement without one."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest

import ca.store
from ca.revocation import RevocationStatus
from ca.sqlite import Database
from ca.storage import StorageClosed, Work
from gateway.serving.statuses import Statuses
from tests.datadirs import SCHEMAS, admit, open_office
from tests.enroll.test_flow import picked_up

T = TypeVar("T")


class Counted(Database):
    """Counts the reads."""

    reads = 0

    def read_now(self, work: Work[T]) -> T:
        self.reads += 1
        return super().read_now(work)


async def test_a_status_is_read_once_and_again_after_a_commit(tmp_path: Path) -> None:
    """Whoever commits, this process or another, the next request is judged by it; until then none is read."""
    async with open_office(tmp_path) as ra:
        request_id = (await admit(ra)).request_id
        await picked_up(ra, "K12345678")
        record = ra.database.read_now(lambda db: ca.store.find_by_order(db, request_id))
        assert record is not None
        assert record.fingerprint is not None
        database = Counted(ra.database.folder / "sekisho.db", SCHEMAS)
        statuses = Statuses(database)
        try:
            assert [statuses(record.fingerprint) for _ in range(50)] == [RevocationStatus.GOOD] * 50
            assert [statuses("00") for _ in range(50)] == [RevocationStatus.UNKNOWN] * 50
            assert database.reads == 2
            await ra.database.write(lambda db: ca.store.hold(db, record.serial, ra.now()))
            assert statuses(record.fingerprint) is RevocationStatus.HELD
            database.write_now(lambda db: ca.store.revoke(db, record.serial, 1, ra.now()))
            assert statuses(record.fingerprint) is RevocationStatus.REVOKED
            assert database.reads == 4
        finally:
            database.close()
        with pytest.raises(StorageClosed):
            statuses(record.fingerprint)
