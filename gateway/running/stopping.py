"""The signals of a serving process: stop, stop now, reload."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1  # prctl(2)
_STOP = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(*, supervised: bool = False, demo: bool = False) -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, for the length of a block inside an event loop.

    A second one ends the process at once: what was answered is on disk, what runs is cut. Not one that is
    ``supervised``: Ctrl-C, or a stop of a whole control group, reaches it from outside and from the process
    above as well, perhaps when it is done already; that one kills it when it is really told twice. Nor a
    ``demo``, which has things to take away; and it ends with its terminal (SIGHUP), unless that was ignored
    before (nohup).
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    to_its_end = supervised or demo
    with_terminal = demo and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    numbers = (*_STOP, signal.SIGHUP) if with_terminal else _STOP

    def told(number: signal.Signals) -> None:
        if stop.is_set() and not to_its_end:
            os._exit(128 + number)
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, told, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            if to_its_end:  # the default, which the loop leaves behind, is death
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def reload_signals(wanted: bool) -> Iterator[asyncio.Event]:
    """An event that SIGHUP sets, if that is wanted; whoever waits for it clears it.

    Afterwards SIGHUP does nothing: whoever stops has no use for other settings.
    """
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    if not wanted:
        yield asked
        return
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    # Blocked since before the settings were read: one that came meanwhile comes now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield asked
    finally:
        # Not `remove_signal_handler`: that leaves the default behind, which is death.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextmanager
def ends_with(descriptor: int | None, stop: asyncio.Event) -> Iterator[None]:
    """Sets ``stop`` when the other end of a pipe is closed: the process that started us is gone."""
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(descriptor)
        stop.set()

    loop.add_reader(descriptor, gone)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def end_with_parent(number: signal.Signals, parent: int | None = None) -> None:
    """Has this process get a signal as soon as whoever started it has ended. ``parent``: who that is, where
    it may have ended already."""
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)
