"""The operator's command line: each module registers commands on ``root``; ``frame`` is what all share."""

from __future__ import annotations

from gateway.cli import (
    authorities,
    certificates,
    clock,
    credentials,
    importing,
    mails,
    people,
    requests,
    running,
    setup,
    watching,
)
from gateway.cli.root import root

#: The modules above, imported for the commands that they register.
MODULES = (
    setup, running, people, importing, requests, certificates, authorities, credentials, mails, clock,
    watching,
)  # fmt: skip

main = root
