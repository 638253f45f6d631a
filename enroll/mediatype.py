"""What a body is said to be (RFC 9110 8.3): the one reading of Content-Type, for pages and protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# The type; parameters after it are of no concern here, but nothing else may follow: two fields put into one
# by somebody on the way are two types.
_FIELD = re.compile(rf"({_TOKEN}/{_TOKEN})[ \t]*(?:;[^,]*)?")


def media_type(values: Sequence[str]) -> str:
    """``type/subtype`` in small letters. Empty for none, for several, and for what is no media type.

    ``values``: of every Content-Type field there is.
    """
    found = _FIELD.fullmatch(values[0].strip(" \t")) if len(values) == 1 else None
    return "" if found is None else found[1].lower()
