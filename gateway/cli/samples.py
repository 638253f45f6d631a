"""What ``doctor`` says of the operator's certificate profiles: whether a reload would take them."""

from __future__ import annotations

from ca import linting
from gateway.serving import profiling
from gateway.serving.deployment import Deployment
from gateway.web.examined import Finding


def found(deployment: Deployment) -> list[Finding]:
    """One line for all of them. ConfigError for one that a start or a reload would refuse."""
    own = deployment.config.profile
    profiling.check(deployment)
    if not own:
        return [Finding("profiles", "ok", "the built-in ones")]
    if not linting.available():
        said = f"{', '.join(own)}: not linted, pkilint is not installed"
        return [Finding("profiles", "notice", said, linting.INSTALL)]
    return [Finding("profiles", "ok", f"{', '.join(own)}: pkilint finds no error in a sample")]
