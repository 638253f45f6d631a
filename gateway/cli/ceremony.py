"""The root's ceremonies: made and used on a machine without network, by people with roles, with a transcript.

Each step is shown before it is done. What people read goes to standard error, the answer to standard output.
"""

from __future__ import annotations

import fcntl
import functools
import secrets
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from ca import ceremony
from ca.ceremony import Root
from ca.ceremonytoken import create_in_token, key_of, open_in_token
from ca.certificates import distinguished_name, to_pem
from ca.datadir import Names
from ca.errors import ConfigError
from ca.files import make_private_directory, read_file, write_public
from ca.keys import spki_of, spki_sha256
from ca.profiles import ROOT
from ca.tokenlink import TokenKey
from enroll.jst import shown
from gateway.cli.frame import JSON, Answer, detail
from gateway.cli.intoken import InToken, open_for_change, opened_token, token_options
from gateway.cli.output import write_answer
from gateway.cli.root import GROUPS, version_line
from gateway.cli.sharing import share_out, shares_of
from gateway.cli.transcript import Ceremony

_GROUP = GROUPS["ceremony"]
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1
_NAMES = Names()


# -- what all of them have -----------------------------------------------------------------------------


@contextmanager
def _held(
    title: str, roles: Mapping[str, str], folder: Path, *, rehearsal: bool, networked: bool
) -> Iterator[Ceremony]:
    """A ceremony from its first step to its transcript, which is written however it ends."""
    networks = _networks()
    if networks and not networked and not rehearsal:
        raise ConfigError(
            f"this machine has a network ({', '.join(networks)}); take it away, practise with "
            "--rehearsal, or write --networked, which the transcript will say"
        )
    held = Ceremony(f"{'REHEARSAL of a ' if rehearsal else ''}{title}", roles, folder)
    held.note(f"On {socket.gethostname()}, {version_line()}; network: {', '.join(networks) or 'none'}")
    try:
        held.step(
            f"The clock of this machine says {shown(held.now())} in Japan: it has to be right to the minute."
        )
        yield held
        held.note("Done.")
    except BaseException as error:
        held.note(f"NOT DONE: {'stopped' if isinstance(error, click.Abort) else error}")
        raise
    finally:
        if folder.is_dir():
            file = folder / f"transcript-{shown(held.now()).translate(str.maketrans(' ', '-', '.:'))}.txt"
            write_public(file, held.transcript())
            click.echo(f"Transcript, to be printed and signed: {file}", err=True)


def _networks() -> list[str]:
    """What connects this machine to others: every interface that is up but the loopback."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        return [name for _, name in sorted(socket.if_nameindex()) if _is_up(asking, name) and name != "lo"]


def _is_up(asking: socket.socket, name: str) -> bool:
    # netdevice(7): struct ifreq has the name in 16 bytes, then what is told.
    told = fcntl.ioctl(asking, _SIOCGIFFLAGS, struct.pack("16s16x", name.encode()))
    return bool(struct.unpack_from("16xh", told)[0] & _IFF_UP)


def _roles(given: Sequence[str]) -> dict[str, str]:
    found = dict(each.partition("=")[::2] for each in given)
    if len(found) != len(given) or not all(role.strip() and name.strip() for role, name in found.items()):
        raise ConfigError("a role is written as --role 'ROLE=NAME', each once, such as --role 'witness=Sato'")
    return found


def _command(name: str) -> Callable[[Callable[..., Answer]], click.Command]:
    """Registers a ceremony: nothing of a data directory is in it."""

    def register(work: Callable[..., Answer]) -> click.Command:
        @functools.wraps(work)
        def callback(as_json: bool, **params: Any) -> None:
            found = work(**params)
            write_answer(found.value, found.show, as_json=as_json)

        return _GROUP.command(name)(JSON(callback))

    return register


_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
_TO = click.option(
    "--to", "target", metavar="FILE", required=True, type=_FILE, help="Where to write it, to be carried back."
)
_ROLE = click.option(
    "--role", "roles", metavar="ROLE=NAME", multiple=True, help="Who is there as what; for each person one."
)
_HOLDERS = click.option(
    "--holder",
    "holders",
    metavar="NAME",
    multiple=True,
    help="Who gets a share of the key; for each person one.",
)
_NEEDED = click.option(
    "--needed", type=int, default=0, help="How many of the shares it takes to use the key."
)
_NETWORKED = click.option("--networked", is_flag=True, help="Although the machine has a network.")
_REASONS = ", ".join(ceremony.CA_REASONS)


# -- the ceremonies ------------------------------------------------------------------------------------


@_command("root")
@_FOLDER
@click.option("--name", default=_NAMES.root, show_default=True, help="The root's name.")
@click.option("--organization", default=_NAMES.organization, show_default=True, help="O of it; '' for none.")
@click.option("--key", type=click.Choice(ROOT.key_kinds), default=ROOT.key_kinds[0], show_default=True)
@_HOLDERS
@click.option("--revocation-url", default="", help="Base address of the site that will show its list.")
@_NEEDED
@_ROLE
@click.option("--rehearsal", is_flag=True, help="Practise: with a root that nobody can take for earnest.")
@_NETWORKED
@token_options
def _root(
    folder: Path,
    name: str,
    organization: str,
    key: str,
    holders: tuple[str, ...],
    revocation_url: str,
    needed: int,
    roles: tuple[str, ...],
    rehearsal: bool,
    networked: bool,
    token_module: str,
    token_label: str,
    token_serial: str,
    token_pin_file: Path | None,
) -> Answer:
    """Make a root in a new folder; its key is shared among people, each of whom writes 33 words down.

    With --token-module and --token-label it is made in a token instead, and nobody has a share.
    Next: carry root.pem to the machine that serves, and type there sekisho init --root root.pem.
    """
    in_token = bool(token_module or token_label or token_serial)
    if not in_token:
        ceremony.check_sharing(needed, holders)
    elif holders or needed:
        raise ConfigError("a key is shared among holders, or in a token; write --holder, or --token-module")
    subject = distinguished_name(
        (ceremony.REHEARSAL if rehearsal else "") + name, organization, _NAMES.country
    )
    people = _roles(roles) | {f"holder of share {n}": each for n, each in enumerate(holders, 1)}
    if not folder.exists():
        make_private_directory(folder)
    with (
        _held("ceremony: a root is made", people, folder, rehearsal=rehearsal, networked=networked) as held,
        opened_token(token_module, token_label, token_serial, token_pin_file) as token,
    ):
        if token is not None:
            label = f"{'rehearsal-' if rehearsal else ''}root-{secrets.token_hex(4)}"
            root = _root_in_token(
                held, folder, subject, key, token, label, revocation_url, rehearsal=rehearsal
            )
            return _shown(root, after(folder, rehearsal=rehearsal))
        held.step(
            f"A key ({key}) is made for {subject.rfc4514_string()}, sealed under a random key, of which "
            f"{len(holders)} people get a share each. {needed} of the shares open it."
        )
        root, shares = ceremony.create(
            *(folder, subject, key, needed, holders, held.now()),
            revocation_url=revocation_url,
            rehearsal=rehearsal,
        )
        share_out(held, folder, needed, holders, shares)
        held.file(ceremony.CERTIFICATE, (folder / ceremony.CERTIFICATE).read_bytes())
        held.file(ceremony.SEALED, (folder / ceremony.SEALED).read_bytes())
        held.note(f"   Key: SHA-256 {spki_sha256(spki_of(root.certificate))}")
    return _shown(root, after(folder, rehearsal=rehearsal))


def after(folder: Path, *, rehearsal: bool) -> str:
    """What is done with a root that was made."""
    if rehearsal:
        return (
            f"That was practice: destroy what was written down, and rm -r {folder}; then the same in earnest"
        )
    return f"Copy {folder} twice, then: sekisho init --root root.pem, where it is to serve"


def _root_in_token(
    held: Ceremony,
    folder: Path,
    subject: x509.Name,
    kind: str,
    held_in: InToken,
    label: str,
    revocation_url: str,
    *,
    rehearsal: bool,
) -> Root:
    key = TokenKey("root", held_in.token, label, secrets.token_hex(8))
    held.step(f"A key ({kind}) is made for {subject.rfc4514_string()}: {key}, which it never leaves.")
    root = create_in_token(
        *(folder, subject, kind, held_in.tokens, key, held.now()),
        revocation_url=revocation_url,
        rehearsal=rehearsal,
    )
    held.note("   It has signed, and the certificate verifies that.")
    held.file(ceremony.CERTIFICATE, (folder / ceremony.CERTIFICATE).read_bytes())
    held.note(f"   Key: SHA-256 {spki_sha256(spki_of(root.certificate))}")
    return root


@_command("reshare")
@_FOLDER
@click.argument("target", metavar="NEW-DIR", type=click.Path(path_type=Path, file_okay=False))
@_HOLDERS
@_NEEDED
@_ROLE
@_NETWORKED
def _reshare(
    folder: Path,
    target: Path,
    holders: tuple[str, ...],
    needed: int,
    roles: tuple[str, ...],
    networked: bool,
) -> Answer:
    """Give a root's key new shares, in a new folder: somebody lost one, left, or read another's.

    It takes as many of the old shares as ever. They open the old folder for as long as a copy of it is left.
    """
    record, _ = ceremony.look(folder)
    ceremony.check_shared(folder, record)
    ceremony.check_sharing(needed, holders)
    people = _roles(roles) | {f"holder of share {n}": each for n, each in enumerate(holders, 1)}
    if not target.exists():
        make_private_directory(target)
    title = "ceremony: a root's key is shared anew"
    with _held(title, people, target, rehearsal=record.rehearsal, networked=networked) as held:
        given = shares_of(held, folder)
        held.step(
            f"The key is sealed under a new random key, of which {len(holders)} people get a share each. "
            f"{needed} of the shares open it."
        )
        shares = ceremony.reshare(folder, given, target, needed, holders)
        share_out(held, target, needed, holders, shares)
        held.file(ceremony.SEALED, (target / ceremony.SEALED).read_bytes())
    record, certificate = ceremony.look(target)
    return detail(
        "root",
        _facts(record, certificate),
        f"Copy {target} twice; destroy every copy of {folder}, and the old shares: they still open it",
    )


@_command("sign")
@_FOLDER
@click.argument("file", type=_FILE)
@_TO
@_ROLE
@_NETWORKED
def _sign(folder: Path, file: Path, target: Path, roles: tuple[str, ...], networked: bool) -> Answer:
    """Sign what was carried here: an issuing CA's request, or another root's certificate (to vouch for it).

    A request is made by sekisho ca request NAME; what is signed goes back with sekisho ca accept FILE.
    """
    record, _ = ceremony.look(folder)
    data = read_file(file, "request")
    cross = b"-----BEGIN CERTIFICATE-----" in data
    subject = (ceremony.read_other_root(data) if cross else ceremony.read_request(data)).subject
    what = "a cross-certificate" if cross else "an issuing CA's certificate"
    title = f"ceremony: {what} is signed"
    with _held(title, _roles(roles), folder, rehearsal=record.rehearsal, networked=networked) as held:
        held.file(file.name, data)
        held.step(
            f"The root will sign {what} for {subject.rfc4514_string()}. Compare "
            "the SHA-256 with what came by another way."
        )
        with _opened(held, folder) as root:
            held.step("It is signed.")
            if cross:
                root, der = ceremony.sign_cross(root, ceremony.read_other_root(data), held.now())
            else:
                root, der = ceremony.sign_issuing(root, ceremony.read_request(data), held.now())
        _give(held, target, to_pem(der))
    return _shown(root, f"Carry {target} back, and type there: sekisho ca accept {target.name}")


@_command("crl")
@_FOLDER
@_TO
@click.option(
    "--revoke",
    metavar="NAME|SERIAL=REASON",
    multiple=True,
    help=f"What the root revokes; REASON: {_REASONS}.",
)
@click.option(
    "--days", type=click.IntRange(1, 400), default=365, show_default=True, help="How long the list is good."
)
@_ROLE
@_NETWORKED
def _crl(
    folder: Path, target: Path, revoke: tuple[str, ...], days: int, roles: tuple[str, ...], networked: bool
) -> Answer:
    """Sign the root's own CRL, with what it revokes.

    It goes back with sekisho ca accept FILE.
    """
    record, _ = ceremony.look(folder)
    named = [each.rpartition("=")[::2] for each in revoke]
    wanted = {ceremony.serial_of(record, name): ceremony.reason_of(why) for name, why in named}
    with _held("ceremony: the root's CRL is signed", _roles(roles), folder, rehearsal=record.rehearsal,
               networked=networked) as held:  # fmt: skip
        listed = ", ".join(wanted) or "nothing further"
        held.step(
            f"CRL number {record.crl_number + 1} will be signed, good for {days} days; it revokes {listed}."
        )
        with _opened(held, folder) as root:
            root, der = ceremony.sign_list(root, wanted, held.now(), days)
        _give(held, target, ceremony.list_pem(der))
    return _shown(root, f"Carry {target} back, and type there: sekisho ca accept {target.name}")


@_command("show")
@_FOLDER
def _show(folder: Path) -> Answer:
    """Show what a root's folder holds: who has shares, what it signed. Nothing is opened."""
    record, certificate = ceremony.look(folder)
    value = _facts(record, certificate)
    signed = [f"{each.serial}  {each.kind:<8} {shown(each.at)}  {each.subject}" for each in record.signed]
    revoked = [f"{each.serial}  revoked {shown(each.at)}" for each in record.revoked]
    shares = [f"share {number}: {holder}" for number, holder in enumerate(record.holders, 1)]
    return detail("root", value, *shares, *signed, *revoked)


@contextmanager
def _opened(held: Ceremony, folder: Path) -> Iterator[Root]:
    """The root's key, from the people's shares, or in its token."""
    record, _ = ceremony.look(folder)
    if record.token is None:
        yield ceremony.open_root(folder, shares_of(held, folder))
        return
    key = key_of(folder)
    held.step(f"The token {key.token} is put in, and its PIN typed. Nobody else looks.")
    with open_for_change(key.token, None) as token:
        root = open_in_token(folder, token.tokens)
        held.note(f"   {key} has signed, and the certificate verifies that.")
        yield root


def _give(held: Ceremony, target: Path, data: bytes) -> None:
    write_public(target, data)
    held.file(target.name, data)


def _shown(root: Root, after: str) -> Answer:
    return detail("root", _facts(root.record, root.certificate), after)


def _facts(record: ceremony.Record, certificate: Any) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "not_after_at": int(certificate.not_valid_after_utc.timestamp()),
        "key_sha256": spki_sha256(spki_of(certificate)),
        "needed": record.needed,
        "of": len(record.holders),
        "rehearsal": record.rehearsal,
        "crl_number": record.crl_number,
        "holders": list(record.holders),
        "token": asdict(record.token) if record.token is not None else None,
        "signed": [asdict(each) for each in record.signed],
        "revoked": [asdict(each) for each in record.revoked],
    }
