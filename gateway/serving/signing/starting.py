"""The signer, for whoever serves: started as a process of its own, or met where it runs by itself."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ca.errors import ConfigError
from ca.sealing import Vault, forget
from ca.signerlink import SOCKET, RemoteSigner
from ca.signing import NoSignature
from gateway.running import rundir
from gateway.serving.config import Config
from gateway.serving.tokens import forget_pins

log = logging.getLogger("sekisho.signer")

# Seconds until one that has ended is started again; doubled up to the second each time.
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0

#: What whoever serves calls each second or so: starts the signer again if it has ended. Returns at once.
Keep = Callable[[], None]


@contextmanager
def signer_for(
    data: Path, config: Config, passphrase_file: Path | None, variable: str
) -> Iterator[tuple[RemoteSigner, Vault, Keep]]:
    """The signer of a data directory, for the length of a block; the gateway's vault, which it hands out; and
    what keeps it there.

    One that runs by itself is named by its socket; else it is started, and asks for its passphrase as a
    command does (``variable`` of the environment, or the file), and for PINs of tokens. ConfigError, in its
    words, when it cannot.
    """
    elsewhere = config.signer.socket
    if elsewhere:
        yield *_met(RemoteSigner(Path(elsewhere)), elsewhere), lambda: None
        return
    started = _Started(data, passphrase_file)
    forget(variable)
    forget_pins(config)
    try:
        started.wait()
        directory = rundir.run_directory(data)
        yield *_met(RemoteSigner(directory), str(directory)), started.keep
    finally:
        started.end()


class _Started:
    """A signer (its guardian) as a child of this process. One that has ended is started again as long as a
    file has its passphrase: this process has it not."""

    _told: int
    _child: subprocess.Popen[bytes]

    def __init__(self, data: Path, passphrase_file: Path | None) -> None:
        self._words = [sys.executable, "-m", "gateway.cli", "signer", "--data", str(data)]
        self._file, self._lost = passphrase_file, False
        self._wait, self._not_before = _FIRST_WAIT, 0.0
        self._start()

    def wait(self) -> None:
        """Until it is there. ConfigError says why it is not."""
        with open(self._told, encoding="utf-8") as told:
            self._told, answer = -1, told.readline()
        if not answer:
            raise ConfigError(f"the signer has not started (it ended with {self._child.wait()}): see above")
        if why := json.loads(answer).get("error"):
            raise ConfigError(why)

    def keep(self) -> None:
        """See `Keep`."""
        code, now = self._child.poll(), time.monotonic()
        if code is None or self._lost or now < self._not_before:
            return
        if self._file is None:
            self._lost = True
            log.error(
                "the signer has ended (%d), and its passphrase is in no file (--passphrase-file): nothing is "
                "issued until sekisho serve is started again",
                code,
            )
            return
        log.error("the signer has ended (%d%s); started again", code, self._why())
        self._wait = min(2 * self._wait, _LONGEST_WAIT) if now < self._not_before + 60 else _FIRST_WAIT
        self._not_before = now + self._wait
        self._start()

    def end(self) -> None:
        self._child.terminate()
        self._child.wait()
        self._why()

    def _start(self) -> None:
        self._told, write = os.pipe()
        words = [*self._words, "--told-by", str(write)]
        words += ["--passphrase-file", str(self._file)] if self._file is not None else []
        self._child = subprocess.Popen(words, pass_fds=[write])  # noqa: S603  our own command
        os.close(write)

    def _why(self) -> str:
        """What one that has ended has told, if it came to that; the pipe is closed."""
        if self._told < 0:
            return ""
        with open(self._told, encoding="utf-8") as told:
            self._told, answer = -1, told.read()
        why = json.loads(answer).get("error") if answer else None
        return f": {why}" if why else ""


def _met(signer: RemoteSigner, where: str) -> tuple[RemoteSigner, Vault]:
    try:
        opened = signer.ask_now({"ask": "unlock"})
        return signer, Vault(base64.b64decode(opened["vault"]))
    except (NoSignature, KeyError, ValueError) as error:
        raise ConfigError(f"{where}/{SOCKET}: {error}; start it: sekisho signer") from None
