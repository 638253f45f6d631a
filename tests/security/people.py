"""People with certificates, for tests of what they may not do."""

from __future__ import annotations

from dataclasses import dataclass

import ca.store
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance, pickup
from tests.datadirs import admit, letter_of
from tests.looking import look


@dataclass(frozen=True)
class Enrolled:
    """Somebody who picked up a certificate and has not logged in yet."""

    user_id: str
    request_id: str
    login_password: str
    fingerprint: str
    serial: str
    p12: bytes


async def enrolled(ra: RegistrationAuthority, user_id: str = "K12345678") -> Enrolled:
    """From the admission to the file, as a person goes."""
    admission = await admit(ra, user_id)
    password = (await letter_of(ra, "pickup")).value("証明書発行用パスワード")
    request = await pickup.authenticate(ra, user_id, password, address="198.51.100.1")
    await issuance.submit(ra, request.request_id, actor=user_id)
    issued = await issuance.complete(ra, request.request_id)
    token = await issuance.prepare_download(ra, request.request_id, "p12", "standard", actor=user_id)
    got = await issuance.download(ra, token, request.request_id, actor=user_id)
    record = ca.store.find_by_serial(look(ra.database), issued.serial or "")
    assert record is not None
    assert record.fingerprint is not None
    login_password = (await letter_of(ra, "user_id")).value("パスワード")
    return Enrolled(
        user_id, admission.request_id, login_password, record.fingerprint, record.serial, got.content
    )
