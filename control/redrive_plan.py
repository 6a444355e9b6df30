"""What a redrive of quarantined records publishes, and where (domain §5).

Identity is in the body, so a repeated redrive makes duplicates, never a second payment. An
unmatched report is assigned to a payment instead: that makes a new RailReport with the origin and
both people in `assignedFrom`. A record quarantined by reference is read from its origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from control import quarantine
from core.control_records import RedriveRequested
from core.header import InputHeader
from core.payment.commands import AssignedFrom, RailReport
from core.values import (
    PAYMENT_ID_LENGTH,
    PAYMENT_ID_PREFIX,
    PaymentIntentId,
    external_ref,
    payment_id_of_external_ref,
    same_person,
)
from core.words import QuarantineReason
from engine.clients.producing import MESSAGE_BYTES_MAX
from engine.clock import Clock
from engine.ports import Headers
from engine.records import UNREADABLE_HEADERS, LogRecord
from gateways.rail.messages import UnreadableMessageError, parse, report_of
from schemas import topology
from schemas.codec import Codec
from schemas.errors import Undecodable, Unencodable

OFFSETS_MAX: Final = 10_000  # of one request
BYTES_MAX: Final = 64 * 1024 * 1024  # keys and values of one request, in memory at once
HEADER_REDRIVEN: Final = "npp-redriven-from"  # <quarantine topic>/<partition>/<offset>/<request id>

ReadRecords = Callable[[int, Sequence[int]], Iterable[LogRecord]]
"""(partition, offsets in order) → those of them that hold a quarantined record, in order."""


class RefusedError(ValueError):
    """The request is not carried out; the message says why, and goes into RedriveDone."""


class Planned(msgspec.Struct, frozen=True):
    """One record to publish for the quarantined record at `offset`; where `partition` is None, its
    key decides the partition.

    With a `reference`, key and value are excerpts, and the original is at `origin_offset` of
    this topic and partition: `with_original` gives the record to publish.
    """

    offset: int
    reason: QuarantineReason
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    reference: quarantine.Reference | None = None
    origin_offset: int = -1

    @property
    def value_bytes(self) -> int:
        """Size of the whole value; 0 for null."""
        known = len(self.value or b"")
        return known if self.reference is None else max(0, self.reference.value_bytes)


class RedrivePlan:
    """Determines what a request publishes; publishes nothing itself."""

    def __init__(
        self,
        *,
        read: ReadRecords,
        codec: Codec,
        clock: Clock,
        adapter: str,
        origins: Collection[str],
    ) -> None:
        """`origins` are the topics that may be written to. `adapter` is the name whose reason table
        applies to assigned callbacks.
        """
        self._read = read
        self._codec = codec
        self._clock = clock
        self._adapter = adapter
        self._origins = frozenset(origins)

    def of(self, request: RedriveRequested, confirmed_by: str) -> list[Planned]:
        """What to publish for all records of the request, in their order. Raises RefusedError: then
        nothing of the request may be published.
        """
        return [
            self._made(request, confirmed_by, *each)
            for each in self._records(request, confirmed_by)
        ]

    def _records(
        self, request: RedriveRequested, confirmed_by: str
    ) -> list[tuple[LogRecord, quarantine.Quarantined]]:
        """All records of the request, in their order. Raises RefusedError if one is missing."""
        if same_person(request.actor, confirmed_by):
            raise RefusedError("the person who asked cannot confirm: a second person has to")
        offsets = sorted(set(request.offsets))
        if not offsets:
            raise RefusedError("it names no record")
        if len(offsets) > OFFSETS_MAX:
            raise RefusedError(f"at most {OFFSETS_MAX} records at once")
        found = []
        content_bytes = 0
        for record in self._read(request.partition, offsets):
            content_bytes += len(record.key or b"") + len(record.value or b"")
            if content_bytes > BYTES_MAX:
                raise RefusedError(
                    f"its records have more than {BYTES_MAX} bytes together: ask for fewer at once"
                )
            try:
                found.append((record, quarantine.parse(record.headers)))
            except ValueError as error:
                raise RefusedError(f"{_name(record)}: {error}") from error
        missing = set(offsets) - {record.offset for record, _ in found}
        if missing:
            raise RefusedError(f"quarantine {request.partition}/{min(missing)} holds no record")
        return found

    def _made(
        self,
        request: RedriveRequested,
        confirmed_by: str,
        record: LogRecord,
        why: quarantine.Quarantined,
    ) -> Planned:
        """What to publish for one record. Raises RefusedError."""
        place = f"{topology.QUARANTINE}/{record.partition}/{record.offset}/{request.request_id}"
        named = (HEADER_REDRIVEN, place.encode())
        if why.reference is not None:
            return self._referred(request, record, why, why.reference, named)
        if request.payment_intent_id is not None:
            report = self._assigned(request, confirmed_by, record, why)
            key = report.header.payment_intent_id.encode()
            topic = topology.RAIL_REPORTS
            try:
                value = self._codec.encode(topic, report)
            except Unencodable as error:
                raise RefusedError(f"{_name(record)} makes no valid report: {error}") from error
            return Planned(record.offset, why.reason, topic, None, key, value, [named])
        if why.topic == quarantine.RAIL_CALLBACKS:
            raise RefusedError("a callback that matched nothing has to be assigned to a payment")
        if why.topic not in self._origins:
            raise RefusedError(f"records of {why.topic} are not redriven")
        return Planned(
            record.offset,
            why.reason,
            why.topic,
            why.partition,
            record.key,
            record.value,
            _redriven(why.original, named),
        )

    def _referred(
        self,
        request: RedriveRequested,
        record: LogRecord,
        why: quarantine.Quarantined,
        reference: quarantine.Reference,
        named: tuple[str, bytes],
    ) -> Planned:
        """The plan for a record quarantined by reference; its original is read on publishing."""
        if request.payment_intent_id is not None or why.offset < 0:
            raise RefusedError(
                f"{_name(record)} is quarantined by reference: what is too large to copy cannot be "
                "assigned to a payment; its sender has to send it again"
            )
        if why.topic not in self._origins:
            raise RefusedError(f"records of {why.topic} are not redriven")
        if reference.headers_count < 0:
            raise RefusedError(
                f"{_name(record)}: {UNREADABLE_HEADERS}, so the record cannot be put back "
                "unchanged; its sender has to publish it again"
            )
        sizes = (reference.key_bytes, reference.value_bytes, reference.headers_bytes)
        if sum(max(0, each) for each in sizes) > MESSAGE_BYTES_MAX:
            raise RefusedError(
                f"{_name(record)}: the original has more than the {MESSAGE_BYTES_MAX} bytes that "
                "a producer hands over; its sender has to publish it again"
            )
        return Planned(
            record.offset, why.reason, why.topic, why.partition, record.key, record.value, [named],
            reference, why.offset,
        )  # fmt: skip

    def _assigned(
        self,
        request: RedriveRequested,
        confirmed_by: str,
        record: LogRecord,
        why: quarantine.Quarantined,
    ) -> RailReport:
        """The new report. The request names a payment, or one attempt by its externalRef."""
        if why.reason != quarantine.UNMATCHED:
            raise RefusedError("only an UNMATCHED record can be assigned to a payment")
        payment_id, reference = _target(request.payment_intent_id or "")
        assigned_from = AssignedFrom(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            sha256=hashlib.sha256(record.value or b"").digest(),
            requested_by=request.actor,
            confirmed_by=confirmed_by,
        )
        now = self._clock.now_ms()
        if why.topic != quarantine.RAIL_CALLBACKS:
            old = self._old_report(record, why)
            header = InputHeader(payment_intent_id=PaymentIntentId(payment_id), sent_at=now)
            return msgspec.structs.replace(
                old, header=header, external_ref=reference, assigned_from=assigned_from
            )
        try:
            report = report_of(
                parse(record.value or b""),
                adapter=self._adapter,
                received_at=now,
                payment_intent_id=payment_id,
                external_ref=reference,
                assigned_from=assigned_from,
            )
        except UnreadableMessageError as error:
            raise RefusedError(str(error)) from error
        if report is None:
            raise RefusedError("the target is no payment of ours")
        return report

    def _old_report(self, record: LogRecord, why: quarantine.Quarantined) -> RailReport:
        """The unmatched report from its topic. RegistryDown propagates: the caller retries."""
        try:
            old: Any = self._codec.decode(why.topic, record.value or b"", why.original)
        except (Undecodable, KeyError) as error:
            raise RefusedError(f"the record cannot be read: {error}") from error
        if not isinstance(old, RailReport):
            raise RefusedError("only a rail report can be assigned to a payment")
        return old


def with_original(planned: Planned, original: LogRecord | None) -> Planned:
    """What to publish for a record quarantined by reference: the original's own key, value and
    headers. Raises RefusedError when it is gone, or when another record is in its place.
    """
    place = f"{planned.topic}/{planned.partition}/{planned.origin_offset}"
    if original is None:
        raise RefusedError(
            f"the original of quarantine offset {planned.offset} is gone: {place} holds no record "
            "any more; its sender has to publish it again"
        )
    if quarantine.reference_of(original) != planned.reference:
        raise RefusedError(
            f"{place} holds another record than the one that quarantine offset {planned.offset} "
            "refers to (sizes or SHA-256 differ)"
        )
    return Planned(
        planned.offset, planned.reason, planned.topic, planned.partition, original.key,
        original.value, _redriven(original.headers, planned.headers[-1]),
    )  # fmt: skip


def _redriven(original: Headers, named: tuple[str, bytes | None]) -> Headers:
    """The record's own headers, and one that names the quarantine record it was redriven from."""
    return [*(each for each in original if each[0] != HEADER_REDRIVEN), named]


def _name(record: LogRecord) -> str:
    return f"quarantine {record.partition}/{record.offset}"


def _target(name: str) -> tuple[str, str]:
    """The (paymentIntentId, externalRef) of either; for a payment id, that of its first attempt.
    Raises RefusedError.
    """
    by_reference = payment_id_of_external_ref(name)
    if by_reference is not None:
        return by_reference, name.upper()
    if name.startswith(PAYMENT_ID_PREFIX) and len(name) == PAYMENT_ID_LENGTH:
        return name, external_ref(name, 1)
    raise RefusedError(f"{name!r} is neither a paymentIntentId nor an externalRef")
