"""The door for commands: who is let in, what each side may ask of the other, and how it ends."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import pytest

from ca.errors import ConfigError
from gateway.running.control import SOCKET, Caller, HungUp, Line, Members, call, taking_commands
from gateway.running.memory import read_given
from tests.started import started

NOBODY = 65_534


def _serve(caller: Caller) -> None:
    """Does what the first message says, and tells what came of it."""
    wanted = caller.wanted["do"]
    if wanted == "who":
        caller.line.tell({"uid": caller.uid})
    elif wanted == "wait":
        try:
            caller.line.tell({"pid": os.getpid()})
            Event().wait(120)
        except KeyboardInterrupt:
            caller.line.tell({"interrupted": True})
    elif wanted == "die":
        os._exit(3)
    elif wanted == "read":
        try:
            caller.line.tell(
                {"read": len(read_given(caller.given or 0)), "open": len(os.listdir("/proc/self/fd"))}
            )
        except ValueError as why:
            caller.line.tell({"read": str(why)})
    elif wanted == "open":
        caller.line.ask({"open": "/etc/shadow"})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path / "run"


@contextmanager
def taken(directory: Path) -> Iterator[None]:
    with taking_commands(directory, _serve, lambda: None):
        yield


def called(directory: Path, **wanted: str) -> Line:
    line = call(directory)
    assert line is not None
    line.tell(wanted)
    return line


def test_who_asks_is_known_by_the_kernel(directory: Path) -> None:
    with taken(directory):
        assert (directory / SOCKET).stat().st_mode & 0o777 == 0o600
        assert called(directory, do="who", uid="0").hear()[0] == {"uid": os.getuid()}
    assert not (directory / SOCKET).exists()
    assert call(directory) is None


_AS_NOBODY = (
    "import array, contextlib, os, socket, sys\nfrom gateway.running.control import SOCKET, HungUp, Line\n"
    f"os.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n"
    "link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
    "try:\n  link.connect(f'{sys.argv[1]}/{SOCKET}')\n"
    "except OSError as error:\n  print(type(error).__name__)\n"
    "else:\n  line = Line(link)\n"
    # Whoever is turned away may be told so before anything was said.
    "  with contextlib.suppress(HungUp):\n    line.tell({'do': 'who'})\n  print(line.hear()[0])"
)


def asked(directory: Path) -> str:
    """What an account hears that is neither root nor the directory's owner."""
    words = [sys.executable, "-c", _AS_NOBODY, str(directory)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout.strip()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_nobody_else_is_let_in() -> None:
    """The directory's mode keeps them out already; were it open, they are told why."""
    with TemporaryDirectory() as name, taken(directory := Path(name)):
        assert asked(directory) == "PermissionError"
        directory.chmod(0o755)
        (directory / SOCKET).chmod(0o666)
        assert asked(directory) == (
            "{'refused': 'only root and whom the data directory belongs to are let in'}"
        )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_members_of_the_group_are_let_in_by_a_door_of_their_own() -> None:
    """By its mode, and by being one now: a door that somebody opens wider lets in nobody more."""
    mine = grp.getgrgid(pwd.getpwuid(NOBODY).pw_gid).gr_name
    with TemporaryDirectory() as name, TemporaryDirectory() as run:
        # pytest's directories let nobody through.
        Path(name).chmod(0o755)
        place = Path(name) / "door"
        with taking_commands(Path(run), _serve, lambda: None, Members(mine, place)):
            assert place.stat().st_mode & 0o777 == 0o750
            assert (place / SOCKET).stat().st_mode & 0o777 == 0o660
            assert asked(place) == f"{{'uid': {NOBODY}}}"
            assert asked(Path(run)) == "PermissionError"
        assert not (place / SOCKET).exists()
        with taking_commands(Path(run), _serve, lambda: None, Members("root", place)):
            assert asked(place) == "PermissionError"
            place.chmod(0o755)
            (place / SOCKET).chmod(0o666)
            assert "only members of the group root are let in; as root: usermod -aG root" in asked(place)


def test_a_group_that_is_none_is_named(directory: Path, tmp_path: Path) -> None:
    """With what to type."""
    with (
        pytest.raises(ConfigError, match="no group nosuchgroup; as root: groupadd --system nosuchgroup"),
        taking_commands(directory, _serve, lambda: None, Members("nosuchgroup", tmp_path / "door")),
    ):
        pass


def test_who_leaves_ends_what_is_done_for_him(directory: Path) -> None:
    with taken(directory):
        line = called(directory, do="wait")
        pid = line.hear()[0]["pid"]
        line.finish()
        assert line.hear()[0] == {"interrupted": True}
        other = called(directory, do="wait")
        pid = other.hear()[0]["pid"]
        other.close()
        _until_gone(pid)


def test_the_end_of_serving_ends_what_runs(directory: Path) -> None:
    with taken(directory):
        line = called(directory, do="wait")
        pid = line.hear()[0]["pid"]
    assert line.hear()[0] == {"interrupted": True}
    _until_gone(pid)


def test_a_command_that_dies_takes_nobody_along(directory: Path) -> None:
    with taken(directory):
        with pytest.raises(HungUp):
            called(directory, do="die").hear()
        assert called(directory, do="who").hear()[0] == {"uid": os.getuid()}


@pytest.mark.parametrize(
    "rubbish", [b"\xff", b"{", b"[]", b"null", b'"x"', b"{}", b"[" * 60_000, b"x" * 65_536]
)
def test_rubbish_takes_nobody_along(directory: Path, rubbish: bytes) -> None:
    with taken(directory):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.connect(str(directory / SOCKET))
            link.send(rubbish)
            assert link.recv(100) == b""
        assert called(directory, do="who").hear()[0] == {"uid": os.getuid()}


def test_more_than_are_run_at_once_are_told_so(directory: Path) -> None:
    with taken(directory):
        lines = [called(directory, do="wait") for _ in range(16)]
        assert all("pid" in line.hear()[0] for line in lines)
        one_more = call(directory)
        assert one_more is not None
        assert one_more.hear()[0] == {"refused": "16 commands run already; type it again later"}
        for line in lines:
            line.close()


_HOLDS_ALL = _AS_NOBODY.partition("link = ")[0] + (
    "import time\nfor _ in range(5):\n  link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
    "  link.connect(f'{sys.argv[1]}/{SOCKET}')\n  globals()[f'kept{_}'] = line = Line(link)\n"
    "  with contextlib.suppress(HungUp):\n    line.tell({'do': 'wait'})\n"
    "  print(line.hear()[0], flush=True)\n"
    "sys.stdin.read()"
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_no_member_keeps_the_others_out() -> None:
    """A member's commands that hang take some of the places, and never all: the owner's goes on."""
    mine = grp.getgrgid(pwd.getpwuid(NOBODY).pw_gid).gr_name
    with TemporaryDirectory() as name, TemporaryDirectory() as run:
        Path(name).chmod(0o755)
        place = Path(name) / "door"
        words = [sys.executable, "-c", _HOLDS_ALL, str(place)]
        with (
            taking_commands(Path(run), _serve, lambda: None, Members(mine, place)),
            started(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as member,
        ):
            said = [member.stdout.readline() for _ in range(5)]
            assert ["'pid'" in each for each in said] == [True] * 4 + [False]
            assert "4 commands of yours run already; type it again later" in said[4]
            for _ in range(12):
                assert called(Path(run), do="who").hear()[0] == {"uid": os.getuid()}
            member.stdin.close()


def test_a_hundred_and_more_that_say_nothing(directory: Path) -> None:
    """Or half of something, which a packet never is: places are freed, and the next one is served."""
    with taken(directory):
        silent = []
        for _ in range(130):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            link.connect(str(directory / SOCKET))
            link.settimeout(60)
            silent.append(link)
        assert [link.recv(200) for link in silent[16:]].count(b"") == 0  # told that there are too many
        for link in silent:
            link.close()
        end = time.monotonic() + 60
        while "refused" in (told := _told(directory)):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert told == {"uid": os.getuid()}


def _told(directory: Path) -> dict[str, Any]:
    """Who one is; or refused, be it before one could ask."""
    try:
        return dict(called(directory, do="who").hear()[0])
    except HungUp:
        return {"refused": ""}


def _sparse() -> int:
    fd = os.memfd_create("x")
    os.ftruncate(fd, 1 << 40)
    return fd


def _readable(content: bytes) -> int:
    fd = os.memfd_create("x")
    os.write(fd, content)
    return fd


def _write_only(path: Path) -> int:
    return os.open(path / "w", os.O_WRONLY | os.O_CREAT)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda _: _readable(b"12345"), 5),
        (lambda _: _sparse(), "what came with it is longer than 128 MiB"),
        (lambda path: os.open(path, os.O_RDONLY), "what came with it is no file"),
        (
            lambda path: (os.mkfifo(path / "f"), os.open(path / "f", os.O_RDWR))[1],
            "what came with it is no file",
        ),
        (lambda _: os.open("/dev/zero", os.O_RDONLY), "what came with it is no file"),
        (lambda _: socket.socket().detach(), "what came with it is no file"),
        (
            lambda _: os.open("/proc/self/maps", os.O_RDONLY | os.O_PATH),
            "what came with it cannot be read (Bad file descriptor)",
        ),
        (lambda path: _write_only(path), "what came with it cannot be read (Bad file descriptor)"),
    ],
)
def test_whatever_descriptor_comes_along(
    directory: Path, tmp_path: Path, made: Callable[[Path], int], told: object
) -> None:
    """A file's content, of a bounded length, is read; nothing is waited for, and no memory is used up."""
    with taken(directory):
        line = call(directory)
        assert line is not None
        fd = made(tmp_path)
        line.tell({"do": "read"}, fd)
        os.close(fd)
        assert line.hear()[0]["read"] == told


def test_descriptors_by_the_dozen_are_not_kept(directory: Path) -> None:
    """One goes with a message; the others are the kernel's to close."""

    def told(times: int) -> tuple[int, int]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.connect(str(directory / SOCKET))
            fd = _readable(b"1")
            socket.send_fds(link, [b'{"do":"read"}'], [fd] * times)
            os.close(fd)
            answer = Line(link).hear()[0]
            return answer["read"], answer["open"]

    with taken(directory):
        # What this process of tests has open already, a command has as well.
        read, usual = told(1)
        assert read == 1
        read, after = told(200)
        assert (read, after < usual + 20) == (1, True)


def test_a_message_has_an_end(directory: Path) -> None:
    with taken(directory):
        line = call(directory)
        assert line is not None
        with pytest.raises(ValueError, match="longer"):
            line.tell({"do": "x" * 70_000})


def test_a_socket_that_was_left_is_no_hindrance(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(directory / SOCKET))
    assert call(directory) is None
    with taken(directory):
        assert called(directory, do="who").hear()[0] == {"uid": os.getuid()}


def test_what_the_other_side_cannot_do_is_an_error_here(directory: Path) -> None:
    with taken(directory):
        line = called(directory, do="open")
        told, fd = line.hear()
        assert (told, fd) == ({"open": "/etc/shadow"}, None)
        line.tell({"errno": 13, "file": "/etc/shadow"})
        with pytest.raises(HungUp):  # a PermissionError there ends it
            line.hear()


def _until_gone(pid: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"{pid} lives on")
