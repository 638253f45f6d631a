"""Reasons and lists."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509

from ca.authority import Authority
from ca.errors import Unacceptable
from ca.revocation import REASONS, RevokedEntry, client_reason, operator_reason, reason_code
from tests.ca.conftest import AT, DAY


@pytest.mark.parametrize("code", [None, 0, 1, 3, 4, 5])
def test_reasons_of_clients(code: int | None) -> None:
    """RFC 8555 section 7.6: a client may say why; saying nothing is unspecified."""
    assert client_reason(code) == (code or 0)


@pytest.mark.parametrize("code", [2, 6, 7, 8, 9, 10, 11, -1, True, 1.0, "1"])
def test_reasons_that_are_not_the_clients(code: int) -> None:
    """Disallowed and unknown reasons are refused by one code, which becomes badRevocationReason."""
    with pytest.raises(Unacceptable) as caught:
        client_reason(code)
    assert caught.value.code == "bad-reason"


def test_an_operator_may_withdraw_a_privilege() -> None:
    """9 is ours to say; 6 (hold) is not offered since nothing lifts a hold here."""
    assert operator_reason(9) == 9
    with pytest.raises(Unacceptable):
        operator_reason(6)
    assert reason_code("keyCompromise") == 1
    with pytest.raises(Unacceptable, match="one of: unspecified, keyCompromise"):
        reason_code("keycompromise?")
    assert 7 not in REASONS


def test_a_crl_is_read_by_openssl(authority: Authority) -> None:
    """Signed by the issuer, numbered, with reasons, and unspecified left out (RFC 5280 section 5.3.1)."""
    issuer = authority.current
    entries = [RevokedEntry("0a" * 16, AT - 5, 0), RevokedEntry("0b" * 16, AT - 4, 1)]
    der = authority.crl(issuer.issuer_id, entries, 7, AT, AT + 7 * DAY)
    crl = x509.load_der_x509_crl(der)
    assert crl.is_signature_valid(issuer.certificate.public_key())  # type: ignore[arg-type]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    shown = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-noout", "-text"], input=der, capture_output=True, check=True
    ).stdout.decode()
    assert shown.count("X509v3 CRL Reason Code") == 1
    assert "Key Compromise" in shown
    assert "0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A" in shown.upper()


def test_an_empty_crl_is_a_crl(authority: Authority) -> None:
    """An issuer that has revoked nothing still says so."""
    der = authority.crl(authority.current.issuer_id, [], 1, AT, AT + DAY)
    assert list(x509.load_der_x509_crl(der)) == []
