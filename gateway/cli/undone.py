"""What ``doctor`` says of work that somebody waits for: jobs that stand still or have failed, and proposals
whose days are nearly over."""

from __future__ import annotations

from enroll.jobs import store as jobs
from enroll.operators import store as operators
from gateway.serving.deployment import Deployment
from gateway.serving.figures import ENDING_SECONDS, STILL_SECONDS
from gateway.web.examined import Finding


def of_jobs(deployment: Deployment) -> list[Finding]:
    """Jobs that are not over."""
    at = deployment.ra.now()
    standing = deployment.ra.database.read_now(jobs.standing)
    found = f"{standing.waiting} waiting, {standing.running} running, {standing.failed} failed"
    still = 0 if standing.still_since_at is None else at - standing.still_since_at
    if standing.failed:
        hint = "see why in the log, then: sekisho job list --all, sekisho job resume NUMBER"
        return [Finding("jobs", "notice", found, hint)]
    if still > STILL_SECONDS:
        found += f"; nobody was heard of at one for {still // 60} minutes"
        return [Finding("jobs", "notice", found, "a gateway does them, or: sekisho job run NUMBER")]
    return [Finding("jobs", "ok", found)]


def of_proposals(deployment: Deployment) -> list[Finding]:
    """What waits for a decision."""
    at = deployment.ra.now()
    waiting, ending = deployment.ra.database.read_now(
        lambda db: operators.waiting(db, at, at + ENDING_SECONDS)
    )
    if ending:
        found = f"{waiting} waiting, {ending} of them no longer than a day"
        return [Finding("proposals", "notice", found, "have them decided: sekisho proposal list")]
    return [Finding("proposals", "ok", f"{waiting} waiting")]
