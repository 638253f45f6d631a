"""What ``sekisho-client`` does, as functions of a folder and a moment: enroll, renew, revoke, bind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing, suppress
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
#: Seconds that one waits for another who works in the same folder.
PATIENCE = 60.0


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
        password = file.read_text("utf-8").splitlines()[0]
    except OSError as error:
        raise Misuse(
            f"{file} cannot be read: {error.strerror}. Write the password of cert.p12 on its first line."
        ) from None
    except (ValueError, IndexError):
        password = ""
    if not password:
        raise Misuse(f"{file} holds no password. Write it on the first line.")
    return password


def enroll(
    folder: Folder,
    wishes: Wishes,
    credential: Credential,
    now: datetime,
    *,
    draw: Draw = random.random,
    patience: float = PATIENCE,
) -> Facts:
    """Gets the first certificate, or another after this one was revoked.

    Run again after an interruption, it goes on where it stopped. ``patience``: seconds to wait for another
    process that works in the folder.
    """
    if wishes.p12_password_file is not None:
        read_p12_password(wishes.p12_password_file)  # before anything is issued
    _expect_room(folder)
    if not (wishes.names or credential.names or folder.state().get("revoked_at")):
        raise Misuse("no name to ask for. Add --credentials FILE or --name NAME")
    with folder.locked(patience):
        return _enroll(folder, wishes, credential, now, draw)


def _enroll(folder: Folder, wishes: Wishes, credential: Credential, now: datetime, draw: Draw) -> Facts:
    state = folder.state()
    _expect_room(folder)
    if state.get("revoked_at") and credential.kid is not None:
        # What was revoked may have been stolen, and the account's key lay beside it.
        folder.account_file.unlink(missing_ok=True)
    with closing(Acme(wishes.directory, own_account(folder), ca_file=wishes.ca_file)) as acme:
        acme.register(credential.kid, credential.mac_key)
        folder.remember(
            directory=wishes.directory,
            renewal_directory=None,
            ca_file=_absolute(wishes.ca_file),
            names=list(wishes.names or credential.names or state["names"]),
            key=wishes.kind,
            profile=wishes.profile,
            p12_password_file=_absolute(wishes.p12_password_file),
        )
        issued = _obtain(acme, folder)
        return _kept(acme, folder, issued, "enrolled", now, draw)


def renew(
    folder: Folder,
    now: datetime,
    *,
    force: bool = False,
    renewal_directory: str | None = None,
    draw: Draw = random.random,
    patience: float = PATIENCE,
) -> Facts:
    """Renews if it is time (RFC 9773) or the key is lost; else says when. Never what was revoked here.

    ``renewal_directory`` is for a client whose account is lost: the present certificate is the proof
    there (``client-cert-01``). It is remembered, since the new account is at home there.
    """
    _expect_certificate(folder)
    with folder.locked(patience):
        mended = folder.mend()
        if folder.state().get("revoked_at"):
            return _revoked(folder, now, force or renewal_directory is not None)
        fault = folder.fault()  # nothing that was kept mends it: another key and certificate do
        done = _renew(folder, now, force or bool(fault), renewal_directory, draw)
        return done | ({"mended": mended or fault} if mended or fault else {})


def _revoked(folder: Folder, now: datetime, insisted: bool) -> Facts:
    if insisted:
        raise Misuse(
            f"the certificate in {folder.path} was revoked, and what was revoked is not renewed. For another "
            f"one type: sekisho-client enroll --directory {folder.state()['directory']} --dir {folder.path} "
            "--credentials FILE"
        )
    return {"result": "revoked", **facts(folder, now)}


def _renew(folder: Folder, now: datetime, force: bool, renewal_directory: str | None, draw: Draw) -> Facts:
    state = folder.state()
    asked, known = renewal_directory is not None, state.get("renewal_directory")
    by_certificate = renewal_directory or known
    if not force and not asked and _looked(state, now):
        return {"result": "not yet", **facts(folder, now)}
    if state.get("p12_password_file"):
        read_p12_password(Path(state["p12_password_file"]))  # before anything is issued
    identity = _identity(folder) if by_certificate else None
    directory = by_certificate or state["directory"]
    with closing(_acme(folder, directory, identity)) as acme:
        due = now if force else _due(acme, folder, now, None if asked else draw)
        if due > now:
            return {"result": "not yet", **facts(folder, now)}
        if by_certificate:
            acme.register()
        else:
            acme.find_account()
        issued = _obtain(acme, folder, None if by_certificate else _replaced(folder))
        folder.remember(renewal_directory=by_certificate)
        return _kept(acme, folder, issued, "renewed", now, draw)


def _identity(folder: Folder) -> tuple[Path, Path]:
    """What is presented in TLS, once it is known to be one set."""
    if fault := folder.fault():
        raise Misuse(
            f"{fault}, and without it nothing proves the right to renew. Restore it from a backup, or type: "
            f"sekisho-client enroll --directory {folder.state()['directory']} --credentials FILE "
            "--dir ANOTHER"
        )
    return folder.fullchain_file, folder.key_file


def _replaced(folder: Folder) -> x509.Certificate | None:
    """The certificate that a renewal replaces; None where its file is lost."""
    try:
        return folder.certificate()
    except (OSError, ValueError):
        return None


def revoke(folder: Folder, now: datetime, reason: int | None = None, *, patience: float = PATIENCE) -> Facts:
    """Revokes the certificate: by the account, or by the certificate's own key where the account is lost."""
    _expect_certificate(folder)
    with folder.locked(patience):
        folder.mend()
        if _replaced(folder) is None:
            raise Misuse(f"{folder.fault()}, so nobody knows what to revoke. Ask your operator to do it.")
        return _revoke(folder, now, reason)


def _revoke(folder: Folder, now: datetime, reason: int | None) -> Facts:
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


def status(folder: Folder, now: datetime, *, patience: float = PATIENCE) -> Facts:
    """What is in the folder, mended where a whole set was kept. Asks nobody."""
    _expect_certificate(folder)
    mended = ""
    if folder.fault():  # or another process is at work: then it is one set when that one has ended
        with folder.locked(patience):
            mended = folder.mend()
            if fault := folder.fault():
                raise Misuse(
                    f"{fault}, and no set that was kept is whole. Restore it from a backup, or get another "
                    f"certificate; type: sekisho-client renew --dir {folder.path}"
                )
    gone = folder.certificate().not_valid_after_utc <= now
    return {
        "result": "revoked" if folder.state().get("revoked_at") else "expired" if gone else "enrolled",
        **facts(folder, now),
        **({"mended": mended} if mended else {}),
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
        "renew_at": state.get("renew_at") or _two_thirds(certificate).isoformat(),
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
    if ca_file and not Path(ca_file).exists():
        raise Misuse(
            f"{ca_file}, which was given as --ca-file, is gone. Put it back; your operator has it as ca.pem."
        )
    return Acme(directory, own_account(folder), ca_file=Path(ca_file) if ca_file else None, identity=identity)


def _expect_room(folder: Folder) -> None:
    """A folder has one certificate, until it is revoked."""
    if folder.enrolled() and not folder.state().get("revoked_at"):
        raise Misuse(
            f"{folder.path} holds a certificate already: renew it, or, for another one, name another folder. "
            f"Type: sekisho-client renew --dir {folder.path}"
        )


def _expect_certificate(folder: Folder) -> None:
    if not (folder.enrolled() or folder.sets()):
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
        if issued is not None and issued.certificate != _replaced(folder):
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


def _kept(acme: Acme, folder: Folder, issued: Issued, result: str, now: datetime, draw: Draw) -> Facts:
    key = load_pem_private_key(folder.pending_file.read_bytes(), None)
    password_file = folder.state().get("p12_password_file")
    password = read_p12_password(Path(password_file)) if password_file else None
    files = folder.store(key, issued.chain, password)  # type: ignore[arg-type]
    folder.remember(order=None, renew_at=None, look_again=None, revoked_at=None)
    folder.pending_file.unlink(missing_ok=True)
    # So that whoever looks knows when. The certificate is here: a server that does not say is no fault now.
    with suppress(AcmeError, OSError):
        _due(acme, folder, now, draw)
        # The next run asks all the same: the server may have another opinion by then.
        folder.remember(look_again=None)
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
    otherwise = _two_thirds(certificate)
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


def _two_thirds(certificate: x509.Certificate) -> datetime:
    """When to renew where the server suggests nothing: at two thirds of the lifetime."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_before_utc + life * 2 / 3


def _absolute(file: Path | None) -> str | None:
    return None if file is None else str(file.absolute())
