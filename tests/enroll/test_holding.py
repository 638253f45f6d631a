"""利用停止: what is held is no good until it is released, and a report that is turned down takes back its own
holds."""

import ca.store
from ca.revocation import RevocationStatus
from enroll.people import applications
from enroll.requests.transitions import hold_certificate, release_certificate
from tests.datadirs import admit, clock_of, open_office
from tests.enroll.test_flow import picked_up
from tests.looking import look


async def _held(tmp_path, before):
    """Whether a certificate is held after a report of theft was turned down. ``before``: held by an
    operator then."""
    async with open_office(tmp_path) as ra:
        await admit(ra)
        _, request_id = await picked_up(ra)
        found = ca.store.find_by_order(look(ra.database), request_id)
        if before:
            await ra.database.write(lambda db: hold_certificate(db, found.serial, ra.now(), actor="desk"))
            clock_of(ra).advance(seconds=60)
        number = (
            await applications.apply_reissue(
                ra, "K12345678", "lost_or_stolen", channel="online", actor="K12345678"
            )
        ).number
        standing = lambda: ca.store.certificate_status(look(ra.database), found.fingerprint)  # noqa: E731
        assert standing() is RevocationStatus.HELD
        await applications.reject(ra, number, actor="desk", note="found")
        after = standing()
        await ra.database.write(lambda db: release_certificate(db, found.serial, ra.now(), actor="desk"))
        assert standing() is RevocationStatus.GOOD
        return after


async def test_a_report_that_is_turned_down_takes_back_what_it_stopped(tmp_path):
    """Good again, as before the report."""
    assert await _held(tmp_path, before=False) is RevocationStatus.GOOD


async def test_and_nothing_that_was_stopped_before(tmp_path):
    """The twin: an operator's hold has another reason, and stays."""
    assert await _held(tmp_path, before=True) is RevocationStatus.HELD
