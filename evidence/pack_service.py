"""Fills api.services.Evidence: reads the raw bytes of the read model and has packs made of them.

Nothing is stored. A pack is named by `asOf`, and the same asOf gives the same bytes wherever the
read model was folded from the same log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from evidence import pack as packs
from evidence import verify_evidence as v
from evidence.keys import Keyring
from evidence.log import EvidenceLog
from evidence.merkle import LeafData
from evidence.online import Online
from evidence.pack_pdf import pdf_of
from evidence.recovery_points import RecoveryPoints
from readmodel import rows
from readmodel.ports import AuditFilter, Reader
from schemas.codec import Codec
from schemas.codec.written import WrittenSchemas
from schemas.topology import EVENTS, OPERATOR_COMMANDS

AS_OF: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})")
AUDIT_PAGE_COUNT: Final = 200
AUDIT_PAGES_MAX: Final = 100


class NotYet(ValueError):
    """The read model has a record whose other half is still on its way: ask again in a moment."""


class PackService:
    """See api.services.Evidence. `keyring` gives it as its file stands now; `log` is asked by the
    online verification alone.
    """

    def __init__(
        self,
        *,
        reader: Reader,
        codec: Codec,
        schemas: WrittenSchemas,
        keyring: Callable[[], Keyring],
        log: EvidenceLog,
    ) -> None:
        self._reader = reader
        self._codec = codec
        self._schemas = schemas
        self._keyring = keyring
        self._log = log
        self._recovery_points = RecoveryPoints(reader, codec)

    # -- api.services.Evidence -------------------------------------------------------------------

    def build(self, payment_intent_id: str, as_of: str | None, *, proof: bool) -> tuple[str, bytes]:
        pack = packs.pack_of(self._inputs(payment_intent_id, as_of), proof=proof)
        return str(pack["asOf"]), packs.bytes_of(pack)

    def pdf(self, pack: bytes) -> bytes:
        return pdf_of(pack)

    def view(self, payment_intent_id: str) -> bytes:
        return v.canonical(packs.view_of(self._inputs(payment_intent_id, None)))

    def verify(self, payment_intent_id: str, pack: bytes | None) -> dict[str, Any]:
        """Raises KeyError for an unknown payment, NotYet, engine errors when Kafka is not there."""
        online = Online(self._reader, self._codec, self._log)
        return online.verify(self, payment_intent_id, pack)

    def prove(self, payment_intent_id: str, pack: bytes) -> dict[str, Any]:
        answer = self.offline(pack)
        whole = answer["verdict"] == v.VERIFIED
        return answer if whole else self.verify(payment_intent_id, pack)

    # -- parts for the online verification -------------------------------------------------------

    def offline(self, pack: bytes) -> dict[str, Any]:
        """What the pack proves by itself, under the keys listed now."""
        return v.verify(pack, packs.public_keys(self._keyring()))

    # -- reading ---------------------------------------------------------------------------------

    def _inputs(self, payment: str, as_of: str | None) -> v.Inputs:
        wanted = None if as_of is None else _parse(as_of)
        keyring = self._keyring()
        packer = packs.Packer(self._schemas.schema, keyring, self._decode)
        events = self._reader.events(payment, 0, packs.EVENTS_COUNT_MAX + 1)
        if not events:
            raise KeyError(payment)
        packs.check_size(len(events), 0, 0)
        if wanted is not None:
            events = events[: wanted[0]]
            if not events or events[-1].sequence < wanted[0]:
                raise ValueError(f"asOf {as_of} cannot be met: there are no such events here")
        outcomes = self._outcomes(payment, wanted, as_of)
        checkpoint = self._checkpoint(events, None if wanted is None else wanted[2])
        material = packs.Material(
            payment=payment,
            partition=events[0].partition,
            events=[(row.offset, row.raw) for row in events],
            outcomes=[(row.partition, row.offset, row.raw) for row in outcomes],
            said=self._said(payment, outcomes),
            checkpoint=None if checkpoint is None else checkpoint.raw,
            leaves=self._leaves(packer, checkpoint),
        )
        inputs = packer.inputs(material)
        made = v.assemble(inputs, with_proof=False)["asOf"]
        if as_of is not None and made != as_of:
            raise ValueError(f"asOf {as_of} cannot be met; the nearest is {made}")
        return inputs

    def _decode(self, raw: bytes) -> Any:
        return self._codec.decode(EVENTS, raw)

    def _outcomes(
        self, payment: str, wanted: tuple[int, int, int] | None, as_of: str | None
    ) -> list[rows.OutcomeRow]:
        found = self._reader.outcomes(payment, packs.OUTCOMES_COUNT_MAX + 1)
        packs.check_size(0, len(found), 0)
        if wanted is None:
            return found
        found = [row for row in found if row.offset < wanted[1]]
        if wanted[1] and (not found or found[-1].offset + 1 != wanted[1]):
            raise ValueError(f"asOf {as_of} cannot be met: there is no such outcome here")
        return found

    def _checkpoint(
        self, events: list[rows.EventRow], number: int | None
    ) -> rows.CheckpointRow | None:
        """The last checkpoint (or that number) in whose range the payment's last event is one of
        these events. Raises ValueError when that number is none of them. A void one covers
        nothing: after `npp control recover` its events are as those that no checkpoint covers yet.
        """
        partition = events[0].partition
        if (
            number == 0
            or self._recovery_points.checkpoint_over(partition, events[0].offset) is None
        ):
            if number:
                raise ValueError(f"checkpoint {number} does not cover these events")
            return None
        following = self._reader.events(events[0].payment_intent_id, events[-1].sequence, 1)
        beyond = following[0].offset if following else None
        left = list(events)
        while left:
            found = self._recovery_points.checkpoint_over(partition, left[-1].offset)
            if found is None:
                left.pop()
                continue
            whole = beyond is None or found.to_offset < beyond
            if whole and number in (None, found.number):
                return found
            while left and left[-1].offset >= found.from_offset:
                left.pop()
        if number is not None:
            raise ValueError(f"checkpoint {number} does not cover these events")
        return None

    def _leaves(self, packer: packs.Packer, row: rows.CheckpointRow | None) -> list[LeafData]:
        if row is None:
            return []
        record = packer.record(row.raw)
        packs.check_size(0, 0, int(record["leaves"]))
        first, last = int(record["fromOffset"]), int(record["toOffset"])
        found = self._reader.leaves(row.partition, first, last)
        return [LeafData(*each) for each in found]

    def _said(self, payment: str, outcomes: list[rows.OutcomeRow]) -> list[dict[str, Any]]:
        """Who gave the commands that were not executed, from their audit rows."""
        wanted = [
            row
            for row in outcomes
            if row.cause_topic == OPERATOR_COMMANDS and row.result != "ACCEPTED"
        ]
        known = self._audit_rows(payment) if wanted else {}
        said = []
        for row in wanted:
            given = known.get(f"o-{row.cause_partition}-{row.cause_offset}")
            place = (OPERATOR_COMMANDS, row.cause_partition)
            if given is None and self._reader.projected().get(place, 0) <= row.cause_offset:
                raise NotYet("an operator's command is still on its way into the read model")
            said.append(
                {
                    "operatorId": None if given is None else given.operator_id,
                    "reason": None if given is None else given.reason,
                    "approvalId": None if given is None else given.approval_id,
                }
            )
        return said

    def _audit_rows(self, payment: str) -> dict[str, rows.AuditRow]:
        found: dict[str, rows.AuditRow] = {}
        cursor: str | None = None
        wanted = AuditFilter(payment_intent_id=payment)
        for _ in range(AUDIT_PAGES_MAX):
            page = self._reader.audit(wanted, AUDIT_PAGE_COUNT, cursor)
            found.update({r.audit_id: r for r in page.items if isinstance(r, rows.AuditRow)})
            cursor = page.next
            if cursor is None:
                return found
        raise packs.TooLong("The payment has more audit records than one pack looks at.")


def _parse(as_of: str) -> tuple[int, int, int]:
    match = AS_OF.fullmatch(as_of)
    if match is None:
        raise ValueError("asOf is <sequence>.<outcomes offset>.<checkpoint number>")
    sequence, outcomes, checkpoint = (int(part) for part in match.groups())
    if sequence == 0:
        raise ValueError("asOf names a sequence from 1 on")
    return sequence, outcomes, checkpoint
