"""``sekisho-client``: enroll once, renew from cron or a timer, revoke, and see how things are."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from enroll.client import work
from enroll.client.acme import AcmeError
from enroll.client.folder import Busy, Folder
from enroll.client.hints import hint
from enroll.client.keys import KINDS
from enroll.identifiers import typed

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.option(
    "--dir",
    "path",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("sekisho-client"),
    envvar="SEKISHO_CLIENT_DIR",
    show_default=True,
    help="Where keys and certificates are kept.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, errors too.")
_DIRECTORY = click.option("--directory", required=True, help="The server's directory URL.")
_CA_FILE = click.option("--ca-file", type=_FILE, help="PEM that verifies the server; default: the system's.")
_CREDENTIALS = click.option(
    "--credentials", type=_FILE, help="The file that the operator or the portal gave you."
)
_KID = click.option("--eab-kid", help="Key identifier (request ID), instead of --credentials.")
_MAC_KEY = click.option("--eab-hmac-key-file", type=_FILE, help="Its key, base64url.")


@click.group()
@click.version_option(package_name="sekisho")
def main() -> None:
    """A client of the sekisho enrollment protocol (RFC 8555 for client certificates)."""


@main.command()
@_DIRECTORY
@_CA_FILE
@_CREDENTIALS
@_KID
@_MAC_KEY
@click.option("--name", "names", multiple=True, help="Name to ask for; default: those of the credentials.")
@click.option("--key", "kind", type=click.Choice(KINDS), default="ec-p256", show_default=True)
@click.option("--profile", help="A profile out of the directory's list.")
@click.option(
    "--p12-password-file",
    type=_FILE,
    help="Also write cert.p12 under the password on this file's first line.",
)
@_FOLDER
@_JSON
def enroll(
    directory: str,
    ca_file: Path | None,
    credentials: Path | None,
    eab_kid: str | None,
    eab_hmac_key_file: Path | None,
    names: tuple[str, ...],
    kind: str,
    profile: str | None,
    p12_password_file: Path | None,
    path: Path,
    as_json: bool,
) -> None:
    """Get the first certificate, or another after a revocation.

    The folder of --dir has one certificate: where there is one that was not revoked, renew it, or name
    another folder for another one. Run again after an interruption: nothing is issued twice.
    """
    wishes = work.Wishes(directory, tuple(dict.fromkeys(names)), ca_file, kind, profile, p12_password_file)
    _run(
        lambda now: work.enroll(
            Folder(path), wishes, _credential(credentials, eab_kid, eab_hmac_key_file), now
        ),
        as_json,
    )


@main.command()
@click.option("--force", is_flag=True, help="Renew now, whatever the server suggests; not what was revoked.")
@click.option(
    "--renewal-directory",
    help="Prove the right by the present certificate (client-cert-01): for when the account is lost.",
)
@click.option("--exec", "command", help="Run this command after a renewal, and only then.")
@_FOLDER
@_JSON
def renew(force: bool, renewal_directory: str | None, command: str | None, path: Path, as_json: bool) -> None:
    """Renew if it is time (RFC 9773). Meant to be run daily, by cron or a systemd timer."""

    def renewed(now: datetime) -> work.Facts:
        facts = work.renew(Folder(path), now, force=force, renewal_directory=renewal_directory)
        if command and facts["result"] == "renewed":
            # The operator's own words, split as a shell would and run without one.
            subprocess.run(shlex.split(command), check=True)  # noqa: S603
        return facts

    _run(renewed, as_json)


@main.command()
@click.option("--reason", type=int, help="CRLReason code, such as 1 for keyCompromise.")
@_FOLDER
@_JSON
def revoke(reason: int | None, path: Path, as_json: bool) -> None:
    """Revoke the certificate. Its files stay, and are not renewed any more, --force or not.

    Another certificate takes their place by enroll, with new credentials.
    """
    _run(lambda now: work.revoke(Folder(path), now, reason), as_json)


@main.command()
@_FOLDER
@_JSON
def status(path: Path, as_json: bool) -> None:
    """Show the certificate and when it will be renewed. Asks nobody.

    A key that is missing, or not the certificate's, is put right if the right one was kept.
    """
    _run(lambda now: work.status(Folder(path), now), as_json)


@main.command()
@_DIRECTORY
@_CA_FILE
@_CREDENTIALS
@_KID
@_MAC_KEY
@click.option("--account-key", required=True, type=_FILE, help="PEM of the other client's account key.")
@_JSON
def bind(
    directory: str,
    ca_file: Path | None,
    credentials: Path | None,
    eab_kid: str | None,
    eab_hmac_key_file: Path | None,
    account_key: Path,
    as_json: bool,
) -> None:
    """Bind the account key of a client that knows no external account binding, such as acme-tiny."""
    _run(
        lambda _: work.bind(
            directory,
            ca_file,
            _credential(credentials, eab_kid, eab_hmac_key_file),
            work.read_account_key(account_key),
        ),
        as_json,
    )


def _credential(file: Path | None, kid: str | None, key_file: Path | None) -> work.Credential:
    if file is not None:
        return work.read_credential(file)
    if kid is not None and key_file is not None:
        return work.Credential(typed(kid), work.read_mac_key(key_file))
    if kid is not None or key_file is not None:
        raise work.Misuse("--eab-kid and --eab-hmac-key-file go together. Add the other one.")
    return work.Credential()


def _run(done: Callable[[datetime], work.Facts], as_json: bool) -> None:
    try:
        facts = done(datetime.now(UTC))
    except work.Misuse as misuse:
        _failed(str(misuse), "", 2, as_json)
    except subprocess.CalledProcessError as error:
        _failed(f"renewed, but the command of --exec failed: {error}", "Run it by hand.", 1, as_json)
    except Busy as busy:
        _failed(str(busy), "", 1, as_json)
    except (AcmeError, OSError, ValueError) as error:
        _failed(str(error), hint(error), 1, as_json)
    else:
        if as_json:
            click.echo(json.dumps(facts))
            return
        for name, value in facts.items():
            if value is not None:
                click.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def _failed(words: str, hint: str, code: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"result": "error", "error": words, "hint": hint}))
    else:
        click.echo(f"Error: {words}" + (f"\n{hint}" if hint else ""), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
