"""The command ``sekisho`` and its groups, in the order in which an operator needs them."""

from __future__ import annotations

from collections.abc import Mapping

import click

from gateway.cli.frame import Root

_GROUPS: Mapping[str, str] = {
    "org": "Organisations (証券番号).",
    "user": "Users of an organisation.",
    "application": "Applications that wait for a decision (追加発行, 再発行).",
    "request": "Request IDs and what became of them.",
    "cert": "Certificates.",
    "ca": "The issuing CAs: the one that issues, and those before it.",
    "eab": "Credentials for automated clients (external account bindings).",
    "mail": "Mails and postcards.",
    "notify": "Renewal mails.",
    "session": "Who is logged in.",
    "clock": "The machine's clock, and whether it is believed.",
    "audit": "Who did what, and when.",
    "reference": "Numbers that people read to the help desk.",
    "passphrase": "The passphrase that seals the keys.",
}


@click.group(
    "sekisho", cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="sekisho", prog_name="sekisho")
def root() -> None:
    """Client certificates from application to login: a CA, its enrollment and its gateway.

    Begin with: sekisho init, sekisho org add, sekisho user add, sekisho serve. Or look around first:
    sekisho demo.
    """


def _group(name: str, words: str) -> click.Group:
    made = click.Group(name, help=words)
    root.add_command(made)
    return made


GROUPS: Mapping[str, click.Group] = {name: _group(name, words) for name, words in _GROUPS.items()}
