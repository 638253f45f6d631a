"""Results written down as they come, a JSON line each, so that a run that was cut short can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from conformance.case import OUTCOMES, Case
from conformance.credentials import Usage
from conformance.run import Result


class Journal:
    """The file, open. The first line names the server; every other one is a result."""

    def __init__(self, path: str, directory: str, *, resume: bool) -> None:
        """Usage if it cannot be written, or is of another server."""
        self._path = Path(path)
        try:
            text = self._path.read_text("utf-8") if resume and self._path.exists() else ""
            # A run that was killed may have left half a line, which the next one must not go on.
            whole = text[: text.rfind("\n") + 1]
            self._earlier = [json.loads(line) for line in whole.splitlines()]
            self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115
            self._file.write(whole)
            self._file.flush()
        except (OSError, ValueError) as error:
            raise Usage(f"--results {path}: {error}; name a file that can be written") from error
        if self._earlier and self._earlier[0].get("directory") != directory:
            self._file.close()
            raise Usage(f"--results {path}: it is of {self._earlier[0].get('directory')}; leave out --resume")
        if not self._earlier:
            self._write({"directory": directory})

    def earlier(self, cases: Sequence[Case]) -> dict[str, Result]:
        """What these cases came to before, by id. What was blocked is tried again."""
        known = {case.id: case for case in cases}
        return {
            one["id"]: Result(
                known[one["id"]], one["outcome"], one["detail"], one["seconds"], one["prerequisite"]
            )
            for one in self._earlier[1:]
            if one["id"] in known and one["outcome"] in OUTCOMES and one["outcome"] != "BLOCKED"
        }

    def add(self, result: Result) -> None:
        """Appends one result; it is with the system when this returns."""
        self._write(
            {
                "id": result.case.id,
                "outcome": result.outcome,
                "detail": result.detail,
                "seconds": round(result.seconds, 3),
                "prerequisite": result.prerequisite,
            }
        )

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value) + "\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
