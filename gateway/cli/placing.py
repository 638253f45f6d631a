"""What an operator says of where the world reads of a CA's certificates, when that CA is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ca.publication import SHARDS

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--revocation-url",
        default=None,
        help="Base address by http:// of its lists, answers (OCSP) and certificate, in every certificate; "
        "'' for none. Default: http://pki.DOMAIN, or that of the CA before it; for localhost none.",
    ),
    click.option(
        "--crl-url", default=None, help="Another address of its CRL alone; default: below that one."
    ),
    click.option(
        "--shards",
        type=click.Choice([str(each) for each in SHARDS]),
        default="0",
        show_default=True,
        callback=lambda _, __, value: int(value),
        help="Lists that its CRL is divided into besides the full one: for tens of thousands of revocations.",
    ),
)


def placed(command: F) -> F:
    """The options of a command that makes a CA."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
