"""All cases, in the order they run: what is shared is made early, what is spent or raced comes late."""

from __future__ import annotations

from conformance.case import Case
from conformance.cases import (
    account,
    audit,
    authorization,
    binding,
    certificate,
    deactivation,
    directory,
    envelope,
    finalize,
    hostile,
    identity,
    keychange,
    keys,
    nonce,
    order,
    renewal,
    renewal_info,
    revocation,
    signature,
    transport,
    validation,
)

CASES: tuple[Case, ...] = (
    *directory.CASES,
    *binding.REFUSALS,
    *transport.CASES,
    *signature.CASES,
    *identity.CASES,
    *keys.CASES,
    *nonce.CASES,
    *hostile.CASES,
    *account.CASES,
    *binding.CASES,
    *order.CASES,
    *authorization.CASES,
    *validation.CASES,
    *finalize.CASES,
    *certificate.CASES,
    *envelope.CASES,
    *revocation.CASES,
    *renewal_info.CASES,
    *renewal.CASES,
    *keychange.CASES,
    *deactivation.CASES,
    *audit.CASES,
)
