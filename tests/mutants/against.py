"""The suite on a demo of the tree that this is imported from. Both are run in processes of their own.

`seed FOLDER` makes a demo's data and what the suite spends there; `run SEED FOLDER [CASE...]` starts a demo
on a copy of them, and prints case -> outcome as JSON, of the whole suite where none is named.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from conformance.__main__ import main
from tests.clients.demo import running
from tests.conformance import operating, ours


def seed(folder: Path) -> None:
    folder.mkdir()
    with running(folder, keep=True) as demo:
        ours.credentials(demo, folder / "credentials", -70)
    (folder / "summary.json").unlink()


def outcomes(seeded: Path, folder: Path, cases: Sequence[str]) -> dict[str, str]:
    shutil.copytree(seeded / "data", folder / "data", symlinks=True)
    given = json.loads((seeded / "credentials" / "credentials.json").read_text())
    report, credentials = folder / "report.json", folder / "credentials.json"
    with running(folder, may_fail=True) as demo:
        given["renewal"]["directory"] = demo.renewal_directory  # the port is another one each time
        credentials.write_text(json.dumps(given))
        options = ["--directory", demo.directory, "--ca-file", str(demo.ca_file)]
        only = ["--only", ",".join(cases)] if cases else []
        files = ["--credentials", str(credentials), "--json", str(report)]
        main([*options, *files, *operating.option(demo), "--timeout", "10", *only])
    return {one["id"]: one["outcome"] for one in json.loads(report.read_text())["results"]}


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    if command == "seed":
        seed(Path(place))
    else:
        print(json.dumps(outcomes(Path(place), Path(rest[0]), rest[1:])))
