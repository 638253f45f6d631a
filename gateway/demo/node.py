"""One node of a demo, in a process of its own (``python -m gateway.demo.node DIR``), which `nodes` starts."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from gateway.demo.sandbox import PASSPHRASE_FILE, SPARE_KEYS, sites_of
from gateway.serving import descriptors
from gateway.serving.deployment import open_deployment
from gateway.serving.server import run, start_log, stop_signals


async def _serve(data: Path) -> None:
    passphrase = (data / PASSPHRASE_FILE).read_text().strip()
    with stop_signals() as stop:
        deployment = open_deployment(data, passphrase, spare_keys=SPARE_KEYS)
        start_log("warning")

        async def started(_: int) -> None:
            return

        try:
            await run(deployment, stop, started, extra=sites_of(deployment))
        finally:
            await deployment.close()


if __name__ == "__main__":
    descriptors.raise_limit()
    uvloop.run(_serve(Path(sys.argv[1])))
