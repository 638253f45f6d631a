"""Whose files and ports they are: whoever may not use them is told what to type, not of "a fault of ours"."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.failures import failure_of
from gateway.running.ports import unusable
from tests.cli.conftest import Shell
from tests.cli.processes import SEKISHO
from tests.datadirs import PASSPHRASE

# Somebody without an account: numbers are as good as names.
_OTHER = 54_321
as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root")


def _without(capabilities: str, data: Path, *words: str) -> dict[str, Any]:
    """The answer of a command that may do less than root."""
    dropped = ",".join(f"-{each}" for each in capabilities.split())
    line = ["setpriv", "--bounding-set", dropped, SEKISHO, *words, "--data", str(data), "--json"]
    environment = os.environ | {"SEKISHO_PASSPHRASE": PASSPHRASE}
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=60)
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def _give(path: Path, uid: int) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, uid, uid)


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("words", [("serve",), ("doctor",), ("reload",), ("passphrase", "change")])
def test_a_directory_that_is_closed_to_us(sekisho: Shell, words: tuple[str, ...]) -> None:
    """Without the right to look into it, every command says whose it is and how to run as that user."""
    _give(sekisho.data, _OTHER)
    sekisho.data.chmod(0o700)
    error = _without("dac_override dac_read_search", sekisho.data, *words)["error"]
    assert error["code"] == "config"
    assert error["message"].startswith(f"{sekisho.data} belongs to {_OTHER}, and this runs as root; ")
    assert error["message"].endswith(f"or make it yours: chown -R root {sekisho.data}")


@as_root
def test_root_makes_nothing_that_its_owner_cannot_read(sekisho: Shell, tmp_path: Path) -> None:
    """Root is refused in another user's directory, also in one that is only to become a data directory."""
    _give(sekisho.data, _OTHER)
    before = sorted(sekisho.data.rglob("*"))
    for words in (("doctor",), ("serve",), ("org", "add", "12345678", "A"), ("passphrase", "change")):
        assert f"runuser -u {_OTHER} -- sekisho" in sekisho(*words).error["message"]
    assert sorted(sekisho.data.rglob("*")) == before
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", _OTHER, _OTHER)
    assert f"belongs to {_OTHER}" in Shell(tmp_path / "state")("init").error["message"]
    # To ask for a reload makes nothing: root may.
    assert "nothing serves" in sekisho("reload").error["message"]
    _give(sekisho.data, 0)
    assert sekisho("doctor").code == 0


@pytest.mark.slow
@as_root
def test_files_of_somebody_else(sekisho: Shell) -> None:
    """A file in it that is not ours is found by the doctor; whoever stumbles over it is told its name."""
    key = sekisho.data / "servers" / "ca.key"
    os.chown(key, _OTHER, _OTHER)
    (found,) = [each for each in sekisho("doctor").value["checks"] if each["check"] == "permissions"]
    assert (found["state"], found["hint"]) == ("bad", f"chown -R root {sekisho.data}")
    assert found["found"].endswith(f": {key}")
    lock = sekisho.data / "sekisho.db.lock"
    os.chown(lock, _OTHER, _OTHER)
    os.chown(key, 0, 0)
    error = _without("dac_override dac_read_search", sekisho.data, "doctor")["error"]
    assert (error["code"], error["message"]) == ("config", f"{lock}: Permission denied")
    assert error["hint"].startswith(f"See whose it is: ls -l {lock}; ")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((each, "config") for each in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)),
        (errno.EIO, "config"),
        (errno.EBADF, "internal"),
    ],
)
def test_what_is_wrong_with_a_file(number: int, code: str) -> None:
    """What an operator can mend ends with what to type; what else a disk says stays ours to look at."""
    failure = failure_of(OSError(number, os.strerror(number), "/d/sekisho.db"))
    assert failure.code == code
    assert "/d/sekisho.db" in failure.message
    of_the_machine = number in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    assert failure_of(PermissionError(number, "no file")).code == ("config" if of_the_machine else "internal")


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_only_root_may_take(sekisho: Shell, workers: str) -> None:
    """Port 443 without the capability: the hint is the capability, not to stop somebody."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 443:
        pytest.skip("everybody may take port 443 here")
    file = sekisho.data / "sekisho.toml"
    file.write_text(file.read_text().replace("port = 8443", "port = 443", 1))
    error = _without("net_bind_service", sekisho.data, "serve", "--workers", workers)["error"]
    assert error["message"] == (
        "listen.port: 127.0.0.1 port 443 cannot be used (Permission denied); below 1024 it takes "
        "CAP_NET_BIND_SERVICE, as the unit for systemd gives, or another port"
    )


def test_an_address_of_another_machine(sekisho: Shell) -> None:
    """The setting that is named is the one that is wrong."""
    file = sekisho.data / "sekisho.toml"
    file.write_text(file.read_text().replace('host = "127.0.0.1"', 'host = "192.0.2.1"', 1))
    message = sekisho("serve").error["message"]
    assert message.startswith("listen.host: 192.0.2.1 port 8443 cannot be used (Cannot assign requested")
    assert message.endswith("see its own with ip addr, or write '0.0.0.0'")
    taken = unusable("internal", "127.0.0.1", 9441, OSError(errno.EADDRINUSE, "asyncio's words"))
    assert str(taken) == (
        "internal.port: 127.0.0.1 port 9441 cannot be used (Address already in use); "
        "stop what uses it, or write another port"
    )
