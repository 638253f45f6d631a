"""The issuing CAs' keys in a directory of a user's own, the signer's: whoever serves can neither read nor
replace them.

The gateway's directory keeps certificates, settings and the register, which both users have (by its group);
the signer's has the keys, the vault, settings, what it knows of each CA, and its memory. What the gateway's
says of a CA is taken over once, here, as root; whatever is written there later changes nothing of what is
signed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ca import datadir
from ca.errors import ConfigError
from ca.files import Snapshot, name_of, sync_directory, write_private, write_public
from ca.keyplaces import stem_of

_STOP = "ca/stop.sealed"
#: What the signer's group, which is the gateway's, may do there: look at and write the register, whose files
#: both make, and read drafts of lists.
DIRECTORY, REGISTER = 0o770, 0o660


def home_of(data: Path) -> Path | None:
    """The signer's directory; None where the keys are in this one."""
    try:
        return Path((data / datadir.APART).read_text("utf-8").strip())
    except FileNotFoundError:
        return None
    except OSError as error:
        path = data / datadir.APART
        raise ConfigError(f"{path} cannot be read ({error.strerror}); see: ls -l {path}") from None


def part(data: Path, home: Path, uid: int, settings: str) -> list[str]:
    """Moves the keys from one directory to the other, and what came since; returns which. It goes on after a
    crash. ``settings``: the name of their file, which is handed over once: afterwards each has its own.
    ConfigError for what is in the way; root only, and `share` follows."""
    marker, files = datadir.read_marker(data), Snapshot()
    owner = data.stat()
    if uid in (owner.st_uid, 0):
        raise ConfigError(
            f"{name_of(uid)} is the user who serves, or root; make another one: "
            "useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin sekisho-signer"
        )
    for each in (home, home / "ca"):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        each.chmod(0o700)
    _same_root(data, home, files)
    known = _known(home)
    # All but that one is put away, whose key nobody wants any more.
    away = {row["id"]: {k: v for k, v in row.items() if k == datadir.DISCARDED} for row in marker["issuers"]}
    rows = {row["id"]: known.get(row["id"], row) | away[row["id"]] for row in marker["issuers"]}
    stems = [stem_of(each) for each in rows]
    for name in (datadir.VAULT, "ca/root.pem", *(f"{stem}.pem" for stem in stems)):
        # The vault each time: its passphrase may be another one.
        if name == datadir.VAULT or not (home / name).exists():
            write_private(home / name, files.read(data / name, "file to hand over"))
    # PINs are sealed by the same vault (`gateway.serving.tokens`).
    pins = [f"ca/{path.name}" for path in sorted((data / "ca").glob("pin-*.sealed"))]
    keys = ("ca/root.key", *(f"{stem}.key" for stem in stems))
    moved = [name for name in (*keys, *pins) if (data / name).exists()]
    for name in moved:
        write_private(home / name, files.read(data / name, "sealed key"))
    if not (home / settings).exists():
        write_private(home / settings, files.read(data / settings, "configuration"))
    if (data / _STOP).exists() and not (home / _STOP).exists():
        write_private(home / _STOP, files.read(data / _STOP, "emergency stop"))
    handed = {"format": marker["format"], "created_at": marker["created_at"], "requested": []}
    datadir.write_marker(home, {**handed, "issuers": list(rows.values())})
    _give(home, uid, owner.st_gid)
    write_public(data / datadir.APART, f"{home}\n".encode())
    for name in (*moved, _STOP):
        (data / name).unlink(missing_ok=True)
    sync_directory(data / "ca")
    return moved


def share(data: Path, register: str) -> None:
    """Lets the signer's group at the register, and gives whatever root made here to whom the rest belongs.
    ``register``: the name of the database."""
    owner = data.stat()
    for each, name, found in _files(data):
        if found.st_uid == 0:
            os.chown(each, owner.st_uid, owner.st_gid)
        if name.startswith(register) and stat.S_ISREG(found.st_mode):
            os.chmod(each, REGISTER)
    data.chmod(DIRECTORY)


def _same_root(data: Path, home: Path, files: Snapshot) -> None:
    there = home / "ca/root.pem"
    if there.exists() and there.read_bytes() != files.read(data / "ca/root.pem", "CA certificate"):
        raise ConfigError(f"{home} is another CA's; name a directory of this one's")


def _known(home: Path) -> dict[str, dict[str, object]]:
    """What the signer's directory says of each CA: that holds, whatever the gateway's says by now."""
    try:
        marker = datadir.read_marker(home)
    except ConfigError:
        return {}
    return {row["id"]: row for row in marker["issuers"]}


def _give(home: Path, uid: int, gid: int) -> None:
    for each, _, _ in _files(home):
        os.chown(each, uid, gid)
    os.chown(home, uid, gid)


def _files(folder: Path) -> Iterator[tuple[str, str, os.stat_result]]:
    """Every file and directory in a folder, by a path that holds it while it is looked at, its name and what
    it is. Whose folder it is may exchange them meanwhile, and this runs as root: so no link is followed, none
    is a link's target, and nothing is looked at that has another name elsewhere."""
    for _, directories, names, fd in os.fwalk(folder):
        for name in (*directories, *names):
            with suppress(FileNotFoundError):
                held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                try:
                    found = os.fstat(held)
                    alone = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
                    if alone and not stat.S_ISLNK(found.st_mode):
                        yield f"/proc/self/fd/{held}", name, found
                finally:
                    os.close(held)


def troubles(data: Path, home: Path, register: str) -> str | None:
    """Why the signer cannot work between the two, with what to type, for whoever runs as its user.
    ``register``: the name of the database; "" where that is on a server."""
    if (owner := home.stat().st_uid) != os.geteuid():
        who, we = name_of(owner), name_of(os.geteuid())
        return f"{home} belongs to {who}, and this runs as {we}; run it as its owner: runuser -u {who} -- ..."
    if not os.access(data / register, os.R_OK | os.W_OK) or not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return (
            f"{data / register} cannot be used by {name_of(os.geteuid())}; give it the group of {data}, as "
            f"sekisho-signer.service does, and, as root: sekisho ca part {home} --data {data}"
        )
    return None
