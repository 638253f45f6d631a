"""Running the gateway, and the demo of it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ca.datadir import read_marker
from ca.errors import ConfigError
from gateway.cli.caller import DATA_VARIABLE
from gateway.cli.frame import (
    PASSPHRASE_FILE,
    PASSPHRASE_VARIABLE,
    Answer,
    answer,
    command,
    passphrase_from,
)
from gateway.cli.loading import loading
from gateway.cli.output import console_for
from gateway.cli.root import root
from gateway.cli.trail import trail


@command(root, "serve")
@PASSPHRASE_FILE
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that share the port; one per core at most.",
)
def _serve(data: Path, passphrase_file: Path | None, workers: int) -> Answer:
    """Run the gateway until SIGTERM or Ctrl-C; a second one does not wait for requests that run."""
    # The server and its sites are imported by the commands that need them: the others start faster.
    with loading():
        from gateway.cli.answering import answer_command
        from gateway.serving.server import serve

    read_marker(data)
    serve(data, passphrase_file, PASSPHRASE_VARIABLE, workers, answer_command)
    return answer({"serve": {"stopped": True}}, "stopped")


@command(root, "signer")
@PASSPHRASE_FILE
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The keys' own directory, of the user who runs this (sekisho ca part).",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/run/sekisho-signer"),
    show_default=True,
    metavar="DIR",
    help="With --home: where whoever serves finds it.",
)
@click.option("--told-by", type=int, default=None, hidden=True)
def _signer(
    data: Path,
    passphrase_file: Path | None,
    home: Path | None,
    socket: Path,
    told_by: int | None,
) -> Answer:
    """Run the process that alone has the issuing CAs' keys, until SIGTERM.

    sekisho serve starts one by itself. As a service of its own it is named in signer.socket.
    """
    with loading():
        from gateway.serving.signing.process import Apart, run

    own = None if home is None else Apart(home, socket)
    run(data, lambda: passphrase_from(passphrase_file), told_by, own)
    return answer({"signer": {"stopped": True}}, "stopped")


@command(root, "reload")
@click.option("--timeout", type=click.FloatRange(1, 600), default=60.0, show_default=True, help="Seconds.")
def _reload(data: Path, timeout: float) -> Answer:
    """Let the running gateway take over changed settings, certificates and CAs, connections untouched.

    If anything is wrong with them it goes on as before, and this says what.
    """
    from gateway.serving.reloading import ask_for_reload

    # Before it is done: what cannot be recorded is not done either.
    with trail(data) as record:
        record("gateway.reload", "gateway")
        try:
            workers = ask_for_reload(data, timeout)
        except ConfigError as error:
            record("gateway.reload_failed", "gateway", why=str(error))
            raise
    return answer({"reload": {"workers": workers}}, f"reloaded ({workers} process{'es' * (workers > 1)})")


@command(root, "demo", default_data=False)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8443, show_default=True, help="0: a free one."
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write URLs, users and passwords as JSON once everything is up.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    help="Gateways, behind HAProxy; with --database postgres.",
)
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgres"]),
    default="sqlite",
    show_default=True,
    help="postgres: on a server of its own, which is started for it.",
)
def _demo(data: Path | None, port: int, summary: Path | None, nodes: int, database: str) -> Answer:
    """Run a sandbox with made-up people on this machine, until Ctrl-C.

    Without --data (and $SEKISHO_DATA) it lives in a temporary directory and is gone afterwards.
    """
    if nodes > 1 and database == "sqlite":
        raise ConfigError(
            f"several nodes share a database on a server; type: sekisho demo --nodes {nodes} "
            "--database postgres"
        )
    with loading():
        from gateway.demo.nodes import demo as demo_of_nodes
        from gateway.demo.sandbox import demo

    named = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    console = console_for(stderr=True)
    if database == "postgres":
        told = demo_of_nodes(named, port, summary, console, nodes)
    else:
        told = demo(named, port, summary, console)
    return answer({"demo": told}, "The demo has stopped.")
