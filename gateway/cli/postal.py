"""The options of a postal address, of whomever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_HELP = {
    "postal_code": "Of where postcards go: seven digits, such as 100-0013.",
    "prefecture": "With its 都, 道, 府 or 県, such as 東京都.",
    "city": "市区町村.",
    "street": "町名 and 番地.",
    "building": "Building and floor.",
    "addressee": "A line above the name, such as a department.",
}


def postal_options(default: str | None) -> Callable[[Any], Any]:
    """Every field of an address; ``default``: what stands for an option that is not given."""

    def add(work: Any) -> Any:
        for name, told in reversed(_HELP.items()):
            work = click.option(f"--{name.replace('_', '-')}", default=default, help=told)(work)
        return work

    return add
