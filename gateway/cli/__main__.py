"""``python -m gateway.cli``: the same as ``sekisho``, for processes that start one another."""

from gateway.cli import main

main()
