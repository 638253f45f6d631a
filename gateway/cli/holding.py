"""利用停止: certificates that are stopped until somebody decides, and go on as before when that is taken
back.

Lists and answers (OCSP) tell of them as held (reason 6); logins end at once. A leaver's are revoked instead:
`sekisho user disable`.
"""

from __future__ import annotations

import click

from ca.storage import Transaction
from enroll import store
from enroll.certificates import ending
from enroll.operators.asking import Proposed
from enroll.operators.roles import Act
from enroll.ra import RegistrationAuthority
from enroll.requests.transitions import hold_all
from gateway.cli.asked import asked, proposed
from gateway.cli.caller import acting, actor
from gateway.cli.certificates import known_certificate, record_of
from gateway.cli.frame import ASKS, DOES, Answer, answer, deployment_command, detail
from gateway.cli.people import USER_ID, known_user
from gateway.cli.root import GROUPS
from gateway.serving.deployment import Deployment

_NAMED = click.argument("name", metavar="SERIAL|COMMON_NAME|FINGERPRINT")


@deployment_command(GROUPS["cert"], "hold", Act.SUSPEND, DOES)
@_NAMED
async def _hold(deployment: Deployment, name: str) -> Answer:
    """Stop a certificate until somebody decides (利用停止): open connections with it end within a second.

    Lists and answers say that it is held (reason 6). It is taken back by cert release; cert revoke is for
    good."""
    serial = known_certificate(deployment.ra, name).serial
    await ending.hold(deployment.ra, acting(), serial)
    return _as_it_is(deployment.ra, serial)


@deployment_command(GROUPS["cert"], "release", Act.RECORD, ASKS)
@_NAMED
async def _release(deployment: Deployment, name: str) -> Answer:
    """Take a hold back: the certificate is as before. What a report of theft has stopped is decided with
    that."""
    serial = known_certificate(deployment.ra, name).serial
    found = await asked(deployment, "certificate.release", {"serial": serial})
    return proposed(found) if isinstance(found, Proposed) else _as_it_is(deployment.ra, serial)


@deployment_command(GROUPS["user"], "hold", Act.SUSPEND, DOES)
@USER_ID
async def _user_hold(deployment: Deployment, user_id: str) -> Answer:
    """Stop every certificate of a user until somebody decides (利用停止); the user stays as it is."""
    ra, by = deployment.ra, actor()
    known_user(ra, user_id)

    def work(db: Transaction) -> int:
        store.audit(db, ra.now(), by, "user.held", user_id)
        return hold_all(db, ra, user_id, ra.now(), actor=by)

    count = await ra.database.write(work)
    return answer({"held": {"user_id": user_id, "certificates": count}}, f"certificates held: {count}")


@deployment_command(GROUPS["user"], "release", Act.RECORD, ASKS)
@USER_ID
async def _user_release(deployment: Deployment, user_id: str) -> Answer:
    """Take the holds of a user's certificates back. What a report of theft has stopped is decided with
    that."""
    found = await asked(deployment, "user.release", {"user_id": user_id})
    if isinstance(found, Proposed):
        return proposed(found)
    told = dict(found.result)
    return answer({"released": told}, f"certificates released: {told['certificates']}")


def _as_it_is(ra: RegistrationAuthority, serial: str) -> Answer:
    return detail("certificate", record_of(known_certificate(ra, serial), ra))
