"""What pkilint says of certificates, by the rules of RFC 5280: in a process of its own, that ends with it.

It takes half a second and 40 MB to begin, which no process that serves has to have. It is the extra ``lint``:
where it is not installed nothing is linted, and whoever asks is told so.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from ca.errors import ConfigError

INSTALL = "pip install 'sekisho[lint]'"
_SECONDS = 60.0
#: What makes a certificate one that must not be issued.
_BAD = ("FATAL", "ERROR")


#: What is found because an operator's profile asks for it -> why it may stand: a recommendation that is not
#: followed, and no rule that is broken. Nothing that is built in needs a row.
MEANT: Mapping[str, str] = {
    "pkix.certificate_policies_policy_has_qualifier": "the profile's cps asks for the pointer, and RFC 5280 "
    "section 4.2.1.4 allows it, though it would rather have the OID alone",
}


@dataclass(frozen=True)
class Finding:
    """``severity``: FATAL, ERROR, WARNING, NOTICE or INFO. ``found``: the rule, where, and what it says."""

    severity: str
    found: str

    @property
    def is_bad(self) -> bool:
        return self.severity in _BAD


def available() -> bool:
    """Whether pkilint is installed."""
    return find_spec("pkilint") is not None


def lint(certificates: Mapping[str, bytes]) -> Mapping[str, list[Finding]]:
    """What is found in each (DER), from notices up. ConfigError where pkilint is missing or fails."""
    if not certificates:
        return {}
    if not available():
        raise ConfigError(f"pkilint is not installed; {INSTALL}")
    asked = {name: base64.b64encode(der).decode() for name, der in certificates.items()}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ca.linting"],
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        told = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        said = getattr(error, "stderr", None) or b""
        last = said.decode(errors="replace").strip().splitlines()[-1:] or [type(error).__name__]
        raise ConfigError(f"pkilint cannot run ({last[0]}); install it anew: {INSTALL}") from None
    return {name: [_explained(*each) for each in found] for name, found in told.items()}


def _explained(severity: str, found: str) -> Finding:
    why = MEANT.get(found.partition(" ")[0])
    return Finding(severity, found if why is None else f"{found.rstrip(' :')} ({why})")


def _run() -> None:
    """In the child: certificates on standard input, findings on standard output."""
    from pkilint import loader
    from pkilint.pkix import certificate, extension, name
    from pkilint.validation import ValidationFindingSeverity as Severity

    rules = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    told: dict[str, list[tuple[str, str]]] = {}
    for called, encoded in json.load(sys.stdin).items():
        read = loader.load_certificate(base64.b64decode(encoded), called)
        told[called] = [
            (each.finding.severity.name, f"{each.finding.code} at {found.node.path}: {each.message or ''}")
            for found in rules.validate(read.root)
            for each in found.finding_descriptions
            if each.finding.severity <= Severity.NOTICE
        ]
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    _run()
