"""``doctor`` on what ends, fills up, has grown old or was never set; and the log on certificates that end."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import servers
from gateway.cli import ageing
from gateway.serving import authority
from gateway.serving.config import FILE_NAME, read_config
from gateway.serving.deployment import configured_hosts, opened_deployment
from gateway.serving.figures import Thresholds, endings
from tests.cli.conftest import Shell
from tests.cli.processes import until
from tests.cli.test_serving import Gateway, ready
from tests.datadirs import PASSPHRASE
from tests.gateway.rawtls import Issued, issue

_NOW = datetime.now(UTC)
_DAY = 86_400
_GIB = 2**30


def _checks(sekisho: Shell, name: str) -> list[dict[str, Any]]:
    return [each for each in sekisho("doctor").value["checks"] if each["check"] == name]


def _set(sekisho: Shell, **settings: str) -> None:
    setup = Gateway(None, sekisho.data, 0, 0, sekisho.data, {})  # type: ignore[arg-type]
    for name, value in settings.items():
        section, _, setting = name.partition("__")
        setup.set(section, setting, value)


# -- the chain of our own hosts ------------------------------------------------------------------------


def _signed(name: str, issuer: Issued | None = None, **more: Any) -> Issued:
    times = {"not_before": _NOW - timedelta(days=9), "not_after": _NOW + timedelta(days=300)}
    return issue(name, issuer, **{**times, **more})


def _own(sekisho: Shell, *chain: Issued, **more: Any) -> None:
    """A certificate of the operator's own: its issuer first, then what else is in the file."""
    hosts = configured_hosts(read_config(sekisho.data))
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    issuer = chain[0] if chain else None
    leaf = _signed("own", issuer, hosts=hosts, purpose=purpose, **more)
    pem = b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (leaf, *chain[1:]))
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (sekisho.data / "own.pem").write_bytes(pem)
    (sekisho.data / "own.key").write_bytes(key)
    _set(sekisho, tls__certificate='"own.pem"', tls__key='"own.key"')


def test_a_chain_is_whole_or_named() -> None:
    """Self-signed, below an unknown CA, below a known one, with its root: the first two are weak."""
    root = _signed("root", ca=True)
    between = _signed("between", root, ca=True)
    leaf, alone = _signed("leaf", between), _signed("alone")

    def weak(*chain: Issued, roots: tuple[Issued, ...] = ()) -> list[str]:
        ders = [each.certificate.public_bytes(Encoding.DER) for each in chain]
        return [each.found for each in servers.weaknesses(ders, [each.certificate for each in roots])]

    assert weak(alone) == ["it is self-signed, and no browser trusts it"]
    (found,) = weak(leaf, roots=(root,))
    assert found == "its chain ends below CN=between, which is not in it and unknown to this machine"
    assert weak(leaf, between, roots=(root,)) == []
    assert weak(leaf, between, root) == []
    assert len(weak(leaf, between)) == 1
    # A root of that name which is another one does not count.
    assert len(weak(leaf, between, roots=(_signed("root", ca=True),))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("self_signed", "words", "hint"),
    [(True, "it is self-signed", "have one issued"), (False, "ends below CN=own CA", "fullchain.pem")],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_weak_chain_is_served_and_told(
    sekisho: Shell, tmp_path: Path, self_signed: bool, words: str, hint: str, workers: int
) -> None:
    """doctor gives notice, serve starts and has a line in its log, and so has a reload."""
    _own(sekisho, *(() if self_signed else (_signed("own CA", ca=True),)))
    (found,) = _checks(sekisho, "server certificate")
    assert (found["state"], words in found["found"], hint in found["hint"]) == ("notice", True, True)
    with ready(sekisho.data, tmp_path, workers=workers) as gateway:
        (told,) = [line for line in gateway.log.read_text().splitlines() if words in line]
        assert '"level":"warning"' in told
        assert gateway.log.read_text().count(hint) == 1
        assert gateway.command("reload").returncode == 0
        until(lambda: gateway.says(hint, times=2), gateway.log)


def test_a_hint_is_the_command_that_helps(sekisho: Shell) -> None:
    """Renewed files are taken over by a reload: nobody is told to start the server anew."""
    _own(sekisho, _signed("own CA", ca=True), not_after=_NOW + timedelta(days=5))
    (found,) = _checks(sekisho, "server certificate")
    assert (found["state"], found["hint"]) == ("notice", "renew it, then: sekisho reload")
    assert "restart" not in sekisho("doctor", json_output=False).out


# -- certificates that end -----------------------------------------------------------------------------


def test_each_threshold_is_told_once() -> None:
    """At 30, 7 and 1 day and at the end; a look in between, or another certificate, changes nothing."""
    thresholds, end = Thresholds(), 1_000 * _DAY
    told = [thresholds.passed(end, end - left * _DAY) for left in (31, 30, 29, 8, 7, 6.9, 2, 1, 0.5, 0, -3)]
    assert told == [None, 30, None, None, 7, None, None, 1, None, 0, None]
    assert thresholds.passed(end + _DAY, end - 2 * _DAY) == 7
    assert thresholds.passed(end + 99 * _DAY, end) is None


async def test_an_end_is_told_once_for_its_sites(sekisho: Shell) -> None:
    """In days, then in hours, then as what it is; with the sites that show it and what to do."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        served = {"server:a": 10 * _DAY, "server:b": 10 * _DAY, "server:c": 20 * _DAY}

        def told(at: float) -> list[str]:
            return [words for _, words in endings(deployment, served, at)]

        both = "the certificate server:a, server:b"
        assert told(3.0 * _DAY) == [
            f"{both} ends in 7 days: sekisho reload",
            "the certificate server:c ends in 17 days: sekisho reload",
        ]
        assert told(8.75 * _DAY)[0] == f"{both} ends in 30 hours: sekisho reload"
        assert told(12.0 * _DAY)[0] == f"{both} has ended 2 days ago: sekisho reload"


def test_a_certificate_near_its_end_is_in_the_log(sekisho: Shell, tmp_path: Path) -> None:
    """The operator's own file, six days before: one line, by the worker that leads, and /readyz is ready."""
    _own(sekisho, _signed("own CA", ca=True), not_after=_NOW + timedelta(days=6, hours=1))
    with ready(sekisho.data, tmp_path, workers=2) as gateway:
        words = "ends in 6 days: renew the file that tls.certificate names, then sekisho reload"
        until(lambda: gateway.says(words), gateway.log)
        assert gateway.log.read_text().count(words) == 1


# -- what fills and grows old --------------------------------------------------------------------------


def _usage(free: int, total: int = 8 * _GIB) -> Callable[[Path], tuple[int, int, int]]:
    """A disk of which somebody else takes the rest: total, used and free, as `shutil.disk_usage` tells."""
    return lambda _: (total, total - free, free)


@pytest.mark.parametrize(("free", "state"), [(15 * 2**20, "bad"), (900 * 2**20, "notice"), (2 * _GIB, "ok")])
async def test_room_on_the_disk(sekisho: Shell, free: int, state: str) -> None:
    """Too little to write, less than a gigabyte, and enough."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        (found,) = ageing.disk(deployment, _usage(free))
        assert (found.state, str(sekisho.data) in found.found) == (state, True)
        assert ("df -h" in found.hint) == (state != "ok")


async def test_a_database_bigger_than_what_is_left(sekisho: Shell) -> None:
    """A copy of it would not fit: said before somebody tries."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        with (sekisho.data / "sekisho.db").open("ab") as file:
            file.truncate(3 * _GIB)
        assert ageing.disk(deployment, _usage(2 * _GIB))[0].state == "notice"
        assert ageing.disk(deployment, _usage(4 * _GIB))[0].state == "ok"


async def test_less_than_a_tenth_of_the_disk(sekisho: Shell) -> None:
    """Of a large disk many gigabytes are little: below 10 % of it. What to type has the disk's place."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        (enough,) = ageing.disk(deployment, _usage(100 * _GIB, 1_000 * _GIB))
        (little,) = ageing.disk(deployment, _usage(100 * _GIB - 1, 1_000 * _GIB))
    said = f"100.0 GiB left for {sekisho.data}"
    assert (enough.state, enough.found, enough.hint) == ("ok", f"{said}, 10 % of its disk", "")
    assert (little.state, little.found) == ("notice", f"{said}, 9 % of its disk")
    typed = little.hint.partition("df -h, ")[2]
    place = Path(typed.removeprefix("du -xhd2 ").removesuffix(" | sort -h"))
    assert place.is_mount()
    assert place.stat().st_dev == sekisho.data.stat().st_dev


async def test_room_that_is_kept_for_root_is_not_counted(sekisho: Shell) -> None:
    """Of 1,000 GiB an ext4 keeps 50, which nobody can fill: the share is of the rest, as df has it."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        (found,) = ageing.disk(deployment, lambda _: (1_000 * _GIB, 854 * _GIB, 96 * _GIB))
    assert (found.state, found.found.rpartition(", ")[2]) == ("ok", "10 % of its disk")


def test_a_database_that_was_put_back(peopled: Shell, tmp_path: Path) -> None:
    """From a copy that knows less letters than were carried out: bad, and what is missing is said."""
    (found,) = _checks(peopled, "database")
    assert (found["state"], found["found"].count(" MiB, ")) == ("ok", 1)
    with sqlite3.connect(peopled.data / "sekisho.db") as db:
        last = db.execute("SELECT max(id) FROM mails").fetchone()[0]
    (peopled.data / "outbox").mkdir(exist_ok=True)
    (peopled.data / "outbox" / f"{last:06d}-pickup.eml").touch()
    assert _checks(peopled, "database")[0]["state"] == "ok"
    (peopled.data / "outbox" / f"{last + 1:06d}-pickup.eml").touch()
    (found,) = _checks(peopled, "database")
    assert found["state"] == "bad"
    assert f"it knows {last} of {last + 1}" in found["found"]
    assert "is not in it" in found["hint"]


async def test_a_server_that_writes_elsewhere(sekisho: Shell, tmp_path: Path) -> None:
    """A database that nobody writes is fine as long as nobody serves, and bad under a server."""
    async with opened_deployment(sekisho.data, PASSPHRASE) as deployment:
        later = lambda: time.time() + 3_600.0  # noqa: E731
        assert ageing.database(deployment, now=later)[0].state == "ok"
        with ready(sekisho.data, tmp_path) as gateway:
            until(lambda: "last written" in ageing.database(deployment)[0].found, gateway.log)
            assert ageing.database(deployment)[0].state == "ok"
            (found,) = ageing.database(deployment, now=later)
            assert (found.state, "1.0 h ago" in found.found) == ("bad", True)


# -- CAs -----------------------------------------------------------------------------------------------


def test_certificates_that_name_no_list(sekisho: Shell) -> None:
    """Notice, and how the next issuing CA prints an address; with one all is well."""
    (found,) = _checks(sekisho, "CRL address")
    assert found["state"] == "notice"
    assert "sekisho ca add NAME --revocation-url" in found["hint"]
    assert sekisho("ca", "add", "SERVICE CA-G5", "--crl-url", "http://crl.example.jp/g5.crl").code == 0
    assert sekisho("ca", "activate", "SERVICE CA-G5", "--at", "now").code == 0
    (found,) = _checks(sekisho, "CRL address")
    assert (found["state"], found["found"]) == ("ok", "http://crl.example.jp/g5.crl")


def test_an_earlier_ca_that_ends(lived: dict[str, Any], tmp_path: Path) -> None:
    """Named while certificates of it are good and it has less than 90 days; the root, with less than 400."""
    data = tmp_path / "data"
    shutil.copytree(lived["data"], data)
    passphrase = Path(lived["passphrase_file"]).read_text().strip()
    shell = Shell(data)
    assert shell("ca", "add", "SERVICE CA-G5", SEKISHO_PASSPHRASE=passphrase).code == 0
    assert shell("ca", "activate", "SERVICE CA-G5", "--at", "now", SEKISHO_PASSPHRASE=passphrase).code == 0
    asyncio.run(_older_and_root(data, passphrase))


async def _older_and_root(data: Path, passphrase: str) -> None:
    async with opened_deployment(data, passphrase) as deployment:
        older = deployment.datadir.authority.issuers[1]
        states = {}
        for left in (91, 89):
            clock = _At(older.not_after_at - left * _DAY)
            at = replace(deployment, ra=replace(deployment.ra, clock=clock))
            found = {each.check: each for each in authority.CHECKS["earlier CA"](at)}
            states[left] = found["earlier CA"]
        # Nobody's certificate lives as long as that here: alive is what counts.
        assert [each.state for each in states.values()] == ["ok", "ok"]
        with sqlite3.connect(data / "sekisho.db") as db:
            db.execute("UPDATE certificates SET not_after_at = ?", [older.not_after_at])
        found = {each.check: each for each in authority.CHECKS["earlier CA"](at)}
        assert found["earlier CA"].state == "notice"
        assert "certificates still good" in found["earlier CA"].found
        root = int(deployment.datadir.root.not_valid_after_utc.timestamp())
        for left, state in ((1_099, "ok"), (1_097, "notice"), (-1, "bad")):
            late = replace(deployment, ra=replace(deployment.ra, clock=_At(root - left * _DAY)))
            found = {each.check: each for each in authority.CHECKS["earlier CA"](late)}
            assert found["root"].state == state


class _At:
    """A clock that stands."""

    def __init__(self, at: int) -> None:
        self._at = at

    def seconds(self) -> int:
        return self._at

    def reading(self) -> None:
        return None


# -- what was never set --------------------------------------------------------------------------------


def test_an_examples_words_are_named(sekisho: Shell) -> None:
    """On a gateway that others reach: name, telephone, sender and zone; one after the other they are set."""
    assert _checks(sekisho, "your own words")[0]["state"] == "ok"
    text = (sekisho.data / FILE_NAME).read_text().replace("localhost", "example.jp")
    (sekisho.data / FILE_NAME).write_text(text.replace('host = "example.jp"', 'host = "localhost"'))
    (found,) = _checks(sekisho, "your own words")
    assert found["state"] == "notice"
    for name in ("operator.name", "operator.telephone", "mail.from", "protocol.zone"):
        assert f"{name} is " in found["found"]
        assert name in found["hint"]
    _set(sekisho, operator__name='"関所商事"', mail__from='"a@example.jp"', protocol__zone='"g.example.jp"')
    (found,) = _checks(sekisho, "your own words")
    assert found["hint"].endswith("set operator.telephone, then sekisho reload")
    _set(sekisho, operator__telephone='"03-1234-5678"')
    assert _checks(sekisho, "your own words")[0]["state"] == "ok"
