"""The two ways in which the product runs, side by side: its files as they are, and its wheel, compiled.

The wheel is built into ``build/bench``, once for each state of the files (40 seconds). Whoever starts a
process gives it `environment`; the tests come from the source tree either way.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PURE, COMPILED = "pure", "compiled"
BUILDS = (PURE, COMPILED)

_PACKAGES = ("ca", "enroll", "gateway", "conformance")
_KEPT = "SEKISHO_BENCH_WHEEL"
_BESIDE = ("setup.py", "pyproject.toml", "README.md", "LICENSE")


def builds() -> tuple[str, ...]:
    """Those that can run here: without a C compiler the pure one, and a line says so."""
    try:
        _compiled()
    except subprocess.CalledProcessError as error:
        print(f"compiled: left out, the wheel cannot be built: {error.stderr.strip()[-500:]}")
        return (PURE,)
    return BUILDS


def environment(build: str) -> dict[str, str]:
    """The variables of a process that runs this build, and the tests beside it."""
    folders = [str(ROOT)] if build == PURE else [str(_compiled()), str(ROOT)]
    # Safe: else the source tree, where the process starts, would come first.
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(folders)}


def keep() -> None:
    """All that this process starts measures the wheel of now, though somebody may edit files meanwhile."""
    if COMPILED in builds():
        os.environ[_KEPT] = str(_compiled())


@functools.cache
def _compiled() -> Path:
    """The unpacked wheel of the files as they are when it is first asked for, or of those that were kept."""
    if _KEPT in os.environ:
        return Path(os.environ[_KEPT])
    files = sorted(path for name in _PACKAGES for path in (ROOT / name).rglob("*.py"))
    digest = hashlib.sha256(sys.version.encode())
    for path in (*files, *(ROOT / name for name in _BESIDE[:2])):
        digest.update(path.read_bytes())
    place = ROOT / "build" / "bench"
    found = place / digest.hexdigest()[:16]
    if not found.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _build(found)
    return found


def _build(into: Path) -> None:
    print("building the wheel ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "source")
        source.mkdir()
        for each in _PACKAGES:
            shutil.copytree(ROOT / each, source / each)
        for each in _BESIDE:
            shutil.copy(ROOT / each, source)
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            name,
            ".",
        ]
        given = {**os.environ, "SEKISHO_COMPILED": "yes"}
        subprocess.run(command, cwd=source, env=given, check=True, capture_output=True, text=True)
        (wheel,) = Path(name).glob("*.whl")
        zipfile.ZipFile(wheel).extractall(into)
