"""The signer under its own filter: whoever takes it over can ask the kernel for nothing, and all that it is
there for goes on."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import mmap
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ca import datadir, emergency
from ca.files import make_private_directory
from ca.generations import store as generations
from ca.generations.states import Row
from ca.hardening import harden
from ca.memory import FILE, Memory, seen_in
from ca.profiles import DAY
from ca.signerlink import RemoteSigner, address_in
from ca.signing import NoSignature, ToSign, signature
from enroll import crls
from gateway.serving.signing import confining
from gateway.serving.signing.desk import Desk
from gateway.serving.signing.door import answer_all
from gateway.serving.signing.tally import Tally
from tests.datadirs import PASSPHRASE, revoke_many
from tests.gateway.test_signer import PER_HOUR, Scene, scene
from tests.issued import issue
from tests.started import forked

__all__ = ["scene"]


class Shared:
    """A clock that both processes have."""

    def __init__(self, at: int) -> None:
        self.at = memoryview(mmap.mmap(-1, 8)).cast("q")
        self.at[0] = at

    def seconds(self) -> int:
        return self.at[0]

    def reading(self) -> None:
        return None


@asynccontextmanager
async def confined(scene: Scene, clock: Shared) -> AsyncIterator[RemoteSigner]:
    """The desk in a process of its own, as `sekisho signer` runs it."""
    directory = scene.data / "run"
    make_private_directory(directory)
    with socket.socket(socket.AF_UNIX) as listening, address_in(directory) as address:
        listening.bind(address)
        listening.listen()
        tally = Tally()

        def be() -> int:
            harden()
            memory = Memory(scene.data / FILE, scene.vaults.keys)
            desk = Desk(scene.data, scene.vaults, clock, tally, PER_HOUR, memory=memory)
            asyncio.run(answer_all(desk, listening, {os.getuid()}, desk.confine))
            return 0

        with forked(be) as child:
            yield RemoteSigner(directory)
            assert child.lives()


async def test_all_that_it_is_there_for(scene: Scene) -> None:
    """A certificate, a list, answers by a responder and by the one that follows it, the emergency stop on and
    off, what came into the register since, a further CA: nothing of it needs more than the filter allows."""
    clock = Shared(scene.ra.now())
    async with confined(scene, clock) as signer:
        told = await asyncio.to_thread(signer.ask_now, {"ask": "status"})
        assert told["unconfined"] == ""
        reservation = await scene.reserved(scene.planned())
        key = scene.ra.authority.current.certificate.public_key()
        asked = ToSign(reservation.issuer_id, "certificate", reservation.tbs, reservation.serial)
        assert await signature(signer, key, asked)  # type: ignore[arg-type]
        ra = replace(scene.ra, authority=replace(scene.ra.authority, signer=signer), patience=5.0)
        await ra.database.write(revoke_many(ra, 2))
        assert (await crls.publish(ra, ra.authority.current)).entries == 2
        leaf = await issue(scene.ra)
        issuer = scene.ra.authority.current.issuer_id
        first = await signer.answers(issuer, [leaf.serial])
        again = await asyncio.gather(*(signer.answers(issuer, [leaf.serial]) for _ in range(8)))
        assert {each.responder for each in again} == {first.responder}
        clock.at[0] += 20 * DAY
        assert (await signer.answers(issuer, [leaf.serial])).responder != first.responder
        clock.at[0] -= 20 * DAY
        keys = scene.vaults.keys
        emergency.write(scene.data, keys, emergency.Stop(True, "drill", 5, 1))
        with pytest.raises(NoSignature, match=r"the emergency stop is on \(drill\)"):
            await signer.sign(asked)
        emergency.write(scene.data, keys, emergency.Stop(False, "", 6, 2))
        assert await signer.sign(asked)
        assert seen_in(scene.data / FILE, keys).turns == 2
        made = datadir.add_issuer(scene.data, PASSPHRASE, "NEXT CA-G5", clock.seconds()).authority
        newer = replace(scene, ra=replace(scene.ra, authority=made))
        reservation = await newer.reserved(newer.planned())
        active = Row(reservation.issuer_id, active_at=reservation.reserved_at)
        await scene.ra.database.write(lambda db: generations.write(db, Row(reservation.issuer_id), active))
        asked = ToSign(reservation.issuer_id, "certificate", reservation.tbs, reservation.serial)
        assert await signer.sign(asked)
        told = await asyncio.to_thread(signer.ask_now, {"ask": "status"})
        assert told["signed"] == 3


def _libc(name: str, *arguments: object) -> Callable[[], int]:
    def call() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        ctypes.set_errno(0)
        return ctypes.get_errno() if getattr(libc, name)(*arguments) == -1 else 0

    return call


def _os(work: Callable[[], object]) -> Callable[[], int]:
    def call() -> int:
        try:
            work()
        except OSError as error:
            return error.errno or -1
        return 0

    return call


_PATH = b"/tmp/sekisho-nobody-makes-this"
#: What is tried -> how it is tried: the error's number, 0 for none.
TRIES: dict[str, Callable[[], int]] = {
    "make a file": _os(lambda: os.open(_PATH, os.O_WRONLY | os.O_CREAT)),
    "open a file to be written": _os(lambda: os.open("/dev/null", os.O_WRONLY)),
    "open a file to be read and written": _os(lambda: os.open("/dev/null", os.O_RDWR)),
    "truncate a file": _os(lambda: os.open("/dev/null", os.O_RDONLY | os.O_TRUNC)),
    "make a nameless file": _os(lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR)),
    "creat": _libc("creat", _PATH, 0o600),
    "memfd_create": _os(lambda: os.memfd_create("x")),
    "rename": _os(lambda: os.rename(_PATH, _PATH + b"2")),
    "unlink": _os(lambda: os.unlink(_PATH)),
    "mkdir": _os(lambda: os.mkdir(_PATH)),
    "link": _os(lambda: os.link("/etc/hostname", _PATH)),
    "chmod": _os(lambda: os.chmod("/dev/null", 0o666)),
    "a socket of IPv4": _os(lambda: socket.socket(socket.AF_INET)),
    "a socket of IPv6": _os(lambda: socket.socket(socket.AF_INET6)),
    "a socket of this machine": _os(lambda: socket.socket(socket.AF_UNIX)),
    "a netlink": _os(lambda: socket.socket(socket.AF_NETLINK)),
    "a pair of sockets": _os(socket.socketpair),
    "execve": _os(lambda: os.execv("/bin/true", ["true"])),
    "fork": _os(os.fork),
    "vfork": _libc("vfork"),
    "ptrace": _libc("ptrace", 0, 0, 0, 0),
    "kill another process": _os(lambda: os.kill(os.getppid(), 0)),
    "read another process": _libc("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0),
    "bpf": _libc("syscall", 321 if os.uname().machine == "x86_64" else 280, 0, 0, 0),
    "io_uring": _libc("syscall", 425, 1, 0),
    "keyctl": _libc("syscall", 250 if os.uname().machine == "x86_64" else 219, 0, 0, 0, 0),
    "setuid": _os(lambda: os.setuid(os.getuid())),
    "mount": _libc("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "another terminal's input": _os(lambda: __import__("fcntl").ioctl(0, 0x5412, b"x")),
}


def test_what_it_may_not_ask_for() -> None:
    """EPERM for each, with the very filter that the signer has; what it needs goes on, in threads as well."""
    found = memoryview(mmap.mmap(-1, 2 * len(TRIES) + 2)).cast("h")

    def work() -> int:
        assert confining.confine() == ""
        found[: len(TRIES)] = memoryview(bytes(2 * len(TRIES))).cast("h")
        for at, attempt in enumerate(TRIES.values()):
            found[at] = attempt()
        read: list[bytes] = []
        thread = threading.Thread(target=lambda: read.append(Path("/proc/self/status").read_bytes()))
        thread.start()
        thread.join()
        found[len(TRIES)] = b"Seccomp:\t2\n" in read[0]
        return 0

    with forked(work) as child:
        assert child.wait() == 0
    assert dict(zip(TRIES, found, strict=False)) == dict.fromkeys(TRIES, errno.EPERM)
    assert found[len(TRIES)] == 1


def test_without_the_library_it_is_said_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without libseccomp signs all the same; the log says so in one line."""
    monkeypatch.setattr(confining, "_LIBRARY", "libseccomp-nobody-has.so.2")

    def work() -> int:
        why = confining.confine()
        again = os.open("/dev/null", os.O_WRONLY)
        return 0 if (why.endswith("is missing; apt install libseccomp2"), again > 0) == (True, True) else 1

    with forked(work) as child:
        assert child.wait() == 0
