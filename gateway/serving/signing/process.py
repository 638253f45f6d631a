"""The process that alone has the issuing CAs' keys: it signs what it has looked at, and nothing else.

Two of them, really. A guardian opens the keys, makes the socket, and then does nothing more than start the
other one again when that has ended or hangs: so a signer that was killed is back in half a second, and nobody
types a passphrase for it. Whoever serves is given the gateway's own data key, and never the passphrase.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ca import apart, datadir, memory
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.hardening import harden
from ca.memory import Memory, Numbers
from ca.remembered import REVOKED, Remembered
from ca.sealing import Vaults, open_vaults
from ca.signerlink import SOCKET, Message, address_in
from gateway.running import rundir
from gateway.running.journal import DirectHandler
from gateway.running.notify import notify
from gateway.running.stopping import end_with_parent
from gateway.serving.config import read_config
from gateway.serving.database import DATABASE, database_of
from gateway.serving.deployment import SCHEMAS, clock_of
from gateway.serving.signing.accepted import Accepted
from gateway.serving.signing.desk import Desk
from gateway.serving.signing.door import answer_all
from gateway.serving.signing.guardian import Guardian
from gateway.serving.signing.places import Places
from gateway.serving.signing.tally import Tally
from gateway.serving.signing.told import Told
from gateway.serving.standing import compare, journal_of, put_away
from gateway.serving.tokens import Pins, check_at_start, kept_tokens, signing_places, tokens_of

_TALLY = "tally"
_BACKLOG = 256
# Of the socket: its user's, or its group's, which is the gateway's; who asks is looked at in any case.
_MODE, _MODE_APART = 0o600, 0o660


@dataclass(frozen=True)
class Apart:
    """A signer with a user of its own: the directory of its keys (`ca.apart`), where its settings are, too,
    and that of its socket. But for the register and drafts of lists nothing is read where the gateway's user
    may write."""

    home: Path
    socket: Path


def run(data: Path, passphrase: Callable[[], str], told_by: int | None, own: Apart | None = None) -> None:
    """Runs the signer of a data directory until SIGTERM. ``told_by``: the pipe of whoever started it, to be
    told when it is there, or why it is not; it ends with that process."""
    try:
        # Whoever starts it again waits for signals, and blocks them meanwhile.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if told_by is not None:
            end_with_parent(signal.SIGTERM)
        home = data if own is None else own.home
        handler = _begin(data) if own is None else _begin_apart(data, own)
        vaults = open_vaults(home / datadir.VAULT, passphrase())
        if own is None:
            # One that is damaged is the operator's to mend, and is told of here: the child could only end
            # again.
            kept = journal_of(data)
            with closing(database_of(data, SCHEMAS, kept)) as database:
                compare(data, kept, database)
                put_away(data, database)
        pins = _checked(home, vaults)
        directory = rundir.run_directory(data) if own is None else own.socket
        lock = rundir.take((directory if own is None else home) / rundir.SIGNER)
        if lock is None:
            raise ConfigError(f"a signer of {data} runs already; stop that one first")
        harden()
        tally = Tally(home / memory.FOLDER / _TALLY)
        Memory(home / memory.FILE, vaults.keys).close()
        _told(home, vaults, 0).close()
        listening = _listening(directory, _MODE if own is None else _MODE_APART)
        accepted = Accepted(home)
    except ConfigError as error:
        _tell(told_by, {"error": str(error)})
        if told_by is not None:
            os._exit(1)  # whoever started it says so
        raise
    _tell(told_by, {"ready": True})
    if told_by is None:  # else systemd waits for whoever started it
        notify("READY=1")
    Guardian(
        lambda: _live(data, home, vaults, pins, listening, tally, accepted), tally, say=handler.put
    ).run()
    lock.close()
    if told_by is not None:
        os._exit(0)  # the command that started it answers, and has one answer


def _begin(data: Path) -> DirectHandler:
    datadir.read_marker(data)
    datadir.check_owner(data)
    settings = read_config(data, Snapshot()).log
    handler = DirectHandler(data / settings.file if settings.file else None)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    return handler


def _begin_apart(data: Path, own: Apart) -> DirectHandler:
    handler = DirectHandler(None)
    if not own.home.exists():
        raise ConfigError(f"{own.home} is missing; as root: sekisho ca part {own.home} --data {data}")
    datadir.read_marker(own.home)
    config = read_config(own.home, Snapshot())
    if why := apart.troubles(data, own.home, "" if config.database.url else DATABASE):
        raise ConfigError(why)
    level = config.log.level
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    return handler


def _checked(data: Path, vaults: Vaults) -> Pins:
    """Where the tokens' PINs come from, once all keys were looked at. Each token's process ends again: it is
    started by whoever signs, and never forked."""
    config = read_config(data, Snapshot())
    pins = Pins(data, vaults.keys, config.tokens)
    with closing(tokens_of(data, config, vaults.keys, pins)) as tokens:
        datadir.authority_of(data, vaults.keys, tokens)
        pins.collect({tokens.keys[name].token for name in signing_places(tokens)})
        check_at_start(data, tokens)
    return pins


def _live(
    data: Path,
    home: Path,
    vaults: Vaults,
    pins: Pins,
    listening: socket.socket,
    tally: Tally,
    accepted: Accepted,
) -> None:
    # What is locked in memory is the process's that has locked it, and not its child's.
    harden()
    config = accepted.config()
    # Standard error is the guardian's by now, and the log its to open.
    logging.basicConfig(level=config.log.level.upper(), handlers=[DirectHandler(None)], force=True)
    # Before there is any thread, and before nothing can be started any more.
    tokens = kept_tokens(home, config, vaults.keys, pins)
    desk = Desk(
        *(data, vaults, clock_of(home), tally, config.signer.per_hour, accepted),
        memory=Memory(home / memory.FILE, vaults.keys),
        places=Places(home, vaults.keys, tokens),
        home=home,
        settings=config.database,
        told=_told(home, vaults, clock_of(home).seconds()),
    )
    # Python's own loop: libuv's asks the kernel through a ring (io_uring), into which no filter can look.
    asyncio.run(answer_all(desk, listening, {os.getuid(), data.stat().st_uid}, desk.confine))


def _told(home: Path, vaults: Vaults, now: int) -> Told:
    return Told(Remembered(home / REVOKED, vaults.keys, now), Numbers(home / memory.NUMBERS, vaults.keys))


def _listening(directory: Path, mode: int) -> socket.socket:
    with suppress(FileNotFoundError):
        (directory / SOCKET).unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with address_in(directory) as address:
        listening.bind(address)
    (directory / SOCKET).chmod(mode)
    listening.listen(_BACKLOG)
    return listening


def _tell(told_by: int | None, message: Message) -> None:
    if told_by is not None:
        with open(told_by, "w", encoding="utf-8") as whom:
            whom.write(json.dumps(message) + "\n")
