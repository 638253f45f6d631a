"""Sealing at rest."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ca import sealing
from ca.errors import ConfigError
from ca.files import write_private
from ca.sealing import BrokenSeal, Vault, change_passphrase, create_vaults, open_vaults, read_passphrase
from tests.ca.conftest import CHEAP, PASSPHRASE


@pytest.fixture
def vault_file(tmp_path: Path) -> Path:
    create_vaults(tmp_path / "vault.json", PASSPHRASE, CHEAP)
    return tmp_path / "vault.json"


def test_what_is_sealed_opens_again_in_another_process(vault_file: Path) -> None:
    """The passphrase alone opens what was sealed; the file is readable by its owner only."""
    sealed = open_vaults(vault_file, PASSPHRASE).gateway.seal("key 1", b"secret")
    assert open_vaults(vault_file, PASSPHRASE).gateway.open("key 1", sealed) == b"secret"
    assert stat.S_IMODE(vault_file.stat().st_mode) == 0o600
    assert b"secret" not in sealed


def test_a_wrong_passphrase_opens_nothing(vault_file: Path) -> None:
    """A wrong passphrase is the operator's fault and says what to do."""
    with pytest.raises(ConfigError, match="type the passphrase again"):
        open_vaults(vault_file, PASSPHRASE + "x")


def test_the_default_cost_is_rfc_9106s_second_recommendation(tmp_path: Path) -> None:
    """argon2id with t=3, p=4, 64 MiB, and these are stored, so that they can be raised later."""
    create_vaults(tmp_path / "v", PASSPHRASE)
    document = json.loads((tmp_path / "v").read_text())
    assert (document["kdf"], document["iterations"], document["lanes"], document["memory_kib"]) == (
        "argon2id",
        3,
        4,
        65536,
    )
    open_vaults(tmp_path / "v", PASSPHRASE)


def test_another_purpose_does_not_open(vault_file: Path) -> None:
    """A value sealed for one purpose cannot be passed off as another."""
    vault = open_vaults(vault_file, PASSPHRASE).gateway
    with pytest.raises(BrokenSeal):
        vault.open("key 2", vault.seal("key 1", b"secret"))


@given(st.data())
def test_every_altered_byte_breaks_the_seal(data: st.DataObject) -> None:
    """Flipping any bit, or cutting anywhere, is noticed."""
    vault = Vault(b"k" * 32)
    sealed = vault.seal("p", b"secret")
    place = data.draw(st.integers(0, len(sealed) - 1))
    altered = bytearray(sealed)
    altered[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BrokenSeal):
        vault.open("p", bytes(altered))
    with pytest.raises(BrokenSeal):
        vault.open("p", sealed[:place])


@given(st.binary(max_size=200))
def test_any_bytes_open_or_break(content: bytes) -> None:
    """For any bytes: BrokenSeal and nothing else."""
    with pytest.raises(BrokenSeal):
        Vault(b"k" * 32).open("p", content)


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 2},
        {"memory_kib": 128},
        {"salt": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"kdf": "scrypt"},
        {"version": 2},
        {"memory_kib": 1 << 40},
        {"iterations": 10**9},
        {"lanes": "many"},
        {"wrapped": "AAAA"},
        {"salt": None},
    ],
)
def test_an_altered_vault_file_does_not_open(vault_file: Path, change: dict[str, object]) -> None:
    """Header, salt and wrapped key are all covered; absurd costs are refused before any work."""
    document = json.loads(vault_file.read_text()) | change
    write_private(vault_file, json.dumps(document).encode())
    with pytest.raises(ConfigError, match="backup"):
        open_vaults(vault_file, PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b"null"])
def test_garbage_is_not_a_vault(vault_file: Path, content: bytes) -> None:
    """A damaged file is the operator's matter, never a crash."""
    write_private(vault_file, content)
    with pytest.raises(ConfigError, match="not a vault"):
        open_vaults(vault_file, PASSPHRASE)


def test_a_new_passphrase_opens_what_the_old_one_sealed(vault_file: Path) -> None:
    """Changing the passphrase rewraps the data key; the old passphrase is dead."""
    sealed = open_vaults(vault_file, PASSPHRASE).gateway.seal("p", b"x")
    change_passphrase(vault_file, PASSPHRASE, "another passphrase", CHEAP)
    assert open_vaults(vault_file, "another passphrase").gateway.open("p", sealed) == b"x"
    with pytest.raises(ConfigError):
        open_vaults(vault_file, PASSPHRASE)


def test_changing_needs_the_old_passphrase(vault_file: Path) -> None:
    """A wrong old passphrase changes nothing."""
    before = vault_file.read_bytes()
    with pytest.raises(ConfigError):
        change_passphrase(vault_file, "not the passphrase", "another passphrase", CHEAP)
    assert vault_file.read_bytes() == before


def test_derived_keys_are_stable_and_apart() -> None:
    """The same purpose gives the same key after a restart; another purpose, or sealing, another one."""
    vault = Vault(b"k" * 32)
    assert vault.derive("nonces") == Vault(b"k" * 32).derive("nonces")
    assert len({vault.derive("nonces"), vault.derive("tokens"), vault._sealing_key("nonces")}) == 3


def test_a_vault_does_not_leak() -> None:
    """Neither printing nor pickling shows the key."""
    vault = Vault(b"k" * 32)
    assert "kkkk" not in repr(vault)
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(vault)


def test_a_composed_and_a_decomposed_passphrase_are_one(tmp_path: Path) -> None:
    """What a Mac types as two code points opens what a PC typed as one."""
    create_vaults(tmp_path / "v", "がががががががが", CHEAP)
    open_vaults(tmp_path / "v", "か\u3099" * 8)


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    """Less than eight characters protect nothing."""
    with pytest.raises(ConfigError, match="at least 8"):
        create_vaults(tmp_path / "v", "short", CHEAP)
    assert not (tmp_path / "v").exists()


def test_the_passphrase_comes_from_file_then_environment_then_prompt(tmp_path: Path) -> None:
    """The most explicit source wins, and one line break at the end of a file is not meant."""
    file = tmp_path / "p"
    file.write_text("from the file\n")
    environ = {"P": "from the environment"}
    assert read_passphrase("P", file, lambda: "asked", environ) == "from the file"
    assert read_passphrase("P", None, lambda: "asked", environ) == "from the environment"
    assert read_passphrase("P", None, lambda: "asked", {}) == "asked"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe"])
def test_a_passphrase_file_holds_one_line(tmp_path: Path, content: bytes) -> None:
    """An empty or odd source is an error, not a reason to try the next one."""
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ConfigError, match=str(tmp_path / "p")):
        read_passphrase("P", tmp_path / "p", lambda: "asked", {"P": "environment"})


def test_no_source_says_what_to_set() -> None:
    """Without any source the error names the variable and the option."""
    with pytest.raises(ConfigError, match="set P or name a file with --passphrase-file"):
        read_passphrase("P", environ={})


def test_a_failed_write_leaves_no_draft(tmp_path: Path) -> None:
    """A write that fails at the rename leaves what was there, and nothing beside it."""
    (tmp_path / "f" / "kept").mkdir(parents=True)
    with pytest.raises(OSError, match="f"):
        write_private(tmp_path / "f", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f" / "kept").is_dir()


def test_the_seal_is_versioned() -> None:
    """The first bytes say how it was sealed, so that another way can follow."""
    assert Vault(b"k" * 32).seal("p", b"").startswith(sealing._SEAL_VERSION)


def test_every_purpose_has_a_key_of_its_own() -> None:
    """Random nonces of one key are too few for all that is ever sealed, so none seals for two purposes."""
    vault = Vault(b"k" * 32)
    sealed = vault.seal("a", b"content")
    nonce, body = sealed[2:14], sealed[14:]
    assert AESGCM(vault._sealing_key("a")).decrypt(nonce, body, b"s1\0a") == b"content"
    with pytest.raises(InvalidTag):
        AESGCM(vault._sealing_key("b")).decrypt(nonce, body, b"s1\0a")
    assert len({vault._sealing_key("a"), vault._sealing_key("b"), vault.derive("a"), vault.derive("b")}) == 4


def test_a_secret_of_the_environment_is_forgotten() -> None:
    """Children do not inherit it, and the kernel no longer shows it to whoever may look at this process."""
    program = (
        "import os, ca.sealing as sealing\n"
        "before = b'Secret0815' in open('/proc/self/environ', 'rb').read()\n"
        "sealing.forget('P'), sealing.forget('P'), sealing.forget('ABSENT')\n"
        "after = b'Secret0815' in open('/proc/self/environ', 'rb').read()\n"
        "print(before, after, 'P' in os.environ, os.environ['KEPT'])\n"
    )
    environment = {**os.environ, "P": "Secret0815", "KEPT": "kept"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["True", "False", "False", "kept"]
