"""An operator of each role, and a second approver: each with a certificate to import and a passkey of the
stand-in's."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ca.files import read_file, write_private
from ca.storage import Transaction
from enroll.operators import actors, credentials
from enroll.operators import store as operators
from enroll.operators.roles import LABELS, Role
from enroll.operators.store import Operator, Passkey
from gateway.demo.people import P12_PASSWORD
from gateway.demo.standin import LABEL, StandIn, public_key
from gateway.serving.deployment import Deployment

#: What the demo's issuing CA for operators is called.
CA = "CORPORATE-PENSION BUSINESS SERVICE OPERATORS CA"
#: Where their files are.
FOLDER = "demo-operators"
#: What stands in for their authenticators.
SEED = "demo-passkeys.sealed"
_PURPOSE = "demo stand-in"
# What each types as a name, and is called.
_NAMES = {
    "madoguchi 窓口 三子": Role.DESK,
    "touroku 登録 四郎": Role.REGISTRAR,
    "shounin 承認 五子": Role.APPROVER,
    # Of what an approver proposes another one decides.
    "kettei 決定 八郎": Role.APPROVER,
    "ninshou 認証 六郎": Role.CA_OFFICER,
    "kansa 監査 七子": Role.AUDITOR,
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
    ra, stand_in = deployment.ra, StandIn(secrets.token_bytes(32))
    found = []
    for called, role in _NAMES.items():
        name, _, display = called.partition(" ")
        at = ra.now()
        new = Operator(
            0, name, display, "person", (role,), f"{name}@example.jp", "", secrets.token_hex(16), at, "demo"
        )
        credential = stand_in.another()
        key = public_key(stand_in.key_of(credential))

        def add(db: Transaction, new: Operator = new, made: tuple[str, bytes] = (credential, key)) -> None:
            added = operators.add(db, new)
            assert added is not None
            operators.add_passkey(db, Passkey(made[0], added.number, made[1], 0, LABEL, new.added_at))

        await ra.database.write(add)
        host = await ra.database.read(lambda db: actors.of_account(db, "demo", at, host=True, sandbox=True))  # noqa: B023
        issued = await credentials.issue(ra, host, name, P12_PASSWORD, kinds=("ec-p256",))  # made at once
        file = deployment.data / FOLDER / f"{name}.p12"
        file.parent.mkdir(exist_ok=True)
        write_private(file, issued.p12)
        found.append(
            DemoOperator(
                name, role.value, f"{display}, {LABELS[role][1]}", f"{FOLDER}/{file.name}", P12_PASSWORD
            )
        )
    write_private(deployment.data / SEED, ra.vault.seal(_PURPOSE, stand_in.seed))
    return tuple(found)


def has_stand_in(deployment: Deployment) -> bool:
    """Whether there are operators: not in a demo that was made before there were any."""
    return (deployment.data / SEED).exists()


def stand_in_of(deployment: Deployment) -> StandIn:
    """What stands in for their authenticators."""
    sealed = read_file(deployment.data / SEED, "demo's passkeys")
    return StandIn(deployment.ra.vault.open(_PURPOSE, sealed))
