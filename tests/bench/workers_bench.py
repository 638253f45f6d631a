"""What a second worker adds: pages a second over fresh and over kept-alive connections.

Run as ``python -m tests.bench.workers_bench [--seconds S]``. The load shares the machine with the
servers, so that with two cores the second worker's gain is bounded by what the load leaves.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ca import datadir
from gateway.serving.config import FILE_NAME, Config, toml_of
from tests.bench.tls_bench import cpu
from tests.cli.processes import get_plain, process, until
from tests.datadirs import CHEAP, PASSPHRASE
from tests.ports import free_port

# wrk looks names up by the resolver, which knows none below localhost.
_HOST = "localhost"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("wrk is missing: apt-get install wrk")
        return
    print("workers  kept req/s  CPU us/req  fresh conn/s  CPU ms/conn  handshakes by worker")
    with tempfile.TemporaryDirectory() as place:
        for workers in (1, 2):
            _round(Path(place) / str(workers), workers, options.seconds)


def _round(data: Path, workers: int, seconds: int) -> None:
    datadir.create(data, PASSPHRASE, int(time.time()) - 86_400, cost=CHEAP)
    port, inside = free_port(), free_port()
    default = Config()
    config = replace(
        default,
        listen=replace(default.listen, port=port),
        sites=replace(default.sites, help=("help.localhost", _HOST)),
        internal=replace(default.internal, port=inside),
        log=replace(default.log, access=False),
    )
    (data / FILE_NAME).write_text(toml_of(config))
    log = data.with_suffix(".log")
    words = ("serve", "--data", str(data), "--workers", str(workers))
    with process(*words, log=log, SEKISHO_PASSPHRASE=PASSPHRASE) as running:
        until(lambda: _ready(inside), log, running)
        time.sleep(8)  # keys are made in advance, by other processes
        rows = [_wrk(running.pid, port, seconds, *more) for more in ((), ("-H", "Connection: close"))]
        time.sleep(1.5)  # until the other workers have reported
        done = re.findall(r'sekisho_handshakes_total\{outcome="done",worker="(\d)"\} (\d+)', _metrics(inside))
        kept, fresh = rows
        figures = f"{kept[0]:>12.0f}{kept[1] * 1e6:>12.0f}{fresh[0]:>14.0f}{fresh[1] * 1e3:>13.2f}"
        print(f"{workers:>7}{figures}  {dict(sorted(done))}")
        running.terminate()
        running.wait(30)


def _wrk(pid: int, port: int, seconds: int, *more: str) -> tuple[float, float]:
    """Requests per second, and CPU seconds of all workers per request."""
    before = cpu(pid)
    url = f"https://{_HOST}:{port}/favicon.ico"
    command = ["wrk", "-t1", "-c32", f"-d{seconds}", *more, url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in(?:.|\n)*Requests/sec:\s+([\d.]+)", out)
    assert found is not None, out
    assert "Non-2xx" not in out, out
    return float(found[2]), (cpu(pid) - before) / int(found[1])


def _metrics(port: int) -> str:
    return get_plain(port, "/metrics")[1]


def _ready(port: int) -> bool:
    try:
        return get_plain(port, "/readyz")[0] == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
