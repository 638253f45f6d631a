"""What ``sekisho-client`` makes of servers that fail: decided without one."""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from enroll.client import Acme, AcmeError, new_key, work
from enroll.client.acme import Answer, RenewalWindow, _error
from enroll.client.folder import Busy, Folder, KeyMismatch, write
from enroll.client.hints import hint
from enroll.client.keys import to_pem
from enroll.problems import TYPES
from tests.started import forked, started

ROOT = Path(__file__).parents[2]

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Server:
    """Says what it is told to, and remembers what it was asked."""

    window: RenewalWindow | AcmeError | None = None
    fault: AcmeError | None = None
    asked: list[str] = field(default_factory=list)

    def renewal_window(self, _: x509.Certificate) -> RenewalWindow | None:
        if isinstance(self.window, AcmeError):
            raise self.window
        return self.window

    def resume(self, url: str, *_: Any) -> Any:
        self.asked.append(url)
        raise self.fault or AssertionError

    def order(self, *_: Any, **__: Any) -> str:
        self.asked.append("new")
        return "issued"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """One with a certificate of 90 days from ``BEGIN``."""
    folder = Folder(tmp_path / "client")
    folder.store(*another(1), None)
    return folder


def due(server: Server, folder: Folder, day: int) -> datetime:
    return work._due(server, folder, BEGIN + timedelta(days=day), lambda: 0.5)  # type: ignore[arg-type]


def another(number: int) -> tuple[Any, bytes]:
    """A key and a chain of its certificate."""
    key, name = new_key(), x509.Name([])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), number, BEGIN, BEGIN + timedelta(days=90)
    ).add_extension(x509.AuthorityKeyIdentifier(b"issuer", None, None), False)
    return key, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


# -- one set, whatever happens ---------------------------------------------------------------------------

_STEPS = {"open", "os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def _killed_at(step: int, work_on: Callable[[], object]) -> bool:
    """Whether a process that did it was killed at that step on the disk, and not done before."""

    def until_then() -> int:
        left = step

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in _STEPS:
                left -= 1
                if left == 0:
                    os._exit(9)

        sys.addaudithook(count)
        work_on()
        return 0

    with forked(until_then) as other:
        code = other.wait()
    assert code in (0, 9)
    return code == 9


@pytest.mark.slow
def test_whenever_it_is_killed_the_files_are_one_set(folder: Folder) -> None:
    """At each step that store makes on the disk: old or new, and the next run ends what was begun."""
    first, old = folder.certificate(), (folder.key(), folder.fullchain_file.read_bytes())
    key, chain = another(2)
    second = x509.load_pem_x509_certificate(chain)
    step, seen = 1, set()
    while _killed_at(step, partial(folder.store, key, chain, "password" if step % 2 else None)):
        assert folder.fault() == ""
        seen.add(folder.certificate() == second)
        assert folder.certificate() in (first, second)
        with folder.locked():
            assert folder.mend() == ""
        assert not list(folder.path.rglob("*.new")) + list(folder.path.rglob("*.draft"))
        with folder.locked():
            folder.store(*old, None)
        step += 1
    assert step > 20
    assert seen == {False, True}
    assert folder.certificate() == second


def test_nothing_is_stored_that_does_not_fit(folder: Folder) -> None:
    """A key and a certificate that are not one pair are refused before a file has changed."""
    before = {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()}
    with pytest.raises(KeyMismatch, match="does not belong to the certificate that the server issued"):
        folder.store(new_key(), another(2)[1], None)
    assert {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()} == before


def test_the_files_of_the_last_renewal_are_kept(folder: Folder) -> None:
    """The set in use and the one before it; the names stay, private, and a P12 goes with its password."""
    for number in range(2, 6):
        key, chain = another(number)
        folder.store(key, chain, "password" if number == 4 else None)
        assert (folder.path / "cert.p12").exists() == (number == 4)
        assert folder.certificate().serial_number == number
    assert stat.S_IMODE((folder.path / "certificates").stat().st_mode) == 0o700
    kept = sorted((folder.path / "certificates").iterdir())
    assert [Folder(each).certificate().serial_number for each in kept] == [4, 5]
    assert {stat.S_IMODE(each.stat().st_mode) for each in kept} == {0o700}
    assert {stat.S_IMODE(file.stat().st_mode) for each in kept for file in each.iterdir()} == {0o600}


def _lose(folder: Folder, how: str) -> None:
    file = folder.path / how.split()[0]
    if how.endswith("missing"):
        file.unlink()
    elif how.endswith("damaged"):
        write(file, b"-----BEGIN")
    else:
        key, chain = another(77)
        write(file, to_pem(key) if file.name == "key.pem" else chain)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("key.pem missing", "key.pem is missing"),
        ("key.pem foreign", "key.pem does not belong to "),
        ("key.pem damaged", "key.pem cannot be read ("),
        ("cert.pem missing", "cert.pem is missing"),
        ("cert.pem damaged", "cert.pem cannot be read ("),
        ("fullchain.pem missing", "fullchain.pem is missing"),
        ("fullchain.pem foreign", "fullchain.pem is of another certificate than "),
        ("current missing", "cert.pem is missing"),
    ],
)
def test_a_set_that_is_none_is_mended(folder: Folder, how: str, says: str) -> None:
    """From the set that was kept: status does it, says what was wrong, and is content the next time."""
    certificate = folder.certificate()
    _lose(folder, how)
    told = work.status(folder, BEGIN + timedelta(days=1))
    assert told["result"] == "enrolled"
    assert says in told["mended"]
    assert (folder.fault(), folder.certificate()) == ("", certificate)
    assert "mended" not in work.status(folder, BEGIN + timedelta(days=1))


def test_a_foreign_pair_is_not_undone(folder: Folder) -> None:
    """Somebody put another pair into the folder: it is whole, and none of our business."""
    key, chain = another(77)
    for name, content in (("key.pem", to_pem(key)), ("cert.pem", chain), ("fullchain.pem", chain)):
        write(folder.path / name, content)
    assert work.status(folder, BEGIN)["serial"] == "4d"


def test_the_key_of_the_order_mends(folder: Folder) -> None:
    """A certificate whose key is still that of the order, whatever became of the rest."""
    key, chain = another(77)
    write(folder.path / "cert.pem", chain)
    write(folder.pending_file, to_pem(key))
    assert "key.pem does not belong to" in work.status(folder, BEGIN)["mended"]
    assert (folder.fault(), folder.certificate().serial_number) == ("", 77)


def test_what_is_lost_is_not_revoked_by_its_owner(folder: Folder) -> None:
    """Without the certificate nobody knows what to revoke: the operator does it."""
    (folder.path / "cert.pem").unlink()
    for each in folder.sets():
        (each / "cert.pem").unlink()
    with pytest.raises(work.Misuse, match=r"cert\.pem is missing, .* Ask your operator to do it\.$"):
        work.revoke(folder, BEGIN)


_HOLD = """
import sys
from pathlib import Path
from enroll.client.folder import Folder
with Folder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_works_at_a_time(folder: Folder) -> None:
    """The second waits, and says who is at work when that takes too long; a dead one holds nothing."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    folder.remember(directory="https://localhost:1/")
    with started([sys.executable, "-c", _HOLD, folder.path], cwd=ROOT, **pipes) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for act in (work.renew, work.revoke):
            with pytest.raises(
                Busy, match=rf"another sekisho-client \(process {holder.pid}\) is at work in "
            ):
                act(folder, BEGIN, patience=0.1)
        # Who only looks at what is whole waits for nobody.
        assert work.status(folder, BEGIN, patience=0.1)["result"] == "enrolled"
        holder.kill()
        holder.wait()
        with folder.locked(0.1):
            pass
    with started([sys.executable, "-c", _HOLD, folder.path], cwd=ROOT, **pipes) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        Timer(0.3, holder.stdin.close).start()
        with folder.locked(60):  # waits, and has it
            pass


# -- when to renew ---------------------------------------------------------------------------------------


def test_status_without_the_servers_word(folder: Folder) -> None:
    """A server that never said when: at two thirds of the lifetime, as renew does it."""
    assert work.status(folder, BEGIN)["renew_at"] == (BEGIN + timedelta(days=60)).isoformat()


def test_without_renewal_information_it_is_two_thirds(folder: Folder) -> None:
    """RFC 9773 section 4.3.3: a server that fails to say when does not keep a certificate from renewal."""
    assert due(Server(), folder, 1) == BEGIN + timedelta(days=60)
    broken = Server(AcmeError(500, "serverInternal", "failed"))
    with pytest.raises(AcmeError, match="failed"):
        due(broken, folder, 59)
    assert due(broken, folder, 60) == BEGIN + timedelta(days=60)


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_an_order_is_not_forgotten_because_the_server_is_busy(folder: Folder, status: int) -> None:
    """What was begun waits for the next run, under its key: nothing is issued twice."""
    folder.remember(order="https://acme.test/order/1", names=["a.test"])
    server = Server(fault=AcmeError(status, "", "later"))
    for _ in range(2):
        with pytest.raises(AcmeError, match="later"):
            work._obtain(server, folder)  # type: ignore[arg-type]
    assert server.asked == ["https://acme.test/order/1"] * 2
    kept = folder.pending_file.read_bytes()
    server.fault = AcmeError(404, "malformed", "there is no such order")
    assert work._obtain(server, folder) == "issued"  # type: ignore[arg-type,comparison-overlap]
    assert server.asked[2:] == ["https://acme.test/order/1", "new"]
    assert folder.pending_file.read_bytes() != kept


@pytest.mark.parametrize(
    "window",
    [
        {"start": "2026-12-02T00:00:00Z", "end": "2026-12-02T00:00:00Z"},
        {"start": "2026-12-02T00:00:00Z", "end": "2026-12-01T00:00:00Z"},
        {"start": "soon", "end": "2026-12-01T00:00:00Z"},
        {"start": "2026-12-01T00:00:00Z"},
    ],
)
def test_a_window_that_is_none(folder: Folder, window: dict[str, str]) -> None:
    """RFC 9773 section 4.2: a window that does not end after it begins counts as no answer."""

    class Suggesting(Acme):
        def __init__(self) -> None:
            self.directory = {"renewalInfo": "https://acme.test/renewal-info"}

        def _get(self, url: str) -> Answer:
            return Answer(200, {}, json.dumps({"suggestedWindow": window}).encode())

    leaf = folder.certificate()
    with pytest.raises(AcmeError):
        Suggesting().renewal_window(leaf)


# -- what is said ----------------------------------------------------------------------------------------


def _verify(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def _reason(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "state.json"), "The disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "state.json"), "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "key.pem"), "Run it as the owner of the folder"),
        (OSError(errno.EROFS, "Read-only file system", "key.pem"), "Run it as the owner of the folder"),
        (_verify(9), "Check this machine's date and time"),
        (_verify(10), "Check this machine's date and time"),
        (_verify(20), "This machine does not know the server's CA: add --ca-file"),
        (_verify(18), "This machine does not know the server's CA: add --ca-file"),
        (_verify(62), "The certificate is another server's"),
        (_reason("KEY_VALUES_MISMATCH"), "A key does not belong to its certificate"),
        (KeyMismatch("key.pem does not belong to cert.pem"), "A key does not belong to its certificate"),
        (_reason("NO_CERTIFICATE_OR_CRL_FOUND"), "The file of --ca-file holds no certificate"),
        (_reason("WRONG_VERSION_NUMBER"), "No TLS is spoken there"),
        (socket.gaierror(-2, "Name or service not known"), "The name is not found"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "Nobody listens there"),
        (TimeoutError("timed out"), "No answer came"),
        (ConnectionError("broken"), "The connection broke"),
        (FileNotFoundError(errno.ENOENT, "No such file", "account.pem"), "A file in the folder of --dir"),
        (ValueError("no PEM"), "A file in the folder of --dir is damaged"),
        (AcmeError(500, "serverInternal", "failed"), "The server failed"),
        (AcmeError(503, "", "text/html: busy"), "The server is busy or down"),
        (AcmeError(404, "", "text/html: none"), "Check the directory URL"),
        (AcmeError(400, "badCSR", "ROCA"), "Renew with another key"),
        (AcmeError(400, "orderNotReady", ""), "Type the same again"),
        (AcmeError(429, "rateLimited", "", 7), "Try again in 7 seconds."),
        (AcmeError(403, "unheardOf", ""), "Tell your operator what the server said."),
    ],
)
def test_each_cause_has_its_own_hint(error: Exception, says: str) -> None:
    """The next step fits what went wrong: nobody checks a URL because the disk is full."""
    assert hint(error).startswith(says)


def test_every_problem_type_of_the_server_has_a_hint() -> None:
    """What the server can say, a client has a next step for; but for what only a broken client hears."""
    unsaid = {
        name
        for name, kind in TYPES.items()
        if hint(AcmeError(400, kind.urn + name, "")).startswith("Tell your operator")
    }
    assert unsaid == {"badSignatureAlgorithm", "invalidContact", "malformed", "unsupportedContact"}


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("text/html", "あ" * 500, "the server answered text/html: " + "あ" * 200 + "…"),
        ("text/html", "x" + "あ" * 500, "the server answered text/html: x" + "あ" * 199 + "…"),
        ("text/html", "<p>\x1b[31m\r\nno", "the server answered text/html: <p> [31m no"),
        ("text/plain", "", "the server answered text/plain, empty"),
        ("", "no", "the server answered something without a Content-Type: no"),
    ],
)
def test_an_answer_that_is_none_is_described(kind: str, body: str, says: str) -> None:
    """By its Content-Type and whole characters of its beginning; nothing in it moves a terminal's cursor."""
    headers = {"content-type": kind} if kind else {}
    assert _error(Answer(502, headers, body.encode())).detail == says
