"""An import is taken back while nobody has been told of it: as if it had never been."""

from __future__ import annotations

from ca.storage import Transaction
from enroll import store
from enroll.acme import store as acme
from enroll.mail import store as mail_store
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.states import State


def told(db: Transaction, user_id: str, request_id: str) -> bool:
    """Whether a letter about a user has left, or is on its way."""
    return mail_store.any_begun(db, user_id, request_id)


def undo_user(
    db: Transaction, ra: RegistrationAuthority, user_id: str, request_id: str, *, actor: str
) -> None:
    """Takes a user away who was added, with the request and the letters that wait; the trail keeps both.

    Refusal("not_found"), and "conflict" where a letter has left, or something was done since.
    """
    user = store.user(db, user_id)
    if user is None:
        raise Refusal("not_found", field="user_id")
    # Held, as the user is, before letters are asked about: whoever sends one holds whom and what it is about.
    requests = store.enrollments_of(db, user_id)
    if told(db, user_id, request_id):
        raise Refusal("conflict", field="user_id", detail=f"a letter about {user_id} has left already")
    begun = [each for each in requests if each.request_id != request_id or each.state is not State.ACCEPTED]
    if begun or acme.credentials_of(db, user_id):
        raise Refusal("conflict", field="user_id", detail=f"something was done about {user_id} since")
    mail_store.forget(db, user_id, request_id)
    store.forget_user(db, user_id, request_id)
    store.audit(db, ra.now(), actor, "user.undone", user_id, policy_number=user.policy_number)


def undo_organisation(db: Transaction, ra: RegistrationAuthority, policy_number: str, *, actor: str) -> None:
    """Takes an organisation away that was added, and has no users yet. Refusal as above."""
    if store.organisation(db, policy_number) is None:
        raise Refusal("not_found", field="policy_number")
    if not store.forget_organisation(db, policy_number):
        raise Refusal("conflict", field="policy_number", detail=f"{policy_number} has users by now")
    store.audit(db, ra.now(), actor, "organisation.undone", policy_number)
