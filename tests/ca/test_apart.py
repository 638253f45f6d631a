"""The keys move to the signer's user, as root, in directories that others may write to meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ca import apart, datadir
from ca.errors import ConfigError
from tests.datadirs import CHEAP, PASSPHRASE

GATEWAY, SIGNER = 61_401, 61_402
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    datadir.create(path, PASSPHRASE, 1_700_000_000, cost=CHEAP)
    (path / "sekisho.toml").write_text("")
    (path / "sekisho.db").write_text("x")
    for each in (path, *path.rglob("*")):
        os.chown(each, GATEWAY, GATEWAY)
    return path


def test_the_keys_are_the_signers_and_nowhere_else(data: Path, tmp_path: Path) -> None:
    """Its directory lets nobody in but its user; in the gateway's no key is left, and both have the
    register."""
    home = tmp_path / "home"
    moved = apart.part(data, home, SIGNER, "sekisho.toml")
    apart.share(data, "sekisho.db")
    assert sorted(moved) == sorted(str(each.relative_to(home)) for each in home.rglob("*.key"))
    assert len(moved) == 2
    assert list((data / "ca").glob("*.key")) == [] == list(data.rglob("stop.sealed"))
    for each in (home, *home.rglob("*")):
        found = each.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o077) == (SIGNER, GATEWAY, 0), each
    found = (data / "sekisho.db").stat()
    assert (found.st_uid, found.st_mode & 0o777, data.stat().st_mode & 0o777) == (GATEWAY, 0o660, 0o770)
    assert apart.home_of(data) == home
    assert "belongs to" in str(apart.troubles(data, home, "sekisho.db"))


def test_what_the_gateway_writes_of_a_ca_later_changes_nothing(data: Path, tmp_path: Path) -> None:
    """A second time, after a crash or for a new CA: what the signer knows of a CA holds; another root's
    directory is refused, and so is a user who is the gateway's."""
    home = tmp_path / "home"
    with pytest.raises(ConfigError, match="is the user who serves, or root"):
        apart.part(data, home, GATEWAY, "sekisho.toml")
    apart.part(data, home, SIGNER, "sekisho.toml")
    before = datadir.read_marker(home)["issuers"]
    marker = json.loads((data / datadir.MARKER).read_text())
    marker["issuers"][0]["site"] = {"crl": "http://attacker.example/none.crl"}
    (data / datadir.MARKER).write_text(json.dumps(marker))
    (data / f"ca/issuing-{before[0]['id'][:16]}.pem").write_text("another")
    (data / "sekisho.toml").write_text("[signer]\nper_hour = 1000000\n")
    apart.part(data, home, SIGNER, "sekisho.toml")
    assert datadir.read_marker(home)["issuers"] == before
    assert "another" not in (home / f"ca/issuing-{before[0]['id'][:16]}.pem").read_text()
    assert (home / "sekisho.toml").read_text() == ""
    (home / "ca/root.pem").write_text("another's")
    with pytest.raises(ConfigError, match="is another CA's"):
        apart.part(data, home, SIGNER, "sekisho.toml")


def test_links_lead_root_nowhere(data: Path, tmp_path: Path) -> None:
    """Whoever has the gateway's user puts links where root gives files away and opens the register: what they
    lead to stays as it was, by a symbolic link, by a second name, and by a directory that is exchanged."""
    shadow, folder = tmp_path / "shadow", tmp_path / "etc"
    shadow.write_text("secret")
    folder.mkdir()
    (folder / "sekisho.db-inner").write_text("secret")
    for each in (shadow, folder / "sekisho.db-inner"):
        each.chmod(0o600)
    (data / "sekisho.db-link").symlink_to(shadow)
    (data / "there").symlink_to(folder)
    os.link(shadow, data / "sekisho.db-second")
    os.mkfifo(data / "sekisho.db-pipe")
    (data / "made-by-root").write_text("")
    apart.share(data, "sekisho.db")
    for each in (shadow, folder / "sekisho.db-inner"):
        assert (each.stat().st_uid, each.stat().st_mode & 0o777) == (0, 0o600), each
    assert (data / "made-by-root").stat().st_uid == GATEWAY
    assert (data / "sekisho.db").stat().st_mode & 0o777 == 0o660
