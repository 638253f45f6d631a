"""What ``sekisho-client`` does, as functions of a folder and a moment: enroll, renew, revoke, bind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from enroll.client.acme import Acme, AcmeError, Issued
from enroll.client.folder import Folder, write
from enroll.client.keys import AccountKey, account_key, new_key, to_pem, unb64
from enroll.identifiers import typed_key

Facts = dict[str, Any]
#: A number from 0 up to 1; spreads renewals over the server's window.
Draw = Callable[[], float]


class Misuse(Exception):
    """The person at the keyboard asked for what cannot be; the text ends with what to type."""


@dataclass(frozen=True)
class Credential:
    """What the operator or the portal gave: an external account binding and the names it grants."""

    kid: str | None = None
    mac_key: bytes = b""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wishes:
    """What ``enroll`` is to get, and from where; kept for the renewals."""

    directory: str
    names: tuple[str, ...] = ()
    ca_file: Path | None = None
    kind: str = "ec-p256"
    profile: str | None = None
    p12_password_file: Path | None = None


def read_credential(file: Path) -> Credential:
    """The first credential of the file that ``sekisho eab create --json`` or the portal made."""
    try:
        document = json.loads(file.read_text("utf-8"))
        first = document["credentials"][0] if "credentials" in document else document
        names = tuple(i["value"] for i in first.get("identifiers", ()) if i.get("type") == "dns")
        return Credential(str(first["kid"]), unb64(first["hmac_key"]), names)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Misuse(f"{file} holds no credentials. Ask your operator for the file.") from None


def read_mac_key(file: Path) -> bytes:
    """The key of an external account binding by itself, base64url."""
    try:
        return unb64(typed_key(file.read_text("utf-8")))
    except ValueError:
        raise Misuse(
            f"{file} holds no key in base64url. Write what your operator gave you into it."
        ) from None


def read_account_key(file: Path) -> AccountKey:
    """Another client's account key."""
    try:
        return account_key(file.read_bytes())
    except (ValueError, TypeError) as error:
        raise Misuse(f"{file} is no account key in PEM, without a password ({error}). Name one.") from None


def read_p12_password(file: Path) -> str:
    """The first line of a file."""
    try:
        return file.read_text("utf-8").splitlines()[0]
    except (OSError, ValueError, IndexError):
        raise Misuse(f"{file} holds no password. Write it on the first line.") from None


def enroll(folder: Folder, wishes: Wishes, credential: Credential, now: datetime) -> Facts:
    """Gets the first certificate. Run again after an interruption, it goes on where it stopped."""
    folder.recover()
    if folder.enrolled():
        raise Misuse(
            f"{folder.path} holds a certificate already. Type: sekisho-client renew --dir {folder.path}"
        )
    if wishes.p12_password_file is not None:
        read_p12_password(wishes.p12_password_file)  # before anything is issued
    names = wishes.names or credential.names
    if not names:
        raise Misuse("no name to ask for. Add --credentials FILE or --name NAME")
    with closing(Acme(wishes.directory, own_account(folder), ca_file=wishes.ca_file)) as acme:
        acme.register(credential.kid, credential.mac_key)
        folder.remember(
            directory=wishes.directory,
            ca_file=_absolute(wishes.ca_file),
            names=list(names),
            key=wishes.kind,
            profile=wishes.profile,
            p12_password_file=_absolute(wishes.p12_password_file),
        )
        issued = _obtain(acme, folder)
    return _kept(folder, issued, "enrolled", now)


def renew(
    folder: Folder,
    now: datetime,
    *,
    force: bool = False,
    renewal_directory: str | None = None,
    draw: Draw = random.random,
) -> Facts:
    """Renews if it is time (RFC 9773); else says when.

    ``renewal_directory`` is for a client whose account is lost: the present certificate is the proof
    there (``client-cert-01``). It is remembered, since the new account is at home there.
    """
    _expect_certificate(folder)
    state = folder.state()
    if state.get("revoked_at") and not force:
        return {"result": "revoked", **facts(folder, now)}
    asked, known = renewal_directory is not None, state.get("renewal_directory")
    by_certificate = renewal_directory or known
    if not force and not asked and _looked(state, now):
        return {"result": "not yet", **facts(folder, now)}
    identity = (folder.fullchain_file, folder.key_file) if by_certificate else None
    directory = by_certificate or state["directory"]
    with closing(_acme(folder, directory, identity)) as acme:
        due = now if force else _due(acme, folder, now, None if asked else draw)
        if due > now:
            return {"result": "not yet", **facts(folder, now)}
        if by_certificate:
            acme.register()
        else:
            acme.find_account()
        issued = _obtain(acme, folder, None if by_certificate else folder.certificate())
    folder.remember(renewal_directory=by_certificate)
    return _kept(folder, issued, "renewed", now)


def revoke(folder: Folder, now: datetime, reason: int | None = None) -> Facts:
    """Revokes the certificate: by the account, or by the certificate's own key where the account is lost."""
    _expect_certificate(folder)
    with closing(_acme(folder, folder.state()["directory"])) as acme:
        try:
            acme.find_account()
            acme.revoke(folder.certificate(), reason)
        except AcmeError as error:
            if error.kind not in ("accountDoesNotExist", "unauthorized"):
                raise
            acme.revoke(folder.certificate(), reason, key=folder.key())
    folder.remember(revoked_at=now.isoformat())
    return {"result": "revoked", **facts(folder, now)}


def bind(directory: str, ca_file: Path | None, credential: Credential, key: AccountKey) -> Facts:
    """Binds the account key of another client, one that knows nothing of external accounts."""
    with closing(Acme(directory, key, ca_file=ca_file)) as acme:
        account = acme.register(credential.kid, credential.mac_key)
        return {
            "result": "bound",
            "account": account,
            "thumbprint": acme.thumbprint,
            "names": list(credential.names),
        }


def status(folder: Folder, now: datetime) -> Facts:
    """What is in the folder. Asks nobody."""
    _expect_certificate(folder)
    state = folder.state()
    gone = folder.certificate().not_valid_after_utc <= now
    return {
        "result": "revoked" if state.get("revoked_at") else "expired" if gone else "enrolled",
        **facts(folder, now),
    }


def facts(folder: Folder, now: datetime) -> Facts:
    """The certificate in the folder, and when it is to be renewed."""
    certificate, state = folder.certificate(), folder.state()
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "days_left": (certificate.not_valid_after_utc - now).days,
        "renew_at": state.get("renew_at"),
        "look_again": state.get("look_again"),
        "revoked_at": state.get("revoked_at"),
    }


def own_account(folder: Folder) -> AccountKey:
    """The folder's account key, made the first time."""
    if not folder.account_file.exists():
        write(folder.account_file, to_pem(new_key("ec-p256")))
    return account_key(folder.account_file.read_bytes())


def _acme(folder: Folder, directory: str, identity: tuple[Path, Path] | None = None) -> Acme:
    ca_file = folder.state().get("ca_file")
    return Acme(directory, own_account(folder), ca_file=Path(ca_file) if ca_file else None, identity=identity)


def _expect_certificate(folder: Folder) -> None:
    folder.recover()
    if not folder.enrolled():
        raise Misuse(
            f"{folder.path} holds no certificate. Type: sekisho-client enroll --dir {folder.path} ..."
        )


def _obtain(acme: Acme, folder: Folder, replaces: x509.Certificate | None = None) -> Issued:
    """The certificate of the order that an interruption left, else of a new one."""
    state = folder.state()
    if not folder.pending_file.exists():
        write(folder.pending_file, to_pem(new_key(state.get("key", "ec-p256"))))
    key = load_pem_private_key(folder.pending_file.read_bytes(), None)
    begun = state.get("order")
    if begun is not None:
        try:
            issued = acme.resume(begun, state["names"], key)  # type: ignore[arg-type]
        except AcmeError as error:
            # Busy or slow is not gone: the order, and what was issued for it, waits for the next run.
            if error.status >= 500 or error.status == 429:
                raise
            # Expired, of a lost account or for another key: order anew.
            issued = None
        if issued is not None and not (folder.enrolled() and issued.certificate == folder.certificate()):
            return issued
        # The order of the certificate at hand: stored, but interrupted before it was forgotten.
        folder.remember(order=None)
        key = new_key(state.get("key", "ec-p256"))
        write(folder.pending_file, to_pem(key))

    def order(replaced: x509.Certificate | None) -> Issued:
        return acme.order(
            state["names"],
            key,  # type: ignore[arg-type]
            replaces=replaced,
            profile=state.get("profile"),
            made=lambda url: folder.remember(order=url),
        )

    try:
        return order(replaces)
    except AcmeError as error:
        # RFC 9773 section 5: a successor exists, which this folder never got (an old backup, say).
        if replaces is None or error.kind != "alreadyReplaced":
            raise
        return order(None)


def _kept(folder: Folder, issued: Issued, result: str, now: datetime) -> Facts:
    key = load_pem_private_key(folder.pending_file.read_bytes(), None)
    password_file = folder.state().get("p12_password_file")
    password = read_p12_password(Path(password_file)) if password_file else None
    files = folder.store(key, issued.chain, password)  # type: ignore[arg-type]
    folder.remember(order=None, renew_at=None, look_again=None, revoked_at=None)
    folder.pending_file.unlink(missing_ok=True)
    return {"result": result, "files": [str(file) for file in files], **facts(folder, now)}


def _looked(state: Facts, now: datetime) -> bool:
    """Whether the server was asked lately and said that there is time (its Retry-After)."""
    again = state.get("look_again")
    return again is not None and datetime.fromisoformat(again) > now


def _due(acme: Acme, folder: Folder, now: datetime, draw: Draw | None) -> datetime:
    """The moment to renew: one point in the server's window, drawn once (RFC 9773 section 4.2).

    Without ``draw`` somebody waits for the answer: as soon as the window opens.
    """
    certificate = folder.certificate()
    # Where the server suggests nothing: at two thirds of the lifetime.
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    otherwise = certificate.not_valid_before_utc + life * 2 / 3
    try:
        window = acme.renewal_window(certificate)
    except AcmeError:
        # RFC 9773 section 4.3.3: a client that gets no answer decides by itself, once it is time.
        if otherwise > now:
            raise
        window = None
    if window is None:
        return otherwise
    if draw is None:
        return window.start
    drawn = folder.state().get("renew_at")
    due = datetime.fromisoformat(drawn) if drawn else None
    if due is None or not window.start <= due <= window.end:
        due = window.start + (window.end - window.start) * draw()
    again = now.astimezone(UTC) + timedelta(seconds=window.retry_after)
    folder.remember(renew_at=due.isoformat(), look_again=min(again, max(due, now)).isoformat())
    return due


def _absolute(file: Path | None) -> str | None:
    return None if file is None else str(file.absolute())
