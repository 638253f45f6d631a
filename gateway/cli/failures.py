"""Errors in the words of the command line: what went wrong, and what to type next."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from ca.errors import ConfigError, Unacceptable
from ca.storage import StorageClosed, StorageTrouble, in_log
from enroll.jst import shown
from enroll.refusals import CONFIRM, Refusal
from gateway.cli.output import OutputLost


@dataclass(frozen=True)
class Failure:
    """An error as it is shown. ``code`` is a stable word for scripts."""

    code: str
    message: str
    hint: str = ""
    field: str = ""
    exit_code: int = 1

    def as_json(self) -> dict[str, str]:
        given = {"code": self.code, "message": self.message, "field": self.field, "hint": self.hint}
        return {name: value for name, value in given.items() if value or name in ("code", "message")}


#: What a field must look like; told with "invalid_input".
SHAPES: Mapping[str, str] = {
    "policy_number": "3 to 20 characters of 0-9, A-Z and '-'",
    "name": "1 to 100 printable characters",
    "mail": "a mail address such as taro@example.jp",
    "reading": "at most 100 printable characters",
    "user_id": "4 to 12 characters of A-Z and 0-9, or nothing to have one generated",
    "role": "member or admin",
    "notice_by": "mail or postcard",
    "language": "ja or en",
    "postal_code": "seven digits, such as 100-0013",
    "prefecture": "a prefecture with its 都, 道, 府 or 県, such as 東京都",
    "city": "1 to 60 printable characters, on one line",
    "street": "1 to 60 printable characters, on one line",
    "building": "at most 60 printable characters, on one line",
    "addressee": "at most 60 printable characters, on one line",
    "lineages": "a whole number above 0",
    "issue_password_by": "mail, postcard or admin",
    "reason": "one of the reasons that sekisho request reissue --help lists",
}

#: (code, field) -> what to type. A field of "" is for every field of that code.
_HINTS: Mapping[tuple[str, str], str] = {
    ("not_found", "policy_number"): "List them: sekisho org list; add one: sekisho org add NUMBER NAME",
    ("not_found", "user_id"): "List them: sekisho user list",
    ("not_found", "application"): "List them: sekisho application list",
    ("not_found", "request_id"): "List them: sekisho request list",
    ("not_found", "serial"): "List them: sekisho cert list",
    ("not_found", "issuer"): "List them: sekisho ca list",
    ("not_found", "kid"): "List them: sekisho eab list USER_ID",
    ("not_found", "mail"): "List them: sekisho mail list",
    ("not_found", "session"): "List them: sekisho session list",
    ("not_found", "operator"): "List them: sekisho operator list --all",
    ("not_found", "proposal"): "List them: sekisho proposal list --all",
    ("not_found", "break_glass"): "See them: sekisho doctor",
    ("not_found", "job"): "List them: sekisho job list --all",
    ("not_found", "postcards"): "List them: sekisho postcard list --all",
    (
        "invalid_input",
        "postcards",
    ): "Nothing is taken yet. Mend it (sekisho user change USER_ID --name NAME, or "
    "another postcards.font), or leave it out: sekisho postcard batch --without USER_ID",
    ("conflict", "job"): "See it: sekisho job list --all",
    ("conflict", "operator"): "List them: sekisho operator list --all",
    ("conflict", "proposal"): "See it: sekisho proposal list --all",
    ("not_found", "reference"): "Ask for the number again; it is kept for 90 days",
    ("conflict", "policy_number"): "List them: sekisho org list; give another 証券番号",
    ("conflict", "user_id"): "See it: sekisho user show USER_ID; a new user takes another --user-id, or none",
    ("conflict", "name"): "See it: sekisho user show USER_ID; if one person is to have a second user ID, "
    "name it: sekisho user add --user-id",
    ("conflict", "alike"): "See who it is: sekisho user show USER_ID; if it is meant (a shared mailbox, two "
    "people of one name), type the same with --alike",
    ("conflict", "application"): "See them: sekisho application list --all",
    ("conflict", "serial"): "See it: sekisho cert show SERIAL",
    ("conflict", "revoke_old"): "Leave out --revoke-old never; for a further PC write --reason pc_change",
    ("limit_reached", "lineages"): "Allow more: sekisho org change NUMBER --lineages N",
    ("clock_in_doubt", ""): f"{CONFIRM[0].upper()}{CONFIRM[1:]}",
    ("user_disabled", ""): "See which: sekisho user show USER_ID, sekisho org list; then sekisho ... enable",
}

_NOT_YOURS = (
    "See whose it is: ls -l {file}; all of the data directory belongs to the user who serves: "
    "chown -R USER DIR"
)
_NO_ROOM = "Make room, then run the same command again: df -h {folder}"
#: What is wrong with a file -> what to type.
_OF_FILES: Mapping[int, str] = {
    errno.EACCES: _NOT_YOURS,
    errno.EPERM: _NOT_YOURS,
    errno.EROFS: "See how it is mounted: findmnt -T {folder}; for systemd name it in ReadWritePaths=",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR), "See what is there: ls -ld {folder} {file}"),
}

#: What the machine has no more of, whoever asked for it -> what that is, and what to type.
_OF_THE_MACHINE: Mapping[int, tuple[str, str]] = {
    errno.EAGAIN: ("it has no room for another process or thread", "ulimit -u; systemctl show -p TasksMax"),
    errno.ENOMEM: ("it has no memory left", "free -h"),
    errno.EMFILE: ("this process may open no more files", "ulimit -n"),
    errno.ENFILE: ("it may open no more files", "sysctl fs.file-nr"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ("the disk is full", "df -h")),
    errno.EIO: ("the disk cannot be read or written", "dmesg"),
}

_UNSIGNED = "Nothing is lost; see what is wrong: sekisho doctor; then run the same command again"
_AGAIN = "Run the same command again"
_OSERR = os.EX_OSERR
_LOST = "What the command did stays done: look at it with sekisho audit show, when there is room (df -h)"

_NAMES: Mapping[str, str] = {
    "policy_number": "the organisation (証券番号)",
    "user_id": "the user ID",
    "application": "the application",
    "request_id": "the request ID",
    "serial": "the certificate",
    "issuer": "the issuing CA",
    "kid": "the credential",
    "mail": "the mail",
    "session": "the session",
    "reference": "the reference number",
    "operator": "the operator",
    "proposal": "the proposal",
    "job": "the job",
    "postcards": "the print batch",
    "break_glass": "the emergency",
}


def failure_of(error: Exception) -> Failure:
    """The failure that an exception means. What nobody foresaw is ours and shows its type only."""
    if isinstance(error, ConfigError):
        return Failure("config", str(error))
    if isinstance(error, Refusal):
        return _of_refusal(error)
    if isinstance(error, Unacceptable):
        return Failure(error.code, str(error))
    if isinstance(error, OutputLost):
        message = f"the answer could not be written to standard output: {error}"
        return Failure("output", message, error.undone or _LOST, exit_code=os.EX_IOERR)
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx is not None else "sekisho"
        # click lists choices one to a line, after tabs.
        message = " ".join(error.format_message().split())
        return Failure("usage", message, f"Try: {where} --help", exit_code=2)
    if isinstance(error, click.Abort):
        return Failure("aborted", "stopped; what was done before stays done", exit_code=130)
    if isinstance(error, click.ClickException):
        return Failure("usage", error.format_message(), exit_code=error.exit_code)
    if isinstance(error, StorageTrouble):
        return Failure("config", f"the database {error.trouble}")
    # Not above: it brings along all that signs, and whoever gets that error has it.
    from ca.signing import NoSignature

    if isinstance(error, NoSignature):
        return Failure("config", f"there is no signature now: {error}", _UNSIGNED)
    if isinstance(error, OSError) and error.filename and (hint := _OF_FILES.get(error.errno or 0)):
        return Failure("config", f"{error.filename}: {error.strerror}", _on(hint, str(error.filename)))
    if (machine := _OF_THE_MACHINE.get(_errno_of(error))) is not None:
        what, typed = machine
        name = getattr(error, "filename", None)
        said = f"{name}: {what}" if name else f"the machine: {what}"
        return Failure("config", said, f"{_AGAIN}, after a look: {typed}", exit_code=_OSERR)
    if isinstance(error, StorageClosed):
        return Failure("config", "the gateway ended while it ran the command", _AGAIN)
    # The message may hold anything, so it is not shown: its kind, and where. Once may be all that it happens.
    return Failure(
        "internal",
        f"a fault of sekisho itself ({in_log(error)})",
        "Run the same command again, with SEKISHO_TRACEBACK=1 in the environment to see how it came to that; "
        "a fault that comes back is one to report",
        exit_code=70,
    )


def _errno_of(error: Exception) -> int:
    """What the machine refused. Python says that of threads in words alone, and of memory by the kind."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return errno.EAGAIN
    return (error.errno or 0) if isinstance(error, OSError) else 0


def _on(hint: str, file: str) -> str:
    # The file itself may not be there: it is its directory that has no room.
    return hint.format(file=shlex.quote(file), folder=shlex.quote(str(Path(file).parent)))


def _of_refusal(refusal: Refusal) -> Failure:
    hint = _HINTS.get((refusal.code, refusal.field)) or _HINTS.get((refusal.code, ""), "")
    return Failure(refusal.code, _sentence(refusal), hint, refusal.field)


def _sentence(refusal: Refusal) -> str:
    name = _NAMES.get(refusal.field, refusal.field)
    if refusal.code == "invalid_input" and refusal.field in SHAPES:
        why = f" ({refusal.detail})" if refusal.detail else ""
        return f"{refusal.field} is not right: write {SHAPES[refusal.field]}{why}"
    if refusal.code == "not_found" and name and not refusal.detail:
        return f"{name} is not known here"
    if refusal.code == "conflict" and name and not refusal.detail:
        return f"{name} exists already"
    words = str(refusal)
    if refusal.at:
        words += f" ({shown(refusal.at)})"
    return words
