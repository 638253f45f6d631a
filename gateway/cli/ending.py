"""What is sealed for a while: whether its keys end in time, and what cannot be opened any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ca.epochs import Place, store
from ca.epochs.store import Epoch
from ca.epochs.tending import LENGTH, RESTS
from enroll.mail.store import BODY
from enroll.postcards.store import PDF
from enroll.ra import RegistrationAuthority
from enroll.requests.store import KEY
from gateway.running import rundir
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding

_NAME = "keys of windows"
# Seconds: a turn that was late is over by then.
_LATE = LENGTH + 2 * RESTS
#: What is told of, and what to do. Anything else is asked for once more by whoever misses it.
_TOLD: Mapping[Place, str] = {
    KEY: "private keys of pick-ups ({}): who has not installed the certificate gets sekisho request reissue",
    BODY: "letters ({}): those without a password leave all the same; sekisho mail list --state queued",
    PDF: "print batches ({}): sekisho postcard cancel, then another one",
}


def found(deployment: Deployment, now: Callable[[], float] = time.time) -> list[Finding]:
    """For ``doctor``."""
    ra = deployment.ra
    served = rundir.serves(deployment.data) is not None
    every, counts = ra.database.read_now(lambda db: (store.every(db), ra.epochs.lost(db)))
    late = sum(_is_late(each, ra, served=served) for each in every if ra.epochs.files.has(each.name))
    late += ra.epochs.files.count_left({each.name for each in every}, now() - _LATE)
    findings = []
    if late:
        hint = "see its log, and: sekisho clock show" if served else "what serves does that: sekisho serve"
        said = f"{late} in {ra.epochs.files.folder} should be destroyed by now"
        findings.append(Finding(_NAME, "notice", said, hint))
    if lost := words_of(counts):
        hint = "a copy was put back, or a disk is not mounted there: docs/operations/recovery.md"
        findings.append(Finding(_NAME, "notice", f"lost are {'; '.join(lost)}", hint))
    return findings or [Finding(_NAME, "ok", "what is over opens to nobody")]


def words_of(counts: Mapping[Place, int]) -> list[str]:
    """What cannot be opened, with what to do."""
    return [words.format(counts[place]) for place, words in _TOLD.items() if place in counts]


def _is_late(epoch: Epoch, ra: RegistrationAuthority, *, served: bool) -> bool:
    """Whether its key should have gone, or, where somebody serves, another epoch should have begun."""
    if epoch.retired_at is not None:
        return ra.now() - epoch.retired_at > _LATE
    return served and ra.now() - epoch.begun_at > LENGTH + _LATE
