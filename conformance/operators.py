"""What nobody can do from outside: the server's operator, reached by a command of whoever runs the suite.

README.md says what the command is asked; nothing here knows what it does about it.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from conformance.credentials import Usage
from conformance.verdict import Blocked, Skipped

#: The status by which the command says that the server has no such thing.
NOT_OFFERED = 3
#: Seconds that one action may take.
PATIENCE = 120.0
_SHOWN = 200


@dataclass(frozen=True)
class Operator:
    """The command, in words; it is given an action and name=value, and may answer a JSON object."""

    words: tuple[str, ...]

    async def do(self, action: str, **values: object) -> Mapping[str, object]:
        """What the command answers. Skipped: there is no such action; Blocked: it failed, as it says."""
        given = [f"{name}={value}" for name, value in values.items()]
        process = await asyncio.create_subprocess_exec(
            *self.words,
            action,
            *given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                said, complained = await process.communicate()
        except TimeoutError:
            raise Blocked(f"operator: {action}", f"no end after {PATIENCE:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        if process.returncode == NOT_OFFERED:
            raise Skipped(f"the operator cannot do it: {action} {' '.join(given)}")
        if process.returncode != 0:
            why = (complained or said).decode(errors="replace").strip()[-_SHOWN:]
            raise Blocked(f"operator: {action}", f"status {process.returncode}: {why}")
        return _answer(action, said)


def _answer(action: str, said: bytes) -> Mapping[str, object]:
    if not said.strip():
        return {}
    with suppress(ValueError):
        value = json.loads(said)
        if isinstance(value, dict):
            return value
    raise Blocked(f"operator: {action}", f"the answer is no JSON object: {said[:_SHOWN]!r}")


def named(command: str) -> Operator:
    """The operator of a command line; raises Usage for one that cannot be run."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise Usage(f"--operator {command!r}: {error}; quote it as a shell would read it") from None
    if not words or shutil.which(words[0]) is None:
        raise Usage(f"--operator {command!r}: there is no such command; see the README for what it is asked")
    return Operator(words)
