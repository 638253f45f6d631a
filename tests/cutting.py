"""A way to a PostgreSQL server that a test cuts at a COMMIT, before the server has seen it or after."""

from __future__ import annotations

import queue
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"
# How the statement is prepared, with the name that it is asked for by.
_PREPARED = re.compile(rb"P....(\w+)\0COMMIT\0", re.DOTALL)
# An answer's message CommandComplete, with the tag of what was done.
_COMMITTED = b"COMMIT\x00"


class Way:
    """To the server whose socket is in ``server``, by one of the same name in ``folder``.

    ``cut``: what becomes of the next COMMIT: "" (it passes), "before" (the server never sees it), "after"
    (its answer is lost), "late" (the server sees it when `let_go` is called). Once is enough: then it is "".
    ``open``: whether anybody may come anew.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.cut, self.open, self.cuts = "", True, 0
        self._late: list[tuple[socket.socket, bytes]] = []
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / _SOCKET))
        self._listening.listen(64)
        self._sockets: list[socket.socket] = [self._listening]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        return str(self.folder)

    def let_go(self) -> bytes:
        """Has the server see the COMMIT that was kept back, and returns all that it says to it."""
        server, message = self._late.pop()
        server.sendall(message)
        # ReadyForQuery is the last message of an answer.
        said = b""
        while b"Z\x00\x00\x00\x05" not in said:
            said += self._said.get(timeout=60)
        server.shutdown(socket.SHUT_RDWR)
        return said

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if not self.open:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.server / _SOCKET))
                self._sockets += [client, server]
                ended, kept = threading.Event(), threading.Event()
                threading.Thread(target=self._ask, args=(client, server, ended, kept), daemon=True).start()
                threading.Thread(target=self._answer, args=(client, server, ended, kept), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, *ends: threading.Event) -> None:
        """From the client to the server."""
        lost, kept = ends
        asked = re.compile(rb"(?!)")
        with suppress(OSError):
            while some := client.recv(65_536):
                if prepared := _PREPARED.search(some):
                    asked = re.compile(rb"B....\0" + prepared[1] + rb"\0", re.DOTALL)
                if asked.search(some) and self.cut:
                    self.cuts += 1
                    how, self.cut = self.cut, ""
                    if how == "after":
                        lost.set()
                        server.sendall(some)
                        return
                    if how == "late":
                        kept.set()
                        self._late.append((server, some))
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    client.shutdown(socket.SHUT_RDWR)
                    break
                server.sendall(some)
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, client: socket.socket, server: socket.socket, *ends: threading.Event) -> None:
        """From the server to the client."""
        lost, kept = ends
        with suppress(OSError):
            while some := server.recv(65_536):
                if kept.is_set():
                    self._said.put(some)
                    continue
                if lost.is_set() and _COMMITTED in some:
                    break
                client.sendall(some)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def way(server: Path, folder: Path) -> Iterator[Way]:
    """One that ends with the block."""
    folder.mkdir(exist_ok=True)
    made = Way(server, folder)
    try:
        yield made
    finally:
        made.close()
