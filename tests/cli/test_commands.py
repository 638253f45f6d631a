"""The other commands: set-up, certificates, mails, the trail, the doctor; and how errors look."""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from pathlib import Path

import click
import pytest
from aiohttp import web
from click.testing import CliRunner
from cryptography import x509

from enroll.requests import issuance
from gateway.cli import main
from gateway.cli.loading import loading
from gateway.cli.registers import wanted
from gateway.cli.root import MODULES, whole
from gateway.serving.config import FILE_NAME
from gateway.serving.deployment import opened_deployment
from gateway.web import references, sessions
from tests.cli.conftest import Shell
from tests.datadirs import PASSPHRASE, START
from tests.mailserver import MailServer


def issued(shell: Shell) -> str:
    """A certificate for the user of ``peopled``; returns its serial."""

    request_id = shell_request(shell)

    async def work() -> str:
        async with opened_deployment(shell.data, PASSPHRASE) as deployment:
            await issuance.submit(deployment.ra, request_id, actor="K12345678")
            return (await issuance.complete(deployment.ra, request_id)).serial or ""

    return asyncio.run(work())


def shell_request(shell: Shell) -> str:
    return str(shell("request", "list").value["requests"][0]["request_id"])


@pytest.mark.slow
def test_init(tmp_path: Path) -> None:
    """``init`` makes a directory that opens, writes every default, and refuses to do it twice."""
    sekisho = Shell(tmp_path / "new")
    made = sekisho("init", "--domain", "kinen.example", "--port", "9443")
    assert (made.code, made.value["init"]["data"]) == (0, str(sekisho.data))
    text = (sekisho.data / FILE_NAME).read_text()
    assert 'pickup = ["pickup.kinen.example"]' in text
    assert "port = 9443" in text
    # People come to such a domain from elsewhere; to localhost nobody does.
    assert 'host = "0.0.0.0"' in text
    checks = {each["check"]: each for each in sekisho("doctor").value["checks"]}
    assert checks["server certificate"]["state"] == "notice"
    assert checks["server certificate"]["hint"].endswith("name your own in tls.certificate")
    assert checks["configuration"]["state"] == "ok"
    (sekisho.data / FILE_NAME).write_text(text.replace('"0.0.0.0"', '"127.0.0.1"'))
    checks = {each["check"]: each for each in sekisho("doctor").value["checks"]}
    assert checks["configuration"]["state"] == "notice"
    assert sekisho("org", "list").value == {"organisations": []}
    again = sekisho("init")
    assert again.error["message"].endswith("it holds a CA already; name a new directory with --data DIR")


def test_init_mends_a_missing_configuration(sekisho: Shell) -> None:
    """Interrupted between CA and configuration, ``init`` writes only the latter and keeps the keys."""
    before = (sekisho.data / "vault.json").read_bytes()
    (sekisho.data / FILE_NAME).unlink()
    assert "sekisho init" in sekisho("org", "list").error["message"]
    assert sekisho("init").code == 0
    assert (sekisho.data / "vault.json").read_bytes() == before
    assert sekisho("org", "list").code == 0


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (("--domain", "UPPER"), {}, "--domain UPPER: sites.pickup: 'pickup.UPPER' is no host name"),
        ((), {"SEKISHO_PASSPHRASE": "short"}, "choose one of at least"),
        ((), {"SEKISHO_PASSPHRASE": ""}, "must hold the passphrase on one line"),
        (("--passphrase-file", "none"), {}, "passphrase file: none cannot be read"),
    ],
)
def test_init_refused(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    """A bad domain or passphrase is refused before anything is made."""
    sekisho = Shell(tmp_path / "new")
    refused = sekisho("init", *words, **environment)
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert message in refused.error["message"]
    assert not (tmp_path / "new").exists()


def test_data_and_passphrase(sekisho: Shell, tmp_path: Path) -> None:
    """--data wins over SEKISHO_DATA, --passphrase-file over the environment; what fails says what to type."""
    other = sekisho("org", "list", "--data", str(tmp_path / "none"))
    assert other.error["message"].endswith(f"make one: sekisho init --data {tmp_path / 'none'}")
    wrong = sekisho("org", "list", SEKISHO_PASSPHRASE="not the passphrase")
    assert wrong.error["code"] == "config"
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    given = sekisho("org", "list", "--passphrase-file", str(file), SEKISHO_PASSPHRASE="not the passphrase")
    assert given.code == 0
    asked = CliRunner().invoke(main, ["org", "list", "--data", str(sekisho.data)])
    assert asked.exit_code == 1
    assert "set SEKISHO_PASSPHRASE or name a file with --passphrase-file FILE" in asked.stderr


@pytest.mark.slow
def test_passphrase_change(sekisho: Shell) -> None:
    """After a change only the new passphrase opens; a wrong old one changes nothing."""
    new = "another horse battery staple"
    wrong = sekisho("passphrase", "change", SEKISHO_PASSPHRASE="not it at all", SEKISHO_NEW_PASSPHRASE=new)
    assert (wrong.code, wrong.error["code"]) == (1, "config")
    asked = sekisho("passphrase", "change")
    assert asked.error["message"].endswith(
        "set SEKISHO_NEW_PASSPHRASE or name a file with --new-passphrase-file FILE"
    )
    short = sekisho("passphrase", "change", SEKISHO_NEW_PASSPHRASE="short")
    assert "choose one of at least" in short.error["message"]
    assert sekisho("org", "list").code == 0
    assert sekisho("passphrase", "change", SEKISHO_NEW_PASSPHRASE=new).value == {
        "passphrase": {"changed": True}
    }
    assert sekisho("org", "list").code == 1
    assert sekisho("org", "list", SEKISHO_PASSPHRASE=new).code == 0


def test_certificates(peopled: Shell) -> None:
    """A certificate is listed, found by serial, name and fingerprint, and revoked once."""
    serial = issued(peopled)
    listed = peopled("cert", "list").value["certificates"]
    assert [(each["serial"], each["state"]) for each in listed] == [(serial, "issued")]
    assert peopled("cert", "list", "--user", "K12345678").value["certificates"] == listed
    for name in (serial, serial.upper(), "K123456780001", listed[0]["fingerprint"]):
        assert peopled("cert", "show", name).value["certificate"]["serial"] == serial
    pem = peopled("cert", "show", serial, "--pem", json_output=False)
    assert pem.out.startswith("-----BEGIN CERTIFICATE-----\n")
    revoked = peopled("cert", "revoke", serial, "--reason", "keyCompromise").value["certificate"]
    assert (revoked["state"], revoked["revocation_reason"]) == ("revoked", "keyCompromise")
    assert revoked["credentials"] == []
    assert peopled("request", "list").value["requests"][0]["state"] == "revoked"
    again = peopled("cert", "revoke", serial).error
    assert (again["code"], again["message"]) == ("conflict", f"certificate {serial} is revoked already")
    assert peopled("cert", "list", "--status", "issued").value == {"certificates": []}


@pytest.mark.parametrize("name", ["00", "'; DROP TABLE certificates; --", "", "ff" * 4_000])
def test_unknown_certificates(peopled: Shell, name: str) -> None:
    """A name that is none is refused, whatever it holds."""
    for verb in ("show", "revoke"):
        refused = peopled("cert", verb, "--", name) if name.startswith("-") else peopled("cert", verb, name)
        assert (refused.code, refused.error["code"], refused.error["field"]) == (1, "not_found", "serial")
        assert refused.error["message"] == f"there is no certificate {name[:80]!r} here"


def test_revocation_reasons_are_ours_to_give(peopled: Shell) -> None:
    """A reason that operators may not give is refused by the command line already."""
    assert peopled("cert", "revoke", "00", "--reason", "cACompromise").error["code"] == "usage"


def test_what_is_held_goes_on_when_it_is_released(peopled: Shell) -> None:
    """利用停止 of one certificate and of a user's: reason 6 in the list, and gone from the next one; a second
    time is a conflict, and so is one that was revoked."""
    serial = issued(peopled)
    assert peopled("cert", "hold", serial).value["certificate"]["state"] == "held"
    assert _reasons(peopled, serial) == ["certificate_hold"]
    assert peopled("cert", "hold", serial).error["code"] == "conflict"
    assert peopled("cert", "release", serial).value["certificate"]["state"] == "issued"
    assert _reasons(peopled, serial) == []
    assert peopled("cert", "release", serial).error["code"] == "conflict"
    assert peopled("user", "hold", "K12345678").value["held"]["certificates"] == 1
    assert peopled("user", "release", "K12345678").value["released"]["certificates"] == 1
    assert peopled("user", "release", "K12345678").value["released"]["certificates"] == 0
    assert peopled("user", "hold", "K00000000").error["code"] == "not_found"
    peopled("cert", "revoke", serial)
    for word in ("hold", "release"):
        assert peopled("cert", word, serial).error["code"] == "conflict"


def _reasons(shell: Shell, serial: str) -> list[str]:
    """What the issuer's next list says of a certificate."""
    file = shell.data / "held.crl"
    assert shell("cert", "crl", str(file)).code == 0
    entry = x509.load_der_x509_crl(file.read_bytes()).get_revoked_certificate_by_serial_number(
        int(serial, 16)
    )
    found = [] if entry is None else [each.value for each in entry.extensions]
    return [each.reason.name for each in found if isinstance(each, x509.CRLReason)]


def test_mails(peopled: Shell) -> None:
    """Letters are listed, shown without their secrets, and delivered to the outbox, once."""
    letters = peopled("mail", "list", "--user", "K12345678").value["mails"]
    assert {each["kind"] for each in letters} == {"pickup", "user_id"}
    shown = peopled("mail", "show", "1").value["mail"]
    assert "証明書発行用パスワード：＊＊＊＊＊＊＊＊" in shown["shown_body"]
    assert peopled("mail", "deliver").value == {"delivered": 2, "waiting": 0, "held": 0, "refused": []}
    assert peopled("mail", "deliver").value == {"delivered": 0, "waiting": 0, "held": 0, "refused": []}
    assert len(list((peopled.data / "outbox").iterdir())) == 2
    assert peopled("mail", "show", "99").error["field"] == "mail"
    assert peopled("mail", "list", "--user", "nobody").error["field"] == "user_id"


def test_notify(peopled: Shell) -> None:
    """Renewal mails of a given day are queued once; a day that is none is refused."""
    serial = issued(peopled)
    with sqlite3.connect(peopled.data / "sekisho.db") as db:
        until = db.execute("SELECT not_after_at FROM certificates WHERE serial = ?", [serial]).fetchone()[0]
    from datetime import timedelta

    from enroll.jst import day_of

    day = (day_of(until) - timedelta(days=30)).isoformat()
    assert peopled("notify", "run", "--date", day).value["queued"] == {"renewal_30": 1, "renewal_7": 0}
    assert peopled("notify", "run", "--date", day).value["queued"] == {"renewal_30": 0, "renewal_7": 0}
    assert peopled("notify", "run").value["queued"] == {"renewal_30": 0, "renewal_7": 0}
    assert peopled("notify", "run", "--date", "30.2.2026").error["code"] == "usage"


def test_audit(peopled: Shell) -> None:
    """The trail names the operator and narrows to a subject."""
    lines = peopled("audit", "show", "--subject", "K12345678").value["audit"]
    assert [each["action"] for each in lines] == ["user.added", "request.opened"]
    assert lines[0]["actor"].startswith("operator:")
    assert peopled("audit", "show", "--limit", "0").error["code"] == "usage"


def test_sessions_and_references(peopled: Shell) -> None:
    """Sessions are listed and ended; a number nobody was given is refused."""
    assert peopled("session", "list").value == {"sessions": []}
    assert peopled("session", "end", "--user", "K12345678").value == {"ended": 0}
    assert peopled("session", "end", "abc").error["field"] == "session"
    assert peopled("session", "end").error["code"] == "usage"
    assert peopled("reference", "show", "AAAA-AAAA").error["field"] == "reference"


def _log_in(shell: Shell, *sites: str, subject: str = "K12345678") -> None:
    """Sessions as the sites open them."""
    client = sessions.Client("192.0.2.7", "Microsoft Edge 142")

    async def work() -> None:
        async with opened_deployment(shell.data, PASSPHRASE) as deployment:
            for site in sites:
                await sessions.start(deployment.ra, web.Response(), site, subject, client)

    asyncio.run(work())


def test_the_list_of_sessions_says_where_they_were_opened(peopled: Shell) -> None:
    """Address and browser of the login; of a pick-up it names the request, and says that it does."""
    _log_in(peopled, "pickup", subject="1234567890123456")
    listed = peopled("session", "list").value["sessions"]
    assert [(each["address"], each["browser"]) for each in listed] == [("192.0.2.7", "Microsoft Edge 142")]
    heading, line = peopled("session", "list", json_output=False).out.splitlines()
    assert "User or request ID" in heading
    assert "1234567890123456" in line
    assert "192.0.2.7" in line
    assert "Microsoft Edge 142" in line


def test_whose_sessions_an_operator_ended_is_in_the_trail(peopled: Shell) -> None:
    """By name, one or all of a user; where nothing ended, nothing is said."""

    def counts() -> list[int]:
        lines = peopled("audit", "show", "--subject", "K12345678").value["audit"]
        ended = [each for each in lines if each["action"] == "session.ended"]
        assert all(each["actor"].startswith("operator:") for each in ended)
        return [each["detail"]["count"] for each in ended]

    assert peopled("session", "end", "--user", "K12345678").value == {"ended": 0}
    assert peopled("session", "end", "0123456789abcdef").code == 1
    assert counts() == []
    _log_in(peopled, "service", "renewal", "service")
    number = peopled("session", "list").value["sessions"][0]["id"]
    assert peopled("session", "end", number).value == {"ended": 1}
    assert counts() == [1]
    assert peopled("session", "end", "--user", "K12345678").value == {"ended": 2}
    assert counts() == [2, 1]
    _log_in(peopled, "service")
    assert peopled("user", "disable", "K12345678").value["disabled"]["sessions_ended"] == 1
    assert counts() == [1, 2, 1]


def test_a_reference_is_shown(peopled: Shell) -> None:
    """What a person saw is found under the number, however it is typed."""

    async def note(site: str) -> str:
        async with opened_deployment(peopled.data, PASSPHRASE) as deployment:
            return await references.note(deployment.ra, site, "not_available", state="closed")

    async def opened(key: str) -> str | None:
        async with opened_deployment(peopled.data, PASSPHRASE) as deployment:
            return references.opened(deployment.ra, key)

    number = asyncio.run(note("pickup"))
    shown = peopled("reference", "show", number.lower().replace("-", " ")).value["reference"]
    assert (shown["site"], shown["code"], shown["detail"]) == ("pickup", "not_available", {"state": "closed"})
    assert "page" not in shown
    # Of the connectivity test there is the page itself, by a key that is good for that number.
    number = asyncio.run(note("connectivity"))
    place, _, key = peopled("reference", "show", number).value["reference"]["page"].rpartition("/")
    assert place.endswith("connectivity.localhost:8443/recorded")
    assert asyncio.run(opened(key)) == number


def test_doctor(peopled: Shell) -> None:
    """A directory in order passes; open permissions and a broken template are found and named."""
    fine = peopled("doctor")
    assert (fine.code, fine.value["ok"]) == (0, True)
    states = {each["check"]: each["state"] for each in fine.value["checks"]}
    for this_machines in ("file descriptors", "disk"):  # and not the directory's
        states.pop(this_machines)
    notices = {check for check, state in states.items() if state != "ok"}
    assert notices == {"mail server", "CRL address", "backup", "operators"}
    assert states["mail server"] == "notice"
    (peopled.data / "vault.json").chmod(0o644)
    (peopled.data / "templates").mkdir()
    (peopled.data / "templates" / "pickup.txt").write_text("Subject: x\n\n{{ nothing }}")
    bad = peopled("doctor")
    assert (bad.code, bad.value["ok"]) == (1, False)
    found = {each["check"]: each for each in bad.value["checks"] if each["state"] == "bad"}
    assert set(found) == {"permissions", "mail templates"}
    assert found["permissions"]["hint"].startswith("chmod go-rwx ")


def test_doctor_finds_a_mailbox_outside_a_demo(peopled: Shell) -> None:
    """What serve would refuse is found before."""
    (peopled.data / FILE_NAME).write_text("[sites]\nmailbox = ['mailbox.localhost']\n")
    bad = peopled("doctor")
    found = {each["check"]: each for each in bad.value["checks"]}
    assert (bad.code, found["serve"]["state"]) == (1, "bad")
    assert found["serve"]["found"].startswith("sites.mailbox: only a demo shows everybody's mails; write []")


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere/log", "No such file or directory"), ("outbox", "Is a directory")]
)
def test_doctor_finds_a_log_that_cannot_be(peopled: Shell, name: str, reason: str) -> None:
    """serve would refuse it in the same words; a file that is not there yet is fine, and is not made."""
    (peopled.data / "outbox").mkdir(mode=0o700)
    (peopled.data / FILE_NAME).write_text("[log]\nfile = 'log'\n")
    assert peopled("doctor").code == 0
    assert not (peopled.data / "log").exists()
    (peopled.data / FILE_NAME).write_text(f"[log]\nfile = '{name}'\n")
    found = {each["check"]: each for each in peopled("doctor").value["checks"]}["log"]
    assert (found["state"], reason in found["found"]) == ("bad", True)
    assert peopled("serve").error["message"] == found["found"]


def test_doctor_looks_outside(peopled: Shell) -> None:
    """A mail server that does not answer is bad; host names nobody resolves are worth a notice."""
    with MailServer().in_a_thread() as server:
        config = f"[mail]\ntransport = 'smtp'\nhost = '127.0.0.1'\nport = {server.port}\nsecurity = 'none'\n"
        (peopled.data / FILE_NAME).write_text(
            config + "[sites]\nhelp = ['help.invalid']\ntry_suffix = '*.try.invalid'\n"
        )
        found = {each["check"]: each for each in peopled("doctor").value["checks"]}
    assert found["mail server"]["state"] == "ok"
    assert found["host names"]["state"] == "notice"
    assert found["host names"]["found"] == "not in the DNS: help.invalid, *.try.invalid"
    bad = peopled("doctor")
    assert bad.code == 1
    found = {each["check"]: each for each in bad.value["checks"]}
    assert found["mail server"]["state"] == "bad"


def test_a_broken_template_queues_nobody(peopled: Shell) -> None:
    """A user whose letters cannot be written is not recorded."""
    (peopled.data / "templates").mkdir()
    (peopled.data / "templates" / "user_id.txt").write_text("no subject")
    refused = peopled("user", "add", "12345678", "B", "b@example.jp")
    assert "user_id.txt" in refused.error["message"]
    assert len(peopled("user", "list").value["users"]) == 1


def test_a_damaged_database(peopled: Shell) -> None:
    """It is the operator's to restore, and no fault of ours."""
    (peopled.data / "sekisho.db").write_bytes(b"no database at all" * 300)
    for name in ("sekisho.db-wal", "sekisho.db-shm"):
        (peopled.data / name).unlink(missing_ok=True)
    for words in (("user", "list"), ("doctor",), ("serve",)):
        refused = peopled(*words)
        assert (refused.code, refused.error["code"]) == (1, "config")
        assert refused.error["message"].endswith("sekisho.db is damaged; restore it from a backup")


def test_errors_for_people(sekisho: Shell) -> None:
    """Without --json an error is on standard error, with what to type; standard output stays empty."""
    refused = sekisho("user", "show", "K00000000", json_output=False)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "error: the user ID is not known here\nList them: sekisho user list\n"
    usage = sekisho("user", "shwo", json_output=False)
    assert (usage.code, usage.out) == (2, "")
    assert "Try: sekisho user --help" in usage.err


def test_a_terminal_is_not_for_strangers(peopled: Shell) -> None:
    """Control characters that somebody typed into a form do not reach the operator's terminal."""
    from enroll import store

    async def typed() -> None:
        async with opened_deployment(peopled.data, PASSPHRASE) as deployment:
            await deployment.ra.database.write(
                lambda db: store.audit(db, 1, "address:127.0.0.1", "pickup.refused", "\x1b]0;owned\x07\u202e")
            )

    asyncio.run(typed())
    shown = peopled("audit", "show", json_output=False)
    assert shown.code == 0
    assert not set(shown.out) & set("\x1b\x07\u202e")
    assert "\\x1b]0;owned\\x07" in shown.out


def test_no_secret_is_shown(peopled: Shell) -> None:
    """No command prints a password of the letters, the passphrase, a hash, or a key."""
    peopled("mail", "deliver")
    secrets = _letter_secrets(peopled.data / "outbox")
    assert len(secrets) == 2
    shown = ""
    for words in (
        ("user", "show", "K12345678"),
        ("user", "list"),
        ("request", "list"),
        ("request", "show", shell_request(peopled)),
        ("mail", "list"),
        ("mail", "show", "1"),
        ("mail", "show", "2"),
        ("audit", "show"),
        ("application", "list", "--all"),
        ("doctor",),
    ):
        for json_output in (True, False):
            ran = peopled(*words, json_output=json_output)
            assert ran.code == 0
            shown += ran.out + ran.err
    for secret in (*secrets, PASSPHRASE, "argon2id", "_sealed", "sealed_", "PRIVATE KEY"):
        assert secret not in shown


def _letter_secrets(outbox: Path) -> set[str]:
    from email import message_from_bytes, policy

    found = set()
    for path in outbox.glob("*.eml"):
        body = message_from_bytes(path.read_bytes(), policy=policy.default).get_content()
        found |= {line.partition("：")[2] for line in body.splitlines() if "パスワード：" in line}
    return found


def test_every_command_takes_data_and_json() -> None:
    """--data and --json are options of every command; only ``version``, and a ceremony on another machine,
    have no directory to look into."""

    def leaves(group: object) -> list[object]:
        commands = getattr(group, "commands", None)
        return [group] if commands is None else [leaf for c in commands.values() for leaf in leaves(c)]

    commands = dict(whole().commands)
    apart = [*leaves(commands.pop("version")), *leaves(commands.pop("ceremony"))]
    found = [leaf for each in commands.values() for leaf in leaves(each)]
    assert len(found) >= 26
    for leaf in [*found, *apart]:
        names = {name for parameter in leaf.params for name in parameter.opts}  # type: ignore[attr-defined]
        expected = {"--json"} if leaf in apart else {"--data", "--json"}
        assert expected <= names, leaf


def _modules_of(command: click.Command) -> set[str]:
    """The modules that register a command, or what is in a group."""
    if isinstance(command, click.Group):
        return set().union(*map(_modules_of, command.commands.values()))
    assert command.callback is not None
    return {command.callback.__module__.removeprefix("gateway.cli.")}


def test_every_command_is_loaded_when_it_is_asked_for() -> None:
    """The table of modules has each that registers something, by all that it registers and nothing else."""
    for path in Path(str(import_module("gateway.cli").__file__)).parent.glob("[a-z]*.py"):
        import_module(f"gateway.cli.{path.stem}")
    found = {name: _modules_of(command) for name, command in whole().commands.items()}
    assert found.pop("version") == {"root"}
    assert found == {
        name: {module for module, names in MODULES.items() if name in names}
        for name in set().union(*MODULES.values())
    }


@pytest.mark.slow
def test_what_needs_little_loads_little() -> None:
    """``version`` loads hardly anything. It and the process that has the keys load no site, no aiohttp and
    nothing that writes letters, makes tables or draws them, nor does what is done to people; a name that is
    none is looked for everywhere."""
    asked = (
        "import sys\n"
        "from gateway.cli import main\n"
        "def run(*words):\n"
        "    try: main(words)\n"
        "    except SystemExit as ended: return ended.code\n"
        "codes = [run('version')]\n"
        "print(sorted({'asyncio', 'cryptography', 'rich', 'sqlite3', 'ssl'} & set(sys.modules)))\n"
        "codes += [run('signer', '--help')]\n"
        "import gateway.serving.signing.process\n"
        "heavy = {'aiohttp', 'zxcvbn', 'gateway.serving.assembly', 'gateway.proxy.relay'}\n"
        "heavy |= {'jinja2', 'sqlite_utils', 'rich'}\n"
        "print(codes, sorted(heavy & set(sys.modules)))\n"
        "codes = [run('user', 'add', '--help'), run('eab', 'create', '--help')]\n"
        "print(codes, sorted((heavy - {'zxcvbn'}) & set(sys.modules)))\n"
        "print(run('versoin'), 'gateway.cli.people' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    told = [line for line in done.stdout.splitlines() if line.startswith(("[", "2 "))]
    assert (told, done.returncode) == (["[]", "[0, 0] []", "[0, 0] []", "2 True"], 0), done.stderr
    assert "No such command 'versoin'" in done.stderr


def test_loading_looks_for_no_garbage() -> None:
    """Nothing is collected while modules are loaded, and afterwards as before: after one that cannot be
    loaded too, and where nothing was collected before."""
    states = [gc.isenabled()]
    with suppress(ImportError), loading():
        states.append(gc.isenabled())
        raise ImportError
    states.append(gc.isenabled())
    with loading():
        with loading():
            pass
        states.append(gc.isenabled())
    assert states == [True, False, True, False]
    assert gc.isenabled()


def test_a_bounce(peopled: Shell, tmp_path: Path) -> None:
    """R10, R17: what comes to the Return-Path is recorded with its letter; anything else is refused."""
    peopled("mail", "deliver")
    created_at = peopled("mail", "show", "1").value["mail"]["created_at"]
    file = tmp_path / "bounce.eml"
    file.write_text(
        "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
        "Reporting-MTA: dns; x\n\nAction: failed\nStatus: 5.1.1\n\n--b\nContent-Type: message/rfc822\n\n"
        f"Message-ID: <letter-1.{created_at}@kinen-bs.com>\n\nx\n--b--\n"
    )
    recorded = peopled("mail", "bounce", str(file), json_output=False)
    assert (recorded.code, "sekisho user change K12345678 --mail ADDRESS" in recorded.out) == (0, True)
    assert [each["state"] for each in peopled("mail", "list").value["mails"]] == ["sent", "failed"]
    file.write_text("Subject: hello\n\nhello\n")
    refused = peopled("mail", "bounce", str(file)).error
    assert (refused["code"], refused["field"]) == ("invalid_input", "bounce")


def test_help_for_everything() -> None:
    """Every command explains itself."""
    for words in ([], ["user", "import"], ["init"], ["request", "reissue"]):
        done = CliRunner().invoke(main, [*words, "--help"])
        assert done.exit_code == 0
        assert "Usage: " in done.stdout
    assert json.dumps(CliRunner().invoke(main, ["--version"]).stdout)


@pytest.mark.parametrize("words", [(), ("user",)])
def test_half_a_command_shows_what_there_is(words: tuple[str, ...]) -> None:
    """Without a command, the help is the answer: no error's words around it, and exit code 2."""
    done = CliRunner().invoke(main, [*words])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: {' '.join(('sekisho', *words))} ")
    assert "error" not in done.stderr


def test_a_missing_choice_is_one_line(sekisho: Shell) -> None:
    """click lists choices after line breaks and tabs; people get one sentence."""
    refused = sekisho("request", "reissue", "K12345678", json_output=False)
    assert (refused.code, refused.err.splitlines()[0]) == (
        2,
        "error: Missing option '--reason'. Choose from: pc_change, mail_lost, refused, expired, interrupted,"
        " lost_or_stolen",
    )


@pytest.mark.parametrize("words", [("user", "list"), ("serve",)])
def test_the_directory_comes_before_the_passphrase(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Who is in the wrong place is told so, and not asked for a passphrase that opens nothing."""
    nowhere = tmp_path / "nowhere"
    environment = {"SEKISHO_DATA": str(nowhere), "SEKISHO_PASSPHRASE": ""}
    done = CliRunner().invoke(main, [*words], env=environment)
    assert (done.exit_code, done.stderr) == (
        1,
        f"error: {nowhere} is not a data directory; make one: sekisho init --data {nowhere}\n",
    )


def test_days_of_options_are_japans() -> None:
    """``--ends-before 2026-11-22``: before that day begins here, at 15:00 of the 21st in Greenwich."""
    narrowed = wanted(ends_before=datetime(2026, 11, 22), ends_after=datetime(2026, 11, 23))
    assert (narrowed.ends_before, narrowed.ends_after) == (START - 12 * 3_600, START + 12 * 3_600)
