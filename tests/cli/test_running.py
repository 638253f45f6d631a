"""``serve`` and ``demo`` as processes of their own: they come up, survive a kill, and end cleanly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from ca.certificates import to_pem
from enroll.hooks import reach
from gateway.demo.hooks import TAKEN
from gateway.demo.sandbox import Ports, demo_config
from gateway.demo.words import api_lines
from gateway.serving.config import FILE_NAME, origin, settings_of
from tests.cli.conftest import Shell
from tests.cli.processes import PATIENCE, pem_of, process, typed, until
from tests.datadirs import PASSPHRASE, cheaper
from tests.documents.blocks import scenarios
from tests.ports import free_port
from tests.started import session_of

# -- processes -----------------------------------------------------------------------------------------


def _stopped(running: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Exit code after a signal; fails if anything of the session lives on."""
    # To everybody in the session, as Ctrl-C in a terminal does.
    os.killpg(running.pid, number)
    code = running.wait(PATIENCE)
    end = time.monotonic() + 60
    while session_of(running.pid):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.05)
    return code


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- visiting ------------------------------------------------------------------------------------------


def _get(
    origin: str, ca_file: str, path: str = "/", p12: tuple[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    host, _, port = origin.removeprefix("https://").rstrip("/").partition(":")
    context = ssl.create_default_context(cafile=ca_file)
    if p12 is not None:
        _present(context, *p12)
    with _connected(host, int(port), context) as connection:
        connection.request("GET", path)
        got = connection.getresponse()
        return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read().decode()


@contextmanager
def _connected(host: str, port: int, context: ssl.SSLContext) -> Iterator[HTTPSConnection]:
    """A connection to this machine by whatever name: browsers know names below localhost, Python does not."""
    connection = HTTPSConnection(host, port, context=context, timeout=60)
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sock = context.wrap_socket(plain, server_hostname=host)
    try:
        yield connection
    finally:
        connection.close()


def _present(context: ssl.SSLContext, file: str, password: str) -> None:
    bundle = pkcs12.load_pkcs12(Path(file).read_bytes(), password.encode())
    assert bundle.key is not None
    assert bundle.cert is not None
    chain = [bundle.cert.certificate, *(each.certificate for each in bundle.additional_certs)]
    pem = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    whole = Path(file).with_suffix(".visitor.pem")
    whole.write_bytes(pem)
    context.load_cert_chain(whole)


def _set_port(data: Path, port: int) -> None:
    file = data / FILE_NAME
    file.write_text(file.read_text().replace("port = 8443", f"port = {port}", 1))


# -- serve ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_serve_survives_a_kill(peopled: Shell, tmp_path: Path) -> None:
    """Killed at once with SIGKILL, the server starts again on the same data and sends what was queued."""
    port, log = free_port(), tmp_path / "log"
    _set_port(peopled.data, port)
    words, environment = ("serve", "--data", str(peopled.data)), {"SEKISHO_PASSPHRASE": PASSPHRASE}
    with process(*words, log=log, **environment) as running:
        until(lambda: _answers(port), log, running)
        assert _stopped(running, signal.SIGKILL) == -signal.SIGKILL
    with process(*words, log=log, **environment) as running:
        until(lambda: b"ready on port" in log.read_bytes() and _answers(port), log, running)
        letters = (peopled.data / "outbox").glob
        until(lambda: len(list(letters("*.eml"))) == 2, log, running)
        origin, ca_file = f"https://pickup.localhost:{port}", str(peopled.data / "servers" / "ca.pem")
        status, headers, page = _get(origin, ca_file)
        assert (status, "ユーザー認証" in page) == (200, True)
        assert headers["cache-control"] == "no-store"
        assert _stopped(running, signal.SIGTERM) == 0
    told = log.read_text()
    for secret in (PASSPHRASE, "パスワード：", "PRIVATE KEY", "Traceback"):
        assert secret not in told


@pytest.mark.slow
def test_serve_refused(sekisho: Shell, tmp_path: Path) -> None:
    """A taken port, a wrong setting and a wrong passphrase end at once, with what to write."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _set_port(sekisho.data, port)
        refused = sekisho("serve")
        assert (refused.code, refused.error["code"]) == (1, "config")
        assert f"listen.port: 127.0.0.1 port {port} cannot be used" in refused.error["message"]
    assert sekisho("serve", SEKISHO_PASSPHRASE="not the passphrase").error["code"] == "config"
    (sekisho.data / FILE_NAME).write_text("[tls]\ncertificate = 'none.pem'\nkey = 'none.key'\n")
    assert "tls.certificate: " in sekisho("serve").error["message"]


# -- demo ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A running demo, by its summary."""
    place = tmp_path_factory.mktemp("demo")
    summary, log = place / "summary.json", place / "log"
    summary.write_text("{an earlier run's")
    words = ("demo", "--data", str(place / "data"), "--port", "0", "--summary", str(summary))
    with process(*words, log=log) as running:
        until(lambda: summary.exists() and summary.read_text().startswith("{\n"), log, running, 5 * PATIENCE)
        told = json.loads(summary.read_text())
        cheaper(Path(told["data"]), Path(told["passphrase_file"]).read_text().strip())
        yield told | {"log": str(log), "summary": str(summary)}
        assert _stopped(running, signal.SIGINT) == 0, log.read_text()
    assert "The demo has stopped." in log.read_text()


def _user(demo: dict[str, Any], state: str, role: str = "member") -> dict[str, Any]:
    return next(user for user in demo["users"] if (user["state"], user["role"]) == (state, role))


@pytest.mark.slow
def test_the_demo_says_where_the_world_reads_of_its_certificates(
    demo: dict[str, Any], tmp_path: Path
) -> None:
    """By plain HTTP on loopback, for scripts: openssl is told of good and revoked ones by the responder's
    URL, with the issuer and the root that are fetched there, and the list names the same."""
    told = demo["revocation"]
    assert set(told) >= {"crl", "ocsp", "issuer"}
    assert all(url.startswith("http://127.0.0.1:") for url in told.values())
    for name in ("issuer", "root"):
        with urlopen(told[name]) as got:
            (tmp_path / f"{name}.pem").write_bytes(to_pem(got.read()))
    with urlopen(told["crl"]) as got:
        listed = x509.load_der_x509_crl(got.read())
    for state, said in (("active", "good"), ("revoked", "revoked")):
        leaf = pem_of(_user(demo, state)["p12"], _user(demo, state)["p12_password"], tmp_path / "leaf.pem")
        words = ["openssl", "ocsp", "-issuer", tmp_path / "issuer.pem", "-cert", leaf, "-url", told["ocsp"]]
        found = subprocess.run(
            [*words, "-CAfile", tmp_path / "root.pem"], capture_output=True, text=True, check=True
        )
        assert f"leaf.pem: {said}\n" in found.stdout
        assert "Response verify OK" in found.stderr
        serial = x509.load_pem_x509_certificate(leaf.read_bytes()).serial_number
        assert (listed.get_revoked_certificate_by_serial_number(serial) is not None) == (said == "revoked")


@pytest.mark.slow
def test_the_demo_has_somebody_in_each_state(demo: dict[str, Any]) -> None:
    """Two organisations, each with a new, active, expiring, expired and revoked user and an 管理者."""
    found = {(u["policy_number"], u["state"], u["role"]) for u in demo["users"]}
    states = {("new", "member"), ("expiring", "member"), ("expired", "member"), ("revoked", "member")}
    states |= {("active", "member"), ("active", "admin")}
    assert found == {(number, *state) for number in ("12345678", "87654321") for state in states}
    fresh = _user(demo, "new")
    assert all(fresh[name] for name in ("login_password", "request_id", "issue_password"))
    assert _user(demo, "expiring")["renewal_request_id"]
    assert stat.S_IMODE(Path(demo["summary"]).stat().st_mode) == 0o600
    assert all(stat.S_IMODE(Path(u["p12"]).stat().st_mode) == 0o600 for u in demo["users"] if u["p12"])


@pytest.mark.parametrize(
    ("site", "status"),
    [
        ("pickup", 200),
        ("renewal", 403),
        ("service", 403),
        ("connectivity", 303),
        ("help", 200),
        ("mailbox", 200),
        ("console", 403),
        ("api", 403),
    ],
)
def test_every_site_answers(demo: dict[str, Any], site: str, status: int) -> None:
    """Each URL of the summary answers by its policy to a visitor without a certificate."""
    assert _get(demo["sites"][site], demo["ca_file"])[0] == status


@pytest.mark.parametrize(
    ("state", "site", "status", "words"),
    [
        ("active", "service", 303, ""),
        ("expiring", "renewal", 200, "クライアント証明書更新画面"),
        ("expired", "renewal", 403, "クライアント証明書の有効期限が切れています"),
        ("revoked", "service", 403, "クライアント証明書は失効しています"),
    ],
)
def test_certificates_are_what_their_state_says(
    demo: dict[str, Any], state: str, site: str, status: int, words: str
) -> None:
    """The P12 of each state leads to the page that its holder has to see."""
    user = _user(demo, state)
    got = _get(demo["sites"][site], demo["ca_file"], p12=(user["p12"], user["p12_password"]))
    assert got[0] == status
    assert words in got[2]


def test_operators_at_the_console(demo: dict[str, Any]) -> None:
    """One of each role, and a second approver for what approvers propose, whose P12 opens the console's door
    and no other site; a user's does not open it."""
    assert [each["role"] for each in demo["operators"]] == [
        "desk", "registrar", "approver", "approver", "ca-officer", "auditor",
    ]  # fmt: skip
    assert {"console", "api"} <= set(demo["sites"])
    assert all({"name", "role", "p12", "p12_password"} <= set(each) for each in demo["operators"])
    one = demo["operators"][0]
    p12 = (one["p12"], one["p12_password"])
    status, _, page = _get(demo["sites"]["console"], demo["ca_file"], "/login", p12=p12)
    assert (status, "デモ用の代用品" in page) == (200, True)
    for site in ("service", "renewal"):
        status, _, page = _get(demo["sites"][site], demo["ca_file"], p12=p12)
        assert (status, "運用者用の証明書です" in page) == (403, True)
    user = _user(demo, "active")
    got = _get(demo["sites"]["console"], demo["ca_file"], p12=(user["p12"], user["p12_password"]))
    assert (got[0], "このサイトは運用者専用です" in got[2]) == (403, True)


def test_the_commands_of_the_apis_page(demo: dict[str, Any], tmp_path: Path) -> None:
    """docs/operations/api.md, as it stands there: with the service's file, at the API of the summary."""
    page = Path(__file__).parent.parent.parent / "docs/operations/api.md"
    (service,) = demo["services"]
    assert (service["role"], Path(service["p12"]).is_file()) == ("registrar", True)
    shutil.copy2(service["pem"], tmp_path / "service.pem")
    shutil.copy2(demo["ca_file"], tmp_path / "ca.pem")
    (tmp_path / "people.csv").write_text("policy_number,name,mail\n12345678,新人 花子,hanako@example.jp\n")
    commands = scenarios(page.read_text("utf-8"))[""]
    assert len(commands) > 5
    for each in commands:
        ran = subprocess.run(
            ["/bin/bash", "-ec", each.command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "API": demo["sites"]["api"] + "v1"},
            timeout=60,
        )
        assert ran.returncode == 0, (each.command, ran.stderr)
        each.check(ran.stdout)


def test_the_apis_lines_are_printed(demo: dict[str, Any]) -> None:
    """What the demo says to type for the API works as it stands."""
    for line in api_lines(demo)[1:]:
        ran = subprocess.run(["/bin/bash", "-ec", line], capture_output=True, text=True, timeout=60)
        found = json.loads(ran.stdout)
        assert "items" in found or found["state"] == "pending", found


@pytest.mark.parametrize(
    "words",
    [
        ("serve",),
        ("demo", "--port", "0"),
        ("db", "copy", "--to", "postgresql:///nowhere?host=/nowhere"),
        ("restore", "replay"),
        ("reload",),
    ],
    ids=" ".join,
)
def test_nobody_else_has_its_directory(demo: dict[str, Any], words: tuple[str, ...]) -> None:
    """Who would serve it as well, or replace what it reads, is told that it runs, and what to do."""
    ran = typed(
        *words, "--data", demo["data"], SEKISHO_PASSPHRASE=Path(demo["passphrase_file"]).read_text().strip()
    )
    assert ran.returncode != 0
    assert f"a demo, or a command such as sekisho db copy, has {demo['data']} for itself" in ran.stderr, (
        ran.stderr
    )
    assert "stop" in ran.stderr


def test_the_directory_is_on_localhost(demo: dict[str, Any]) -> None:
    """Clients that resolve no names below localhost reach the protocol, and every URL stays there."""
    origin = f"https://localhost:{demo['port']}"
    assert demo["acme_directory"] == f"{origin}/acme/directory"
    status, headers, body = _get(origin, demo["ca_file"], "/acme/directory")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["newOrder"].startswith(f"{origin}/acme/")


def test_the_mailbox_shows_the_mail(demo: dict[str, Any]) -> None:
    """A mail of the outbox is shown whole, its addresses as links; a name that is none is not found."""
    user = _user(demo, "new")
    name = next(p.name for p in Path(demo["outbox"]).iterdir() if _names(p, user["mail"], "pickup"))
    page = _get(demo["sites"]["mailbox"], demo["ca_file"], f"/mail/{name}")[2]
    assert user["issue_password"] in page
    assert f'<a href="{demo["sites"]["pickup"]}">' in page
    for hostile in ("/mail/none", "/mail/..%2Fdemo.json", "/mail/%2e%2e", "/mail/000001-x.eml%00"):
        assert _get(demo["sites"]["mailbox"], demo["ca_file"], hostile)[0] in (400, 404)


def _names(path: Path, recipient: str, kind: str) -> bool:
    return path.name.endswith(f"-{kind}.eml") and f"To: {recipient}".encode() in path.read_bytes()


def test_the_clock_moves(demo: dict[str, Any]) -> None:
    """To D-7: the mail goes out; a moment in the past is refused; back to the present."""
    serial = _user(demo, "expiring")["serial"]
    before = len(list(Path(demo["outbox"]).glob("*-renewal_7.eml")))
    assert _move(demo, f"to=second&certificate={serial}")[0] == 303
    assert len(list(Path(demo["outbox"]).glob("*-renewal_7.eml"))) > before
    for hostile in (f"to=first&certificate={serial}", "to=end&certificate=00", "to=second", "", "to=%00"):
        assert _move(demo, hostile)[0] == 422, hostile
    assert _move(demo, "to=day", origin="https://evil.example")[0] == 403
    assert _move(demo, "to=reset")[0] == 303
    assert "<td>0日</td>" in _get(demo["sites"]["mailbox"], demo["ca_file"], "/clock")[2]


def _move(demo: dict[str, Any], body: str, origin: str = "") -> tuple[int, str]:
    own = demo["sites"]["mailbox"].rstrip("/")
    context = ssl.create_default_context(cafile=demo["ca_file"])
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin or own}
    with _connected("mailbox.localhost", demo["port"], context) as connection:
        connection.request("POST", "/clock", body, headers)
        got = connection.getresponse()
        answer = got.status, got.read().decode()
        if "?told=" not in got.getheader("Location", ""):
            return answer
        # Refused: the page that says why is fetched.
        connection.request("GET", got.getheader("Location", ""))
        got = connection.getresponse()
        return got.status, got.read().decode()


def test_only_loopback_listens(demo: dict[str, Any]) -> None:
    """The demo's socket is bound to 127.0.0.1 and to nothing else."""
    port = f"{demo['port']:04X}"
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(":" + port)
    ]
    assert listening == [f"0100007F:{port}"]


def test_the_demo_log_has_no_secret(demo: dict[str, Any]) -> None:
    """Beside the banner, which is meant to show first login passwords, nothing of a mail is printed."""
    told = Path(demo["log"]).read_text()
    assert "Traceback" not in told
    for user in demo["users"]:
        assert user["issue_password"] not in told


def test_a_revocation_ends_open_connections(demo: dict[str, Any]) -> None:
    """Revoked from the command line, a certificate's open connections end within a second or two."""
    user = [u for u in demo["users"] if (u["state"], u["role"]) == ("active", "member")][-1]
    context = ssl.create_default_context(cafile=demo["ca_file"])
    _present(context, user["p12"], user["p12_password"])
    with _connected("service.localhost", demo["port"], context) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().read() is not None
        words = ("cert", "revoke", user["serial"], "--data", demo["data"], "--passphrase-file")
        done = typed(*words, demo["passphrase_file"])
        assert done.returncode == 0, done.stderr
        assert connection.sock is not None
        connection.sock.settimeout(60)
        began = time.monotonic()
        with suppress(ConnectionError, ssl.SSLError):
            assert connection.sock.recv(1) == b""
        assert time.monotonic() - began < 60  # no limit of its own ends it as early


def test_the_database_holds_no_secret_in_the_clear(demo: dict[str, Any]) -> None:
    """After everybody lived through their states: no password, no P12 password and no key in any file of
    the data directory but those that are meant to hold them, freed pages of the database included."""
    data = Path(demo["data"])
    meant = {data / name for name in ("outbox", "demo-p12", "demo-operators", "demo.json", "demo-passphrase")}
    files = [each for each in data.rglob("*") if each.is_file() and not meant & {each, *each.parents}]
    assert data / "sekisho.db" in files
    secrets = {Path(demo["passphrase_file"]).read_text().strip(), "PRIVATE KEY"}
    for user in demo["users"]:
        secrets |= {user["issue_password"], user["login_password"], user["p12_password"]} - {""}
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue  # a draft, of a list that was finished meanwhile
        for secret in secrets:
            assert secret.encode() not in content, f"{secret[:2]}... in {file.name}"
        if file.suffix in (".key", ".db", ".db-wal", ".db-shm") or file.name == "vault.json":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_the_demo_refuses_what_is_not_its_own(sekisho: Shell) -> None:
    """A directory with anything else in it is left alone."""
    refused = sekisho("demo", "--port", "0")
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert refused.error["message"].endswith("name another directory with --data DIR")


def test_serve_shows_no_mailbox(demo: dict[str, Any], tmp_path: Path) -> None:
    """``serve`` on a demo's directory is refused: everybody's mails are for the demo alone."""
    copy = tmp_path / "data"
    shutil.copytree(demo["data"], copy, ignore=shutil.ignore_patterns("run"))
    refused = Shell(copy)("serve", "--passphrase-file", demo["passphrase_file"])
    assert refused.error["message"].startswith("sites.mailbox: only a demo shows everybody's mails")


def test_a_summary_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory that is not there is told before anything is made."""
    refused = Shell(tmp_path / "data")("demo", "--port", "0", "--summary", str(tmp_path / "none" / "s.json"))
    assert refused.error["message"].endswith(f"make it: mkdir -p {tmp_path / 'none'}")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("killed", [False, True])
def test_a_demo_is_taken_up_again(demo: dict[str, Any], tmp_path: Path, *, killed: bool) -> None:
    """The same directory gives the same people; a port that is taken is replaced by a free one, and whatever
    leads to the demo leads there: webhooks to its mailbox, addresses in letters of before, people's files.
    ``killed``: while what was made moved to its place."""
    data, summary, log = tmp_path / "data", tmp_path / "summary.json", tmp_path / "log"
    shutil.copytree(demo["data"], data, ignore=shutil.ignore_patterns("*.sock"))
    if killed:
        draft = data / "sekisho-demo-unfinished"
        draft.mkdir()
        for name in ("sekisho.db", "servers", "demo.json"):
            (data / name).rename(draft / name)
        # Somebody else's of that name.
        (data / "servers").touch()
        refused = Shell(data)("demo", "--port", "0")
        assert refused.error["message"].startswith(f"{data} has servers in it, and is no demo's")
        (data / "servers").unlink()
    words = ("demo", "--data", str(data), "--port", str(demo["port"]), "--summary", str(summary))
    with process(*words, log=log, copied=True) as running:
        until(summary.exists, log, running)
        again = json.loads(summary.read_text())
        assert [u["serial"] for u in again["users"]] == [u["serial"] for u in demo["users"]]
        assert again["port"] != demo["port"]
        files = [each["p12"] for name in ("users", "operators", "services") for each in again[name]]
        files += [each["pem"] for each in again["services"]]
        assert {Path(each).parent.parent for each in files if each} == {data}
        assert [each for each in files if each and not Path(each).is_file()] == []
        assert _get(again["sites"]["pickup"], again["ca_file"])[0] == 200
        place = ("--data", again["data"], "--passphrase-file", again["passphrase_file"])
        listed = typed("webhook", "list", *place, "--json")
        found = {each["name"]: each["url"] for each in json.loads(listed.stdout)["endpoints"]}
        own = again["sites"]["mailbox"]
        assert found == {"payroll": f"{own}webhooks", "old-system": f"{own}nobody"}
        user = _user(demo, "new")
        name = next(p.name for p in Path(again["outbox"]).iterdir() if _names(p, user["mail"], "pickup"))
        page = _get(own, again["ca_file"], f"/mail/{name}")[2]
        assert f'<a href="{again["sites"]["pickup"]}">' in page
        assert f":{demo['port']}" not in page
        assert _stopped(running, signal.SIGTERM) == 0


@pytest.mark.parametrize("port", [443, 8443])
def test_a_demos_webhooks_may_go_to_its_mailbox(port: int) -> None:
    """Whatever its port: 443 stands in no address."""
    config = demo_config(Ports(port, 1))
    reach.check_listed(reach.target(origin(config.sites.mailbox[0], port) + TAKEN), settings_of(config))


@pytest.mark.slow
def test_a_demo_that_is_stopped_early_leaves_nothing(tmp_path: Path) -> None:
    """Stopped while its people are being made, the demo sweeps its directory and writes no summary."""
    data, summary, log = tmp_path / "data", tmp_path / "summary.json", tmp_path / "log"
    with process("demo", "--data", str(data), "--port", "0", "--summary", str(summary), log=log) as running:
        until(lambda: list(data.rglob("sekisho.db")) != [], log, running)
        assert _stopped(running, signal.SIGTERM) == 0
    assert not summary.exists()
    assert not data.exists()
