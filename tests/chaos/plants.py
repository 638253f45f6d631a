"""What is broken in the product on purpose, in a copy of it, so that a real run shows who notices."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.mutants.faults import ROOT, load

#: As the lists of `make mutants`; who has to notice are checks.
PLANTED = Path(__file__).with_name("plants.toml")
_PRODUCT = ("ca", "enroll", "gateway")


def plant(name: str, folder: Path) -> str:
    """From now on whatever is started by us runs on a copy with this fault in it. Returns what that lets
    happen."""
    fault = next(each for each in load([PLANTED]) if each.id == name)
    for each in _PRODUCT:
        shutil.copytree(ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / fault.file
    file.write_text(fault.planted(file.read_text("utf-8")), "utf-8")
    os.environ["PYTHONPATH"] = str(folder)
    return fault.lets
