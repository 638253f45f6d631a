"""The operator's command line: each module registers commands on ``root``; ``frame`` is what all share."""

from __future__ import annotations

from gateway.cli.loading import loading

with loading():
    from gateway.cli.root import root

main = root
