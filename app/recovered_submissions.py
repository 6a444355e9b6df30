"""Instructions to pay that are on the log although the journal has lost the event behind them.

The rail may have them. `npp control recover` lists them on the control topic, so that none of these
attempts counts as never sent, and reports those whose attempt no remaining input creates again.
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
    """References of attempts. Feed it the submissions first, then the journal, then the inputs."""

    def __init__(self, numbers: Container[int], partitions: int) -> None:
        self._numbers = numbers
        self._partitions = partitions
        self._references: set[str] = set()
        self._made: dict[bytes, int] = {}  # last attempt of payments with more than one
        self._created: set[bytes] = set()

    def stands(self, reference: str) -> None:
        """The log has an instruction to submit it, or the adapter's record that it was."""
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
        """Keys of the payments to which the references belong."""
        return frozenset(key for key in map(_key, self._references) if key is not None)

    def will_be_created(self, key: bytes) -> None:
        """The command that creates this payment is still on the log, and is decided again."""
        self._created.add(key)

    def found(self) -> list[str]:
        """References whose event the journal has lost, in order."""
        return sorted(self._references)

    def orphaned(self, known: Container[bytes]) -> list[str]:
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
    """The recovery's report for an attempt that no input repeats: it cannot be withdrawn."""
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
