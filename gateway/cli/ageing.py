"""What ``doctor`` says of what ends, fills up or has grown old, and of what was never set."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enroll import timekeeping
from enroll.jst import shown
from enroll.mail import store as mail_store
from gateway.running import rundir
from gateway.serving import backup, offsite
from gateway.serving.config import Config
from gateway.serving.deployment import Deployment, configured_hosts
from gateway.serving.figures import ROOM, places
from gateway.web.examined import Finding

_GIB = 2**30
# Of a disk: with less free it is looked at, however many gigabytes that are.
_FREE_PERCENT = 10
# Files that may still be made: each renewal, letter and log takes some.
_FILES = 1_000
# Of a database that somebody serves: it is written to at each tick, twice a minute.
_STILL_SECONDS = 600
_LETTER = re.compile(r"(\d+)-[a-z_0-9]+\.(?:eml|txt)")

#: Settings whose default is an example's: what people would read, or answer to.
_EXAMPLES = (
    ("operator", "name"),
    ("operator", "telephone"),
    ("mail", "from_"),
    ("protocol", "zone"),
)


def examples(deployment: Deployment) -> list[Finding]:
    """What is still the example's, on a gateway that others than this machine can reach."""
    default = Config()
    left = [
        (section, name)
        for section, name in _EXAMPLES
        if _value(deployment.config, section, name) == _value(default, section, name)
    ]
    names = [f"{section}.{name.removesuffix('_')}" for section, name in left]
    if not left:
        return [Finding("your own words", "ok", "name, telephone, sender and zone are yours")]
    if all(host.endswith("localhost") for host in configured_hosts(deployment.config)):
        return [Finding("your own words", "ok", f"the example's, for a trial: {', '.join(names)}")]
    told = ", ".join(
        f"{setting} is {_value(default, *each)!r}" for setting, each in zip(names, left, strict=True)
    )
    return [
        Finding(
            "your own words",
            "notice",
            f"still the example's: {told}",
            f"people read them, and write and call there: set {' and '.join(names)}, then sekisho reload",
        )
    ]


def disk(
    deployment: Deployment, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
) -> list[Finding]:
    """Room for the database to grow and to be copied, and for the log. ``usage``: bytes of the disk where a
    path is, in all, used and free; what a file system keeps for root is in the first only."""
    found = []
    for path in _places(deployment):
        (_, used, left), files = usage(path), os.statvfs(path)
        share = 100 * left // max(used + left, 1)
        said = f"{left / _GIB:.1f} GiB left for {path}, {share} % of its disk"
        # Some file systems make room for files as they are needed, and tell of none (btrfs).
        few = files.f_files > 0 and files.f_favail < _FILES
        if few:
            said += f", and {files.f_favail} files"
        if left < ROOM or (few and not files.f_favail):
            hint = "without room nobody logs in or renews; make some: df -h, df -i"
            found.append(Finding("disk", "bad", said, hint))
        elif few or left < max(_GIB, _size(deployment)):
            hint = "a copy of the database and a week of logs may take more: df -h, df -i"
            found.append(Finding("disk", "notice", said, hint))
        elif share < _FREE_PERCENT:
            typed = f"df -h, du -xhd2 {shlex.quote(str(_mounted_at(path)))} | sort -h"
            hint = f"see what fills it, or enlarge it, while there is time: {typed}"
            found.append(Finding("disk", "notice", said, hint))
        else:
            found.append(Finding("disk", "ok", said))
    return found


def database(deployment: Deployment, now: Callable[[], float] = time.time) -> list[Finding]:
    """How old it is by what stands in it: one that is served, and one that was put back from a copy."""
    judged, known = deployment.ra.database.read_now(
        lambda db: (timekeeping.judge(deployment.ra, db), mail_store.newest(db))
    )
    served_at = judged.known.tick.wall if judged.known.tick is not None else 0
    newest = max(served_at, judged.known.newest_at)
    last = f"last written {shown(newest)}" if newest else "never served"
    found = f"{_size(deployment) / 2**20:.1f} MiB, {last}"
    number = _last_letter(deployment)
    if number > known:
        hint = (
            "what was issued, revoked and recorded since that copy is not in it: look for a newer one before "
            "anybody renews; else take the letters away, revoke what was issued since, and go on"
        )
        older = f"older than the letters in {deployment.outbox.name}/: it knows {known} of {number}"
        return [Finding("database", "bad", f"{found}; {older}", hint)]
    still = now() - served_at if served_at else 0.0
    # A server in doubt of its clock writes no look at it, and says so itself.
    if still > _STILL_SECONDS and judged.doubt is None and rundir.serves(deployment.data) is not None:
        hint = "the server that runs writes elsewhere, or not at all: compare --data, and see its log"
        return [Finding("database", "bad", f"{found}: {still / 3_600:.1f} h ago", hint)]
    return [Finding("database", "ok", found)]


def backups(deployment: Deployment, now: Callable[[], float] = time.time) -> list[Finding]:
    """How old the last good one is."""
    made = backup.last(deployment.data)
    if made is None:
        hint = "nothing brings this gateway back: sekisho restore key FILE, then sekisho backup, by a timer"
        return [Finding("backup", "notice", "none was made", hint)]
    late = offsite.behind(deployment.data, deployment.config.journal, now)
    if late:
        return [Finding("backup", "bad", each, "see journal.copy and journal.syslog") for each in late]
    old = backup.too_old(deployment.data, deployment.config.backup.warn_hours, now())
    until = f"up to line {made.line} of the journal" if made.database else "without the server's database"
    found = f"{made.file}, of {shown(made.at)}, {until}"
    if old is None:
        return [Finding("backup", "ok", found)]
    return [Finding("backup", "bad", found, f"{(now() - made.at) / 3_600:.0f} hours old: sekisho backup")]


def _value(config: Config, section: str, name: str) -> Any:
    return getattr(getattr(config, section), name)


def _places(deployment: Deployment) -> list[Path]:
    """Where there has to be room, and the directory of the log if it lies on another disk."""
    log = deployment.data / deployment.config.log.file
    found = places(deployment)
    if (
        deployment.config.log.file
        and log.parent.is_dir()
        and log.parent.stat().st_dev != deployment.data.stat().st_dev
    ):
        found.append(log.parent)
    return found


def _mounted_at(path: Path) -> Path:
    """Where the disk begins that a path is on."""
    path = path.resolve()
    return next((each for each in (path, *path.parents) if each.is_mount()), path)


def _size(deployment: Deployment) -> int:
    return deployment.ra.database.size()


def _last_letter(deployment: Deployment) -> int:
    """The number of the newest letter that was carried out as a file; 0 if there is none."""
    if not deployment.outbox.is_dir():
        return 0
    numbers = (_LETTER.fullmatch(path.name) for path in deployment.outbox.iterdir())
    return max((int(found[1]) for found in numbers if found), default=0)
