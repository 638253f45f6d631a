"""``sekisho-client``: enroll once, renew from cron or a timer, revoke, and see how things are."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from enroll.client.acme import Acme, AcmeError, Issued
from enroll.client.folder import Folder, write
from enroll.client.keys import KINDS, CertificateKey, account_key, new_key, to_pem, unb64

_FOLDER = click.option(
    "--dir",
    "path",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("sekisho-client"),
    envvar="SEKISHO_CLIENT_DIR",
    show_default=True,
    help="Where keys and certificates are kept.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_P12 = click.option(
    "--p12-password-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Also write cert.p12 under the password on this file's first line.",
)


@click.group()
@click.version_option(package_name="sekisho")
def main() -> None:
    """A client of the sekisho enrollment protocol (RFC 8555 for client certificates)."""


@main.command()
@click.option("--directory", required=True, help="The server's directory URL.")
@click.option("--ca-file", type=click.Path(path_type=Path, exists=True), help="PEM that verifies the server.")
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True),
    help="The file that the operator or the portal gave you.",
)
@click.option("--eab-kid", help="Key identifier (request ID), instead of --credentials.")
@click.option("--eab-hmac-key-file", type=click.Path(path_type=Path, exists=True), help="Its key, base64url.")
@click.option("--name", "names", multiple=True, help="Name to ask for; default: those of the credentials.")
@click.option("--key", "kind", type=click.Choice(KINDS), default="ec-p256", show_default=True)
@click.option("--profile", help="A profile out of the directory's list.")
@_P12
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
    """Get the first certificate. Run again after an interruption: nothing is issued twice."""

    def work() -> dict[str, Any]:
        folder = Folder(path)
        if folder.enrolled():
            raise click.UsageError(
                f"{path} holds a certificate already. Type: sekisho-client renew --dir {path}"
            )
        kid, mac, granted = _credential(credentials, eab_kid, eab_hmac_key_file)
        wanted = names or granted
        if not wanted:
            raise click.UsageError("no name to ask for. Add --name NAME")
        with closing(Acme(directory, _account(folder), ca_file=ca_file)) as acme:
            acme.register(kid, mac)
            key = _pending_key(folder, kind)
            issued = _obtain(acme, folder, wanted, key, profile=profile)
        files = folder.store(key, issued.chain, _password(p12_password_file))
        _forget_pending(folder)
        folder.remember(
            directory=directory,
            ca_file=str(ca_file.resolve()) if ca_file else None,
            names=list(wanted),
            key=kind,
            profile=profile,
            p12_password_file=str(p12_password_file.resolve()) if p12_password_file else None,
            look_again=None,
        )
        return {"result": "enrolled", "files": [str(file) for file in files], **_facts(folder)}

    _run(work, as_json)


@main.command()
@click.option("--force", is_flag=True, help="Renew now, whatever the server suggests.")
@click.option(
    "--renewal-directory",
    help="Prove the right by the present certificate (client-cert-01): for when the account is lost.",
)
@_FOLDER
@_JSON
def renew(force: bool, renewal_directory: str | None, path: Path, as_json: bool) -> None:
    """Renew if it is time (RFC 9773). Meant to be run daily, by cron or a systemd timer."""

    def work() -> dict[str, Any]:
        folder = _enrolled(path)
        state, certificate = folder.state(), folder.certificate()
        now = datetime.now(UTC)
        ca_file = Path(state["ca_file"]) if state.get("ca_file") else None
        identity = (folder.fullchain_file, folder.key_file) if renewal_directory else None
        directory = renewal_directory or state["directory"]
        if not force and not renewal_directory and _too_early(state, now):
            return {"result": "not yet", "look_again": state["look_again"], **_facts(folder)}
        with closing(Acme(directory, _account(folder), ca_file=ca_file, identity=identity)) as acme:
            if not force and not renewal_directory:
                due = _due(acme, folder, now)
                if due > now:
                    return {"result": "not yet", "renew_at": due.isoformat(), **_facts(folder)}
            if renewal_directory:
                acme.register()
            else:
                acme.find_account()
            key = _pending_key(folder, state.get("key", "ec-p256"))
            issued = _obtain(
                acme,
                folder,
                state["names"],
                key,
                replaces=None if renewal_directory else certificate,
                profile=state.get("profile"),
            )
        password_file = state.get("p12_password_file")
        files = folder.store(key, issued.chain, _password(Path(password_file) if password_file else None))
        _forget_pending(folder)
        folder.remember(renew_at=None, look_again=None)
        return {"result": "renewed", "files": [str(file) for file in files], **_facts(folder)}

    _run(work, as_json)


@main.command()
@click.option("--reason", type=int, help="CRLReason code, such as 1 for keyCompromise.")
@_FOLDER
@_JSON
def revoke(reason: int | None, path: Path, as_json: bool) -> None:
    """Revoke the certificate. Its files stay, marked as revoked."""

    def work() -> dict[str, Any]:
        folder = _enrolled(path)
        state = folder.state()
        ca_file = Path(state["ca_file"]) if state.get("ca_file") else None
        with closing(Acme(state["directory"], _account(folder), ca_file=ca_file)) as acme:
            acme.find_account()
            acme.revoke(folder.certificate(), reason)
        folder.remember(revoked_at=datetime.now(UTC).isoformat())
        return {"result": "revoked", **_facts(folder)}

    _run(work, as_json)


@main.command()
@_FOLDER
@_JSON
def status(path: Path, as_json: bool) -> None:
    """Show the certificate and when it will be renewed. Asks nobody."""
    _run(lambda: {"result": "enrolled", **_facts(_enrolled(path))}, as_json)


def _run(work: Callable[[], dict[str, Any]], as_json: bool) -> None:
    try:
        facts = work()
    except (AcmeError, OSError, ValueError) as error:
        hint = _hint(error)
        if as_json:
            click.echo(json.dumps({"result": "error", "error": str(error), "hint": hint}))
        else:
            click.echo(f"Error: {error}\n{hint}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for name, value in facts.items():
            click.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


_HINTS = {
    "externalAccountRequired": "Add --credentials FILE (ask your operator for one).",
    "unauthorized": "These credentials are used, ended or not yours: ask your operator for new ones.",
    "rejectedIdentifier": "Ask only for names that the credentials grant: leave --name out.",
    "accountDoesNotExist": "The account is lost: sekisho-client renew --renewal-directory URL.",
    "rateLimited": "Try again later.",
}


def _hint(error: Exception) -> str:
    if isinstance(error, AcmeError):
        return _HINTS.get(error.kind, "Tell your operator what the server said.")
    return "Check the directory URL and --ca-file."


def _credential(
    file: Path | None, kid: str | None, key_file: Path | None
) -> tuple[str | None, bytes, tuple[str, ...]]:
    if file is not None:
        document = json.loads(file.read_text("utf-8"))
        first = document["credentials"][0] if "credentials" in document else document
        names = tuple(i["value"] for i in first.get("identifiers", ()) if i.get("type") == "dns")
        return first["kid"], unb64(first["hmac_key"]), names
    if kid is not None and key_file is not None:
        return kid, unb64(key_file.read_text("ascii").strip()), ()
    return None, b"", ()


def _account(folder: Folder) -> Any:
    if not folder.account_file.exists():
        key = new_key("ec-p256")
        write(folder.account_file, to_pem(key))
    return account_key(folder.account_file.read_bytes())


def _pending_key(folder: Folder, kind: str) -> Any:
    """The key of the certificate being ordered; the same one again after an interruption."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    file = folder.path / "pending.pem"
    if not file.exists():
        write(file, to_pem(new_key(kind)))
    return load_pem_private_key(file.read_bytes(), None)


def _obtain(
    acme: Acme,
    folder: Folder,
    names: Sequence[str],
    key: CertificateKey,
    *,
    replaces: x509.Certificate | None = None,
    profile: str | None = None,
) -> Issued:
    """The certificate of the order that an interruption left, else of a new one."""
    begun = folder.state().get("order")
    if begun is not None:
        try:
            return acme.resume(begun, names, key)
        except AcmeError:
            # Expired, of a lost account, or gone: order anew.
            folder.remember(order=None)
    return acme.order(
        names, key, replaces=replaces, profile=profile, made=lambda url: folder.remember(order=url)
    )


def _forget_pending(folder: Folder) -> None:
    (folder.path / "pending.pem").unlink(missing_ok=True)
    folder.remember(order=None)


def _password(file: Path | None) -> str | None:
    return file.read_text("utf-8").splitlines()[0] if file is not None else None


def _enrolled(path: Path) -> Folder:
    folder = Folder(path)
    if not folder.enrolled():
        raise click.UsageError(f"{path} holds no certificate. Type: sekisho-client enroll --dir {path} ...")
    return folder


def _too_early(state: dict[str, Any], now: datetime) -> bool:
    again = state.get("look_again")
    return again is not None and datetime.fromisoformat(again) > now


def _due(acme: Acme, folder: Folder, now: datetime) -> datetime:
    """The moment to renew: one point in the server's window, drawn once (RFC 9773 section 4.2)."""
    certificate = folder.certificate()
    window = acme.renewal_window(certificate)
    if window is None:
        # The server suggests nothing: at two thirds of the lifetime.
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return certificate.not_valid_before_utc + life * 2 / 3
    drawn = folder.state().get("renew_at")
    due = datetime.fromisoformat(drawn) if drawn else None
    if due is None or not window.start <= due <= window.end:
        due = window.start + (window.end - window.start) * random.random()  # noqa: S311 - spreads load
    again = datetime.fromtimestamp(now.timestamp() + window.retry_after, UTC)
    folder.remember(renew_at=due.isoformat(), look_again=min(again, max(due, now)).isoformat())
    return due


def _facts(folder: Folder) -> dict[str, Any]:
    certificate, state = folder.certificate(), folder.state()
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "days_left": (certificate.not_valid_after_utc - datetime.now(UTC)).days,
        "renew_at": state.get("renew_at"),
        "revoked_at": state.get("revoked_at"),
    }
