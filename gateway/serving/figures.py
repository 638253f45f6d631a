"""What a deployment has to tell of itself: days its certificates have left, mails waiting, the register."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cryptography import x509

import ca.store
from ca.generations.endings import full_length_until
from ca.journal import FOLDER
from ca.profiles import CRL_PERIOD
from ca.publication import list_id
from ca.signerlink import signer_status
from ca.storage import Transaction
from enroll import crls, store
from enroll.hooks import store as hooks
from enroll.hooks.states import Delivery as DeliveryState
from enroll.hooks.states import Endpoint as EndpointState
from enroll.jobs import store as jobs
from enroll.jst import shown
from enroll.mail import queue
from enroll.mail import store as mail_store
from enroll.mail.replies import COMMANDS
from enroll.operators import store as operators
from enroll.operators import viewing
from enroll.ra import RegistrationAuthority
from gateway.running.internal import at_most
from gateway.running.metrics import Sample
from gateway.serving import backup, offsite
from gateway.serving.deployment import Deployment
from gateway.web import reports
from gateway.web.store import change_nothing

# A scrape reads whole tables; it may as well be told what the last one was.
_KEPT_SECONDS = 30.0
_WRITE_SECONDS = 5.0
# A server's certificate with less left is warned of: who renews by hand needs some weeks.
_SERVER_SECONDS = 30 * 86_400
# A letter that leaves later than this after it could has been forgotten by something.
_LATE_SECONDS = 3_600
#: A proposal that ends sooner is told of.
ENDING_SECONDS = 86_400
#: A job at which nobody was heard of for so long waits for somebody.
STILL_SECONDS = 600
#: Days before the end of the root's revocation list that are enough to fetch a key from a safe.
ROOT_LIST_DAYS = 60
#: Bytes: the database's log grows by some MiB before they are put into the database.
ROOM = 16 * 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Figures:
    """Samples of a deployment, from the database at most every half minute."""

    def __init__(self) -> None:
        self._counted_at = float("-inf")
        self._counts: list[Sample] = []

    async def samples(self, deployment: Deployment, served: Mapping[str, int]) -> list[Sample]:
        """``served``: the ends (notAfter, epoch seconds) of certificates that are shown to visitors."""
        if time.monotonic() - self._counted_at > _KEPT_SECONDS:
            self._counts = await deployment.ra.database.read_aside(lambda db: _counted(db, deployment.ra))
            size = await asyncio.to_thread(deployment.ra.database.size)
            self._counts.append(("sekisho_database_bytes", {}, size))
            self._counted_at = time.monotonic()
        days = (
            ("sekisho_certificate_days", {"certificate": name}, round((end - time.time()) / 86_400, 3))
            for name, end in sorted({**own_ends(deployment), **served}.items())
        )
        full = [
            (
                "sekisho_ca_full_length_days",
                {"issuer": each.common_name},
                round((full_length_until(each.not_after_at) - deployment.ra.now()) / 86_400, 3),
            )
            for each in deployment.datadir.authority.at_work
        ]
        return [*self._counts, *days, *full, *await _lists(deployment)]


def own_ends(deployment: Deployment) -> dict[str, int]:
    """When our own CAs end, by a name for each."""
    ends = {"root": _end(deployment.datadir.root), "server-ca": deployment.datadir.server_ca.not_after_at}
    for issuer in deployment.datadir.authority.at_work:
        ends[f"issuing:{issuer.common_name}"] = issuer.not_after_at
    return ends


async def wrong_with(
    deployment: Deployment,
    accepting: bool,
    served: Mapping[str, int],
    now: Callable[[], float] = time.time,
    room: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> list[str]:
    """What keeps the deployment from serving: a database that takes no write, a certificate that has ended.

    ``room``: bytes that are left where a file is.
    """
    wrong = [] if accepting else ["not accepting connections"]
    error = await at_most(_WRITE_SECONDS, deployment.ra.database.write(change_nothing))
    if error is not None:
        wrong.append(f"the database cannot be written ({error})")
    # That write changes nothing, and so needs no room; the next one may.
    for place in places(deployment):
        left = room(place)
        if left < ROOM:
            wrong.append(f"the disk of {place} has {left // 2**20} MiB left: df -h {place}")
        elif not os.access(place, os.W_OK):
            wrong.append(f"{place} cannot be written: see whose it is, and how it is mounted: ls -ld {place}")
    # Which one issues stands in the database as well.
    current = {"issuing": deployment.datadir.authority.current.not_after_at} if error is None else {}
    ended = [name for name, end in {**current, **served}.items() if end < now()]
    return wrong + [f"the certificate {name} has ended" for name in ended]


def places(deployment: Deployment) -> list[Path]:
    """Where anything is recorded, and room is needed: the data directory, and the journal where it lies on
    another disk."""
    kept = deployment.data / FOLDER
    apart = kept.is_dir() and kept.stat().st_dev != deployment.data.stat().st_dev
    return [deployment.data, kept] if apart else [deployment.data]


def warnings_of(
    deployment: Deployment, served: Mapping[str, int], now: Callable[[], float] = time.time
) -> list[str]:
    """What an operator has to see to while the deployment still serves. Each ends with what to do."""
    return [
        words for end, words in endings(deployment, served, now()) if now() <= end < now() + _SERVER_SECONDS
    ]


def endings(deployment: Deployment, served: Mapping[str, int], now: float) -> list[tuple[int, str]]:
    """When each certificate ends that visitors see, and how an operator is told: once for all its sites."""
    by_end: dict[int, list[str]] = {}
    for name, end in sorted(served.items()):
        by_end.setdefault(end, []).append(name)
    return [
        (end, f"the certificate {', '.join(names)} {_in_time(end - now)}: {_renewing(deployment)}")
        for end, names in sorted(by_end.items())
    ]


def _in_time(seconds: float) -> str:
    if seconds < 0:
        return f"has ended {-seconds / 86_400:.0f} days ago"
    if seconds < 2 * 86_400:
        return f"ends in {seconds / 3_600:.0f} hours"
    return f"ends in {seconds / 86_400:.0f} days"


class Thresholds:
    """Tells of an end when so many days are left as there are steps, once each."""

    STEPS = (30, 7, 1, 0)

    def __init__(self) -> None:
        self._told: dict[int, int] = {}

    def passed(self, end: int, now: float) -> int | None:
        """The step that was passed since the last look, be it the first one; None: it was told of."""
        left = (end - now) / 86_400
        step = min((step for step in self.STEPS if left <= step), default=None)
        if step is None or self._told.get(end, self.STEPS[0] + 1) <= step:
            return None
        self._told[end] = step
        return step


async def late_letters(deployment: Deployment) -> list[str]:
    """Warnings of letters that are held, or late. Reads the whole queue."""
    ra = deployment.ra
    letters = await ra.database.read_aside(lambda db: queue.standing(db, ra.now(), ra.settings))
    held = [
        f"every letter ({lane.channel}) waits since {shown(lane.held_since_at or 0)} ({lane.said}): "
        "mend that, then sekisho mail retry"
        for lane in letters.held
    ]
    if letters.oldest <= _LATE_SECONDS or held:
        return held
    return [f"a letter waits for {letters.oldest // 60} minutes: sekisho mail list --state queued"]


def signer_warnings(deployment: Deployment) -> list[str]:
    """Warnings of the signer: that it is gone, stopped, or at its ceiling. Asks it: not for an event loop."""
    status = signer_status(deployment.datadir.authority.signer)
    if status is None:
        return []
    if isinstance(status, str):
        return [f"{status}: no certificate is issued; see the log; it is started by sekisho serve, or signer"]
    if status["stopped"]:
        return [f"the emergency stop is on ({status['reason']}): nothing is signed; sekisho ca resume"]
    if status["signed"] >= status["per_hour"]:
        signed = f"{status['signed']} certificates were signed within the hour"
        return [f"{signed}: see why, or raise signer.per_hour"]
    return [
        f"{trouble}: nothing is signed with it meanwhile" for trouble in status["tokens"].values() if trouble
    ]


def backup_warnings(deployment: Deployment, now: Callable[[], float] = time.time) -> list[str]:
    """Warnings of a last backup that is too old, and of a journal whose copy is."""
    words = backup.too_old(deployment.data, deployment.config.backup.warn_hours, now())
    late = offsite.behind(deployment.data, deployment.config.journal, now)
    return [*([] if words is None else [words]), *late]


def backup_samples(deployment: Deployment) -> list[Sample]:
    """How old the last good backup is; nothing before the first one."""
    made = backup.last(deployment.data)
    return [] if made is None else [("sekisho_backup_age_seconds", {}, round(time.time() - made.at))]


def signer_samples(deployment: Deployment) -> list[Sample]:
    """How the signer is. Asks it: not for an event loop."""
    status = signer_status(deployment.datadir.authority.signer)
    if status is None:
        return []
    if isinstance(status, str):
        return [("sekisho_signer_up", {}, 0)]
    return [
        ("sekisho_signer_up", {}, 1),
        ("sekisho_signer_stopped", {}, int(bool(status["stopped"]))),
        ("sekisho_signer_signed_within_hour", {}, int(status["signed"])),
        *(("sekisho_token_up", {"token": name}, int(not bad)) for name, bad in status["tokens"].items()),
    ]


async def late_lists(deployment: Deployment) -> list[str]:
    """Warnings of revocation lists that should have been followed by others long since."""
    now, found = deployment.ra.now(), list[str]()
    authority = deployment.datadir.authority
    for issuer, shard in [(each, shard) for each in authority.at_work for shard in each.site.lists]:
        listed = await crls.published(deployment.ra, list_id(issuer.issuer_id, shard))
        # A new one is made each day.
        if listed is None or now - listed.this_update_at > 2 * CRL_PERIOD:
            left = (
                "is missing" if listed is None else f"ends in {(listed.next_update_at - now) / 3_600:.0f} h"
            )
            named = issuer.common_name if shard is None else f"{issuer.common_name}, shard {shard}"
            found.append(
                f"the revocation list of {named} {left} and no other one was made: see the log "
                "for why, and make one by hand: sekisho cert crl FILE"
            )
    return [*found, *_late_root_list(deployment)]


def _late_root_list(deployment: Deployment) -> Iterator[str]:
    """The root's is made by hand, or with another issuing CA: its key is mostly kept elsewhere."""
    end = root_list_end(deployment)
    left = (end - deployment.ra.now()) / 86_400
    if left < ROOT_LIST_DAYS:
        said = f"ends in {left:.0f} days" if end else "is missing"
        yield f"the root's revocation list {said}: put ca/root.key in its place, then sekisho ca root-list"


def root_list_end(deployment: Deployment) -> int:
    """nextUpdate of the root's revocation list, in epoch seconds; 0 if there is none."""
    der = deployment.ra.authority.root_list
    following = x509.load_der_x509_crl(der).next_update_utc if der else None
    return int(following.timestamp()) if following is not None else 0


async def _lists(deployment: Deployment) -> list[Sample]:
    found = list[Sample]()
    for issuer in deployment.datadir.authority.at_work:
        listed = await crls.published(deployment.ra, issuer.issuer_id)
        if listed is not None:
            named = {"issuer": issuer.common_name}
            days = round((listed.next_update_at - deployment.ra.now()) / 86_400, 3)
            found.append(("sekisho_crl_number", named, listed.number))
            found.append(("sekisho_crl_entries", named, listed.entries))
            found.append(("sekisho_crl_days", named, days))
    days = round((root_list_end(deployment) - deployment.ra.now()) / 86_400, 3)
    return [*found, ("sekisho_crl_days", {"issuer": "root"}, days)]


def _renewing(deployment: Deployment) -> str:
    if deployment.config.tls.certificate == "local":
        return "sekisho reload"
    return "renew the file that tls.certificate names, then sekisho reload"


def resident_bytes() -> int:
    """Resident memory of this process (Linux; 0 elsewhere)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _counted(db: Transaction, ra: RegistrationAuthority) -> list[Sample]:
    return [
        *_counts(db),
        *_of_letters(db, ra),
        *_of_webhooks(db),
        *_of_work(db, ra.now()),
        *reports.samples(db, ra.now()),
    ]


def _of_webhooks(db: Transaction) -> Iterator[Sample]:
    there = hooks.endpoints(db)
    for state in EndpointState:
        count = len([each for each in there if each.state is state])
        yield "sekisho_webhook_endpoints", {"state": state}, count
    alive = {each.number for each in there if each.state is not EndpointState.ENDED}
    counts = hooks.counts(db)
    for wanted in DeliveryState:
        number = sum(n for (one, state), n in counts.items() if one in alive and state is wanted)
        yield "sekisho_webhook_deliveries", {"state": wanted}, number


def _counts(db: Transaction) -> Iterator[Sample]:
    certificates = ca.store.count_by_status(db)
    for status, count in certificates.items():
        yield "sekisho_certificates", {"status": status}, count
    # Of the register and not of a process: a restart forgets none, and none is ever struck off.
    issued = sum(count for status, count in certificates.items() if status != "reserved")
    yield "sekisho_certificates_issued_total", {}, issued
    for state, count in store.count_by_state(db).items():
        yield "sekisho_enrollments", {"state": state}, count


def _of_letters(db: Transaction, ra: RegistrationAuthority) -> Iterator[Sample]:
    letters = queue.standing(db, ra.now(), ra.settings)
    yield "sekisho_mails_waiting", {}, letters.waiting
    yield "sekisho_mails_failed", {}, letters.failed
    yield "sekisho_mails_oldest_seconds", {}, letters.oldest
    yield "sekisho_mails_sent_total", {}, letters.sent
    held = {lane.channel for lane in letters.held}
    for channel in queue.CHANNELS:
        yield "sekisho_mails_held", {"channel": channel}, int(channel in held)
    refusals = {each["command"]: each for each in mail_store.refusals(db)}
    for command in COMMANDS:
        refused = refusals.get(command)
        yield "sekisho_mails_refused_total", {"command": command}, refused["count"] if refused else 0
        if refused:
            yield "sekisho_mails_refused_timestamp_seconds", {"command": command}, refused["last_at"]


def _of_work(db: Transaction, at: int) -> Iterator[Sample]:
    """Jobs, what waits for somebody's decision, and who will not get in much longer."""
    found = jobs.standing(db)
    for state in ("waiting", "running", "failed"):
        yield "sekisho_jobs", {"state": state}, getattr(found, state)
    still = 0 if found.still_since_at is None else max(0, at - found.still_since_at)
    yield "sekisho_jobs_still_seconds", {}, still
    waiting, ending = operators.waiting(db, at, at + ENDING_SECONDS)
    yield "sekisho_proposals_waiting", {}, waiting
    yield "sekisho_proposals_ending", {}, ending
    yield "sekisho_operators_ending", {}, len(operators.endings(db, at + viewing.ENDING_SECONDS))


def _end(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp())
