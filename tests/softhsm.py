"""SoftHSM 2: tokens (PKCS#11) that are folders, for tests. Away means: renamed."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from ca.keyplaces import place_of, stem_of
from ca.keys import to_pkcs8
from ca.signing import Keyring, Signer
from ca.tokenlink import Token, TokenKey
from ca.tokens import Tokens
from enroll.ra import RegistrationAuthority
from tests.signers import file_keys, given_to

_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
MODULE = next((each for each in _PLACES if Path(each).exists()), "")
PIN, WRONG_PIN, SO_PIN = "8423-kilo", "0000-wrong", "5678"

_missing = [
    *([] if MODULE and shutil.which("softhsm2-util") else ["softhsm2 (apt install softhsm2)"]),
    *([] if importlib.util.find_spec("pkcs11") else ["python-pkcs11 (pip install 'sekisho[pkcs11]')"]),
]
needs_softhsm = pytest.mark.skipif(bool(_missing), reason=f"not here: {', '.join(_missing)}")
TOKEN = Token("hsm", MODULE, "sekisho")


@dataclass(frozen=True)
class SoftHsm:
    """A folder of tokens. Whoever is to see them has ``SOFTHSM2_CONF`` set to `conf`."""

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "softhsm2.conf"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    def take_away(self) -> None:
        self.tokens.rename(self.folder / "away")
        self.tokens.mkdir()

    def give_back(self) -> None:
        self.tokens.rmdir()
        (self.folder / "away").rename(self.tokens)


def key_named(label: str, name: str = "key", token: Token = TOKEN, identifier: str = "") -> TokenKey:
    return TokenKey(name, token, label, identifier)


def made(folder: Path, *labels: str) -> SoftHsm:
    """New tokens of these labels in a new folder: a copy of those that were made first."""
    hsm = _configured(folder)
    shutil.copytree(_initialised(labels), hsm.tokens)
    return hsm


def _configured(folder: Path) -> SoftHsm:
    folder.mkdir(parents=True, exist_ok=True)
    hsm = SoftHsm(folder)
    hsm.conf.write_text(
        f"directories.tokendir = {hsm.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    return hsm


@cache
def _initialised(labels: tuple[str, ...]) -> Path:
    """A folder of new tokens; to make one takes longer than most of what is done with it."""
    kept = tempfile.TemporaryDirectory(prefix="sekisho-tokens-")
    atexit.register(kept.cleanup)
    hsm = _configured(Path(kept.name))
    hsm.tokens.mkdir()
    for label in labels:
        words = ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]
        its = {"SOFTHSM2_CONF": str(hsm.conf)}
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True, env=its, timeout=60)
    return hsm.tokens


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    found = made(tmp_path / "hsm", "sekisho")
    monkeypatch.setenv("SOFTHSM2_CONF", str(found.conf))
    return found


@contextmanager
def in_token(ra: RegistrationAuthority, data: Path) -> Iterator[Tokens]:
    """Lets a registration authority sign with its issuing keys in the token, and takes their files away."""
    tokens = Tokens({}, lambda _: PIN, change=True)
    try:
        holders = dict[str, Signer]()
        for name, key in file_keys(ra.authority.signer).items():
            place = place_of(stem_of(name))
            named = TokenKey(place, TOKEN, place, name)
            holders[name] = tokens.take(named, to_pkcs8(key), key.public_key())
            (data / f"{stem_of(name)}.key").unlink()
        given_to(ra, Keyring(holders))
        yield tokens
    finally:
        tokens.close()
