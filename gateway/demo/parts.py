"""What a demo of several nodes starts besides the nodes: a PostgreSQL server and HAProxy, both from Debian.

None outlives this process, however it ends: the kernel tells each when it is gone.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ca.errors import ConfigError
from ca.files import make_private_directory
from gateway.running.stopping import end_with_parent

#: Who runs the server where we are root, which it refuses.
_SERVERS_USER = "postgres"
#: The database, and who it belongs to.
DATABASE, _OWNER = "sekisho", "postgres"
#: From where HAProxy comes to the nodes: connections from there begin with a PROXY header, those from
#: 127.0.0.1 do not.
BALANCER = "127.0.0.2"
_PROGRAMS = Path("/usr/lib/postgresql")
# Seconds until something that was started has to answer, and until it is killed after it was told to end.
_PATIENCE, _ENDS = 60.0, 10.0
# Between two starts of what was killed.
_AGAIN = 0.3
# Of a key of 32 bits, which the kernel shows as a signed number.
_SIGN = 1 << 31


@dataclass
class Part:
    """A program that runs beside this one, and can be killed and started again."""

    name: str
    command: Sequence[str | Path]
    log: Path
    #: What it is told by at the end, and by the kernel when this process is gone.
    stop: signal.Signals = signal.SIGTERM
    orphaned: signal.Signals = signal.SIGKILL
    user: str | None = None
    running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return 0 if self.running is None else self.running.pid

    def lives(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def start(self) -> None:
        """Starts it; only from the thread that stays: with that it ends. What it says goes into its log."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(  # noqa: S603 (programs of our own choice)
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=self.user,
                group=self.user and pwd.getpwnam(self.user).pw_gid,
                extra_groups=() if self.user else None,
                start_new_session=True,
                preexec_fn=partial(end_with_parent, self.orphaned, os.getpid()),
            )

    def go_on(self) -> None:
        """Starts it if it was killed, and has it go on if it was frozen."""
        if self.lives():
            os.kill(self.pid, signal.SIGCONT)
        else:
            self.start()

    def end(self) -> None:
        """Ends it, be it frozen; after a while by SIGKILL, and with it whatever it has started."""
        if self.running is None:
            return
        if self.running.poll() is None:
            for number in (self.stop, signal.SIGCONT):
                os.kill(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.running.wait(_ENDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.running.wait()

    async def until(self, answers: Callable[[], bool], stop: asyncio.Event, *, again: bool = False) -> None:
        """Waits, beside the loop, until it answers, or ``stop``. ConfigError with the end of its log if it
        has ended, or does not. ``again``: it was killed, and is started until it stays: what it had started
        itself may be there for a moment yet."""
        end = time.monotonic() + _PATIENCE
        while not stop.is_set() and not await asyncio.to_thread(answers):
            if again and not self.lives() and time.monotonic() < end:
                await asyncio.sleep(_AGAIN)
                self.start()
            elif not self.lives() or time.monotonic() > end:
                said = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                raise ConfigError(
                    f"{self.name} {'does not answer' if self.lives() else 'has ended'}: {' / '.join(said)}; "
                    "see to that, then type the same again"
                )
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Programs:
    """What is on this machine."""

    postgresql: Path
    haproxy: str


def programs() -> Programs:
    """ConfigError, with what to type, for what is not there."""
    found = sorted(_PROGRAMS.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    missing = [name for name, there in (("postgresql", found), ("haproxy", haproxy)) if not there]
    if missing or haproxy is None:
        raise ConfigError(
            f"a demo with its database on a server runs Debian's {' and '.join(missing)}, not there; type, "
            f"as root: apt install {' '.join(missing)}"
        )
    return Programs(found[-1].parent, haproxy)


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server of the demo's own. ``folder``: its data; ``socket``: the directory in which it
    listens, and nowhere else; short, as a socket's path has to be."""

    folder: Path
    socket: Path
    bin: Path
    log: Path

    @property
    def url(self) -> str:
        return f"postgresql://{_OWNER}@/{DATABASE}?host={self.socket}"

    @property
    def user(self) -> str | None:
        return _SERVERS_USER if os.geteuid() == 0 else None

    def made(self) -> None:
        """Makes the cluster if it is not there. ConfigError where its user cannot get."""
        if not (self.folder / "PG_VERSION").exists():
            # Under another name until it is whole: one that was killed half-way would never start.
            draft = self.folder.with_name(f"{self.folder.name}.new")
            shutil.rmtree(draft, ignore_errors=True)
            make_private_directory(draft)
            self._given(draft)
            # What is not begun yet has not to survive a power cut.
            words = ("-U", _OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            self._typed("initdb", "-D", draft, *words)
            draft.rename(self.folder)
        self._given(self.folder)

    def _given(self, folder: Path) -> None:
        """Its directories to its user."""
        if self.user is not None:
            shutil.chown(self.socket, self.user)
            shutil.chown(folder, self.user)

    def copied(self, primary: Cluster, name: str) -> None:
        """Makes this one a replica of another one that runs, which knows it by ``name``."""
        make_private_directory(self.folder)
        self._given(self.folder)
        address = f"host={primary.socket} user={_OWNER} application_name={name}"
        self._typed("pg_basebackup", "-D", self.folder, "-R", "-X", "stream", "-c", "fast", "-d", address)

    def part(self, *settings: str) -> Part:
        """The server. ``settings``: more of them, as name=value."""
        command: list[str | Path] = [
            *(self.bin / "postgres", "-D", self.folder, "-k", self.socket, "-c", "listen_addresses="),
            *("-c", "unix_socket_permissions=0700", "-c", "max_connections=200"),
            # In its own directory: a server that is killed leaves what it has in the machine's memory.
            *("-c", "dynamic_shared_memory_type=mmap"),
            *(word for each in settings for word in ("-c", each)),
        ]
        return Part(
            "postgresql", command, self.log, stop=signal.SIGINT, orphaned=signal.SIGQUIT, user=self.user
        )

    def answers(self) -> bool:
        return self._ran("pg_isready", "-h", self.socket, "-q").returncode == 0

    def emptied(self) -> None:
        """The database, with nothing in it."""
        at = ("-h", self.socket, "-U", _OWNER)
        self._typed("dropdb", *at, "--if-exists", DATABASE)
        self._typed("createdb", *at, "--template=template0", DATABASE)

    def _typed(self, *words: str | Path) -> None:
        ran = self._ran(*words)
        if ran.returncode:
            raise ConfigError(
                f"{words[0]} failed: {ran.stderr.decode(errors='replace').strip()}; a directory that the "
                f"user {self.user or 'who typed this'} can get to is needed: name one with --data DIR"
            )

    def _ran(self, program: str | Path, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
        group = self.user and pwd.getpwnam(self.user).pw_gid
        return subprocess.run(  # noqa: S603
            [self.bin / program, *words],
            check=False,
            capture_output=True,
            cwd="/",
            user=self.user,
            group=group,
            extra_groups=() if self.user else None,
            # Ctrl-C is ours to hear.
            start_new_session=True,
            preexec_fn=partial(end_with_parent, signal.SIGKILL, os.getpid()),
        )


def sweep(folder: Path) -> None:
    """Takes away what the server of a cluster that was killed has left in the machine's memory."""
    with suppress(OSError, IndexError):
        # The line of its key and its number (PostgreSQL's miscinit.h, LOCK_FILE_LINE_SHMEM_KEY).
        key, number = (int(each) for each in (folder / "postmaster.pid").read_text().splitlines()[6].split())
        for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            found = [int(each) for each in line.split()[:2]]
            # After a restart of the machine the number may be somebody else's.
            if found == [(key ^ _SIGN) - _SIGN, number]:
                subprocess.run(["ipcrm", "-m", str(number)], check=False, capture_output=True)  # noqa: S603, S607


@dataclass(frozen=True)
class Behind:
    """A node, as HAProxy sees it."""

    name: str
    port: int
    plain: int
    internal: int


def balanced(tls: str, plain: str, nodes: Iterable[Behind]) -> str:
    """HAProxy's configuration. ``tls``, ``plain``: what it binds, such as "127.0.0.1:443".

    A node is asked for ``/healthz``, which answers while its process does: one without its database still
    says to people what is wrong. The only one is asked for nothing: to leave it out while it is slow helps
    nobody.
    """
    lines, every = [_HAPROXY], tuple(nodes)
    for name, bound in (("tls", tls), ("plain", plain)):
        lines += [f"listen {name}", f"  bind {bound}"]
        for each in every:
            at = f"{each.port} send-proxy" if name == "tls" else str(each.plain)
            check = f" check port {each.internal}" if len(every) > 1 else ""
            lines.append(f"  server {each.name} 127.0.0.1:{at} source {BALANCER}{check}")
    return "\n".join(lines) + "\n"


_HAPROXY = """\
global
  maxconn 2000

defaults
  mode tcp
  balance roundrobin
  # A node that refuses a connection is left out for it, and nobody notices.
  retries 3
  option redispatch 1
  timeout connect 2s
  timeout check 1s
  # As long as a visitor's WebSocket may be silent.
  timeout client 1h
  timeout server 1h
  option httpchk GET /healthz
  # Frozen or gone: two checks later its connections are cut, so that programs try again.
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"""
