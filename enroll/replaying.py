"""What the journal tells is done again, to a database that was put back from a copy and has forgotten it.

Each kind of note has its handler, in a table; the order is the journal's, and what is done already is left as
it is. Nothing here asks anybody or signs anything: what a note does not hold is lost, and told of.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ca.store
import enroll.acme.store
from ca.generations import store as generations
from ca.generations.states import Row
from ca.published import store as published
from ca.published.store import RevocationList
from ca.storage import Note, Transaction
from enroll import store
from enroll.hooks import store as hooks
from enroll.operators import store as operators
from enroll.people.passwords import nobodys
from enroll.ra import RegistrationAuthority
from enroll.requests import issuance
from enroll.requests.enrollment import CESSATION, Enrollment
from enroll.requests.states import ENDED, Event, State, next_state
from enroll.requests.transitions import apply, end_certificate
from enroll.retention import erasing

ACTOR = "restore"


@dataclass
class Report:
    """What a replay has done, and what it could not bring back."""

    #: Certificates that the copy did not have: serial, whose, and what became of each.
    certificates: list[dict[str, Any]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    #: Issuing CA -> number of its last list.
    lists: dict[str, int] = field(default_factory=dict)
    #: User -> 管理番号 that was given out last.
    numbers: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    #: Who has chosen, or was given, another login password since: no old one works, and the new one is lost.
    passwords: list[str] = field(default_factory=list)
    #: The last turn of the emergency stop: number, on, reason, at.
    stop: dict[str, Any] | None = None
    #: Issuing CAs of which something changed: planned, active, retired, distrusted, put away.
    issuers: list[str] = field(default_factory=list)
    #: User IDs that the copy does not have.
    users: list[str] = field(default_factory=list)
    #: Operators whom the copy does not have: to be added again.
    operators: list[str] = field(default_factory=list)
    #: Endpoints of webhooks that are stopped: they were, or have another secret that is lost.
    endpoints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Replay:
    """One transaction in which notes are carried out. ``answered``: whether somebody may have been told of
    what they tell of; not so of the one line that a crash has left before its commit was known."""

    db: Transaction
    ra: RegistrationAuthority
    at: int
    report: Report
    answered: bool = True


Handler = Callable[[Replay, Mapping[str, Any]], None]


def carry_out(replay: Replay, note: Note) -> None:
    """Does again what one note tells of. A kind that this room does not know is another's, and left."""
    kind, facts = note
    handler = _HANDLERS.get(kind)
    if handler is not None:
        handler(replay, facts)


def _issued(replay: Replay, facts: Mapping[str, Any]) -> None:
    db, serial = replay.db, facts["serial"]
    der, known = base64.b64decode(facts["der"]), ca.store.find_by_serial(replay.db, facts["serial"])
    if known is None:
        ca.store.adopt(db, serial, der, facts["at"], facts)
        outcome = "in the register again"
    elif known.status == "reserved":
        reservation = ca.store.find_reservation(db, serial)
        assert reservation is not None
        issuance.finish(db, replay.ra, reservation, der)
        outcome = "finished"
    else:
        return
    store.audit(db, replay.at, ACTOR, "certificate.replayed", serial, request_id=facts["order_id"])
    replay.report.certificates.append(
        {
            "serial": serial,
            "common_name": facts["subject_cn"],
            "user_id": None,
            "request_id": facts["order_id"],
            "not_after_at": facts["not_after_at"],
            "outcome": outcome,
        }
    )


def _enrolled(replay: Replay, facts: Mapping[str, Any]) -> None:
    """The request that a certificate came from: with its certificate, but without a key of ours."""
    db, serial = replay.db, facts["serial"]
    listed = next((each for each in replay.report.certificates if each["serial"] == serial), None)
    if listed is not None:
        listed["user_id"] = facts["user_id"]
    if not _known(replay, facts["user_id"]):
        if end_certificate(db, replay.ra, serial, CESSATION, replay.at, actor=ACTOR) and listed is not None:
            listed["outcome"] = "revoked: nobody knows its holder any more"
        return
    before = store.enrollment(db, facts["request_id"])
    if before is not None and (before.serial == serial or before.state in ENDED):
        return
    by_program = facts["door"] == "protocol"
    made = before or Enrollment(**{name: facts[name] for name in issuance.NOTED}, state=State.ACCEPTED)
    after = replace(
        made,
        state=State.PICKED_UP if by_program else State.ISSUED,
        serial=serial,
        not_after_at=facts["not_after_at"],
        door=facts["door"],
        # Of a person's there was one key, sealed in the database that is lost.
        sealed_key=None,
        password_hash=None,
        issued_at=replay.at,
        picked_up_at=replay.at if by_program else None,
        window_ends_at=min(replay.at + replay.ra.settings.window_seconds, facts["not_after_at"] + 1),
    )
    if before is None:
        store.add_enrollment(db, after)
    else:
        store.change_enrollment(db, before, after)
    store.audit(db, replay.at, ACTOR, "enrollment.replayed", after.request_id, user=after.user_id)
    if listed is not None and not by_program:
        listed["outcome"] += ": good where it was downloaded; else sekisho request reissue"


def _revoked(replay: Replay, facts: Mapping[str, Any]) -> None:
    # What became of its request is a note of its own, with the cause.
    if ca.store.revoke(replay.db, facts["serial"], facts["reason"], facts["at"]):
        replay.report.revoked.append(facts["serial"])
        store.audit(
            replay.db, replay.at, ACTOR, "certificate.revoked", facts["serial"], reason=facts["reason"]
        )


def _held(replay: Replay, facts: Mapping[str, Any]) -> None:
    if ca.store.hold(replay.db, facts["serial"], facts["at"]):
        replay.report.held.append(facts["serial"])
        store.audit(replay.db, replay.at, ACTOR, "certificate.held", facts["serial"])


def _released(replay: Replay, facts: Mapping[str, Any]) -> None:
    if ca.store.release(replay.db, facts["serial"]):
        store.audit(replay.db, replay.at, ACTOR, "certificate.released", facts["serial"])


def _list(replay: Replay, facts: Mapping[str, Any]) -> None:
    # RFC 5280 section 5.2.3: the next one's number is above it. It told of changes that are numbered anew.
    if published.publish_list(replay.db, RevocationList(**{**facts, "change_number": -1})):
        replay.report.lists[facts["issuer_id"]] = facts["number"]


def _number(replay: Replay, facts: Mapping[str, Any]) -> None:
    if store.raise_number(replay.db, facts["user_id"], facts["number"]):
        replay.report.numbers[facts["user_id"]] = facts["number"]
    else:
        _known(replay, facts["user_id"])


def _request_ended(replay: Replay, facts: Mapping[str, Any]) -> None:
    event, found = _ENDINGS[State(facts["state"])], store.enrollment(replay.db, facts["request_id"])
    if found is None or found.state in ENDED:
        return
    if found.state is State.PROCESSING and next_state(found.state, event) is None:
        event = Event.WITHDRAW
    if next_state(found.state, event) in ENDED:
        apply(replay.db, replay.ra, found.request_id, event, replay.at, actor=ACTOR)
        replay.report.requests.append(found.request_id)


def _generation(replay: Replay, facts: Mapping[str, Any]) -> None:
    store.end_generation(replay.db, facts["user_id"], facts["at"])


def _user_disabled(replay: Replay, facts: Mapping[str, Any]) -> None:
    if _known(replay, facts["user_id"]):
        store.disable_user(replay.db, facts["user_id"], facts["at"])


def _user_enabled(replay: Replay, facts: Mapping[str, Any]) -> None:
    store.enable_user(replay.db, facts["user_id"])


def _user_erased(replay: Replay, facts: Mapping[str, Any]) -> None:
    known = store.user(replay.db, facts["user_id"])
    if known is not None and known.erased_at is None:
        erasing.erase_user(replay.db, facts["user_id"], facts["at"], actor=ACTOR)


def _organisation_disabled(replay: Replay, facts: Mapping[str, Any]) -> None:
    store.disable_organisation(replay.db, facts["policy_number"], facts["at"])


def _organisation_enabled(replay: Replay, facts: Mapping[str, Any]) -> None:
    store.enable_organisation(replay.db, facts["policy_number"])


def _password(replay: Replay, facts: Mapping[str, Any]) -> None:
    user_id = facts["user_id"]
    # Whoever was not told that his password is another one goes on with what he has.
    if replay.answered and _known(replay, user_id) and user_id not in replay.report.passwords:
        store.reset_password(replay.db, user_id, nobodys())
        store.audit(replay.db, replay.at, ACTOR, "password.replayed", user_id)
        replay.report.passwords.append(user_id)


def _credential_bound(replay: Replay, facts: Mapping[str, Any]) -> None:
    """It was used up, by an account that is lost: whoever still has it shall not use it again. Whoever was
    not told of an account asks for it again."""
    if not replay.answered:
        return
    known = enroll.acme.store.credential(replay.db, facts["kid"])
    if known is not None and known.account_id is None:
        _credential_withdrawn(replay, facts)


def _credential_withdrawn(replay: Replay, facts: Mapping[str, Any]) -> None:
    if enroll.acme.store.withdraw_credential(replay.db, facts["kid"], facts["at"]):
        replay.report.credentials.append(facts["kid"])


def _account_key(replay: Replay, facts: Mapping[str, Any]) -> None:
    enroll.acme.store.put_key(replay.db, facts["account_id"], facts["jwk"], facts["spki_sha256"])


def _account_ended(replay: Replay, facts: Mapping[str, Any]) -> None:
    if enroll.acme.store.deactivate_account(replay.db, facts["account_id"]):
        enroll.acme.store.deactivate_authorizations_of(replay.db, facts["account_id"])
        replay.report.credentials.append(facts["account_id"])


def _stop(replay: Replay, facts: Mapping[str, Any]) -> None:
    """The register knows of it; its file is the operator's to write, who has the keys (`recovery`)."""
    ca.store.note_stop(replay.db, facts["number"], facts["on"], facts["reason"], facts["at"])
    replay.report.stop = dict(facts)


def _issuing_ca(replay: Replay, facts: Mapping[str, Any]) -> None:
    row = Row(**facts)
    before = generations.rows(replay.db).get(row.issuer_id) or Row(row.issuer_id)
    if replace(before, change_number=0) != replace(row, change_number=0):
        generations.restore(replay.db, row)
        told = {name: value for name, value in facts.items() if value and name.endswith("_at")}
        store.audit(replay.db, replay.at, ACTOR, "ca.replayed", row.issuer_id, **told)
        replay.report.issuers.append(row.issuer_id)


def _operator(replay: Replay, facts: Mapping[str, Any]) -> None:
    gone, lost = facts["ended_at"] is not None, replay.report.operators
    if not operators.restore(replay.db, facts) and not gone and facts["name"] not in lost:
        lost.append(facts["name"])


def _operator_code(replay: Replay, facts: Mapping[str, Any]) -> None:
    operators.end_code(replay.db, facts["code_hash"], facts["at"])


def _operator_certificate(replay: Replay, facts: Mapping[str, Any]) -> None:
    operators.end_certificate(replay.db, facts["serial"], facts["at"])


def _operator_passkey(replay: Replay, facts: Mapping[str, Any]) -> None:
    operators.end_passkey(replay.db, facts["credential_id"], facts["at"])


def _proposal(replay: Replay, facts: Mapping[str, Any]) -> None:
    """It was decided, and what came of it that cannot be undone is told by notes of its own."""
    operators.restore_proposal(replay.db, facts)


def _break_glass(replay: Replay, facts: Mapping[str, Any]) -> None:
    operators.restore_glass(replay.db, facts)


def _endpoint(replay: Replay, facts: Mapping[str, Any]) -> None:
    if hooks.restore(replay.db, facts["name"], "restored"):
        store.audit(replay.db, replay.at, ACTOR, "webhook.stopped", facts["name"], cause="restored")
        replay.report.endpoints.append(facts["name"])


def _known(replay: Replay, user_id: str) -> bool:
    """Whether the copy has this user; who is not in it is told of."""
    known = store.user(replay.db, user_id) is not None
    if not known and user_id not in replay.report.users:
        replay.report.users.append(user_id)
    return known


_ENDINGS: Mapping[State, Event] = {
    State.CLOSED: Event.CLOSE,
    State.SUPERSEDED: Event.SUPERSEDE,
    State.RENEWED: Event.REPLACE,
    State.REVOKED: Event.REVOKE,
    State.WITHDRAWN: Event.WITHDRAW,
}
_HANDLERS: Mapping[str, Handler] = {
    "issued": _issued,
    "enrolled": _enrolled,
    "revoked": _revoked,
    "held": _held,
    "released": _released,
    "list": _list,
    "number": _number,
    "request.ended": _request_ended,
    "generation.ended": _generation,
    "user.disabled": _user_disabled,
    "user.erased": _user_erased,
    "user.enabled": _user_enabled,
    "organisation.disabled": _organisation_disabled,
    "organisation.enabled": _organisation_enabled,
    "password.ended": _password,
    "credential.bound": _credential_bound,
    "credential.withdrawn": _credential_withdrawn,
    "account.key": _account_key,
    "account.ended": _account_ended,
    "stop": _stop,
    "generation": _issuing_ca,
    "operator": _operator,
    "operator.code": _operator_code,
    "operator.certificate": _operator_certificate,
    "operator.passkey": _operator_passkey,
    "proposal": _proposal,
    "break-glass": _break_glass,
    "webhook.stopped": _endpoint,
}
