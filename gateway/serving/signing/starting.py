"""The signer, for whoever serves: started as a process of its own, or met where it runs by itself."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ca.errors import ConfigError
from ca.sealing import Vault, forget
from ca.signerlink import SOCKET, RemoteSigner
from ca.signing import NoSignature
from gateway.running import rundir
from gateway.serving.config import Config
from gateway.serving.tokens import forget_pins


@contextmanager
def signer_for(
    data: Path, config: Config, passphrase_file: Path | None, variable: str
) -> Iterator[tuple[RemoteSigner, Vault]]:
    """The signer of a data directory, for the length of a block, and the gateway's vault, which it hands out.

    One that runs by itself is named by its socket; else it is started, and asks for its passphrase as a
    command does (``variable`` of the environment, or the file), and for PINs of tokens. ConfigError, in its
    words, when it cannot.
    """
    elsewhere = config.signer.socket
    if elsewhere:
        yield _met(RemoteSigner(Path(elsewhere)), elsewhere)
        return
    read, write = os.pipe()
    words = [sys.executable, "-m", "gateway.cli", "signer", "--data", str(data), "--told-by", str(write)]
    words += ["--passphrase-file", str(passphrase_file)] if passphrase_file is not None else []
    child = subprocess.Popen(words, pass_fds=[write])  # noqa: S603  our own command
    forget(variable)
    forget_pins(config)
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
