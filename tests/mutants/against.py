"""The suite on a demo of the tree that this is imported from.

`seed FOLDER` makes a demo's data and what the suite spends there. `wait SEED` loads the libraries of both,
nothing of the product, and then copies itself: most of a run were imports. For each line of JSON,
`{"folder": ..., "cases": [...]}`, such a copy starts a demo on a copy of the seed and lets the suite look at
it, the whole one where no case is named. The answer is a line: case -> outcome, or a text why there is none.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from conformance.__main__ import main
from tests.clients.demo import environment, running, up
from tests.started import Forked, forked

#: Seconds until a run is given up. A quiet machine needs a tenth of it.
LIMIT = 180.0
PRODUCT = ("ca", "enroll", "gateway")
_MODULES = """
import json, sys, gateway.demo.sandbox
from gateway.cli.root import whole
whole()
print(json.dumps([*sys.modules]))
"""


def seed(folder: Path) -> None:
    # The product itself, for once: it is not what is looked at.
    from tests.conformance import ours

    folder.mkdir()
    with running(folder, keep=True) as demo:
        ours.credentials(demo, folder / "credentials", -70)
    (folder / "summary.json").unlink()
    settings = folder / "data" / "sekisho.toml"
    before = settings.read_text()
    settings.write_text(before.replace('person_key = "rsa-2048"', 'person_key = "ec-p256"'))
    assert settings.read_text() != before, "the demo makes its keys in another way now"


def wait(seeded: Path) -> None:
    load_libraries()
    print(json.dumps([]), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(outcomes(seeded, Path(asked["folder"]), asked["cases"])), flush=True)


def load_libraries() -> None:
    """What the product imports from elsewhere, by what it does import."""
    told = subprocess.run([sys.executable, "-c", _MODULES], capture_output=True, check=True)
    for name in json.loads(told.stdout):
        if name.partition(".")[0] not in PRODUCT:
            with suppress(Exception):  # a name that another one brings along
                importlib.import_module(name)
    early = [name for name in sys.modules if name.partition(".")[0] in PRODUCT]
    assert not early, f"no fault in these would be noticed: {early}"
    # Of that nothing is garbage, and no copy of this process looks through it.
    gc.freeze()


def outcomes(seeded: Path, folder: Path, cases: Sequence[str]) -> dict[str, str] | str:
    """What the suite finds, in a copy of this process."""
    report, said = folder / "report.json", folder / "said"
    with forked(_writing(said, lambda: _look(seeded, folder, report, cases))) as looking:
        if not _ended(looking):
            return f"no end after {LIMIT:g} s"
    if not report.exists():
        return f"the suite did not run: {said.read_text(errors='replace').strip()[-400:]}"
    return {str(one["id"]): str(one["outcome"]) for one in json.loads(report.read_text())["results"]}


def _ended(process: Forked) -> bool:
    end = time.monotonic() + LIMIT
    while process.lives():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _look(seeded: Path, folder: Path, report: Path, cases: Sequence[str]) -> int:
    shutil.copytree(seeded / "data", folder / "data", symlinks=True)
    given = json.loads((seeded / "credentials" / "credentials.json").read_text())
    summary, log, credentials = folder / "summary.json", folder / "log", folder / "credentials.json"
    with forked(_writing(log, lambda: _serve(folder / "data", summary))) as serving:
        demo = up(summary, log, serving.lives)
        given["renewal"]["directory"] = demo.renewal_directory  # the port is another one each time
        credentials.write_text(json.dumps(given))
        options = ["--directory", demo.directory, "--ca-file", str(demo.ca_file)]
        only = ["--only", ",".join(cases)] if cases else []
        files = ["--credentials", str(credentials), "--json", str(report)]
        return main([*options, *files, *demo.operated, "--level", "ours", "--timeout", "10", *only])


def _serve(data: Path, summary: Path) -> int:
    words = environment()
    os.environ.clear()
    os.environ.update(words)
    from gateway.cli import main as sekisho

    return int(sekisho(["demo", "--data", str(data), "--port", "0", "--summary", str(summary)]) or 0)


def _writing(file: Path, work: Callable[[], int]) -> Callable[[], int]:
    """The work with what it says in a file, and nobody who speaks to it."""

    def redirected() -> int:
        with open(os.devnull) as nothing, file.open("wb") as output:
            os.dup2(nothing.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        try:
            return work()
        except Exception:
            sys.excepthook(*sys.exc_info())
            return 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    return redirected


if __name__ == "__main__":
    command, place = sys.argv[1:]
    (seed if command == "seed" else wait)(Path(place))
