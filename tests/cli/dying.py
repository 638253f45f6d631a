"""``sekisho`` that is killed at one moment: an answer of the API is made and on disk, and nobody is told it.

``python -m tests.cli.dying FILE sekisho WORDS...``: while FILE is there, the next answer is its last one.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from gateway.cli import main
from gateway.sites.api import entering
from gateway.sites.api.calls import Answer


def _plant(armed: Path) -> None:
    answered = entering.respond

    def respond(answer: Answer) -> web.Response:
        if armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return answered(answer)

    entering.respond = respond


if __name__ == "__main__":
    _plant(Path(sys.argv[1]))
    sys.argv = sys.argv[2:]
    sys.exit(main())
