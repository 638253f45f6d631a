"""The making of the next issuing CA (G4 to G5), here or below a root elsewhere, and the emergency stop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from ca import datadir, requested
from ca.authority import Issuer
from ca.crls import number_and_time
from ca.errors import ConfigError
from ca.files import Snapshot, read_file
from ca.generations.states import State
from ca.keyplaces import Maker, in_token
from ca.profiles import ISSUING, ROOT_LIST_LIFETIME, Audience
from ca.publication import Places, base_of, to_row
from ca.revocation import reason_code
from ca.tokens import Tokens
from enroll import generations, store, timekeeping
from gateway.cli.caller import actor
from gateway.cli.frame import PASSPHRASE_FILE, Answer, command, detail, passphrase_command, passphrase_from
from gateway.cli.placing import placed
from gateway.cli.root import GROUPS
from gateway.cli.trail import trail
from gateway.serving.deployment import Deployment, clock_of, opened_deployment
from gateway.serving.tokens import token_named, tokens_of, write_key

_CA = GROUPS["ca"]
_KEY = click.option(
    "--key", type=click.Choice(ISSUING.key_kinds), default=ISSUING.key_kinds[0], show_default=True
)
_TOKEN = click.option(
    "--token", metavar="NAME", default="", help="Make its key in one of [tokens], which it never leaves."
)
_FOR = click.option(
    "--for",
    "audience",
    type=click.Choice([each.value for each in Audience]),
    default=Audience.CLIENTS.value,
    show_default=True,
    help="Whose certificates it signs; those of operators open the console and the API, and nothing else.",
)
_LABEL = click.option("--label", metavar="LABEL", default="", help="What the key is called in the token.")


def _further(work: Callable[..., Answer]) -> Callable[..., Answer]:
    """What is said of a further issuing CA, be it made here or asked for."""
    named: Callable[..., Answer] = PASSPHRASE_FILE(_KEY(_FOR(_TOKEN(_LABEL(placed(work))))))
    return click.argument("common_name", metavar="NAME")(named)


@command(_CA, "add")
@_further
def _add(
    data: Path,
    common_name: str,
    passphrase_file: Path | None,
    key: str,
    audience: str,
    token: str,
    label: str,
    revocation_url: str | None,
    crl_url: str | None,
    shards: int,
) -> Answer:
    """Make a further issuing CA under the same root. It is staged: trusted, named to browsers, and not
    issuing.

    sekisho ca activate says from when on it issues; the first for operators issues at once. The root's key
    has to be in ca/root.key for this.
    """
    datadir.read_marker(data)
    passphrase = passphrase_from(passphrase_file)

    async def make() -> tuple[Issuer, bool]:
        # Opened first: what could keep it from the audit trail is said before anything is made.
        async with opened_deployment(data, passphrase) as deployment:
            await timekeeping.require(deployment.ra)  # it would be dated for ten years
            at = deployment.ra.now()
            before = deployment.datadir.authority.current.site
            base = base_of(before) if revocation_url is None else revocation_url
            site = Places(base, crl_url, shards)
            with making(deployment, token, label) as (maker, tokens):
                opened = datadir.add_issuer(
                    *(data, passphrase, common_name, at, key, site, maker, tokens), Audience(audience)
                )
            made = opened.authority.issuers[0]
            said = {"for": audience} if made.audience is not Audience.CLIENTS else {}
            facts = {"name": common_name, **said}
            await deployment.ra.database.write(
                lambda db: store.audit(db, at, actor(), "ca.added", made.issuer_id, **facts)
            )
            return made, len(opened.authority.of(made.audience)) == 1

    made, first = asyncio.run(make())
    found = {
        "issuer_id": made.issuer_id,
        "common_name": made.common_name,
        "for": made.audience.value,
        "state": (State.ISSUING if first else State.STAGED).value,
        "not_after_at": made.not_after_at,
        **to_row(made.site),
    }
    return detail("ca", found, *(_FIRST if first else _staged(made.common_name)))


# Of an audience that had none.
_FIRST = (
    "It is the first of its audience, and issues",
    "Next: sekisho reload, if the gateway runs",
)


def _staged(name: str) -> list[str]:
    """What to type for one that is there, and does not issue yet."""
    return [
        "Next: sekisho reload, if the gateway runs; networks want the help site's new files",
        f"Then: sekisho ca activate '{name}' --at DATE",
    ]


@command(_CA, "request")
@_further
def _request(
    data: Path,
    common_name: str,
    passphrase_file: Path | None,
    key: str,
    audience: str,
    token: str,
    label: str,
    revocation_url: str | None,
    crl_url: str | None,
    shards: int,
) -> Answer:
    """Ask a root on another machine for a further issuing CA: makes its key, and the file that goes there.

    There it is signed by sekisho ceremony sign; what comes back goes to sekisho ca accept.
    """
    datadir.read_marker(data)
    passphrase = passphrase_from(passphrase_file)

    async def ask() -> Path:
        async with opened_deployment(data, passphrase) as deployment:
            site, at = Places("", crl_url, shards), deployment.ra.now()
            with making(deployment, token, label) as (maker, tokens):
                asked = requested.request(
                    *(data, passphrase, common_name, key, revocation_url, site, maker, tokens),
                    Audience(audience),
                )
            await deployment.ra.database.write(
                lambda db: store.audit(db, at, actor(), "ca.requested", "ca", name=common_name)
            )
            return asked

    asked = asyncio.run(ask())
    found = {"file": str(asked), "sha256": hashlib.sha256(asked.read_bytes()).hexdigest()}
    return detail("request", found, "On the root's machine: sekisho ceremony sign DIR FILE --to FILE")


@command(_CA, "accept")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, readable=False))
def _accept(data: Path, file: Path) -> Answer:
    """Take in what the root signed on its machine: an issuing CA's certificate, or the root's own list."""
    signed, at = read_file(file, "signed file"), clock_of(data).seconds()
    waiting = not datadir.read_marker(data, waiting=True)["issuers"]
    # Before the first CA there is no trail; after it there is.
    taken = requested.accept(data, signed, at) if waiting else None
    with trail(data) as record:
        taken = taken or requested.accept(data, signed, at)
        record("ca.accepted", taken.id, kind=taken.kind, name=taken.name)
        named = _named_in(data) if taken.kind == "list" and not waiting else []
        left = record.read(lambda db: generations.trusted_of(db, named))
    further = taken.kind == "issuing" and not waiting
    after = _staged(taken.name) if further else ["Next: sekisho reload, if the gateway runs"]
    told = asdict(taken) | {"trusted_here": [each.common_name for each in left]}
    return detail("accepted", told, *(_not_distrusted(data, each) for each in left), *after)


def _named_in(data: Path) -> list[Issuer]:
    """Our issuing CAs that the root's list names."""
    files = Snapshot()
    listed = files.find(data / datadir.ROOT_LIST, "revocation list") or b""
    return [each for each in datadir.issuers_of(data, files) if datadir.is_revoked(listed, each)]


def _not_distrusted(data: Path, issuer: Issuer) -> str:
    """What to do about one that the root has revoked, and that lets people in here."""
    listed = (data / datadir.ROOT_LIST).read_bytes()
    return (
        f"{issuer.common_name} is named in it, for good, and lets people in here still: "
        f"sekisho ca distrust '{issuer.common_name}' --reason {datadir.reason_in(listed, issuer)}"
    )


@passphrase_command(_CA, "root-list")
@click.option("--revoke", "name", metavar="NAME", default=None, help="Name this issuing CA in it, for good.")
async def _root_list(deployment: Deployment, name: str | None) -> Answer:
    """Make the root's next revocation list, for a year. The root's key has to be in ca/root.key for this.

    What it names stays named. --revoke tells the world of an issuing CA that is distrusted here; it cannot be
    taken back.
    """
    await timekeeping.require(deployment.ra)
    at = deployment.ra.now()
    issuer = None if name is None else generations.named(deployment.ra, name)
    reason = 0
    if issuer is not None:
        row = generations.look(deployment.ra).rows[issuer.issuer_id]
        if row.distrusted_at is None:
            raise ConfigError(
                f"{issuer.common_name} is trusted here; first: sekisho ca distrust '{issuer.common_name}' "
                "--reason REASON"
            )
        reason = reason_code(row.reason)
    made = datadir.renew_root_list(deployment.datadir, at, issuer, reason)
    number, this = number_and_time(made)
    await deployment.ra.database.write(
        lambda db: store.audit(db, at, actor(), "crl.root", "ca", number=number, **_told(issuer))
    )
    found = {"number": number, "this_update_at": this, "next_update_at": this + ROOT_LIST_LIFETIME}
    return detail("root_list", found, "Next: sekisho reload, if the gateway runs")


def _told(issuer: Issuer | None) -> dict[str, str]:
    return {} if issuer is None else {"revoked": issuer.common_name}


@contextmanager
def making(deployment: Deployment, token: str, label: str) -> Iterator[tuple[Maker | None, Tokens]]:
    """Where the key of a further CA is made, and the tokens that are open for it; None: in a file."""
    data, config, keys = deployment.data, deployment.config, deployment.datadir.keys
    assert keys is not None  # a command has the passphrase
    with closing(tokens_of(data, config, keys, change=True)) as tokens:
        if not token:
            yield None, tokens
            return
        named = token_named(data, config, token)
        yield in_token(tokens, named, label, lambda key: write_key(data, key)), tokens
