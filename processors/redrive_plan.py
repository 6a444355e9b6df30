"""What a redrive would publish where: the rules of putting quarantined records back.

Identity is in the body, so a redrive that is carried out twice makes duplicates, never a second
payment. An unmatched report is assigned instead: that makes a new RailReport which names both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from adapters.rail_messages import UnreadableMessageError, parse, report_of
from core.header import InputHeader
from core.payment.commands import AssignedFrom, RailReport
from core.records import RedriveRequested
from core.values import (
    PAYMENT_ID_LENGTH,
    PAYMENT_ID_PREFIX,
    external_ref,
    payment_id_of_external_ref,
    same_person,
)
from engine.clock import Clock
from engine.ports import Headers
from engine.records import LogRecord
from processors import quarantine, topology
from processors.adapter_ports import Codec
from processors.rail_webhook import ORIGIN as CALLBACK
from schemas.errors import Undecodable

OFFSETS_MAX: Final = 10_000  # of one request
HEADER_REDRIVEN: Final = "npp-redriven-from"  # <quarantine topic>/<partition>/<offset>/<request id>

ReadRecord = Callable[[int, int], LogRecord | None]


class RefusedError(ValueError):
    """The request is not carried out; the sentence says why and goes into RedriveDone."""


class Planned(msgspec.Struct, frozen=True):
    """One record to publish for the quarantined record at `offset`. `partition` None: by key."""

    offset: int
    reason: str
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


class RedrivePlan:
    """Works a request out; publishes nothing."""

    def __init__(
        self,
        *,
        read: ReadRecord,
        codec: Codec,
        clock: Clock,
        adapter: str,
        origins: Collection[str],
    ) -> None:
        """`read(partition, offset)` gives a quarantined record or None; `origins` are the topics
        that may be written to, `adapter` the reason table of assigned callbacks.
        """
        self._read = read
        self._codec = codec
        self._clock = clock
        self._adapter = adapter
        self._origins = frozenset(origins)

    def of(self, request: RedriveRequested, confirmed_by: str) -> list[Planned]:
        """All records of the request in their order. Raises RefusedError: then none of them."""
        return [
            self._made(request, confirmed_by, *each)
            for each in self._records(request, confirmed_by)
        ]

    def _records(
        self, request: RedriveRequested, confirmed_by: str
    ) -> list[tuple[LogRecord, quarantine.Quarantined]]:
        """All records of the request, in their order: all of them or none."""
        if same_person(request.actor, confirmed_by):
            raise RefusedError("the person who asked can not confirm: a second person has to")
        if len(request.offsets) > OFFSETS_MAX:
            raise RefusedError(f"at most {OFFSETS_MAX} records at once")
        found = []
        for offset in sorted(set(request.offsets)):
            record = self._read(request.partition, offset)
            if record is None or record.value is None:
                raise RefusedError(f"quarantine {request.partition}/{offset} holds no record")
            try:
                found.append((record, quarantine.parse(record.headers)))
            except ValueError as error:
                raise RefusedError(f"quarantine {request.partition}/{offset}: {error}") from error
        return found

    def _made(
        self,
        request: RedriveRequested,
        confirmed_by: str,
        record: LogRecord,
        why: quarantine.Quarantined,
    ) -> Planned:
        """What is to be published for one record."""
        place = f"{topology.QUARANTINE}/{record.partition}/{record.offset}/{request.request_id}"
        named = (HEADER_REDRIVEN, place.encode())
        if request.payment_intent_id is not None:
            report = self._assigned(request, confirmed_by, record, why)
            key = report.header.payment_intent_id.encode()
            topic = topology.RAIL_REPORTS
            value = self._codec.encode(topic, report)
            return Planned(record.offset, why.reason, topic, None, key, value, [named])
        if why.topic == CALLBACK:
            raise RefusedError("a callback that matched nothing has to be assigned to a payment")
        if why.topic not in self._origins:
            raise RefusedError(f"records of {why.topic} are not redriven")
        original = [each for each in why.original if each[0] != HEADER_REDRIVEN]
        return Planned(
            record.offset,
            why.reason,
            why.topic,
            why.partition,
            record.key,
            record.value,
            [*original, named],
        )

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
        if why.topic != CALLBACK:
            old = self._old_report(record, why)
            header = InputHeader(payment_intent_id=payment_id, sent_at=now)
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
        """The report that was unmatched on its topic. RegistryDown goes up: it is tried again."""
        try:
            old: Any = self._codec.decode(why.topic, record.value or b"", why.original)
        except (Undecodable, KeyError) as error:
            raise RefusedError(f"the record can not be read: {error}") from error
        if not isinstance(old, RailReport):
            raise RefusedError("only a rail report can be assigned to a payment")
        return old


def _target(name: str) -> tuple[str, str]:
    """(paymentIntentId, externalRef) of what is named; a payment means its first attempt."""
    by_reference = payment_id_of_external_ref(name)
    if by_reference is not None:
        return by_reference, name.upper()
    if name.startswith(PAYMENT_ID_PREFIX) and len(name) == PAYMENT_ID_LENGTH:
        return name, external_ref(name, 1)
    raise RefusedError(f"{name!r} is neither a paymentIntentId nor an externalRef")
