"""Judges who acts on the control topic: signature, person, role, number, time (domain §4).

Every obeyer has one of these in its fold, and so comes to the same answer. What is refused here is
not obeyed by anybody; an act that is really signed uses up its number whatever becomes of it.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import msgspec

from control import operators_file
from control.act_signature import hash_of, verifies
from control.operators_file import ADMIN, Operators, public_key
from core import records
from core.records import ActConfirmed, DispositionRequested, OperatorsActivated
from core.values import same_person

SIGNED_MS_MAX: Final = 600_000  # between the time of signing and the append time
REDRIVER: Final = "redriver"  # the process that signs RedriveDone
HELD_MAX: Final = 1_000  # numbers of one person that were signed for the future

PERSONS_ACTS: Final[tuple[type, ...]] = (
    records.InputAdded, records.RuleSetActivated, records.SourceMapActivated, OperatorsActivated,
    records.ResumeRequested, records.ResumeConfirmed, records.RedriveRequested,
    records.RedriveConfirmed, records.RecoverRequested, records.RecoverConfirmed,
    records.UnparkRequested, DispositionRequested, ActConfirmed,
)  # fmt: skip
CONFIRMATIONS: Final[tuple[type, ...]] = (
    records.ResumeConfirmed, records.RedriveConfirmed, records.RecoverConfirmed, ActConfirmed,
)  # fmt: skip


class Refusal(msgspec.Struct, frozen=True):
    """Why a control record is not obeyed: the rule by name, and a sentence."""

    rule: str
    sentence: str


class Actors:
    """The operators files of the log, the one in force, and each person's last number."""

    def __init__(self) -> None:
        self.in_force: Operators | None = None
        self._last: dict[str, int] = {}
        self._held: dict[str, frozenset[int]] = {}  # signed for a time to come

    def copied(self) -> Actors:
        """One that can be changed without this one."""
        made = copy.copy(self)
        made._last, made._held = dict(self._last), dict(self._held)
        return made

    def last_number(self, person: str) -> int:
        """The highest number that the person has used; 0 for none."""
        return self._last.get(person, 0)

    def judge(
        self, record: Any, appended_at: int, cluster_id: str | None, request: Any | None
    ) -> Refusal | None:
        """Why this act is not obeyed, or None. `request` is what a confirmation confirms."""
        if isinstance(record, records.ProofPassed):
            return self._signed(record, appended_at, cluster_id, by_process=True)
        if isinstance(record, records.RedriveDone):
            if record.actor != REDRIVER:
                return Refusal("ROLE", f"{record.actor} puts nothing back, {REDRIVER} does")
            return self._signed(record, appended_at, cluster_id, by_process=True)
        if isinstance(record, records.ProcessingStopped):
            if record.signature is None:
                return None  # a process, under its own name
            return self._person(record, appended_at, cluster_id)
        if not isinstance(record, PERSONS_ACTS):
            return None
        refusal = self._person(record, appended_at, cluster_id)
        if refusal is None and isinstance(record, CONFIRMATIONS):
            return _two_persons(record, request, cluster_id or "")
        return refusal

    def _person(self, record: Any, appended_at: int, cluster_id: str | None) -> Refusal | None:
        refusal = self._signed(record, appended_at, cluster_id, by_process=False)
        if refusal is not None or self.in_force is None:
            return refusal
        person = self.in_force.person(record.actor)
        if person is None or ADMIN not in person.roles:
            return Refusal("ROLE", f"{record.actor} is no {ADMIN}")
        return None

    def _signed(
        self, record: Any, appended_at: int, cluster_id: str | None, *, by_process: bool
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
        """Each number once, in order, and near its time. It is used up in any case."""
        held = self._held.get(who, frozenset())
        if signed_at > appended_at + SIGNED_MS_MAX:
            # It would be in time later: it is spent now, and hinders nothing signed till then.
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
    """The file that the record puts in force, or why it cannot be."""
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


def _two_persons(record: Any, request: Any | None, cluster_id: str) -> Refusal | None:
    if request is None or request.signature is None:
        return Refusal("WRONG_REQUEST", "there is no signed request that it confirms")
    if record.signature.request_hash != hash_of(cluster_id, request):
        return Refusal("WRONG_REQUEST", "it confirms another request than the one on the log")
    if same_person(request.actor, record.actor):
        return Refusal("SAME_PERSON", "the person who asked cannot confirm: a second person has to")
    return None
