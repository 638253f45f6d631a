"""Keys in tokens, as an operator has them: moved there by commands, and a gateway that serves with them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from cryptography import x509

from ca.published import store as published
from enroll import crls, store
from tests.cli.conftest import PASSPHRASE, Shell
from tests.cli.processes import get_plain, process
from tests.cli.test_ceremony import terminal
from tests.cli.test_serving import ended, ready
from tests.cli.test_signer import _begun, _issued, as_a_worker
from tests.datadirs import cheaper
from tests.looking import look
from tests.softhsm import MODULE, PIN, WRONG_PIN, SoftHsm, hsm, needs_softhsm

pytestmark = needs_softhsm
__all__ = ["hsm"]

TABLE = f'\n[tokens.hsm]\nmodule = "{MODULE}"\nlabel = "sekisho"\n'


@pytest.fixture
def shell(sekisho: Shell, hsm: SoftHsm) -> Shell:
    """A data directory that knows the token, and has its PIN sealed."""
    _add(sekisho, TABLE)
    (sekisho.data.parent / "pin").write_text(f"{PIN}\n")
    done = sekisho("ca", "key", "pin", "hsm", "--pin-file", str(sekisho.data.parent / "pin"))
    assert done.code == 0, done.out
    assert PIN not in done.out + done.err
    return sekisho


def _add(shell: Shell, text: str) -> None:
    with (shell.data / "sekisho.toml").open("a") as settings:
        settings.write(text)


def _places(shell: Shell) -> dict[str, dict[str, str]]:
    return {each["name"]: each for each in shell("ca", "key", "show").value["keys"]}


def _move_all(shell: Shell) -> list[str]:
    """Every key into the token, and no file of one left."""
    names = list(_places(shell))
    for name in names:
        done = shell("ca", "key", "move", name, "--token", "hsm")
        assert done.code == 0, done.out
        file = done.value["moved"]["file"]
        assert (file is None) == name.startswith("ocsp-")
        if file is not None:
            Path(file).unlink()
    return names


def _actions(shell: Shell, subject: str) -> list[str]:
    lines = shell("audit", "show", "--limit", "100").value["audit"]
    return [each["action"] for each in lines if each["subject"] == subject]


@pytest.mark.slow
def test_every_key_is_moved_and_a_gateway_signs_with_them(shell: Shell, tmp_path: Path) -> None:
    """Rehearsed, proven, written down; what remains of the file is said. Then lists and answers as before."""
    (issuing,) = (each for each in _places(shell) if each.startswith("issuing-"))
    settings = (shell.data / "sekisho.toml").read_text()
    dry = shell("ca", "key", "move", issuing, "--token", "hsm", "--dry-run")
    assert (dry.code, dry.value["moved"]["dry_run"]) == (0, True)
    assert (shell.data / "sekisho.toml").read_text() == settings
    told = shell("ca", "key", "move", issuing, "--token", "hsm", json_output=False).out
    file = shell.data / f"ca/{issuing}.key"
    assert f"shred -u {file}" in told.replace("\n", "")
    assert "Every backup that was made before has it, too" in told.replace("\n", " ")
    assert file.exists()
    again = shell("ca", "key", "move", issuing, "--token", "hsm")
    assert (again.code, again.error["message"].endswith("see: sekisho ca key show")) == (1, True)
    file.unlink()
    for name in _places(shell):
        if name != issuing:
            assert shell("ca", "key", "move", name, "--token", "hsm").code == 0
    (shell.data / "ca/root.key").unlink()
    shown = _places(shell)
    assert {each["state"] for each in shown.values()} == {"ok"}
    assert all("in the token 'sekisho'" in each["where"] for each in shown.values())
    assert shell("ca", "root-list").code == 0
    assert shell("ca", "add", "NEXT CA-G5").code == 0
    assert _actions(shell, issuing) == ["key.moved"]
    assert _actions(shell, "hsm") == ["pin.sealed"]


@pytest.mark.slow
async def test_the_token_is_taken_away_and_given_back_while_it_is_served(
    shell: Shell, hsm: SoftHsm, tmp_path: Path
) -> None:
    """Issuing says later; pages, lists and answers that exist go on. When it is back what waited is issued,
    by itself, and nobody has typed a PIN."""
    await asyncio.to_thread(_move_all, shell)
    with ready(shell.data, tmp_path) as gateway:
        assert {each["state"] for each in gateway.doctor() if each["check"] == "key"} == {"ok"}
        async with as_a_worker(gateway) as worker:
            first = await _begun(worker, "KFIRST01")
            assert await _issued(worker, first), gateway.log.read_text()
            serial = store.enrollment(look(worker.ra.database), first).serial  # type: ignore[union-attr]
            issuer = worker.ra.authority.current
            listed = await crls.publish(worker.ra, issuer)
            answers = await worker.ra.authority.signer.answers(issuer.issuer_id, [serial])  # type: ignore[attr-defined]
            responder = x509.load_der_x509_certificate(answers.responder)
            responder.verify_directly_issued_by(issuer.certificate)

            hsm.take_away()
            second = await _begun(worker, "KSECOND1")
            assert not await _issued(worker, second)
            for host in ("pickup.localhost", "help.localhost"):
                assert gateway.get(host)[0] == 200
            assert look(worker.ra.database) is not None
            kept = worker.ra.database.read_now(lambda db: published.published_list(db, issuer.issuer_id))
            assert kept is not None
            assert kept.number == listed.number
            status, text = get_plain(gateway.internal, "/readyz")
            assert status == 200
            assert "nothing is signed with it meanwhile" in text
            assert 'sekisho_token_up{token="hsm"} 0' in get_plain(gateway.internal, "/metrics")[1]
            bad = [each for each in gateway.doctor() if each["check"] == "key" and each["state"] == "bad"]
            assert len(bad) >= 2
            # Should it never come back.
            (issuing,) = [each["hint"] for each in bad if each["found"].startswith("issuing-")]
            assert "sekisho ca activate NAME --at now" in issuing

            hsm.give_back()
            end = time.monotonic() + 60
            while not await _issued(worker, second):
                assert time.monotonic() < end, gateway.log.read_text()
            assert 'sekisho_token_up{token="hsm"} 1' in get_plain(gateway.internal, "/metrics")[1]
        assert PIN not in gateway.log.read_text()
        assert ended(gateway) == 0


def _refused_start(shell: Shell, tmp_path: Path) -> str:
    """What `serve` says and ends with 1."""
    log = tmp_path / "refused"
    log.write_text("")
    with process("serve", "--data", str(shell.data), log=log, SEKISHO_PASSPHRASE=PASSPHRASE) as running:
        assert running.wait(60) == 1, log.read_text()
    return " ".join(log.read_text().split())


@pytest.mark.slow
def test_what_is_wrong_with_a_key_is_said_at_the_start(shell: Shell, hsm: SoftHsm, tmp_path: Path) -> None:
    """A wrong PIN, tried once in all; a wrong label; a module that is none; a token that is not in it."""
    (issuing,) = (each for each in _places(shell) if each.startswith("issuing-"))
    assert shell("ca", "key", "move", issuing, "--token", "hsm").code == 0
    settings = shell.data / "sekisho.toml"
    good = settings.read_text()
    (tmp_path / "wrong").write_text(WRONG_PIN)
    (tmp_path / "x.so").write_text("no module")

    label = 'label = "sekisho"'
    settings.write_text(good.replace(label, f'{label}\npin_file = "{tmp_path}/wrong"'))
    first = _refused_start(shell, tmp_path)
    assert "refused the PIN, which is not tried again" in first
    second = _refused_start(shell, tmp_path)
    assert f"rm {shell.data}/ca/refused-pin-hsm" in second
    assert WRONG_PIN not in first + second
    (found,) = [
        each for each in shell("doctor").value["checks"] if (each["check"], each["state"]) == ("key", "bad")
    ]
    assert ("refused this PIN" in found["found"], "gone" in found["hint"]) == (True, False)
    for change, words in (
        ((f'label = "{issuing}"', 'label = "other"'), f"write its name: keys.{issuing}.label"),
        ((MODULE, str(tmp_path / "x.so")), "write the path of your token's: tokens.hsm.module"),
        (
            (f"[keys.{issuing}]", "[keys.issuing-00]"),
            "keys.issuing-00 is no key of a CA here; take [keys.issuing-00] away",
        ),
        (('token = "hsm"', 'token = "hms"'), "write the name of one of the tokens (hsm)"),
    ):
        settings.write_text(good.replace(*change))
        # Sealed for the very module and label: whoever changes them is not told the PIN.
        if "module" in words:
            settings.write_text(settings.read_text().replace(label, f'{label}\npin_file = "{tmp_path}/pin"'))
        assert words in _refused_start(shell, tmp_path)


@pytest.mark.slow
def test_a_pin_that_was_sealed_for_one_module_is_told_to_no_other(shell: Shell, tmp_path: Path) -> None:
    """Whoever can write the settings, as an owned worker can, gets no PIN by naming a module of his own."""
    (issuing,) = (each for each in _places(shell) if each.startswith("issuing-"))
    assert shell("ca", "key", "move", issuing, "--token", "hsm").code == 0
    other = tmp_path / "other.so"
    other.symlink_to(MODULE)
    settings = shell.data / "sekisho.toml"
    settings.write_text(settings.read_text().replace(MODULE, str(other)))
    assert "seal it again: sekisho ca key pin hsm" in _places(shell)[issuing]["state"]


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("move", "nothing", "--token", "hsm"), "there is no key 'nothing'; the keys are root, issuing-"),
        (("move", "root", "--token", "other"), "write [tokens.other] with module and label there"),
        (("pin", "other"), "write [tokens.other] with module and label there"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(shell: Shell, words: tuple[str, ...], end: str) -> None:
    """By name, and with what to type."""
    ran = shell("ca", "key", *words)
    assert ran.code == 1
    assert end in ran.error["message"]


def test_a_wrong_pin_is_not_sealed(shell: Shell, tmp_path: Path) -> None:
    """It is tried first; the one that was there stays."""
    before = (shell.data / "ca/pin-hsm.sealed").read_bytes()
    (tmp_path / "wrong").write_text(WRONG_PIN)
    ran = shell("ca", "key", "pin", "hsm", "--pin-file", str(tmp_path / "wrong"))
    assert (ran.code, "refused the PIN" in ran.error["message"]) == (1, True)
    assert WRONG_PIN not in ran.out + ran.err
    assert (shell.data / "ca/pin-hsm.sealed").read_bytes() == before


@pytest.mark.slow
def test_a_move_that_was_interrupted_is_finished(shell: Shell) -> None:
    """Between token and settings: the same words again, and what is in the token is what was put there."""
    (issuing,) = (each for each in _places(shell) if each.startswith("issuing-"))
    settings = shell.data / "sekisho.toml"
    good = settings.read_text()
    assert shell("ca", "key", "move", issuing, "--token", "hsm").code == 0
    settings.write_text(good)
    again = shell("ca", "key", "move", issuing, "--token", "hsm")
    assert again.code == 0, again.out
    assert _places(shell)[issuing]["state"] == "ok"


# -- keys that were never outside ----------------------------------------------------------------------


ENTER = "Enter to do this"
IN_TOKEN = ("--token-module", MODULE, "--token-label", "sekisho")


@pytest.fixture
def born(tmp_path: Path, hsm: SoftHsm) -> Shell:
    """A data directory whose keys were made in the token."""
    (tmp_path / "pin").write_text(f"{PIN}\n")
    shell = Shell(tmp_path / "born")
    done = shell("init", *IN_TOKEN, "--token-pin-file", str(tmp_path / "pin"))
    assert done.code == 0, done.out
    cheaper(shell.data)
    return shell


@pytest.mark.slow
def test_init_makes_its_keys_in_a_token(born: Shell, tmp_path: Path) -> None:
    """No file of a key of a CA; a further CA and a request are made there as well, and all of it is used."""
    assert list((born.data / "ca").glob("*.key")) == []
    assert {each["state"] for each in _places(born).values()} == {"ok"}
    assert born("ca", "add", "NEXT CA-G5", "--token", "hsm", "--label", "g5").code == 0
    (asked,) = [born("ca", "request", "NEXT CA-G6", "--token", "hsm", "--key", "ec-p384").value["request"]]
    request = x509.load_pem_x509_csr(Path(asked["file"]).read_bytes())
    assert request.is_signature_valid
    assert list((born.data / "ca").glob("*.key")) == []
    shown = _places(born)
    assert {each["state"] for each in shown.values()} == {"ok"}
    assert "the key 'g5' in the token" in " ".join(each["where"] for each in shown.values())
    assert born("ca", "root-list").code == 0
    taken = born("ca", "add", "NEXT CA-G7", "--token", "hsm", "--label", "g5")
    assert (taken.code, "give the new one another name" in taken.error["message"]) == (1, True)
    assert len(born("ca", "list").value["cas"]) == 2


@pytest.mark.slow
def test_a_drill_and_a_restore_say_what_token_they_take(born: Shell, hsm: SoftHsm, tmp_path: Path) -> None:
    """The drill signs with the token, or says that it is away; a restored one names it, and has its PIN."""
    assert born("org", "list").code == 0  # its database is made
    drilled = born("drill")
    assert drilled.code == 0, drilled.out
    key = born("restore", "key", str(tmp_path / "key")).value["key"]["recipient"]
    assert born("backup", "--to", str(tmp_path / "b"), "--recipient", key).code == 0
    other = Shell(tmp_path / "restored")
    done = other("restore", "backup", str(tmp_path / "b"), "--identity", str(tmp_path / "key"))
    assert done.code == 0, done.out
    tokens = done.value["restore"]["tokens"]
    assert len(tokens) == 3
    assert all(f"in the token 'sekisho', by {MODULE}" in each for each in tokens)
    assert {each["state"] for each in _places(other).values()} == {"ok"}
    hsm.take_away()
    away = born("drill")
    assert (away.code, "there is no token 'sekisho'" in away.error["message"]) == (1, True)
    assert "there is no token" in {each["state"] for each in _places(other).values()}.pop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("--token-module", MODULE), "add --token-label LABEL"),
        (("--token-label", "sekisho"), "add --token-module FILE"),
        (("--token-module", "/etc/hostname", "--token-label", "x"), "--token-module"),
        (("--token-module", MODULE, "--token-label", "other"), "--token-label"),
    ],
)
def test_a_token_that_is_not_there_makes_no_directory_ready(
    hsm: SoftHsm, tmp_path: Path, words: tuple[str, ...], end: str
) -> None:
    """The option to mend is named, and the same directory is taken by the next try."""
    (tmp_path / "pin").write_text(f"{PIN}\n")
    shell = Shell(tmp_path / "born")
    pin = ("--token-pin-file", str(tmp_path / "pin"))
    refused = shell("init", *words, *pin)
    assert (refused.code, refused.error["message"].endswith(end)) == (1, True), refused.error
    assert shell("init", *IN_TOKEN, *pin).code == 0


@pytest.mark.slow
def test_a_root_of_a_ceremony_in_a_token(hsm: SoftHsm, tmp_path: Path) -> None:
    """Made and used step by step, with a transcript, and no share of it anywhere; its PIN is in no paper."""
    folder, (asked, signed) = tmp_path / "root", (tmp_path / "asked.csr", tmp_path / "signed.pem")
    with terminal("root", folder, *IN_TOKEN, "--role", "witness=Ito") as at:
        code, told = at.answered((ENTER, ""), ("PIN of the token 'sekisho'", PIN), (ENTER, ""))
    assert code == 0, told
    assert sorted(each.name for each in folder.iterdir() if "transcript" not in each.name) == [
        "ceremony.json",
        "root.pem",
    ]
    shell = Shell(tmp_path / "below")
    (tmp_path / "pin").write_text(f"{PIN}\n")
    begun = shell(
        "init", "--root", str(folder / "root.pem"), *IN_TOKEN, "--token-pin-file", str(tmp_path / "pin")
    )
    assert begun.code == 0, begun.out
    cheaper(shell.data)
    (request,) = (shell.data / "ca").glob("*.csr")
    asked.write_bytes(request.read_bytes())
    with terminal("sign", folder, asked, "--to", signed) as at:
        code, told = at.answered(*[(ENTER, "")] * 3, ("PIN of the token 'sekisho'", PIN), (ENTER, ""))
    assert code == 0, told
    assert shell("ca", "accept", str(signed)).code == 0
    assert [each["state"] for each in _places(shell).values()][1:] == ["ok", "ok"]
    papers = "".join(each.read_text() for each in folder.glob("transcript-*"))
    assert "which it never leaves" in papers
    assert PIN not in papers + told
    words = ("reshare", folder, tmp_path / "new", "--holder", "A", "--holder", "B", "--needed", "2")
    with terminal(*words) as at:
        code, told = at.rest()
    assert (code, "is in a token, and nobody has shares of it" in told) == (1, True)
