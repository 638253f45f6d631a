"""Where each resource is: one table of paths that links, the dispatcher and the specification share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

#: Resource -> path below the protocol's root; ``{}`` stands for an identifier without slashes.
PATHS: Mapping[str, str] = MappingProxyType(
    {
        "directory": "/directory",
        "newNonce": "/new-nonce",
        "newAccount": "/new-account",
        "newOrder": "/new-order",
        "newAuthz": "/new-authz",
        "revokeCert": "/revoke-cert",
        "keyChange": "/key-change",
        "renewalInfo": "/renewal-info",
        "renewal": "/renewal-info/{}",
        "account": "/account/{}",
        "orders": "/account/{}/orders",
        "order": "/order/{}",
        "finalize": "/order/{}/finalize",
        "authorization": "/authorization/{}",
        "challenge": "/challenge/{}",
        "certificate": "/certificate/{}",
        "alternate": "/certificate/{}/{}",
    }
)


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds the URLs of one door. ``root`` is its origin and prefix: ``https://acme.example/acme``.

    The root comes from the configuration and never from a request's headers, which the sender chooses.
    """

    root: str

    def to(self, resource: str, *identifiers: str) -> str:
        """The URL of a resource of ``PATHS``."""
        return self.root + PATHS[resource].format(*identifiers)

    def identifier(self, resource: str, url: str) -> str | None:
        """The identifier in a URL of this door, or None if it is not exactly such a URL."""
        before, after = _around(self.root, resource)
        if not url.startswith(before) or not url.endswith(after):
            return None
        found = url[len(before) : len(url) - len(after)]
        return found if found and "/" not in found and before + found + after == url else None


@lru_cache(maxsize=256)
def _around(root: str, resource: str) -> tuple[str, str]:
    """What stands before and after the identifier in the URLs of a resource."""
    before, _, after = (root + PATHS[resource]).partition("{}")
    return before, after
