"""The list of planted faults: each a small change to the product that some test or case has to notice.

A table file is TOML, one entry a fault:

    [[fault]]
    id = "nonce-not-spent"
    kind = "suite"                # who has to notice: cases of conformance/, or "tests": nodes of pytest,
                                  # or "chaos": checks of tests/chaos, whose list is beside them
    file = "enroll/acme/jws.py"   # from the root of the repository
    old = "spend(_nonce(envelope.protected))"   # stands there exactly once
    new = "_nonce(envelope.protected)"
    lets = "a request that was overheard be sent again"
    killed_by = ["nonce.used"]    # or ["tests/enroll/acme/test_acme_jws.py::test_nonce"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["suite", "tests", "chaos"]
ROOT = Path(__file__).resolve().parents[2]
TABLES = Path(__file__).parent
_TEXTS = ("id", "kind", "file", "old", "new", "lets")


class Unusable(Exception):
    """A fault that cannot be planted as the table says, or a run that says nothing; ends with what to do."""


@dataclass(frozen=True)
class Fault:
    """One change of one file, and who fails when it is there: every one of `killed_by`."""

    id: str
    kind: Kind
    file: str
    old: str
    new: str
    lets: str
    killed_by: tuple[str, ...]

    def planted(self, source: str) -> str:
        """The source with the fault in it; Unusable unless the old text stands there exactly once."""
        if self.old == self.new:
            raise Unusable(f"{self.id}: old and new are the same; write what the fault is")
        if (found := source.count(self.old)) != 1:
            raise Unusable(
                f"{self.id}: its old text stands {found} times in {self.file}; bring the table up to date"
            )
        return source.replace(self.old, self.new)


def load(tables: Iterable[Path] | None = None) -> list[Fault]:
    """The faults of these files, or of all beside this one; Unusable for one that is not whole."""
    found: list[Fault] = []
    for table in sorted(TABLES.glob("*.toml")) if tables is None else tables:
        found += [_read(entry, table.name) for entry in tomllib.loads(table.read_text("utf-8"))["fault"]]
    names = [one.id for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Unusable(f"two faults are called {', '.join(twice)}; call one otherwise")
    return found


def _read(entry: dict[str, object], table: str) -> Fault:
    texts = {name: entry.get(name) for name in _TEXTS}
    killers = entry.get("killed_by")
    whole = set(entry) == {*_TEXTS, "killed_by"} and all(isinstance(one, str) for one in texts.values())
    if not whole or not isinstance(killers, list) or not killers or texts["kind"] not in get_args(Kind):
        raise Unusable(f"{table}: {entry.get('id')} needs {', '.join(_TEXTS)} and killed_by, and no more")
    return Fault(**texts, killed_by=tuple(map(str, killers)))  # type: ignore[arg-type]
