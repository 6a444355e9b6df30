"""Fault row 21: the rail's callbacks in every order, late, duplicated and contradictory."""

from __future__ import annotations

import itertools
from typing import Any

from examples import upstream_load as upstream
from tests.broker.harness import Harness, rounds

STEP_MILLIS = 40
PORTION = 30
# Five reports of a rail that is honest, forgetful or contradicts itself, in all 120 orders.
WORDS: tuple[dict[str, Any], ...] = (
    {"kind": "RECEIVED"},
    {"kind": "ACCEPTED"},
    {"kind": "SETTLED"},
    {"kind": "SETTLED", "repeat": 2, "newId": True},
    {"kind": "REJECTED", "code": "AC04"},
)
ORDERS = list(itertools.permutations(WORDS))
ROUNDS = len(rounds(42))  # 5,040 before a release


def test_row_21_callbacks_in_every_order_never_move_money_twice(harness: Harness) -> None:
    """Rulings 4 and 5, SM-10, SM-11, SM-15: consistent orders settle, all others end in
    a conflict.
    """
    process = harness.start_payments()
    harness.ready(process)
    load = harness.load()
    payments: dict[str, tuple[dict[str, Any], ...]] = {}
    records = []
    for order in ORDERS * ROUNDS:
        payment = load._new(upstream.APP_TOPIC, upstream.APP_SOURCE)
        payments[payment.id] = order
        steps = [
            {**word, "afterMillis": STEP_MILLIS * (place + 1)} for place, word in enumerate(order)
        ]
        harness.script(payment.id, steps)
        records.append(load._create("payment", payment))
    for first in range(0, len(records), PORTION):  # each within its time for submission
        harness.send(records[first : first + PORTION])
        harness.at_rest()
    _, moved = harness.outcome_of_run()
    rest = harness.at_rest()
    process.stop()

    conflicts = 0
    for name, order in payments.items():
        head = rest.head(name)
        conflicts += head["openConflicts"] > 0
        kinds = [word["kind"] for word in order]
        rejected_first = kinds.index("REJECTED") < kinds.index("SETTLED")
        assert head["openConflicts"] > 0, f"{kinds} contradict each other without a conflict"
        assert head["moneyOutcome"] == "CONTRADICTED"
        (entry,) = harness.ledger_of(name)
        settled = entry["settledAmount"] > 0
        assert settled != rejected_first, "the simulated rail's ledger follows its first word"
    assert conflicts == len(payments)
    assert moved["conflicts"] >= len(payments), "NV"


def test_row_21_consistent_callbacks_end_the_same_in_every_order(harness: Harness) -> None:
    """Ruling 4: without a contradiction each order ends SETTLED and PAID, without a conflict."""
    process = harness.start_payments()
    harness.ready(process)
    load = harness.load()
    words = [WORDS[0], WORDS[1], WORDS[2], {"kind": "ACCEPTED", "repeat": 2, "newId": True}]
    records, names = [], []
    for order in itertools.permutations(words):
        payment = load._new(upstream.APP_TOPIC, upstream.APP_SOURCE)
        harness.script(
            payment.id, [{**w, "afterMillis": STEP_MILLIS * (n + 1)} for n, w in enumerate(order)]
        )
        names.append(payment.id)
        records.append(load._create("payment", payment))
    harness.send(records)
    rest = harness.at_rest()
    harness.judge()
    process.stop()
    ends = {tuple(rest.head(p)[f] for f in ("state", "moneyOutcome", "openConflicts", "funds"))
            for p in names}  # fmt: skip
    assert ends == {("SETTLED", "PAID", 0, "CAPTURED")}
