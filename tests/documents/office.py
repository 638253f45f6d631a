"""A certification authority on an ordinary day, where the commands of documents are typed: a root whose key
three people share, an issuing CA below it, two people with certificates, a copy of the journal, a backup."""

from __future__ import annotations

import asyncio
import atexit
import json
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ca import ceremony, journal, requested
from ca.certificates import distinguished_name, to_pem
from ca.datadir import Names
from ca.files import write_private
from enroll.operators import store as operators
from enroll.operators.roles import Role
from enroll.operators.store import Operator
from enroll.people import applications
from enroll.people.register import Person, add_organisation, add_user, disable_user
from enroll.requests import issuance
from gateway.serving import backup, offsite, record
from gateway.serving.config import FILE_NAME, Config, toml_of
from gateway.serving.database import DATABASE
from gateway.serving.deployment import CLOCK, DEMO_MARKER, opened_deployment
from tests import softhsm
from tests.cli.conftest import Shell
from tests.cli.processes import change
from tests.datadirs import CHEAP, PASSPHRASE
from tests.enroll.test_bounces import dsn
from tests.ports import free_port

G5 = "CORPORATE-PENSION BUSINESS SERVICE CA-G5"
HOLDERS = ("Sato", "Suzuki", "Takahashi")
#: Beside the office: where a token is, for whom SOFTHSM2_CONF says so.
HSM = "hsm"
USERS = {"K12345678": "年金 太郎", "K87654321": "厚生 花子"}
_NAMES = Names()


@dataclass(frozen=True)
class Office:
    """The folder in which somebody types. ``shares``: by root's folder, what its people have on paper."""

    place: Path
    shares: dict[str, Sequence[str]]

    @property
    def data(self) -> Path:
        return self.place / "data"


def open_office(place: Path) -> Office:
    """Makes one in an empty folder, as the documents say: data, root, copy, backup-key, sekisho.age."""
    made, shares, public = _equipped()
    shutil.copytree(made, place, dirs_exist_ok=True)
    data = place / "data"
    settings = {("journal", "copy"): json.dumps(str(place / "copy")), ("listen", "port"): str(free_port())}
    change(data / FILE_NAME, settings)
    office = Office(place, {"root": shares})
    backup.make(data, place / "sekisho.age", backup.recipients_of([public]), int(time.time()))
    keep_copy(office)
    return office


@cache
def _equipped() -> tuple[Path, Sequence[str], str]:
    """What is the same in all of them, once: the folder, the shares of its root, and the key for backups."""
    place = Path(tempfile.mkdtemp(prefix="sekisho-office-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    at, data, root = int(time.time()), place / "data", place / "root"
    held, shares = ceremony.create(
        root, distinguished_name(_NAMES.root, _NAMES.organization, _NAMES.country), "ec-p256", 2, HOLDERS, at
    )
    asked = requested.create_below(data, PASSPHRASE, at, held.certificate, _NAMES, cost=CHEAP)
    held, der = ceremony.sign_issuing(held, ceremony.read_request(asked.read_bytes()), at)
    requested.accept(data, to_pem(der), at)
    held, listed = ceremony.sign_list(held, {}, at, 365)
    requested.accept(data, ceremony.list_pem(listed), at)
    (data / FILE_NAME).write_text(toml_of(Config()))
    (place / "copy").mkdir()
    secret, public = backup.new_key()
    (place / "backup-key").write_text(f"# public key: {public}\n{secret}\n")
    (place / "backup-key.pub").write_text(f"{public}\n")
    asyncio.run(_people(data))
    return place, shares, public


async def _people(data: Path) -> None:
    async with opened_deployment(data, PASSPHRASE) as deployment:
        ra = deployment.ra
        await add_organisation(ra, "12345678", "霞が関商事", actor="operator:sato")
        for user_id, name in USERS.items():
            person = Person("12345678", name, f"{user_id.lower()}@example.jp", user_id)
            made = await add_user(ra, person, channel="paper", actor="operator:sato")
            await issuance.submit(ra, made.request_id, actor=user_id)
            await issuance.complete(ra, made.request_id)
        await record.take(deployment)  # as a running gateway does each hour


def keep_copy(office: Office) -> None:
    """The journal's copy on another machine, as a running gateway keeps it within seconds."""
    offsite.copy(office.data / journal.FOLDER, office.place / "copy")


def report_theft(office: Office) -> None:
    """A user reported the theft of a PC on the pages."""

    async def work() -> None:
        async with opened_deployment(office.data, PASSPHRASE) as deployment:
            await applications.apply_reissue(
                deployment.ra, "K12345678", "lost_or_stolen", channel="online", actor="K12345678"
            )

    asyncio.run(work())


def go_on(office: Office) -> None:
    """After the backup a user's certificate is revoked, and another user gets a second one."""

    async def work() -> None:
        async with opened_deployment(office.data, PASSPHRASE) as deployment:
            ra = deployment.ra
            await disable_user(ra, "K12345678", actor="operator:sato")
            made = await applications.reissue(ra, "K87654321", "pc_change", actor="operator:sato")
            await issuance.submit(ra, made.request_id, actor="K87654321")
            await issuance.complete(ra, made.request_id)

    asyncio.run(work())
    keep_copy(office)


def put_back(office: Office) -> None:
    """Somebody put the database of an hour ago back."""
    kept = office.data / DATABASE
    before = kept.read_bytes()
    go_on(office)
    for each in office.data.glob(f"{DATABASE}*"):
        each.unlink()
    write_private(kept, before)


def set_the_clock(office: Office) -> None:
    """The gateway was off for a month, or somebody set its clock."""
    with sqlite3.connect(office.data / DATABASE) as db:
        db.execute("DELETE FROM clock")
        at = int(time.time()) - 30 * 86_400
        db.execute("INSERT INTO clock (id, wall_at, awake, boot) VALUES (1, ?, 9.0, 'before')", [at])


def change_generation(office: Office) -> None:
    """The next issuing CA was made, and its day has come."""
    stage_generation(office)
    assert Shell(office.data)("ca", "activate", G5, "--at", "now").code == 0


def stage_generation(office: Office) -> None:
    """The next issuing CA was made, and does not issue."""
    shell, signed = Shell(office.data), office.place / "g5.pem"
    assert shell("ca", "request", G5).code == 0
    (asked,) = requested.requests(office.data)
    root = ceremony.open_root(office.place / "root", office.shares["root"][:2])
    _, der = ceremony.sign_issuing(root, ceremony.read_request(asked.read_bytes()), int(time.time()))
    signed.write_bytes(to_pem(der))
    assert shell("ca", "accept", str(signed)).code == 0


def end_generation(office: Office) -> None:
    """The one before it was retired, and four years have passed."""
    change_generation(office)
    assert Shell(office.data)("ca", "retire", _NAMES.issuing).code == 0
    (office.data / DEMO_MARKER).write_text("{}")
    (office.data / CLOCK).write_text(json.dumps({"offset": 4 * 366 * 86_400}))


def write_profiles(office: Office) -> None:
    """The profiles of the page stand in the settings."""
    page = Path(__file__).parent.parent.parent / "docs/operations/profiles.md"
    with (office.data / FILE_NAME).open("a") as settings:
        for table in re.findall(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            settings.write(f"\n{table}")


def break_the_token(office: Office) -> None:
    """The issuing CA's key was in a token and nowhere else, and the token does not answer any more."""
    hsm = softhsm.made(office.place.parent / HSM, "sekisho")
    shell, pin = Shell(office.data), office.place / "pin"
    pin.write_text(f"{softhsm.PIN}\n")
    with (office.data / FILE_NAME).open("a") as settings:
        settings.write(f'\n[tokens.hsm]\nmodule = "{softhsm.MODULE}"\nlabel = "sekisho"\n')
    names = [each["name"] for each in shell("ca", "key", "show").value["keys"]]
    assert shell("ca", "key", "pin", "hsm", "--pin-file", str(pin)).code == 0
    (issuing,) = (each for each in names if each.startswith("issuing-"))
    Path(shell("ca", "key", "move", issuing, "--token", "hsm").value["moved"]["file"]).unlink()
    hsm.take_away()


def have_a_token(office: Office) -> None:
    """There is a token, named in the settings, and its PIN in a file."""
    softhsm.made(office.place.parent / HSM, "practice")
    (office.place / "pin").write_text(f"{softhsm.PIN}\n")
    with (office.data / FILE_NAME).open("a") as settings:
        settings.write(f'\n[tokens.hsm]\nmodule = "{softhsm.MODULE}"\nlabel = "practice"\n')


def without_a_key(office: Office) -> None:
    """Nobody has made a key for backups yet."""
    for each in office.place.glob("backup-key*"):
        each.unlink()


#: Name, role: those of the operators' handbook.
OPERATORS = {
    "ito": "ca-officer", "sato": "approver", "suzuki": "approver", "mori": "registrar", "abe": "desk",
    "kato": "auditor",
}  # fmt: skip


def with_operators(office: Office) -> None:
    """Each of them works here."""

    async def work() -> None:
        async with opened_deployment(office.data, PASSPHRASE) as deployment:
            at = deployment.ra.now()
            for name, role in OPERATORS.items():
                new = Operator(
                    *(0, name, name, "person", (Role(role),), f"{name}@example.jp", name, name, at, "root")
                )
                await deployment.ra.database.write(lambda db, new=new: operators.add(db, new))  # type: ignore[misc]

    asyncio.run(work())


def come_back(office: Office) -> None:
    """The letters have left, and one came back as bounce.eml."""
    assert Shell(office.data)("mail", "deliver").code == 0
    with sqlite3.connect(office.data / DATABASE) as db:
        found = db.execute("SELECT id, created_at FROM mails WHERE user_id = 'K12345678' ORDER BY id")
        letter, at = found.fetchone()
    (office.place / "bounce.eml").write_bytes(dsn(f"letter-{letter}.{at}"))
    with_operators(office)


def list_a_host(office: Office) -> None:
    """A host of somebody's receiver is on the list."""
    settings = office.data / FILE_NAME
    listed = re.sub(
        r"(?<=\n)hosts = \[\](?=\n# networks)", "hosts = ['hooks.example.jp']", settings.read_text()
    )
    settings.write_text(listed)


#: Scenarios in which the gateway is running.
SERVED = {"generation", "passphrase-lost"}
#: And those in which nobody knows its passphrase.
FORGOTTEN = {"passphrase-lost"}
#: And those in which operators are at work.
AT_WORK = (
    "daily", "renewal-campaign", "lost", "lost-for-good", "stolen", "wrong-address", "inquiry", "months-end",
    "new-pc", "emergency", "print-batch",
)  # fmt: skip
#: Scenario -> what had happened before anybody typed.
HAPPENED = {
    "theft": report_theft,
    "disaster": go_on,
    "copy": put_back,
    "once": without_a_key,
    "token": break_the_token,
    "tokens": have_a_token,
    "generation-day": change_generation,
    "generation-staged": stage_generation,
    "generation-over": end_generation,
    "profiles": write_profiles,
    "clock": set_the_clock,
    "bounced": come_back,
    "webhooks": list_a_host,
} | dict.fromkeys(AT_WORK, with_operators)
