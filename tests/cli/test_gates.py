"""Whose command each one is: every command against every role, and what a stranger may send by hand.

A new command fails here until it has its row.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from enroll.operators.roles import Role, Verdict, permitted
from gateway.cli.answering import checked
from gateway.cli.caller import Given
from gateway.cli.frame import DeploymentCommand, Gate
from gateway.cli.root import whole
from tests.enroll.operators.test_roles import EXPECTED

#: What a command needs, as its row below says it -> the words of O3 that are enough.
ENOUGH = {
    "looks": {"read", "own", "propose", "decide", "propose+decide", "yes"},
    "does": {"yes"},
    # One of them does it, another proposes it, a third decides: which is asked by what it calls.
    "asks": {"propose", "decide", "propose+decide", "yes"},
}
#: Command -> its act in O3, and what it needs of it.
ROWS = {
    "application add": "take_in does",
    "application approve": "applications asks",
    "application list": "applications looks",
    "application reissue": "take_in does",
    "application reject": "applications asks",
    "application show": "applications looks",
    "audit checkpoint": "audit looks",
    "audit purge": "purge asks",
    "audit retire": "purge asks",
    "audit show": "audit looks",
    "audit verify": "audit looks",
    "ca affected": "ca looks",
    "ca list": "ca looks",
    "ca reissue": "applications asks",
    "ca show": "ca looks",
    "cert crl": "standing looks",
    "cert hold": "suspend does",
    "cert list": "search looks",
    "cert release": "record asks",
    "cert revoke": "revoke asks",
    "ca status": "campaigns looks",
    "campaign add": "campaigns does",
    "campaign end": "campaigns does",
    "campaign list": "campaigns looks",
    "campaign people": "search looks",
    "campaign remind": "campaigns asks",
    "campaign show": "campaigns looks",
    "cert revoke-list": "revoke_many asks",
    "cert show": "search looks",
    "clock confirm": "settings asks",
    "clock show": "standing looks",
    "node list": "standing looks",
    "doctor": "standing looks",
    # Whose each export is, its table says: tests/cli/test_exporting.py.
    "export": "standing looks",
    "find": "search looks",
    "eab create": "record asks",
    "eab list": "search looks",
    "eab withdraw": "revoke does",
    # Whose a job is its kind says, as of a proposal (tests/enroll/test_jobs.py).
    "job cancel": "standing looks",
    "job failures": "standing looks",
    "job list": "standing looks",
    "job resume": "standing looks",
    "job run": "standing looks",
    "job show": "standing looks",
    "job undo": "record asks",
    "template change": "templates asks",
    "template list": "templates looks",
    "template reset": "templates asks",
    "template show": "templates looks",
    "template test": "templates asks",
    "mail again": "call does",
    "mail bounce": "call does",
    "mail deliver": "call does",
    "mail list": "search looks",
    "mail release": "call does",
    "mail retry": "call does",
    "mail returned": "call does",
    "mail show": "search looks",
    "notify run": "call does",
    "operator add": "operators asks",
    "operator change": "operators asks",
    "operator certificate": "operators looks",
    "operator code": "operators asks",
    "operator end": "operators asks",
    "operator list": "operators looks",
    "operator review": "audit does",
    "operator show": "operators looks",
    "org add": "record asks",
    "org change": "record asks",
    "org disable": "record asks",
    "org enable": "record asks",
    "org import": "record asks",
    "org list": "search looks",
    "postcard batch": "print does",
    "postcard cancel": "print does",
    "postcard fetch": "print does",
    "postcard list": "print looks",
    "postcard printed": "print does",
    "postcard reprint": "print does",
    "postcard show": "print looks",
    "postcard waiting": "print looks",
    # Whose a proposal is, and who decides it, its kind says (tests/enroll/operators/test_asking.py).
    "proposal approve": "standing looks",
    "proposal list": "standing looks",
    "proposal reject": "standing looks",
    "proposal show": "standing looks",
    "proposal withdraw": "standing looks",
    "reference show": "search looks",
    "report": "reports looks",
    "request list": "search looks",
    "request reissue": "applications asks",
    "request show": "search looks",
    "retention apply": "purge asks",
    "retention show": "purge looks",
    "session end": "suspend does",
    "session list": "search looks",
    "user add": "record asks",
    "user change": "record asks",
    "user disable": "record asks",
    "user enable": "record asks",
    "user hold": "suspend does",
    "user import": "record asks",
    "user list": "search looks",
    "user release": "record asks",
    "user reset-password": "reset_password asks",
    "user show": "search looks",
    # Where it goes takes two; to stop it, to try it, to send it again takes one.
    "webhook add": "settings asks",
    "webhook change": "settings asks",
    "webhook deliveries": "deliveries looks",
    "webhook end": "settings asks",
    "webhook list": "deliveries looks",
    "webhook replay": "deliveries does",
    "webhook rotate": "settings asks",
    "webhook show": "deliveries looks",
    "webhook start": "settings asks",
    "webhook stop": "deliveries does",
    "webhook test": "deliveries does",
}
#: What the passphrase opens, whatever one's role is.
BY_PASSPHRASE = {
    "audit adopt", "ca activate", "ca discard", "ca distrust", "ca key move", "ca key pin", "ca key show",
    "ca resume", "operator break-glass", "ca retire", "ca root-list", "ca trust", "ca withdraw",
}  # fmt: skip
#: What needs the data directory's files or a passphrase by itself: whoever has the machine has these.
BY_FILES = {
    "backup", "ca accept", "ca add", "ca part", "ca request", "ca stop", "ceremony crl", "ceremony reshare",
    "ceremony root", "ceremony show", "ceremony sign", "cps", "db check", "db copy", "demo", "drill", "init",
    "node join", "node remove", "passphrase change", "profile list", "profile show", "reload",
    "restore backup", "restore key", "restore replay", "serve", "signer", "version",
}  # fmt: skip


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from commands(each, (*path, name))
        else:
            yield " ".join((*path, name)), each


COMMANDS = dict(commands(whole()))


def gate_of(name: str) -> Gate | None:
    found = COMMANDS[name]
    return found.gate if isinstance(found, DeploymentCommand) else None


def test_every_command_has_its_row() -> None:
    """A role opens it, or the passphrase, or the files of the machine: one of these, and said here."""
    opened = {name for name, each in COMMANDS.items() if isinstance(each, DeploymentCommand)}
    assert set(ROWS) == {name for name in opened if gate_of(name) is not None}
    assert {name for name in opened if gate_of(name) is None} == BY_PASSPHRASE
    assert {name for name in COMMANDS if name not in opened} == BY_FILES


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ROWS)
def test_a_role_types_what_the_requirements_say(name: str, role: Role) -> None:
    """Every command for every role: what O3 does not allow is refused before anything is done."""
    act, need = ROWS[name].split()
    word = EXPECTED[act].split()[list(Role).index(role)]
    gate = gate_of(name)
    assert gate is not None
    assert str(gate.act) == act
    # The desk may read what waits, and a reader changes nothing.
    allowed = word in ENOUGH[need] and not (word == "own" and Verdict.OWN not in gate.wanted)
    assert bool(permitted([role], gate.act) & gate.wanted) is allowed


def test_what_asks_goes_by_the_one_way() -> None:
    """A command that a proposer may type calls what asks again who it is; else it would do it for anybody who
    may only propose."""
    for name, row in ROWS.items():
        found = COMMANDS[name]
        assert isinstance(found, DeploymentCommand)
        if row.endswith(" asks"):
            source = inspect.getsource(found.work)
            # The last one asks by itself, and sends to whoever typed it.
            ways = ("await asked(", "await _imported(", "await templates.test(")
            assert any(way in source for way in ways), name


def test_what_is_sent_by_hand_is_looked_at_again() -> None:
    """A member of the group needs no command line of ours to speak to the socket: what it would have refused
    is refused there, and no path is a file of the gateway's."""
    add, show, imports = COMMANDS["user add"], COMMANDS["user show"], COMMANDS["user import"]
    good: dict[str, Any] = {
        "policy_number": "１２３45678",
        "name": "X",
        "mail": "x@example.jp",
        "role": "admin",
    }
    assert checked(add, good)["policy_number"] == "12345678"
    assert checked(show, {"user_id": "k1234"}) == {"user_id": "K1234"}
    file = Given(Path("people.csv"), b"name")
    assert checked(imports, {"file": file})["file"] is file
    for command, wrong in (
        (add, good | {"role": "root"}),
        (add, good | {"name": 5}),
        (add, good | {"name": None}),
        (add, good | {"actor": "operator:somebody"}),
        (imports, {"file": "/etc/shadow"}),
        (imports, {"file": Path("/etc/shadow")}),
        (COMMANDS["audit show"], {"limit": 0}),
        (COMMANDS["audit show"], {"limit": "1"}),
    ):
        with pytest.raises(click.UsageError):
            checked(command, wrong)
