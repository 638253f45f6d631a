"""The address of a help page as a QR code, for the telephone beside the PC. Never anything secret."""

from __future__ import annotations

from functools import lru_cache

import segno
from markupsafe import Markup


@lru_cache(maxsize=64)
def picture(address: str) -> Markup:
    """The code as an ``<svg>`` of a page, with the quiet zone that readers need (ISO/IEC 18004 section 6.3.8)
    and dark on white whatever the page's colours are. No style of its own: the page's policy forbids that."""
    code = segno.make_qr(address, error="m")
    return Markup(code.svg_inline(scale=4, border=4, dark="#000", light="#fff", svgclass="qr"))  # noqa: S704
