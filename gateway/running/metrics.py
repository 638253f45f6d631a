"""Figures in the text format of Prometheus (its exposition format, version 0.0.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: Name, labels, value.
Sample = tuple[str, Mapping[str, str], float]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")

#: What each figure is. A name that is not here cannot be shown.
MEANINGS: Mapping[str, tuple[str, str]] = {
    "sekisho_handshakes_total": ("counter", "TLS handshakes by outcome"),
    "sekisho_handshake_seconds": ("histogram", "Time of handshakes that were finished"),
    "sekisho_events_total": ("counter", "Refusals, limits hit and connections ended"),
    "sekisho_presented_certificates_total": ("counter", "Client certificates by site and state"),
    "sekisho_requests_total": ("counter", "Requests by site, method and class of status"),
    "sekisho_request_seconds": ("histogram", "Time from a request's head to the end of its answer"),
    "sekisho_connections_open": ("gauge", "Open connections, unfinished handshakes included"),
    "sekisho_log_lines_dropped_total": ("counter", "Log lines that were not written, or not in time"),
    "sekisho_keys_ready": ("gauge", "Keys made in advance"),
    "sekisho_ca_full_length_days": (
        "gauge",
        "Days in which an issuing CA still gives certificates their full time",
    ),
    "sekisho_certificate_days": ("gauge", "Days until one of our own certificates ends"),
    "sekisho_certificates_issued_total": ("counter", "Certificates issued since the beginning"),
    "sekisho_certificates": ("gauge", "Certificates in the register by status"),
    "sekisho_crl_number": ("gauge", "Number of an issuing CA's published revocation list"),
    "sekisho_crl_entries": ("gauge", "Lines of an issuing CA's published revocation list"),
    "sekisho_crl_days": ("gauge", "Days until an issuing CA's published revocation list ends"),
    "sekisho_revocation_requests_total": ("counter", "Answers of the site of plain HTTP by kind and status"),
    "sekisho_ocsp_signed_total": (
        "counter",
        "Answers (OCSP) that were made, ahead or because somebody asked",
    ),
    "sekisho_enrollments": ("gauge", "Enrollments by state"),
    "sekisho_mails_waiting": ("gauge", "Letters that have not left yet"),
    "sekisho_mails_failed": ("gauge", "Letters refused for good, or come back"),
    "sekisho_mails_oldest_seconds": ("gauge", "For how long the oldest letter could have left and did not"),
    "sekisho_mails_held": ("gauge", "1 while a refusal that is no recipient's holds every letter"),
    "sekisho_mails_sent_total": ("counter", "Letters that have left since the beginning"),
    "sekisho_mails_refused_total": ("counter", "Refusals on the way out by the command that was refused"),
    "sekisho_mails_refused_timestamp_seconds": ("gauge", "When a command was refused last"),
    "sekisho_jobs": ("gauge", "Jobs that wait, run or have failed, by state"),
    "sekisho_jobs_still_seconds": (
        "gauge",
        "For how long nobody was heard of at the job that has stood still longest",
    ),
    "sekisho_proposals_waiting": ("gauge", "Proposals that wait for a decision"),
    "sekisho_proposals_ending": ("gauge", "Of those the ones that expire within a day"),
    "sekisho_operators_ending": (
        "gauge",
        "Operators and services whose last certificate ends within 30 days, or has ended",
    ),
    "sekisho_webhook_endpoints": ("gauge", "Endpoints of webhooks by state"),
    "sekisho_webhook_deliveries": ("gauge", "Deliveries to endpoints that have not ended, by state"),
    "sekisho_report_expiring": ("gauge", "Certificates that end within 13 weeks, by door"),
    "sekisho_report_pickup": ("gauge", "Requests of people opened within 13 weeks, by what became of them"),
    "sekisho_report_failures": ("gauge", "Reference numbers given out within 13 weeks, by site and code"),
    "sekisho_report_bounces": ("gauge", "Mails of 13 weeks: sent, bounced, refused for good"),
    "sekisho_report_issuance": ("gauge", "Certificates issued within 13 weeks, by what for and door"),
    "sekisho_backup_age_seconds": ("gauge", "How old the last good backup is"),
    "sekisho_database_up": ("gauge", "1 while the database answers"),
    "sekisho_database_bytes": ("gauge", "Size of the database and its log"),
    "sekisho_worker_failing": ("gauge", "1 for a worker that ends each time it is started"),
    "sekisho_leader": ("gauge", "1 for the worker that looks after time and mail"),
    "sekisho_lead_term": (
        "gauge",
        "The term in which this node leads others; 0: it does not, or is alone",
    ),
    "sekisho_clock_in_doubt": ("gauge", "1 for a worker that does not believe its clock"),
    "sekisho_clock_off_seconds": ("gauge", "Seconds by which a clock in doubt is ahead; negative: behind"),
    "sekisho_signer_up": ("gauge", "1 while the process that has the issuing keys answers"),
    "sekisho_signer_stopped": ("gauge", "1 while the emergency stop is on"),
    "sekisho_token_up": ("gauge", "1 while a token that has keys of CAs answers"),
    "sekisho_signer_signed_within_hour": ("gauge", "Certificates that were signed within the last hour"),
    "sekisho_reloads_total": ("counter", "Reloads by outcome"),
    "sekisho_upstream_up": ("gauge", "1 for an address of the upstream that was well when last heard of"),
    "sekisho_resident_bytes": ("gauge", "Resident memory of a worker"),
}


def exposition(samples: Iterable[Sample]) -> str:
    """The text. Samples of one name stand together, as the format demands; KeyError for an unknown name."""
    families: dict[str, list[str]] = {}
    for name, labels, value in samples:
        family = name if name in MEANINGS else _SUFFIX.sub("", name)
        if family not in MEANINGS:
            raise KeyError(name)
        families.setdefault(family, []).append(_line(name, labels, value))
    lines: list[str] = []
    for family in sorted(families):
        kind, meaning = MEANINGS[family]
        lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}", *families[family]]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
