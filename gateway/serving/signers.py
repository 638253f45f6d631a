"""What ``doctor`` says of the process that has the issuing CAs' keys."""

from __future__ import annotations

from pathlib import Path

from ca import apart, emergency
from ca.files import name_of
from ca.signerlink import SOCKET, RemoteSigner, signer_status
from gateway.running import rundir
from gateway.serving.deployment import Deployment, turns_of
from gateway.web.examined import Finding


def found(deployment: Deployment) -> list[Finding]:
    """Whether it signs, how much of what it may, and how it is kept in."""
    elsewhere, home = deployment.config.signer.socket, apart.home_of(deployment.data)
    keys = deployment.datadir.keys
    if home is None:
        if keys is not None:  # else it runs in the gateway, and the signer is asked
            known = turns_of(deployment.data, keys, deployment.ra.database)
            stop = emergency.read(deployment.data, keys, known)
            if stop.on:
                return [_stopped(stop.reason)]
        if rundir.serves(deployment.data) is None:
            return [Finding("signer", "ok", "serve starts it")]
        if deployment.is_demo and not (deployment.data / rundir.RUN / SOCKET).exists():
            return [Finding("signer", "ok", "none: whoever serves a demo signs by itself")]
    elif left := [path.name for path in (deployment.data / "ca").glob("*.key")]:
        words = f"{', '.join(left)} is where whoever serves can read it"
        return [Finding("signer", "bad", words, f"stop both; as root: sekisho ca part {home}")]
    status = signer_status(RemoteSigner(Path(elsewhere) if elsewhere else deployment.data / rundir.RUN))
    if not isinstance(status, dict):
        started = "systemctl start sekisho-signer" if elsewhere else "stop sekisho serve and start it again"
        hint = f"no certificate is issued: see the log; then {started}"
        return [Finding("signer", "bad", str(status), hint)]
    if status["stopped"]:
        return [_stopped(status["reason"])]
    words = f"{status['signed']} of {status['per_hour']} certificates within the hour"
    if status["signed"] >= status["per_hour"]:
        return [Finding("signer", "bad", words, "see why so many: sekisho audit show; or signer.per_hour")]
    if status.get("full"):
        words = f"it remembers {status['revoked']} revocations, and has room for no more"
        return [Finding("signer", "bad", words, "start it again: those that have ended make room")]
    if status["unconfined"]:
        words = f"{words}; not confined by a filter of its own: {status['unconfined']}"
        return [Finding("signer", "notice", words, "whoever takes it over may ask the kernel for anything")]
    if home is not None:
        return [Finding("signer", "ok", f"{words}, as user {name_of(status['user'])}, keys in {home}")]
    if elsewhere:
        words = f"{words}; its keys are in {deployment.data}/ca, where whoever serves can read them"
        hint = "give them a user of their own: gateway/packaging/sekisho-signer.service says how"
        return [Finding("signer", "notice", words, hint)]
    return [Finding("signer", "ok", words)]


def _stopped(reason: str) -> Finding:
    words = f"the emergency stop is on ({reason}): nothing is signed"
    return Finding("signer", "bad", words, "when all is well again: sekisho ca resume")
