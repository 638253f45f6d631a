"""What a POST was refused for, carried to the page that is fetched next.

A page that answers a POST cannot be gone back to (Chromium: ERR_CACHE_MISS), and reloading it sends the form
again. So the answer to a refused form is 303 as well, to an address that says what was wrong. What it says is
sealed: it cannot be made up, every worker reads it, nothing is stored, and no cookie is needed. It holds what
was typed but for passwords, and is good for one page, in the session it was made in, for an hour.
"""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Mapping
from typing import Any

from ca.sealing import BrokenSeal, Vault
from enroll.ra import token_hash

#: The parameter of the address.
TOLD = "told"
#: Seconds for which such an address says what it says; afterwards the page is as if nothing had been sent.
GOOD_FOR = 3_600
# Characters of an address that are looked at.
_LONGEST = 6_000
_PURPOSE = "told afterwards"
# Characters of each value that was typed.
_KEPT = 500


def sealed(vault: Vault, page: str, session: str, at: int, state: Mapping[str, Any]) -> str:
    """The value of `TOLD`. ``page``: site and path; ``session``: the cookie's value, or empty."""
    told = {"page": page, "session": _mark(session), "at": at, "state": state}
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    packed = zlib.compress(text.encode("utf-8", "replace"), 9)
    return urlsafe_b64encode(vault.seal(_PURPOSE, packed)).decode().rstrip("=")


def opened(vault: Vault, page: str, session: str, at: int, value: str) -> Mapping[str, Any]:
    """What `sealed` was given; empty for a value that is none of ours, of another page or session, or old."""
    if not value or len(value) > _LONGEST:
        return {}
    try:
        packed = vault.open(_PURPOSE, urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    except (BrokenSeal, NoBase64, ValueError):
        return {}
    told = json.loads(zlib.decompress(packed))
    if (told["page"], told["session"]) != (page, _mark(session)) or abs(at - told["at"]) >= GOOD_FOR:
        return {}
    state: Mapping[str, Any] = told["state"]
    return state


def typed(fields: Mapping[str, str], *names: str) -> dict[str, str]:
    """Of a form what may be shown again."""
    return {name: fields[name][:_KEPT] for name in names if name in fields}


def _mark(session: str) -> str:
    return token_hash(session)[:16] if session else ""
