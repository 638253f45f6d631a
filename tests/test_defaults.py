"""Lifetimes, quotas and bounds, each written down a second time: whoever changes one says so here as well.

A number that a test takes from the code it tests is right whatever it is. What follows from each of these is
tested where it follows; that it is this number, here.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.profiles import PROFILES
from ca.sealing import RFC9106_SECOND
from enroll.settings import Settings
from gateway.proxy.waiting import Waits
from gateway.serving.config import Config

#: What ``sekisho init`` writes, but for names, addresses and texts.
SETTINGS = """
[listen]
host = ["127.0.0.1"]
port = 8443
public_port = 0
proxy_protocol = []
[revocation]
port = 0
[internal]
host = "127.0.0.1"
port = 0
hosts = []
[policy]
window_days = 30
window_downloads = 5
announced_days = 30
ticket_seconds = 600
renewal_days = 30
reminder_days = 7
grace_days = 0
decision_days = 3
lineages = 1
revoke_renewed_days = -1
phones = false
person_key = "rsa-2048"
person_profile = "client-person"
cross_certificates = []
attempts = 10
attempt_seconds = 900
[mail]
transport = "outbox"
port = 587
security = "starttls"
timeout = 30.0
connections = 4
letters_per_connection = 100
per_minute = 1200
notice_hours = "8:00-20:00"
hours = ""
[postcards]
print = "batches"
writing = "horizontal"
frame = true
sender = []
[webhooks]
hosts = []
networks = []
keep_days = 30
[protocol]
quota = 200
[upstream]
connections = 1000
public = []
certificate = []
connect_seconds = 5.0
answer_seconds = 60.0
body_seconds = 300.0
tunnel_seconds = 3600.0
rewrite_addresses = true
[limits]
proxy_header = 3.0
handshake = 10.0
head = 15.0
idle = 75.0
stall = 20.0
stall_bytes = 2048
lingering = 5.0
drain = 10.0
tick = 0.5
handshake_bytes = 262144
barren_bytes = 65536
line_bytes = 8190
headers = 100
connections = 10000
connections_per_address = 2000
connections_per_certificate = 200
handshakes_per_address = 100
[rates]
page_address = 10.0
page_certificate = 2.0
protocol_address = 50.0
protocol_certificate = 20.0
burst_seconds = 10.0
[log]
level = "info"
file = ""
access = true
[database]
url = ""
password_file = ""
sslmode = "verify-full"
ca = ""
pool = 8
connect_seconds = 5.0
statement_seconds = 30.0
lock_seconds = 30.0
cache = 64
nodes = 1
[clock]
ahead_days = 7
behind_minutes = 10
[signer]
per_hour = 10000
[journal]
copy = ""
syslog = ""
[backup]
warn_hours = 26.0
[retention]
people_days = 1827
letters_days = 400
applications_days = 1827
jobs_days = 90
proposals_days = 1096
"""

#: Module -> name -> value. Seconds, bytes or a number, as the name's own comment says.
CONSTANTS: dict[str, dict[str, object]] = {
    "ca.pkcs12": {"ROUNDS": 100_000, "ENTROPY_BYTES": 80, "LONG_PASSWORD": 31, "MAX_PASSWORD": 1_024},
    "ca.sealing": {"MINIMUM_PASSPHRASE": 8},
    "ca.profiles": {
        "CRL_LIFETIME": 691_200, "CRL_PERIOD": 86_400, "CRL_AHEAD": 600, "ANSWER_LIFETIME": 691_200,
        "ANSWER_PERIOD": 86_400, "ROOT_LIST_LIFETIME": 31_622_400,
    },
    "ca.servers": {"RENEW_BEFORE": 2_592_000},
    "ca.trust": {"MAX_CERTIFICATE_BYTES": 16_384, "MAX_EXTENSIONS": 32},
    "ca.revocation": {"HOLD": 6},
    "enroll.throttle": {"_PER_ADDRESS": 10, "MOST_WAITING": 100, "_SOON": 5},
    "enroll.people.passwords": {
        "_MEMORY_KIB": 19_456, "_PASSES": 2, "_LANES": 1, "_DRAWN_MEMORY_KIB": 1_024, "_DRAWN_PASSES": 1,
        "_DRAWN_SHORTEST": 12, "_SHORTEST": 8, "_LONGEST": 128,
    },
    "enroll.people.applications": {"MOST_OPEN": 100},
    "enroll.operators.roles": {"MOST_REVOCATIONS": 10},
    "enroll.operators.asking": {"BUSINESS_DAYS": 5},
    "enroll.operators.kinds.applications": {"MAIL_JUST_CHANGED": 1_209_600},
    "enroll.operators.imports": {"MOST_ROWS": 20_000},
    "enroll.operators.codes": {"LIFETIME": 86_400},
    "enroll.operators.emergency": {"LIFETIME": 3_600, "REVIEW_DAYS": 1},
    "enroll.jobs.running": {"STALE": 30, "BATCH": 4},
    "enroll.scheduler": {"_STUCK_SECONDS": 60},
    "enroll.timekeeping": {"_LEAP": 300},
    "enroll.mail.bounces": {"MAX_BYTES": 1_048_576},
    "enroll.mail.delivery": {"_LAST_ANSWER": 5.0, "_RENEWAL": 40.0, "_DISABLED": 3_600},
    "enroll.mail.store": {"LEASE": 120},
    "enroll.hooks.states": {
        "WAITS": (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400), "JITTER": 0.1,
        "LONGEST_WAIT": 86_400,
    },
    "enroll.hooks.store": {"LEASE": 60},
    "enroll.hooks.posting": {"AT_ONCE": 4},
    "enroll.hooks.endpoints": {"OVERLAP": 86_400, "MOST": 50},
    "enroll.hooks.signatures": {"SECRET_BYTES": 32},
    "enroll.hooks.outbox": {"_AT_ONCE": 200, "_MOST_WAITING": 10_000},
    "enroll.mail.queue": {
        "_BACKOFF": (60, 300, 900, 3_600, 14_400), "_HOLD": (60, 300, 900), "_GIVE_UP": 432_000,
        "_UNCLEAR": 3,
    },
    "enroll.acme.nonces": {"LIFETIME": 3_600, "SLOTS": 8_388_608},
    "enroll.acme.ordering": {
        "ORDER_LIFETIME": 86_400, "AUTHORIZATION_LIFETIME": 2_592_000, "MAX_OPEN_ORDERS": 200,
    },
    "enroll.acme.orders": {"MAX_IDENTIFIERS": 20},
    "enroll.acme.accounts": {"MAX_CONTACTS": 5},
    "enroll.acme.registration": {"MAX_BY_CERTIFICATE": 100},
    "enroll.acme.renewalinfo": {"RETRY_AFTER": 21_600},
    "enroll.acme.jws": {"MAX_BODY": 65_536},
    "enroll.acme.wire": {"MAX_DEPTH": 16, "MAX_TEXT": 16_384},
    "enroll.acme.credentials": {"KEY_BYTES": 32},
    "gateway.web.sessions": {
        "IDLE": 1_800, "ABSOLUTE": 28_800, "_ON_THE_WAY": 60, "_TOUCH": 60, "IDLE_AT": {"console": 900},
    },
    "gateway.web.challenges": {"GOOD_FOR": 300},
    "gateway.sites.console.asking": {"_KEPT_FOR": 28_800, "_KEPT_MOST": 40_000},
    "gateway.web.references": {"_KEPT": 7_776_000, "KEPT_PER_KIND": 10_000, "_LONGEST": 200},
    "gateway.web.uploads": {
        "LARGEST": 5_242_880, "_FIELDS": 16_384, "_READ_AWAY": 67_108_864, "_MOST_PARTS": 20,
    },
    "gateway.web.undecided": {"MOST": 3},
    "gateway.web.pages": {"_FORM_LIMIT": 65_536, "_MOST_FIELDS": 100},
    "gateway.sites.certificate": {"MOST_WAITING": 8},
    "gateway.proxy.identity": {
        "LIFETIME": 60, "REUSED": 20, "ROTATION": 2_592_000, "_AHEAD": 86_400, "_PUBLISHED": 3, "_SKEW": 5,
    },
    "gateway.proxy.exchange": {"_HEAD_BYTES": 65_536, "_HEAD_FIELDS": 200, "_INTERIM": 16},
    "gateway.running.supervisor": {"_FEW": 3, "_STARTING": 120.0, "NOBODY": 15.0, "SILENCE": 30.0},
    "gateway.serving.figures": {"_SERVER_SECONDS": 2_592_000, "_LATE_SECONDS": 3_600, "ROOM": 16_777_216},
    "gateway.serving.authority": {
        "_SERVER_DAYS": 14, "_ISSUER_DAYS": 1_098, "_OLDER_DAYS": 90, "_ROOT_DAYS": 1_098,
    },
    "gateway.cli.ageing": {"_FILES": 1_000, "_FREE_PERCENT": 10},
    "gateway.cli.doctor": {"_QUEUE": 100, "_LATE_SECONDS": 3_600},
}  # fmt: skip

_RSA = ("rsa-2048", "rsa-3072", "rsa-4096")
#: Profile -> key kinds, (years, days), seconds that notBefore lies before, key usage, purposes, path length.
PROFILE_ROWS = {
    "root": (("ec-p384", "rsa-4096", "rsa-3072", "ec-p256"), (20, 0), 86_400, "ca", (), None),
    "issuing": (("ec-p256", "ec-p384", *_RSA), (10, 0), 86_400, "ca", (), 0),
    "cross": (("ec-p384", "rsa-4096", "rsa-3072", "ec-p256"), (10, 0), 86_400, "ca", (), 1),
    "client-person": ((*_RSA, "ec-p256", "ec-p384"), (3, 0), 600, "leaf", ("1.3.6.1.5.5.7.3.2",), None),
    "client-automated": (
        ("ec-p256", "ec-p384", *_RSA, "ed25519"), (0, 90), 600, "leaf", ("1.3.6.1.5.5.7.3.2",), None,
    ),
    "client-operator": ((*_RSA, "ec-p256", "ec-p384"), (1, 0), 600, "leaf", ("1.3.6.1.5.5.7.3.2",), None),
    "server": (("ec-p256", "ec-p384", *_RSA), (0, 397), 600, "leaf", ("1.3.6.1.5.5.7.3.1",), None),
    "responder": (("ec-p256",), (0, 30), 600, "leaf", ("1.3.6.1.5.5.7.3.9",), None),
}  # fmt: skip
_USAGES = {"ca": {"key_cert_sign", "crl_sign"}, "leaf": {"digital_signature"}}


def test_the_settings() -> None:
    """Each section's numbers, switches and choices, as an operator finds them in a new file."""
    config, expected = Config(), tomllib.loads(SETTINGS)
    for section, settings in expected.items():
        found = {name: _plain(getattr(getattr(config, section), name)) for name in settings}
        assert found == settings, section
    numbers = {
        f"{section.name}.{each.name}"
        for section in fields(config)
        if is_dataclass(getattr(config, section.name))  # not tables of tokens, of which there are none
        for each in fields(getattr(config, section.name))
        if isinstance(getattr(getattr(config, section.name), each.name), int | float)
    }
    assert numbers == {f"{section}.{name}" for section, table in expected.items() for name in table} & numbers


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_the_policies_behind_them() -> None:
    """What the enrollment does where nobody sets anything: the same numbers."""
    settings, policy = asdict(Settings()), tomllib.loads(SETTINGS)["policy"]
    assert {name: _plain(settings[name]) for name in policy} == policy
    assert (settings["quota"], settings["notice_opens"], settings["notice_closes"]) == (200, 480, 1_200)
    assert (settings["clock_ahead_days"], settings["clock_behind_minutes"]) == (7, 10)
    assert settings["grace_days"] == 0


@pytest.mark.parametrize("module", CONSTANTS)
def test_the_constants(module: str) -> None:
    """Lifetimes, sizes and how often, of one module."""
    found = {name: getattr(import_module(module), name) for name in CONSTANTS[module]}
    assert found == CONSTANTS[module]


def test_how_long_an_upstream_may_take() -> None:
    """Seconds, each."""
    assert asdict(Waits()) == {
        "connect": 5.0, "answer": 60.0, "body": 300.0, "tunnel": 3_600.0, "rest": 4.0, "rest_unsafe": 1.0,
        "down": 10.0, "recheck": 1.0, "check": 5.0,
    }  # fmt: skip


def test_what_a_passphrase_costs() -> None:
    """RFC 9106 section 4, the second recommended option: three passes, four lanes, 64 MiB."""
    assert asdict(RFC9106_SECOND) == {"iterations": 3, "lanes": 4, "memory_kib": 65_536}


@pytest.mark.parametrize("name", PROFILE_ROWS)
def test_the_profiles(name: str) -> None:
    """For whom, for how long and for what: a row each, and no other profile."""
    row, (kinds, life, backdate, usage, purposes, path) = PROFILES[name], PROFILE_ROWS[name]
    assert (row.key_kinds, (row.years, row.days), row.backdate) == (kinds, life, backdate)
    assert (set(row.key_usage), row.is_ca, row.path_length) == (_USAGES[usage], usage == "ca", path)
    assert tuple(oid.dotted_string for oid in row.extended_key_usage) == purposes
    assert row.no_check is (name == "responder")
    assert row.needs_names is (name in ("client-automated", "server"))
    assert set(PROFILES) == set(PROFILE_ROWS)
    assert ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in row.extended_key_usage
