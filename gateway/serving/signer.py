"""The process that alone has the issuing CAs' keys: it signs what it has looked at, and nothing else.

Two of them, really. A guardian opens the keys, makes the socket, and then does nothing more than start the
other one again when that has ended or hangs: so a signer that was killed is back in half a second, and nobody
types a passphrase for it. Whoever serves is given the gateway's own data key, and never the passphrase.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
import logging
import mmap
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

import ca.store
from ca import datadir, emergency, listfiles
from ca.certificates import public_key_of
from ca.clock import Clock
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.inspection import Issuing, Unsignable, inspect_certificate, inspect_list, shard_in
from ca.publication import list_id
from ca.responder import Responder
from ca.sealing import Vault, Vaults, forget, open_vaults
from ca.signerlink import (
    MOST_ANSWERS,
    SOCKET,
    Message,
    RemoteSigner,
    address_in,
    packed,
    packed_batch,
    peer_of,
    receive,
)
from ca.signing import NoSignature, ToSign, key_id
from ca.sqlite import Database
from gateway.running import rundir
from gateway.running.journal import DirectHandler
from gateway.running.notify import notify
from gateway.serving.config import read_config
from gateway.serving.deployment import DATABASE, SCHEMAS, clock_of
from gateway.serving.standing import compare, journal_of

log = logging.getLogger("sekisho.signer")

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # prctl(2)
_MCL_CURRENT, _MCL_FUTURE = 1, 2  # mlockall(2)
_LOCK = "signer.lock"
_BACKLOG = 256
# Seconds until a signer that has ended is started again; doubled each time it dies young.
_FIRST_WAIT, _LONGEST_WAIT, _YOUNG = 0.25, 30.0, 10.0
# Seconds without a word of the signer, after which it is stuck.
_SILENCE, _BEAT, _TURN = 30.0, 1.0, 0.25
_MINUTES = 60
# The names of drafts of lists, and of nothing else in that folder.
_SERIAL = re.compile(r"[0-9a-f]{1,42}")
_DRAFT = re.compile(r"\.draft-[0-9a-f]{16}")


# -- whoever serves ------------------------------------------------------------------------------------


@contextmanager
def signer_for(
    data: Path, elsewhere: str, passphrase_file: Path | None, variable: str
) -> Iterator[tuple[RemoteSigner, Vault]]:
    """The signer of a data directory, for the length of a block, and the gateway's vault, which it hands out.

    ``elsewhere``: where the socket of a signer is that runs by itself; else it is started, and asks for its
    passphrase as a command does (``variable`` of the environment, or the file). ConfigError, in its words,
    when it cannot.
    """
    if elsewhere:
        yield _met(RemoteSigner(Path(elsewhere)), elsewhere)
        return
    read, write = os.pipe()
    words = [sys.executable, "-m", "gateway.cli", "signer", "--data", str(data), "--told-by", str(write)]
    words += ["--passphrase-file", str(passphrase_file)] if passphrase_file is not None else []
    child = subprocess.Popen(words, pass_fds=[write])  # noqa: S603  our own command
    forget(variable)
    os.close(write)
    try:
        with open(read, encoding="utf-8") as told:
            answer = told.readline()
        if not answer:
            raise ConfigError(f"the signer has not started (it ended with {child.wait()}): see above")
        if why := json.loads(answer).get("error"):
            raise ConfigError(why)
        directory = rundir.run_directory(data)
        yield _met(RemoteSigner(directory), str(directory))
    finally:
        child.terminate()
        child.wait()


def _met(signer: RemoteSigner, where: str) -> tuple[RemoteSigner, Vault]:
    try:
        opened = signer.ask_now({"ask": "unlock"})
        return signer, Vault(base64.b64decode(opened["vault"]))
    except (NoSignature, KeyError, ValueError) as error:
        raise ConfigError(f"{where}/{SOCKET}: {error}; start it: sekisho signer") from None


# -- the guardian --------------------------------------------------------------------------------------


def run(data: Path, passphrase: Callable[[], str], told_by: int | None) -> None:
    """Runs the signer of a data directory until SIGTERM. ``told_by``: the pipe of whoever started it, to be
    told when it is there, or why it is not; it ends with that process."""
    try:
        if told_by is not None:
            _end_with_parent(signal.SIGTERM)
        datadir.read_marker(data)
        datadir.check_owner(data)
        settings = read_config(data, Snapshot()).log
        handler = DirectHandler(data / settings.file if settings.file else None)
        logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
        vaults = open_vaults(data / datadir.VAULT, passphrase())
        datadir.read(data, vaults.gateway, Snapshot(), keys=vaults.keys)
        # One that is damaged is the operator's to mend, and is told of here: the child could only end again.
        with closing(Database(data / DATABASE, SCHEMAS)) as database:
            compare(data, journal_of(data), database)
        directory = rundir.run_directory(data)
        lock = rundir.take(directory / _LOCK)
        if lock is None:
            raise ConfigError(f"a signer of {data} runs already; stop that one first")
        harden()
        listening = _listening(directory)
        tally = Tally()
    except ConfigError as error:
        _tell(told_by, {"error": str(error)})
        if told_by is not None:
            os._exit(1)  # whoever started it says so
        raise
    _tell(told_by, {"ready": True})
    if told_by is None:  # else systemd waits for whoever started it
        notify("READY=1")
    Guardian(lambda: _live(data, vaults, listening, tally), tally).run()
    lock.close()
    if told_by is not None:
        os._exit(0)  # the command that started it answers, and has one answer


def harden() -> None:
    """What keeps other processes of the same user out: no core, no ptrace, no memory that reaches a disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # More than an ordinary user may lock, mostly: then it stays as it was.
    libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)


class Tally:
    """How much was signed in each minute of the last hour, and the last beat: in memory that outlives a
    signer which was killed, so that nobody gets another hour's worth by that."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, (2 * _MINUTES + 1) * 8)).cast("q")

    def beat(self, now: float) -> None:
        self._cells[2 * _MINUTES] = int(now)

    @property
    def last_beat(self) -> int:
        return self._cells[2 * _MINUTES]

    def within_the_hour(self, now: float) -> int:
        """How many in the 60 minutes up to now (monotonic seconds)."""
        minute = int(now) // 60 + 1
        return sum(
            self._cells[2 * i + 1]
            for i in range(_MINUTES)
            if minute - _MINUTES < self._cells[2 * i] <= minute
        )

    def count(self, now: float) -> None:
        minute = int(now) // 60 + 1
        cell = 2 * (minute % _MINUTES)
        if self._cells[cell] != minute:
            self._cells[cell], self._cells[cell + 1] = minute, 0
        self._cells[cell + 1] += 1


class Guardian:
    """Runs ``be`` in a process of its own, again and again, until SIGTERM. One that has said nothing for
    ``silence`` seconds is killed."""

    def __init__(self, be: Callable[[], None], tally: Tally, silence: float = _SILENCE) -> None:
        self._be, self._tally, self._silence = be, tally, silence
        self._stop: list[bool] = []

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGHUP):
            # Ctrl-C goes to all of a terminal's group: whoever serves says when this ends.
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._stop.append(True))
        wait = _FIRST_WAIT
        while not self._stop:
            born = time.monotonic()
            self._tally.beat(born)
            code = self._watch(self._fork())
            if self._stop:
                return
            wait = min(2 * wait, _LONGEST_WAIT) if time.monotonic() - born < _YOUNG else _FIRST_WAIT
            log.error("the signer ended with %d; again in %.2g s", code, wait)
            end = time.monotonic() + wait
            while not self._stop and time.monotonic() < end:
                time.sleep(_TURN)

    def _fork(self) -> int:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                _end_with_parent(signal.SIGKILL)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._be()
                code = 0
            except BaseException as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                log.error("%s in %s:%s", type(error).__name__, frame.name, frame.lineno)
            finally:
                os._exit(code)
        return pid

    def _watch(self, pid: int) -> int:
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            stuck = time.monotonic() - self._tally.last_beat > self._silence
            if self._stop or stuck:
                if stuck:
                    log.error("the signer is stuck: nothing of it for %g s; killed", self._silence)
                os.kill(pid, signal.SIGKILL)  # what it was asked for is asked again
            time.sleep(_TURN)


def _end_with_parent(number: signal.Signals) -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)


def _listening(directory: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        (directory / SOCKET).unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with address_in(directory) as address:
        listening.bind(address)
    (directory / SOCKET).chmod(0o600)
    listening.listen(_BACKLOG)
    return listening


def _tell(told_by: int | None, message: Message) -> None:
    if told_by is not None:
        with open(told_by, "w", encoding="utf-8") as whom:
            whom.write(json.dumps(message) + "\n")


# -- the signer ----------------------------------------------------------------------------------------


def _live(data: Path, vaults: Vaults, listening: socket.socket, tally: Tally) -> None:
    config = read_config(data, Snapshot())
    desk = Desk(data, vaults, clock_of(data), tally, config.signer.per_hour)
    uvloop.run(answer_all(desk, listening, {os.getuid(), data.stat().st_uid}))


async def answer_all(desk: Desk, listening: socket.socket, allowed: set[int]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            if peer_of(writer.get_extra_info("socket")) in allowed:
                while (asked := await receive(reader)) is not None:
                    writer.write(packed(await desk.answer(asked)))
                    await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=listening)
    async with server:
        while True:
            desk.tally.beat(time.monotonic())
            await asyncio.sleep(_BEAT)


class Desk:
    """What is asked of the signer, and what it says to that."""

    def __init__(
        self,
        data: Path,
        vaults: Vaults,
        clock: Clock,
        tally: Tally,
        per_hour: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data, self._vaults, self._clock = data, vaults, clock
        self.tally, self._per_hour, self._monotonic = tally, per_hour, monotonic
        self._database = Database(data / DATABASE)
        self._stop: tuple[tuple[int, ...], emergency.Stop] | None = None
        self._turns = 0
        self._lists = listfiles.folder_of(self._database.folder)
        self._opened = self._open()
        self._responder = Responder()

    async def answer(self, asked: Message) -> Message:
        """One question, one answer; whoever asks badly is told so, and nothing else happens."""
        try:
            match asked.get("ask"):
                case "sign":
                    return {"signature": base64.b64encode(await self._sign(asked)).decode()}
                case "answers":
                    return await asyncio.to_thread(self._answers, asked)
                case "unlock":
                    return {"vault": base64.b64encode(self._vaults.gateway.handed_over()).decode()}
                case "status":
                    return self._status()
            raise Unsignable("nobody can ask that")
        except Unsignable as refused:
            log.warning("refused: %s", refused)
            return {"refused": str(refused)}
        except (_Later, NoSignature) as later:
            log.warning("not now: %s", later)
            return {"later": str(later)}
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s in %s:%s", type(error).__name__, frame.name, frame.lineno)
            return {"later": f"a fault of the signer's ({type(error).__name__})"}

    def close(self) -> None:
        self._database.close()

    async def _sign(self, asked: Message) -> bytes:
        self._check_stop()
        key, purpose = str(asked.get("key")), asked.get("purpose")
        issuer = self._issuer(key)
        match purpose:
            case "certificate":
                content = self._certificate(asked, issuer)
            case "list":
                content = await asyncio.to_thread(self._list, str(asked.get("file")), issuer)
            case _:
                raise Unsignable(f"nothing is signed here for {purpose!r}")
        to_sign = ToSign(key, purpose, content)
        signer = self._opened.authority.signer
        if purpose == "certificate" and isinstance(public_key_of(issuer.certificate), EllipticCurvePublicKey):
            # Quicker than a thread for it, and nothing else is done here meanwhile.
            return signer.sign_now(to_sign)
        return await signer.sign(to_sign)

    def _stopped(self) -> emergency.Stop:
        """The emergency stop as it is now: read again whenever its file is another one, or was touched."""
        mark = emergency.mark(self._data)
        if mark is None or self._stop is None or self._stop[0] != mark:
            # The mark is the older one: what is written in between is read next time.
            stop = emergency.read(self._data, self._vaults.keys)
            self._stop = None if mark is None else (mark, stop)
            return stop
        return self._stop[1]

    def _judged(self, stop: emergency.Stop) -> emergency.Stop:
        """The same, or on: an older copy of the file is none, by the register, or by what was seen here."""
        known = self._database.read_now(ca.store.stop_number)
        self._turns = max(self._turns, known, stop.number)
        return emergency.OLDER if stop.number < self._turns and not stop.on else stop

    def _check_stop(self) -> None:
        stop = self._judged(self._stopped())
        if stop.on:
            raise _Later(f"the emergency stop is on ({stop.reason})")

    def _certificate(self, asked: Message, issuer: Issuing) -> bytes:
        serial = str(asked.get("serial"))
        try:
            tbs = base64.b64decode(str(asked.get("tbs")), validate=True)
        except ValueError:
            raise Unsignable("what is to be signed is no base64") from None
        reserved = self._database.read_now(lambda db: ca.store.find_reservation(db, serial))
        if reserved is None or not reserved.tbs or reserved.tbs != tbs:
            raise Unsignable(f"there is no reservation for it (serial {serial[:40]!r})")
        if reserved.issuer_id != asked.get("key"):
            raise Unsignable("the reservation is another issuer's")
        inspect_certificate(tbs, reserved, issuer, self._clock.seconds())
        now = self._monotonic()
        if self.tally.within_the_hour(now) >= self._per_hour:
            raise _Later(f"{self._per_hour} certificates were signed within the hour (signer.per_hour)")
        self.tally.count(now)
        return tbs

    def _answers(self, asked: Message) -> Message:
        """About serials of an issuer's: whatever its register says of them. Whoever asks says nothing of
        that."""
        self._check_stop()
        key, serials = str(asked.get("key")), asked.get("serials")
        if not isinstance(serials, list) or not 0 < len(serials) <= MOST_ANSWERS:
            raise Unsignable("answers are asked for by a few serials")
        if not all(isinstance(each, str) and _SERIAL.fullmatch(each) for each in serials):
            raise Unsignable("what is asked about is no serial")
        self._issuer(key)
        found = self._database.read_now(lambda db: [ca.store.standing(db, key, each) for each in serials])
        authority = self._opened.authority
        batch = self._responder.answer(authority.issuer(key), authority.signer, found, self._clock.seconds())
        return packed_batch(batch)

    def _list(self, name: str, issuer: Issuing) -> bytes:
        if _DRAFT.fullmatch(name) is None:
            raise Unsignable("that is no list's draft")
        try:
            # Read once: what is looked at is what is signed, whatever becomes of the file meanwhile.
            with open(os.open(self._lists / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                content = file.read()
        except OSError as error:
            raise Unsignable(f"the draft cannot be read ({os.strerror(error.errno or 0)})") from None
        key = key_id(public_key_of(issuer.certificate))
        shard = shard_in(content, issuer)
        last = self._database.read_now(lambda db: ca.store.published_list(db, list_id(key, shard)))
        number = last.number if last is not None else 0
        inspect_list(content, issuer, number, self._clock.seconds(), shard)
        return content

    def _issuer(self, key: str) -> Issuing:
        """Perhaps one that was made since (`sekisho ca add`)."""
        for again in (False, True):
            if again:
                self._opened = self._open()
            with suppress(KeyError):
                found = self._opened.authority.issuer(key)
                return Issuing(found.certificate, found.site)
        raise Unsignable(f"there is no issuer {key[:40]!r}")

    def _open(self) -> datadir.DataDir:
        return datadir.read(self._data, self._vaults.gateway, Snapshot(), keys=self._vaults.keys)

    def _status(self) -> Message:
        stop = self._judged(emergency.read(self._data, self._vaults.keys))
        within = self.tally.within_the_hour(self._monotonic())
        return {
            "stopped": stop.on,
            "reason": stop.reason,
            "since": stop.at,
            "signed": within,
            "per_hour": self._per_hour,
        }


class _Later(Exception):
    """Not now; perhaps when an operator has seen to it, or an hour is over."""
