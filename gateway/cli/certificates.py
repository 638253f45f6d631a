"""Certificates: looking them up and ending them."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ca.authority import Issuer
from ca.certificates import to_pem
from ca.revocation import REASONS
from ca.store import CertificateRecord
from enroll import crls, generations, store
from enroll.acme.store import credentials_alive
from enroll.certificates import ending
from enroll.operators import registers as noting
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from gateway.cli import registers
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import OutputFile, acting, actor, write
from gateway.cli.frame import ASKS, READS, Answer, answer, deployment_command, detail, listing
from gateway.cli.people import known_user, of_user
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_CERT = GROUPS["cert"]
#: Reasons that operators give.
OFFERED = [row.name for row in REASONS.values() if row.by_operator]
# Its account has a key of its own, which may be in the same hands.
_MAY_RENEW = "A program may still get another one by a credential. If it must not: sekisho eab withdraw {}"
_STATES = click.Choice(["reserved", "issued", "expired", "held", "revoked"])


@deployment_command(_CERT, "list", Act.SEARCH, READS)
@of_user()
@registers.narrowed
@click.option(
    "--status", type=click.Choice(["reserved", "issued", "expired", "held", "revoked"]), default=None
)
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=200, show_default=True)
async def _list(
    deployment: Deployment, user_id: str | None, status: str | None, limit: int, **given: Any
) -> Answer:
    """List certificates, newest first."""
    ra = deployment.ra
    if user_id is not None:
        known_user(ra, user_id)
        await noting.note_reading(ra, acting(), Act.SEARCH, "certificates", [user_id])
    found = registers.certificates(ra, registers.wanted(user_id=user_id, state=status, **given))
    columns = {
        "serial": "Serial",
        "common_name": "Common name",
        "state": "State",
        "not_before_at": "From",
        "not_after_at": "Until",
        "request_id": "Request ID",
    }
    return listing("certificates", islice(found, limit), columns)


@deployment_command(_CERT, "show", Act.SEARCH, READS)
@click.argument("name", metavar="SERIAL|COMMON_NAME|FINGERPRINT")
@click.option("--pem", is_flag=True, help="Print the certificate itself.")
async def _show(deployment: Deployment, name: str, pem: bool) -> Answer:
    """Show a certificate: by serial, SHA-256 fingerprint, or common name (the newest of that name)."""
    ra, found = deployment.ra, known_certificate(deployment.ra, name)
    its = ra.database.read_now(lambda db: store.enrollment_of(db, found.serial))
    if its is not None:
        await noting.note_reading(ra, acting(), Act.SEARCH, "certificates", [its.user_id])
    body = to_pem(found.der).decode() if found.der is not None else ""
    record = record_of(found, deployment.ra)
    if pem and body:
        return answer({"certificate": record | {"pem": body}}, body.rstrip())
    return detail("certificate", record | {"pem": body} if pem else record)


@deployment_command(_CERT, "crl", Act.STANDING, READS)
@click.argument("file", type=OutputFile())
@click.option("--issuer", "name", default=None, metavar="NAME|ID", help="Default: the one that issues.")
async def _crl(deployment: Deployment, file: Path, name: str | None) -> Answer:
    """Write an issuing CA's revocation list (DER) to a file, for servers that cannot fetch it.

    It is the list that serve publishes; a newer one is made first if something changed since.
    """
    issuer = _issuer(deployment.ra, name)
    listed, der = await crls.current(deployment.ra, issuer)
    write(file, der, public=True)
    at, by = deployment.ra.now(), actor()
    await deployment.ra.database.write(
        lambda db: store.audit(db, at, by, "crl.written", issuer.issuer_id, file=str(file))
    )
    return detail(
        "crl",
        {
            "file": str(file),
            "issuer": issuer.common_name,
            "number": listed.number,
            "revoked": listed.entries,
            "this_update_at": listed.this_update_at,
            "next_update_at": listed.next_update_at,
        },
    )


@deployment_command(_CERT, "revoke", Act.REVOKE, ASKS)
@click.argument("name", metavar="SERIAL|COMMON_NAME|FINGERPRINT")
@click.option("--reason", type=click.Choice(OFFERED), default="unspecified", show_default=True)
async def _revoke(deployment: Deployment, name: str, reason: str) -> Answer:
    """Revoke a certificate, for good: open connections with it end within a second."""
    ra = deployment.ra
    found = known_certificate(ra, name)
    done = await asked(deployment, "certificate.revoke", ending.of_one(found.serial, reason))
    if isinstance(done, Proposed):
        return proposed(done)
    now = known_certificate(ra, found.serial)
    alive = await ra.database.read(lambda db: credentials_alive(db, found.subject_cn))
    record = record_of(now, ra) | {"credentials": alive}
    return detail("certificate", record, *map(_MAY_RENEW.format, alive))


def known_certificate(ra: RegistrationAuthority, name: str) -> CertificateRecord:
    """The certificate that an operator names, or Refusal("not_found")."""
    found = ra.database.read_now(lambda db: ending.named(db, name))
    if found is None:
        raise unknown(name)
    return found


def unknown(name: str) -> Refusal:
    """Of a name that no certificate has."""
    return Refusal("not_found", field="serial", detail=f"there is no certificate {name[:80]!r} here")


def _issuer(ra: RegistrationAuthority, name: str | None) -> Issuer:
    """The issuing CA that an operator names; the current one for None."""
    if name is None:
        return ra.authority.current
    for issuer in ra.authority.issuers:
        if name in (issuer.common_name, issuer.issuer_id):
            return issuer
    raise Refusal("not_found", field="issuer")


def record_of(record: CertificateRecord, ra: RegistrationAuthority) -> dict[str, Any]:
    """A certificate for people and programs, as JSON has it."""
    gone = ra.database.read_now(generations.distrusted)
    return registers.certificate_record(asdict(record), ra.now(), gone)
