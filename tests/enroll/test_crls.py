"""Revocation lists: complete, fresh and numbered."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import ca.store
from ca.profiles import CRL_LIFETIME
from enroll.crls import Crls
from enroll.transitions import end_certificate
from tests.enroll.test_flow import picked_up
from tests.offices import admit, clock_of, open_office


async def test_a_revocation_makes_a_new_list(tmp_path):
    """RFC 5280 section 5: a list names what is revoked, and the next one has a higher number."""
    async with open_office(tmp_path) as office:
        await admit(office)
        _, request_id = await picked_up(office)
        serial = ca.store.find_by_order(office.database.read(), request_id).serial
        crls, issuer = Crls(office), office.authority.current
        first = x509.load_der_x509_crl(await crls.latest(issuer))
        assert len(first) == 0
        assert await crls.latest(issuer) == first.public_bytes(Encoding.DER)
        at = office.now()
        await office.database.write(lambda db: end_certificate(db, office, serial, 1, at, actor="test"))
        second = x509.load_der_x509_crl(await crls.latest(issuer))
        revoked = second.get_revoked_certificate_by_serial_number(int(serial, 16))
        assert (
            revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason.value == "keyCompromise"
        )
        assert _number(second) == _number(first) + 1
        assert second.is_signature_valid(issuer.certificate.public_key())


async def test_a_list_is_renewed_before_it_ends(tmp_path):
    """Nobody gets a list whose life is more than half over."""
    async with open_office(tmp_path) as office:
        crls, issuer = Crls(office), office.authority.current
        first = x509.load_der_x509_crl(await crls.latest(issuer))
        clock_of(office).advance(seconds=CRL_LIFETIME // 2)
        second = x509.load_der_x509_crl(await crls.latest(issuer))
        assert _number(second) == _number(first) + 1


def _number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
