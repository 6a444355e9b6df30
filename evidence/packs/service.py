"""Implements api.services.Evidence: makes packs from the raw bytes in the read model.

Nothing is stored. A pack is named by `asOf`; the same asOf gives the same bytes from every read
model of the same log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import merge
from typing import Any, Final

from core.dispositions import Disposition
from evidence import verify_evidence as v
from evidence.keys import Keyring
from evidence.log import EvidenceLog
from evidence.merkle import LeafData
from evidence.online import Online
from evidence.packs import pack as packs
from evidence.packs.pdf import pdf_of
from evidence.recovery_points import RecoveryPoints
from readmodel import rows
from readmodel.ports import Reader
from schemas.codec import Codec
from schemas.codec.written import WrittenSchemas
from schemas.topology import EVENTS, OPERATOR_COMMANDS

AS_OF: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})(?:\.([0-9]{1,18}))?")


class NotYet(ValueError):
    """The read model has a record whose counterpart has not arrived yet: retry in a moment."""


class PackService:
    """See api.services.Evidence. `keyring` returns the current keyring. Only the online
    verification reads `log`.
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

    def verified_through(self, payment_intent_id: str, partition: int) -> int:
        """The payment's last sequence that a checkpoint covers; 0 for none."""
        last = self._recovery_points.last_checkpoint(partition)
        return 0 if last is None else self._reader.sequence_at(payment_intent_id, last.to_offset)

    def rulings(self, payment_intent_id: str) -> tuple[Disposition, ...]:
        """The rulings of two people on journal records that name the payment."""
        return self._recovery_points.rulings(payment_intent_id)

    def verify(self, payment_intent_id: str, pack: bytes | None) -> dict[str, Any]:
        """Raises KeyError for an unknown payment, NotYet, TimeoutError, engine errors when Kafka
        does not answer.
        """
        online = Online(self._reader, self._log, self._codec)
        return online.verify(self, payment_intent_id, pack)

    def prove(self, payment_intent_id: str, pack: bytes) -> dict[str, Any]:
        answer = self.offline(pack)
        whole = answer["verdict"] == v.VERIFIED
        return answer if whole else self.verify(payment_intent_id, pack)

    # -- parts for the online verification -------------------------------------------------------

    def offline(self, pack: bytes) -> dict[str, Any]:
        """What the pack proves offline, under the currently listed keys."""
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
        outcomes, later = self._outcomes(payment, wanted, as_of)
        ruled = self._recovery_points.rulings(payment)
        binding = Binding(self._recovery_points, packer, ruled)
        checkpoint = self._checkpoint(
            events, outcomes, binding, later, None if wanted is None else wanted[2]
        )
        material = packs.Material(
            payment=payment,
            partition=events[0].partition,
            events=[(row.offset, row.raw) for row in events],
            outcomes=[(row.partition, row.offset, row.raw) for row in outcomes],
            commands=self._commands(outcomes),
            checkpoint=None if checkpoint is None else checkpoint.raw,
            rulings=self._ruled(ruled, binding, outcomes, checkpoint),
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
    ) -> tuple[list[rows.OutcomeRow], int | None]:
        """The payment's outcomes up to asOf, and the offset of its next operator outcome."""
        found = self._reader.outcomes(payment, packs.OUTCOMES_COUNT_MAX + 1)
        packs.check_size(0, len(found), 0)
        found = [row for row in found if row.result != "MISROUTED"]  # it decided nothing
        if wanted is None:
            return found, None
        more = [row.offset for row in _by_operators(found) if row.offset >= wanted[1]]
        found = [row for row in found if row.offset < wanted[1]]
        if wanted[1] and (not found or found[-1].offset + 1 != wanted[1]):
            raise ValueError(f"asOf {as_of} cannot be met: there is no such outcome here")
        return found, more[0] if more else None

    def _checkpoint(
        self,
        events: list[rows.EventRow],
        outcomes: list[rows.OutcomeRow],
        binding: Binding,
        later: int | None,
        number: int | None,
    ) -> rows.CheckpointRow | None:
        """The last checkpoint, or the one of that number, that covers something of the payment, but
        no more than these events and outcomes. `later`: offset of the payment's next operator
        outcome. Raises ValueError when the checkpoint of that number is none of them. A void one
        counts for nothing: after a recovery, its events are not covered yet.
        """
        if number == 0:
            return None
        payment, partition = events[0].payment_intent_id, events[0].partition
        following = self._reader.events(payment, events[-1].sequence, 1)
        beyond = following[0].offset if following else None
        over = self._recovery_points
        by_event = _covering(
            partial(over.checkpoint_over, partition),
            [row.offset for row in events],
            lambda row: row.from_offset,
        )
        by_outcome = _covering(
            partial(over.checkpoint_over_outcome, partition),
            [row.offset for row in _by_operators(outcomes)],
            lambda row: row.from_outcome,
        )
        by_ruling = iter(binding.checkpoints())
        for row in merge(by_event, by_outcome, by_ruling, key=lambda each: -each.number):
            whole = (beyond is None or row.to_offset < beyond) and (
                later is None or row.to_outcome < later
            )
            covers = events[0].offset <= row.to_offset
            if whole and covers and number in (None, row.number):
                return row
        if number is not None:
            raise ValueError(f"checkpoint {number} does not cover these events")
        return None

    def _leaves(self, packer: packs.Packer, row: rows.CheckpointRow | None) -> list[LeafData]:
        if row is None:
            return []
        record = packer.record(row.raw)
        packs.check_size(0, 0, int(record["leaves"]))
        if (record["fromOffset"], record["toOffset"]) != (row.from_offset, row.to_offset):
            raise packs.Tampered("CHECKPOINT", f"checkpoint {row.number}", "it names other offsets")
        ruled: dict[str, list[Disposition]] = {}
        for each in self._recovery_points.rulings_on(row.partition, row.to_offset):
            if each.request.payment_intent_id:  # else its record names no payment
                ruled.setdefault(each.request.payment_intent_id, []).append(each)
        leaves, touched = [], set()
        for payment, sequence, head, outcomes in self._reader.leaves(row, OPERATOR_COMMANDS):
            if payment in ruled:
                touched.add(payment)
                continue
            leaf = LeafData(payment, sequence, head)
            for raw in outcomes:
                leaf = leaf.with_outcome(hashlib.sha256(raw).digest())
            leaves.append(leaf)
        for payment, mine in ruled.items():
            binding = Binding(self._recovery_points, packer, mine)
            counts = {each.number for each in binding.checkpoints()}
            if payment in touched or row.number in counts:
                leaves.append(self._ruled_leaf(payment, binding, row))
        return leaves

    def _ruled_leaf(self, payment: str, binding: Binding, row: rows.CheckpointRow) -> LeafData:
        """The leaf of a payment with rulings. A ruling counts after the outcomes of the first
        checkpoint that covers its record.
        """
        sequence = self._reader.sequence_at(payment, row.to_offset)
        leaf = LeafData(payment)
        if sequence:
            (head,) = self._reader.events(payment, sequence - 1, 1)
            leaf = leaf.with_event(sequence, head.hash)
        found = self._reader.outcomes(payment, packs.OUTCOMES_COUNT_MAX + 1)
        packs.check_size(0, len(found), 0)
        hashes = [hashlib.sha256(each.raw).digest() for each in answered_in(found, row)]
        for ruled, after in reversed(binding.counted(found, row)):
            if after is not None:
                hashes.insert(after, ruled.request_hash)
        for digest in hashes:
            leaf = leaf.with_outcome(digest)
        return leaf

    def _ruled(
        self,
        ruled: Sequence[Disposition],
        binding: Binding,
        outcomes: list[rows.OutcomeRow],
        checkpoint: rows.CheckpointRow | None,
    ) -> list[packs.RuledRecord]:
        """The rulings with their acts as they are on the control topic."""
        if len(ruled) > packs.RULINGS_COUNT_MAX:
            raise packs.TooLong(
                f"More than {packs.RULINGS_COUNT_MAX} of its records were ruled on."
            )
        cluster = self._recovery_points.cluster_id()
        return [
            packs.RuledRecord(
                request_offset=each.request_offset,
                request=self._act(each.request_offset),
                confirm_offset=each.confirm_offset,
                confirmation=self._act(each.confirm_offset),
                cluster=cluster,
                record=self._foreign(each),
                counted_after=after,
            )
            for each, after in binding.counted(outcomes, checkpoint)
        ]

    def _act(self, offset: int) -> bytes:
        (row,) = self._reader.control(offset - 1, 1)
        return row.raw

    def _foreign(self, ruled: Disposition) -> bytes | None:
        if ruled.ruling != v.FOREIGN:
            return None
        row = self._reader.foreign_record(ruled.request.partition, ruled.request.offset)
        if row is None:
            raise NotYet("a record that was ruled on is still on its way into the read model")
        return row.raw

    def _commands(self, outcomes: list[rows.OutcomeRow]) -> list[bytes]:
        """The raw operator commands that were not executed. Raises NotYet."""
        found = []
        for row in _by_operators(outcomes):
            if row.result == "ACCEPTED":
                continue
            command = self._reader.command_at(row.cause_partition, row.cause_offset)
            if command is None:
                raise NotYet("an operator's command is still on its way into the read model")
            found.append(command.raw)
        return found


class Binding:
    """Which checkpoint's leaf counts each ruling on a payment's records: the one that covers the
    record, if it was signed after the ruling (domain §10).
    """

    def __init__(
        self, over: RecoveryPoints, packer: packs.Packer, ruled: Sequence[Disposition]
    ) -> None:
        self._of: list[tuple[Disposition, rows.CheckpointRow | None]] = []
        for each in ruled:
            row = over.checkpoint_over(each.request.partition, each.request.offset)
            counts = row is not None and packer.record(row.raw)["signedAt"] >= each.ruled_at
            self._of.append((each, row if counts else None))

    def checkpoints(self) -> list[rows.CheckpointRow]:
        """The checkpoints that count a ruling, the last one first."""
        return [row for _, row in reversed(self._of) if row is not None]

    def counted(
        self, outcomes: Sequence[rows.OutcomeRow], to: rows.CheckpointRow | None
    ) -> list[tuple[Disposition, int | None]]:
        """Each ruling, and how many of these operator outcomes come before it in the leaf of
        checkpoint `to`; None for one that is not in that leaf.
        """
        return [
            (each, None)
            if row is None or to is None or row.number > to.number
            else (each, len(answered_in(outcomes, row)))
            for each, row in self._of
        ]


def answered_in(
    outcomes: Sequence[rows.OutcomeRow], row: rows.CheckpointRow
) -> list[rows.OutcomeRow]:
    """The operator outcomes that a checkpoint and those before it cover."""
    return [
        each
        for each in _by_operators(outcomes)
        if each.result != "MISROUTED"
        and each.partition == row.outcomes_partition
        and each.offset <= row.to_outcome
    ]


def _by_operators(outcomes: Sequence[rows.OutcomeRow]) -> list[rows.OutcomeRow]:
    """The outcomes of operator commands, which checkpoints cover."""
    return [row for row in outcomes if row.cause_topic == OPERATOR_COMMANDS]


def _covering(
    over: Callable[[int], rows.CheckpointRow | None],
    offsets: list[int],
    begin: Callable[[rows.CheckpointRow], int],
) -> Iterator[rows.CheckpointRow]:
    """The checkpoints over these offsets, the last one first."""
    while offsets:
        row = over(offsets[-1])
        if row is None:
            offsets.pop()
            continue
        yield row
        while offsets and offsets[-1] >= begin(row):
            offsets.pop()


def _parse(as_of: str) -> tuple[int, int, int]:
    match = AS_OF.fullmatch(as_of)
    if match is None:
        raise ValueError("asOf is <sequence>.<outcomes offset>.<checkpoint number>[.<rulings>]")
    sequence, outcomes, checkpoint = (int(part) for part in match.groups()[:3])
    if sequence == 0:
        raise ValueError("asOf names a sequence from 1 on")
    return sequence, outcomes, checkpoint
