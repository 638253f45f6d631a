"""``sekisho reload``: asks the serving process, and waits until each of its workers has answered."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ca import datadir
from ca.errors import ConfigError
from gateway.running import places

_LOOK = 0.1


def ask_for_reload(data: Path, timeout: float) -> int:
    """How many workers serve what the directory says now. ConfigError if one of them refused it.

    Needs the rights of the user who serves, but no passphrase.
    """
    datadir.read_marker(data)
    directory = places.run_directory(data)
    serving = places.serving_pid(directory)
    before = {state["pid"]: state["reloads"] for state in places.reports(directory)}
    try:
        os.kill(serving, signal.SIGHUP)
    except PermissionError:
        raise ConfigError(f"process {serving} is another user's; run this as the user who serves") from None
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        answered = [s for s in places.reports(directory) if s["reloads"] > before.get(s["pid"], -1)]
        # A worker that was born meanwhile has read the new settings.
        waited_for = [pid for pid in before if places.lives(pid)]
        if answered and {state["pid"] for state in answered} >= set(waited_for):
            refused = sorted({state["error"] for state in answered if state["error"]})
            if refused:
                raise ConfigError(f"nothing has changed: {'; '.join(refused)}")
            return len(answered)
        time.sleep(_LOOK)
    raise ConfigError(f"process {serving} did not answer within {timeout:g} seconds; look into its log")
