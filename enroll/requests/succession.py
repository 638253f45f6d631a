"""Who is told when a certificate is renewed by another than its holder: its user, the portal, the trail.

Whoever holds a certificate's key can renew it, as the owner can. There is one renewal, so the owner who comes
second learns that he is late; who was first he learns here, whether he comes or not.
"""

from __future__ import annotations

from ca.storage import Transaction
from enroll import store
from enroll.mail import occasions
from enroll.ra import RegistrationAuthority
from enroll.requests.enrollment import Enrollment


def on_a_page(db: Transaction, renewal: Enrollment) -> bool:
    """Whether a renewal on the pages is by another than the holder: the one to renew came by the protocol."""
    source = store.enrollment_of(db, renewal.replaces_serial or "")
    return source is not None and source.door == "protocol"


def tell(db: Transaction, ra: RegistrationAuthority, issued: Enrollment, at: int, *, actor: str) -> None:
    """Inside the transaction of an issue: nothing, unless it was asked for by another, whom the trail names.

    ``actor``: who issued, often long after whoever asked.
    """
    if not issued.by_another:
        return
    source = store.enrollment_of(db, issued.replaces_serial or "")
    user = store.user(db, issued.user_id)
    if source is None or user is None:
        return
    by = store.submitted_by(db, issued.request_id) or actor
    store.audit(
        db, at, by, "certificate.renewed-by-another", source.serial or "", request_id=issued.request_id
    )
    occasions.renewed_by_another(db, ra, user, issued, at)
