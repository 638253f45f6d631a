"""The two faults that `ca` can name: the operator's and the peer's. Anything else is ours."""

from __future__ import annotations


class ConfigError(Exception):
    """The operator's fault. The message ends with what to type or change next."""


class Unacceptable(ValueError):
    """A value from outside that the ground refuses: a weak key, an impossible name, a bad password.

    `code` is a stable word (``weak-key``) that the layers above map to their wire form or to the
    words of a page; the message is English for the log and never holds a secret.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
