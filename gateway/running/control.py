"""The door for the operator's commands: a socket in ``run/``, and a process of its own for each command.

A message is one packet of JSON (SOCK_SEQPACKET), with a descriptor beside it where a file's content goes
along. Who asks is known by the kernel (SO_PEERCRED): whom the data directory belongs to, and root; where a
group is named, its members by a second socket, for they reach no data directory. What each may is not
decided here.
Neither side gives the other its terminal or its files: what is read and written there goes by messages.
"""

from __future__ import annotations

import contextlib
import grp
import json
import logging
import os
import pwd
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca.errors import ConfigError
from ca.signerlink import Message, address_in, peer_of
from gateway.running.forking import fork

log = logging.getLogger("sekisho.control")

SOCKET = "control.sock"
#: The most bytes of a message; what is longer goes as a file's content.
MOST = 1 << 16
#: Commands that run at the same time.
_MOST_CALLERS = 16
# How many of them somebody may run who is let in as a member of a group: nobody keeps the others out.
_MOST_OF_A_MEMBER = 4
# Seconds until somebody who has connected has said what is wanted, and that a command is given to end.
_SOON, _GRACE = 10.0, 10.0
# Seconds between two looks at what has ended.
_TURN = 0.5


class HungUp(Exception):
    """Whoever is at the other end is gone."""


class Line:
    """One end of a connection: one message after the other, from either side."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self, message: Mapping[str, Any], fd: int | None = None) -> None:
        """Sends a message. HungUp if nobody gets it; ValueError if it is too long."""
        packet = json.dumps(message).encode()
        if len(packet) > MOST:
            raise ValueError("a message is longer than any")
        try:
            socket.send_fds(self._connection, [packet], [] if fd is None else [fd])
        except OSError as error:
            raise HungUp from error

    def hear(self) -> tuple[Message, int | None]:
        """The next message, and the descriptor that came with it, which is the caller's to close."""
        heard = self._heard()
        if heard is None:
            raise HungUp
        return heard

    def _heard(self) -> tuple[Message, int | None] | None:
        """None at the end."""
        try:
            packet, fds, _, _ = socket.recv_fds(self._connection, MOST, 1)
            message = json.loads(packet) if packet else {}
        except (OSError, ValueError, RecursionError) as error:
            raise HungUp from error
        if not isinstance(message, dict):
            raise HungUp
        return (message, fds[0] if fds else None) if packet else None

    def ask(self, message: Mapping[str, Any], fd: int | None = None) -> tuple[Message, int | None]:
        """Sends a message and waits for its answer. OSError if the other side could not do it.

        One that has finished speaking still does what it is told, and does not say how it went."""
        self.tell(message, fd)
        told, got = self._heard() or ({}, None)
        if told.get("errno"):
            raise OSError(int(told["errno"]), os.strerror(int(told["errno"])), told.get("file"))
        return told, got

    def finish(self) -> None:
        """Says that nothing more is wanted; the other side still answers."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Caller:
    """A user of this machine who wants something run, and the way back."""

    uid: int
    line: Line
    #: What is wanted: the first message.
    wanted: Message
    #: The descriptor that came with it.
    given: int | None


@dataclass(frozen=True)
class Members:
    """Who else is let in: the members of a group of this machine, by a socket in a directory of their own."""

    group: str
    directory: Path

    def has(self, uid: int) -> bool:
        """Whether an account is a member now, whatever it was when its session began."""
        try:
            account, wanted = pwd.getpwuid(uid), grp.getgrnam(self.group).gr_gid
        except KeyError:
            return False
        return wanted in os.getgrouplist(account.pw_name, account.pw_gid)


#: What is done for a caller, in a process that ends with it.
Serve = Callable[[Caller], None]


def call(directory: Path) -> Line | None:
    """A line to the gateway that runs on a data directory's ``run/``; None where none takes commands."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with address_in(directory, SOCKET) as address:
            link.connect(address)
    except OSError:
        link.close()
        return None
    return Line(link)


@contextlib.contextmanager
def taking_commands(
    directory: Path, serve: Serve, prepare: Callable[[], None], members: Members | None = None
) -> Iterator[None]:
    """For the length of a block commands are taken, by a process that ``prepare`` is run in first.

    To be entered before there are threads: it forks. ConfigError if ``members`` cannot reach it."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(_listening(directory))]
        if members is not None:
            listeners.append(stack.enter_context(_listening_to(members)))
        pid = fork(lambda: _Door(listeners, serve, members).run(prepare), log)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        for each in (directory, *([members.directory] if members is not None else [])):
            (each / SOCKET).unlink(missing_ok=True)


class _Door:
    def __init__(self, listeners: Sequence[socket.socket], serve: Serve, members: Members | None) -> None:
        self._listeners, self._serve, self._members = listeners, serve, members
        # The processes -> for whom.
        self._callers: dict[int, int] = {}
        self._ending = False

    def run(self, prepare: Callable[[], None]) -> None:
        for number in (signal.SIGINT, signal.SIGHUP):
            # Ctrl-C goes to all of a terminal's group: whoever serves says when this ends.
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end)
        prepare()
        waiting, by_number = select.poll(), {each.fileno(): each for each in self._listeners}
        for each in self._listeners:
            waiting.register(each.fileno(), select.POLLIN)
        while not self._ending:
            self._reap()
            for ready, _ in waiting.poll(_TURN * 1_000):
                with contextlib.suppress(OSError):
                    if not self._ending:
                        self._let_in(by_number[ready].accept()[0])
        self._close()
        self._see_off()

    def _end(self, *_: Any) -> None:
        self._ending = True

    def _close(self) -> None:
        for each in self._listeners:
            each.close()

    def _let_in(self, connection: socket.socket) -> None:
        with connection:
            uid = peer_of(connection)
            owns = uid in (0, os.geteuid())
            if not owns and not (self._members and self._members.has(uid)):
                return _turn_away(connection, self._who_is_let_in())
            if not owns and list(self._callers.values()).count(uid) >= _MOST_OF_A_MEMBER:
                why = f"{_MOST_OF_A_MEMBER} commands of yours run already; type it again later"
                return _turn_away(connection, why)
            if len(self._callers) >= _MOST_CALLERS:
                return _turn_away(connection, f"{_MOST_CALLERS} commands run already; type it again later")
            self._callers[fork(lambda: self._serve_one(connection, uid), log)] = uid
        return None

    def _serve_one(self, connection: socket.socket, uid: int) -> None:
        self._close()
        _serve(self._serve, connection, uid)

    def _who_is_let_in(self) -> str:
        if self._members is None:
            return "only root and whom the data directory belongs to are let in"
        group = self._members.group
        return f"only members of the group {group} are let in; as root: usermod -aG {group} ACCOUNT"

    def _reap(self) -> None:
        for pid in tuple(self._callers):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._callers[pid]

    def _see_off(self) -> None:
        """Commands that run are told to end, as by Ctrl-C, and then not asked any more."""
        for number in (signal.SIGINT, signal.SIGKILL):
            for pid in self._callers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            for _ in range(int(_GRACE / _TURN)):
                self._reap()
                if not self._callers:
                    return
                select.poll().poll(_TURN * 1_000)


def _turn_away(connection: socket.socket, why: str) -> None:
    """Says why not, to whoever may have spoken already: what is left unread at the end is an error there, and
    comes before what was said here."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
        while connection.recv(1, socket.MSG_DONTWAIT):
            pass
    with contextlib.suppress(HungUp):
        Line(connection).tell({"refused": why})


def _serve(serve: Serve, connection: socket.socket, uid: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line = Line(connection)
    connection.settimeout(_SOON)
    wanted, given = line.hear()
    # Whoever sits at a terminal may take a while to read what is written, and that is waited for.
    connection.settimeout(None)
    threading.Thread(target=_watch, args=(connection,), daemon=True).start()
    serve(Caller(uid, line, wanted, given))


def _watch(connection: socket.socket) -> None:
    """Ends what is done for somebody who has left, as Ctrl-C would."""
    hanging = select.poll()
    hanging.register(connection, select.POLLRDHUP)
    hanging.poll()
    os.kill(os.getpid(), signal.SIGINT)


@contextlib.contextmanager
def _listening(directory: Path, group: int | None = None) -> Iterator[socket.socket]:
    (directory / SOCKET).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with address_in(directory, SOCKET) as address:
            listener.bind(address)
        (directory / SOCKET).chmod(0o600)
        if group is not None:
            # In a directory whose group goes to what is made in it (2750) there is nothing to give away,
            # which a service that is confined may not.
            if (directory / SOCKET).stat().st_gid != group:
                os.chown(directory / SOCKET, -1, group)
            (directory / SOCKET).chmod(0o660)
        listener.listen(_MOST_CALLERS)
        yield listener


@contextlib.contextmanager
def _listening_to(members: Members) -> Iterator[socket.socket]:
    directory, name = members.directory, members.group
    try:
        group = grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(
            f"operators.group: there is no group {name}; as root: groupadd --system {name}"
        ) from None
    try:
        directory.mkdir(mode=0o750, exist_ok=True)
        if directory.stat().st_gid != group:
            os.chown(directory, -1, group)
        with _listening(directory, group) as listener:
            yield listener
    except OSError as error:
        who = pwd.getpwuid(os.geteuid()).pw_name
        raise ConfigError(
            f"operators.socket: {directory} cannot be used ({error.strerror}); as root: "
            f"usermod -aG {name} {who}; install -d -o {who} -g {name} -m 2750 {directory}"
        ) from None
