"""Instructions to pay that are on the log although the journal has lost the event behind them.

The rail may have them. `npp control recover` lists them on the control topic, so that no attempt of
theirs ends as one that was never sent, and reports those that nothing would make again.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from core.header import InputHeader
from core.payment.commands import RailReport
from core.values import (
    ExternalRef,
    PaymentIntentId,
    attempt_of_external_ref,
    payment_id_of_external_ref,
)
from engine.partitioner import partition_of
from processors.rail.record import REFUSED, SUBMITTED, SUBMITTING

ADAPTER: Final = "recover"
AT_THE_RAIL: Final = frozenset({SUBMITTING, SUBMITTED, REFUSED})  # phases of the adapter's record


class Submissions:
    """References of attempts; first what stands, then the journal, then the inputs."""

    def __init__(self, numbers: Container[int], partitions: int) -> None:
        self._numbers = numbers
        self._partitions = partitions
        self._references: set[str] = set()
        self._made: dict[bytes, int] = {}  # last attempt of payments with more than one
        self._created: set[bytes] = set()

    def stands(self, reference: str) -> None:
        """An instruction to submit it, or the adapter's word that it did."""
        key = _key(reference)
        if key is not None and partition_of(key, self._partitions) in self._numbers:
            self._references.add(reference)

    def sent(self, reference: str) -> None:
        """The journal has its PaymentSentToRail."""
        self._references.discard(reference)

    def made(self, key: bytes, attempt: int) -> None:
        """The journal has an event of this attempt."""
        if attempt > 1:
            self._made[key] = max(attempt, self._made.get(key, 0))

    def keys(self) -> frozenset[bytes]:
        """Payments that something was found of."""
        return frozenset(key for key in map(_key, self._references) if key is not None)

    def will_be_created(self, key: bytes) -> None:
        """The command that creates it still stands, and is decided again."""
        self._created.add(key)

    def found(self) -> list[str]:
        """References whose event the journal has lost, in order."""
        return sorted(self._references)

    def unmade(self, known: Container[bytes]) -> list[str]:
        """Of those, the ones whose attempt nothing makes again: a lost retry, or a payment without
        its command. `known`: payments that the journal has.
        """
        lost = []
        for reference in self.found():
            key, number = _key(reference), attempt_of_external_ref(reference) or 0
            if key is None:
                continue
            if key in known:
                made = number <= self._made.get(key, 1)
            else:
                made = number == 1 and key in self._created
            if not made:
                lost.append(reference)
        return lost


def report_of(reference: str, request_id: str, now_ms: int) -> RailReport:
    """What the recovery says of an attempt that nothing makes again: it cannot be withdrawn."""
    return RailReport(
        header=InputHeader(
            payment_intent_id=payment_id_of_external_ref(reference) or PaymentIntentId(""),
            sent_at=now_ms,
        ),
        external_ref=ExternalRef(reference),
        kind="ALREADY_SUBMITTED",
        adapter=ADAPTER,
        details=f"{request_id}: an instruction to pay stands without its event",
    )


def _key(reference: str) -> bytes | None:
    payment = payment_id_of_external_ref(reference)
    return None if payment is None else payment.encode()
