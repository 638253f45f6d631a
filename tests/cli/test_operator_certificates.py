"""``operator certificate``: a file for an operator's PC, by the CA for operators."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from enroll.operators import store as operators
from enroll.operators.roles import Kind, Role
from enroll.operators.store import Operator
from gateway.cli import approvers
from gateway.serving.deployment import opened_deployment
from gateway.serving.figures import Figures
from gateway.web.examined import Finding
from tests.cli.conftest import Shell
from tests.datadirs import PASSPHRASE
from tests.issued import ends_at


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


@pytest.mark.parametrize(
    ("seconds", "kind", "state", "hint"),
    [
        (29 * 86_400, "service", "notice", "sekisho operator certificate system --out system.p12"),
        (-60, "service", "bad", "sekisho operator certificate system --out system.p12"),
        (-60, "person", "bad", "sekisho operator code system"),
        (31 * 86_400, "service", "", ""),
    ],
)
def test_doctor_tells_of_an_end(
    tmp_path: Path, ready: Path, seconds: int, kind: Kind, state: str, hint: str
) -> None:
    """30 days before the end of an operator's last certificate, and worse after it, with what to type; the
    figure counts the same. Nothing earlier."""

    async def told() -> tuple[list[Finding], list[float]]:
        async with opened_deployment(tmp_path / "data", PASSPHRASE) as deployment:
            ra = deployment.ra
            new = Operator(0, "system", "連携", kind, (Role.REGISTRAR,), "", "", "handle", ra.now(), "test")
            system = await ra.database.write(lambda db: operators.add(db, new))
            assert system is not None
            await ends_at(ra, system, ra.now() + seconds, "system")
            samples = await Figures().samples(deployment, {})
            count = [value for name, _, value in samples if name == "sekisho_operators_ending"]
            return approvers.found(deployment), count

    shutil.copytree(ready, tmp_path / "data")
    found, count = asyncio.run(told())
    ending = [each for each in found if each.check == "operator certificate"]
    assert [each.state for each in ending] == [state] * bool(state)
    assert count == [len(ending)]
    for each in ending:
        verb = "ends" if seconds > 0 else "has ended"
        assert each.found.startswith(f"the last of system ({kind}) {verb} on 20")
        assert each.hint.endswith(f": {hint}")
