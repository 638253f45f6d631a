"""Keys in tokens (PKCS#11), with SoftHSM 2: what they sign, and what is said of every fault.

`tests/softhsm.py` makes the tokens; each test has a folder of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ca.errors import ConfigError
from ca.keys import KINDS, generate, to_pkcs8
from ca.sealing import Vault
from ca.signing import NoSignature, ToSign, key_id, signature, signature_now
from ca.tokenlink import PASSING, WORDS, Link, Refusals, Token, TokenKey, TokenTrouble
from ca.tokens import Tokens
from tests.softhsm import MODULE, PIN, TOKEN, WRONG_PIN, SoftHsm, hsm, key_named, needs_softhsm

pytestmark = needs_softhsm
__all__ = ["hsm"]

Opened = Callable[..., Tokens]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Tokens whose processes end with the test."""
    all_of_them = list[Tokens]()

    def open_them(*keys: TokenKey, pin: str = PIN, refusals: Refusals | None = None) -> Tokens:
        found = Tokens({each.name: each for each in keys}, lambda _: pin, refusals, change=True)
        all_of_them.append(found)
        return found

    yield open_them
    for each in all_of_them:
        each.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-3072"])
async def test_a_key_of_a_token_signs_as_a_file_does(hsm: SoftHsm, opened: Opened, kind: str) -> None:
    """Made there or taken in: what comes back is verified by the public key (RFC 8017, SEC 1)."""
    tokens, private = opened(), generate(kind)
    there, by = tokens.generate(key_named("made", "made", identifier="01"), kind)
    taken = key_named("taken", "taken", identifier="02")
    for public, signer in (
        (there, by),
        (private.public_key(), tokens.take(taken, to_pkcs8(private), private.public_key())),
    ):
        asked = ToSign(key_id(public), "own", os.urandom(3_000))
        assert await signature(signer, public, asked)
        assert signature_now(signer, public, asked)
        assert signer.prove().kind == kind


def test_a_list_of_any_length_crosses_as_its_digest(hsm: SoftHsm, opened: Opened, tmp_path: Path) -> None:
    """Tens of megabytes are read where they lie; what goes to the token is 32 octets."""
    public, signer = opened().generate(key_named("k", identifier="01"), "ec-p256")
    (tmp_path / "list").write_bytes(os.urandom(3 << 20))
    assert signature_now(signer, public, ToSign(key_id(public), "list", tmp_path / "list"))


def test_a_key_never_comes_out(hsm: SoftHsm, opened: Opened) -> None:
    """Made or taken in, it is sensitive and not extractable: another program may not read it, either."""
    tokens, private = opened(), generate("ec-p256")
    tokens.generate(key_named("made", identifier="01"), "ec-p256")
    tokens.take(key_named("taken", "taken", identifier="02"), to_pkcs8(private), private.public_key())
    listed = subprocess.run(
        [*_pkcs11_tool(), "--list-objects", "--type", "privkey"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert listed.count("Access:     sensitive") == 2
    assert listed.count("never extractable") == 1  # the other one was outside before
    assert " extractable" not in listed.replace("never extractable", "")
    assert listed.count("Usage:      sign\n") == 2


def test_two_signatures_of_the_same_are_not_the_same(hsm: SoftHsm, opened: Opened) -> None:
    """ECDSA of a token draws its own numbers: nobody may count on the bytes."""
    public, signer = opened().generate(key_named("k", identifier="01"), "ec-p256")
    asked = ToSign(key_id(public), "own", b"the same")
    assert signature_now(signer, public, asked) != signature_now(signer, public, asked)


async def test_a_token_that_was_away_signs_again_by_itself(hsm: SoftHsm, opened: Opened) -> None:
    """Meanwhile each is told at once that there is no signature; nobody types the PIN again."""
    asked_for = list[Token]()
    seconds = [0.0]

    def pin(token: Token) -> str:
        asked_for.append(token)
        return PIN

    with_pin = Link(TOKEN, pin, monotonic=lambda: seconds[0], change=True)
    tokens = Tokens({}, pin, change=True)
    tokens._links[TOKEN] = with_pin
    try:
        public, signer = tokens.generate(key_named("k", identifier="01"), "ec-p256")
        asked = ToSign(key_id(public), "own", b"bytes")
        assert await signature(signer, public, asked)
        hsm.take_away()
        with pytest.raises(NoSignature, match="does not answer"):
            await signature(signer, public, asked)
        seconds[0] += 2
        with pytest.raises(NoSignature, match="there is no token 'sekisho'"):
            await signature(signer, public, asked)
        process = with_pin._process
        hsm.give_back()
        with pytest.raises(NoSignature, match="there is no token"):  # within the rest nothing is tried
            await signature(signer, public, asked)
        assert with_pin._process is process is None
        seconds[0] += 2
        assert await signature(signer, public, asked)
        assert set(asked_for) == {TOKEN}
    finally:
        tokens.close()


def test_a_process_that_dies_is_followed_by_another(hsm: SoftHsm, opened: Opened) -> None:
    """A module that crashes takes its own process with it, and nothing else."""
    tokens = opened()
    public, signer = tokens.generate(key_named("k", identifier="01"), "ec-p256")
    link, asked = tokens.link(TOKEN), ToSign(key_id(public), "own", b"bytes")
    link._monotonic = lambda: 0.0
    assert link._process is not None
    link._process.kill()
    with pytest.raises(NoSignature, match="does not answer"):
        signature_now(signer, public, asked)
    link._monotonic = lambda: 10.0
    assert signature_now(signer, public, asked)


def test_the_processes_end_with_whoever_started_them(hsm: SoftHsm, opened: Opened) -> None:
    """Closed, or dead: no process with an open token stays behind."""
    tokens = opened()
    tokens.generate(key_named("k", identifier="01"), "ec-p256")
    process = tokens.link(TOKEN)._process
    assert process is not None
    assert process.poll() is None
    tokens.close()
    assert process.poll() is not None


# -- what is said of faults ----------------------------------------------------------------------------


def trouble_of(tokens: Tokens, key: TokenKey) -> TokenTrouble:
    tokens.keys[key.name] = key
    with pytest.raises(TokenTrouble) as caught:
        tokens.found(key.name)
    return caught.value


@pytest.mark.slow
def test_a_wrong_pin_is_tried_once(hsm: SoftHsm, opened: Opened, tmp_path: Path) -> None:
    """And never again by itself, by no other process either: a token locks itself after a few."""
    opened().generate(key_named("k", identifier="01"), "ec-p256")
    refusals = Refusals(tmp_path, Vault(b"k" * 32))
    tokens = opened(pin=WRONG_PIN, refusals=refusals)
    first = trouble_of(tokens, key_named("k"))
    assert first.code == "pin"
    assert "sekisho ca key pin hsm" in str(first)
    assert "a token locks itself after a few wrong ones" in str(first)
    process = tokens.link(TOKEN)._process
    assert trouble_of(tokens, key_named("k")) is first
    assert process is tokens.link(TOKEN)._process is None
    again = trouble_of(opened(pin=WRONG_PIN, refusals=refusals), key_named("k"))
    assert again.code == "refused"
    assert str(again).endswith(f"rm {refusals.file(TOKEN)}")
    assert WRONG_PIN not in refusals.file(TOKEN).read_text() + str(first) + str(again)
    # The twin: the right one is another one, and what was noted is forgotten.
    assert opened(key_named("k"), refusals=refusals).found("key")
    assert not refusals.file(TOKEN).exists()
    assert trouble_of(opened(pin=WRONG_PIN, refusals=refusals), key_named("k")).code == "pin"


@pytest.mark.slow
def test_a_pin_that_was_put_right_is_taken_without_a_restart(hsm: SoftHsm, tmp_path: Path) -> None:
    """Whoever writes the right one into its file has done what there was to do."""
    pins = [PIN]
    tokens = Tokens({}, lambda _: pins[0], change=True)
    try:
        tokens.generate(key_named("k", identifier="01"), "ec-p256")
        tokens.close()
        pins[0] = WRONG_PIN
        assert trouble_of(tokens, key_named("k")).code == "pin"
        pins[0] = PIN
        assert tokens.found("key")
    finally:
        tokens.close()


def _fault(name: str, hsm: SoftHsm, tokens: Tokens, folder: Path) -> TokenTrouble:
    """What is said when this is wrong, and nothing else."""
    good = key_named("k", identifier="01")
    tokens.generate(good, "ec-p256")

    def wrong(key: TokenKey) -> TokenTrouble:
        return trouble_of(tokens, key)

    match name:
        case "no module":
            (folder / "x.so").write_text("not a library")
            return wrong(key_named("k", token=Token("hsm", str(folder / "x.so"), "sekisho")))
        case "another library":
            library = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"
            return wrong(key_named("k", token=Token("hsm", library, "sekisho")))
        case "wrong token label":
            return wrong(key_named("k", token=Token("hsm", MODULE, "sekisyo")))
        case "wrong serial number":
            return wrong(key_named("k", token=Token("hsm", MODULE, "sekisho", "00ff")))
        case "two tokens":
            _another_token("sekisho")
            tokens.close()
            return wrong(key_named("k", token=Token("two", MODULE, "sekisho")))
        case "wrong key label":
            return wrong(key_named("K"))
        case "two keys":
            private = generate("ec-p256")
            two = key_named("two", identifier="02")
            tokens.take(two, to_pkcs8(private), private.public_key())
            _another_key_named("two")
            tokens.close()
            return wrong(key_named("two"))
        case "key of another kind":
            with pytest.raises(TokenTrouble) as caught:
                tokens.signer("key", generate("ec-p384").public_key()).prove()
        case "another certificate's key":
            with pytest.raises(TokenTrouble) as caught:
                tokens.signer("key", generate("ec-p256").public_key()).prove()
        case "a name that is taken":
            with pytest.raises(TokenTrouble) as caught:
                tokens.generate(good, "ec-p256")
        case "full":
            _full(tokens)
            with pytest.raises(TokenTrouble) as caught:
                tokens.generate(key_named("next", "next", identifier="05"), "ec-p256")
        case _:
            raise AssertionError(name)
    return caught.value


def _another_token(label: str) -> None:
    words = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678"]
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def _another_key_named(label: str) -> None:
    words = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", "09"]
    subprocess.run([*_pkcs11_tool(), *words], check=True, capture_output=True, timeout=60)


def _pkcs11_tool() -> list[str]:
    """Another program with the same token."""
    return ["pkcs11-tool", "--module", MODULE, "--login", "--pin", PIN]


def _full(tokens: Tokens) -> None:
    """As on a disk without room, for whoever writes there: root minds no mode of a directory."""
    process = tokens.link(TOKEN)._process
    assert process is not None
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))


FAULTS = {
    "no module": ("module", "write the path of your token's: tokens.hsm.module"),
    "another library": ("module", "write the path of your token's: tokens.hsm.module"),
    "wrong token label": (
        "no-token",
        "(tokens that are there: 'sekisho'); put it in, or write its name: tokens.hsm.label",
    ),
    "wrong serial number": ("no-token", "write its name: tokens.hsm.label"),
    "two tokens": ("several-tokens", "write one of those: tokens.two.serial"),
    "wrong key label": ("no-key", "(keys that are: 'k'); write its name: keys.key.label"),
    "two keys": ("several-keys", "write one of those: keys.key.id"),
    "key of another kind": ("kind", "name the right one: keys.key.label"),
    "another certificate's key": ("other", "name the right one: keys.key.label"),
    "a name that is taken": ("taken", "give the new one another name: --label NAME"),
    "full": ("full", "directories.tokendir)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_ends_with_what_to_type(hsm: SoftHsm, opened: Opened, tmp_path: Path, name: str) -> None:
    """One table of words; no fault is taken for another one."""
    code, end = FAULTS[name]
    found = _fault(name, hsm, opened(), tmp_path)
    assert found.code == code
    assert str(found).endswith(end)
    assert PIN not in str(found)


def test_every_word_is_reached_by_a_test(request: pytest.FixtureRequest) -> None:
    """A row that nothing leads to would be a promise that nobody keeps."""
    elsewhere = {"pin", "refused", "gone", "locked", "library", "no-public", "later"}
    assert {code for code, _ in FAULTS.values()} | elsewhere == set(WORDS)
    assert set(WORDS) >= PASSING


def test_without_the_library_the_extra_is_named(
    hsm: SoftHsm, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever installed sekisho without it is told how to get it."""
    (tmp_path / "pkcs11.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    found = trouble_of(opened(), key_named("k"))
    assert found.code == "library"
    assert str(found).endswith("pip install 'sekisho[pkcs11]'")


def test_a_key_without_its_public_half_signs_for_a_certificate(hsm: SoftHsm, opened: Opened) -> None:
    """Some tokens keep none; whose it is shows its signature. Without a certificate nothing says."""
    tokens = opened()
    public, _ = tokens.generate(key_named("k", identifier="01"), "ec-p256")
    subprocess.run(
        [*_pkcs11_tool(), "--delete-object", "--type", "pubkey", "--id", "01"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    tokens.close()
    assert tokens.signer("key", public).prove()
    with pytest.raises(TokenTrouble) as caught:
        tokens.signer("key", generate("ec-p256").public_key()).prove()
    assert caught.value.code == "other"
    assert trouble_of(tokens, key_named("k")).code == "no-public"


def test_kinds_of_keys_are_those_of_files() -> None:
    """What a CA of ours may have it may have in a token as well."""
    from ca import tokenhost

    assert {*tokenhost._CURVES, *tokenhost._BITS} == set(KINDS) - {"ed25519"}


def test_the_pin_of_nobody_is_asked_for_once(hsm: SoftHsm) -> None:
    """Where there is none that is said, and the token is left alone."""

    def none(_: Token) -> str:
        raise ConfigError("no PIN was given")

    tokens = Tokens({"key": key_named("k")}, none)
    try:
        with pytest.raises(ConfigError, match="no PIN was given"):
            tokens.found("key")
        assert tokens.link(TOKEN)._process is None
    finally:
        tokens.close()
