"""Passkeys (WebAuthn level 3), the only file that knows how they are asked for and looked at.

Asked for is user verification each time: a passkey stands for a person and not for a key that lies about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from enroll.operators.store import Operator, Passkey

# Characters of what a browser sends of one: attestation is not asked for, so that it is short.
_LONGEST = 20_000
# What it raises besides its own, for JSON and CBOR of strangers.
_UNREADABLE = (WebAuthnException, ValueError, KeyError, TypeError, AttributeError, IndexError)


class BadPasskey(Exception):
    """What a browser sent is none of its operator's, for what was asked. Says of what kind the fault is, for
    the log, and nothing that was sent."""


@dataclass(frozen=True)
class Party:
    """For whom a passkey is good: the console by its host, at its origin."""

    origin: str
    name: str

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""


@dataclass(frozen=True)
class Made:
    """A passkey that a browser has just made."""

    credential_id: str
    public_key: bytes
    sign_count: int


def to_make(party: Party, operator: Operator, challenge: str, known: Sequence[Passkey]) -> str:
    """What `navigator.credentials.create` is called with, as JSON. ``known``: those that are there."""
    return options_to_json(
        webauthn.generate_registration_options(
            rp_id=party.host,
            rp_name=party.name,
            user_name=operator.name,
            user_id=operator.handle.encode(),
            user_display_name=operator.display,
            challenge=base64url_to_bytes(challenge),
            timeout=120_000,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_described(known),
        )
    )


def to_use(party: Party, challenge: str, known: Sequence[Passkey]) -> str:
    """What `navigator.credentials.get` is called with, as JSON: one of those that are known."""
    return options_to_json(
        webauthn.generate_authentication_options(
            rp_id=party.host,
            challenge=base64url_to_bytes(challenge),
            timeout=120_000,
            allow_credentials=_described(known),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def challenge_in(answer: str) -> str:
    """Which challenge an answer says it is about; '' for none. Nothing is believed of it by that."""
    try:
        told = json.loads(base64url_to_bytes(_parsed(answer)["response"]["clientDataJSON"]))
        return str(told["challenge"])
    except (BadPasskey, *_UNREADABLE):
        return ""


def credential_in(answer: str) -> str:
    """Which passkey an answer says it is by."""
    return str(_parsed(answer).get("id", ""))[:1_400]


def made(party: Party, challenge: str, answer: str) -> Made:
    """What a browser made of `to_make`. BadPasskey for anything else."""
    try:
        found = webauthn.verify_registration_response(
            credential=_parsed(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.host,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except _UNREADABLE as error:
        raise BadPasskey(type(error).__name__) from None
    return Made(bytes_to_base64url(found.credential_id), found.credential_public_key, found.sign_count)


def used(party: Party, challenge: str, answer: str, passkey: Passkey) -> int:
    """The new count of a passkey that was used as `to_use` asked. BadPasskey for anything else: another
    origin, another challenge, nobody verified, a count that goes back (a copy of the key)."""
    try:
        found = webauthn.verify_authentication_response(
            credential=_parsed(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.host,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except _UNREADABLE as error:
        raise BadPasskey(type(error).__name__) from None
    return found.new_sign_count


def _described(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(each.credential_id)) for each in known]


def _parsed(answer: str) -> dict[str, Any]:
    if len(answer) > _LONGEST:
        raise BadPasskey("too long")
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        raise BadPasskey("no JSON") from None
    if not isinstance(found, dict):
        raise BadPasskey("no object")
    return found
