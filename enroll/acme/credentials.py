"""External account credentials: a request ID and an independent key, given to an automated client once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import enroll.store
from ca.storage import Transaction
from enroll.acme import store
from enroll.acme.server import dns_name
from enroll.acme.wire import encode_base64url
from enroll.people.register import lineages_of
from enroll.ra import RegistrationAuthority
from enroll.refusals import Refusal
from enroll.requests.issuance import check_entitled
from enroll.requests.opening import draw_request
from enroll.requests.states import WAITING, Event
from enroll.requests.transitions import apply

PURPOSE = "eab"
#: 256 bits, and never the issue password: whoever sees a binding could try passwords against its MAC.
KEY_BYTES = 32
_MOST_AT_ONCE = 1_000


@dataclass(frozen=True)
class IssuedCredential:
    """What the client is told, once. The key is kept sealed and never shown again."""

    kid: str
    hmac_key: bytes = field(repr=False)
    name: str
    profile: str

    def to_json(self) -> dict[str, Any]:
        return {
            "kid": self.kid,
            "hmac_key": encode_base64url(self.hmac_key),
            "alg": "HS256",
            "identifiers": [{"type": "dns", "value": self.name}],
            "profile": self.profile,
        }


async def create(
    ra: RegistrationAuthority,
    user_id: str,
    *,
    actor: str,
    count: int = 1,
    profile: str = "client-automated",
    quota: int | None = None,
    limit: bool = False,
) -> list[IssuedCredential]:
    """Opens ``count`` requests for a user and gives each a key. Each has a 管理番号 of its own.

    ``quota``: certificates outside the renewal period, by default the setting's. Refusal("not_found")
    for an unknown user, "user_disabled", "invalid_input" for a profile or number that cannot be.
    With ``limit``, for all but the operator: "limit_reached" beyond the lineages of the user (E18).
    """
    offered = ra.authority.profiles
    if profile not in offered:
        raise Refusal("invalid_input", field="profile", detail=f"write one of {', '.join(offered)}")
    if not 1 <= count <= _MOST_AT_ONCE:
        raise Refusal("invalid_input", field="count")
    allowed = ra.settings.quota if quota is None else quota
    if allowed < 1:
        raise Refusal("invalid_input", field="quota")
    keys = [draw_key() for _ in range(count)]

    def work(db: Transaction) -> list[IssuedCredential]:
        if limit:
            _check_lineages(db, ra, user_id, count)
        return _create(db, ra, user_id, keys, profile, allowed, actor)

    return await ra.database.write(work)


def draw_key() -> bytes:
    """A MAC key whose text does not begin with "-": certbot and others would take it for an option."""
    while True:
        key = os.urandom(KEY_BYTES)
        if not encode_base64url(key).startswith("-"):
            return key


async def withdraw(ra: RegistrationAuthority, kid: str, *, actor: str) -> bool:
    """Ends a credential: no new account, no further order. Its certificates live on."""

    def work(db: Transaction) -> bool:
        at = ra.now()
        if not store.withdraw_credential(db, kid, at):
            return False
        enrollment = enroll.store.enrollment(db, kid)
        if enrollment is not None and enrollment.state in WAITING:
            apply(db, ra, kid, Event.WITHDRAW, at, actor=actor)
        enroll.store.audit(db, at, actor, "credential.withdrawn", kid)
        return True

    return await ra.database.write(work)


def _check_lineages(db: Transaction, ra: RegistrationAuthority, user_id: str, count: int) -> None:
    allowed = lineages_of(db, ra, user_id)
    alive = [one for one in store.credentials_of(db, user_id) if one.withdrawn_at is None]
    if len(alive) + count > allowed:
        raise Refusal("limit_reached", detail=f"{allowed} at a time, and {len(alive)} are in use")


def _create(
    db: Transaction,
    ra: RegistrationAuthority,
    user_id: str,
    keys: Sequence[bytes],
    profile: str,
    quota: int,
    actor: str,
) -> list[IssuedCredential]:
    user = enroll.store.user(db, user_id)
    if user is None:
        raise Refusal("not_found", field="user_id")
    check_entitled(db, user_id)
    at, issued = ra.now(), []
    for key in keys:
        request = draw_request(db, ra, user, "protocol", profile=profile, door="protocol", actor=actor)
        credential = store.Credential(
            kid=request.request_id,
            user_id=user_id,
            sealed_key=ra.vault.seal(PURPOSE, key),
            common_name=request.common_name,
            profile=profile,
            quota=quota,
            account_id=None,
            created_at=at,
        )
        store.add_credential(db, credential)
        enroll.store.audit(db, at, actor, "credential.created", request.request_id, user=user_id)
        name = dns_name(user_id, ra.settings.zone)
        issued.append(IssuedCredential(request.request_id, key, name, profile))
    return issued
