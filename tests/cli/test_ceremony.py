"""The root's ceremonies as people hold them: at a terminal, on a machine without network, share by share."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca import ceremony, datadir, requested
from ca.ceremony import check_share, create, look, open_root, sign_list
from ca.certificates import build, distinguished_name, to_pem
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.keys import generate
from ca.profiles import ISSUING
from gateway.cli.ceremony import after
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO
from tests.started import started

AT = 1_795_910_400
HOLDERS = ("Sato", "Suzuki", "Takahashi")
NAME = distinguished_name("TEST ROOT", "Test", "JP")
ROLES = ("--role", "administrator=Ito", "--role", "witness=Watanabe")
_SHOWN = re.compile(r"(\d+)\. +([a-z]+)")


class Terminal:
    """A command that speaks with people; what it shows is read as it comes."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd, self.process, self.text, self._seen = fd, process, "", 0

    def until(self, words: str) -> str:
        """What is shown up to these words, since the last time."""
        end = time.monotonic() + 60
        while (at := self.text.find(words, self._seen)) < 0:
            assert time.monotonic() < end, self.text
            assert self._more(), self.text
        found, self._seen = self.text[self._seen : at], at + len(words)
        return found

    def either(self, *patterns: str) -> tuple[int, str]:
        """Which pattern is shown first since the last time, and what stood before it; -1 at the end."""
        end = time.monotonic() + 60
        while True:
            found = [(each.start(), each.end(), at) for at, pattern in enumerate(patterns)
                     if (each := re.compile(pattern).search(self.text, self._seen))]  # fmt: skip
            if found:
                start, stop, at = min(found)
                before, self._seen = self.text[self._seen : start], stop
                return at, before
            assert time.monotonic() < end, self.text
            if not self._more():
                return -1, self.text[self._seen :]

    def say(self, line: str = "") -> None:
        os.write(self._fd, line.encode() + b"\n")

    def answered(self, *asked: tuple[str, str]) -> tuple[int, str]:
        """What is typed to each of the words that are waited for, one after the other; then `rest`."""
        for words, typed in asked:
            self.until(words)
            self.say(typed)
        return self.rest()

    def rest(self) -> tuple[int, str]:
        """The exit code, and what was shown since the last time."""
        while self._more():
            pass
        return self.process.wait(60), self.text[self._seen :]

    def _more(self) -> bool:
        if not select.select([self._fd], [], [], 60)[0]:
            return False
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # EIO: the other side is closed
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def terminal(*words: str | Path, networked: bool = False) -> Iterator[Terminal]:
    """``sekisho ceremony`` in a network namespace of its own, with nothing but its loopback."""
    ours, theirs = os.openpty()
    before = () if networked else ("unshare", "-rn")
    with started(
        [*before, SEKISHO, "ceremony", *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
    ) as process:  # fmt: skip
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            os.close(ours)


def _made(at: Terminal) -> list[str]:
    """The shares, as their holders write them down and read some words back."""
    at.until("Enter to do this")  # the clock
    at.say()
    at.until("Enter to do this")  # the key
    at.say()
    shares = []
    for _ in HOLDERS:
        at.until("Enter to do this")
        at.say()
        found = dict(_SHOWN.findall(at.until("Written down?")))
        words = [found[str(n)] for n in range(1, 34)]
        at.say()
        at.until("From the paper, words ")
        asked = re.findall(r"\d+", at.until(": "))
        at.say(" ".join(words[int(each) - 1] for each in asked))
        shares.append(" ".join(words))
    at.until("Enter to do this")  # tried
    at.say()
    return shares


def test_a_root_is_made_and_used(tmp_path: Path) -> None:
    """From the first step to the signed list: the words stand on the screen once, and in no file; the paper
    has roles, steps and hashes; a share that is wrong, given twice or another root's is asked for again."""
    folder, target = tmp_path / "root", tmp_path / "root.crl"
    holders = [word for each in HOLDERS for word in ("--holder", each)]
    with terminal("root", folder, *holders, "--needed", "2", *ROLES) as at:
        shares = _made(at)
        code, told = at.rest()
    assert code == 0, told
    assert "sekisho init --root root.pem" in told
    everything = b"".join(each.read_bytes() for each in folder.iterdir())
    assert not any(" ".join(each.split()[:2]).encode() in everything for each in shares)
    (paper,) = folder.glob("transcript-*.txt")
    text = paper.read_text()
    assert "administrator: Ito" in text
    assert "holder of share 3: Takahashi" in text
    assert "Takahashi wrote share 3 down" in text
    assert "network: none" in text
    assert "Done." in text

    _, (foreign, *_) = create(tmp_path / "other", NAME, "ec-p256", 2, HOLDERS, AT)
    with terminal("crl", folder, "--to", target, *ROLES) as at:
        for _ in range(3):
            at.until("Enter to do this")
            at.say()
        at.until("Share 1 of 2: ")
        at.say("not a share")
        at.until("this is no share")
        at.until("Share 1 of 2: ")
        at.say(foreign)
        at.until("another root's")
        at.until("Share 1 of 2: ")
        at.say(shares[2].upper())
        at.until("Share 2 of 2: ")
        at.say(shares[2])
        at.until("was given already")
        at.until("Share 2 of 2: ")
        at.say(shares[0])
        code, told = at.rest()
    assert code == 0, told
    assert not any(" ".join(each.split()[:2]) in at.text for each in shares)
    listed = x509.load_pem_x509_crl(target.read_bytes())
    root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
    assert listed.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    shown = subprocess.run(
        ["openssl", "crl", "-in", target, "-CAfile", folder / "root.pem", "-noout", "-crlnumber"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "verify OK" in shown.stderr
    assert shown.stdout == "crlNumber=0x01\n"


def test_a_machine_with_a_network(tmp_path: Path) -> None:
    """Is refused, unless that is said, and then the transcript says so; for practice it may have one."""
    words = ("--holder", "A", "--holder", "B", "--needed", "2")
    with terminal("root", tmp_path / "root", *words, networked=True) as at:
        code, told = at.rest()
    if "this machine has a network" not in told:
        pytest.skip("this machine has no network")
    assert code == 1
    assert "practise with --rehearsal" in told
    with terminal("root", tmp_path / "practice", *words, "--rehearsal", networked=True) as at:
        at.until("network: eth" if "(eth" in told else "network: ")
        at.until("Enter to do this")
        at.process.terminate()
        at.rest()


def test_stopped_in_the_middle(tmp_path: Path) -> None:
    """Before every share is on paper there is no root: its key is deleted, the transcript says that it was
    not done, and the same folder does for the next attempt."""
    folder = tmp_path / "root"
    words = ("root", folder, "--holder", "A", "--holder", "B", "--needed", "2")
    with terminal(*words) as at:
        for _ in range(3):
            at.until("Enter to do this")
            at.say()
        at.until("Written down?")
        at.say("\x04")  # Ctrl-D
        assert at.rest()[0] != 0
    assert [each.name[:10] for each in folder.iterdir()] == ["transcript"]
    (paper,) = folder.iterdir()
    assert "NOT DONE: stopped" in paper.read_text()
    assert "is given up: its shares are good for nothing" in paper.read_text()
    create(folder, NAME, "ec-p256", 2, HOLDERS, AT)


# -- what needs no terminal ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(0, 1), (1, 2), (0, 2)])
def test_any_of_the_shares_open_it(tmp_path: Path, given: Sequence[int]) -> None:
    """Whichever people come, as long as they are enough."""
    made, shares = create(tmp_path / "root", NAME, "ec-p256", 2, HOLDERS, AT)
    opened = open_root(tmp_path / "root", [shares[each] for each in given])
    assert opened.certificate == made.certificate
    _, der = sign_list(opened, {}, AT, 30)
    assert x509.load_der_x509_crl(der).is_signature_valid(made.certificate.public_key())  # type: ignore[arg-type]


def test_too_few_too_many_and_altered(tmp_path: Path) -> None:
    """One share tells nothing, one too many is refused, and so is a key that somebody exchanged."""
    folder = tmp_path / "root"
    _, shares = create(folder, NAME, "ec-p256", 2, HOLDERS, AT)
    for count in (1, 3):
        with pytest.raises(ConfigError, match=rf"{count} shares were given; it takes 2"):
            open_root(folder, shares[:count])
    record, _ = look(folder)
    for words, message in (
        (shares[0].replace(shares[0].split()[9], "academic"), "is no share"),
        (" ".join(shares[0].split()[:-1]), "is no share"),
        ("", "is no share"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_share(words, record)
    sealed = folder / "root.sealed"
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"\0")
    with pytest.raises(ConfigError, match="was altered"):
        open_root(folder, shares[:2])


@pytest.mark.parametrize(
    ("needed", "holders"),
    [(1, ("A", "B")), (3, ("A", "B")), (2, ("A", "A")), (2, tuple(map(str, range(17))))],
)
def test_no_sharing(tmp_path: Path, needed: int, holders: tuple[str, ...]) -> None:
    """One person alone never has the key; and nothing is made."""
    with pytest.raises(ConfigError, match="--holder"):
        create(tmp_path / "root", NAME, "ec-p256", needed, holders, AT)
    assert not (tmp_path / "root").exists()


def test_numbers_of_lists_only_grow(tmp_path: Path) -> None:
    """A list's number is on disk before there is the list; what was revoked once stays on every list."""
    root, shares = create(tmp_path / "root", NAME, "ec-p256", 2, HOLDERS, AT)
    key = generate("ec-p256")
    request = _request(key, NAME)
    root, der = ceremony.sign_issuing(root, ceremony.read_request(request), AT)
    serial = x509.load_der_x509_certificate(der).serial_number
    root, first = sign_list(root, {f"{serial:x}": ceremony.reason_of("keyCompromise")}, AT, 30)
    again = open_root(tmp_path / "root", shares[1:])
    _, second = sign_list(again, {}, AT + 5, 30)
    lists = [x509.load_der_x509_crl(each) for each in (first, second)]
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in lists]
    assert numbers == [1, 2]
    assert [[each.serial_number for each in found] for found in lists] == [[serial], [serial]]
    with pytest.raises(ConfigError, match="signed no certificate 1234"):
        sign_list(again, {"1234": 1}, AT, 30)
    with pytest.raises(ConfigError, match="is no reason"):
        ceremony.reason_of("certificateHold")


def test_what_the_root_revokes_is_named(tmp_path: Path) -> None:
    """By the CA's name or the serial, in any spelling; not by a name of several, or of none."""
    root, _ = create(tmp_path / "root", NAME, "ec-p256", 2, HOLDERS, AT)
    for cn in ("G4", "G5", "G5"):
        asked = _request(generate("ec-p256"), distinguished_name(cn, "Test, Ltd.", "JP"))
        root, _ = ceremony.sign_issuing(root, ceremony.read_request(asked), AT)
    first, second, third = (each.serial for each in root.record.signed)
    assert ceremony.serial_of(root.record, "G4") == first
    assert ceremony.serial_of(root.record, f" {second[:2]}:{second[2:]}".upper()) == second
    with pytest.raises(ConfigError, match=f"name of 2; write one of {second}, {third}"):
        ceremony.serial_of(root.record, "G5")
    with pytest.raises(ConfigError, match=rf"signed no certificate G6; it signed: G4 \({first}\)"):
        ceremony.serial_of(root.record, "G6")


def _request(key: Any, subject: x509.Name) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_key_is_shared_anew(tmp_path: Path) -> None:
    """The same root in another folder, with all that it ever signed, opened by the new shares alone; what was
    before stays, and opens nothing there."""
    root, old = create(tmp_path / "root", NAME, "ec-p256", 2, HOLDERS, AT)
    root, _ = sign_list(root, {}, AT, 30)
    target = tmp_path / "next"
    with pytest.raises(ConfigError, match="is not empty"):
        ceremony.reshare(root.folder, old[:2], root.folder, 2, HOLDERS)
    with pytest.raises(ConfigError, match="it takes 2"):
        ceremony.reshare(root.folder, old, target, 3, HOLDERS)
    assert not target.exists()
    new = ceremony.reshare(root.folder, old[1:], target, 3, (*HOLDERS, "Ito"))
    again = open_root(target, new[:3])
    assert again.certificate == root.certificate
    assert (again.record.crl_number, again.record.needed, len(new)) == (1, 3, 4)
    for shares in (old[:2], (*old[:2], new[0])):
        with pytest.raises(ConfigError):
            open_root(target, shares)
    with pytest.raises(ConfigError, match="another root's"):
        open_root(root.folder, new[:2])
    assert open_root(root.folder, old[:2]).certificate == root.certificate


def test_shown_without_a_key(tmp_path: Path, sekisho: Shell) -> None:
    """Who has shares and what was signed is no secret of the key."""
    create(tmp_path / "root", NAME, "ec-p256", 2, HOLDERS, AT)
    found = json.loads(sekisho("ceremony", "show", str(tmp_path / "root")).out)["root"]
    assert (found["needed"], found["holders"], found["signed"]) == (2, list(HOLDERS), [])
    refused = sekisho("ceremony", "show", str(tmp_path))
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert "sekisho ceremony root" in refused.error["message"]


# -- both machines -----------------------------------------------------------------------------------------


def _signed_for(root: ceremony.Root, data: Path, to: Path) -> tuple[ceremony.Root, Path]:
    """The request of a data directory, carried to the root and signed there."""
    (asked,) = requested.requests(data)
    root, der = ceremony.sign_issuing(root, ceremony.read_request(asked.read_bytes()), int(time.time()))
    to.write_bytes(to_pem(der))
    return root, to


@pytest.fixture
def root(tmp_path: Path) -> ceremony.Root:
    at = int(time.time())
    return create(tmp_path / "root", NAME, "ec-p256", 2, HOLDERS, at, revocation_url="http://pki.example.jp")[
        0
    ]


@pytest.fixture
def waiting(root: ceremony.Root, tmp_path: Path) -> Shell:
    """A data directory below a root that is elsewhere."""
    shell = Shell(tmp_path / "data")
    made = shell("init", "--root", str(root.folder / "root.pem"), "--domain", "example.jp", json_output=False)
    assert made.code == 0, made.err
    assert "It waits for its issuing CA" in made.out
    return shell


@pytest.mark.slow
def test_a_data_directory_below_a_root_elsewhere(waiting: Shell, root: ceremony.Root, tmp_path: Path) -> None:
    """It has no key of the root, waits for the certificate, says so to every command, and then issues; the
    next CA and the root's list come by the same way."""
    refused = waiting("org", "list").error
    assert refused["code"] == "config"
    assert "sekisho ca accept FILE" in refused["message"]
    root, signed = _signed_for(root, waiting.data, tmp_path / "g4.pem")
    taken = waiting("ca", "accept", str(signed)).value["accepted"]
    assert taken["kind"] == "issuing"
    assert not (waiting.data / "ca/root.key").exists()
    assert not requested.requests(waiting.data)

    assert waiting("ca", "add", "G5").error["message"].endswith("sekisho ca request NAME, sekisho ceremony")
    assert waiting("ca", "request", "G5").code == 0
    asked = requested.requests(waiting.data)
    assert waiting("ca", "request", "G5").value["request"]["file"] == str(asked[0])
    root, signed = _signed_for(root, waiting.data, tmp_path / "g5.pem")
    assert waiting("ca", "accept", str(signed)).value["accepted"]["name"] == "G5"
    listed = waiting("ca", "list").value["cas"]
    assert [(each["common_name"], each["state"]) for each in listed] == [
        ("G5", "staged"),
        ("CORPORATE-PENSION BUSINESS SERVICE CA-G4", "issuing"),
    ]
    assert {each["crl_url"][:21] for each in listed} == {"http://pki.example.jp"}

    root, der = sign_list(root, {}, int(time.time()), 30)
    (tmp_path / "root.crl").write_bytes(ceremony.list_pem(der))
    assert waiting("ca", "accept", str(tmp_path / "root.crl")).value["accepted"]["name"] == "1"
    assert (waiting.data / "ca/root.crl").read_bytes() == der
    again = waiting("ca", "accept", str(tmp_path / "root.crl")).error["message"]
    assert "number 1, and number 1 is here" in again
    trail = [(each["action"], each["detail"]) for each in waiting("audit", "show").value["audit"]]
    assert {action for action, _ in trail} >= {"ca.accepted", "ca.requested"}

    g4 = datadir.issuers_of(waiting.data, Snapshot())[1]
    named = {f"{g4.certificate.serial_number:x}": 1}
    doctor = "it names CORPORATE-PENSION BUSINESS SERVICE CA-G4, which lets people in here"
    for trusted in (True, False):
        root, der = sign_list(root, named, int(time.time()), 30)
        (tmp_path / "root.crl").write_bytes(ceremony.list_pem(der))
        ran = waiting("ca", "accept", str(tmp_path / "root.crl"), json_output=False)
        typed = f"sekisho ca distrust '{g4.common_name}' --reason keyCompromise"
        assert (typed in ran.out) == trusted, ran
        found = {each["found"]: each for each in waiting("doctor").value["checks"]}
        assert (doctor in found) == trusted
        if trusted:
            assert found[doctor]["hint"] == typed
            assert waiting(*shlex.split(typed)[1:]).code == 0


def test_what_is_not_taken_in(waiting: Shell, root: ceremony.Root, tmp_path: Path) -> None:
    """Another root's certificate, one that nobody asked for, one that says something else than it should, and
    one that is there already: each is refused, and nothing has changed."""
    other, _ = create(tmp_path / "other", NAME, "ec-p256", 2, HOLDERS, int(time.time()))
    _, foreign = _signed_for(other, waiting.data, tmp_path / "foreign.pem")
    _, unasked = ceremony.sign_issuing(root, ceremony.read_request(_request(generate("ec-p256"), NAME)), AT)
    (tmp_path / "unasked.pem").write_bytes(to_pem(unasked))
    (asked,) = requested.requests(waiting.data)
    odd = _odd(root, x509.load_pem_x509_csr(asked.read_bytes()))
    (tmp_path / "odd.pem").write_bytes(to_pem(odd))
    (tmp_path / "none.pem").write_bytes(b"nothing")
    before = (waiting.data / "sekisho.json").read_bytes()
    for file, message in (
        (foreign, "not a certificate that this root signed"),
        (tmp_path / "unasked.pem", "nobody here asked for this certificate"),
        (tmp_path / "odd.pem", "says something else"),
        (tmp_path / "none.pem", "not a certificate that this root signed"),
        (tmp_path / "absent.pem", "sekisho"),
    ):
        refused = waiting("ca", "accept", str(file)).error
        assert refused["code"] == "config"
        assert message in refused["message"] or file.name in refused["message"]
        assert (waiting.data / "sekisho.json").read_bytes() == before
    _, signed = _signed_for(root, waiting.data, tmp_path / "g4.pem")
    assert waiting("ca", "accept", str(signed)).code == 0
    assert "is in its place already" in waiting("ca", "accept", str(signed)).error["message"]


def _odd(root: ceremony.Root, request: x509.CertificateSigningRequest) -> bytes:
    """Signed by the root, but for CAs below as well."""
    profile = replace(ISSUING, path_length=None)
    at = int(time.time())
    key = request.public_key()
    return build(
        profile, request.subject, key, (), 1 << 100, (at, at + 86_400), root.certificate, root.signer
    )  # type: ignore[arg-type]


def test_only_a_root_stands_above(root: ceremony.Root, tmp_path: Path) -> None:
    """A certificate of something else makes no data directory."""
    root, der = ceremony.sign_issuing(root, ceremony.read_request(_request(generate("ec-p256"), NAME)), AT)
    (tmp_path / "ca.pem").write_bytes(to_pem(der))
    shell = Shell(tmp_path / "data")
    assert (
        "this is no root's certificate" in shell("init", "--root", str(tmp_path / "ca.pem")).error["message"]
    )
    assert not (tmp_path / "data").exists()


def test_a_cross_certificate(root: ceremony.Root, tmp_path: Path) -> None:
    """Who trusts our root alone trusts another root's people through it (openssl verify), and not without."""
    at = int(time.time())
    other, _ = create(tmp_path / "other", distinguished_name("OTHER ROOT"), "ec-p384", 2, HOLDERS, at)
    other, below = ceremony.sign_issuing(
        other, ceremony.read_request(_request(generate("ec-p256"), distinguished_name("OTHER CA"))), at
    )
    pem = (other.folder / "root.pem").read_bytes()
    root, cross = ceremony.sign_cross(root, ceremony.read_other_root(pem), at)
    (tmp_path / "cross.pem").write_bytes(to_pem(cross))
    (tmp_path / "below.pem").write_bytes(to_pem(below))
    verify = ["openssl", "verify", "-CAfile", str(root.folder / "root.pem")]
    good = subprocess.run(
        [*verify, "-untrusted", str(tmp_path / "cross.pem"), str(tmp_path / "below.pem")], capture_output=True
    )
    assert good.returncode == 0, good.stderr
    assert subprocess.run([*verify, str(tmp_path / "below.pem")], capture_output=True).returncode != 0
    for wrong in (to_pem(below), (root.folder / "root.pem").read_bytes(), b""):
        with pytest.raises(ConfigError):
            ceremony.sign_cross(root, ceremony.read_other_root(wrong), at)


def test_what_comes_after_practice(tmp_path: Path) -> None:
    """Nobody is told to serve with a root that was made for practice."""
    assert after(tmp_path, rehearsal=True).startswith("That was practice: destroy")
    assert "sekisho init" in after(tmp_path, rehearsal=False)
    assert "sekisho init" not in after(tmp_path, rehearsal=True)
