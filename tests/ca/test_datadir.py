"""The data directory: whole or not at all, and sealed."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import apart, datadir
from ca.anchors import TrustAnchors
from ca.authority import Authority
from ca.certificates import public_key_of
from ca.crls import number_and_time
from ca.errors import ConfigError
from ca.keyplaces import place_of, stem_of
from ca.keys import kind_of, to_pkcs8
from ca.publication import Places
from ca.revocation import RevocationStatus
from ca.trust import Presentation, VerifiedPeer, judge
from gateway.serving.config import parse_config
from gateway.serving.tokens import keys_in
from tests.ca.conftest import AT, CHEAP, DAY, PASSPHRASE, issue_person
from tests.signers import file_keys
from tests.started import started

YEAR = 365 * DAY


def _make(path: Path, **more: object) -> datadir.DataDir:
    return datadir.create(path, PASSPHRASE, AT, cost=CHEAP, **more)  # type: ignore[arg-type]


def test_what_was_made_is_opened_again(tmp_path: Path) -> None:
    """Everything comes back with the passphrase: keys, chain, names, time."""
    made = _make(tmp_path / "d")
    again = datadir.load(tmp_path / "d", PASSPHRASE)
    assert again.authority.current.der == made.authority.current.der
    assert again.created_at == AT
    assert again.root == made.root
    assert again.server_ca.certificate == made.server_ca.certificate
    assert again.server_ca.certificate.issuer != again.root.subject


def test_nothing_in_it_is_readable_by_others_or_in_the_clear(tmp_path: Path) -> None:
    """Directories 0700, keys 0600 and sealed; no PKCS#8 anywhere."""
    made = _make(tmp_path / "d")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    files = [p for p in made.path.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".json", ".pem", ".key", ".crl", ".sealed"}
    secret = to_pkcs8(file_keys(made.authority.signer)[made.authority.current.issuer_id])[36:68]
    assert all(secret not in each for each in (repr(made).encode(), repr(made.authority).encode()))
    for file in files:
        if file.suffix == ".key":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert secret not in file.read_bytes()
            assert b"PRIVATE" not in file.read_bytes()


def test_key_kinds_are_chosen_by_argument(tmp_path: Path) -> None:
    """EC by default, RSA where old software must verify; others are refused by name."""
    made = _make(tmp_path / "d", issuing_key="rsa-2048", root_key="rsa-3072")
    assert kind_of(public_key_of(made.authority.current.certificate)) == "rsa-2048"
    assert issue_person(made.authority).der
    with pytest.raises(ConfigError, match="use one of ec-p256"):
        _make(tmp_path / "e", issuing_key="ed25519")
    assert not (tmp_path / "e").exists()


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    """Neither another's files nor an existing CA are ever overwritten."""
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty; name a new directory"):
        _make(tmp_path)
    made = _make(tmp_path / "d")
    before = {p: p.read_bytes() for p in made.path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="holds a CA already"):
        _make(tmp_path / "d")
    assert before == {p: p.read_bytes() for p in made.path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="is a file"):
        _make(tmp_path / "letter.txt")


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    """The twin: a mounted volume is there before, and empty."""
    (tmp_path / "d").mkdir(mode=0o755)
    assert stat.S_IMODE(_make(tmp_path / "d").path.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["vault.json", "ca/root.pem", "servers/ca.key", "servers/ca.pem"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """What is gone is named, with what to look at."""
    made = _make(tmp_path / "d")
    (made.path / name).unlink()
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        datadir.load(made.path, PASSPHRASE)


def test_the_root_key_may_be_kept_elsewhere(tmp_path: Path) -> None:
    """Issuing needs no root key, so it can lie in a safe; making a new issuing CA asks for it."""
    made = _make(tmp_path / "d")
    (made.path / "ca/root.key").unlink()
    assert issue_person(datadir.load(made.path, PASSPHRASE).authority).der
    with pytest.raises(ConfigError, match=r"ca/root\.key is kept elsewhere; put it back"):
        datadir.add_issuer(made.path, PASSPHRASE, "CA-G5", AT)


def test_swapped_keys_are_noticed(tmp_path: Path) -> None:
    """A sealed key put in another's place does not open: each is sealed for its own name."""
    made = _make(tmp_path / "d")
    (made.path / "servers/ca.key").write_bytes((made.path / "ca/root.key").read_bytes())
    with pytest.raises(ConfigError, match=r"servers/ca\.key was altered"):
        datadir.load(made.path, PASSPHRASE)


def test_another_directorys_certificate_is_noticed(tmp_path: Path) -> None:
    """A foreign root, or a foreign issuing CA, does not load."""
    made, other = _make(tmp_path / "d"), _make(tmp_path / "e")
    (made.path / "ca/root.pem").write_bytes((other.path / "ca/root.pem").read_bytes())
    with pytest.raises(ConfigError, match="not issued by"):
        datadir.load(made.path, PASSPHRASE)


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1}', '{"format": 2}', "[]"])
def test_a_damaged_marker_is_named(tmp_path: Path, content: str) -> None:
    """A marker from a newer version, or garbage, is refused."""
    made = _make(tmp_path / "d")
    (made.path / "sekisho.json").write_text(content)
    with pytest.raises(ConfigError, match=r"sekisho\.json|format 2"):
        datadir.load(made.path, PASSPHRASE)


def test_no_data_directory_says_how_to_make_one(tmp_path: Path) -> None:
    """The error ends with the command."""
    with pytest.raises(ConfigError, match=r"sekisho init --data .*/none$"):
        datadir.load(tmp_path / "none", PASSPHRASE)


def test_a_new_generation_issues_and_the_old_one_stays_trusted(tmp_path: Path) -> None:
    """E17: after G4 comes G5; certificates of both are verified, each chain and P12 holds its own CA."""
    g4 = _make(tmp_path / "d").authority
    old = issue_person(g4)
    g5 = datadir.add_issuer(tmp_path / "d", PASSPHRASE, "BUSINESS SERVICE CA-G5", AT + YEAR).authority
    new = issue_person(g5, at=AT + YEAR)
    assert [i.common_name for i in g5.issuers] == ["BUSINESS SERVICE CA-G5", g4.current.common_name]
    assert g5.chain_der(old.der) == (old.der, g4.current.der)
    assert g5.chain_der(new.der) == (new.der, g5.current.der)
    assert g5.chain_pem(new.der).count(b"BEGIN CERTIFICATE") == 2
    anchors = TrustAnchors.of([i.certificate for i in g5.issuers])
    names = [_issuer_name(anchors, one, AT + YEAR) for one in (old.der, new.der)]
    assert names == [g4.current.common_name, "BUSINESS SERVICE CA-G5"]
    with pytest.raises(ConfigError, match="already is an issuing CA"):
        datadir.add_issuer(tmp_path / "d", PASSPHRASE, "BUSINESS SERVICE CA-G5", AT)
    # The old issuer still signs its own list, and an open reservation of its own.
    assert g5.crl(g4.current.issuer_id, [], 1, AT, AT + DAY)
    assert g5.certify_now(old.reservation) == old.der


def _issuer_name(anchors: TrustAnchors, leaf: bytes, at: int) -> str:
    peer = judge(Presentation(leaf, verified=True), anchors, lambda _: RevocationStatus.GOOD, at)
    assert isinstance(peer, VerifiedPeer)
    return peer.issuer_name


def test_a_foreign_leaf_has_no_issuer_here(authority: Authority, tmp_path: Path) -> None:
    """No chain is made up for what another CA signed."""
    other = issue_person(_make(tmp_path / "d").authority)
    with pytest.raises(KeyError):
        authority.chain_der(other.der)


def test_an_issuing_ca_ends_with_its_root(tmp_path: Path) -> None:
    """A CA made late in the root's life does not outlive it, nor do its leaves."""
    made = _make(tmp_path / "d")
    late = AT + 19 * YEAR
    g5 = datadir.add_issuer(made.path, PASSPHRASE, "G5", late).authority
    root_end = int(made.root.not_valid_after_utc.timestamp())
    assert g5.current.not_after_at == root_end
    assert issue_person(g5, at=late).reservation.not_after_at == root_end


_CHILD = """
import sys
from pathlib import Path
from ca import datadir
from ca.sealing import PassphraseCost
print("ready", flush=True)
datadir.create(Path(sys.argv[1]), "correct horse battery", 1800000000,
               cost=PassphraseCost(1, 1, 64))
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_kill_half_way_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    """kill -9 at random moments: the directory either loads whole, or says it is unfinished and is made
    anew by the next init."""
    chance = random.Random(7)
    outcomes = set()
    for i in range(12):
        path = tmp_path / f"d{i}"
        command = [sys.executable, "-c", _CHILD, str(path)]
        with started(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(chance.uniform(0, 0.025))
            os.kill(child.pid, signal.SIGKILL)
        try:
            datadir.load(path, PASSPHRASE)
            outcomes.add("whole")
        except ConfigError as error:
            outcomes.add("unfinished" if "sekisho init" in str(error) else str(error))
            assert issue_person(_make(path).authority).der
    assert "unfinished" in outcomes
    assert outcomes <= {"whole", "unfinished"}


def test_an_unfinished_directory_with_a_strangers_file_is_not_taken(tmp_path: Path) -> None:
    """Only what init itself left is made anew."""
    (tmp_path / "UNFINISHED").write_text("")
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        _make(tmp_path)


def test_subjects_are_chosen_by_argument(tmp_path: Path) -> None:
    """Another operator has other names; what no certificate can hold is refused before anything is made."""
    names = datadir.Names(issuing="CA X", root="ROOT X", organization="", country="")
    made = _make(tmp_path / "d", names=names)
    assert made.authority.current.certificate.subject.rfc4514_string() == "CN=CA X"
    assert made.root.subject.rfc4514_string() == "CN=ROOT X"


@pytest.mark.parametrize(
    "names",
    [
        datadir.Names(country="JAPAN"),
        datadir.Names(organization="O" * 65),
        datadir.Names(organization="A\nB"),
        datadir.Names(issuing="CA\0X"),
        datadir.Names(root=" ROOT"),
        datadir.Names(issuing=""),
        datadir.Names(issuing="C" * 65),
    ],
)
def test_a_name_that_a_certificate_cannot_carry_is_refused_before_anything_is_made(
    tmp_path: Path, names: datadir.Names
) -> None:
    """RFC 5280 appendix A.1: bounds of the parts; and what cannot be read cannot be compared."""
    with pytest.raises(ConfigError, match=r"^the CA's name is not usable .*; give another one$"):
        _make(tmp_path / "d", names=names)
    assert not (tmp_path / "d").exists()


def test_japanese_names(tmp_path: Path) -> None:
    """RFC 5280 section 4.1.2.4: UTF8String, and the leaf names its issuer byte for byte."""
    names = datadir.Names(issuing="年金サービス認証局", organization="企業年金ビジネスサービス株式会社")
    made = _make(tmp_path / "d", names=names).authority
    leaf = x509.load_der_x509_certificate(issue_person(made).der)
    assert leaf.issuer.public_bytes() == made.current.certificate.subject.public_bytes()
    assert b"\x0c\x30" + names.organization.encode() in leaf.issuer.public_bytes()


@pytest.mark.parametrize(
    "url", ["crl.example/g4.crl", "ldap://crl.example/", "http://", "http://年金.example/", "http://a b/",
            "http://a:0/"],
)  # fmt: skip
def test_an_address_that_nobody_could_fetch_from_is_refused(tmp_path: Path, url: str) -> None:
    """RFC 5280 section 4.2.1.13: it stands in every certificate as long as the CA lives."""
    _make(tmp_path / "e")
    for site in (Places(crl=url), Places(url)):
        with pytest.raises(ConfigError, match=r"is no address of a CRL"):
            _make(tmp_path / "d", site=site)
        with pytest.raises(ConfigError, match=r"is no address of a CRL"):
            datadir.add_issuer(tmp_path / "e", PASSPHRASE, "CA-G5", AT, site=site)
    assert not (tmp_path / "d").exists()


def test_an_https_address_is_refused_with_the_reason(tmp_path: Path) -> None:
    """RFC 5280 section 8: whoever checks a certificate would have to check another one first."""
    for site in (Places("https://pki.example"), Places(crl="https://pki.example/a.crl")):
        with pytest.raises(
            ConfigError, match=r"has to check that server's first.*: write http://pki\.example"
        ):
            _make(tmp_path / "d", site=site)


@pytest.mark.parametrize(
    ("site", "why"),
    [
        (Places("http://pki.example", None, 3), r"3 shards: write one of 0, 2, 4, 8"),
        (Places("", None, 4), r"shards have addresses below --revocation-url"),
        (Places("http://pki.example", "http://other.example/a.crl", 4), r"shards have addresses below"),
    ],
)
def test_shards_that_have_no_addresses_are_refused(tmp_path: Path, site: Places, why: str) -> None:
    """Their number is fixed when the CA is made, and each certificate names its own."""
    with pytest.raises(ConfigError, match=why):
        _make(tmp_path / "d", site=site)


def _urls(certificate: x509.Certificate) -> tuple[list[str], dict[str, str]]:
    """What it says of where to ask: of lists, and by what otherwise."""
    points, access = list[str](), dict[str, str]()
    for each in certificate.extensions:
        if isinstance(each.value, x509.CRLDistributionPoints):
            points += [name.value for point in each.value for name in point.full_name or ()]
            assert not each.critical
        if isinstance(each.value, x509.AuthorityInformationAccess):
            access |= {one.access_method._name: one.access_location.value for one in each.value}
            assert not each.critical
    return points, access


def test_certificates_say_from_the_first_day_where_to_ask(tmp_path: Path) -> None:
    """RFC 5280 sections 4.2.1.13 and 4.2.2.1: what init was told is in what is issued later; the issuing
    CA's own certificate says the same of its root. Another address is another generation's."""
    _make(tmp_path / "d", site=Places("http://pki.example/"))
    opened = datadir.load(tmp_path / "d", PASSPHRASE)
    issuer = opened.authority.current
    own, root = issuer.issuer_id[:16], issuer.root_id[:16]
    leaf = x509.load_der_x509_certificate(issue_person(opened.authority).der)
    access = {"OCSP": "http://pki.example/ocsp", "caIssuers": f"http://pki.example/ca/{own}.cer"}
    assert _urls(leaf) == ([f"http://pki.example/crl/{own}.crl"], access)
    above = {"caIssuers": f"http://pki.example/ca/{root}.cer"}
    assert _urls(issuer.certificate) == ([f"http://pki.example/crl/{root}.crl"], above)
    assert _urls(opened.root) == ([], {})
    later = datadir.add_issuer(tmp_path / "d", PASSPHRASE, "CA-G5", AT, site=Places("http://new.example"))
    assert later.authority.issuers[1].site == issuer.site
    leaf = x509.load_der_x509_certificate(issue_person(later.authority).der)
    assert _urls(leaf)[1]["OCSP"] == "http://new.example/ocsp"


def test_each_certificate_names_its_shard(tmp_path: Path) -> None:
    """So many lists as the CA was made with: the last octet of the serial says which."""
    made = _make(tmp_path / "d", site=Places("http://pki.example", None, 4)).authority
    for _ in range(6):
        leaf = x509.load_der_x509_certificate(issue_person(made).der)
        shard = f"http://pki.example/crl/{made.current.issuer_id[:16]}/{leaf.serial_number % 4}.crl"
        assert _urls(leaf)[0] == [shard]


def test_without_an_address_nothing_is_said(tmp_path: Path) -> None:
    """The twin: a trial's certificates name nobody's host; one of the list alone is that alone."""
    plain = _make(tmp_path / "d").authority
    assert _urls(x509.load_der_x509_certificate(issue_person(plain).der)) == ([], {})
    assert _urls(plain.current.certificate) == ([], {})
    url = "http://crl.example/g4.crl"
    alone = _make(tmp_path / "e", site=Places(crl=url)).authority
    assert _urls(x509.load_der_x509_certificate(issue_person(alone).der)) == ([url], {})


def test_the_root_has_a_list_whose_number_and_time_never_go_back(tmp_path: Path) -> None:
    """RFC 5280 section 5.2.3: made with the root, with each CA below it and by hand, for a year; a clock
    that was set back makes none of yesterday. It is of CAs only, critically."""
    opened = _make(tmp_path / "d")
    seen = [opened.authority.root_list]
    seen.append(datadir.add_issuer(tmp_path / "d", PASSPHRASE, "CA-G5", AT + 5).authority.root_list)
    seen.append(datadir.renew_root_list(opened, AT - 500))
    read = [x509.load_der_x509_crl(each) for each in seen]
    assert [number_and_time(each) for each in seen] == [(1, AT), (2, AT + 5), (3, AT + 5)]
    for each in read:
        assert each.is_signature_valid(opened.root.public_key())  # type: ignore[arg-type]
        scope = each.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert scope.critical
        assert scope.value.only_contains_ca_certs
        assert each.next_update_utc - each.last_update_utc == timedelta(days=366)
    assert datadir.load(tmp_path / "d", PASSPHRASE).authority.root_list == seen[-1]
    (tmp_path / "d/ca/root.key").unlink()
    with pytest.raises(ConfigError, match=r"root\.key is kept elsewhere; put it back"):
        datadir.renew_root_list(opened, AT)


def test_the_key_of_one_that_is_put_away_is_not_wanted(tmp_path: Path) -> None:
    """It opens without its file, has no place for it, and passes a token's table over that names it; the
    signer's own directory learns it when root parts the keys again. Others' keys are wanted as ever."""
    made = datadir.create(tmp_path / "d", PASSPHRASE, AT, cost=CHEAP)
    old, path = made.authority.current, made.path
    datadir.add_issuer(path, PASSPHRASE, "G5", AT)
    (path / f"{stem_of(old.issuer_id)}.key").rename(tmp_path / "key")
    with pytest.raises(ConfigError, match="sealed key"):
        datadir.load(path, PASSPHRASE)
    assert datadir.discarded_places(path) == frozenset()
    for at in (AT + 1, AT + 2):
        datadir.discard(path, old.issuer_id, at)
    opened = datadir.load(path, PASSPHRASE).authority
    assert [(each.common_name, each.discarded_at) for each in opened.issuers] == [
        ("G5", None), (old.common_name, AT + 1),
    ]  # fmt: skip
    assert [each.common_name for each in opened.at_work] == ["G5"]
    assert old.issuer_id[:16] not in " ".join(datadir.places_of(path))
    place = place_of(stem_of(old.issuer_id))
    text = '[tokens.hsm]\nmodule = "/m"\nlabel = "l"\n'
    for name, there in ((place, []), ("root", ["root"])):
        config = parse_config(f'{text}[keys.{name}]\ntoken = "hsm"\nlabel = "k"\n')
        assert list(keys_in(path, config)) == there


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files to others")
def test_the_signers_directory_learns_that_one_is_put_away(tmp_path: Path) -> None:
    """When root parts the keys again; whatever else is written there of a CA changes nothing."""
    made = datadir.create(tmp_path / "d", PASSPHRASE, AT, cost=CHEAP)
    old, home = made.authority.current, tmp_path / "home"
    (made.path / "sekisho.toml").write_text("")
    assert apart.part(made.path, home, 61_401, "sekisho.toml")
    datadir.discard(made.path, old.issuer_id, AT)
    marker = datadir.read_marker(made.path)
    marker["issuers"][0]["crl_url"] = "http://evil.example"
    datadir.write_marker(made.path, marker)
    assert datadir.discarded_places(home) == frozenset()
    apart.part(made.path, home, 61_401, "sekisho.toml")
    assert datadir.discarded_places(home) == datadir.discarded_places(made.path)
    assert datadir.read_marker(home)["issuers"][0]["crl_url"] is None
