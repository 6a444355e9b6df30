"""What two people ruled on journal records that the rules do not produce (domain §10).

Every reader of the journal obeys the same rulings, from the fold of the control topic. A ruling
applies to one partition, offset and SHA-256: a different record there is judged like any other.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from core.control_records import FOREIGN, ActConfirmed, DispositionRequested
from core.words import Ruling

KEPT_MAX: Final = 100_000  # 500 bytes each; for more damage than this, recover the partition
# They say that the rail, Deposits Core or the customer was informed: never skipped (domain §10).
TELLS_SOMEBODY: Final = frozenset(
    {"PaymentSentToRail", "RecallRequested", "FundsRequested", "CustomerNotificationRequested"}
)


class Disposition(msgspec.Struct, frozen=True, kw_only=True):
    """A ruling in force. Offsets of request and confirmation are those of the control topic."""

    request: DispositionRequested
    request_offset: int
    confirmed_by: str
    confirmed_at: int  # epoch ms
    confirm_offset: int
    ruled_at: int  # when the broker took the confirmation, epoch ms
    request_hash: bytes  # SHA-256 of what the requester signed; a checkpoint's leaf binds it

    @property
    def ruling(self) -> Ruling:
        return self.request.ruling


class Dispositions:
    """All rulings in force, by the record's position."""

    def __init__(self) -> None:
        self._at: dict[tuple[int, int], Disposition] = {}

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Disposition]:
        return iter(self._at.values())

    def copied(self) -> Dispositions:
        """An independent copy."""
        made = copy.copy(self)
        made._at = dict(self._at)
        return made

    def refusal(self, request: DispositionRequested) -> str | None:
        """Why this request cannot be confirmed, or None."""
        place = f"journal partition {request.partition} offset {request.offset}"
        if (request.partition, request.offset) in self._at:
            return f"the record at {place} was ruled on already"
        if request.ruling == FOREIGN and request.event_type in TELLS_SOMEBODY:
            return (
                f"a {request.event_type} may have instructed somebody and is never skipped: "
                "request TAKEN_AS_RECORDED instead"
            )
        if len(self._at) >= KEPT_MAX:
            return f"{KEPT_MAX} records were ruled on already"
        return None

    def confirm(
        self, request: DispositionRequested, offset: int, confirmed: ActConfirmed, appended_at: int
    ) -> None:
        """A second person confirmed, at this control offset. The caller has checked `refusal`."""
        self._at[request.partition, request.offset] = Disposition(
            request=request,
            request_offset=confirmed.request_offset,
            confirmed_by=confirmed.actor,
            confirmed_at=confirmed.confirmed_at,
            confirm_offset=offset,
            ruled_at=appended_at,
            request_hash=confirmed.signature.request_hash if confirmed.signature else b"",
        )

    def of(self, partition: int, offset: int, value: bytes | None) -> Disposition | None:
        """The ruling on this record of the journal, or None."""
        if not self._at:
            return None
        found = self._at.get((partition, offset))
        if found is None or found.request.event_hash != hashlib.sha256(value or b"").digest():
            return None
        return found

    def skips(self, partition: int, offset: int, value: bytes | None) -> bool:
        """Whether this record is FOREIGN: no reader folds it."""
        found = self.of(partition, offset, value)
        return found is not None and found.ruling == FOREIGN

    def foreign(self, partition: int) -> Mapping[int, bytes]:
        """Offset and SHA-256 of the FOREIGN records of a partition."""
        return {
            each.request.offset: each.request.event_hash
            for each in self
            if each.request.partition == partition and each.ruling == FOREIGN
        }

    def of_payment(self, payment: str) -> tuple[Disposition, ...]:
        """Rulings on records that name this payment, in journal order."""
        mine = (each for each in self if each.request.payment_intent_id == payment)
        return tuple(sorted(mine, key=lambda each: each.request.offset))

    def of_partition(self, partition: int) -> int:
        """The number of rulings on records of the partition."""
        return sum(each.request.partition == partition for each in self)

    def confirmed_at(self, partition: int) -> int:
        """When the last ruling on a record of the partition was confirmed, epoch ms; 0 for none."""
        mine: Iterable[int] = (
            each.confirmed_at for each in self if each.request.partition == partition
        )
        return max(mine, default=0)
