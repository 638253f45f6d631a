"""Servers that the suite meets in a network namespace of its own, where ports 53 and 80 are free."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import conformance

KNOWN = Path(conformance.__file__).parent / "known"


def run(name: str, folder: Path, level: str, timeout: float) -> dict[str, Any]:
    """One run of `tests.conformance.NAME` with the list of what is known of it: exit status and report."""
    out = folder / "report.json"
    options = ["--level", level, "--known", str(KNOWN / f"{name}.toml"), "--json", str(out)]
    command = ["unshare", "-rn", sys.executable, "-m", f"tests.conformance.{name}", str(folder), *options]
    done = subprocess.run(command, cwd=KNOWN.parents[1], capture_output=True, text=True, timeout=timeout)
    assert out.exists(), done.stderr
    return {"status": done.returncode, **json.loads(out.read_text())}
