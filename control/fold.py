"""The control topic as its readers see it: cluster, rule set, sources, STOP, and
RESUME under dual control.

Every process that obeys it folds the same records to the same answer, and does not rely on the
sender's checks (domain §10 and §4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from core import records
from core.recovery_point import RecoveryPoint
from core.values import same_person
from schemas.topology import CONTROL

log = structlog.get_logger("npp.control")

PERSONS_SEEN_MAX: Final = (
    1_000  # requests remembered until confirmed; older ones have to be asked again
)


class Control:
    """Fold of the control topic. `decode(topic, value)` raises ValueError for the unreadable."""

    def __init__(
        self,
        decode: Callable[[str, bytes], object],
        *,
        cluster_id: str | None = None,
        partitions: int | None = None,
    ) -> None:
        self._decode = decode
        self._live_cluster_id = cluster_id
        self._live_partitions = partitions
        self.cluster: records.ClusterRecorded | None = None
        self.rule_set: records.RuleSetActivated | None = None
        self.source_map: records.SourceMapActivated | None = None
        self.unreadable = 0
        self._sources: dict[str, frozenset[str]] = {}
        self._inputs: dict[str, int] = {}
        self._stops: dict[str, tuple[int, records.ProcessingStopped]] = {}
        self._proofs: dict[int, records.ProofPassed] = {}
        self._resumes: dict[int, records.ResumeRequested] = {}
        self._redrives: dict[str, records.RedriveRequested] = {}
        self._recovers: dict[str, records.RecoverRequested] = {}
        self._unparks: dict[tuple[str, int], records.UnparkRequested] = {}
        self.redrives_confirmed: dict[str, tuple[records.RedriveRequested, str]] = {}
        self.redrives_done: dict[str, records.RedriveDone] = {}
        self.recoveries: dict[str, records.RecoverConfirmed] = {}
        self._passed: dict[str, records.RecoverRequested] = {}  # batches passed over, by request
        self.found: frozenset[str] = (
            frozenset()
        )  # by recoveries; see core.payment.inputs.recovered_submissions

    # -- what the engine asks --------------------------------------------------------------------

    def stopped(self) -> str | None:
        """Why processing is stopped, or None. Several stops are ended one by one."""
        for _, stop in self._stops.values():
            return f"{stop.stop_id}: {stop.reason}"
        return None

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
        return None

    def added_inputs(self) -> Mapping[str, int]:
        return self._inputs

    def sources(self, topic: str) -> frozenset[str]:
        """Sources that a command topic may carry: empty for a topic that is not mapped."""
        return self._sources.get(topic, frozenset())

    def stops(self) -> list[records.ProcessingStopped]:
        return [stop for _, stop in self._stops.values()]

    def recovered_at(self, partition: int) -> int:
        """When this partition was last recovered after a loss, epoch ms; 0 for never."""
        return max((each.confirmed_at for each in self._recoveries_of(partition)), default=0)

    def recovery_points(self, partition: int) -> tuple[RecoveryPoint, ...]:
        """The points at which its lost log tail was recovered, in order."""
        return tuple(
            RecoveryPoint(each.journal_ends[partition], each.checkpoints[partition])
            for each in self._recoveries_of(partition)
        )

    def _recoveries_of(self, partition: int) -> list[records.RecoverConfirmed]:
        return [
            each
            for each in self.recoveries.values()
            if partition < len(each.journal_ends) and each.journal_ends[partition] >= 0
        ]

    # -- the fold --------------------------------------------------------------------------------

    def apply(self, offset: int, value: bytes) -> None:
        """One control record. What cannot be read counts as unreadable and stops nothing: it is
        logged.
        """
        try:
            record = self._decode(CONTROL, value)
        except ValueError as error:
            self.unreadable += 1
            log.exception("control_record_unreadable", offset=offset, error=str(error))
            return
        self.apply_record(offset, record)

    def apply_record(self, offset: int, record: object) -> None:
        match record:
            case records.ClusterRecorded():
                self._record_cluster(offset, record)
            case records.RuleSetActivated():
                self._activate_rules(offset, record)
            case records.SourceMapActivated():
                self._activate_sources(offset, record)
            case records.InputAdded(topic=topic):
                self._inputs.setdefault(topic, offset)
            case records.ProcessingStopped(stop_id=stop_id):
                self._stops.setdefault(stop_id, (offset, record))
            case records.ProofPassed():
                _remember(self._proofs, offset, record)
            case records.ResumeRequested():
                _remember(self._resumes, offset, record)
            case records.ResumeConfirmed():
                self._resume(offset, record)
            case records.RedriveRequested(request_id=request_id):
                _remember(self._redrives, request_id, record)
            case records.RedriveConfirmed():
                self._confirm_redrive(offset, record)
            case records.RedriveDone(request_id=request_id):
                self.redrives_confirmed.pop(request_id, None)
                _remember(self.redrives_done, request_id, record)
            case records.RecoverRequested(request_id=request_id):
                _remember(self._recovers, request_id, record)
            case records.RecoverConfirmed():
                self._confirm_recover(offset, record)
            case records.UnparkRequested(payment_intent_id=payment_id, sequence=sequence):
                if (payment_id, sequence) not in self._unparks:
                    _remember(self._unparks, (payment_id, sequence), record)
            case _:
                log.warning("control_record_skipped", offset=offset, type=type(record).__name__)

    def _record_cluster(self, offset: int, record: records.ClusterRecorded) -> None:
        if self.cluster is None:
            self.cluster = record
        elif (self.cluster.cluster_id, self.cluster.partitions) != (
            record.cluster_id,
            record.partitions,
        ):
            log.critical("control_cluster_changed", offset=offset, kept=self.cluster.cluster_id)

    def _activate_rules(self, offset: int, record: records.RuleSetActivated) -> None:
        if self.rule_set is not None and record.number < self.rule_set.number:
            log.error(
                "control_rule_set_refused",
                offset=offset,
                number=record.number,
                rule="NUMBERS_ONLY_RISE",
            )
            return
        self.rule_set = record

    def _activate_sources(self, offset: int, record: records.SourceMapActivated) -> None:
        if self.source_map is not None and record.number < self.source_map.number:
            log.error(
                "control_source_map_refused",
                offset=offset,
                number=record.number,
                rule="NUMBERS_ONLY_RISE",
            )
            return
        self.source_map = record
        self._sources = {
            topic: frozenset(filter(None, sources.split(",")))
            for topic, sources in zip(record.topics, record.sources, strict=True)
        }

    def _resume(self, offset: int, confirmed: records.ResumeConfirmed) -> None:
        refusal = self.resume_refusal(confirmed)
        if refusal is not None:
            log.error("resume_refused", offset=offset, stop_id=confirmed.stop_id, why=refusal)
            return
        del self._stops[confirmed.stop_id]
        log.warning("processing_resumed", stop_id=confirmed.stop_id, actor=confirmed.actor)

    def resume_refusal(self, confirmed: records.ResumeConfirmed) -> str | None:
        """Why this confirmation does not end the stop, or None: two persons and a replay passed
        after the stop.
        """
        if confirmed.stop_id not in self._stops:
            return f"no stop {confirmed.stop_id} is open"
        request = self._resumes.get(confirmed.request_offset)
        if request is None or request.stop_id != confirmed.stop_id:
            at = confirmed.request_offset
            return f"control offset {at} holds no request to resume {confirmed.stop_id}"
        if same_person(request.actor, confirmed.actor):
            return "the person who asked cannot confirm: a second person has to"
        return self.proof_refusal(confirmed.stop_id, request.proof_offset)

    def proof_refusal(self, stop_id: str, proof_offset: int) -> str | None:
        """Why a proof does not serve to end a stop, or None."""
        stopped_at, _ = self._stops[stop_id]
        proof = self._proofs.get(proof_offset)
        if proof is None:
            return (
                f"control offset {proof_offset} holds no passed replay: "
                "run `npp replay verify --publish`"
            )
        if proof_offset <= stopped_at:
            return "the replay named was made before the stop: run it again"
        if not (proof.fold and proof.chain):
            return "the replay named did not prove both fold and chain"
        if self.cluster is not None and len(proof.offsets) != self.cluster.partitions:
            return "the replay named does not cover every partition"
        return None

    def proof(self, offset: int) -> records.ProofPassed | None:
        """The passed replay at this control offset."""
        return self._proofs.get(offset)

    def latest_proof(self) -> int | None:
        """Control offset of the last passed replay."""
        return max(self._proofs, default=None)

    def resume_request(self, stop_id: str) -> int | None:
        """Control offset of the last request to resume this stop."""
        return max((o for o, r in self._resumes.items() if r.stop_id == stop_id), default=None)

    def resume_requested(self, offset: int) -> records.ResumeRequested | None:
        """The request to resume at this control offset."""
        return self._resumes.get(offset)

    def unpark_request(self, payment_id: str, sequence: int) -> records.UnparkRequested | None:
        """The first request to take up the payment that its event `sequence` has parked."""
        return self._unparks.get((payment_id, sequence))

    def redrive_request(self, request_id: str) -> records.RedriveRequested | None:
        """The request to redrive with this id."""
        return self._redrives.get(request_id)

    def _confirm_redrive(self, offset: int, confirmed: records.RedriveConfirmed) -> None:
        request = self._redrives.get(confirmed.request_id)
        if request is None or same_person(request.actor, confirmed.actor):
            log.error(
                "redrive_refused",
                offset=offset,
                request_id=confirmed.request_id,
                rule="TWO_PERSONS",
            )
            return
        if confirmed.request_id not in self.redrives_done:
            self.redrives_confirmed.setdefault(confirmed.request_id, (request, confirmed.actor))

    def _confirm_recover(self, offset: int, confirmed: records.RecoverConfirmed) -> None:
        refusal = self.recover_refusal(confirmed)
        if refusal is not None:
            log.error(
                "recover_refused", offset=offset, request_id=confirmed.request_id, why=refusal
            )
            return
        request = self._recovers[confirmed.request_id]
        if request.topic is not None:
            self._passed[confirmed.request_id] = request
            return
        self.found |= frozenset(confirmed.submissions)
        if confirmed.journal_ends:
            self.recoveries[confirmed.request_id] = confirmed

    def passed_over(self) -> dict[tuple[str, int], tuple[tuple[int, int], ...]]:
        """Batches that nobody can read and two persons passed over: first and last offset, by
        topic and partition."""
        found: dict[tuple[str, int], tuple[tuple[int, int], ...]] = {}
        for each in self._passed.values():
            name = (each.topic or "", each.partitions[0])
            found[name] = (*found.get(name, ()), (each.first_offset, each.last_offset))
        return found

    def recover_request(self, request_id: str) -> records.RecoverRequested | None:
        """The request of that id."""
        return self._recovers.get(request_id)

    def recover_refusal(self, confirmed: records.RecoverConfirmed) -> str | None:
        """Why this confirmation does not count, or None. It needs another person's request."""
        request = self._recovers.get(confirmed.request_id)
        if request is None:
            return f"nobody requested {confirmed.request_id}"
        if same_person(request.actor, confirmed.actor):
            return "the person who asked cannot confirm: a second person has to"
        if confirmed.request_id in self.recoveries or confirmed.request_id in self._passed:
            return "it was confirmed already: ask again"
        if request.topic is not None:
            return _pass_over_refusal(request, confirmed)
        if confirmed.submissions and not (confirmed.journal_ends or confirmed.checkpoints):
            return None
        if not 0 < len(confirmed.journal_ends) == len(confirmed.checkpoints):
            return "it does not say where the journal ended"
        asked = set(request.partitions)
        ends = enumerate(confirmed.journal_ends)
        if asked and any(end >= 0 and number not in asked for number, end in ends):
            return "it names partitions that were not requested"
        return None


def _pass_over_refusal(
    request: records.RecoverRequested, confirmed: records.RecoverConfirmed
) -> str | None:
    if len(request.partitions) != 1 or not 0 <= request.first_offset <= request.last_offset:
        return "it does not name one batch of one partition"
    if confirmed.journal_ends or confirmed.checkpoints or confirmed.submissions:
        return "passing a batch over recovers nothing else"
    return None


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Bounded: the oldest is forgotten, and has to be asked again."""
    if len(memory) >= PERSONS_SEEN_MAX:
        del memory[next(iter(memory))]
    memory[key] = value
