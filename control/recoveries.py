"""What two persons let go on after a loss: recovered partitions, instructions found without their
event, and batches passed over.
"""

from __future__ import annotations

import copy

from core import records
from core.recovery_point import RecoveryPoint
from core.values import same_person

Places = dict[tuple[str, int], tuple[tuple[int, int], ...]]


class Recoveries:
    """Confirmed recoveries, by request."""

    def __init__(self) -> None:
        self.confirmed: dict[str, records.RecoverConfirmed] = {}
        self._passed: dict[str, records.RecoverRequested] = {}
        self.found: frozenset[str] = frozenset()  # see core.payment.inputs.recovered_submissions

    def copied(self) -> Recoveries:
        """One that can be changed without this one."""
        made = copy.copy(self)
        made.confirmed, made._passed = dict(self.confirmed), dict(self._passed)
        return made

    def confirm(
        self, request: records.RecoverRequested, confirmed: records.RecoverConfirmed
    ) -> None:
        """Take over what the confirmation says; `refusal` has been asked."""
        if request.topic is not None:
            self._passed[confirmed.request_id] = request
            return
        self.found |= frozenset(confirmed.submissions)
        if confirmed.journal_ends:
            self.confirmed[confirmed.request_id] = confirmed

    def is_confirmed(self, request: records.RecoverRequested) -> bool:
        """Whether a second person has agreed to it."""
        return request.request_id in self.confirmed or request.request_id in self._passed

    def passed_over(self) -> Places:
        """Batches passed over: first and last offset, by topic and partition."""
        found: Places = {}
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
        """The points at which its lost log tail was recovered, in order."""
        return tuple(
            RecoveryPoint(each.journal_ends[partition], each.checkpoints[partition])
            for each in self.of(partition)
        )

    def refusal(
        self, request: records.RecoverRequested | None, confirmed: records.RecoverConfirmed
    ) -> str | None:
        """Why this confirmation does not count, or None. It needs another person's request."""
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
