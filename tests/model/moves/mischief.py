"""What the outside reports although it may be untrue, and rare events. All of it is drawn."""

from __future__ import annotations

from random import Random
from typing import Any

from core.payment.instructions import DepositsRequest
from tests.model.moves.prologue import Moves
from tests.model.vocabulary import AMOUNT, DAY, MINUTE, SENIOR, Move

CODES = ("AB08", "AB03", "AC04", "AM04", "FRAD", "CUST", "MD20", "AM05", "DUPL", "ZZ99", None)
REPORT_KINDS = (
    "RECEIVED", "ACCEPTED", "SETTLED", "REJECTED", "EXPIRED", "STATUS", "WITHDRAWN",
    "NOT_SUBMITTED", "ALREADY_SUBMITTED", "RECALL_ACCEPTED", "RECALL_REFUSED", "RETURNED",
)  # fmt: skip
RESULTS = (
    "HELD", "DECLINED", "CAPTURED", "RELEASED", "DEBITED", "REVERSED", "CREDITED", "REFUSED",
    "NEVER_HELD", "FAILED",
)  # fmt: skip
FLOOD_TIMES = 300  # about 600 inputs
FLOODS: tuple[Moves, ...] = (
    [Move("rail_says", {"attempt": 0, "kind": "STATUS", "code": "#", "id": "#"})],
    [Move("rail_says", {"attempt": 0, "kind": "STATUS", "code": "#", "via": True})],
    [Move("rail_says", {"attempt": 0, "kind": "RECEIVED", "id": "#"})],
    [Move("rail_says", {"attempt": 0, "kind": "REJECTED", "code": "DUPL", "via": True})],
    [Move("rail_says", {"attempt": 0, "kind": "REJECTED", "code": "AM05", "id": "#"})],
    [Move("rail_says", {"attempt": 0, "kind": "REJECTED", "code": "#", "id": "#"})],
    [Move("rail_says", {"attempt": 0, "kind": "SETTLED", "amount": "+", "id": "#"})],
    [Move("rail_says", {"attempt": 0, "kind": "RETURNED", "amount": 1, "id": "#"})],
    [Move("rail_says", {"attempt": 0, "kind": "ACCEPTED", "currency": "#", "id": "#"})],
    [
        Move("ask", {"action": "CANCEL", "who": SENIOR}),
        Move("resolve", {"which": -1, "verdict": "REJECTED", "how": "now"}),
    ],
    [Move("bank_says", {"which": -1, "result": "FAILED", "code": "#"})],
    [Move("bank_says", {"which": -1, "result": "REFUSED", "code": "#"}),
     Move("act", {"action": "REPEAT", "who": SENIOR, "operation": "CREDIT"})],
    [Move("later", {"ms": DAY})],
)  # fmt: skip


def rail_lie(rng: Random, attempt: int, message_id: str | None) -> Moves:
    """A report by the rail or its adapter that may be untrue."""
    kind = rng.choice(REPORT_KINDS)
    args: dict[str, Any] = {"attempt": attempt, "kind": kind, "id": message_id}
    if kind in {"REJECTED", "EXPIRED"}:
        args["code"] = rng.choice(CODES)
    elif kind == "STATUS":
        args["code"] = rng.choice(("UNKNOWN", "NOOR", "PENDING", None))
        args["stopped"] = rng.random() < 0.6
    elif kind == "ALREADY_SUBMITTED":
        args["code"] = rng.choice(("SUBMITTED", "SUBMITTING", "RECORD_INCOMPLETE"))
    if kind in {"SETTLED", "RETURNED", "ACCEPTED", "REJECTED"} and rng.random() < 0.7:
        amounts = (AMOUNT, AMOUNT - 50, AMOUNT + 1_000, 5_000, 1, 0, -7)
        args["amount"] = rng.choices(amounts, (10, 2, 1, 2, 1, 1, 1))[0]
        args["currency"] = rng.choices(("AUD", "USD", None), (10, 1, 1))[0]
    if kind in {"SETTLED", "REJECTED", "ACCEPTED", "STATUS", "RETURNED", "EXPIRED"}:
        args["via"] = rng.random() < (0.7 if kind == "STATUS" else 0.3)
    if rng.random() < 0.01:
        args["ref"] = "NPDKZ22UB6UJNPRX6NAS575VBXY00\u00b2"
    return [Move("rail_says", args)]


def bank_lie(rng: Random, requests: list[DepositsRequest]) -> Moves:
    """An answer of Deposits Core that may be untrue; `requests` is not empty."""
    which = -1 - min(int(rng.expovariate(0.5)), len(requests) - 1)
    request = requests[which]
    fits = {
        "HOLD": ("HELD", "DECLINED", "REFUSED", "FAILED"),
        "RELEASE": ("RELEASED", "NEVER_HELD", "REFUSED", "FAILED"),
        "CAPTURE": ("CAPTURED", "REFUSED", "FAILED"),
        "DEBIT_FORCED": ("DEBITED", "REFUSED", "FAILED"),
        "REVERSE": ("REVERSED", "REFUSED", "FAILED"),
        "CREDIT": ("CREDITED", "REFUSED", "FAILED"),
    }[request.operation]
    result = rng.choice(fits) if rng.random() < 0.9 else rng.choice(RESULTS)
    args: dict[str, Any] = {"which": which, "result": result, "hold": rng.random() < 0.9}
    if result in {"REFUSED", "DECLINED", "FAILED"}:
        args["code"] = rng.choice(("HOLD_GONE", "LIMIT", "NO_ANSWER", None))
    if rng.random() < 0.08:
        args["off"] = rng.choice((-1, 1, -request.amount))
    if rng.random() < 0.01:
        args["ref"] = request.funds_ref[:-1] + "\u00b2"
    return [Move("bank_says", args)]


def oddity(rng: Random, attempt: int) -> Moves:
    """Rare events: stray timers and verdicts, an adapter record that ends, a lost log tail."""
    pick = rng.randrange(7)
    if pick == 0:
        kind = rng.choice(("CREATED_WINDOW", "ENQUIRY", "FUNDS_REPEAT", "NONSENSE"))
        return [Move("timer_odd", {"kind": kind, "ms": rng.choice((-MINUTE, 0, DAY))})]
    if pick == 1:
        args = {
            "attempt": attempt, "number": rng.randint(1, 2),
            "verdict": rng.choice(("PASSED", "DECLINED")),
            "phase": rng.choice(("CREATE", "RETRY")),
        }  # fmt: skip
        return [Move("stray_policy", args)]
    if pick == 2:
        return [Move("rail_record", {"attempt": 0})]
    if pick == 3:
        order = rng.randint(0, 1)
        return [Move("lose", {"inputs": rng.randint(1, 8), "order": order})]
    if pick == 4:
        return [Move("create", {"amount": AMOUNT + rng.choice((0, 1))})]
    if pick == 5:
        return [Move("expire", {})]
    result = rng.choice(("DELIVERED", "UNDELIVERABLE"))
    return [Move("notified", {"which": rng.randint(-3, -1), "result": result})]


def flood(rng: Random) -> Moves:
    """One input hundreds of times: an unbounded state shows only in long sequences."""
    drawn = [[name, args] for name, args in rng.choice(FLOODS)]
    return [Move("repeat", {"times": FLOOD_TIMES, "moves": drawn})]
