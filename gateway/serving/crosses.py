"""Whose cross-certificates people get in their files: those that `policy.cross_certificates` names."""

from __future__ import annotations

from ca import cross
from ca.errors import ConfigError
from gateway.serving.deployment import Deployment


def check(deployment: Deployment) -> None:
    """ConfigError for a root of which no cross-certificate was taken in."""
    roots = deployment.config.policy.cross_certificates
    missing, there = cross.unknown(deployment.datadir.authority.crosses, roots)
    if missing:
        raise ConfigError(
            f"policy.cross_certificates: no cross-certificate of {missing[0]!r} is here (there are: "
            f"{', '.join(there) or 'none'}); take it out, or: sekisho ca accept FILE"
        )
