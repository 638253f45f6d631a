"""Which paths of the online service's host are its own pages', and which the upstream's: read in one way.

By the first segment, decoded as the router of the pages does: "/%6Cogin" is ours as well.
"""

from __future__ import annotations

from urllib.parse import unquote

#: First segments of the paths that the service answers itself: its pages, and what they consist of.
PAGES = frozenset({"", "login", "logout", "portal"})
OWN = PAGES | {"assets", "favicon.ico"}


def first_segment(target: str) -> str:
    """The first segment of a request target, or of a path."""
    first = target[1:].partition("?")[0].partition("/")[0]
    return unquote(first) if "%" in first else first


def is_own(target: str) -> bool:
    """Whether a request target is one of the service's own pages."""
    return first_segment(target) in OWN
