"""A service account: what another system has to ask the API by, as files, from this machine alone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from ca.files import write_private
from enroll.operators import actors, credentials
from enroll.operators import store as operators
from enroll.operators.roles import Role
from enroll.operators.store import Operator
from gateway.demo.operators import FOLDER
from gateway.demo.people import P12_PASSWORD
from gateway.serving.deployment import Deployment

_NAME, _DISPLAY, _ROLE = "jinji", "人事システム (HR system)", Role.REGISTRAR
# Where the demo listens, and nobody else does.
_NETWORKS = ("127.0.0.0/8", "::1")


@dataclass(frozen=True)
class DemoService:
    """What a script needs to be one. ``pem``: certificate, chain and key, as curl takes them."""

    name: str
    role: str
    display: str
    p12: str
    p12_password: str
    pem: str


async def admit(deployment: Deployment) -> tuple[DemoService, ...]:
    """Makes it, with its files."""
    ra = deployment.ra
    at = ra.now()
    new = Operator(
        *(0, _NAME, _DISPLAY, "service", (_ROLE,), "", "", secrets.token_hex(16), at, "demo"),
        networks=_NETWORKS,
    )
    await ra.database.write(lambda db: operators.add(db, new))
    host = await ra.database.read(lambda db: actors.of_account(db, "demo", at, host=True, sandbox=True))
    issued = await credentials.issue(ra, host, _NAME, P12_PASSWORD, kinds=("ec-p256",))
    folder = deployment.data / FOLDER
    folder.mkdir(exist_ok=True)
    p12, pem = folder / f"{_NAME}.p12", folder / f"{_NAME}.pem"
    write_private(p12, issued.p12)
    write_private(pem, pem_of(issued.p12, P12_PASSWORD))
    files = f"{FOLDER}/{p12.name}", P12_PASSWORD, f"{FOLDER}/{pem.name}"
    return (DemoService(_NAME, _ROLE.value, _DISPLAY, *files),)


def pem_of(p12: bytes, password: str) -> bytes:
    """The same as PEM: the certificate, its chain, and the key."""
    bundle = pkcs12.load_pkcs12(p12, password.encode())
    assert bundle.key is not None
    assert bundle.cert is not None
    chain = [bundle.cert, *bundle.additional_certs]
    found = b"".join(each.certificate.public_bytes(Encoding.PEM) for each in chain)
    return found + bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
