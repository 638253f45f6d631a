"""The command ``sekisho`` and its groups, in the order in which an operator needs them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from platform import python_version

import click

from gateway.cli.frame import JSON, Root, answer
from gateway.cli.loading import loading
from gateway.cli.output import write_answer

#: The first module of the hot path that a request meets: all of it is compiled, or nothing (`setup.py`).
_HOT = "gateway.wire.front"
#: What this module registers itself.
_OWN = ("version",)

#: Module -> the commands and groups that it registers. It is imported when one of them is asked for: all that
#: there is takes most of a second more than `sekisho version`, or the signer, wants.
MODULES: Mapping[str, tuple[str, ...]] = {
    "setup": ("init", "doctor", "passphrase"),
    "running": ("serve", "signer", "reload", "demo"),
    "operators": ("operator", "proposal"),
    "jobs": ("job", "cert"),
    "people": ("org", "user"),
    "importing": ("org", "user"),
    "exporting": ("export",),
    "requests": ("application", "request"),
    "certificates": ("cert",),
    "searching": ("find",),
    "holding": ("cert", "user"),
    "authorities": ("ca",),
    "generations": ("ca",),
    "keys": ("ca",),
    "profiles": ("profile",),
    "keyholding": ("ca",),
    "ceremony": ("ceremony",),
    "practice": ("cps",),
    "credentials": ("eab",),
    "mails": ("mail", "notify"),
    "templates": ("template",),
    "postcards": ("postcard",),
    "clock": ("clock",),
    "nodes": ("node",),
    "databases": ("db",),
    "backups": ("backup", "drill", "restore"),
    "restoring": ("restore",),
    "auditing": ("audit",),
    "retention": ("retention",),
    "reporting": ("report",),
    "webhooks": ("webhook",),
    "campaigning": ("campaign", "ca"),
    "watching": ("session", "audit", "reference"),
}

_GROUPS: Mapping[str, str] = {
    "org": "Organisations (証券番号).",
    "user": "Users of an organisation.",
    "operator": "Who works here, and with which role.",
    "proposal": "What somebody has proposed and somebody else decides.",
    "job": "What was decided and takes long: imports, and how far they are.",
    "application": "Applications that wait for a decision (追加発行, 再発行).",
    "request": "Request IDs and what became of them.",
    "cert": "Certificates.",
    "ca": "The issuing CAs: the one that issues, those before it, and the next one.",
    "profile": "Certificate profiles: what certificates say, and for how long.",
    "ceremony": "The root, on a machine without network: made, used and practised by people with shares.",
    "eab": "Credentials for automated clients (external account bindings).",
    "campaign": "Campaigns of renewal: who is due, was told, has renewed.",
    "mail": "Mails and postcards.",
    "template": "The texts of letters.",
    "postcard": "Postcards: print batches, each card counted once.",
    "notify": "Renewal mails.",
    "webhook": "Other systems that are told of what happens, by signed requests.",
    "session": "Who is logged in.",
    "clock": "The machine's clock, and whether it is believed.",
    "restore": "A database that was put back from a copy.",
    "node": "Data directories that share a database on a server.",
    "db": "The database as a whole: whether it is sound, and how it gets to a server and back.",
    "audit": "Who did what, and when.",
    "retention": "How long what is personal is kept, and what is over.",
    "reference": "Numbers that people read to the help desk.",
    "passphrase": "The passphrase that seals the keys.",
}


def compiled() -> bool:
    """Whether the hot path runs compiled, or as pure Python."""
    spec = find_spec(_HOT)
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def version() -> str:
    """Of the product, as it is installed."""
    # Not above: what else it brings along (parsers of mail) costs each command more than most of its work.
    from importlib.metadata import version as version_of

    return version_of("sekisho")


def version_line() -> str:
    """The version, and which of the two runs."""
    return f"sekisho, version {version()} ({'compiled' if compiled() else 'pure Python'})"


def _say_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(version_line())
        context.exit()


def _load(name: str | None) -> None:
    """Imports what registers the command or group of this name; everything for None, or a name of none."""
    homes = [module for module, names in MODULES.items() if name in names]
    with loading():
        for module in homes or MODULES:
            import_module(f"gateway.cli.{module}")


class _Sekisho(Root):
    """Its commands are there when they are asked for."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _OWN:
            _load(name)
        return super().get_command(context, name)

    def list_commands(self, context: click.Context) -> list[str]:
        _load(None)
        return super().list_commands(context)


@click.group(
    "sekisho",
    cls=_Sekisho,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version, and whether it runs compiled, and exit.",
)
def root() -> None:
    """Client certificates from application to login: a CA, its enrollment and its gateway.

    Begin with: sekisho init, sekisho org add, sekisho user add, sekisho serve. Or look around first:
    sekisho demo.
    """


@root.command("version")
@JSON
def _version(as_json: bool) -> int:
    """Say which version this is, and whether it runs compiled or as pure Python."""
    value = {"sekisho": version(), "compiled": compiled(), "python": python_version()}
    found = answer({"version": value}, version_line())
    write_answer(found.value, found.show, as_json=as_json)
    return 0


def _group(name: str, words: str) -> click.Group:
    made = click.Group(name, help=words)
    root.add_command(made)
    return made


GROUPS: Mapping[str, click.Group] = {name: _group(name, words) for name, words in _GROUPS.items()}


def whole() -> click.Group:
    """``root`` with every command there is."""
    _load(None)
    return root
