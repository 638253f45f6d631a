"""``sekisho-client`` against a running server: each step, each interruption, each refusal."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enroll.client import Acme, AcmeError, new_key, work
from enroll.client.cli import main
from enroll.client.folder import Folder, write
from enroll.client.keys import b64, csr, to_pem
from tests.cli.processes import SEKISHO
from tests.clients.demo import Demo
from tests.started import started

USER = "RIYOU002"
NAME = "riyou002.users.kinen.example"


def now(days: float = 0) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture(scope="module")
def spare(demo: Demo) -> list[dict[str, Any]]:
    """Credentials for the tests here, taken one by one."""
    return demo.credentials(USER, 32)


@pytest.fixture
def credential(spare: list[dict[str, Any]], tmp_path: Path) -> work.Credential:
    file = tmp_path / "eab.json"
    file.write_text(json.dumps({"credentials": [spare.pop()]}))
    return work.read_credential(file)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "client")


def wishes(demo: Demo, **others: Any) -> work.Wishes:
    return work.Wishes(demo.directory, ca_file=demo.ca_file, **others)


def enrolled(
    demo: Demo, folder: Folder, credential: work.Credential, day: float = 0, draw: float = 0.5
) -> Any:
    """Enrolls on a day; returns the certificate. ``draw``: which moment of the server's window is drawn."""
    with demo.on_day(day):
        work.enroll(folder, wishes(demo), credential, now(day), draw=lambda: draw)
    return folder.certificate()


def command(*words: str | Path) -> tuple[int, Any]:
    """Exit code and JSON of a command line."""
    ran = CliRunner().invoke(main, [*map(str, words), "--json"])
    return ran.exit_code, json.loads(ran.stdout)


def fits(folder: Folder) -> bool:
    both = (folder.key().public_key(), folder.certificate().public_key())
    ours, certified = (key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in both)
    return ours == certified


# -- enroll --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_enroll(demo: Demo, folder: Folder, credential: work.Credential, tmp_path: Path) -> None:
    """Key, certificate and chain fit, nobody else may read them, and openssl reads the PKCS#12."""
    password = tmp_path / "password"
    password.write_text("Tegata2026\n")
    facts = work.enroll(folder, wishes(demo, p12_password_file=password), credential, now())
    assert facts["result"] == "enrolled"
    assert facts["days_left"] in (89, 90)
    assert fits(folder)
    assert {stat.S_IMODE(Path(file).stat().st_mode) for file in facts["files"]} == {0o600}
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    read = ["openssl", "pkcs12", "-in", folder.path / "cert.p12", "-passin", "pass:Tegata2026", "-nodes"]
    told = subprocess.run(read, capture_output=True, check=True).stdout
    assert told.count(b"BEGIN CERTIFICATE") == 2
    assert b"BEGIN PRIVATE KEY" in told
    wrong = [*read[:5], "pass:wrong", "-nodes"]
    assert subprocess.run(wrong, capture_output=True).returncode != 0
    assert not folder.pending_file.exists()


@pytest.mark.slow
def test_enroll_twice(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """A folder has one certificate: a second enrollment is refused and says what to type."""
    enrolled(demo, folder, credential)
    code, told = command("enroll", "--directory", demo.directory, "--dir", folder.path)
    assert code == 2
    assert told["error"].endswith(f"Type: sekisho-client renew --dir {folder.path}")


@pytest.mark.parametrize("finalized", [False, True])
def test_enroll_after_an_interruption(
    demo: Demo, folder: Folder, credential: work.Credential, finalized: bool
) -> None:
    """Killed after newOrder or after finalize, the next run finishes the same order with the same key."""
    key = new_key("ec-p384")
    with_account = work.own_account(folder)
    write(folder.pending_file, to_pem(key))
    acme = Acme(demo.directory, with_account, ca_file=demo.ca_file)
    acme.register(credential.kid, credential.mac_key)
    made = acme._post(acme.directory["newOrder"], {"identifiers": [{"type": "dns", "value": NAME}]})
    if finalized:
        acme._post(made.json()["finalize"], {"csr": b64(csr(key, [NAME]))})
    acme.close()
    folder.remember(order=made.header("location"), names=[NAME])
    work.enroll(folder, wishes(demo), credential, now())
    assert folder.key().public_key() == key.public_key()
    assert fits(folder)
    assert folder.state()["order"] is None


def test_an_order_for_another_key_is_not_taken(
    demo: Demo, folder: Folder, credential: work.Credential
) -> None:
    """The key of an interrupted order is lost: its certificate is of no use, another is ordered."""
    work.own_account(folder)
    acme = Acme(demo.directory, work.own_account(folder), ca_file=demo.ca_file)
    acme.register(credential.kid, credential.mac_key)
    useless = acme.order([NAME], new_key())
    acme.close()
    folder.remember(order=useless.order_url, names=[NAME])
    work.enroll(folder, wishes(demo), credential, now())
    assert fits(folder)
    assert folder.certificate() != useless.certificate


# -- renew ---------------------------------------------------------------------------------------------


def test_renew_by_renewal_information(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """At D-31 it is not time, the moment drawn lies between D-30 and D-7, and then it is renewed."""
    first = enrolled(demo, folder, credential, -59)
    with demo.on_day(0):
        early = work.renew(folder, now(), draw=lambda: 0.5)
    assert early["result"] == "not yet"
    due = datetime.fromisoformat(early["renew_at"])
    left = (first.not_valid_after_utc - due).days
    assert 7 <= left <= 30
    again = work.renew(folder, now())
    assert (again["result"], again["renew_at"]) == ("not yet", early["renew_at"])
    assert folder.certificate() == first
    days = (due - now()).total_seconds() / 86_400 + 0.01
    with demo.on_day(days):
        renewed = work.renew(folder, now(days))
    assert renewed["result"] == "renewed"
    assert folder.certificate().subject == first.subject
    assert folder.certificate().public_key() != first.public_key()
    assert fits(folder)


def test_renew_at_d_30(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """As soon as the window opens, for a client that draws its first moment; an hour before it is not."""
    first = enrolled(demo, folder, credential, -58, draw=0.0)
    # D-30 begins at midnight in Japan, which is 15:00 UTC.
    opens = (first.not_valid_after_utc + timedelta(hours=9)).replace(hour=0, minute=0, second=0)
    opens -= timedelta(days=30, hours=9)
    for moment, result in ((opens - timedelta(hours=1), "not yet"), (opens + timedelta(1 / 24), "renewed")):
        day = (moment - now()).total_seconds() / 86_400
        folder.remember(look_again=None)
        with demo.on_day(day):
            assert work.renew(folder, now(day), draw=lambda: 0.0)["result"] == result


def test_renew_asks_nobody_before_retry_after(
    demo: Demo, folder: Folder, credential: work.Credential
) -> None:
    """The server said when to ask again (RFC 9773 section 4.3.2): until then no request is made."""
    enrolled(demo, folder, credential)
    assert work.renew(folder, now())["result"] == "not yet"
    folder.remember(directory="https://localhost:1/nobody-listens-here")
    assert work.renew(folder, now(0.2))["result"] == "not yet"
    with pytest.raises(OSError):
        work.renew(folder, now(0.3))


def test_renew_by_force(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """--force renews now; a successor that this folder never got does not stand in the way."""
    first = enrolled(demo, folder, credential)
    shutil.copytree(folder.path, folder.path.with_name("backup"))  # which follows links
    assert work.renew(folder, now(), force=True)["result"] == "renewed"
    second = folder.certificate()
    shutil.rmtree(folder.path)
    folder.path.with_name("backup").rename(folder.path)
    assert folder.certificate() == first
    assert work.renew(folder, now(), force=True)["result"] == "renewed"
    assert folder.certificate() not in (first, second)


def test_renew_does_not_fetch_the_same_again(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """Killed when all was stored but the order not forgotten: the next renewal is a new order."""
    enrolled(demo, folder, credential)
    acme = Acme(demo.directory, work.own_account(folder), ca_file=demo.ca_file)
    account = acme.find_account()
    (order,) = acme._post(f"{account}/orders", None).json()["orders"]
    acme.close()
    write(folder.pending_file, folder.key_file.read_bytes())
    folder.remember(order=order)
    first = folder.certificate()
    work.renew(folder, now(), force=True)
    assert folder.certificate() != first
    assert fits(folder)


def test_exec_runs_after_a_renewal_only(
    demo: Demo, folder: Folder, credential: work.Credential, tmp_path: Path
) -> None:
    """--exec tells the service that uses the certificate, once; its failure is reported as such."""
    enrolled(demo, folder, credential)
    mark = tmp_path / "mark"
    touch = ("renew", "--dir", folder.path, "--exec", f"touch {mark}")
    assert command(*touch)[1]["result"] == "not yet"
    assert not mark.exists()
    assert command(*touch, "--force")[1]["result"] == "renewed"
    assert mark.exists()
    code, told = command("renew", "--dir", folder.path, "--exec", "false", "--force")
    assert (code, told["result"]) == (1, "error")
    assert told["error"].startswith("renewed, but the command of --exec failed")


def test_renew_by_certificate(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """client-cert-01: without its account, in the window, the present certificate renews itself."""
    first = enrolled(demo, folder, credential, -65)
    folder.account_file.unlink()
    code, told = command("renew", "--dir", folder.path, "--force")
    assert code == 1
    assert told["hint"] == "The account is lost: sekisho-client renew --renewal-directory URL."
    facts = work.renew(folder, now(), renewal_directory=demo.renewal_directory)
    assert facts["result"] == "renewed"
    assert fits(folder)
    found = {each["serial"]: each for each in demo.sekisho("request", "list", "--user", USER)["requests"]}
    renewal = found[f"{folder.certificate().serial_number:032x}"]
    assert (renewal["kind"], renewal["door"]) == ("renewal", "protocol")
    assert renewal["replaces_serial"] == f"{first.serial_number:032x}"
    # The account is at home there now: the timer goes on without options.
    assert work.renew(folder, now())["result"] == "not yet"
    assert folder.state()["renewal_directory"] == demo.renewal_directory


def test_renew_by_certificate_too_early(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """Before D-30 the client waits; forced, the server refuses and the hint says to wait."""
    enrolled(demo, folder, credential)
    facts = work.renew(folder, now(), renewal_directory=demo.renewal_directory)
    assert facts["result"] == "not yet"
    words = ("renew", "--dir", folder.path, "--force", "--renewal-directory", demo.renewal_directory)
    code, told = command(*words)
    assert code == 1
    assert told["error"].startswith("unauthorized: outside the renewal window: it opens ")
    assert told["hint"] == "Wait for that day, or ask your operator for a reissue."


def test_renew_after_the_operator_revoked(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """The window of a revoked certificate has passed (RFC 9773 section 4.2): a new one is ordered at once."""
    first = enrolled(demo, folder, credential)
    demo.sekisho("cert", "revoke", f"{first.serial_number:032x}", "--reason", "keyCompromise")
    assert work.renew(folder, now())["result"] == "renewed"
    assert folder.certificate().public_key() != first.public_key()
    assert demo.standing(folder.certificate())["status"] == "issued"


def test_renew_with_ended_credentials(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """Credentials that the operator ended renew nothing; the certificate at hand stays as it is."""
    first = enrolled(demo, folder, credential)
    demo.sekisho("eab", "withdraw", str(credential.kid))
    code, told = command("renew", "--dir", folder.path, "--force")
    assert code == 1
    assert told["error"].startswith("unauthorized: ")
    assert folder.certificate() == first
    assert fits(folder)


# -- revoke, status ------------------------------------------------------------------------------------


def test_revoke(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """By the account; the register says so with the reason, and the timer does not renew it."""
    certificate = enrolled(demo, folder, credential)
    assert command("status", "--dir", folder.path)[1]["result"] == "enrolled"
    assert work.revoke(folder, now(), 1)["result"] == "revoked"
    standing = demo.standing(certificate)
    assert (standing["status"], standing["revocation_reason"]) == ("revoked", "keyCompromise")
    assert command("status", "--dir", folder.path)[1]["result"] == "revoked"
    assert work.renew(folder, now())["result"] == "revoked"
    with pytest.raises(AcmeError) as refused:
        work.revoke(folder, now())
    assert refused.value.kind == "alreadyRevoked"


def test_what_was_revoked_is_not_renewed(
    demo: Demo, folder: Folder, credential: work.Credential, spare: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Nor by --force, as the help says: that names the way to another certificate, and it is one."""
    first = enrolled(demo, folder, credential)
    account = folder.account_file.read_bytes()
    work.revoke(folder, now(), 1)
    code, told = command("renew", "--dir", folder.path, "--force")
    assert (code, folder.certificate()) == (2, first)
    line = f"sekisho-client enroll --directory {demo.directory} --dir {folder.path} --credentials FILE"
    assert told["error"].endswith(f"For another one type: {line}")
    told_by_help = " ".join(CliRunner().invoke(main, ["revoke", "--help"]).output.split())
    assert "are not renewed any more, --force or not" in told_by_help
    (tmp_path / "FILE").write_text(json.dumps({"credentials": [spare.pop()]}))
    words = line.replace("FILE", str(tmp_path / "FILE")).split()[1:]
    code, told = command(*words, "--ca-file", demo.ca_file)
    assert (code, told["result"], told["revoked_at"]) == (0, "enrolled", None)
    assert folder.certificate() != first
    assert folder.account_file.read_bytes() != account
    assert fits(folder)


def test_revoke_by_the_certificates_key(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """Without the account the certificate's own key revokes it (RFC 8555 section 7.6)."""
    certificate = enrolled(demo, folder, credential)
    folder.account_file.unlink()
    work.revoke(folder, now())
    assert demo.standing(certificate)["status"] == "revoked"


def test_an_empty_folder(folder: Folder) -> None:
    """What needs a certificate says how to get one."""
    for name in ("status", "renew", "revoke"):
        code, told = command(name, "--dir", folder.path)
        assert (code, told["result"]) == (2, "error")
        assert f"Type: sekisho-client enroll --dir {folder.path}" in told["error"]


def test_a_password_file_that_is_gone(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """It is not empty but missing, and that is what is said; nothing is ordered for nothing."""
    password = folder.path.with_name("password")
    password.write_text("Tegata2026\n")
    work.enroll(folder, wishes(demo, p12_password_file=password), credential, now())
    first = folder.certificate()
    password.unlink()
    code, told = command("renew", "--dir", folder.path, "--force")
    assert code == 2
    assert told["error"].startswith(f"{password} cannot be read: No such file or directory.")
    assert folder.certificate() == first
    assert folder.state().get("order") is None


def test_renewal_is_foreseen_from_the_first_day(
    demo: Demo, folder: Folder, credential: work.Credential
) -> None:
    """The server's window is asked for as soon as there is a certificate (RFC 9773): status shows when."""
    certificate = enrolled(demo, folder, credential)
    told = command("status", "--dir", folder.path)[1]
    left = certificate.not_valid_after_utc - datetime.fromisoformat(told["renew_at"])
    assert 7 <= left.days <= 30


# -- two at once, and keys that are lost -----------------------------------------------------------------


@pytest.mark.slow
def test_two_at_once(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """Cron and a hand: one after the other, and key and certificate belong together after each round."""
    enrolled(demo, folder, credential)
    client = SEKISHO.with_name("sekisho-client")
    for _ in range(4):
        words = [client, "renew", "--force", "--dir", folder.path, "--json"]
        with started(words, stdout=subprocess.PIPE) as one, started(words, stdout=subprocess.PIPE) as other:
            told = [json.loads(each.communicate(timeout=120)[0]) for each in (one, other)]
        assert [each["result"] for each in told] == ["renewed", "renewed"]
        assert told[0]["serial"] != told[1]["serial"]
        assert folder.fault() == ""
        assert f"{folder.certificate().serial_number:x}" in {each["serial"] for each in told}


@pytest.mark.parametrize("damage", ["missing", "foreign"])
def test_a_lost_key_is_renewed(demo: Demo, folder: Folder, credential: work.Credential, damage: str) -> None:
    """Where no right key was kept, status says what to type, and the account gets another pair by it."""
    first = enrolled(demo, folder, credential)
    shutil.rmtree(folder.path / "certificates", ignore_errors=True)
    write(folder.certificate_file, first.public_bytes(Encoding.PEM))
    if damage == "foreign":
        write(folder.key_file, to_pem(new_key()))
    code, told = command("status", "--dir", folder.path)
    assert code == 2
    assert told["error"].endswith(f"type: sekisho-client renew --dir {folder.path}")
    code, told = command("renew", "--dir", folder.path)
    assert (code, told["result"]) == (0, "renewed")
    assert told["mended"].startswith(str(folder.key_file))
    assert fits(folder)
    assert folder.certificate() != first


def test_a_lost_key_proves_nothing(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """client-cert-01 without the certificate's key: said before anything is asked, with the way out."""
    enrolled(demo, folder, credential, -65)
    shutil.rmtree(folder.path / "certificates")
    folder.account_file.unlink()
    code, told = command("renew", "--dir", folder.path, "--renewal-directory", demo.renewal_directory)
    assert code == 2
    assert "without it nothing proves the right to renew" in told["error"]
    assert "--credentials FILE --dir ANOTHER" in told["error"]


# -- refusals ------------------------------------------------------------------------------------------


def test_refusals_have_hints(demo: Demo, folder: Folder, credential: work.Credential, tmp_path: Path) -> None:
    """Each refusal of the server ends with what to do about it."""
    start = ("enroll", "--directory", demo.directory, "--ca-file", demo.ca_file, "--dir", folder.path)
    code, told = command(*start, "--name", NAME)
    assert (code, told["hint"]) == (1, "Add --credentials FILE (ask your operator for one).")
    given = ("--credentials", tmp_path / "eab.json")
    code, told = command(*start, *given, "--name", "other.users.kinen.example")
    assert (code, told["hint"]) == (1, "Ask only for names that the credentials grant: leave --name out.")
    assert "other.users.kinen.example" in told["error"]
    code, told = command(*start, *given, "--profile", "none")
    assert (code, told["hint"]) == (1, "Leave --profile out.")
    stranger = tmp_path / "stranger"
    code, told = command(*start[:-1], stranger, *given)
    assert (code, told["error"][:13]) == (1, "unauthorized:")
    assert told["hint"].startswith("These credentials are used, ended or not yours")
    code, told = command(*start)
    assert (code, told["error"]) == (2, "no name to ask for. Add --credentials FILE or --name NAME")
    code, told = command(*start, "--eab-kid", "1")
    assert (code, told["error"].startswith("--eab-kid and --eab-hmac-key-file go together")) == (2, True)


def test_servers_that_are_none(demo: Demo, folder: Folder) -> None:
    """Plain HTTP, an unknown CA, a page instead of a directory: said in words, never a traceback."""
    rest = ("--name", NAME, "--dir", folder.path)
    code, told = command("enroll", "--directory", "http://localhost/", *rest)
    assert (code, told["error"]) == (1, "not an https URL: http://localhost/")
    assert told["hint"].startswith("Check the directory URL")
    code, told = command("enroll", "--directory", demo.directory, *rest)
    assert (code, told["hint"][:46]) == (1, "This machine does not know the server's CA: ad")
    assert "certificate verify failed" in told["error"]
    page = demo.directory.replace("/acme/directory", "/")
    code, told = command("enroll", "--directory", page, "--ca-file", demo.ca_file, *rest)
    assert code == 1
    assert "no JSON object but text/html; charset=utf-8: <!doctype html>" in told["error"]
    assert told["error"].endswith("…: is this its directory?")


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        (("enroll", "--credentials"), "{}", "holds no credentials. Ask your operator for the file."),
        (("enroll", "--credentials"), "{", "holds no credentials. Ask your operator for the file."),
        (
            ("enroll", "--credentials"),
            '{"kid": "1", "hmac_key": "a"}',
            "holds no credentials. Ask your operator for the file.",
        ),
        (("enroll", "--eab-kid", "1", "--eab-hmac-key-file"), "a", "holds no key in base64url."),
        (("enroll", "--name", NAME, "--p12-password-file"), "", "holds no password. Write it on the first"),
        (("enroll", "--name", NAME, "--p12-password-file"), "\n", "holds no password. Write it on the first"),
        (("bind", "--account-key"), "-----BEGIN", "is no account key in PEM, without a password"),
    ],
)
def test_files_that_are_none(
    folder: Folder, tmp_path: Path, words: tuple[str, ...], content: str, message: str
) -> None:
    """The file is named, with what belongs there, before any server is asked."""
    file = tmp_path / "file"
    file.write_text(content)
    more = ("--dir", folder.path) if words[0] == "enroll" else ()
    code, told = command(*words, file, "--directory", "https://localhost:1/directory", *more)
    assert (code, told["hint"]) == (2, "")
    assert told["error"].startswith(f"{file} {message}")
    assert not folder.path.exists()


def test_a_damaged_folder(demo: Demo, folder: Folder, credential: work.Credential) -> None:
    """A file of ours that cannot be read any more is no fault of the server's, nor of its address."""
    enrolled(demo, folder, credential)
    (folder.path / "state.json").write_text("{")
    code, told = command("renew", "--dir", folder.path)
    assert (code, told["hint"].partition(":")[0]) == (1, "A file in the folder of --dir is damaged")


def test_bind_refused(demo: Demo, credential: work.Credential) -> None:
    """A credential binds once, whoever's account key it is."""
    bound = work.bind(demo.directory, demo.ca_file, credential, new_key("rsa-2048"))
    assert bound["result"] == "bound"
    with pytest.raises(AcmeError) as refused:
        work.bind(demo.directory, demo.ca_file, credential, new_key())
    assert refused.value.kind == "unauthorized"


# -- packaging -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["sekisho-client.service", "sekisho-client.timer"])
def test_units(unit: str, tmp_path: Path) -> None:
    """The example units are what systemd takes without a complaint, and start a command that exists."""
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("systemd-analyze is not installed")
    source = Path(work.__file__).with_name("packaging")
    for file in source.iterdir():
        text = file.read_text().replace(
            "/opt/sekisho/bin/sekisho-client", str(SEKISHO.with_name("sekisho-client"))
        )
        (tmp_path / file.name).write_text(text)
    assert "renew" in main.commands
    head, _, unit_text = (source / "sekisho-client.service").read_text().partition("[Unit]")
    lines = "\n".join(re.findall(r"^#   (.*)$", head, re.MULTILINE))
    subprocess.run(["bash", "-n"], input=lines, text=True, check=True)
    assert {re.search(r"CLIENT_DIR=(\S+)", text)[1] for text in (head, unit_text)} == {  # type: ignore[index]
        "/var/lib/sekisho-client"
    }
    told = subprocess.run([analyse, "verify", tmp_path / unit], capture_output=True)
    assert (told.returncode, told.stderr.decode()) == (0, "")
