"""``operator certificate``: a file for an operator's PC, by the CA for operators."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from tests.cli.conftest import Shell


def test_a_certificate_for_an_operator(sekisho: Shell, tmp_path: Path) -> None:
    """Without a CA for operators it says what to type; then a file under a password shown once, in the
    register and in the trail, revoked like any other; for nobody who is none."""
    file = tmp_path / "suzuki.p12"
    roles = [word for role in ("ca-officer", "registrar", "auditor") for word in ("--role", role)]
    account = pwd.getpwuid(os.getuid()).pw_name
    assert sekisho("operator", "add", "suzuki", *roles, "--account", account).code == 0
    refused = sekisho("operator", "certificate", "suzuki", "--out", str(file))
    assert "sekisho ca add NAME --for operators" in str(refused.error)
    assert sekisho("ca", "add", "Operators CA", "--for", "operators").code == 0
    ran = sekisho("operator", "certificate", "suzuki", "--out", str(file))
    assert ran.code == 0, ran.out
    made = ran.value["certificate"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = pkcs12.load_pkcs12(file.read_bytes(), made["password"].encode())
    assert found.cert is not None
    issuer = found.cert.certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert (issuer[0].value, len(found.additional_certs)) == ("Operators CA", 1)
    shown = sekisho("cert", "show", made["serial"]).value["certificate"]
    assert (shown["profile"], shown["state"]) == ("client-operator", "issued")
    assert sekisho("operator", "show", "suzuki").value["operator"]["certificates"] == [made["serial"]]
    assert sekisho("cert", "revoke", made["serial"], "--reason", "keyCompromise").code == 0
    actions = {each["action"] for each in sekisho("audit", "show").value["audit"]}
    assert {"certificate.issued", "certificate.revoked"} <= actions
    assert sekisho("operator", "certificate", "nobody", "--out", str(file)).error["code"] == "not_found"
