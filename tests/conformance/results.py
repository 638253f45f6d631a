"""Runs the suite on our server, pebble, Caddy, serles, acme2certifier: docs/conformance.md is what it finds.

`make conformance-page`, or `python -m tests.conformance.results PAGE`. A server that is not installed is left
out, with a word on stderr.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from conformance.__main__ import main as suite
from conformance.page import main as page
from tests.clients.demo import running
from tests.conformance import acme2certifier, caddy, ours, pebble, serles, unshared


def _ours(folder: Path, out: Path) -> None:
    with running(folder) as demo:
        credentials = ours.credentials(demo, folder / "credentials", -70)
        where = ["--directory", demo.directory, "--ca-file", str(demo.ca_file), *demo.operated]
        where += ["--level", "ours"]
        suite([*where, "--credentials", str(credentials), "--json", str(out)])


def _pebble(folder: Path, out: Path) -> None:
    with pebble.running(folder, validates=True) as server:
        known = ["--known", str(unshared.KNOWN / "pebble.toml"), "--level", "advice"]
        suite([*server.options, *known, "--json", str(out)])


def _unshared(name: str) -> Callable[[Path, Path], None]:
    def run(folder: Path, out: Path) -> None:
        unshared.run(name, folder, "advice", 900)
        (folder / "report.json").rename(out)

    return run


#: Name on the page -> how it is run; whether it can be.
SERVERS: dict[str, tuple[Callable[[Path, Path], None], Callable[[], bool]]] = {
    "sekisho": (_ours, lambda: True),
    "pebble": (_pebble, lambda: pebble.BINARY is not None),
    "Caddy": (_unshared("caddy"), caddy.usable),
    "serles": (_unshared("serles"), serles.usable),
    "acme2certifier": (_unshared("acme2certifier"), acme2certifier.usable),
}


def main(target: Path) -> int:
    given: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        for name, (run, usable) in SERVERS.items():
            if not usable():
                print(f"{name} is left out: it is not installed, or may not be run here", file=sys.stderr)
                continue
            folder = Path(place) / name
            folder.mkdir()
            run(folder, folder / "results.json")
            given.append(f"{name}={folder / 'results.json'}")
        return page(["--out", str(target), *given])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
