"""A process between a signer that may start none and a token: it keeps the token's own process alive.

It is forked from the signer while that has no thread and knows no PKCS#11 module; the token's own process
(`ca.tokenhost`) it spawns. It ends with the signer, and the signer with it: both come back together.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import threading
from typing import NoReturn

from ca.errors import ConfigError
from ca.signerlink import Message, packed, receive_now
from ca.tokenlink import PATIENCE, Link, TokenKey, TokenTrouble

_PR_SET_PDEATHSIG = 1  # prctl(2)
# Seconds that a token's process has to start and to be opened, and the patience of what is asked besides.
_MORE = 30.0


def keep(link: Link) -> Kept:
    """Forks the keeper of a token. Only before there is any thread, and before the token was asked for."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    if os.fork() == 0:
        ours.close()
        _be(link, theirs, parent)
    theirs.close()
    return Kept(link, ours)


def _be(link: Link, theirs: socket.socket, parent: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            while (asked := receive_now(theirs)) is not None:
                theirs.sendall(packed(_answer(link, asked)))
    finally:
        link.close()
        os._exit(0)


def _answer(link: Link, asked: Message) -> Message:
    key = TokenKey(asked["name"], link.token, asked["label"], asked["id"]) if "name" in asked else None
    try:
        found = link.ask(asked["do"], key, **asked["facts"])
        told: Message = {"answer": found}
    except TokenTrouble as trouble:
        told = {"error": trouble.code, "seen": trouble.seen}
    except ConfigError as error:
        told = {"config": str(error)}
    return told | {"opened": link.opened, "about": link.about(), "trouble": link.trouble}


class Kept:
    """A token whose keeper is asked: `ca.tokenlink.Asked`."""

    def __init__(self, link: Link, ours: socket.socket) -> None:
        self.token, self._socket, self._turn = link.token, ours, threading.Lock()
        self.opened, self.trouble = 0, ""
        self._about: Message = {}

    def ask(
        self, do: str, key: TokenKey | None = None, patience: float = PATIENCE, **facts: object
    ) -> Message:
        """As of `Asked`."""
        named = {"name": key.name, "label": key.label, "id": key.id} if key is not None else {}
        with self._turn:
            try:
                self._socket.settimeout(patience + _MORE)
                self._socket.sendall(packed({"do": do, "facts": facts, **named}))
                told = receive_now(self._socket)
            except (OSError, ValueError):
                told = None
            if told is None:
                os._exit(71)  # whoever watches starts both anew
            self.opened, self._about, self.trouble = told["opened"], told["about"], told["trouble"]
        if "config" in told:
            raise ConfigError(told["config"])
        if "error" in told:
            raise TokenTrouble(told["error"], self.token, key, told["seen"])
        answer: Message = told["answer"]
        return answer

    def about(self) -> Message:
        """As of `Asked`."""
        return self._about

    def close(self) -> None:
        """As of `Asked`."""
        self._socket.close()
