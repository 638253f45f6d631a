"""``find``: the same search as the console's box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from enroll.jst import shown
from enroll.listings import searching
from enroll.listings.searching import Group
from enroll.operators.roles import Act
from gateway.cli.caller import acting
from gateway.cli.frame import READS, Answer, answer, deployment_command
from gateway.cli.root import root
from gateway.serving.deployment import Deployment
from gateway.web import references


@deployment_command(root, "find", Act.SEARCH, READS, noted=False)
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
@click.option(
    "--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Rows of each kind."
)
async def _find(deployment: Deployment, text: tuple[str, ...], limit: int) -> Answer:
    """Find whom or what somebody has at hand: a 証券番号, user ID, name, フリガナ, mail address, request ID,
    serial, common name, reference number, or the day on which certificates end.

    Names and numbers are found by how they begin. Whoever was shown stands in the audit trail."""
    ra, said = deployment.ra, " ".join(text)
    found = await searching.search(ra, acting(), said, most=limit)
    named = next((each.value for each in found.meanings if each.kind == "reference"), None)
    reference = ra.database.read_now(lambda db: references.found(db, named)) if named is not None else None
    value = {
        "text": said,
        "understood": [each.kind for each in found.meanings],
        "user_id": found.lead or None,
        "groups": [
            {"name": each.name, "total": each.total, "rows": list(each.rows)} for each in found.groups
        ],
        "reference": reference,
    }
    lines = [f"taken for: {', '.join(each.kind for each in found.meanings) or 'nothing'}"]
    if reference is not None:
        lines.append(f"reference {reference['reference']}  {shown(reference['at'])}  {reference['code']}")
    for group in found.groups:
        if group.total:
            lines += [
                f"{group.name}: {len(group.rows)} of {group.total}",
                *(_line(group, row) for row in group.rows),
            ]
    if found.lead:
        lines.append(f"All about the user: sekisho user show {found.lead}")
    elif len(lines) == 1:
        lines.append("There is nothing of the kind. Type less of it: the beginning of a name, eight digits")
    return answer({"found": value}, *lines)


def _line(group: Group, row: Mapping[str, Any]) -> str:
    return "  " + "  ".join(str(row[name]) for name in _COLUMNS[group.name] if row[name])


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "users": ("user_id", "name", "reading", "mail", "policy_number", "organisation"),
    "organisations": ("policy_number", "name", "members"),
    "requests": ("request_id", "kind", "state", "user_id", "name"),
    "certificates": ("serial", "subject_cn", "status", "user_id", "name"),
}
