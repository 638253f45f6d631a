"""Other people's clients, unmodified, by the commands that ``enroll/CLIENTS.md`` gives: read from there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import enroll
from tests.clients.demo import Demo, run

pytestmark = pytest.mark.client

DOCUMENT = Path(enroll.__file__).with_name("CLIENTS.md")
_BLOCK = re.compile(r"<!-- (\S+) ([a-z ]+) -->\n```(sh|python)\n(.*?)```", re.DOTALL)
_OURS = Path(sys.executable).parent
#: Sixty days before the last week of a certificate: made then, it is due now by every client's rule.
MADE_ON = -84


@dataclass(frozen=True)
class Stranger:
    """A client: its name in the document, the program it is, and where it leaves its certificate."""

    name: str
    program: Path | None
    certificate: str
    document: str = ""

    @property
    def heading(self) -> str:
        return self.document or self.name


def _found(program: str) -> Path | None:
    where = shutil.which(program, path="/usr/bin:/usr/local/bin:/bin")
    return Path(where) if where else None


def _beside(program: str) -> Path | None:
    there = _OURS / program
    return there if there.exists() else None


STRANGERS = (
    Stranger("sekisho-client", _beside("sekisho-client"), "sekisho-client/fullchain.pem"),
    Stranger("certbot-debian", _found("certbot"), "certbot/live/{name}/fullchain.pem", "certbot"),
    Stranger("certbot-pypi", _beside("certbot"), "certbot/live/{name}/fullchain.pem", "certbot"),
    Stranger("lego", _found("lego"), "lego/certificates/{name}.crt"),
    Stranger("dehydrated", _found("dehydrated"), "dehydrated/certs/{name}/fullchain.pem"),
    Stranger("uacme", _found("uacme"), "uacme/{name}/cert.pem"),
    Stranger("acme-tiny", _found("acme-tiny"), "fullchain.pem"),
    Stranger("python-acme", _OURS / "python", "fullchain.pem"),
)


def documented() -> dict[tuple[str, str], tuple[str, str]]:
    """(client, act) -> (language, text) of every command in the document."""
    return {
        (client, act): (language, text)
        for client, acts, language, text in _BLOCK.findall(DOCUMENT.read_text("utf-8"))
        for act in acts.split()
    }


@dataclass(frozen=True)
class Visit:
    """One client in a directory of its own, with the variables that the document names."""

    stranger: Stranger
    home: Path
    variables: dict[str, str]

    def does(self, act: str) -> str:
        language, text = documented()[self.stranger.heading, act]
        if language == "python":
            (self.home / "program.py").write_text(text)
            command: list[str | Path] = [_OURS / "python", "program.py", act]
        else:
            command = ["sh", "-e", "-c", text]
        if self.stranger.name == "uacme":
            command = [*_trusting(self.home, Path(self.variables["CA"])), *command]
        return run(command, cwd=self.home, **self.variables)

    @property
    def certificate(self) -> x509.Certificate:
        file = self.home / self.stranger.certificate.format(name=self.variables["NAME"])
        return x509.load_pem_x509_certificates(file.read_bytes())[0]


def _trusting(home: Path, ca_file: Path) -> list[str]:
    """The system's trust with one CA more, in a mount namespace: nothing outside of it changes."""
    system = "/etc/ssl/certs/ca-certificates.crt"
    bundle = home / "bundle.pem"
    bundle.write_bytes(Path(system).read_bytes() + ca_file.read_bytes())
    inside = f'mount --bind "{bundle}" {system} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", inside, "sh"]


def _may_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.fixture(params=STRANGERS, ids=lambda stranger: stranger.name)
def visit(request: pytest.FixtureRequest, demo: Demo, tmp_path: Path) -> Visit:
    """A client with new credentials. Those that are not installed are skipped by name."""
    stranger: Stranger = request.param
    if stranger.program is None:
        pytest.skip(f"{stranger.name} is not installed")
    if stranger.name == "uacme" and not _may_mount():
        pytest.skip("uacme trusts the system's CAs only, and no mount namespace can be made here")
    given = demo.sekisho("eab", "create", "RIYOU001")
    (tmp_path / "eab.json").write_text(json.dumps(given))
    (first,) = given["credentials"]
    # certbot's own configuration file keeps it within this directory; the commands stay as they are.
    (tmp_path / "letsencrypt").mkdir()
    folders = {"config-dir": "certbot", "work-dir": "work", "logs-dir": "logs"}
    (tmp_path / "letsencrypt" / "cli.ini").write_text(
        "".join(f"{option} = {tmp_path / folder}\n" for option, folder in folders.items())
    )
    variables = {
        "DIRECTORY": demo.directory,
        "CA": str(demo.ca_file),
        "KID": first["kid"],
        "KEY": first["hmac_key"],
        "NAME": first["identifiers"][0]["value"],
        "XDG_CONFIG_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": f"{stranger.program.parent}:{os.environ['PATH']}:{_OURS}",
    }
    return Visit(stranger, tmp_path, variables)


def test_enrolls_renews_and_revokes(visit: Visit, demo: Demo) -> None:
    """By the documented commands: a certificate, its renewal once it is due and not before, its end."""
    with demo.on_day(MADE_ON):
        visit.does("enroll")
    first = visit.certificate
    usage = first.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]

    visit.does("renew")
    second = visit.certificate
    assert second.serial_number != first.serial_number
    assert second.subject == first.subject
    # acme-tiny orders whenever it is run: when is its timer's business.
    if visit.stranger.name != "acme-tiny":
        visit.does("renew")
        assert visit.certificate == second
    revocable = (visit.stranger.heading, "revoke") in documented()
    if revocable:
        visit.does("revoke")

    # The operator's list knows them all, as it knows those of the pages.
    requests = {each["serial"]: each for each in demo.sekisho("request", "list")["requests"]}
    opened, renewal = (requests[f"{one.serial_number:032x}"] for one in (first, second))
    assert (opened["request_id"], opened["kind"]) == (visit.variables["KID"], "protocol")
    assert (renewal["kind"], renewal["door"]) == ("renewal", "protocol")
    assert renewal["replaces_serial"] == opened["serial"]
    assert (opened["state"], renewal["state"]) == ("picked_up", "revoked" if revocable else "picked_up")


def test_every_command_is_run() -> None:
    """The document has no command that is not tried, and each client's first two."""
    headings = {stranger.heading for stranger in STRANGERS}
    assert {client for client, _ in documented()} == headings
    for heading in headings:
        assert {(heading, "enroll"), (heading, "renew")} <= set(documented())
