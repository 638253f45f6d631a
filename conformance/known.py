"""Expected failures of a server, each with its reason, so that a run shows what is new."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.credentials import Usage
from conformance.run import Result


@dataclass(frozen=True)
class Known:
    """reason says why the case fails there; sometimes: it depends on timing, so a pass is expected too."""

    reason: str
    sometimes: bool = False


_LOOKS_LIKE = 'entries look like [[failure]] ids = ["x.y"] reason = "why"'


@dataclass(frozen=True)
class Verdict:
    """How the results compare with what was known."""

    expected: tuple[Result, ...]
    unexpected: tuple[Result, ...]
    surprises: tuple[Result, ...]  # passed although listed as failing

    @property
    def good(self) -> bool:
        return not self.unexpected and not self.surprises


def load(path: str) -> dict[str, Known]:
    """Reads `[[failure]] ids = [...] reason = "..." sometimes = false`; raises Usage for any other shape.

    An id may be a glob, for a fault that is the same at every endpoint: `envelope.*.media-type`.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        listed = document.get("failure", [])
        if not isinstance(listed, list):
            raise ValueError("failure is no array of tables")
        entries = [_entry(number, one) for number, one in enumerate(listed, 1)]
        return {id: known for ids, known in entries for id in ids}
    except OSError as error:
        raise Usage(f"--known {path}: {error.strerror}; name a file that can be read") from error
    except tomllib.TOMLDecodeError as error:
        raise Usage(f"--known {path}: not TOML ({error}); {_LOOKS_LIKE}") from error
    except ValueError as error:
        raise Usage(f"--known {path}: {error}; {_LOOKS_LIKE}") from error


def _entry(number: int, entry: object) -> tuple[list[str], Known]:
    """The ids of an entry and what is known of them; ValueError names what is wrong with it."""
    where = f"entry {number}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no table")
    ids, reason = entry.get("ids"), entry.get("reason")
    if not isinstance(ids, list) or not ids:
        raise ValueError(f'{where} lacks "ids", an array')
    if not isinstance(reason, str) or not reason:
        raise ValueError(f'{where} ({ids[0]}) lacks "reason"')
    return [str(id) for id in ids], Known(reason, entry.get("sometimes") is True)


def entry_of(id: str, known: Mapping[str, Known]) -> Known | None:
    """What is known of a case: by its id, else by a glob that fits it."""
    if id in known:
        return known[id]
    return next((known[glob] for glob in known if "*" in glob and fnmatchcase(id, glob)), None)


def judge(results: Iterable[Result], known: Mapping[str, Known]) -> Verdict:
    """Splits what did not pass into expected and not, and finds listed cases that pass.

    Of a glob one case that fails is enough: it says that a fault is there, not where it is everywhere.
    """
    results = list(results)
    bad = [one for one in results if one.outcome in {"FAIL", "BLOCKED", "CRASH", "HANG"}]
    failing = {one.case.id for one in bad}
    good = [one for one in results if one.outcome == "PASS"]
    return Verdict(
        tuple(one for one in bad if entry_of(one.case.id, known) is not None),
        tuple(one for one in bad if entry_of(one.case.id, known) is None),
        tuple(one for one in good if _surprises(one.case.id, known, failing)),
    )


def _surprises(id: str, known: Mapping[str, Known], failing: Collection[str]) -> bool:
    if id in known:
        return not known[id].sometimes
    globs = [glob for glob in known if "*" in glob and fnmatchcase(id, glob) and not known[glob].sometimes]
    return any(not any(fnmatchcase(other, glob) for other in failing) for glob in globs)
