"""Forges evidence so well that only the intended check can notice."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tests.auditor import Evidence, Record
from tests.auditor.evidence import (
    CHECKPOINTS,
    EVENTS,
    LIFECYCLE,
)
from tests.auditor.wire import Decoder, sha256
from tests.processors.payments.clean_history import clean


@cache
def the_clean_one() -> tuple[Evidence, dict[str, str]]:
    return clean()


@dataclass
class Forger:
    """Changes copies of the evidence so well that only the intended check can notice."""

    evidence: Evidence
    names: dict[str, str]

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.evidence.schemas)

    # -- reading ----------------------------------------------------------------------------------

    def fields(self, record: Record) -> dict[str, Any]:
        return self.decoder.decode(record.value)[1]

    def find(self, topic: str, name: str, payment: str | None = None, nth: int = 0) -> Record:
        found = []
        for record in self.evidence.records[topic]:
            kind, fields = self.decoder.decode(record.value)
            owner = fields.get("header", fields).get("paymentIntentId")
            if kind == name and payment in (None, owner):
                found.append(record)
        return found[nth]

    def history(self, payment: str) -> list[Record]:
        return [
            record
            for record in self.evidence.records[EVENTS]
            if self.fields(record)["header"]["paymentIntentId"] == payment
        ]

    # -- writing ----------------------------------------------------------------------------------

    def put(self, old: Record, new: Record) -> None:
        records = self.evidence.records[old.topic]
        records[records.index(old)] = new

    def drop(self, record: Record) -> None:
        self.evidence.records[record.topic].remove(record)

    def append(self, record: Record) -> Record:
        """Append the record again to its partition."""
        records = self.evidence.records[record.topic]
        last = max(r.offset for r in records if r.partition == record.partition)
        new = replace(record, offset=last + 1)
        records.append(new)
        records.sort(key=lambda r: r.place)
        return new

    def changed(self, record: Record, **changes: Any) -> Record:
        """The record with other fields, `header__x` for those of its header, encoded again."""
        fields = copy.deepcopy(self.fields(record))
        for name, value in changes.items():
            group, _, inner = name.rpartition("__")
            (fields[group] if group else fields)[inner] = value
        value = record.value or b""
        return replace(record, value=value[:5] + self.decoder.encode_again(value, fields))

    def rechain(self, payment: str) -> None:
        """Repair the chain, the lifecycle record and the sequence after a change."""
        previous, last = bytes(32), None
        for record in self.history(payment):
            new = self.changed(record, header__previousHash=previous)
            self.put(record, new)
            previous, last = sha256(new.value or b""), new
        lifecycle = [
            r for r in self.evidence.records[LIFECYCLE]
            if self.fields(r)["paymentIntentId"] == payment
        ]  # fmt: skip
        assert last is not None
        self.put(lifecycle[-1], self.changed(lifecycle[-1], headHash=previous))
        self.evidence.records[CHECKPOINTS] = []

    def rewrite(self, record: Record, **changes: Any) -> None:
        """Change an event and forge everything that follows from its bytes."""
        self.put(record, self.changed(record, **changes))
        self.rechain(self.fields(record)["header"]["paymentIntentId"])
