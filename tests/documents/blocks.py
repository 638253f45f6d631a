"""Commands as they stand in a document, and what it says that they answer.

A block ```` ```console ```` has lines that begin with ``$ ``, each a command (a backslash at its end goes on
in the next line), or with ``NAME$ `` where an operator of that name types it; below it are lines that its
answer has, in this order; ``…`` stands for anything within a line. An answer with a line that begins with
``error:``, or has the word ``bad``, belongs to a command that ends with 1. ``<!-- scenario: NAME -->`` begins
another scenario.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PARTS = re.compile(r"^<!-- scenario: ([a-z-]+) -->$|^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


_PROMPT = re.compile(r"^([a-z]*)\$ (.*)")


@dataclass(frozen=True)
class Typed:
    """A command and lines of its answer. ``who``: which operator types it; "": whoever has the machine."""

    command: str
    told: tuple[str, ...]
    who: str = ""

    @property
    def fails(self) -> bool:
        return any(line.startswith("error:") or " bad " in line for line in self.told)

    def check(self, output: str) -> None:
        """AssertionError unless the answer has all of these lines."""
        rest = [" ".join(line.split()) for line in output.splitlines()]
        for line in self.told:
            pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
            at = next((at for at, each in enumerate(rest) if re.fullmatch(pattern, each)), None)
            assert at is not None, f"$ {self.command}\n{output}\nhas no line (or not in this order): {line}"
            rest = rest[at + 1 :]


def scenarios(text: str) -> dict[str, list[Typed]]:
    """The commands of each scenario of a document; what stands before the first is of ``""``."""
    found: dict[str, list[Typed]] = {}
    name = ""
    for match in _PARTS.finditer(text):
        if match[1]:
            name = match[1]
            assert name not in found, f"{name} is there twice"
        else:
            found.setdefault(name, []).extend(_typed(match[2]))
    return found


def _typed(block: str) -> Iterator[Typed]:
    command, who, told = "", "", list[str]()
    for line in block.replace("\\\n", "").splitlines():
        if prompt := _PROMPT.match(line):
            if command:
                yield Typed(command, tuple(told), who)
            who, command, told = prompt[1], prompt[2].strip(), []
        else:
            assert command, f"{line!r} answers nothing"
            told.append(line)
    yield Typed(command, tuple(told), who)
