"""Keys in tokens (PKCS#11): a table for each token, and one for each key that is in one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.serving.settings.checks import matching, setting

#: What such a table may be called.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def _module(value: str) -> str | None:
    good = value.startswith("/") and value.isprintable()
    return None if good else "write the path of the token's PKCS#11 module, such as '/usr/lib/x.so'"


@dataclass(frozen=True)
class TokenTable:
    """A token: where it is reached, which one it is, and where its PIN comes from."""

    module: str = setting("", "path of the PKCS#11 module that comes with the token", _module)
    label: str = setting("", "the token's label; '' where the serial number says which")
    serial: str = setting("", "its serial number; '' where the label says which")
    pin_file: str = setting("", "file with its PIN, below the data directory or absolute; '' for none")
    pin_variable: str = setting(
        "",
        "variable of the environment with it; with neither the PIN is asked for at the start",
        matching(r"|[A-Za-z_][A-Za-z0-9_]*", "write the name of a variable, or '' for none"),
    )


@dataclass(frozen=True)
class KeyTable:
    """A key in a token. The table is called as its place: root, issuing-ID or ocsp-ID."""

    token: str = setting("", "which of the tokens it is in")
    label: str = setting("", "the key's label; '' where the id says which")
    id: str = setting(
        "",
        "its id (CKA_ID) in hex; '' where the label says which",
        matching(r"(?:[0-9a-f]{2})*", "write an even number of digits 0-9 and a-f"),
    )
