"""The signer's answers (OCSP): what the register says and nothing that whoever asks has said."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus

from ca import emergency
from ca.certificates import serial_hex
from ca.ocsp import response
from ca.signerlink import MOST_ANSWERS, RemoteSigner
from ca.signing import NoSignature, SignatureRefused
from enroll import store
from enroll.answers import Answers
from tests.gateway.test_signer import Scene, linked, scene
from tests.issued import hold, issue, revoke
from tests.looking import look

__all__ = ["scene"]
UNKNOWN = "0badc0de"


async def test_answers_through_the_socket(scene: Scene) -> None:
    """A worker without any key has answers made, by a responder that it has no key of either."""
    ra = replace(scene.ra, authority=replace(scene.ra.authority, signer=RemoteSigner(scene.data / "run")))
    leaves = [await issue(scene.ra, f"K{i}") for i in range(MOST_ANSWERS + 3)]
    await revoke(ra, leaves[0], 3)
    await hold(ra, leaves[1])
    answers = Answers()
    async with linked(scene):
        assert await answers.refresh(ra) == len(leaves)
        asked = await answers.made(ra, ra.authority.current, UNKNOWN, "sha1")
    found = [
        ra.database.read_now(
            lambda db, leaf=each: answers.kept(db, ra, ra.authority.current.issuer_id, leaf.serial, "sha256")
        )
        for each in leaves[:3]
    ]
    said = [ocsp.load_der_ocsp_response(each.der) for each in [*found, asked] if each is not None]
    statuses = [OCSPCertStatus.REVOKED, OCSPCertStatus.REVOKED, OCSPCertStatus.GOOD, OCSPCertStatus.UNKNOWN]
    assert [each.certificate_status for each in said] == statuses
    (responder,) = {each.certificates[0].serial_number for each in said}
    # Its certificate is on record, once.
    (line,) = [
        each for each in store.audit_page(look(scene.ra.database), None, 99) if each["actor"] == "signer"
    ]
    issuer_id = ra.authority.current.issuer_id
    assert (line["action"], line["subject"]) == ("responder.certified", issuer_id)
    assert line["detail"]["serial"] == serial_hex(responder)


async def test_with_the_signer_gone_there_are_none(scene: Scene) -> None:
    """NoSignature, and what was made before is there."""
    ra = replace(scene.ra, authority=replace(scene.ra.authority, signer=RemoteSigner(scene.data / "run")))
    leaf, answers = await issue(scene.ra), Answers()
    async with linked(scene):
        await answers.refresh(ra)
    (scene.data / "run/signer.sock").unlink()
    gone = replace(ra, authority=replace(ra.authority, signer=RemoteSigner(scene.data / "run")))
    await issue(scene.ra, "K2")
    with pytest.raises(NoSignature, match="the signer does not answer"):
        await answers.refresh(gone)
    issuer = ra.authority.current.issuer_id
    assert ra.database.read_now(lambda db: answers.kept(db, gone, issuer, leaf.serial, "sha1")) is not None


@pytest.mark.parametrize(
    ("serials", "why"),
    [
        (None, "by a few serials"),
        ([], "by a few serials"),
        ("0a", "by a few serials"),
        (["0a"] * (MOST_ANSWERS + 1), "by a few serials"),
        ([7], "is no serial"),
        ([""], "is no serial"),
        (["0A"], "is no serial"),
        (["0a' OR 1=1"], "is no serial"),
        (["0" * 43], "is no serial"),
        (["0a\n"], "is no serial"),
    ],
)
async def test_what_is_no_question_is_refused(scene: Scene, serials: object, why: str) -> None:
    """Whoever owns a worker asks about serials, a few at a time, and can say nothing of them."""
    key = scene.ra.authority.current.issuer_id
    told = await scene.desk.answer({"ask": "answers", "key": key, "serials": serials, "status": "good"})
    assert why in told["refused"]
    told = await scene.desk.answer({"ask": "answers", "key": "00" * 20, "serials": ["0a"]})
    assert "there is no issuer" in told["refused"]


async def test_the_responders_key_signs_nothing_else(scene: Scene) -> None:
    """Neither by its own name nor as an issuer's: lists and certificates are the issuer's."""
    leaf = await issue(scene.ra)
    asked = {"ask": "answers", "key": leaf_issuer(scene), "serials": [leaf.serial]}
    told = await scene.desk.answer(asked)
    responder = x509.load_der_x509_certificate(base64.b64decode(told["responder"]))
    name = responder.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    for purpose in ("certificate", "list", "own", "answers"):
        refused = await scene.desk.answer(
            {"ask": "sign", "purpose": purpose, "key": name, "file": "", "tbs": ""}
        )
        assert "there is no issuer" in refused["refused"]
    kept = base64.b64decode(told["answers"][0][4])
    read = ocsp.load_der_ocsp_response(response(kept, base64.b64decode(told["responder"])))
    assert read.certificate_status is OCSPCertStatus.GOOD


async def test_the_emergency_stop_holds_answers_too(scene: Scene) -> None:
    """While it is on nothing is signed; afterwards it is."""
    leaf = await issue(scene.ra)
    asked = {"ask": "answers", "key": leaf_issuer(scene), "serials": [leaf.serial]}
    emergency.write(scene.data, scene.vaults.keys, emergency.Stop(True, "theft", 5))
    assert (await scene.desk.answer(asked))["later"] == "the emergency stop is on (theft)"
    async with linked(scene) as remote:
        with pytest.raises(NoSignature, match=r"does not sign now: the emergency stop is on \(theft\)"):
            await remote.answers(leaf_issuer(scene), [leaf.serial])
        emergency.write(scene.data, scene.vaults.keys, emergency.Stop(False, "", 6))
        assert len((await remote.answers(leaf_issuer(scene), [leaf.serial])).answers) == 1
        with pytest.raises(SignatureRefused, match="is no serial"):
            await remote.answers(leaf_issuer(scene), ["x"])


async def test_batches_at_once_have_one_responder(scene: Scene) -> None:
    """Its certificate is made once, whoever asks first."""
    leaf = await issue(scene.ra)
    asked = {"ask": "answers", "key": leaf_issuer(scene), "serials": [leaf.serial]}
    told = await asyncio.gather(*(scene.desk.answer(asked) for _ in range(8)))
    assert len({each["responder"] for each in told}) == 1


def leaf_issuer(scene: Scene) -> str:
    return scene.ra.authority.current.issuer_id
