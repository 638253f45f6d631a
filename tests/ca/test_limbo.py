"""The cases of x509-limbo (a corpus of hostile certificates, kept outside this repository) against `judge`.

Most of its leaves are servers' and carry serverAuth, so `judge` is asked for that purpose here. Each case
that must fail has to end in a rejection; those that do not are listed with the reason, and no others pass.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from ca.anchors import TrustAnchors
from ca.errors import ConfigError
from ca.revocation import RevocationStatus
from ca.trust import CertificateState, Presentation, Rejection, VerifiedPeer, judge

LIMBO = Path(os.environ.get("SEKISHO_LIMBO") or Path(__file__).parents[3] / "shared" / "data" / "limbo.json")

pytestmark = [
    pytest.mark.skipif(not LIMBO.exists(), reason="SEKISHO_LIMBO names no limbo.json of C2SP/x509-limbo"),
    pytest.mark.filterwarnings("ignore:Parsed a serial number"),
]

# PARTIAL_CHAIN and NO_CHECK_TIME, as the listener sets them: our anchors are issuing CAs, our clock decides.
_FLAGS = 0x80000 | 0x200000

# Prefixes of cases that ought to fail elsewhere and pass here.
NOT_OURS: Mapping[str, str] = {
    "crl::": "revocation is looked up in our own index, not in lists",
    "webpki::cn::": "a client is identified by its fingerprint; its names are compared with nothing",
    "webpki::san::": "as above",
    "rfc5280::san::noncritical-with-empty-subject": "as above",
    "rfc5280::san::underscore-dns": "as above",
    "rfc5280::san::ip-in-dns": "as above",
    "webpki::eku::": "rules of the WebPKI about servers and their roots",
    "webpki::aki::root-": "what a root says of its own issuer decides nothing for an explicit anchor",
    "rfc5280::aki::": "key identifiers may be missing; the signature decides",
    "rfc5280::ski::root-missing-ski": "as above",
    "webpki::forbidden-rsa-not-divisible-by-8-in-root": "2049 bits are enough bits",
    "webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf": "as above",
}

# Cases that ought to pass and are refused, besides chains: our issuers sign leaves directly.
STRICTER: Mapping[str, str] = {
    "rfc5280::eku::ee-without-eku": "no extended key usage is no permission (V32)",
    "rfc5280::no-keyusage": "Chromium on Windows wants digitalSignature, and our profile says it",
    "rfc5280::ca-as-leaf": "a CA certificate is no client certificate (V32)",
}


def _cases() -> list[Any]:
    if not LIMBO.exists():
        return []
    return [pytest.param(c, id=c["id"]) for c in json.loads(LIMBO.read_text())["testcases"]]


@pytest.mark.parametrize("case", _cases())
def test_limbo(case: dict[str, Any]) -> None:
    """A case that must fail is rejected, with exactly one state; one that must pass does, or says why not."""
    verdict = _verdict(case)
    if isinstance(verdict, VerifiedPeer):
        listed = any(case["id"].startswith(prefix) for prefix in NOT_OURS)
        assert case["expected_result"] == "SUCCESS" or listed, case["id"]
    elif case["expected_result"] == "SUCCESS" and isinstance(verdict, Rejection):
        chained = verdict.state is CertificateState.UNKNOWN_ISSUER
        assert chained or case["id"] in STRICTER, (case["id"], verdict.state)


def test_enough_of_limbo_passes() -> None:
    """The twin: the good cases whose leaf an anchor signed are verified, so refusal is not the rule."""
    verdicts = [_verdict(c.values[0]) for c in _cases()]
    assert sum(isinstance(v, VerifiedPeer) for v in verdicts) >= 12


def test_clients_leaves_are_judged_for_clients() -> None:
    """Asked for clientAuth, as the gate asks, no server's certificate of the corpus gets through."""
    for param in _cases():
        case = param.values[0]
        if case["id"] != "rfc5280::eku::ee-wrong-eku":
            assert not isinstance(_verdict(case, ExtendedKeyUsageOID.CLIENT_AUTH), VerifiedPeer), case["id"]


def _verdict(
    case: dict[str, Any], purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH
) -> VerifiedPeer | Rejection | ConfigError:
    moment = case["validation_time"] or "2025-06-01T00:00:00+00:00"
    leaf = _der(case["peer_certificate"])
    try:
        certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in case["trusted_certs"]]
        anchors = TrustAnchors.of(certificates)
    except (ConfigError, ValueError) as error:
        return ConfigError(str(error))
    others = tuple(_der(pem) for pem in case["untrusted_intermediates"])
    presentation = Presentation(leaf, others, _openssl(anchors, leaf), verified=True)
    at = int(datetime.fromisoformat(moment).timestamp())
    return judge(presentation, anchors, lambda _: RevocationStatus.GOOD, at, purpose)


def _openssl(anchors: TrustAnchors, leaf: bytes) -> tuple[tuple[int, int], ...]:
    """What the handshake would have recorded; bytes that OpenSSL cannot read never get that far."""
    store = crypto.X509Store()
    store.set_flags(_FLAGS)
    for issuer in anchors.issuers:
        store.add_cert(crypto.X509.from_cryptography(issuer))
    try:
        crypto.X509StoreContext(
            store, crypto.load_certificate(crypto.FILETYPE_ASN1, leaf)
        ).verify_certificate()
    except crypto.X509StoreContextError as error:
        return ((error.errors[0], error.errors[1]),)
    except crypto.Error:
        return ((1, 0),)
    return ()


def _der(pem: str) -> bytes:
    return base64.b64decode("".join(pem.split("-----")[2].split()))
