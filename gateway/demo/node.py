"""One node of a demo, in a process of its own (``python -m gateway.demo.node DIR``), which `nodes` starts."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from pathlib import Path

import uvloop

from ca.errors import ConfigError
from ca.storage import StorageTrouble, in_log
from gateway.demo.sandbox import PASSPHRASE_FILE, SPARE_KEYS, sites_of
from gateway.running import rundir
from gateway.serving import descriptors
from gateway.serving.current import Slot
from gateway.serving.deployment import open_deployment
from gateway.serving.server import run, start_log, stop_signals


async def _serve(data: Path, directory: Path) -> None:
    passphrase = (data / PASSPHRASE_FILE).read_text().strip()
    with stop_signals() as stop:
        deployment = open_deployment(data, passphrase, spare_keys=SPARE_KEYS)
        start_log("warning")

        async def started(_: int) -> None:
            return

        try:
            slot = Slot(directory)
            await run(deployment, stop, started, slot=slot, extra=sites_of(deployment))
        finally:
            await deployment.close()


def main(data: Path) -> None:
    """Serves a node's directory until SIGTERM; ends with words for what is the operator's to mend."""
    # As of `serve`: who asks for a reload too early does not end us.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    descriptors.raise_limit()
    directory = rundir.run_directory(data)
    try:
        with closing(rundir.claim(directory)):
            uvloop.run(_serve(data, directory))
    except (ConfigError, StorageTrouble) as error:
        sys.exit(f"error: {in_log(error)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
