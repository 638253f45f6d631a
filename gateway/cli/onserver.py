"""What ``doctor`` says of the server that a database is on."""

from __future__ import annotations

import ca.store
from ca.storage import Condition
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding, State

_CHECK, _NODES = "database server", "nodes"
# Seconds between its clock and ours that are worth a word.
_APART = 2.0
# Of the connections that there may be, from which on there are few left.
_FULL = 0.8


def found(deployment: Deployment) -> list[Finding]:
    """Its version, whether it can be written to and keeps what it has committed, connections, and clock."""
    condition = deployment.ra.database.condition()
    if condition is None:
        return [Finding(_CHECK, "ok", "none: the database is a file in this directory")]
    return judged(condition)


def judged(condition: Condition) -> list[Finding]:
    """The same of what it has said of itself."""
    said = (
        f"{condition.where}, PostgreSQL {condition.version}, {condition.connections} of {condition.most} "
        f"connections, clock {condition.ahead:+.1f} s"
    )
    judgements: tuple[tuple[bool, State, str, str], ...] = (
        (
            not condition.writable,
            "bad",
            "it can only be read",
            "see which server is the primary, and that database.url names it",
        ),
        (
            bool(condition.loses),
            "bad",
            f"it may lose what it has committed: {', '.join(condition.loses)}",
            "set that on in postgresql.conf, and reload the server",
        ),
        (
            condition.connections >= _FULL * condition.most,
            "notice",
            "few connections are left",
            "raise max_connections there, or lower database.pool",
        ),
        (abs(condition.ahead) >= _APART, "notice", "the clocks differ", "set both by NTP: timedatectl"),
    )
    wrong = [
        Finding(_CHECK, state, f"{said}; {what}", hint) for is_so, state, what, hint in judgements if is_so
    ]
    return wrong or [Finding(_CHECK, "ok", said)]


def nodes(deployment: Deployment) -> list[Finding]:
    """Whether the setting by which each node allows its part tells how many there are."""
    if not deployment.ra.database.shared:
        return []
    known = deployment.ra.database.read_now(ca.store.nodes)
    return counted(sum(bool(each.node_id) for each in known), deployment.config.database.nodes)


def counted(known: int, written: int) -> list[Finding]:
    """The same of their number, and of that in ``database.nodes``."""
    said = f"{known} that the database knows, {written} in database.nodes"
    if known == written:
        return [Finding(_NODES, "ok", said)]
    means = "all together allow more" if known > written else "all together allow less"
    hint = (
        f"write database.nodes = {known} at each and type sekisho reload; forget one that is gone: "
        "sekisho node remove ID"
    )
    return [Finding(_NODES, "notice", f"{said}: {means} than [rates] and [limits] say", hint)]
