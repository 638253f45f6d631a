"""What ``doctor`` says of the process that has the issuing CAs' keys."""

from __future__ import annotations

from pathlib import Path

from ca import emergency
from ca.signerlink import RemoteSigner, signer_status
from gateway.cli.finding import Finding
from gateway.running import rundir
from gateway.serving.deployment import Deployment, turns_of


def found(deployment: Deployment) -> list[Finding]:
    """Whether it signs, how much of what it may, and how it is kept in."""
    keys = deployment.datadir.keys
    if keys is not None:  # a gateway has none, and asks its signer
        stop = emergency.read(deployment.data, keys, turns_of(deployment.data, keys, deployment.ra.database))
        if stop.on:
            return [_stopped(stop.reason)]
    if rundir.serves(deployment.data) is None:
        return [Finding("signer", "ok", "serve starts it")]
    elsewhere = deployment.config.signer.socket
    where = Path(elsewhere) if elsewhere else deployment.data / rundir.RUN
    status = signer_status(RemoteSigner(where))
    if not isinstance(status, dict):
        hint = "no certificate is issued: see the log; then stop sekisho serve and start it again"
        return [Finding("signer", "bad", str(status), hint)]
    if status["stopped"]:
        return [_stopped(status["reason"])]
    words = f"{status['signed']} of {status['per_hour']} certificates within the hour"
    if status["signed"] >= status["per_hour"]:
        return [Finding("signer", "bad", words, "see why so many: sekisho audit show; or signer.per_hour")]
    if status["unconfined"]:
        words = f"{words}; not confined by a filter of its own: {status['unconfined']}"
        return [Finding("signer", "notice", words, "whoever takes it over may ask the kernel for anything")]
    return [Finding("signer", "ok", words)]


def _stopped(reason: str) -> Finding:
    words = f"the emergency stop is on ({reason}): nothing is signed"
    return Finding("signer", "bad", words, "when all is well again: sekisho ca resume")
