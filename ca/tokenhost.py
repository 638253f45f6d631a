"""A process that talks to one token (PKCS#11): single-threaded, and ended when anything is odd.

``python -m ca.tokenhost FD`` answers messages over a socket that it inherits (`ca.tokenlink` asks).
python-pkcs11 initialises a module without locks, and a module may hang or crash: so it has a process of its
own, which is spawned and never forked, and a fresh one after each fault. Only digests and signatures pass,
but for a key that is taken in.
"""

from __future__ import annotations

import base64
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import utils

from ca.hardening import harden
from ca.keys import from_pkcs8, kind_of, parse_public_key, spki
from ca.signerlink import Message, packed, receive_now

# Before the digest, the DER of the rest of DigestInfo (RFC 8017 section 9.2, note 1), by the digest's octets.
_DIGEST_INFO = {
    32: bytes.fromhex("3031300d060960864801650304020105000420"),
    48: bytes.fromhex("3041300d060960864801650304020205000430"),
}
_CURVES = {"ec-p256": "secp256r1", "ec-p384": "secp384r1"}
_BITS = {"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}


class Trouble(Exception):
    """What is answered instead: a code (`ca.tokenlink.WORDS` has the words), and what was seen."""

    def __init__(self, code: str, seen: str = "") -> None:
        super().__init__(code)
        self.code, self.seen = code, seen


def main(fd: int) -> None:
    """Answers until whoever asks is gone."""
    harden()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    link, host = socket.socket(fileno=fd), Host()
    while (asked := receive_now(link)) is not None:
        answer = host.answer(asked)
        link.sendall(packed(answer))
        if answer.get("error") == "gone":
            return  # the next one begins anew, with the module as well


def _end_with(parent: int) -> None:
    """Also where a module does not return: then nobody reads that the other end was closed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


class Host:
    """One token, once it is opened."""

    def __init__(self) -> None:
        self._session: Any = None
        self._keys: dict[tuple[str, str], Any] = {}
        self._can: Mapping[str, Callable[[Message], Message]] = {
            "open": self._open,
            "look": self._look,
            "sign": self._sign,
            "generate": self._generate,
            "take": self._take,
            "delete": self._delete,
        }

    def answer(self, asked: Message) -> Message:
        """One question, one answer: ``error`` (a code) and ``seen`` if it is none."""
        try:
            return self._can[str(asked["do"])](asked)
        except Trouble as trouble:
            return {"error": trouble.code, "seen": trouble.seen}
        except Exception as error:
            return {"error": "gone", "seen": f"{type(error).__name__} {error}".strip()}

    # -- the token -------------------------------------------------------------------------------------

    def _open(self, asked: Message) -> Message:
        try:
            import pkcs11
        except ImportError:
            raise Trouble("library") from None
        try:
            module = pkcs11.lib(asked["module"])
        except pkcs11.PKCS11Error as error:
            raise Trouble("module", str(error).rpartition(": ")[2]) from None
        token = _the_token(module.get_tokens(), asked["label"], asked["serial"])
        if pkcs11.TokenFlag.USER_PIN_LOCKED in token.flags:
            raise Trouble("locked")
        told = {"label": token.label, "serial": token.serial.decode(), "model": token.model}
        if asked.get("pin") is None:
            return told
        try:
            self._session = token.open(rw=asked["change"], user_pin=asked["pin"])
        except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid):
            # Asked about again: it may have been the last one that it takes.
            left = _the_token(module.get_tokens(), asked["label"], asked["serial"]).flags
            raise Trouble("locked" if pkcs11.TokenFlag.USER_PIN_LOCKED in left else "pin") from None
        except (pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.UserPinNotInitialized) as error:
            raise Trouble("locked", type(error).__name__) from None
        except pkcs11.TokenWriteProtected:
            raise Trouble("full", "TokenWriteProtected") from None
        return told

    # -- its keys --------------------------------------------------------------------------------------

    def _look(self, asked: Message) -> Message:
        key = self._key(asked)
        return {"kind": _kind_in(key), "spki": self._public(key), "label": key.label, "id": key.id.hex()}

    def _sign(self, asked: Message) -> Message:
        import pkcs11

        key, digest = self._key(asked), base64.b64decode(asked["digest"])
        if key.key_type == pkcs11.KeyType.EC:
            # Both numbers, one after the other (PKCS#11 v2.40, section 2.3.1).
            both = key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
            r, s = (int.from_bytes(each) for each in (both[: len(both) // 2], both[len(both) // 2 :]))
            made = utils.encode_dss_signature(r, s)
        else:
            made = key.sign(_DIGEST_INFO[len(digest)] + digest, mechanism=pkcs11.Mechanism.RSA_PKCS)
        return {"signature": base64.b64encode(made).decode()}

    def _generate(self, asked: Message) -> Message:
        import pkcs11
        from pkcs11.util.ec import encode_named_curve_parameters

        kind, named = asked["kind"], self._free(asked)
        more = {**named, "public_template": _usage(private=False), "private_template": _usage(private=True)}
        with _Filling():
            if kind in _CURVES:
                curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[kind])}
                domain = self._session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
                _, key = domain.generate_keypair(store=True, **more)
            else:
                _, key = self._session.generate_keypair(pkcs11.KeyType.RSA, _BITS[kind], store=True, **more)
        return {"spki": self._public(key)}

    def _take(self, asked: Message) -> Message:
        """A key from outside, with its public half beside it. It comes out no more."""
        import pkcs11
        from pkcs11.util import ec, rsa

        named, der = self._free(asked), base64.b64decode(asked["pkcs8"])
        key = from_pkcs8(der)
        public, inner = spki(key.public_key()), _inner(der)
        if kind_of(key.public_key()) in _CURVES:
            halves = ec.decode_ec_private_key(inner), ec.decode_ec_public_key(public)
        else:
            halves = rsa.decode_rsa_private_key(inner), rsa.decode_rsa_public_key(_inner_public(public))
        common = {pkcs11.Attribute.TOKEN: True, pkcs11.Attribute.LABEL: named["label"]}
        common[pkcs11.Attribute.ID] = named["id"]
        with _Filling():
            made = self._session.create_object({**halves[0], **common, **_usage(private=True)})
            try:
                self._session.create_object({**halves[1], **common, **_usage(private=False)})
            except pkcs11.PKCS11Error:
                made.destroy()
                raise
        return {"spki": base64.b64encode(public).decode()}

    def _delete(self, asked: Message) -> Message:
        import pkcs11

        key = self._key(asked)
        self._keys.clear()
        for each in list(
            self._session.get_objects({pkcs11.Attribute.ID: key.id, pkcs11.Attribute.LABEL: key.label})
        ):
            each.destroy()
        return {}

    def _key(self, asked: Message) -> Any:
        import pkcs11

        name = (asked["label"], asked["id"])
        if name not in self._keys:
            found = list(self._session.get_objects(_named(pkcs11.ObjectClass.PRIVATE_KEY, *name)))
            if len(found) > 1:
                raise Trouble("several-keys", ", ".join(each.id.hex() for each in found))
            if not found:
                of_all = self._session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY})
                raise Trouble("no-key", _listed(each.label for each in of_all))
            self._keys[name] = found[0]
        return self._keys[name]

    def _free(self, asked: Message) -> dict[str, Any]:
        """What a new key is called; `Trouble` where one is called so."""
        import pkcs11

        if list(self._session.get_objects(_named(pkcs11.ObjectClass.PRIVATE_KEY, asked["label"], ""))):
            raise Trouble("taken")
        return {"label": asked["label"], "id": bytes.fromhex(asked["id"])}

    def _public(self, key: Any) -> str | None:
        """What the token says that its public half is: base64 of a SubjectPublicKeyInfo."""
        import pkcs11
        from pkcs11.util import ec, rsa

        wanted = _named(pkcs11.ObjectClass.PUBLIC_KEY, "" if key.id else key.label, key.id.hex())
        for found in self._session.get_objects(wanted):
            if found.key_type != key.key_type:
                continue
            if key.key_type == pkcs11.KeyType.EC:
                der = ec.encode_ec_public_key(found)
            else:
                der = _outer_public(rsa.encode_rsa_public_key(found))
            return base64.b64encode(spki(parse_public_key(der))).decode()
        return None


class _Filling:
    """What a token says that takes no more: full, or written to by nobody."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        import pkcs11

        if isinstance(error, pkcs11.PKCS11Error) and not isinstance(error, pkcs11.DeviceRemoved):
            raise Trouble("full", type(error).__name__) from None


def _the_token(found: Iterable[Any], label: str, serial: str) -> Any:
    present = [each for each in found if each.label or each.serial]
    wanted = [
        each
        for each in present
        if (not label or each.label == label) and (not serial or each.serial.decode() == serial)
    ]
    if len(wanted) > 1:
        raise Trouble("several-tokens", ", ".join(each.serial.decode() for each in wanted))
    if not wanted:
        raise Trouble("no-token", _listed(each.label for each in present))
    return wanted[0]


def _named(kind: Any, label: str, identifier: str) -> dict[Any, Any]:
    import pkcs11

    wanted = {pkcs11.Attribute.CLASS: kind}
    if label:
        wanted[pkcs11.Attribute.LABEL] = label
    if identifier:
        wanted[pkcs11.Attribute.ID] = bytes.fromhex(identifier)
    return wanted


def _usage(*, private: bool) -> dict[Any, bool]:
    """It signs and does nothing else, and does not come out."""
    from pkcs11 import Attribute

    if not private:
        return {Attribute.VERIFY: True, Attribute.ENCRYPT: False, Attribute.WRAP: False}
    kept = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    nothing_else = {Attribute.DECRYPT: False, Attribute.UNWRAP: False, Attribute.DERIVE: False}
    return {**kept, **nothing_else, Attribute.SIGN: True}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(repr(each) for each in names)) or "none"


def _kind_in(key: Any) -> str:
    """As `ca.keys.kind_of`; another word for what no key of ours is."""
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    if key.key_type == pkcs11.KeyType.EC:
        params = key[pkcs11.Attribute.EC_PARAMS]
        of = {encode_named_curve_parameters(curve): kind for kind, curve in _CURVES.items()}
        return of.get(params, "another curve")
    if key.key_type == pkcs11.KeyType.RSA:
        return f"rsa-{key.key_length}"
    return str(key.key_type.name)


def _inner(pkcs8: bytes) -> bytes:
    """The key within (RFC 8017 appendix A.1.2, RFC 5915), with its curve where it has one."""
    from cryptography.hazmat.primitives import serialization

    return from_pkcs8(pkcs8).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _inner_public(spki_der: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_der_public_key(spki_der)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)


def _outer_public(pkcs1: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_der_public_key(pkcs1)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


if __name__ == "__main__":
    main(int(sys.argv[1]))
