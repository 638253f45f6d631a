"""Somebody who types a document's commands in an office, one after the other, and reads what they answer."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from glob import glob
from pathlib import Path

import pytest

from gateway.serving.database import DATABASE
from tests.cli.conftest import Shell
from tests.cli.processes import process, until
from tests.cli.test_ceremony import terminal
from tests.cli.test_jobs import ME, become
from tests.datadirs import PASSPHRASE, cheaper
from tests.documents.blocks import Typed
from tests.documents.office import FORGOTTEN, HAPPENED, HSM, SERVED, Office, keep_copy, open_office

#: What only a shell can do.
_OF_A_SHELL = re.compile(r"[|<>;&$]")
#: What a ceremony asks of its people.
_ASKED = ("Enter to do this", r"Written down\?", "From the paper, words ", r"Share \d+ of \d+: ")
_WRITE, _PAPER, _SHARE = 1, 2, 3
_SHOWN = re.compile(r"(\d+)\. +([a-z]+)")
_SIGNER = "61401"
NEW_PASSPHRASE = "another horse battery staple"


def typed_in_an_office(name: str, commands: Sequence[Typed], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Types a scenario's commands in an office of its own, after what has happened there."""
    (folder / "office").mkdir()
    office = open_office(folder / "office")
    patch.chdir(office.place)
    patch.setenv("SOFTHSM2_CONF", str(folder / HSM / "softhsm2.conf"))
    HAPPENED.get(name, lambda office: None)(office)
    with ExitStack() as stack:
        desk = Desk(office, stack)
        # Once the gateway runs nobody knows it any more.
        after = "" if name in FORGOTTEN else PASSPHRASE
        if name in SERVED:
            desk.type(Typed("sekisho serve", ()))
        desk.passphrase = after
        for typed in commands:
            desk.type(typed)


class Desk:
    """Types in the office's folder. ``stack`` ends what was started."""

    def __init__(self, office: Office, stack: ExitStack) -> None:
        self.office, self._stack, self._served = office, stack, 0
        self.passphrase = PASSPHRASE
        self._typist = ""
        #: By what --data names: those that were changed.
        self._passphrases: dict[str, str] = {}

    def type(self, typed: Typed) -> None:
        """Runs a command as it stands and compares its answer. AssertionError if that is another one."""
        if typed.who != self._typist:
            self._sit_down(typed.who)
        words = [found for word in shlex.split(typed.command) for found in glob(word) or [word]]
        if words[0] != "sekisho" or _OF_A_SHELL.search(typed.command):
            code, output = self._in_a_shell(typed.command)
        elif words[1] == "serve":
            code, output = self._serve(*words[1:])
        elif words[1] == "ceremony" and words[2] != "show":
            code, output = self._ceremony(*words[2:])
        else:
            code, output = self._here(*words[1:])
        assert code == (1 if typed.fails else 0), f"$ {typed.command}\n{output}"
        typed.check(output)
        keep_copy(self.office)

    def _sit_down(self, who: str) -> None:
        """From now on this account is an operator's; what was taken in an emergency stays the machine's."""
        become(Shell(self.office.data), who)
        from_to = (ME, f"not-{ME}") if who else (f"not-{ME}", ME)
        with sqlite3.connect(self.office.data / DATABASE) as db:
            db.execute("UPDATE break_glass SET account = ? WHERE account = ?", from_to[::-1])
        self._typist = who

    def _here(self, *words: str) -> tuple[int, str]:
        named = words[words.index("--data") + 1] if "--data" in words else ""
        given = {"SEKISHO_PASSPHRASE": self._passphrases.get(named, self.passphrase)}
        # An account that this machine need not have: a number is as good as a name.
        words = tuple(_SIGNER if word == "sekisho-signer" else word for word in words)
        ran = Shell(self.office.data)(
            *words, json_output=False, SEKISHO_NEW_PASSPHRASE=NEW_PASSPHRASE, **given
        )
        if ran.code == 0 and words[:2] == ("passphrase", "change"):
            self._passphrases[named] = NEW_PASSPHRASE
            self._cheaper(named)
        elif ran.code == 0 and words[0] == "init":
            self._cheaper(named)
        return ran.code, ran.out + ran.err

    def _cheaper(self, named: str) -> None:
        cheaper(self.office.place / (named or "data"), self._passphrases.get(named, self.passphrase))

    def _in_a_shell(self, command: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {"PATH": path, "SEKISHO_DATA": str(self.office.data), "SEKISHO_PASSPHRASE": self.passphrase}
        ran = subprocess.run(
            ["/bin/bash", "-ec", command],
            capture_output=True,
            text=True,
            env={**os.environ, **given},
            timeout=120,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def _serve(self, *words: str) -> tuple[int, str]:
        self._served += 1
        log = self.office.place.parent / f"log-{self._served}"
        log.touch()
        named = words[words.index("--data") + 1] if "--data" in words else ""
        passphrase = self._passphrases.get(named, self.passphrase)
        given = {"SEKISHO_DATA": str(self.office.data), "SEKISHO_PASSPHRASE": passphrase}
        running = self._stack.enter_context(process(*words, log=log, copied=True, **given))
        until(lambda: "ready on port" in log.read_text(), log, running)
        return 0, log.read_text()

    def _ceremony(self, *words: str) -> tuple[int, str]:
        """The people around the root: they press Enter, write shares down, and bring them again."""
        shares = list(self.office.shares.get(words[1], ()))
        written = list[str]()
        with terminal(*words) as at:
            asked, before = at.either(*_ASKED)
            while asked >= 0:
                if asked == _PAPER:
                    numbers = re.findall(r"\d+", at.until(": "))
                    at.say(" ".join(written[-1].split()[int(each) - 1] for each in numbers))
                elif asked == _SHARE:
                    at.say(shares.pop())
                else:
                    if asked == _WRITE:
                        found = dict(_SHOWN.findall(before))
                        written.append(" ".join(found[str(n)] for n in range(1, 34)))
                    at.say()
                asked, before = at.either(*_ASKED)
            if written:
                self.office.shares[words[2] if words[0] == "reshare" else words[1]] = written
            return at.rest()[0], at.text
