"""Every figure of a practice statement, read from where it is decided: the settings in force, the CAs'
certificates and addresses, the table of profiles, and the constants that the code works by.

Nothing of it is secret: no passphrase is asked for, and no key is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ca import datadir, pkcs12, profiles, publication, sealing
from ca.certificates import JST, key_identifier, public_key_of, serial_from
from ca.files import Snapshot
from ca.generations import store
from ca.generations.states import Generations, generations
from ca.keyplaces import stem_of
from ca.keys import kind_of
from ca.profiles import DAY, ISSUING, MINUTE, RESPONDER, ROOT, Audience, Profile, Source
from ca.publication import Site
from ca.revocation import REASONS
from ca.signing import hash_of
from enroll.jst import shown_day
from enroll.people.applications import AT_ONCE
from enroll.people.applications import REASONS as OF_REISSUES
from gateway.practice import document
from gateway.serving import record
from gateway.serving.config import FILE_NAME, Config, read_config, settings_of
from gateway.serving.database import database_of, is_made
from gateway.serving.deployment import SCHEMAS
from gateway.serving.standing import compare, journal_of
from gateway.web import sessions

_HOUR = 3_600
_KINDS = {
    "rsa-2048": "RSA 2048",
    "rsa-3072": "RSA 3072",
    "rsa-4096": "RSA 4096",
    "ec-p256": "ECDSA P-256",
    "ec-p384": "ECDSA P-384",
    "ed25519": "Ed25519",
}
#: Whether the key is one of a curve, and the hash -> what it signs with (RFC 5758, RFC 4055).
_ALGORITHMS = {
    (True, "sha256"): ("ecdsa-with-SHA256", "1.2.840.10045.4.3.2"),
    (True, "sha384"): ("ecdsa-with-SHA384", "1.2.840.10045.4.3.3"),
    (False, "sha256"): ("sha256WithRSAEncryption", "1.2.840.113549.1.1.11"),
}
#: RFC 5280 section 4.2.1.3.
_USAGES = {
    "digital_signature": "digitalSignature",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}
#: RFC 5280 section 4.2.1.12.
_PURPOSES = {
    "1.3.6.1.5.5.7.3.2": "id-kp-clientAuth",
    "1.3.6.1.5.5.7.3.4": "id-kp-emailProtection",
    "1.3.6.1.5.5.7.3.9": "id-kp-OCSPSigning",
    "1.3.6.1.5.5.7.3.17": "id-kp-ipsecIKE",
    "1.3.6.1.5.5.7.3.36": "id-kp-documentSigning",
    "1.3.6.1.4.1.311.20.2.2": "id-ms-kp-sc-logon",
}


def figures(data: Path, template: document.Template, at: int) -> dict[str, Any]:
    """The figures of a data directory by name: texts, numbers in the unit of the name's last word, lists of
    records. What is not there is None or empty. ConfigError for a directory or configuration that is none."""
    files = Snapshot()
    marker, config = datadir.read_marker(data, files), read_config(data, files)
    settings = files.read(data / FILE_NAME, "configuration")
    return {
        "template_version": document.VERSION,
        "template_digest": template.digest,
        "software_version": version("sekisho"),
        "configuration_digest": hashlib.sha256(settings).hexdigest(),
        "written_on": shown_day(at),
        **_authorities(data, marker, files, at),
        **_keys(data, marker, config),
        **_profiles(config),
        **_settings(config),
        **_constants(),
    }


def _authorities(data: Path, marker: Mapping[str, Any], files: Snapshot, at: int) -> dict[str, Any]:
    root = datadir.read_certificate(data / "ca/root.pem", files)
    rows = {row["id"]: publication.from_row(row) for row in marker["issuers"]}
    audiences = {row["id"]: datadir.audience_of(row) for row in marker["issuers"]}
    found = _generations(data, audiences, at)
    issuing = {each: _issuing(data, each, site, found, files) for each, site in rows.items()}
    base = publication.base_of(rows[found.latest])
    told = publication.above(base, key_identifier(root).hex())
    return {
        "root": _certificate(root) | {"crl": told.crl, "certificate": told.issuer},
        "cas": list(issuing.values()),
        "current": None if found.issuing is None else issuing[found.issuing],
        "repository": base,
    }


def _keys(data: Path, marker: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Where each CA's key is: in the token of a label, in a sealed file, or not here."""
    names = {"root": "", **{f"issuing-{row['id'][:16]}": row["name"] for row in marker["issuers"]}}
    places = []
    for place, name in names.items():
        table = config.keys.get(place)
        token = config.tokens[table.token] if table is not None else None
        sealed = table is None and (data / f"ca/{place}.key").exists()
        label = token.label or token.serial if token is not None else None
        places.append({"ca": name, "token": label, "sealed": sealed})
    return {"keys": places, "root_key_here": bool(places[0]["token"] or places[0]["sealed"])}


def _issuing(data: Path, each: str, site: Site, found: Generations, files: Snapshot) -> dict[str, Any]:
    planned = found.rows[each].planned_at
    return {
        **_certificate(datadir.read_certificate(data / f"{stem_of(each)}.pem", files)),
        "state": found.state(each).value,
        "planned_on": shown_day(planned) if planned is not None and planned > found.at else None,
        "crl": site.crl,
        "ocsp": site.ocsp,
        "certificate": site.issuer,
        "shards": site.shards,
    }


def _generations(data: Path, audiences: Mapping[str, Audience], at: int) -> Generations:
    """The issuing CAs as the register has them; a directory that nobody has opened has none yet."""
    if not is_made(data, read_config(data).database):
        return generations(list(audiences), {}, at, audiences)
    kept = journal_of(data)
    database = database_of(data, SCHEMAS, kept)
    try:
        compare(data, kept, database)
        return generations(list(audiences), database.read_now(store.rows), at, audiences)
    finally:
        database.close()


def _certificate(found: x509.Certificate) -> dict[str, Any]:
    key = public_key_of(found)
    algorithm, oid = _ALGORITHMS[isinstance(key, ec.EllipticCurvePublicKey), hash_of(key).name]
    return {
        "name": str(found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value),
        "subject": found.subject.rfc4514_string(),
        "key": _KINDS[kind_of(key)],
        "signs_with": algorithm,
        "signs_oid": oid,
        "begins_on": _day(found.not_valid_before_utc),
        "ends_on": _day(found.not_valid_after_utc),
        "serial": f"{found.serial_number:x}",
        "fingerprint": found.fingerprint(hashes.SHA256()).hex(),
    }


def _profiles(config: Config) -> dict[str, Any]:
    clients = [_client(each, config) for each in config.profiles.values()]
    return {
        "profiles": {each.name: _profile(each, each.key_kinds) for each in (ROOT, ISSUING, RESPONDER)},
        "clients": clients,
        "policies": [each for each in clients if each["policy"]],
    }


def _client(row: Profile, config: Config) -> dict[str, Any]:
    """A profile that people or programs have: built in, or the operator's own."""
    wanted = config.policy.person_key
    made = (wanted if wanted in row.key_kinds else row.key_kinds[0],)
    return _profile(row, row.key_kinds if row.needs_names else made) | {
        "name": row.name,
        "program": row.needs_names,
        "usual": row.name == config.policy.person_profile,
        "subject": [_said(*each) for each in row.subject],
        "alternative": [_said(*each) for each in row.alternative],
        "policy": row.policy,
        "cps": row.cps,
    }


def _said(name: str, source: Source) -> str:
    """A part of a name as the profile makes it: ``O=霞が関商事``, ``email={user.mail}``."""
    return f"{name}={source.of(f'{{{source.field}}}') if source.field else source.before}"


def _profile(row: Profile, kinds: tuple[str, ...]) -> dict[str, Any]:
    return {
        "years": row.years or None,
        "days": row.days or None,
        "backdate_minutes": row.backdate // MINUTE,
        "key_kinds": [_KINDS[each] for each in kinds],
        "usage": [name for each, name in _USAGES.items() if each in row.key_usage],
        "purposes": [
            _PURPOSES.get(each.dotted_string, each.dotted_string) for each in row.extended_key_usage
        ],
        "path_length": "-" if row.path_length is None else str(row.path_length),
    }


def _settings(config: Config) -> dict[str, Any]:
    policy, enrollment = config.policy, settings_of(config)
    return {
        "operator": config.operator.name,
        "telephone": config.operator.telephone,
        "mail_from": config.mail.from_,
        "pickup_url": enrollment.pickup_url,
        "renewal_url": enrollment.renewal_url,
        "service_url": enrollment.service_url,
        "help_url": enrollment.help_url,
        "zone": config.protocol.zone,
        "terms_url": config.protocol.terms_of_service,
        "window_days": policy.window_days,
        "window_downloads": policy.window_downloads,
        "announced_days": policy.announced_days,
        "renewal_days": policy.renewal_days,
        "reminder_days": policy.reminder_days or None,
        "grace_days": policy.grace_days or None,
        "decision_days": policy.decision_days or None,
        "lineages": policy.lineages,
        "revoke_renewed_days": None if policy.revoke_renewed_days < 0 else str(policy.revoke_renewed_days),
        "attempts": policy.attempts,
        "attempt_seconds": policy.attempt_seconds,
        "quota": _number(config.protocol.quota),
        "ceiling_per_hour": _number(config.signer.per_hour),
        "clock_ahead_days": config.clock.ahead_days,
        "clock_behind_minutes": config.clock.behind_minutes,
        "journal_copy": config.journal.copy,
        "journal_syslog": config.journal.syslog,
        "backup_warn_hours": _number(config.backup.warn_hours) if config.backup.warn_hours else None,
    }


def _constants() -> dict[str, Any]:
    cost = sealing.RFC9106_SECOND
    return {
        "crl_days": profiles.CRL_LIFETIME // DAY,
        "crl_period_hours": profiles.CRL_PERIOD // _HOUR,
        "ocsp_days": profiles.ANSWER_LIFETIME // DAY,
        "ocsp_period_hours": profiles.ANSWER_PERIOD // _HOUR,
        "root_crl_days": profiles.ROOT_LIST_LIFETIME // DAY,
        "checkpoint_lines": _number(record.LINES),
        "checkpoint_hours": record.SECONDS // _HOUR,
        "session_idle_minutes": sessions.IDLE // MINUTE,
        "session_hours": sessions.ABSOLUTE // _HOUR,
        "p12_rounds": _number(pkcs12.ROUNDS),
        "passphrase_characters": sealing.MINIMUM_PASSPHRASE,
        "passphrase_mebibytes": cost.memory_kib // 1_024,
        "serial_bits": serial_from(b"\xff" * 16).bit_length() - 1,
        "operator_reasons": [f"{row.name} ({row.code})" for row in REASONS.values() if row.by_operator],
        "reissue_reasons": [
            {"ja": ja, "en": en, "at_once": code in AT_ONCE} for code, (ja, en) in OF_REISSUES.items()
        ],
    }


def _day(moment: datetime) -> str:
    return moment.astimezone(JST).strftime("%Y.%m.%d")


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"
