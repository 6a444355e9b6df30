"""How the simulated rail behaves when no script says otherwise: drawn per reference from a seed.

The same seed and reference always give the same steps, whatever else happens and in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

Steps = list[dict[str, Any]]

# ISO 20022 ExternalStatusReason1Code values that receiving banks use.
REJECTION_CODES: Final = ("AC04", "AM04", "AB05", "AG03", "AC01", "TM01", "FF10", "AB08", "MS03")


def happy_path(draw: random.Random) -> Steps:
    """Accepted, then settled, within a third of a second."""
    accepted = draw.randint(10, 60)
    return [_step("ACCEPTED", accepted), _step("SETTLED", accepted + draw.randint(20, 200))]


def _late(draw: random.Random) -> Steps:
    accepted = draw.randint(1_000, 3_000)
    return [_step("ACCEPTED", accepted), _step("SETTLED", accepted + draw.randint(500, 3_000))]


def _lost(draw: random.Random) -> Steps:
    """Settled without a report: only an enquiry shows it."""
    return [_step("ACCEPTED", 30), _step("SETTLED", draw.randint(60, 200), message=False)]


def _all_lost(draw: random.Random) -> Steps:
    return [
        _step("ACCEPTED", 30, message=False),
        _step("SETTLED", draw.randint(60, 200), message=False),
    ]


def _twice(draw: random.Random) -> Steps:
    steps = happy_path(draw)
    return [{**step, "repeat": 2, "newId": draw.random() < 0.5} for step in steps]


def _out_of_order(draw: random.Random) -> Steps:
    """The settlement is reported before the acceptance."""
    return [_step("SETTLED", 40), _step("ACCEPTED", draw.randint(80, 300))]


def _implied(draw: random.Random) -> Steps:
    return [_step("SETTLED", draw.randint(30, 150))]


def _rejected(draw: random.Random) -> Steps:
    return [_step("REJECTED", draw.randint(20, 200), code=draw.choice(REJECTION_CODES))]


def _refused_at_once(draw: random.Random) -> Steps:
    return [{"kind": "SYNC_REJECT", "code": draw.choice(REJECTION_CODES)}]


def _late_failure(draw: random.Random) -> Steps:
    rejected = _step("REJECTED", draw.randint(150, 800), code=draw.choice(REJECTION_CODES))
    return [_step("ACCEPTED", 30), rejected]


def _silent(_: random.Random) -> Steps:
    return []


def _contradicts(draw: random.Random) -> Steps:
    """Two answers that cannot both be true; the ledger follows the first."""
    if draw.random() < 0.5:
        return [_step("REJECTED", 40, code="AC04"), _step("SETTLED", draw.randint(200, 600))]
    return [*happy_path(draw), _step("REJECTED", draw.randint(500, 900), code="AB05")]


def _first_try_fails(draw: random.Random) -> Steps:
    """The first try fails with a 503; whether the rail took it is random."""
    trouble = {"kind": "HTTP", "status": 503, "times": 1, "taken": draw.random() < 0.5}
    return [trouble, *happy_path(draw)]


def _returned(draw: random.Random) -> Steps:
    return [*happy_path(draw), _step("RETURNED", draw.randint(600, 1_500), code="AC04")]


MIXED: Final[tuple[tuple[int, Callable[[random.Random], Steps]], ...]] = (
    (550, happy_path),
    (60, _late),
    (30, _lost),
    (20, _all_lost),
    (80, _twice),
    (60, _out_of_order),
    (30, _implied),
    (70, _rejected),
    (20, _refused_at_once),
    (15, _late_failure),
    (5, _silent),
    (15, _contradicts),
    (40, _first_try_fails),
    (5, _returned),
)


def drawn(seed: int, external_ref: str, behaviour: str) -> Steps:
    """The steps of one reference under `happy_path` or `mixed`."""
    draw = random.Random(f"{seed}:{external_ref}")
    if behaviour == "happy_path":
        return happy_path(draw)
    weights = [weight for weight, _ in MIXED]
    chosen = draw.choices([make for _, make in MIXED], weights=weights)[0]
    return chosen(draw)


def _step(
    kind: str, after: int, *, code: str | None = None, message: bool = True
) -> dict[str, Any]:
    step: dict[str, Any] = {"kind": kind, "afterMillis": after}
    if code is not None:
        step["code"] = code
    if not message:
        step["message"] = False
    return step
