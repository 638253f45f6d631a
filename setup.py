"""Compiles the hot path when a wheel is built: the modules in pyproject.toml's ``tool.sekisho.compiled``.

Where mypyc, the dependencies' types or a C compiler are missing the wheel is pure Python, and one line says
so (pip shows it with -v; ``sekisho version`` tells later). Editable installs are always pure.
SEKISHO_COMPILED: auto compiles where it can (the default), yes fails where it cannot, no does not try;
quick, for tests of the same code, is yes without the C compiler's optimisation, which takes longest.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

WISH = os.environ.get("SEKISHO_COMPILED", "auto")
# Python asks for warnings; in C that nobody wrote gcc looks for them longer than it compiles.
UNWARNED = [] if sys.platform == "win32" else ["-Wno-all", "-w"]


def modules():
    """The files to compile, as mypyc wants them: relative to here."""
    listed = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["sekisho"]["compiled"]
    return [each.replace(".", "/") + ".py" for each in listed]


def give_up(why):
    """Goes on without; ends the build instead if compiled modules were demanded."""
    if WISH in ("yes", "quick"):
        sys.exit(f"error: SEKISHO_COMPILED={WISH}, but nothing can be compiled: {why}")
    print(f"sekisho: not compiled, installed as pure Python: {why}", file=sys.stderr, flush=True)
    return []


def missing_for_c():
    """Why nothing in C can be built for this interpreter, or an empty string: by building the least of it."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "least.c")
        source.write_text("#include <Python.h>\nint least(void) { return PY_VERSION_HEX != 0; }\n")
        include = [f"-I{sysconfig.get_path(each)}" for each in ("include", "platinclude")]
        command = [*compiler, "-shared", "-fPIC", *include, str(source), "-o", str(Path(folder, "least.so"))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return f"no C compiler ({compiler[0]})"
    return "" if done.returncode == 0 else f"{compiler[0]} finds no headers of Python, or cannot link"


def extensions():
    """mypyc's extensions, or none."""
    if WISH not in ("auto", "yes", "quick", "no"):
        sys.exit(f"error: SEKISHO_COMPILED is yes, no or auto, not {WISH!r}")
    if "bdist_wheel" not in sys.argv:
        return []
    if WISH == "no":
        return give_up("SEKISHO_COMPILED=no")
    if why := missing_for_c():
        return give_up(why)
    try:
        from mypyc.build import mypycify
    except ImportError:
        return give_up("mypy is not installed")
    try:
        level = "0" if WISH == "quick" else "2"
        found = mypycify(modules(), target_dir="build/mypyc", opt_level=level, debug_level="0")
    except SystemExit:  # mypy has said what; with dependencies of another version, say
        return give_up("mypyc refused the modules, see above")
    for each in found:
        each.extra_compile_args = [*each.extra_compile_args, *UNWARNED]
    return found


class AllOrNone(build_ext):
    """One module's shim without the library that they share would not import: if one fails, none is left."""

    def run(self):
        try:
            super().run()
        except Exception as error:
            give_up(f"the C compiler failed: {error}")
            for each in self.extensions:
                Path(self.get_ext_fullpath(each.name)).unlink(missing_ok=True)
            self.extensions = []


setup(ext_modules=extensions(), cmdclass={"build_ext": AllOrNone})
