"""The control topic as its readers see it: what is in force, STOP, and what two persons let happen.

Every process that obeys it folds the same records to the same answer, and does not rely on the
sender's checks (domain §10 and §4): who acts is judged here, and what is refused stops nobody.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from control.acts import Refusal
from control.in_force import NOT_POSSIBLE, Deployed, InForce
from control.operators_file import Operators
from control.recoveries import Recoveries
from control.requests import ask, remember
from control.stops import Stopping
from control.well_formed import malformed
from core import records
from core.dispositions import Dispositions
from core.records import ActConfirmed, DispositionRequested, OperatorsActivated
from core.recovery_point import RecoveryPoint
from core.values import same_person
from schemas.errors import Undecodable
from schemas.topology import CONTROL

log = structlog.get_logger("npp.control")

UNREADABLE: Final = "UNREADABLE"
MALFORMED: Final = "MALFORMED"
OPERATORS_RESET: Final = "OPERATORS_RESET"


class Control:
    """Fold of the control topic. `decode(topic, value)` raises Undecodable for the unreadable."""

    def __init__(
        self,
        decode: Callable[[str, bytes], object],
        *,
        cluster_id: str | None = None,
        partitions: int | None = None,
        deployed: Deployed | None = None,
        refused: Callable[[str], None] = lambda rule: None,
    ) -> None:
        """`refused` is told the rule of each record that is not obeyed, and of a reset."""
        self._decode = decode
        self._live_cluster_id = cluster_id
        self._live_partitions = partitions
        self._refused = refused
        self.unreadable = 0
        self.appended_at = 0  # the newest record's time by the broker, epoch ms
        self._in_force = InForce(deployed)
        self._stopping = Stopping()
        self._recoveries = Recoveries()
        self.dispositions = Dispositions()
        self._redrives: dict[str, records.RedriveRequested] = {}
        self._recovers: dict[str, records.RecoverRequested] = {}
        self._waiting: dict[int, Any] = {}  # for an ActConfirmed, by offset
        self._unparked: dict[tuple[str, int], tuple[str, str]] = {}
        self.redrives_confirmed: dict[str, tuple[records.RedriveRequested, str]] = {}
        self.redrives_done: dict[str, records.RedriveDone] = {}

    def copied(self) -> Control:
        """One that can be changed without this one."""
        made = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict):
                setattr(made, name, dict(value))
        made._in_force, made._stopping = self._in_force.copied(), self._stopping.copied()
        made._recoveries = self._recoveries.copied()
        made.dispositions = self.dispositions.copied()
        return made

    # -- what is in force ------------------------------------------------------------------------

    @property
    def cluster(self) -> records.ClusterRecorded | None:
        """The cluster and the partition count, recorded for life."""
        return self._in_force.cluster

    @property
    def rule_set(self) -> records.RuleSetActivated | None:
        """The rule set in force."""
        return self._in_force.rule_set

    @property
    def source_map(self) -> records.SourceMapActivated | None:
        """The source map in force."""
        return self._in_force.source_map

    @property
    def source_maps(self) -> tuple[records.SourceMapActivated, ...]:
        """All that were in force, in order."""
        return self._in_force.source_maps

    @property
    def operators(self) -> Operators | None:
        """The operators file in force."""
        return self._in_force.actors.in_force

    def last_number(self, person: str) -> int:
        """The highest number that the person has used for an act; 0 for none."""
        return self._in_force.actors.last_number(person)

    # -- what the engine asks --------------------------------------------------------------------

    def stopped(self) -> str | None:
        """Why processing is stopped, or None. Stops of one cause are ended together."""
        for each in self._stopping.stops.open:
            return f"{each.record.stop_id}: {each.record.reason}"
        return None if self.operators is None else self._in_force.not_deployed()

    def ready(self) -> str | None:
        """Why no partition may be taken, or None."""
        if self.cluster is None:
            return "the control topic has no cluster record: run `npp topics apply`"
        if self.rule_set is None:
            return "no rule set is in force: run `npp topics apply` or `npp control rules N`"
        if self._live_cluster_id is not None and self._live_cluster_id != self.cluster.cluster_id:
            return (
                f"this is cluster {self._live_cluster_id}, the control topic was written for "
                f"{self.cluster.cluster_id}: causes in the history would not be found"
            )
        live = self._live_partitions
        if live is not None and live != self.cluster.partitions:
            return (
                f"the topics have {live} partitions, {self.cluster.partitions} are recorded: the "
                "count is fixed for life, since known payments would move to partitions that do "
                "not know them"
            )
        return self._in_force.not_deployed()

    def added_inputs(self) -> Mapping[str, int]:
        return self._in_force.inputs

    def sources(self, topic: str) -> frozenset[str]:
        """Sources that a command topic may carry: empty for a topic that is not mapped."""
        return self._in_force.sources.get(topic, frozenset())

    def stops(self) -> list[records.ProcessingStopped]:
        """The first open STOP of each cause."""
        return [each.record for each in self._stopping.stops.open]

    def stops_of(self, person: str) -> int:
        """How many STOPs of this person are open, those of one cause counted one by one."""
        found = self._stopping.stops.open
        return sum(len(e.ids) for e in found if same_person(e.record.actor, person))

    def is_open(self, stop_id: str) -> bool:
        """Whether this STOP is not ended."""
        return self._stopping.stops.find(stop_id) is not None

    def recovered_at(self, partition: int) -> int:
        """When this partition was last recovered after a loss, or a record of its journal ruled
        on, epoch ms; 0 for never. What a store holds since before then may be wrong."""
        recovered = max((each.confirmed_at for each in self._recoveries.of(partition)), default=0)
        return max(recovered, self.dispositions.confirmed_at(partition))

    def foreign(self, partition: int) -> Mapping[int, bytes]:
        """Journal records that are skipped: SHA-256 of the raw value by offset."""
        return self.dispositions.foreign(partition)

    def recovery_points(self, partition: int) -> tuple[RecoveryPoint, ...]:
        """The points at which its lost log tail was recovered, in order."""
        return self._recoveries.points(partition)

    @property
    def recoveries(self) -> Mapping[str, records.RecoverConfirmed]:
        """Confirmed recoveries by request."""
        return self._recoveries.confirmed

    @property
    def found(self) -> frozenset[str]:
        """By recoveries: see core.payment.inputs.recovered_submissions."""
        return self._recoveries.found

    def passed_over(self) -> dict[tuple[str, int], tuple[tuple[int, int], ...]]:
        """Batches that nobody can read and two persons passed over: first and last offset, by
        topic and partition."""
        return self._recoveries.passed_over()

    # -- the fold --------------------------------------------------------------------------------

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        """One control record and its append time (epoch ms). What cannot be read is refused, and
        stops nothing.
        """
        self.appended_at = max(self.appended_at, appended_at)
        try:
            record = self._decode(CONTROL, value)
        except (Undecodable, ValueError) as error:
            self.unreadable += 1
            self._refuse(offset, None, Refusal(UNREADABLE, str(error)))
            return
        self.apply_record(offset, record, appended_at)

    def apply_record(self, offset: int, record: Any, appended_at: int = 0) -> Refusal | None:
        """The record's effect; why it has none, when it is refused."""
        refusal = self._refusal(record, appended_at) or self._take(offset, record, appended_at)
        if refusal is not None:
            self._refuse(offset, record, refusal)
        return refusal

    def _refuse(self, offset: int, record: Any, refusal: Refusal) -> None:
        self._refused(refusal.rule)
        log.error(
            "control_record_refused", offset=offset, type=type(record).__name__, rule=refusal.rule,
            why=refusal.sentence, actor=getattr(record, "actor", None),
        )  # fmt: skip

    def _refusal(self, record: Any, appended_at: int) -> Refusal | None:
        wrong = malformed(record)
        if wrong is not None:
            return Refusal(MALFORMED, wrong)
        if self._in_force.is_first(record):
            return None
        cluster_id = None if self.cluster is None else self.cluster.cluster_id
        request = self._request_of(record)
        judged = self._in_force.actors.judge(record, appended_at, cluster_id, request)
        if judged is not None and isinstance(record, records.ProcessingStopped):
            log.warning("stop_not_signed", stop_id=record.stop_id, rule=judged.rule)
            return None  # anybody may stop: it errs on the safe side
        return judged

    def _request_of(self, record: Any) -> Any | None:
        """What a confirmation confirms."""
        match record:
            case records.ResumeConfirmed(request_offset=at):
                return self._stopping.resumes.get(at)
            case records.RedriveConfirmed(request_id=name):
                return self._redrives.get(name)
            case records.RecoverConfirmed(request_id=name):
                return self._recovers.get(name)
            case ActConfirmed(request_offset=at):
                return self._waiting.get(at)
        return None

    def _take(self, offset: int, record: Any, appended_at: int) -> Refusal | None:
        match record:
            case records.ClusterRecorded():
                return self._in_force.put(offset, record)
            case records.RuleSetActivated() | records.SourceMapActivated() | OperatorsActivated():
                if record.signature is None:
                    return self._first(offset, record)
                ask(self._waiting, offset, record)
            case records.InputAdded() | records.UnparkRequested():
                ask(self._waiting, offset, record)
            case DispositionRequested():
                refusal = self.dispositions.refusal(record)
                if refusal is not None:
                    return Refusal(NOT_POSSIBLE, refusal)
                ask(self._waiting, offset, record)
            case ActConfirmed():
                return self._confirm(offset, record, appended_at)
            case records.ProcessingStopped():
                self._stopping.stop(offset, record)
            case records.ProofPassed():
                self._stopping.prove(offset, record)
            case records.ResumeRequested():
                return _not_possible(self._stopping.request(offset, record, self._partitions()))
            case records.ResumeConfirmed():
                return self._resume(record)
            case records.RedriveRequested(request_id=request_id):
                ask(self._redrives, request_id, record)
            case records.RedriveConfirmed(request_id=request_id, actor=actor):
                if request_id not in self.redrives_done:
                    found = (self._redrives[request_id], actor)
                    self.redrives_confirmed.setdefault(request_id, found)
            case records.RedriveDone(request_id=request_id):
                if self.redrives_confirmed.pop(request_id, None) is None:
                    return Refusal(NOT_POSSIBLE, f"no confirmed redrive {request_id} waits")
                remember(self.redrives_done, request_id, record)
            case records.RecoverRequested(request_id=request_id):
                ask(self._recovers, request_id, record)
            case records.RecoverConfirmed(request_id=request_id):
                refusal = self.recover_refusal(record)
                if refusal is not None:
                    return Refusal(NOT_POSSIBLE, refusal)
                self._recoveries.confirm(self._recovers[request_id], record)
            case _:
                return Refusal(MALFORMED, f"{type(record).__name__} is no control record")
        return None

    def _first(self, offset: int, record: Any) -> Refusal | None:
        """What nobody has signed: the first of its kind, or what a reset lets in."""
        resets = isinstance(record, OperatorsActivated) and self.operators is not None
        refusal = self._in_force.put(offset, record)
        if resets and refusal is None:
            self._refused(OPERATORS_RESET)
        return refusal

    def _confirm(self, offset: int, confirmed: ActConfirmed, at: int) -> Refusal | None:
        """A second person agrees to what waits."""
        request = self._waiting.pop(confirmed.request_offset)
        if isinstance(request, DispositionRequested):
            refusal = self.dispositions.refusal(request)  # another may have come before it
            if refusal is None:
                self.dispositions.confirm(request, offset, confirmed, at)
            return _not_possible(refusal)
        if isinstance(request, records.UnparkRequested):
            parking = (request.payment_intent_id, request.sequence)
            self._unparked.setdefault(parking, (request.actor, confirmed.actor))
            return None
        if hasattr(request, "activated_at"):  # in force from the confirmation on
            request = msgspec.structs.replace(request, activated_at=confirmed.confirmed_at)
        return self._in_force.put(offset, request)

    def _partitions(self) -> int:
        return 0 if self.cluster is None else self.cluster.partitions

    # -- STOP and its end ------------------------------------------------------------------------

    def _resume(self, confirmed: records.ResumeConfirmed) -> Refusal | None:
        refusal = self._stopping.confirm(confirmed)
        if refusal is None:
            log.warning("processing_resumed", stop_id=confirmed.stop_id, actor=confirmed.actor)
        return _not_possible(refusal)

    def resume_refusal(self, confirmed: records.ResumeConfirmed) -> str | None:
        """Why this confirmation does not end the stop, or None: two persons and a replay passed
        after the stop.
        """
        return self._stopping.resume_refusal(confirmed)

    def proof_refusal(self, stop_id: str, proof_offset: int) -> str | None:
        """Why a proof does not serve to end a stop and all of its cause, or None."""
        return self._stopping.proof_refusal(stop_id, proof_offset, self._partitions())

    def proof(self, offset: int) -> records.ProofPassed | None:
        """The passed replay at this control offset."""
        return self._stopping.proofs.get(offset)

    def latest_proof(self) -> int | None:
        """Control offset of the last passed replay."""
        return max(self._stopping.proofs, default=None)

    def resume_request(self, stop_id: str) -> int | None:
        """Control offset of the last request to resume this stop."""
        asked = self._stopping.resumes.items()
        return max((o for o, r in asked if r.stop_id == stop_id), default=None)

    def resume_requested(self, offset: int) -> records.ResumeRequested | None:
        """The request to resume at this control offset."""
        return self._stopping.resumes.get(offset)

    # -- requests --------------------------------------------------------------------------------

    def requests(self) -> list[tuple[int, Any]]:
        """What waits for a second person, with its control offset; -1 where an id names it."""
        named = [each for each in self._redrives.values() if self._is_asked(each.request_id)]
        lost = [r for r in self._recovers.values() if not self._recoveries.is_confirmed(r)]
        return [
            *self._waiting.items(),
            *self._stopping.resumes.items(),
            *((-1, each) for each in (*named, *lost)),
        ]

    def _is_asked(self, redrive: str) -> bool:
        return redrive not in self.redrives_confirmed and redrive not in self.redrives_done

    def unpark_request(
        self, payment_id: str, sequence: int
    ) -> tuple[int, records.UnparkRequested] | None:
        """The first open request to take up the payment that its event `sequence` has parked, with
        its control offset."""
        for offset, each in self._waiting.items():
            if isinstance(each, records.UnparkRequested) and (
                (each.payment_intent_id, each.sequence) == (payment_id, sequence)
            ):
                return offset, each
        return None

    def unparked(self, payment_id: str, sequence: int) -> tuple[str, str] | None:
        """Who asked for this parking's end and who agreed, once both have."""
        return self._unparked.get((payment_id, sequence))

    def redrive_request(self, request_id: str) -> records.RedriveRequested | None:
        """The request to redrive with this id."""
        return self._redrives.get(request_id)

    def recover_request(self, request_id: str) -> records.RecoverRequested | None:
        """The request of that id."""
        return self._recovers.get(request_id)

    def recover_refusal(self, confirmed: records.RecoverConfirmed) -> str | None:
        """Why this confirmation does not count, or None. It needs another person's request."""
        return self._recoveries.refusal(self._recovers.get(confirmed.request_id), confirmed)


def _not_possible(why: str | None) -> Refusal | None:
    return None if why is None else Refusal(NOT_POSSIBLE, why)
