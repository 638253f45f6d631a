"""The operator of a demo in this very process: to start a command takes longer than what it does."""

from __future__ import annotations

import json
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any

from gateway.cli import main
from tests.clients.demo import Demo


class Here(Demo):
    """Commands of the command line that this process has, on the data of a demo beside it."""

    def sekisho(self, *words: str) -> Any:
        place = ("--data", self.summary["data"], "--passphrase-file", self.summary["passphrase_file"])
        with redirect_stdout(StringIO()) as said, suppress(SystemExit):
            main([*words, *place, "--json"])
        answer = json.loads(said.getvalue())
        if "error" in answer:
            raise SystemExit(f"sekisho {' '.join(words)}: {answer}")
        return answer
