"""Recoveries under dual control: partitions that lost records, instructions that were found without
their event, and unreadable batches that are skipped.
"""

from __future__ import annotations

import copy

from core import control_records as records
from core.recovery_point import RecoveryPoint
from core.values import same_person
from engine.ports import TopicPartition

PassedOver = dict[TopicPartition, tuple[tuple[int, int], ...]]


class Recoveries:
    """Requested and confirmed recoveries, by request id."""

    def __init__(self) -> None:
        self.requests: dict[str, records.RecoverRequested] = {}
        self.confirmed: dict[str, records.RecoverConfirmed] = {}
        self._passed: dict[str, records.RecoverRequested] = {}
        self.found: frozenset[str] = frozenset()  # see core.payment.inputs.recovered_submissions

    def copied(self) -> Recoveries:
        """An independent copy."""
        made = copy.copy(self)
        made.requests = dict(self.requests)
        made.confirmed, made._passed = dict(self.confirmed), dict(self._passed)
        return made

    def confirm(self, confirmed: records.RecoverConfirmed) -> str | None:
        """A second person confirms. Returns why that does not count, or None."""
        refusal = self.refusal(confirmed)
        if refusal is not None:
            return refusal
        request = self.requests[confirmed.request_id]
        if request.topic is not None:
            self._passed[confirmed.request_id] = request
            return None
        self.found |= frozenset(confirmed.submissions)
        if confirmed.journal_ends:
            self.confirmed[confirmed.request_id] = confirmed
        return None

    def waiting(self) -> list[records.RecoverRequested]:
        """Requests that no second person has confirmed."""
        ended = self.confirmed.keys() | self._passed.keys()
        return [each for name, each in self.requests.items() if name not in ended]

    def passed_over(self) -> PassedOver:
        """Skipped batches: first and last offset, by topic and partition."""
        found: PassedOver = {}
        for each in self._passed.values():
            name = (each.topic or "", each.partitions[0])
            found[name] = (*found.get(name, ()), (each.first_offset, each.last_offset))
        return found

    def of(self, partition: int) -> list[records.RecoverConfirmed]:
        """Recoveries of this partition, in order."""
        return [
            each
            for each in self.confirmed.values()
            if partition < len(each.journal_ends) and each.journal_ends[partition] >= 0
        ]

    def points(self, partition: int) -> tuple[RecoveryPoint, ...]:
        """Where the partition's log tail was lost and recovered, in order."""
        return tuple(
            RecoveryPoint(
                journal_end=each.journal_ends[partition], checkpoint=each.checkpoints[partition]
            )
            for each in self.of(partition)
        )

    def refusal(self, confirmed: records.RecoverConfirmed) -> str | None:
        """Why this confirmation does not count, or None. The request must be another person's."""
        request = self.requests.get(confirmed.request_id)
        if request is None:
            return f"nobody requested {confirmed.request_id}"
        if same_person(request.actor, confirmed.actor):
            return "the person who asked cannot confirm: a second person has to"
        if confirmed.request_id in self.confirmed or confirmed.request_id in self._passed:
            return "it was confirmed already: ask again"
        if request.topic is not None:
            return _pass_over_refusal(request, confirmed)
        if confirmed.submissions and not (confirmed.journal_ends or confirmed.checkpoints):
            return None
        if not 0 < len(confirmed.journal_ends) == len(confirmed.checkpoints):
            return "it does not say where the journal ended"
        requested = set(request.partitions)
        ends = enumerate(confirmed.journal_ends)
        if requested and any(end >= 0 and number not in requested for number, end in ends):
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
