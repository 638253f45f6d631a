"""What is asked of the signer, and what it says to that: it signs what it has looked at, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

import ca.store
from ca import datadir, emergency, listfiles
from ca.certificates import public_key_of
from ca.clock import Clock
from ca.errors import ConfigError
from ca.generations.states import generations
from ca.generations.store import rows
from ca.inspection import Issuing, Unsignable, inspect_certificate, inspect_list, shard_in
from ca.memory import Memory, Numbers
from ca.profiles import CLIENTS, OPERATORS, Profile, version_of, versions
from ca.publication import list_id
from ca.published import store as published
from ca.remembered import Remembered
from ca.sealing import Vaults
from ca.signerlink import MOST_ANSWERS, Message, packed_batch
from ca.signing import FileSigner, NoSignature, ToSign, key_id
from ca.storage import in_log
from ca.store import Reservation
from gateway.serving.checkpoints import Checkpoints, Forked, adopted, public_key
from gateway.serving.database import open_database
from gateway.serving.settings.running import Storage as Settings
from gateway.serving.signing.accepted import Accepted
from gateway.serving.signing.confining import confine
from gateway.serving.signing.places import Places
from gateway.serving.signing.tally import Tally
from gateway.serving.signing.told import Old, Told

log = logging.getLogger("sekisho.signer")

# To the database's server: answers are looked up in threads beside what is signed.
_CONNECTIONS = 4
_SERIAL = re.compile(r"[0-9a-f]{1,42}")
# The names of drafts of lists, and of nothing else in that folder.
_DRAFT = re.compile(r"\.draft-[0-9a-f]{16}")


class Desk:
    """What is asked of the signer, and what it says to that."""

    def __init__(
        self,
        data: Path,
        vaults: Vaults,
        clock: Clock,
        tally: Tally,
        per_hour: int,
        accepted: Accepted | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        memory: Memory | None = None,
        places: Places | None = None,
        home: Path | None = None,
        told: Told | None = None,
        settings: Settings = Settings(),  # noqa: B008 (frozen)
    ) -> None:
        """``home``: where keys and emergency stop are, if not in the data directory (`ca.apart`).
        ``settings``: of the database."""
        self._home, self._vaults, self._clock = home or data, vaults, clock
        self.tally, self._per_hour, self._monotonic = tally, per_hour, monotonic
        self._accepted = accepted
        self._profiles = CLIENTS if accepted is None else accepted.config().profiles
        self._memory = memory or Memory(None, vaults.keys)
        self._told = told or Told(Remembered(None, vaults.keys), Numbers(None, vaults.keys))
        ours = datadir.identity(self._home)
        self._database = open_database(
            data, settings, ca_id=ours, made=False, beside=self._home, pool=_CONNECTIONS
        )
        self._checkpoints = Checkpoints(ours, vaults.keys, self._memory)
        self._stop: tuple[tuple[int, ...], emergency.Stop] | None = None
        self._lists = listfiles.folder_of(self._database.folder)
        self._places = places or Places(data, vaults.keys)
        self._unconfined = "it was not asked to be"

    def confine(self) -> None:
        """For good: what is not open by now is only read (`confining`)."""
        self._database.hold(_end)
        self._unconfined = confine()

    async def answer(self, asked: Message) -> Message:
        """One question, one answer; whoever asks badly is told so, and nothing else happens."""
        try:
            match asked.get("ask"):
                case "sign":
                    return {"signature": base64.b64encode(await self._sign(asked)).decode()}
                case "answers":
                    return await asyncio.to_thread(self._answers, asked)
                case "profiles":
                    return {"profiles": self._profiles_again()}
                case "unlock":
                    return {"vault": base64.b64encode(self._vaults.gateway.handed_over()).decode()}
                case "status":
                    return self._status()
                case "keys":
                    self._check_stop()
                    self._places.follow()
                    return {"keys": await asyncio.to_thread(self._places.told)}
                case "checkpoint":
                    at = self._clock.seconds()
                    made = await asyncio.to_thread(self._checkpoints.take, self._database, at)
                    return {"checkpoint": asdict(made)}
                case "audit key":
                    return {"key": public_key(self._vaults.keys)}
                case "adopt":
                    return self._adopt(asked)
                case "turn":
                    return self._turn(asked)
            raise Unsignable("nobody can ask that")
        except (Unsignable, Forked) as refused:
            log.warning("refused: %s", refused)
            return {"refused": str(refused)} | (
                {"number": refused.number} if isinstance(refused, Old) else {}
            )
        except (_Later, NoSignature, ConfigError) as later:
            log.warning("not now: %s", later)
            return {"later": str(later)}
        except OSError as error:
            log.error("%s", in_log(error))
            return {"later": f"what it says cannot be written down ({os.strerror(error.errno or 0)})"}
        except Exception as error:
            log.error("%s", in_log(error))
            return {"later": f"a fault of the signer's ({type(error).__name__})"}

    def close(self) -> None:
        self._places.close()
        self._told.close()
        self._database.close()

    async def _sign(self, asked: Message) -> bytes:
        self._check_stop()
        self._places.follow()
        key, purpose = str(asked.get("key")), asked.get("purpose")
        issuer = self._issuer(key)
        match purpose:
            case "certificate":
                content = self._certificate(asked, issuer)
            case "list":
                content = await asyncio.to_thread(self._list, str(asked.get("file")), issuer)
            case _:
                raise Unsignable(f"nothing is signed here for {purpose!r}")
        to_sign = ToSign(key, purpose, content)
        signer = self._places.holder(key)
        public = public_key_of(issuer.certificate)
        quick = isinstance(signer, FileSigner) and isinstance(public, EllipticCurvePublicKey)
        if purpose == "certificate" and quick:
            # Quicker than a thread for it, and nothing else is done here meanwhile.
            return signer.sign_now(to_sign)
        return await signer.sign(to_sign)

    def _stopped(self) -> emergency.Stop:
        """The emergency stop as it is now: read again whenever its file is another one, or was touched."""
        mark = emergency.mark(self._home)
        if mark is None or self._stop is None or self._stop[0] != mark:
            # The mark is the older one: what is written in between is read next time.
            stop = emergency.read(self._home, self._vaults.keys)
            self._stop = None if mark is None else (mark, stop)
            return stop
        return self._stop[1]

    def _judged(self, stop: emergency.Stop) -> emergency.Stop:
        """The same, or on: an older copy of the file is none, by the register, or by what was seen here."""
        known = self._database.read_now(ca.store.stop_number)
        seen = self._memory.seen
        if (turns := max(known, stop.number)) > seen.turns:
            seen = replace(seen, turns=turns, on=None)
            self._memory.keep(seen)
        if seen.on is not None and stop.number <= seen.turns:
            return emergency.Stop(seen.on, seen.reason, seen.at, seen.turns)
        return emergency.OLDER if stop.number < seen.turns and not stop.on else stop

    def _turn(self, asked: Message) -> Message:
        """The emergency stop, on or off, as sealed by whoever has the passphrase; an earlier turn is none."""
        try:
            turn = emergency.opened(
                self._vaults.keys, base64.b64decode(str(asked.get("sealed")), validate=True)
            )
        except ValueError:
            raise Unsignable("that is no turn of the emergency stop") from None
        self._judged(self._stopped())
        seen = self._memory.seen
        if turn.number < seen.turns or (turn.number == seen.turns and seen.on is not None):
            raise Unsignable(f"the emergency stop was turned since ({turn.number} of {seen.turns})")
        self._memory.keep(replace(seen, turns=turn.number, on=turn.on, reason=turn.reason, at=turn.at))
        return {"turned": turn.number}

    def _adopt(self, asked: Message) -> Message:
        """The record as it is, as said by whoever has the passphrase, of what was signed for last."""
        try:
            said = adopted(self._vaults.keys, base64.b64decode(str(asked.get("sealed")), validate=True))
        except ValueError:
            raise Unsignable("that is no adoption of a record") from None
        self._checkpoints.adopt(*said)
        return {"adopted": said[0]}

    def _check_stop(self) -> None:
        stop = self._judged(self._stopped())
        if stop.on:
            raise _Later(f"the emergency stop is on ({stop.reason})")

    def _certificate(self, asked: Message, issuer: Issuing) -> bytes:
        serial = str(asked.get("serial"))
        try:
            tbs = base64.b64decode(str(asked.get("tbs")), validate=True)
        except ValueError:
            raise Unsignable("what is to be signed is no base64") from None
        reserved = self._database.read_now(lambda db: ca.store.find_reservation(db, serial))
        if reserved is None or not reserved.tbs or reserved.tbs != tbs:
            raise Unsignable(f"there is no reservation for it (serial {serial[:40]!r})")
        if reserved.issuer_id != asked.get("key"):
            raise Unsignable("the reservation is another issuer's")
        self._check_generation(reserved)
        self._check_version(reserved)
        inspect_certificate(tbs, reserved, issuer, self._clock.seconds(), self._signed_for)
        now = self._monotonic()
        if self.tally.within_the_hour(now) >= self._per_hour:
            raise _Later(f"{self._per_hour} certificates were signed within the hour (signer.per_hour)")
        self.tally.count(now)
        return tbs

    def _check_generation(self, reserved: Reservation) -> None:
        """What an issuing CA signs was reserved while it issued: not before its moment, nor after it was
        retired."""
        audiences, now = self._places.authority.audiences(), self._clock.seconds()
        found = generations(list(audiences), self._database.read_now(rows), now, audiences)
        row = found.rows[reserved.issuer_id]
        begun = row.begun_at(reserved.reserved_at)
        if begun is None or (row.retired_at is not None and reserved.reserved_at > row.retired_at):
            raise Unsignable("the issuing CA of the reservation did not issue at its time")

    def _profiles_again(self) -> dict[str, str]:
        """A reload: the profiles as they stand in the configuration now, which is read here. Says the state
        of each, for whoever asks to compare with his own."""
        if self._accepted is None:
            raise Unsignable("profiles are not read here")
        try:
            self._profiles = self._accepted.again().profiles
        except ConfigError as error:
            raise Unsignable(str(error)) from None
        return versions(self._profiles)

    @property
    def _signed_for(self) -> Mapping[str, Profile]:
        """By name: those in force for people and programs, and those of operators."""
        return {**self._profiles, **OPERATORS}

    def _check_version(self, reserved: Reservation) -> None:
        """Only by the state that a profile has here. Whoever has another one decides anew when it is told."""
        profile = self._signed_for.get(reserved.profile)
        if profile is not None and reserved.version != version_of(profile):
            raise _Later(
                f"the profile {profile.name} is {version_of(profile)} here, and the reservation was decided "
                f"by {reserved.version[:16]!r}"
            )

    def _answers(self, asked: Message) -> Message:
        """About serials of an issuer's: whatever its register says of them. Whoever asks says nothing of
        that."""
        self._check_stop()
        self._places.follow()
        key, serials = str(asked.get("key")), asked.get("serials")
        if not isinstance(serials, list) or not 0 < len(serials) <= MOST_ANSWERS:
            raise Unsignable("answers are asked for by a few serials")
        if not all(isinstance(each, str) and _SERIAL.fullmatch(each) for each in serials):
            raise Unsignable("what is asked about is no serial")
        self._issuer(key)
        found = self._database.read_now(lambda db: [published.standing(db, key, each) for each in serials])
        found = [(self._told.standing(key, each), last) for each, last in found]
        authority, responder = self._places.authority, self._places.responder
        batch = responder.answer(authority.issuer(key), authority.signer, found, self._clock.seconds())
        self._told.answered(key, [each for each, _ in found], self._ends)
        return packed_batch(batch)

    def _ends(self, issuer_id: str, serials: Sequence[str]) -> list[int]:
        its = self._places.authority.issuer(issuer_id).not_after_at
        return self._database.read_now(
            lambda db: [ca.store.end_of(db, issuer_id, each) or its for each in serials]
        )

    def _list(self, name: str, issuer: Issuing) -> bytes:
        if _DRAFT.fullmatch(name) is None:
            raise Unsignable("that is no list's draft")
        try:
            # Read once: what is looked at is what is signed, whatever becomes of the file meanwhile.
            with open(os.open(self._lists / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                content = file.read()
        except OSError as error:
            raise Unsignable(f"the draft cannot be read ({os.strerror(error.errno or 0)})") from None
        key = key_id(public_key_of(issuer.certificate))
        shard = shard_in(content, issuer)
        name, now = list_id(key, shard), self._clock.seconds()
        last = self._database.read_now(lambda db: published.published_list(db, name))
        number, listed = inspect_list(content, issuer, last.number if last is not None else 0, now, shard)
        whose = (0, 1) if shard is None else (shard, issuer.site.shards)
        self._told.listed(key, listed, whose, now, self._ends)
        self._told.follows(name, number)
        return content

    def _issuer(self, key: str) -> Issuing:
        """`Unsignable` also for one that was put away by the register, whatever stands beside the keys."""
        found = self._places.issuer(key)
        if len(self._places.authority.at_work) > 1:
            row = self._database.read_now(rows).get(found.issuer_id)
            if row is not None and row.discarded_at is not None:
                raise Unsignable(f"the issuing CA {found.common_name} was put away, and signs no more")
        return Issuing(found.certificate, found.site, found.audience)

    def _status(self) -> Message:
        stop = self._judged(emergency.read(self._home, self._vaults.keys))
        within = self.tally.within_the_hour(self._monotonic())
        return {
            "stopped": stop.on,
            "reason": stop.reason,
            "since": stop.at,
            "signed": within,
            "per_hour": self._per_hour,
            "unconfined": self._unconfined,
            "tokens": self._places.troubles(),
            "turns": self._memory.seen.turns,
            "line": self._memory.seen.line,
            "hash": self._memory.seen.hash,
            "user": os.getuid(),
            "revoked": self._told.count,
            "full": self._told.is_full,
        }


def _end() -> None:
    """Nothing can be looked up any more, and no connection be made: whoever watches starts another one."""
    log.error("the database's server is gone")
    os._exit(1)


class _Later(Exception):
    """Not now; perhaps when an operator has seen to it, or an hour is over."""
