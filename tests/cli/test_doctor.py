"""``doctor`` on what is behind the gate: what reload would refuse, and what visitors would get a 502 for."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca import datadir
from gateway.serving.config import FILE_NAME
from gateway.serving.database import DATABASE
from tests.cli.conftest import Shell
from tests.cli.processes import accepting
from tests.datadirs import CHEAP, PASSPHRASE, START
from tests.enroll.postcards_kit import needs_font
from tests.gateway.rawtls import Issued, issue

_NOW = datetime.now(UTC)
_TIMES = {"not_before": _NOW - timedelta(days=9), "not_after": _NOW + timedelta(days=30)}
_PAST = {"not_before": _NOW - timedelta(days=9), "not_after": _NOW - timedelta(days=1)}


def _found(sekisho: Shell, settings: str) -> list[dict[str, Any]]:
    """What is not in order about this upstream."""
    (sekisho.data / FILE_NAME).write_text(f"[upstream]\n{settings}\n")
    ran = sekisho("doctor")
    bad = [each for each in ran.value["checks"] if each["state"] == "bad"]
    assert ran.code == bool(bad)
    return bad


def test_work_that_stands_still_is_told_of(sekisho: Shell) -> None:
    """A job that a fault of ours has stopped, one that nobody does, and a proposal that nobody decides: each
    with what to type; without them all is well."""

    def told(*statements: str) -> dict[str, tuple[str, str]]:
        with sqlite3.connect(sekisho.data / DATABASE) as db:
            for statement in statements:
                db.execute(statement)
        checks = sekisho("doctor").value["checks"]
        return {
            each["check"]: (each["state"], each["hint"])
            for each in checks
            if each["check"] in ("jobs", "proposals")
        }

    assert {state for state, _ in told().values()} == {"ok"}
    row = "INSERT INTO jobs(kind, subject, proposer, proposed_by, decided_by, state, total, made_at)"
    still = told(f"{row} VALUES ('user.import', 'x', 'a', 'a', 'a', 'waiting', 1, 1)")
    assert still["jobs"] == ("notice", "a gateway does them, or: sekisho job run NUMBER")
    failed = told("UPDATE jobs SET state = 'failed'")
    assert "sekisho job resume NUMBER" in failed["jobs"][1]
    soon = int(datetime.now(UTC).timestamp()) + 3_600
    ending = told(
        "INSERT INTO proposals(kind, subject, payload, before, digest, proposer, proposed_by, state, made_at,"
        f" expires_at) VALUES ('user.add', 'x', '{{}}', '{{}}', '', 'a', 'a', 'pending', 1, {soon})"
    )
    assert ending["proposals"] == ("notice", "have them decided: sekisho proposal list")


@pytest.mark.slow
def test_a_demo_is_in_order(lived: dict[str, Any]) -> None:
    """Its mailbox is no fault, and what to type is the demo's own command."""
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    checks = Shell(Path(lived["data"]))("doctor", SEKISHO_PASSPHRASE=passphrase).value["checks"]
    found = next(each for each in checks if each["check"] == "serve")
    assert (found["state"], found["found"]) == ("ok", f"a demo: sekisho demo --data {lived['data']}")
    (root,) = [each for each in checks if each["check"] == "root's list"]
    assert root["state"] == "ok", root


@needs_font
def test_postcards_that_wait(peopled: Shell) -> None:
    """Where some wait, what prints them has to be there; else it says what to type, or to do without."""

    def said() -> dict[str, Any]:
        return next(each for each in peopled("doctor").value["checks"] if each["check"] == "postcards")

    assert (said()["state"], said()["found"]) == ("ok", "none waits")
    assert peopled("user", "change", "K12345678", "--notice-by", "postcard").code == 0
    assert peopled("user", "reset-password", "K12345678").code == 0
    assert (said()["state"], said()["found"]) == ("ok", "1 to be printed, the oldest since 0 days")
    (peopled.data / FILE_NAME).write_text("[postcards]\nfont = '/nowhere.ttc'\n")
    assert said()["state"] == "bad"
    assert "/nowhere.ttc cannot be read as a font (No such file or directory)" in said()["found"]
    assert "apt install fonts-noto-cjk" in said()["found"]
    (peopled.data / FILE_NAME).write_text("[postcards]\nprint = 'outbox'\nfont = '/nowhere.ttc'\n")
    assert said()["state"] == "ok"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("addresses = ['https://a']\nca = 'nix.pem'", "nix.pem cannot be read (No such file or directory)"),
        ("addresses = ['https://a']", "[upstream] upstream 'https://a': name the CA"),
        (
            "addresses = ['http://a']\npublic = ['/portal']",
            "[upstream] public: '/portal' is a page of our own",
        ),
        (
            "addresses = ['http://a']\ncertificate = ['/login/x']",
            "certificate: '/login/x' is a page of our own",
        ),
        ("addresses = ['http://a']\npublic = ['/a']\ncertificate = ['/a']", "a path stands in both"),
        ("addresses = ['http://a']\nheaders = ['X-User=nobody']", "identity header X-User: write one of"),
    ],
)
def test_what_reload_would_refuse(sekisho: Shell, settings: str, words: str) -> None:
    """It is found before, told once, and in the words in which serve refuses it."""
    (found,) = _found(sekisho, settings)
    assert found["check"] == "upstream"
    assert words in found["found"]
    assert sekisho("serve").error["message"] == found["found"]


@pytest.mark.parametrize(
    ("workers", "portal", "found"),
    [
        ("['/app/']", "[]", "service workers of /app/ share the portal's origin"),
        ("['/app/']", "['portal.localhost']", "the upstream has its own origin"),
        ("[]", "[]", "the upstream has the portal's origin"),
    ],
)
def test_service_workers_beside_the_portal(sekisho: Shell, workers: str, portal: str, found: str) -> None:
    """Whoever allows them learns what they can do in some browsers, and what rules it out."""
    with accepting() as port:
        (sekisho.data / FILE_NAME).write_text(
            f"[sites]\nportal = {portal}\n"
            f"[upstream]\naddresses = ['http://127.0.0.1:{port}']\nservice_workers = {workers}\n"
        )
        told = next(each for each in sekisho("doctor").value["checks"] if each["check"] == "origin")
    assert told["found"] == found
    assert (told["state"], "sites.portal" in told["hint"]) == (
        ("notice", True) if "share" in found else ("ok", False)
    )


def test_an_upstream_that_does_not_answer(sekisho: Shell) -> None:
    """Each address is tried: the one that answers is well, the other one is named with its reason."""
    with accepting() as port, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        lost = nobody.getsockname()[1]
        (found,) = _found(sekisho, f"addresses = ['http://127.0.0.1:{port}', 'http://127.0.0.1:{lost}']")
        assert found["found"] == f"http://127.0.0.1:{lost}: Connection refused"
        assert found["hint"].endswith("start what should answer there, or mend upstream.addresses")
        assert not _found(sekisho, f"addresses = ['http://127.0.0.1:{port}']\npublic = ['/portals']")
    (found,) = _found(sekisho, "addresses = ['http://nowhere.invalid']")
    assert found["found"].startswith("http://nowhere.invalid:80: ")


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("upstream CA", ca=True, **_TIMES)


@pytest.mark.parametrize(
    ("times", "name", "pinned", "words", "hint"),
    [
        (_TIMES, "app.internal", True, "", ""),
        (
            _TIMES,
            "app.internal",
            False,
            "certificate verify failed: unable to get local issuer",
            "upstream.ca",
        ),
        (_TIMES, "other.internal", True, "Hostname mismatch", "upstream.server_name"),
        (_TIMES, "", True, "IP address mismatch", "upstream.server_name"),
        (_PAST, "app.internal", True, "certificate has expired", "renew the certificate of that server"),
    ],
)
def test_the_pinned_ca_is_tried(
    sekisho: Shell,
    tmp_path: Path,
    authority: Issued,
    times: dict[str, datetime],
    name: str,
    pinned: bool,
    words: str,
    hint: str,
) -> None:
    """An https address is well if its certificate is the CA's and has the name; else the reason is told."""
    server = issue("app.internal", authority, hosts=("app.internal",), purpose=None, **times)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "server.pem").write_bytes(server.pem)
    context.load_cert_chain(tmp_path / "server.pem")
    trusted = authority if pinned else issue("another CA", ca=True, **_TIMES)
    (sekisho.data / "upstream.pem").write_bytes(trusted.certificate.public_bytes(Encoding.PEM))
    with accepting(context) as port:
        address = f"addresses = ['https://127.0.0.1:{port}']\nca = 'upstream.pem'\nserver_name = '{name}'"
        found = _found(sekisho, address)
    assert [words in each["found"] and each["hint"].endswith(hint) for each in found] == [True] * bool(words)


def test_an_upstream_without_tls(sekisho: Shell, authority: Issued) -> None:
    """https where nobody speaks it: the hint is what to write instead."""
    (sekisho.data / "upstream.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    with accepting() as port:
        (found,) = _found(sekisho, f"addresses = ['https://127.0.0.1:{port}']\nca = 'upstream.pem'")
    assert found["found"].startswith(f"https://127.0.0.1:{port}: TLS failed: ")
    assert found["hint"] == "if it speaks no TLS, write http:// in upstream.addresses"


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601])
@pytest.mark.parametrize("name", ["vault.json", "sekisho.db", "ca/*.key", "servers/*.key"])
def test_a_file_that_others_may_use(peopled: Shell, name: str, mode: int) -> None:
    """Read, written or run, by the group or by anybody: each is told, with what takes the right away."""
    paths = sorted(peopled.data.glob(name))
    assert paths
    for path in paths:
        path.chmod(mode)
        (found,) = [each for each in peopled("doctor").value["checks"] if each["check"] == "permissions"]
        assert (found["state"], found["found"]) == ("bad", f"others may read {path}")
        assert found["hint"] == f"chmod go-rwx {path}"
        path.chmod(0o600)
    assert _permissions(peopled) == ("ok", "readable by nobody else")


@pytest.mark.parametrize("mode", [0o750, 0o720, 0o701])
def test_a_directory_that_others_may_use(peopled: Shell, mode: int) -> None:
    """The same of the directory itself."""
    peopled.data.chmod(mode)
    assert _permissions(peopled) == ("bad", f"others may read {peopled.data}")
    peopled.data.chmod(0o700)
    assert _permissions(peopled) == ("ok", "readable by nobody else")


def _permissions(sekisho: Shell) -> tuple[str, str]:
    (found,) = [each for each in sekisho("doctor").value["checks"] if each["check"] == "permissions"]
    return found["state"], found["found"]


#: All of a new data directory, by how names begin.
_MODES = {
    "": 0o700, "ca": 0o700, "ca/issuing-.key": 0o600, "ca/issuing-.pem": 0o644, "ca/root.key": 0o600,
    "ca/root.crl": 0o644,
    "ca/root.pem": 0o644, "ca/stop.sealed": 0o600, "sekisho.db": 0o600, "sekisho.json": 0o600,
    "servers": 0o700, "servers/ca.key": 0o600, "servers/ca.pem": 0o644, "vault.json": 0o600, "journal": 0o700,
    "journal/000000000001.jsonl": 0o600,
    "window": 0o700, "window/": 0o600,
}  # fmt: skip


def test_what_is_made_is_nobody_elses(tmp_path: Path) -> None:
    """Keys, the vault and the database are their owner's alone from the moment they are there, whatever the
    umask of whoever typed the command; certificates are for everybody whom the directory lets in: nobody."""
    data = tmp_path / "data"
    before = os.umask(0)
    try:
        datadir.create(data, PASSPHRASE, START, cost=CHEAP)
        (data / FILE_NAME).write_text("")
        assert Shell(data)("org", "add", "12345678", "霞が関商事").code == 0
    finally:
        os.umask(before)
    found = {
        re.sub(
            "(?<=issuing-)[0-9a-f]{16}|(?<=window/)[0-9a-f]{32}", "", str(path.relative_to(data))
        ).removeprefix("."): stat.S_IMODE(path.stat().st_mode)
        for path in [data, *data.rglob("*")]
        if path.name not in (FILE_NAME, "sekisho.db.lock")  # the operator's own; empty
    }
    assert found == _MODES
