"""What to do about an error, by its cause: one table for this machine, one for what the server said."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable

from enroll.client.acme import AcmeError
from enroll.client.folder import KeyMismatch

#: What the server said: problem types (RFC 8555 section 6.7 and ours) and the next step.
_SAID = {
    "accountDoesNotExist": "The account is lost: sekisho-client renew --renewal-directory URL.",
    "alreadyReplaced": "It was renewed elsewhere: ask your operator for a reissue.",
    "alreadyRevoked": "Nothing is left to do.",
    "badCSR": "Renew with another key: enroll into another folder with --key ec-p256.",
    "badNonce": "Something between here and the server repeats requests: type the same again.",
    "badPublicKey": "This key is refused: use another account key.",
    "badRevocationReason": "Leave --reason out, or give one of those.",
    "compound": "Ask only for names that the credentials grant: leave --name out.",
    "externalAccountRequired": "Add --credentials FILE (ask your operator for one).",
    "incorrectResponse": "Is the certificate in --dir the newest one? Else ask your operator for a reissue.",
    "invalidProfile": "Leave --profile out.",
    "notRetrievable": "Ask your operator for a reissue.",
    "orderNotReady": "Type the same again; if it stays, tell your operator what the server said.",
    "rateLimited": "Try again later.",
    "rejectedIdentifier": "Ask only for names that the credentials grant: leave --name out.",
    "serverInternal": "The server failed: type the same again later. Nothing is issued twice.",
    "unauthorized": "These credentials are used, ended or not yours: ask your operator for new ones.",
    "unsupportedIdentifier": "Ask only for names that the credentials grant: leave --name out.",
    "userActionRequired": "Do what the server says first, then type the same again.",
}
_DISK = "The disk is full, or your share of it: make room, then type the same again. What is stored is whole."
_RIGHTS = "Run it as the owner of the folder of --dir, or change who may read and write there."
_CLOCK = "Check this machine's date and time (type: date); if they are right, tell your operator."
_TRUST = "This machine does not know the server's CA: add --ca-file FILE (your operator has it as ca.pem)."
_NAME = "The certificate is another server's: check the host in the directory URL."
_KEY = "A key does not belong to its certificate. Type: sekisho-client status"
_DAMAGED = "A file in the folder of --dir is damaged: restore it from a backup, or enroll into another."
_URL = "Check the directory URL; else tell your operator what the server said."

# X509_V_ERR_* of OpenSSL. Not yet valid and expired: more often this machine's clock than the server's fault.
_VERIFY = {9: _CLOCK, 10: _CLOCK, 18: _TRUST, 19: _TRUST, 20: _TRUST, 21: _TRUST, 62: _NAME, 64: _NAME}
_ERRNO = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: _DISK,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ECONNREFUSED: "Nobody listens there: check host and port of the directory URL; is the server up?",
    errno.ENETUNREACH: "This machine has no way there: check its network.",
    errno.EHOSTUNREACH: "This machine has no way there: check its network.",
    errno.EMFILE: "Too many files are open here: end other programs, or raise ulimit -n.",
}

#: The first cause that an error is of, and what to do. An OSError's subclasses stand before their kin.
_CAUSES: tuple[tuple[type[Exception], Callable[..., str]], ...] = (
    (AcmeError, lambda error: _said(error)),
    (KeyMismatch, lambda _: _KEY),
    (
        ssl.SSLCertVerificationError,
        lambda error: _VERIFY.get(error.verify_code, "Check --ca-file; else tell your operator."),
    ),
    (ssl.SSLError, lambda error: _tls(error)),
    (
        socket.gaierror,
        lambda _: "The name is not found: check the host in the directory URL, and this machine's DNS.",
    ),
    (
        TimeoutError,
        lambda _: "No answer came: check firewall and proxy between here and the server, then try again.",
    ),
    (OSError, lambda error: _ERRNO.get(error.errno, _of_a_file(error))),
    (ValueError, lambda _: _DAMAGED),
)


def hint(error: Exception) -> str:
    """One next step."""
    return next(words(error) for kind, words in _CAUSES if isinstance(error, kind))


def _said(error: AcmeError) -> str:
    if error.kind == "unauthorized" and "outside the renewal window" in error.detail:
        return "Wait for that day, or ask your operator for a reissue."
    if error.kind == "rateLimited" and error.retry_after is not None:
        return f"Try again in {error.retry_after} seconds."
    if not error.kind:
        return "The server is busy or down: try again later." if error.status >= 500 else _URL
    # The types that are not of RFC 8555 have a prefix of their own.
    return _SAID.get(error.kind.rpartition(":")[2], "Tell your operator what the server said.")


def _tls(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return _KEY
    if error.reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "BAD_BASE64_DECODE", "NO_START_LINE"):
        return "The file of --ca-file holds no certificate in PEM: ask your operator for ca.pem."
    return "No TLS is spoken there: check host and port of the directory URL, and proxies in between."


def _of_a_file(error: OSError) -> str:
    if error.filename is not None:
        return _DAMAGED
    return "The connection broke: try again; else check the directory URL and what lies between."
