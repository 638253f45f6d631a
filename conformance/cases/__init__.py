"""All cases, in the order they run: what is shared is made early, what is spent or raced comes late."""

from __future__ import annotations

from conformance.case import Case
from conformance.cases import hostile, nonce, signature, transport

CASES: tuple[Case, ...] = (*transport.CASES, *signature.CASES, *nonce.CASES, *hostile.CASES)
