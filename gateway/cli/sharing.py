"""Shares of a root's key: onto their holders' paper, and back from it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from ca import ceremony
from ca.errors import ConfigError
from gateway.cli.transcript import Ceremony

_CHECKED = 3
"""So many words of a share are asked for after it was written down."""
_TRIES = 5


def share_out(
    held: Ceremony, folder: Path, needed: int, holders: Sequence[str], shares: Sequence[str]
) -> None:
    """Every share onto its holder's paper, and tried; without that the folder is given up."""
    try:
        for number, (holder, share) in enumerate(zip(holders, shares, strict=True), 1):
            _hand_out(held, number, holder, share)
        held.step("The shares are tried: the key is opened with the last ones of them.")
        ceremony.open_root(folder, shares[-needed:])
    except BaseException:
        for each in (ceremony.RECORD, ceremony.SEALED, ceremony.CERTIFICATE):
            (folder / each).unlink(missing_ok=True)
        held.note(f"What was made in {folder} is given up: its shares are good for nothing, destroy them.")
        raise


def _hand_out(held: Ceremony, number: int, holder: str, share: str) -> None:
    """One share onto its holder's paper, and nowhere else: it stands in no transcript."""
    words = share.split()
    while True:
        held.step(f"Share {number} is shown to {holder}, and to nobody else.")
        click.echo("", err=True)
        for at in range(0, len(words), 3):
            row = "".join(f"{n:>6}. {word:<12}" for n, word in enumerate(words[at : at + 3], at + 1))
            click.echo(row, err=True)
        click.prompt(
            "\n   Written down? Enter takes it off the screen", default="", show_default=False, err=True
        )
        click.clear()
        if _written(words):
            held.note(f"   {holder} wrote share {number} down, and read {_CHECKED} words of it back.")
            return
        held.note("   These are other words: it is shown once more.")


def _written(words: Sequence[str]) -> bool:
    asked = sorted(secrets.SystemRandom().sample(range(len(words)), _CHECKED))
    numbers = ", ".join(str(each + 1) for each in asked)
    typed = click.prompt(f"   From the paper, words {numbers}", err=True).lower().split()
    return bool(typed == [words[each] for each in asked])


def shares_of(held: Ceremony, folder: Path) -> list[str]:
    """As many shares as open a root's key: each is asked for until it is one."""
    record, _ = ceremony.look(folder)
    held.step(f"{record.needed} holders of shares come one by one, and type theirs. Nobody else looks.")
    shares: list[str] = []
    while len(shares) < record.needed:
        for _ in range(_TRIES):
            words = click.prompt(f"   Share {len(shares) + 1} of {record.needed}", hide_input=True, err=True)
            try:
                holder = record.holders[ceremony.check_share(words, record, shares)]
            except ConfigError as error:
                held.note(f"   {error}")
                continue
            shares.append(words)
            held.note(f"   The share of {holder} was given.")
            break
        else:
            raise ConfigError(f"{_TRIES} times no share; begin again with the right papers")
    return shares
