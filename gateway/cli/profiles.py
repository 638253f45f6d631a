"""Certificate profiles, looked at: by the configuration alone, without the passphrase."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from ca import datadir, linting
from ca.authority import Issuer
from ca.certificates import to_pem
from ca.der import span
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.naming import UPN
from ca.profiles import Audience, version_of
from ca.sample import sample
from enroll.people.facts import samples
from gateway.cli.frame import Answer, answer, command, listing
from gateway.cli.root import GROUPS
from gateway.serving import profiling
from gateway.serving.config import Config, read_config

_GROUP = GROUPS["profile"]
# What the short names of certificates' parts are read as.
_ATTRIBUTES = {
    x509.NameOID.COUNTRY_NAME: "C",
    x509.NameOID.ORGANIZATION_NAME: "O",
    x509.NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    x509.NameOID.COMMON_NAME: "CN",
}


@command(_GROUP, "list")
def _list(data: Path) -> Answer:
    """List the profiles: the built-in ones, and those of sekisho.toml."""
    config, _ = _read(data)
    records = [
        {**each, "version": version_of(config.profiles[each["name"]]), "validity": _validity(each)}
        for each in profiling.figures_of(config)
    ]
    columns = {
        "name": "Name", "like": "Like", "validity": "Validity", "default": "Of people", "version": "Version",
        "description": "Description",
    }  # fmt: skip
    return listing("profiles", records, columns)


@command(_GROUP, "show")
@click.argument("name")
@click.option("--pem", is_flag=True, help="The sample certificate alone, as PEM.")
def _show(data: Path, name: str, pem: bool) -> Answer:
    """Show a profile, and a sample certificate of it for somebody who does not exist.

    The keys of the sample are thrown away; nothing of the CA is opened or signed with. Says what pkilint
    finds in it, and ends with 1 if that is an error.
    """
    config, issuer = _read(data)
    if name not in config.profiles:
        raise ConfigError(f"there is no profile {name}; there is {', '.join(config.profiles)}")
    profile, at = config.profiles[name], int(time.time())
    der = sample(profile, issuer, samples(), at)
    encoded = to_pem(der).decode()
    (figures,) = (each for each in profiling.figures_of(config) if each["name"] == name)
    found, verdict, bad = _verdict(name, der)
    value = {**figures, "version": version_of(profile), "pem": encoded, "lint": found}
    shown = [encoded.rstrip()] if pem else [*_figures(value), "", *_text(der), "", *verdict]
    return answer({"profile": value}, *shown, failed=bad)


def _read(data: Path) -> tuple[Config, Issuer]:
    files = Snapshot()
    # The newest for clients: an operator's profile is for nobody else.
    newest = next(each for each in datadir.issuers_of(data, files) if each.audience is Audience.CLIENTS)
    return read_config(data, files), newest


def _verdict(name: str, der: bytes) -> tuple[list[dict[str, str]] | None, list[str], bool]:
    if not linting.available():
        return None, [f"lint: not done, pkilint is not installed; {linting.INSTALL}"], False
    found = linting.lint({name: der})[name]
    told = [f"lint: {each.severity}: {each.found}" for each in found] or ["lint: pkilint finds nothing"]
    return [each.__dict__ for each in found], told, any(each.is_bad for each in found)


def _validity(figures: Mapping[str, Any]) -> str:
    number, unit = (figures["years"], "year") if figures["years"] else (figures["days"], "day")
    return f"{number} {unit}{'s' if number > 1 else ''}"


def _figures(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"{figures['name']}, version {figures['version']}: {figures['description']}"
    yield f"validity: {_validity(figures)}, keys: {', '.join(figures['keys'])}"
    for kind in ("subject", "alternative_names"):
        for name, before, field, after in figures[kind]:
            made = f"{before}{{{field}}}{after}" if field else before
            yield f"{kind.replace('_', ' ')}: {name} = {made}"


def _text(der: bytes) -> Iterator[str]:
    """A certificate as people read it."""
    certificate = x509.load_der_x509_certificate(der)
    yield "Sample certificate:"
    yield f"    Serial: {certificate.serial_number:x}"
    yield f"    Issuer: {_name(certificate.issuer)}"
    yield f"    Not before: {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    yield f"    Not after:  {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    yield f"    Subject: {_name(certificate.subject)}"
    for each in certificate.extensions:
        critical = " (critical)" if each.critical else ""
        yield f"    {each.oid._name}{critical}:"
        for line in _extension(each.value):
            yield f"        {line}"


def _name(name: x509.Name) -> str:
    return ", ".join(f"{_ATTRIBUTES.get(each.oid, each.oid.dotted_string)} = {each.value!s}" for each in name)


def _extension(value: x509.ExtensionType) -> Iterator[str]:
    match value:
        case x509.BasicConstraints():
            yield f"CA: {value.ca}"
        case x509.KeyUsage():
            yield ", ".join(name for name in ("digital_signature",) if getattr(value, name))
        case x509.ExtendedKeyUsage():
            yield ", ".join(f"{each._name} ({each.dotted_string})" for each in value)
        case x509.SubjectAlternativeName():
            yield from map(_general, value)
        case x509.CertificatePolicies():
            for policy in value:
                yield policy.policy_identifier.dotted_string
                yield from (f"CPS: {each}" for each in policy.policy_qualifiers or ())
        case x509.CRLDistributionPoints():
            yield from (url.value for point in value for url in point.full_name or ())
        case x509.AuthorityInformationAccess():
            yield from (f"{each.access_method._name}: {each.access_location.value}" for each in value)
        case x509.SubjectKeyIdentifier():
            yield value.digest.hex()
        case x509.AuthorityKeyIdentifier():
            yield (value.key_identifier or b"").hex()
        case _:
            yield value.public_bytes().hex()


def _general(name: x509.GeneralName) -> str:
    if isinstance(name, x509.OtherName):
        kind = "UPN" if name.type_id == UPN else name.type_id.dotted_string
        begin, end = span(name.value, 0)
        return f"{kind}: {name.value[begin:end].decode()}"
    return f"{type(name).__name__}: {name.value}"
