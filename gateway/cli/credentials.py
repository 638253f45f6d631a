"""Credentials for automated clients (external account bindings). ``create`` shows each key once."""

from __future__ import annotations

from typing import Any

import click

from enroll import identifiers
from enroll.acme import credentials, store
from enroll.acme.ordering import places_taken
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.refusals import Refusal
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import actor
from gateway.cli.frame import ASKS, DOES, READS, Answer, answer, as_typed, deployment_command, listing, plain
from gateway.cli.output import Console
from gateway.cli.people import USER_ID, known_user
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_EAB = GROUPS["eab"]


@deployment_command(_EAB, "create", Act.RECORD, ASKS)
@USER_ID
@click.option("--count", type=click.IntRange(1, 1_000), default=1, show_default=True)
@click.option(
    "--profile", default="client-automated", show_default=True, help="One of: sekisho profile list."
)
@click.option(
    "--quota",
    type=click.IntRange(1, 100_000),
    default=None,
    help="Certificates outside the renewal period at a time; default: the setting.",
)
async def _create(
    deployment: Deployment, user_id: str, count: int, profile: str, quota: int | None
) -> Answer:
    """Make credentials for a user's automated client. Each key is shown now and never again.

    If it cannot be shown (a full disk behind ``>``, a reader that has left), the credentials are withdrawn.
    """
    payload = {"user_id": user_id, "count": count, "profile": profile, "quota": quota}
    found = await asked(deployment, "credential.create", payload)
    if isinstance(found, Proposed):
        return proposed(found)
    records = found.result["credentials"]

    def show(console: Console) -> None:
        # It brings along all sites, which programs that read JSON do without, and the other commands here.
        from gateway.serving.assembly import directory_url

        console.print(plain(f"Directory: {directory_url(deployment.config)}"), soft_wrap=True)
        for record in records:
            name = record["identifiers"][0]["value"]
            console.print(
                plain(f"\nKey ID:   {record['kid']}\nHMAC key: {record['hmac_key']}\nName:     {name}"),
                soft_wrap=True,
            )
        console.print("\nThe keys are not shown again. Each binds one account, once.")

    async def undo() -> str:
        for each in records:
            await credentials.withdraw(deployment.ra, each["kid"], actor=actor())
        return f"The credentials are withdrawn; to where there is room: sekisho eab create {user_id}"

    return Answer({"credentials": records}, show, undo=undo)


@deployment_command(_EAB, "list", Act.SEARCH, READS)
@USER_ID
async def _list(deployment: Deployment, user_id: str) -> Answer:
    """List a user's credentials, without their keys."""
    known_user(deployment.ra, user_id)
    at = deployment.ra.now()
    found = deployment.ra.database.read_now(
        lambda db: [_record(each, places_taken(db, each, at)) for each in store.credentials_of(db, user_id)]
    )
    columns = {
        "kid": "Key ID",
        "common_name": "Common name",
        "profile": "Profile",
        "used": "Used",
        "quota": "Quota",
        "bound_at": "Bound",
        "withdrawn_at": "Withdrawn",
    }
    return listing("credentials", found, columns)


@deployment_command(_EAB, "withdraw", Act.REVOKE, DOES)
@click.argument("kid", callback=as_typed(identifiers.typed))
async def _withdraw(deployment: Deployment, kid: str) -> Answer:
    """End a credential: no account, no further order. Certificates made with it live on."""
    if not await credentials.withdraw(deployment.ra, kid, actor=actor()):
        raise Refusal("not_found", field="kid")
    return answer({"withdrawn": {"kid": kid}}, f"Credential {kid} has ended.")


def _record(credential: store.Credential, used: int) -> dict[str, Any]:
    return {
        "kid": credential.kid,
        "user_id": credential.user_id,
        "common_name": credential.common_name,
        "profile": credential.profile,
        "used": used,
        "quota": credential.quota,
        "account_id": credential.account_id,
        "created_at": credential.created_at,
        "bound_at": credential.bound_at,
        "withdrawn_at": credential.withdrawn_at,
    }
