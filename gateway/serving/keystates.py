"""Where each key of a CA is, and whether it is there: what `doctor` and `ca key show` tell."""

from __future__ import annotations

from pathlib import Path

from cryptography.x509.oid import NameOID

from ca import apart, datadir
from ca.certificates import public_key_of
from ca.errors import ConfigError
from ca.files import Snapshot
from ca.keyplaces import responder_of
from ca.keys import kind_of
from ca.signerlink import Message, RemoteSigner
from ca.signing import NoSignature
from ca.tokenlink import LOST
from gateway.running import rundir
from gateway.serving.deployment import Deployment
from gateway.serving.tokens import KeyState, Pins, keys_in, state_of, tokens_of
from gateway.web.examined import Placed

GOOD = "ok"
# A key in a token of which the signer tells nothing: not the root's; the root's, with which it never signs.
_UNSEEN = ("the signer tells nothing of it; see the log of sekisho serve", "")


def states(deployment: Deployment) -> list[Placed]:
    """Every key there is. Those in tokens are asked for by whoever has them open: a running gateway's signer,
    else this process, without a question for a PIN."""
    opened = deployment.datadir
    in_tokens = {each.name: each for each in _in_tokens(deployment)}
    found = []
    for name, certificate in datadir.places_of(opened.path).items():
        of = _of(opened, name, certificate)
        if name in in_tokens:
            state = in_tokens[name]
            said = state.trouble or GOOD, bool(state.trouble), state.code in LOST
            found.append(Placed(name, of, state.where, state.kind, *said))
        else:
            found.append(_in_file(opened, name, of, certificate))
    return found


def _in_file(opened: datadir.DataDir, name: str, of: str, certificate: Path | None) -> Placed:
    if certificate is None and name.startswith("ocsp-"):
        return Placed(name, of, "made each month, in the signer's memory", "", GOOD)
    file = opened.path / f"ca/{name}.key"
    home = apart.home_of(opened.path)
    if home is not None and not file.exists():
        return Placed(name, of, f"in {home}, the signer's", "", GOOD)
    if name == "root" and not file.exists():
        return Placed(name, of, "elsewhere", "", GOOD)
    if opened.keys is None:  # a gateway's, which cannot open it: its signer has, or would not run
        if not file.exists():
            missing = f"{file} is missing; put it back from a backup"
            return Placed(name, of, str(file), "", missing, bad=True, lost=True)
        public = None if certificate is None else datadir.read_certificate(certificate, Snapshot())
        return Placed(
            name, of, f"sealed in {file}", "" if public is None else kind_of(public_key_of(public)), GOOD
        )
    try:
        kind = kind_of(datadir.file_key(opened, name).public_key())
        if not file.exists():
            raise ConfigError(f"{file} is missing; put it back from a backup")
    except ConfigError as error:
        return Placed(name, of, str(file), "", str(error), bad=True, lost=True)
    return Placed(name, of, f"sealed in {file}", kind, GOOD)


def _of(opened: datadir.DataDir, name: str, certificate: Path | None) -> str:
    if certificate is not None:
        public = datadir.read_certificate(certificate, Snapshot())
        return str(public.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    for issuer in opened.authority.at_work:
        if responder_of(issuer.issuer_id) == name:
            return f"answers (OCSP) of {issuer.common_name}"
    return "asked for at the root"


def _in_tokens(deployment: Deployment) -> list[KeyState]:
    opened, named = deployment.datadir, keys_in(deployment.data, deployment.config)
    if not named:
        return []
    told = _told(deployment)
    if opened.keys is None:  # a gateway that runs, and has no PIN
        unseen = {
            name: KeyState(name, str(each), "", _UNSEEN[name == "root"]) for name, each in named.items()
        }
        return list({**unseen, **told}.values())
    pins = Pins(deployment.data, opened.keys, deployment.config.tokens, ask=lambda _: "")
    tokens = tokens_of(deployment.data, deployment.config, opened.keys, pins)
    try:
        return [told.get(name) or state_of(deployment.data, tokens, name) for name in tokens.keys]
    finally:
        tokens.close()


def _told(deployment: Deployment) -> dict[str, KeyState]:
    """What a running signer says of the keys that it signs with."""
    if rundir.serves(deployment.data) is None:
        return {}
    elsewhere = deployment.config.signer.socket
    signer = RemoteSigner(Path(elsewhere) if elsewhere else deployment.data / rundir.RUN)
    try:
        answer: Message = signer.ask_now({"ask": "keys"}, patience=30.0)
        return {each["name"]: KeyState(**each) for each in answer["keys"]}
    except (NoSignature, KeyError, TypeError):
        return {}
