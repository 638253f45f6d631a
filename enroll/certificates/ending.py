"""Which certificates an operator means, and what is asked for when they are to end: one, or a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ca.store
from ca.revocation import operator_reason, reason_code
from ca.storage import Transaction
from ca.store import CertificateRecord
from enroll import identifiers
from enroll.operators.actors import Actor, asked_again, require
from enroll.operators.roles import Act, Verdict
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal, check_line
from enroll.requests.transitions import hold_certificate


def named(db: Transaction, name: str) -> CertificateRecord | None:
    """The certificate that somebody names by its serial, fingerprint or common name: of that the newest."""
    # Windows shows serials and fingerprints with spaces or colons and in capitals.
    tidy = identifiers.typed(name).replace(":", "").lower()
    found = ca.store.find_by_serial(db, tidy) or ca.store.find_by_serial(db, tidy.lstrip("0"))
    found = found or ca.store.find_by_fingerprint(db, tidy)
    if found is not None:
        return found
    known = ca.store.find_by_common_name(db, name) or ca.store.find_by_common_name(db, tidy.upper())
    return known[-1] if known else None


@dataclass(frozen=True)
class Marked:
    """The certificates that a list names, each once, and the lines of it that name none."""

    records: Sequence[CertificateRecord]
    unknown: Sequence[str]

    @property
    def serials(self) -> list[str]:
        return [each.serial for each in self.records]


def marked(db: Transaction, lines: Iterable[str]) -> Marked:
    """What a list of names means, a name a line; empty lines are none."""
    found, unknown = dict[str, CertificateRecord](), list[str]()
    for line in filter(None, map(str.strip, lines)):
        record = named(db, line)
        if record is None:
            unknown.append(line)
        else:
            found.setdefault(record.serial, record)
    return Marked(list(found.values()), unknown)


def of_one(serial: str, reason: str) -> dict[str, Any]:
    """What `asking.ask` is asked for to revoke one. ``reason``: its name. `Unacceptable` for no
    operator's."""
    return {"serial": serial, "reason": operator_reason(reason_code(reason))}


def of_many(serials: Sequence[str], reason: str) -> dict[str, Any]:
    """The same of a list, for which a job is begun. `Unacceptable` as above."""
    return {"serials": list(dict.fromkeys(serials)), "reason": operator_reason(reason_code(reason))}


async def hold(ra: RegistrationAuthority, actor: Actor, serial: str, reason: str = "") -> None:
    """利用停止 of one certificate: stops it until somebody decides.

    Refusal: "not_permitted", "not_found", "conflict" for one that is not good.
    """
    check_line("reason", reason)

    def work(db: Transaction) -> None:
        at = ra.now()
        by = asked_again(db, actor, at)
        require(by, Act.SUSPEND, Verdict.DO)
        found = ca.store.find_by_serial(db, serial)
        if found is None:
            raise Refusal("not_found", field="serial", detail=f"there is no certificate {serial} here")
        if not hold_certificate(db, serial, at, actor=by.name, reason=reason):
            said = f"certificate {serial} is {found.status}; only one that can be held is changed by this"
            raise Refusal("conflict", field="serial", detail=said)

    await ra.database.write(work)
