"""``sekisho reload``: asks the serving process, and waits until each of its workers has answered."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from ca import datadir
from ca.errors import ConfigError
from gateway.running import rundir

_LOOK = 0.1


def ask_for_reload(data: Path, timeout: float) -> int:
    """How many workers serve what the directory says now. ConfigError if one of them refused it.

    Needs the rights of the user who serves, but no passphrase.
    """
    datadir.read_marker(data)
    directory = data / rundir.RUN
    serving = rundir.serving_pid(directory)
    asked = time.monotonic()
    try:
        os.kill(serving, signal.SIGHUP)
    except PermissionError:
        raise ConfigError(f"process {serving} is another user's; run this as the user who serves") from None
    except ProcessLookupError:  # killed, and its workers finish what they were at
        raise ConfigError(f"process {serving} is dead and its workers end; start it: sekisho serve") from None
    while True:
        reports = rundir.reports(directory)
        # An answer is whatever was read since: by a worker that was told, or by one that was born meanwhile.
        late = [state for state in reports if state["read_at"] < asked]
        refused = sorted({state["error"] for state in reports if state["error"]})
        if refused and not late:
            raise ConfigError(f"nothing has changed: {'; '.join(refused)}")
        if reports and not late and len(reports) == reports[0]["workers"]:
            return len(reports)
        if time.monotonic() - asked > timeout:
            raise ConfigError(
                f"{_missing(serving, reports, late)} did not answer within {timeout:g} seconds; "
                "look into the log, then again: sekisho reload"
            )
        time.sleep(_LOOK)


def _missing(serving: int, reports: list[dict[str, Any]], late: list[dict[str, Any]]) -> str:
    """Who has not answered: those that have not read anew, and those that there ought to be."""
    if not reports:
        return f"process {serving}"
    absent = set(range(reports[0]["workers"])) - {state["worker"] for state in reports}
    named = [f"worker {state['worker']} (process {state['pid']})" for state in late]
    return ", ".join([*named, *(f"worker {number} (which does not run)" for number in sorted(absent))])
