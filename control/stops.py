"""Open STOPs, and the dual control and proof that end them (domain §10).

STOPs of one cause count as one: all STOPs of a person, or those of a process with the same `cause`.
So one request and one confirmation end all of them.
"""

from __future__ import annotations

import copy
from typing import Final

import msgspec

from control.requests import ask, remember
from core import control_records as records
from core.values import same_person

IDS_MAX: Final = 1_000  # STOPs of one cause that can be found by their id
CAUSES_MAX: Final = 100  # open at once; further STOPs join the last one


class OpenStop(msgspec.Struct, frozen=True):
    """The open STOPs of one cause: `record` is the first of them, `last` the last."""

    record: records.ProcessingStopped
    offset: int
    last: records.ProcessingStopped
    last_offset: int
    ids: frozenset[str]


class Stops:
    """The open STOPs, immutable: `opened` and `ended` return new ones."""

    def __init__(self, open_stops: tuple[OpenStop, ...] = ()) -> None:
        self.open = open_stops

    def find(self, stop_id: str) -> OpenStop | None:
        """The open STOPs of this one's cause, or None when it is not open."""
        return next((each for each in self.open if stop_id in each.ids), None)

    def opened(self, offset: int, record: records.ProcessingStopped) -> Stops:
        """With one more STOP, which joins the open ones of its cause."""
        if self.find(record.stop_id) is not None:
            return self
        same = next((each for each in self.open if _same_cause(each.record, record)), None)
        if same is None and len(self.open) < CAUSES_MAX:
            own = OpenStop(record, offset, record, offset, frozenset({record.stop_id}))
            return Stops((*self.open, own))
        same = same or self.open[-1]
        ids = same.ids if len(same.ids) >= IDS_MAX else same.ids | {record.stop_id}
        more = msgspec.structs.replace(same, last=record, last_offset=offset, ids=ids)
        return Stops(tuple(more if each is same else each for each in self.open))

    def ended(self, stop_id: str, before_offset: int) -> Stops:
        """Without the STOPs of that cause up to this control offset. Of later ones the last stays
        open.
        """
        left = []
        for each in self.open:
            if stop_id not in each.ids:
                left.append(each)
            elif each.last_offset > before_offset:
                last, at = each.last, each.last_offset
                left.append(OpenStop(last, at, last, at, frozenset({last.stop_id})))
        return Stops(tuple(left))


class Stopping:
    """Open STOPs, passed replays, and requests to resume."""

    def __init__(self) -> None:
        self.stops = Stops()
        self.proofs: dict[int, records.ProofPassed] = {}
        self.resumes: dict[int, records.ResumeRequested] = {}

    def copied(self) -> Stopping:
        """An independent copy."""
        made = copy.copy(self)
        made.proofs, made.resumes = dict(self.proofs), dict(self.resumes)
        return made

    def stop(self, offset: int, record: records.ProcessingStopped) -> None:
        """Add a STOP."""
        self.stops = self.stops.opened(offset, record)

    def prove(self, offset: int, record: records.ProofPassed) -> None:
        """Keep a passed replay."""
        remember(self.proofs, offset, record)

    def request(self, offset: int, record: records.ResumeRequested, partitions: int) -> str | None:
        """A first person requests to resume. Returns why that does not count, or None."""
        refusal = self.proof_refusal(record.stop_id, record.proof_offset, partitions)
        if refusal is None:
            ask(self.resumes, offset, record)
        return refusal

    def confirm(self, record: records.ResumeConfirmed) -> str | None:
        """A second person confirms. Returns why that ends no STOP, or None."""
        refusal = self.resume_refusal(record)
        if refusal is None:
            self.stops = self.stops.ended(record.stop_id, record.request_offset)
        return refusal

    def resume_refusal(self, confirmed: records.ResumeConfirmed) -> str | None:
        """Why this confirmation does not end the STOP, or None."""
        if self.stops.find(confirmed.stop_id) is None:
            return f"no stop {confirmed.stop_id} is open"
        request = self.resumes.get(confirmed.request_offset)
        if request is None or request.stop_id != confirmed.stop_id:
            at = confirmed.request_offset
            return f"control offset {at} holds no request to resume {confirmed.stop_id}"
        if same_person(request.actor, confirmed.actor):
            return "the person who asked cannot confirm: a second person has to"
        return None

    def proof_refusal(self, stop_id: str, proof_offset: int, partitions: int) -> str | None:
        """Why this proof cannot end a STOP and all others of its cause, or None. It must be made
        after the last of them, prove fold and chain, and cover every partition (domain §10).
        """
        stop = self.stops.find(stop_id)
        if stop is None:
            return f"no stop {stop_id} is open"
        proof = self.proofs.get(proof_offset)
        if proof is None:
            return (
                f"control offset {proof_offset} holds no passed replay: "
                "run `npp replay verify --publish`"
            )
        if proof_offset <= stop.last_offset:
            return "the replay named was made before the stop: run it again"
        if not (proof.fold and proof.chain):
            return "the replay named did not prove both fold and chain"
        if len(proof.offsets) != partitions:
            return "the replay named does not cover every partition"
        return None


def _same_cause(one: records.ProcessingStopped, other: records.ProcessingStopped) -> bool:
    if one.automatic != other.automatic or not same_person(one.actor, other.actor):
        return False
    return not one.automatic or one.cause == other.cause
