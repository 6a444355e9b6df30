"""The fold of the control topic: what is in force, STOP, and acts under dual control.

Every process that obeys it folds the same records to the same result, and does not rely on the
sender's checks (domain §10 and §4): signatures and roles are judged here, and a refused record
stops no process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Final, assert_never

import msgspec
import structlog

from control.acts.actors import Refusal
from control.acts.operators_file import Operators
from control.in_force import NOT_POSSIBLE, Deployed, InForce
from control.recoveries import PassedOver, Recoveries
from control.requests import Redrives, ask
from control.stops import Stopping
from control.well_formed import malformed
from core import control_records as records
from core.control_records import (
    Act,
    ActConfirmed,
    Activation,
    Confirmation,
    ControlRecord,
    DispositionRequested,
    OperatorsActivated,
    Request,
)
from core.dispositions import Dispositions
from core.recovery_point import RecoveryPoint
from core.values import PaymentIntentId, same_person
from schemas.errors import Undecodable
from schemas.topology import CONTROL

log = structlog.get_logger("npp.control")

UNREADABLE: Final = "UNREADABLE"
MALFORMED: Final = "MALFORMED"
OPERATORS_RESET: Final = "OPERATORS_RESET"
_NO_SOURCES: Final = frozenset[str]()


class Control:
    """The fold of the control topic. `decode(topic, value)` gives a record, or raises
    Undecodable.
    """

    def __init__(
        self,
        decode: Callable[[str, bytes], object],
        *,
        cluster_id: str | None = None,
        partitions: int | None = None,
        deployed: Deployed | None = None,
        refused: Callable[[str], None] = lambda rule: None,
    ) -> None:
        """`cluster_id`, `partitions`: of the live cluster, None where they are not compared.
        `refused` is called with the rule of each refused record, and for a reset.
        """
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
        self._waiting: dict[int, Act] = {}  # for an ActConfirmed, by offset
        self._resumptions: dict[tuple[str, int], tuple[str, str]] = {}
        self.redrives = Redrives()

    def copied(self) -> Control:
        """An independent copy."""
        made = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict):
                setattr(made, name, dict(value))
        made._in_force, made._stopping = self._in_force.copied(), self._stopping.copied()
        made._recoveries, made.redrives = self._recoveries.copied(), self.redrives.copied()
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
    def operators(self) -> Operators | None:
        """The operators file in force."""
        return self._in_force.actors.in_force

    def last_number(self, person: str) -> int:
        """The highest number that the person has used for an act; 0 for none."""
        return self._in_force.actors.last_number(person)

    # -- engine.ports.ControlState ---------------------------------------------------------------

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
        return self._in_force.sources.get(topic, _NO_SOURCES)

    def stops(self) -> list[records.ProcessingStopped]:
        """The first open STOP of each cause."""
        return [each.record for each in self._stopping.stops.open]

    def stops_of(self, person: str) -> int:
        """How many STOPs of this person are open, counted one by one."""
        found = self._stopping.stops.open
        return sum(len(e.ids) for e in found if same_person(e.record.actor, person))

    def is_open(self, stop_id: str) -> bool:
        """Whether this STOP is not ended."""
        return self._stopping.stops.find(stop_id) is not None

    def recovered_at(self, partition: int) -> int:
        """When this partition was last recovered after a loss, or a record of its journal was
        ruled on (epoch ms); 0 for never. A store that is older may hold wrong states.
        """
        recovered = max((each.confirmed_at for each in self._recoveries.of(partition)), default=0)
        return max(recovered, self.dispositions.confirmed_at(partition))

    def foreign(self, partition: int) -> Mapping[int, bytes]:
        """Journal records that are skipped: SHA-256 of the raw value by offset."""
        return self.dispositions.foreign(partition)

    def recovery_points(self, partition: int) -> tuple[RecoveryPoint, ...]:
        """Where the partition's log tail was lost and recovered, in order."""
        return self._recoveries.points(partition)

    @property
    def recoveries(self) -> Mapping[str, records.RecoverConfirmed]:
        """Confirmed recoveries by the id of their request."""
        return self._recoveries.confirmed

    @property
    def found(self) -> frozenset[str]:
        """Submissions that recoveries found: see core.payment.inputs.recovered_submissions."""
        return self._recoveries.found

    def passed_over(self) -> PassedOver:
        """Unreadable batches that are skipped under dual control: first and last offset, by
        topic and partition.
        """
        return self._recoveries.passed_over()

    # -- the fold --------------------------------------------------------------------------------

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        """Apply one control record with its append time (epoch ms). An unreadable record is
        refused, and stops nothing.
        """
        self.appended_at = max(self.appended_at, appended_at)
        try:
            record = self._decode(CONTROL, value)
        except (Undecodable, ValueError) as error:
            self.unreadable += 1
            self._refuse(offset, None, Refusal(UNREADABLE, str(error)))
            return
        if not isinstance(record, ControlRecord):
            why = f"{type(record).__name__} is no control record"
            self._refuse(offset, None, Refusal(MALFORMED, why))
            return
        self.apply_record(offset, record, appended_at)

    def apply_record(
        self, offset: int, record: ControlRecord, appended_at: int = 0
    ) -> Refusal | None:
        """Apply a decoded record. Returns why it is refused, or None."""
        refusal = self._refusal(record, appended_at) or self._take(offset, record, appended_at)
        if refusal is not None:
            self._refuse(offset, record, refusal)
        return refusal

    def _refuse(self, offset: int, record: ControlRecord | None, refusal: Refusal) -> None:
        self._refused(refusal.rule)
        log.error(
            "control_record_refused", offset=offset, type=type(record).__name__, rule=refusal.rule,
            why=refusal.sentence, actor=getattr(record, "actor", None),
        )  # fmt: skip

    def _refusal(self, record: ControlRecord, appended_at: int) -> Refusal | None:
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
            return None  # anyone may stop: stopping is safe
        return judged

    def _request_of(self, record: ControlRecord) -> Request | None:
        """The request that a confirmation names."""
        if not isinstance(record, Confirmation):
            return None
        match record:
            case records.ResumeConfirmed(request_offset=at):
                return self._stopping.resumes.get(at)
            case records.RedriveConfirmed(request_id=name):
                return self.redrives.requests.get(name)
            case records.RecoverConfirmed(request_id=name):
                return self._recoveries.requests.get(name)
            case ActConfirmed(request_offset=at):
                return self._waiting.get(at)
            case _:
                assert_never(record)

    def _take(self, offset: int, record: ControlRecord, appended_at: int) -> Refusal | None:
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
                ask(self.redrives.requests, request_id, record)
            case records.RedriveConfirmed():
                self.redrives.confirm(record)
            case records.RedriveDone():
                return _not_possible(self.redrives.end(record))
            case records.RecoverRequested(request_id=request_id):
                ask(self._recoveries.requests, request_id, record)
            case records.RecoverConfirmed():
                return _not_possible(self._recoveries.confirm(record))
            case _:
                assert_never(record)
        return None

    def _first(self, offset: int, record: Activation) -> Refusal | None:
        """An unsigned record: the first of its kind, or one admitted by a reset."""
        resets = isinstance(record, OperatorsActivated) and self.operators is not None
        refusal = self._in_force.put(offset, record)
        if resets and refusal is None:
            self._refused(OPERATORS_RESET)
        return refusal

    def _confirm(self, offset: int, confirmed: ActConfirmed, at: int) -> Refusal | None:
        """A second person confirms a waiting request."""
        request = self._waiting.pop(confirmed.request_offset)
        if isinstance(request, DispositionRequested):
            refusal = self.dispositions.refusal(request)  # another may have come before it
            if refusal is None:
                self.dispositions.confirm(request, offset, confirmed, at)
            return _not_possible(refusal)
        if isinstance(request, records.UnparkRequested):
            parking = (request.payment_intent_id, request.sequence)
            self._resumptions.setdefault(parking, (request.actor, confirmed.actor))
            return None
        if isinstance(request, Activation):  # in force from the confirmation on
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
        """Why this confirmation does not end the STOP, or None (domain §10). That takes two people,
        and a replay that passed after the STOP.
        """
        return self._stopping.resume_refusal(confirmed)

    def proof_refusal(self, stop_id: str, proof_offset: int) -> str | None:
        """Why this proof cannot end a STOP and all others of its cause, or None (domain §10)."""
        return self._stopping.proof_refusal(stop_id, proof_offset, self._partitions())

    def proof(self, offset: int) -> records.ProofPassed | None:
        """The passed replay at this control offset."""
        return self._stopping.proofs.get(offset)

    def latest_proof(self) -> int | None:
        """Control offset of the last passed replay, or None."""
        return max(self._stopping.proofs, default=None)

    def resume_request(self, stop_id: str) -> int | None:
        """Control offset of the last request to resume after this STOP, or None."""
        requested = self._stopping.resumes.items()
        return max((o for o, r in requested if r.stop_id == stop_id), default=None)

    def resume_requested(self, offset: int) -> records.ResumeRequested | None:
        """The request to resume at this control offset."""
        return self._stopping.resumes.get(offset)

    # -- requests --------------------------------------------------------------------------------

    def requests(self) -> list[tuple[int, Request]]:
        """What waits for a second person, with its control offset; -1 where an id names it."""
        return [
            *self._waiting.items(),
            *self._stopping.resumes.items(),
            *((-1, each) for each in self.redrives.waiting()),
            *((-1, each) for each in self._recoveries.waiting()),
        ]

    def resume_processing_request(
        self, payment_id: PaymentIntentId, sequence: int
    ) -> tuple[int, records.UnparkRequested] | None:
        """The first open request to resume the payment that its event `sequence` parked, with the
        request's control offset.
        """
        for offset, each in self._waiting.items():
            if isinstance(each, records.UnparkRequested) and (
                (each.payment_intent_id, each.sequence) == (payment_id, sequence)
            ):
                return offset, each
        return None

    def resumption(self, payment_id: PaymentIntentId, sequence: int) -> tuple[str, str] | None:
        """Who requested and who confirmed that this parked payment resumes, once both have."""
        return self._resumptions.get((payment_id, sequence))

    def recover_request(self, request_id: str) -> records.RecoverRequested | None:
        """The request of that id, or None."""
        return self._recoveries.requests.get(request_id)

    def recover_refusal(self, confirmed: records.RecoverConfirmed) -> str | None:
        """Why this confirmation of a recovery does not count, or None."""
        return self._recoveries.refusal(confirmed)


def _not_possible(why: str | None) -> Refusal | None:
    return None if why is None else Refusal(NOT_POSSIBLE, why)
