"""The signature that a receiver knows us by, in the form of Standard Webhooks (HMAC-SHA256). Pure.

What is signed is ``id.seconds.body``: a request that somebody repeats later has an old time in it, and one
that was altered another signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

#: What a secret begins with, as receivers' libraries expect it, and how many bytes follow (base64).
PREFIX, SECRET_BYTES = "whsec_", 32
#: What a secret is sealed for.
PURPOSE = "webhook secret"


def shown(secret: bytes) -> str:
    """A secret as it is given to a receiver, once."""
    return PREFIX + base64.b64encode(secret).decode()


def headers(secrets: Sequence[bytes], message: str, at: int, body: bytes) -> Mapping[str, str]:
    """The three fields of a request. ``secrets``: two while one takes the other's place; a receiver that
    knows either of them is content. ``at``: seconds since the epoch, of this try."""
    signed = f"{message}.{at}.".encode() + body
    made = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{each}" for each in made),
    }
