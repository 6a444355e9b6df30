"""The start of a sequence: many start where a payment is already deep in its life."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from tests.model.vocabulary import APPROVER, SENIOR, Move

Moves = list[Move]
SKIPPED: Final = 0.04  # share of a prologue's moves, so that it does not always succeed


def bank(which: int = -1) -> Moves:
    return [Move("bank", {"which": which, "mode": "do", "how": "now"})]


def gated(action: str, **params: Any) -> Moves:
    """Requested, referred, approved by a person, done."""
    act = "RETRY" if action == "RETRY_UNCERTAIN" else action
    return [
        Move("ask", {**params, "action": action, "who": SENIOR}),
        Move("resolve", {"which": -1, "verdict": "REFERRED", "how": "now"}),
        Move("person", {"which": -1, "verdict": "APPROVED", "who": APPROVER}),
        Move("act", {**params, "action": act, "who": SENIOR}),
    ]


def rail(status: str, code: str | None = None) -> Moves:
    return [Move("rail_move", {"attempt": 0, "status": status, "code": code, "how": "now"})]


POLICY: Final = [Move("policy", {"which": -1, "verdict": "PASSED", "how": "now"})]
SUBMIT: Final = [Move("submit", {"attempt": 0, "how": "done"})]
SETTLE: Final = [Move("rail_settle", {"attempt": 0, "off": 0, "how": "now"})]
ANSWER: Final = [Move("rail_answer", {"which": -1, "accept": True, "how": "now"})]
SENT: Final = [*POLICY, *bank()]
SUBMITTED: Final = [*SENT, *SUBMIT]
MARKED: Final = [*SUBMITTED, *gated("MARK_FAILED", failure_reason="RAIL")]
REJECTED: Final = [*SUBMITTED, *rail("REJECTED", "AB08")]
RETRIED: Final = [*REJECTED, *bank(), *gated("RETRY")]
AT_RISK: Final = [*MARKED, *gated("RETRY_UNCERTAIN")]
CAPTURED: Final = [*SUBMITTED, *rail("ACCEPTED"), *SETTLE, *bank()]

REFUSED_CANCEL: Final = [
    Move("ask", {"action": "CANCEL", "who": SENIOR}),
    Move("resolve", {"which": -1, "verdict": "REJECTED", "how": "now"}),
    Move("ask", {"action": "CANCEL", "who": SENIOR}),
]
STRAY: Final = [Move("rail_says", {"attempt": 0, "kind": "ACCEPTED", "id": "S0001"})]


def judged(verdict: str) -> Moves:
    """A report before the send, a verdict on it, then the send and an operator's mark-failed."""
    params = {"conflict": 1, "attempt": 1, "verdict": verdict}
    return [*STRAY, *gated("RESOLVE_RECONCILIATION", **params), *MARKED]


# What follows the creation, and how often.
PROLOGUES: Final[tuple[tuple[int, Moves], ...]] = (
    (20, []),
    (8, SENT),
    (12, SUBMITTED),
    (8, [*SUBMITTED, *rail("ACCEPTED")]),
    (12, CAPTURED),
    (6, [*SUBMITTED, *SETTLE]),
    (10, MARKED),
    (6, [*SUBMITTED, *gated("CANCEL")]),
    (6, [*SENT, *gated("CANCEL")]),
    (4, [*SUBMITTED, *gated("EXPIRE")]),
    (8, REJECTED),
    (6, RETRIED),
    (6, [*RETRIED, *bank(), *POLICY, *SUBMIT]),
    (4, [*RETRIED, *bank(), *POLICY, *SUBMIT, *SETTLE]),
    (6, AT_RISK),
    (6, [*AT_RISK, *POLICY, *SUBMIT]),
    (4, [*AT_RISK, *POLICY, *SUBMIT, *SETTLE, *bank()]),
    (2, REFUSED_CANCEL),
    (2, [*RETRIED, *REFUSED_CANCEL]),
    (2, judged("NOT_PAID")),
    (3, judged("REPORT_WRONG")),
    (4, [*MARKED, *gated("RELEASE_EARLY", attempt=1)]),
    (4, [*MARKED, *gated("RELEASE_EARLY", attempt=1), *bank(), *gated("RETRY_UNCERTAIN")]),
)


def prologue(rng: Random) -> Moves:
    """The first moves after the creation; sometimes one of them is missing."""
    drawn = rng.choices([moves for _, moves in PROLOGUES], [weight for weight, _ in PROLOGUES])[0]
    return [move for move in drawn if rng.random() >= SKIPPED]
