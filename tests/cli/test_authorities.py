"""``ca``: a successor of the issuing CA, made by hand and taken over by a reload."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from ca import datadir
from ca.certificates import to_pem
from enroll.requests import transitions
from enroll.requests.states import Event
from gateway.serving.config import FILE_NAME
from gateway.serving.database import DATABASE
from gateway.serving.deployment import CLOCK, DEMO_MARKER, opened_deployment
from tests.ca.test_cross import Other
from tests.cli.conftest import Shell
from tests.cli.processes import change
from tests.cli.test_commands import issued
from tests.datadirs import PASSPHRASE, START

_G4, _G5 = "CORPORATE-PENSION BUSINESS SERVICE CA-G4", "CORPORATE-PENSION BUSINESS SERVICE CA-G5"


def test_the_next_issuing_ca(peopled: Shell) -> None:
    """Made once, it is staged; activated, it issues, and certificates of the one before stay good."""
    old = issued(peopled)
    made = peopled("ca", "add", _G5, "--key", "ec-p384", "--crl-url", "http://crl.example.jp/g5.crl")
    assert (made.code, made.value["ca"]["state"]) == (0, "staged")
    listed = peopled("ca", "list").value["cas"]
    assert [(each["common_name"], each["state"]) for each in listed] == [(_G5, "staged"), (_G4, "issuing")]
    assert peopled("ca", "activate", _G5, "--at", "now").value["plan"]["follows"] == _G4
    listed = peopled("ca", "list").value["cas"]
    assert [(each["common_name"], each["state"]) for each in listed] == [(_G5, "issuing"), (_G4, "earlier")]
    assert peopled("user", "add", "12345678", "年金 次郎", "jiro@example.jp").code == 0
    new = issued(peopled)
    for serial, name in ((old, _G4), (new, _G5)):
        shown = peopled("cert", "show", serial, "--pem").value["certificate"]
        issuer = x509.load_pem_x509_certificate(shown["pem"].encode()).issuer
        assert (shown["state"], f"CN={name}" in issuer.rfc4514_string()) == ("issued", True)
    file = peopled.data / "crl"
    for named, name in (((), _G5), (("--issuer", _G4), _G4)):
        assert peopled("cert", "crl", str(file), *named).value["crl"]["issuer"] == name
        assert f"CN={name}" in x509.load_der_x509_crl(file.read_bytes()).issuer.rfc4514_string()
    unknown = peopled("cert", "crl", str(file), "--issuer", "CA-G3").error
    assert (unknown["code"], unknown["hint"]) == ("not_found", "List them: sekisho ca list")
    assert "Next: sekisho reload" in peopled("ca", "add", "CA-G6", json_output=False).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((_G4,), "there already is an issuing CA named"),
        (("",), "the CA's name is not usable (a CA has a common name); give another one"),
        (("x" * 65,), "give another one"),
        (("G5", "--crl-url", "nowhere"), "write one such as http://crl.example.jp/ca.crl"),
    ],
)
def test_refused(sekisho: Shell, words: tuple[str, ...], message: str) -> None:
    """What cannot be is said with what to write, and nothing was made."""
    refused = sekisho("ca", "add", *words)
    assert (refused.code, refused.error["code"]) == (1, "config")
    assert message in refused.error["message"]
    assert [each["common_name"] for each in sekisho("ca", "list").value["cas"]] == [_G4]
    assert len(list((sekisho.data / "ca").glob("issuing-*.key"))) == 1


def test_it_is_in_the_audit_trail(sekisho: Shell) -> None:
    """Who made it, and when: from then on every certificate is signed by it. A refusal is not there."""
    made = sekisho("ca", "add", _G5).value["ca"]
    sekisho("ca", "add", _G5)
    (line,) = sekisho("audit", "show").value["audit"]
    assert (line["action"], line["subject"]) == ("ca.added", made["issuer_id"])
    assert line["actor"].startswith("operator:")
    assert line["detail"] == {"name": _G5}


def test_the_root_tells_the_world(sekisho: Shell) -> None:
    """Its list names an issuing CA that is distrusted here, stays so, and then nobody trusts that one again;
    one that is trusted is not named by a slip."""
    assert sekisho("ca", "add", _G5).code == 0
    refused = sekisho("ca", "root-list", "--revoke", _G4).error["message"]
    assert "is trusted here; first: sekisho ca distrust" in refused
    assert sekisho("ca", "distrust", _G4, "--reason", "keyCompromise").code == 0
    assert sekisho("ca", "trust", _G4).code == 0
    assert sekisho("ca", "distrust", _G4, "--reason", "keyCompromise").code == 0
    assert sekisho("ca", "root-list", "--revoke", _G4).code == 0
    assert sekisho("ca", "root-list").code == 0
    listed = x509.load_der_x509_crl((sekisho.data / "ca/root.crl").read_bytes())
    (entry,) = listed
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value == "keyCompromise"
    assert "for good" in sekisho("ca", "trust", _G4).error["message"]


def test_without_the_roots_key(sekisho: Shell) -> None:
    """It may lie in a safe; who needs it is told where it belongs."""
    (sekisho.data / "ca" / "root.key").unlink()
    refused = sekisho("ca", "add", _G5).error["message"]
    assert "ca/root.key is kept elsewhere; put it back, and take it away again afterwards, or" in refused
    assert refused.endswith("sekisho ca request NAME, sekisho ceremony")


def test_cross_certificates_in_peoples_files(sekisho: Shell, tmp_path: Path) -> None:
    """A root whose cross-certificate is not here is not taken for one; doctor says which are, and since when
    to see to another one."""
    other = Other(at=START)
    change(sekisho.data / FILE_NAME, {("policy", "cross_certificates"): '["OTHER ROOT"]'})

    def found() -> list[tuple[str, str]]:
        lines = sekisho("doctor").value["checks"]
        return [(each["state"], each["found"]) for each in lines if "ross-certificate" in each["check"]]

    said = {each["found"] for each in sekisho("doctor").value["checks"] if each["state"] == "bad"}
    assert any("no cross-certificate of 'OTHER ROOT' is here (there are: none)" in each for each in said)
    root = x509.load_pem_x509_certificate((sekisho.data / "ca/root.pem").read_bytes())
    (tmp_path / "both.pem").write_bytes(to_pem(other.vouch(root)) + other.pem)
    assert sekisho("ca", "accept", str(tmp_path / "both.pem")).value["accepted"]["kind"] == "cross"
    ((state, words),) = found()
    assert (state, words[:20], words[-24:]) == ("ok", "of OTHER ROOT until ", ", in people's files, too")


def test_a_ca_for_operators(peopled: Shell) -> None:
    """Made beside the one for clients, it issues from the start, and that one goes on; doctor looks at both,
    and people are told of their own."""
    made = peopled("ca", "add", "Operators CA", "--for", "operators").value["ca"]
    assert (made["for"], made["state"]) == ("operators", "issuing")
    listed = peopled("ca", "list").value["cas"]
    assert [(each["common_name"], each["for"], each["state"]) for each in listed] == [
        ("Operators CA", "operators", "issuing"), (_G4, "clients", "issuing"),
    ]  # fmt: skip
    shown = peopled("cert", "show", issued(peopled), "--pem").value["certificate"]
    assert f"CN={_G4}" in x509.load_pem_x509_certificate(shown["pem"].encode()).issuer.rfc4514_string()
    found = {each["check"]: each for each in peopled("doctor").value["checks"]}
    assert found["operators' CA"]["found"].startswith("Operators CA until ")
    assert found["issuing CA"]["found"].startswith(_G4)
    second = peopled("ca", "add", "Operators CA 2", "--for", "operators").value["ca"]
    assert second["state"] == "staged"
    plan = peopled("ca", "activate", "Operators CA 2", "--at", "now").value["plan"]
    assert plan["follows"] == "Operators CA"
    states = {each["common_name"]: each["state"] for each in peopled("ca", "list").value["cas"]}
    assert states == {"Operators CA 2": "issuing", "Operators CA": "earlier", _G4: "issuing"}
    assert peopled("ca", "add", _G5).value["ca"]["state"] == "staged"


def _years_later(shell: Shell, years: int) -> None:
    """A demo's clock is moved by its visitors."""
    (shell.data / DEMO_MARKER).write_text("{}")
    (shell.data / CLOCK).write_text(json.dumps({"offset": years * 366 * 86_400}))


@pytest.mark.slow
def test_what_is_over_is_put_away(peopled: Shell, tmp_path: Path) -> None:
    """Only what is over, and each else is told why not and what to type. Then nobody wants its key: without
    it the gateway opens, issues, backs itself up, comes back and practises that; before, nothing did."""
    old = issued(peopled)
    assert peopled("ca", "add", _G5).code == 0
    wrong = []
    for words in (
        (),
        ("activate", _G5, "--at", "+1d"),
        ("withdraw", _G5),
        ("activate", _G5, "--at", "now"),
        ("retire", _G4),
    ):
        assert not words or peopled("ca", *words).code == 0
        wrong += [peopled("ca", "discard", each).error["message"] for each in (_G4, _G5)]
    assert [message.partition("; ")[0][len(_G4) + 1 :][:40] for message in wrong] == [
        "issues, or did last", "is staged, and may issue",
        "issues, or did last", "is planned, and may issue",
        "issues, or did last", "is staged, and may issue",
        "is earlier, and may issue", "issues, or did last",
        "is retired, and not over: lists and answ", "issues, or did last",
    ]  # fmt: skip
    assert f"first: sekisho ca withdraw '{_G5}'" in wrong[3]
    assert f"first: sekisho ca retire '{_G4}'" in wrong[6]
    _years_later(peopled, 4)
    key = peopled.data / peopled("ca", "show", _G4).value["ca"]["key"]
    assert peopled("ca", "discard", _G4, "--dry-run").value["ca"]["done"] is False
    opens, before = tmp_path / "backup-key", tmp_path / "before"
    public = peopled("restore", "key", str(opens)).value["key"]["recipient"]
    assert peopled("backup", "--to", f"{before}.age", "--recipient", public).code == 0
    shutil.copytree(peopled.data, before)
    aside = key.rename(tmp_path / "key")
    assert f"sealed key: {key} cannot" in peopled("ca", "list").error["message"]
    aside.rename(key)

    done = peopled("ca", "discard", _G4).value["ca"]
    assert done["remains"] == [f"{key} is read by nobody any more: shred -u {key}"]
    assert "is put away since" in peopled("ca", "discard", _G4).error["message"]
    key.unlink()
    (shown,) = [each for each in peopled("ca", "list").value["cas"] if each["common_name"] == _G4]
    assert (shown["state"], shown["key"]) == ("discarded", "put away")
    assert "ca.discarded" in {each["action"] for each in peopled("audit", "show").value["audit"]}
    assert peopled("cert", "show", old).value["certificate"]["issuer_id"] == shown["issuer_id"]
    assert "its last list is not here" in peopled("cert", "crl", "x", "--issuer", _G4).error["message"]
    assert peopled("user", "add", "12345678", "年金 次郎", "jiro@example.jp").code == 0
    assert issued(peopled)
    assert peopled("ca", "root-list").code == 0
    bad = [each for each in peopled("doctor").value["checks"] if each["state"] == "bad"]
    assert bad == []
    assert peopled("drill").code == 0

    # What was copied before, key and all, does not bring it back: not by a backup, not with the database, nor
    # where the marker alone is an older one, whether the key came with it or not.
    words = (
        "restore",
        "backup",
        f"{before}.age",
        "--identity",
        str(opens),
        "--data",
        str(tmp_path / "restored"),
    )
    came = peopled(*words, "--journal", str(peopled.data / "journal"), json_output=False)
    back = tmp_path / "restored" / key.relative_to(peopled.data)
    assert (back.exists(), came.code) == (True, 0)
    assert f"came back with the copy, and nobody reads it: shred -u {back}" in " ".join(came.out.split())
    _is_put_away(Shell(tmp_path / "restored"), back)
    for names in ((datadir.MARKER, str(key.relative_to(peopled.data))), (datadir.MARKER,)):
        for name in names:
            shutil.copy(before / name, peopled.data / name)
        _is_put_away(peopled, key)
        key.unlink(missing_ok=True)
    for name in (datadir.MARKER, DATABASE):
        shutil.copy(before / name, peopled.data / name)
    for name in ("-wal", "-shm"):
        (peopled.data / f"{DATABASE}{name}").unlink(missing_ok=True)
    shutil.copy(before / key.relative_to(peopled.data), key)
    assert "older than its journal" in peopled("ca", "list").error["message"]
    replayed = peopled("restore", "replay").value["replay"]
    assert replayed["keys_back"] == [str(key.relative_to(peopled.data))]
    _is_put_away(peopled, key)


def _is_put_away(shell: Shell, key: Path) -> None:
    """The one before is, whatever was copied back; doctor names its key where that is here again."""
    (shown,) = [each for each in shell("ca", "list").value["cas"] if each["common_name"] == _G4]
    assert (shown["state"], shown["key"]) == ("discarded", "put away")
    assert datadir.discarded_places(shell.data)
    found = [each for each in shell("doctor").value["checks"] if each["check"] == "earlier CA"]
    assert [each["state"] for each in found] == ["notice" if key.exists() else "ok"]
    assert (f"shred -u {key}" in found[0]["hint"]) is key.exists()


def _download(shell: Shell, request: str) -> None:
    """Onto somebody's PC: what is on none is ended by a reissue."""

    async def work() -> None:
        async with opened_deployment(shell.data, PASSPHRASE) as deployment:
            ra = deployment.ra
            await ra.database.write(
                lambda db: transitions.apply(db, ra, request, Event.DOWNLOAD, ra.now(), actor="K12345678")
            )

    asyncio.run(work())


def test_whose_certificate_is_of_a_distrusted_ca(peopled: Shell) -> None:
    """Lists of people and of certificates mark them, with what they were told and when; others, and all of
    them where every CA is trusted, are as ever."""
    serial = issued(peopled)
    _download(peopled, peopled("request", "list").value["requests"][0]["request_id"])
    assert peopled("user", "add", "12345678", "年金 次郎", "jiro@example.jp", "--user-id", "KNONE").code == 0

    def listed() -> dict[str, str | None]:
        return {each["user_id"]: each["distrusted"] for each in peopled("user", "list").value["users"]}

    assert listed() == {"K12345678": None, "KNONE": None}
    assert "distrusted" not in peopled("user", "list", json_output=False).out
    assert peopled("ca", "add", _G5).code == peopled("ca", "activate", _G5, "--at", "now").code == 0
    assert peopled("ca", "distrust", _G4, "--reason", "keyCompromise").code == 0
    assert listed() == {"K12345678": f"{_G4}: not told yet: sekisho ca reissue", "KNONE": None}
    assert peopled("ca", "affected", _G4).value["affected"][0]["told_at"] is None
    file = peopled.data / "affected.csv"
    assert peopled("ca", "affected", _G4, "--to", str(file)).code == 0
    assert file.read_text("utf-8-sig").splitlines()[1].endswith(",-")
    done = peopled("ca", "reissue", _G4).value
    assert (done["reissue"]["left"], done["job"]["state"], done["job"]["counts"]) == (
        1,
        "done",
        {"invited": 1},
    )
    said = listed()["K12345678"] or ""
    assert said.startswith(f"{_G4}: told 20")
    assert said.endswith(", may pick up another")
    assert peopled("ca", "affected", _G4).value["affected"][0]["told_at"] is not None
    shown = peopled("user", "show", "K12345678").value["user"]
    assert (shown["distrusted"], shown["certificates"][0]["state"]) == (said, "distrusted")
    assert f"the distrusted CA {said}" in peopled("user", "show", "K12345678", json_output=False).out
    assert peopled("cert", "show", serial).value["certificate"]["state"] == "distrusted"
    assert peopled("ca", "trust", _G4).code == 0
    assert listed() == {"K12345678": None, "KNONE": None}
    assert peopled("cert", "list").value["certificates"][0]["state"] == "issued"
