"""What ``doctor`` says of whose the files are, and who else may read them."""

from __future__ import annotations

import stat
from pathlib import Path

from ca import apart
from ca.files import owner_of
from gateway.serving.database import DATABASE
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding

# The register's: of whichever user came first, where the keys have one of their own.
_OF_BOTH = (f"{DATABASE}-wal", f"{DATABASE}-shm")


def found(deployment: Deployment) -> list[Finding]:
    """Files of somebody else's, and private ones that others may read."""
    data, owner = deployment.data, owner_of(deployment.data)
    shared = apart.home_of(data) is not None
    strangers = [
        path
        for path in data.rglob("*")
        if path.exists() and owner_of(path) != owner and not (shared and path.name in _OF_BOTH)
    ]
    if strangers:
        words = f"not {owner}'s, as the rest is: {' '.join(map(str, strangers))}"
        return [Finding("permissions", "bad", words, f"chown -R {owner} {data}")]
    loose = [path for path in _private(deployment) if _loose(path, shared=shared)]
    if not loose:
        besides = " but the signer" if shared else ""
        return [Finding("permissions", "ok", f"readable by nobody else{besides}")]
    names = " ".join(str(path) for path in loose)
    return [Finding("permissions", "bad", f"others may read {names}", f"chmod go-rwx {names}")]


def _loose(path: Path, *, shared: bool) -> bool:
    group = shared and (path.name == DATABASE or (path / DATABASE).exists())
    return bool(stat.S_IMODE(path.stat().st_mode) & (0o007 if group else 0o077))


def _private(deployment: Deployment) -> list[Path]:
    keys = [*(deployment.data / "ca").glob("*.key"), *(deployment.data / "servers").glob("*.key")]
    named = [
        deployment.data,
        deployment.data / "vault.json",
        deployment.data / DATABASE,
        deployment.outbox,
        deployment.ra.epochs.files.folder,
        *keys,
    ]
    return [path for path in named if path.exists()]
