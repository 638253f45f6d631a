"""An operator of each role, with a certificate to import and a passkey that the stand-in signs with."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ca.files import read_file, write_private
from ca.storage import Transaction
from enroll.operators import actors, credentials
from enroll.operators import store as operators
from enroll.operators.roles import LABELS, Role
from enroll.operators.store import Operator, Passkey
from gateway.demo.people import P12_PASSWORD
from gateway.demo.standin import LABEL, b64, public_key
from gateway.serving.deployment import Deployment

#: What the demo's issuing CA for operators is called.
CA = "CORPORATE-PENSION BUSINESS SERVICE OPERATORS CA"
#: Where their files are.
FOLDER = "demo-operators"
_KEYS, _PURPOSE = "demo-passkeys.sealed", "demo stand-in"
# What each types as a name, and is called.
_NAMES = {
    Role.DESK: "madoguchi 窓口 三子",
    Role.REGISTRAR: "touroku 登録 四郎",
    Role.APPROVER: "shounin 承認 五子",
    Role.CA_OFFICER: "ninshou 認証 六郎",
    Role.AUDITOR: "kansa 監査 七子",
}


@dataclass(frozen=True)
class DemoOperator:
    """What a script needs to be one."""

    name: str
    role: str
    display: str
    p12: str
    p12_password: str


async def admit(deployment: Deployment) -> tuple[DemoOperator, ...]:
    """Makes them, with their files and the stand-in's keys."""
    ra, keys = deployment.ra, dict[str, str]()
    found = []
    for role, called in _NAMES.items():
        name, _, display = called.partition(" ")
        at = ra.now()
        new = Operator(
            0, name, display, "person", (role,), f"{name}@example.jp", "", secrets.token_hex(16), at, "demo"
        )
        key, credential = ec.generate_private_key(ec.SECP256R1()), b64(secrets.token_bytes(16))

        def add(
            db: Transaction, new: Operator = new, made: tuple[str, bytes] = (credential, public_key(key))
        ) -> None:
            added = operators.add(db, new)
            assert added is not None
            operators.add_passkey(db, Passkey(made[0], added.number, made[1], 0, LABEL, new.added_at))

        await ra.database.write(add)
        host = await ra.database.read(lambda db: actors.of_account(db, "demo", at, host=True, sandbox=True))  # noqa: B023
        issued = await credentials.issue(ra, host, name, P12_PASSWORD, kinds=("ec-p256",))  # made at once
        file = deployment.data / FOLDER / f"{name}.p12"
        file.parent.mkdir(exist_ok=True)
        write_private(file, issued.p12)
        keys[credential] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        found.append(
            DemoOperator(
                name, role.value, f"{display}, {LABELS[role][1]}", str(file.absolute()), P12_PASSWORD
            )
        )
    write_private(deployment.data / _KEYS, ra.vault.seal(_PURPOSE, json.dumps(keys).encode()))
    return tuple(found)


def stand_in_keys(deployment: Deployment) -> Mapping[str, ec.EllipticCurvePrivateKey]:
    """The keys of the passkeys that the stand-in has, by their identifiers."""
    sealed, found = read_file(deployment.data / _KEYS, "demo's passkeys"), {}
    for credential, pem in json.loads(deployment.ra.vault.open(_PURPOSE, sealed)).items():
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        found[credential] = key
    return found
