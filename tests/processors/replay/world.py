"""Whole histories made by the product's own code without a broker, for replays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from core.payment import commands as c
from core.rules import Rules, parse
from core.values import payment_intent_id
from engine.partitioner import partition_of
from engine.records import LogRecord
from evidence.keys import Keyring
from processors.replay import Limit, MemoryLog, Report, Settings, verify
from schemas import topology as t
from schemas.codec.parties import open_parties
from tests.keys import key_from_seed
from tests.processors.payments.clean_history import PARTITIONS, READ, RULES, SOURCE, Outside

VERIFIER_KEY = key_from_seed(bytes(32))  # the key that Outside signs with
WORK = (t.OUTCOMES, t.QUARANTINE)


class World(Outside):
    """Payments driven by inputs from operators and the rail, and the log to replay."""

    def settled(self, key: str) -> str:
        """A payment that the rail acknowledged and settled."""
        payment = self.create(key)
        self.report(payment, "ACCEPTED", code="ACSP")
        self.report(payment, "SETTLED", code="ACSC")
        return payment

    def failed(self, key: str, code: str = "AC01") -> str:
        """A payment that the rail rejected."""
        payment = self.create(key)
        self.report(payment, "REJECTED", code=code)
        return payment

    def retried(self, key: str) -> str:
        """Rejected with a retry-safe code, retried by an operator, settled with the
        second attempt.
        """
        payment = self.failed(key, "AB08")
        self.retry(payment)
        self.report(payment, "ACCEPTED", attempt=2, code="ACSP")
        self.report(payment, "SETTLED", attempt=2, code="ACSC")
        return payment

    def cancelled(self, key: str) -> str:
        """Cancelled by an operator after it was sent, and withdrawn in time."""
        payment = self.create(key)
        self.approved(payment, "CANCEL")
        command = c.CancelPayment(
            header=self.header(payment), operator=self.operator(), reason="the customer asked"
        )
        self.give(t.OPERATOR_COMMANDS, command)
        self.report(payment, "WITHDRAWN")
        return payment

    def mixed(self) -> dict[str, str]:
        """Some of every case: duplicates, refusals, conflicts, garbage, an undecided input."""
        names = {
            "settled": self.settled("settled"),
            "failed": self.failed("failed"),
            "retried": self.retried("retried"),
            "cancelled": self.cancelled("cancelled"),
            "conflict": self.failed("conflict"),
        }
        self.report(names["conflict"], "SETTLED", code="ACSC")
        self.create("settled")
        self.create("settled", amount=1)
        self.create("settled", amount=2)
        self.report(names["settled"], "ACCEPTED", code="ACSP")
        retry = c.RetryPayment(
            header=self.header(names["settled"]),
            operator=self.operator(),
            attempt_id="att_002",
            reason="not allowed",
        )
        self.give(t.OPERATOR_COMMANDS, retry)
        self.driver.pipe(t.COMMANDS, b"pi_x", b"\x00rubbish")
        self.driver.pipe(t.COMMANDS, None, b"")
        self.settle()
        # Decided last in the first payment's partition, so that no refusal there is merely pending.
        names["neighbour"] = self.settled(self.key_beside(names["settled"]))
        self.driver.advance(120_000)
        self.settle()
        return names

    def key_beside(self, payment: str) -> str:
        """An idempotency key whose payment shares the partition of `payment`."""
        wanted = partition_of(payment.encode(), PARTITIONS)
        keys = (f"beside-{number}" for number in range(1_000))
        return next(
            key
            for key in keys
            if partition_of(payment_intent_id(SOURCE, key).encode(), PARTITIONS) == wanted
        )

    def values(self, payment: str) -> list[bytes]:
        """The payment's raw events in order."""
        return [
            r.value or b"" for r in self.driver.committed(t.EVENTS) if r.key == payment.encode()
        ]

    def log(self) -> MemoryLog:
        """The committed log, with one checkpoint for each partition that has events."""
        log = MemoryLog(
            dict.fromkeys((*READ, t.CHECKPOINTS), PARTITIONS) | dict.fromkeys((*WORK, t.CONTROL), 1)
        )
        for topic in (*READ, t.CONTROL):
            for record in self.driver.committed(topic):
                log.records.setdefault((topic, record.partition), []).append(record)
        for checkpoint in self.evidence().records[t.CHECKPOINTS]:
            log.append(t.CHECKPOINTS, checkpoint.partition, b"", checkpoint.value)
        return log


@lru_cache
def _rule_sets() -> dict[int, Rules]:
    return {1: parse(RULES)}


def rules_of(number: int) -> Rules:
    """Rule set 1 as shipped; KeyError for any other."""
    return _rule_sets()[number]


def keyring() -> Keyring:
    """The public key of Outside's checkpoints."""
    ring = Keyring()
    ring.add(VERIFIER_KEY.public, 0)
    return ring


def replay(
    world: World,
    log: MemoryLog,
    *,
    payment: str | None = None,
    limit: Limit | None = None,
    rules: Callable[[int], Rules] = rules_of,
    **changes: Any,
) -> Report:
    """Verify a log as `npp replay verify` does."""
    settings = Settings(
        codec=world.codec, rules_of=rules, open_parties=open_parties, payment=payment,
        limit=limit or Limit(), keyring=keyring(), **changes,
    )  # fmt: skip
    return verify(log, settings)


def place(log: MemoryLog, payment: str, topic: str = t.EVENTS) -> tuple[list[LogRecord], list[int]]:
    """The partition's records that hold a payment, and the indices of its own records."""
    for (name, _), records in log.records.items():
        if name == topic:
            own = [i for i, r in enumerate(records) if r.key == payment.encode()]
            if own:
                return records, own
    raise KeyError(payment)
