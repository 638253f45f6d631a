"""Results written down as they come, a JSON line each, so that a run that was cut short can go on.

What was said to the server stands between them, as far as the audits look at it: they judge every answer of
the run, those from before it was cut as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from conformance.case import OUTCOMES, Case
from conformance.credentials import Usage
from conformance.run import Result
from conformance.wire import Answer, Call
from conformance.world import Exchange

#: What the lines of the file are; another one cannot be gone on with.
FORM = "results and exchanges 1"
_AUDITS = "audit."


class Journal:
    """The file. The first line names the server; every other one is a result or an exchange."""

    def __init__(self, path: str, directory: str, *, resume: bool) -> None:
        """Reads what is there; Usage if it cannot be, or is of another server. Nothing is written yet."""
        self._path, self._directory = Path(path), directory
        self._whole = ""
        lines: list[dict[str, Any]] = []
        try:
            text = self._path.read_text("utf-8") if resume and self._path.exists() else ""
            # A run that was killed may have left half a line, which the next one must not go on.
            self._whole = text[: text.rfind("\n") + 1]
            lines = [json.loads(line) for line in self._whole.splitlines()]
        except (OSError, ValueError) as error:
            raise Usage(f"--results {path}: {error}; name a file that --results has written") from error
        if lines and lines[0].get("directory") != directory:
            raise Usage(f"--results {path}: it is of {lines[0].get('directory')}; leave out --resume")
        if lines and lines[0].get("form") != FORM:
            raise Usage(f"--results {path}: another version of the suite wrote it; leave out --resume")
        self._earlier = [one for one in lines if "id" in one]
        self.said = [_exchange(one["said"]) for one in lines if "said" in one]

    def earlier(self, cases: Sequence[Case]) -> dict[str, Result]:
        """What these cases came to before, by id. What was blocked is tried again, and so are the audits:
        what they judge has grown."""
        known = {case.id: case for case in cases if not case.id.startswith(_AUDITS)}
        return {
            one["id"]: Result(
                known[one["id"]], one["outcome"], one["detail"], one["seconds"], one["prerequisite"]
            )
            for one in self._earlier
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
        self._file.flush()

    def say(self, exchanges: Iterable[Exchange]) -> None:
        """Appends what was said; it is with the system once the next result is."""
        for one in exchanges:
            self._write({"said": _written(one)})

    def say_alone(self, exchanges: Iterable[Exchange]) -> None:
        """Writes down what was said before a run that came to nothing. Another run's results stay as they are
        unless this one was to go on with them."""
        if not self._whole and self._path.exists() and self._path.stat().st_size:
            return
        with self:
            self.say(exchanges)

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value) + "\n")

    def __enter__(self) -> Journal:
        try:
            self._file = open(self._path, "w", encoding="utf-8")
        except OSError as error:
            raise Usage(
                f"--results {self._path}: {error.strerror}; name a file that can be written"
            ) from error
        self._file.write(self._whole)
        if not self._whole:
            self._write({"directory": self._directory, "form": FORM})
        self._file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _written(one: Exchange) -> list[object]:
    """As a JSON array; of the request what the audits look at, which is not its body."""
    call, answer = one.call, one.answer
    asked = [call.method, call.url, dict(call.headers), one.signed]
    return [*asked, answer.status, list(answer.headers), answer.body.decode("latin-1")]


def _exchange(value: Sequence[Any]) -> Exchange:
    method, url, asked, signed, status, headers, body = value
    answer = Answer(status, tuple((name, text) for name, text in headers), body.encode("latin-1"))
    return Exchange(Call(method, url, asked), answer, signed)
