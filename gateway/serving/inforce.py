"""What is in force: what the data directory's files held, read and checked at one moment by one process.

Files are read at the start, when a reload is asked for, and, of those that we make ourselves, when they are
due. What came of it goes to every worker as bytes; none of them reads for itself.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ca import servers
from ca.clock import SystemClock
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.profiles import versions
from enroll import timekeeping
from enroll.refusals import CONFIRM
from gateway.edge.contexts import build_entry
from gateway.edge.tls import SiteTable
from gateway.proxy import identity
from gateway.running import journal, rundir
from gateway.serving import crosses, profiling
from gateway.serving.assembly import Builders, gate_of, sites_of
from gateway.serving.config import rows_of
from gateway.serving.configured import check_unchanged
from gateway.serving.deployment import Deployment, configured_hosts, reopened, server_certificate
from gateway.serving.upstream import assertion_keys

log = logging.getLogger("sekisho.inforce")

#: Of a reload: done, refused for the operator to mend, failed by a fault of ours. Of what is due: renewed, or
#: overdue, because it could not be made.
Outcome = Literal["done", "refused", "failed", "renewed", "overdue"]

#: Seconds between two tries to make what is due of our own.
TRY_AGAIN = 600.0


@dataclass(frozen=True)
class Look:
    """What came of a look at the directory."""

    #: When it began: monotonic seconds, the same for every process here.
    read_at: float
    outcome: Outcome
    #: Why nothing has changed, for the operator.
    error: str | None = None
    #: What is in force from now on; None: what was.
    files: Snapshot | None = None
    #: From when and up to when (epoch seconds) nothing of it is due that we make ourselves.
    fresh: tuple[float, float] = (float("-inf"), float("inf"))

    @property
    def was_asked_for(self) -> bool:
        """Whether it is an answer to ``sekisho reload``."""
        return self.outcome not in ("renewed", "overdue")

    def is_due(self, now: float) -> bool:
        """Whether something that we make ourselves is to be made anew. ``now``: epoch seconds."""
        since, until = self.fresh
        return not since <= now < until

    def to_bytes(self) -> bytes:
        """For another process of ours."""
        held = None
        if self.files is not None:
            held = {str(path): _text(content) for path, content in self.files.held.items()}
        taken = self.files.taken_at if self.files is not None else 0.0
        told: dict[str, Any] = {"read_at": self.read_at, "outcome": self.outcome, "error": self.error}
        told["fresh"] = self.fresh
        return json.dumps(told | {"taken_at": taken, "held": held}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Look:
        told = json.loads(data)
        files = None
        if told["held"] is not None:
            held = {Path(path): _bytes(content) for path, content in told["held"].items()}
            files = Snapshot(held, told["taken_at"])
        return cls(told["read_at"], told["outcome"], told["error"], files, tuple(told["fresh"]))


def first(deployment: Deployment, directory: Path | None) -> Look:
    """What an opened deployment serves by, once `check` has made what was missing."""
    return Look(
        deployment.files.taken_at, "done", None, deployment.files.frozen_now(), fresh(deployment, directory)
    )


def again(deployment: Deployment, directory: Path | None, extra: Builders | None = None) -> Look:
    """Reads everything anew, as a reload asks for, and checks it as a whole."""
    files = Snapshot()
    try:
        found = _taken_over(deployment, directory, files, extra)
        if versions(found.config.profiles) != versions(deployment.config.profiles):
            profiling.hand_over(found.ra.authority.signer, found.config.profiles)
    except ConfigError as error:
        return Look(files.taken_at, "refused", str(error))
    except Exception as error:
        log.exception("reload failed, nothing has changed")
        return Look(files.taken_at, "failed", f"{type(error).__name__}: see the log")
    warn(found)
    return Look(files.taken_at, "done", None, files.frozen_now(), fresh(found, directory))


def refused(deployment: Deployment, directory: Path | None, extra: Builders | None) -> str:
    """Why a reload would be refused by what the directory says now; empty if it would not. Changes nothing
    that is in force, and may take seconds."""
    try:
        _taken_over(deployment, directory, Snapshot(), extra)
    except ConfigError as error:
        return str(error)
    return ""


def warn(deployment: Deployment) -> None:
    """What is weak about what is served, in the log: it is served all the same."""
    if deployment.config.tls.certificate != "local":
        made = server_certificate(deployment, SystemClock().seconds())
        for weakness in servers.weaknesses(made.chain, servers.roots_of_this_machine()):
            log.warning("tls.certificate: %s; %s", weakness.found, weakness.hint)


def renewed(deployment: Deployment, directory: Path | None) -> Look:
    """Makes anew what of our own is due, or takes what another process has made, and leaves the rest."""
    begun, now = time.monotonic(), SystemClock().seconds()
    doubt = timekeeping.doubt_at_once(deployment.ra)
    if doubt is not None:
        return Look(begun, "overdue", f"what may be due is not made anew: {doubt}; {CONFIRM}")
    certificate, keys = servers.local_files(deployment.data), identity.keys_file(deployment.data)
    own = (*certificate, keys) if _has_keys(deployment, directory) else certificate
    files = deployment.files.thawed(*own)
    try:
        with rundir.turn(directory):
            if deployment.config.tls.certificate == "local":
                servers.local(deployment.datadir, configured_hosts(deployment.config), now, files)
            if _has_keys(deployment, directory):
                identity.open_keys(deployment.data, deployment.datadir.vault, deployment.ra.now(), files)
    except (ConfigError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return Look(begun, "overdue", f"what is due cannot be made: {why}")
    by_these = replace(deployment, files=files.frozen_now())
    return Look(begun, "renewed", None, by_these.files, fresh(by_these, directory))


def check(deployment: Deployment, directory: Path | None, extra: Builders | None = None) -> None:
    """Makes everything that would be served, ``extra`` included. ConfigError for what the operator has to
    mend.

    Certificates and keys that are missing are made, by one process at a time.
    """
    profiling.check(deployment)
    crosses.check(deployment)
    with rundir.turn(directory):
        sites = sites_of(deployment, gate_of(deployment), extra)
    build_entry(SiteTable(sites))


def _has_keys(deployment: Deployment, directory: Path | None) -> bool:
    """Whether keys of assertions are made anew as time passes."""
    return directory is not None and not deployment.is_demo


def fresh(deployment: Deployment, directory: Path | None) -> tuple[float, float]:
    """From when and up to when (epoch seconds) nothing of it is due that we make ourselves.

    A demo has other times than its visitors' browsers, and one set of keys all along; so has who serves no
    directory.
    """
    begins, ends = float("-inf"), float("inf")
    if _has_keys(deployment, directory):
        begins, ends = identity.good_for(assertion_keys(deployment))
    if deployment.config.tls.certificate == "local":
        kept = server_certificate(deployment, SystemClock().seconds())
        since, until = servers.good_for(deployment.datadir, kept)
        begins, ends = max(begins, since), min(ends, until)
    return begins, ends


def _taken_over(
    deployment: Deployment, directory: Path | None, files: Snapshot, extra: Builders | None
) -> Deployment:
    """The deployment that a reload would go over to. ConfigError for what the operator has to mend."""
    found = reopened(deployment, files)
    check_unchanged(rows_of(deployment.config), rows_of(found.config))
    if found.config.log.file:
        journal.check(deployment.data / found.config.log.file)
    check(found, directory, extra)
    return found


def _text(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
