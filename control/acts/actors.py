"""Judges who acts on the control topic: signature, person, role, number, time (domain §4).

Every process that obeys control has one in its fold, and so reaches the same result. An act refused
here is obeyed by no process; a validly signed act uses up its number even if it is refused.
"""

from __future__ import annotations

import copy
from typing import Final, get_args

import msgspec

from control.acts import operators_file
from control.acts.act_signature import hash_of, verifies
from control.acts.operators_file import Operators, public_key
from control.acts.roles import ADMIN
from core import control_records as records
from core.control_records import (
    Confirmation,
    ControlRecord,
    OperatorsActivated,
    PersonsAct,
    Request,
    SignedRecord,
)
from core.values import same_person

SIGNED_MS_MAX: Final = 600_000  # between the time of signing and the append time
REDRIVER: Final = "redriver"  # the process that signs RedriveDone
HELD_MAX: Final = 1_000  # numbers of one person in acts dated too far ahead

PERSONS_ACTS: Final[tuple[type, ...]] = get_args(PersonsAct)


class Refusal(msgspec.Struct, frozen=True):
    """Why a control record is not obeyed: the rule by name, and a sentence."""

    rule: str
    sentence: str


class Actors:
    """The operators file in force, and the numbers that each person has used."""

    def __init__(self) -> None:
        self.in_force: Operators | None = None
        self._last: dict[str, int] = {}
        self._held: dict[str, frozenset[int]] = {}  # used by acts dated too far ahead

    def copied(self) -> Actors:
        """An independent copy."""
        made = copy.copy(self)
        made._last, made._held = dict(self._last), dict(self._held)
        return made

    def last_number(self, person: str) -> int:
        """The highest number that the person has used; 0 for none."""
        return self._last.get(person, 0)

    def judge(
        self,
        record: ControlRecord,
        appended_at: int,
        cluster_id: str | None,
        request: Request | None,
    ) -> Refusal | None:
        """Why this act is not obeyed, or None. `appended_at` is the broker's time (epoch ms),
        `request` what a confirmation confirms.
        """
        if isinstance(record, records.ClusterRecorded):
            return None
        if isinstance(record, records.ProofPassed):
            return self._signed(record, appended_at, cluster_id, by_process=True)
        if isinstance(record, records.RedriveDone):
            if record.actor != REDRIVER:
                return Refusal("ROLE", f"only {REDRIVER} ends a redrive, not {record.actor}")
            return self._signed(record, appended_at, cluster_id, by_process=True)
        if isinstance(record, records.ProcessingStopped):
            if record.signature is None:
                return None  # a process, under its own name
            return self._person(record, appended_at, cluster_id)
        refusal = self._person(record, appended_at, cluster_id)
        if refusal is None and isinstance(record, Confirmation):
            return _two_persons(record, request, cluster_id or "")
        return refusal

    def _person(
        self,
        record: PersonsAct | records.ProcessingStopped,
        appended_at: int,
        cluster_id: str | None,
    ) -> Refusal | None:
        refusal = self._signed(record, appended_at, cluster_id, by_process=False)
        if refusal is not None or self.in_force is None:
            return refusal
        person = self.in_force.person(record.actor)
        if person is None or ADMIN not in person.roles:
            return Refusal("ROLE", f"{record.actor} is no {ADMIN}")
        return None

    def _signed(
        self, record: SignedRecord, appended_at: int, cluster_id: str | None, *, by_process: bool
    ) -> Refusal | None:
        given, who = record.signature, record.actor
        if given is None:
            return Refusal("UNSIGNED", f"{who} is named and nobody has signed")
        if self.in_force is None or cluster_id is None:
            return Refusal("UNKNOWN_PERSON", "no operators file is in force yet")
        entry = self.in_force.process(who) if by_process else self.in_force.person(who)
        if entry is None:
            return Refusal("UNKNOWN_PERSON", f"{who} is not in operators file {self._number()}")
        public = public_key(entry, given.key_id)
        if public is None:
            return Refusal("UNKNOWN_KEY", f"{given.key_id} is no key of {who}")
        if not verifies(public, cluster_id, record):
            return Refusal("BAD_SIGNATURE", f"the signature is not of {who} over this content")
        if not entry.is_valid(appended_at):
            return Refusal("EXPIRED", f"{who} may act until {entry.valid_until} only")
        return self._fresh(who, given.number, given.signed_at, appended_at)

    def _fresh(self, who: str, number: int, signed_at: int, appended_at: int) -> Refusal | None:
        """Refuse a number that is used again or out of order, or an act signed more than
        SIGNED_MS_MAX from its append time. Its number is used up all the same.
        """
        held = self._held.get(who, frozenset())
        if signed_at > appended_at + SIGNED_MS_MAX:
            # Appended again later it would be in time. So its number is used up now, but lower
            # numbers stay usable for acts that are signed before that time.
            if len(held) < HELD_MAX:
                self._held[who] = held | {number}
            return Refusal("TIME", f"it was signed {signed_at - appended_at} ms after its append")
        if number <= self._last.get(who, 0) or number in held or len(held) >= HELD_MAX:
            return Refusal("NUMBER_USED", f"number {number} of {who} is used, or below one that is")
        self._last[who] = number
        if signed_at < appended_at - SIGNED_MS_MAX:
            return Refusal("TIME", f"it was signed {appended_at - signed_at} ms before its append")
        return None

    def _number(self) -> int:
        return 0 if self.in_force is None else self.in_force.number


def read_file(record: OperatorsActivated, before: Operators | None) -> Operators | Refusal:
    """The file that the record puts in force after `before`, or why it cannot be put in force."""
    try:
        file = operators_file.parse(record.content)
    except operators_file.OperatorsFileError as error:
        return Refusal("MALFORMED", f"operators file: {error}")
    if (file.number, file.sha256) != (record.number, record.sha256):
        return Refusal("MALFORMED", "number or SHA-256 are not those of the file")
    if before is None:
        return file
    if file.number != before.number + 1 or file.previous != before.sha256:
        return Refusal(
            "NUMBERS_ONLY_RISE", f"operators file {file.number} does not follow {before.number}"
        )
    gone = operators_file.vanished(before, file)
    if gone is not None:
        return Refusal("PERSON_VANISHED", f"{gone} is missing: persons end by validUntil")
    return file


def _two_persons(record: Confirmation, request: Request | None, cluster_id: str) -> Refusal | None:
    if request is None or request.signature is None:
        return Refusal("WRONG_REQUEST", "there is no signed request that it confirms")
    if record.signature is None or record.signature.request_hash != hash_of(cluster_id, request):
        return Refusal("WRONG_REQUEST", "it confirms another request than the one on the log")
    if same_person(request.actor, record.actor):
        return Refusal("SAME_PERSON", "the person who asked cannot confirm: a second person has to")
    return None
