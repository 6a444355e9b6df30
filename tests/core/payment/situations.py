"""Payments brought into each situation of the matrices by real inputs only.

`World` (world.py) decides the inputs one by one, keeps the results and answers the instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from core.payment import commands as c
from core.payment import events as e
from tests.core.payment.world import AMOUNT, HOUR_MS, START_MS, SUBMIT_WINDOW_MS, World

REPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "RECEIVED": ("RECEIVED", {"code": "RCVD"}),
    "STATUS": ("STATUS", {"code": "PDNG", "via_enquiry": True}),
    "STATUS_UNKNOWN": ("STATUS", {"code": "UNKNOWN", "via_enquiry": True}),
    "STATUS_UNKNOWN_STOPPED": (
        "STATUS",
        {"code": "UNKNOWN", "via_enquiry": True, "adapter_stopped": True},
    ),
    "ACCEPTED": ("ACCEPTED", {"code": "ACSP"}),
    "SETTLED": ("SETTLED", {"code": "ACSC"}),
    "SETTLED_OTHER_AMOUNT": ("SETTLED", {"code": "ACSC", "amount": AMOUNT - 1}),
    "SETTLED_OTHER_CURRENCY": ("SETTLED", {"code": "ACSC", "currency": "NZD"}),
    "REJECTED": ("REJECTED", {"code": "AC01"}),
    "REJECTED_UNKNOWN_CODE": ("REJECTED", {"code": "ZZ99"}),
    "REJECTED_DUPLICATE_CODE": ("REJECTED", {"code": "AM05"}),
    "REJECTED_RETRYABLE": ("REJECTED", {"code": "AB08"}),
    "EXPIRED": ("EXPIRED", {"code": "MD20"}),
    "WITHDRAWN": ("WITHDRAWN", {}),
    "NOT_SUBMITTED": ("NOT_SUBMITTED", {}),
    "ALREADY_SUBMITTED": ("ALREADY_SUBMITTED", {}),
    "RECALL_ACCEPTED": ("RECALL_ACCEPTED", {}),
    "RECALL_REFUSED": ("RECALL_REFUSED", {"code": "CUST"}),
    "RETURNED": ("RETURNED", {"code": "AC04"}),
}


def named_report(world: World, name: str) -> c.RailReport:
    """The report that the golden file calls `name`; STOPPED ones come after submitBefore."""
    kind, changes = REPORTS[name]
    if name.endswith("_STOPPED"):
        world.now_ms += SUBMIT_WINDOW_MS
    return world.report(kind, **changes)


# -- situations ------------------------------------------------------------------------------------


def none() -> World:
    return World()


def created() -> World:
    world = World()
    world.must(world.create())
    return world


def authorised() -> World:
    world = World()
    world.must(world.create(requested_execution_time=START_MS + HOUR_MS // 3))
    world.must(world.deposits("HOLD", "HELD"))
    world.must(world.verdict("PASSED"))
    return world


def sent() -> World:
    world = created()
    world.must(world.deposits("HOLD", "HELD"))
    world.must(world.verdict("PASSED"))
    return world


def acknowledged() -> World:
    world = sent()
    world.must(named_report(world, "ACCEPTED"))
    return world


def settled() -> World:
    world = acknowledged()
    world.must(named_report(world, "SETTLED"))
    world.must(world.deposits("CAPTURE", "CAPTURED"))
    return world


def _ended(start: Callable[[], World], report: str) -> World:
    world = start()
    world.must(named_report(world, report))
    world.must(world.deposits("RELEASE", "RELEASED"))
    return world


def failed_uncertain() -> World:
    world = sent()
    world.operate("MarkPaymentFailed")
    return world


def failed_cancelled() -> World:
    world = sent()
    world.operate("CancelPayment")
    return world


def failed_recalled() -> World:
    world = failed_cancelled()
    world.must(named_report(world, "ALREADY_SUBMITTED"))
    return world


def failed_unsent() -> World:
    world = created()
    world.must(world.deposits("HOLD", "DECLINED"))
    return world


def expired_unsent() -> World:
    world = authorised()
    world.must(world.command("ExpirePayment/upstream"))
    world.must(world.deposits("RELEASE", "RELEASED"))
    return world


def sent_conflict() -> World:
    world = sent()
    world.must(named_report(world, "SETTLED_OTHER_AMOUNT"))
    return world


def failed_conflict() -> World:
    world = _ended(sent, "REJECTED_RETRYABLE")
    world.must(named_report(world, "SETTLED"))
    return world


def retry_conflict() -> World:
    world = _ended(sent, "REJECTED_RETRYABLE")
    world.operate("RetryPayment")
    world.must(named_report(world, "SETTLED"))
    return world


def failed_already_paid() -> World:
    world = failed_conflict()
    world.operate("ResolveReconciliation/SETTLED_AFTER_ALL")
    return world


SITUATIONS: dict[str, Callable[[], World]] = {
    "NONE": none,
    "CREATED": created,
    "AUTHORISED": authorised,
    "SENT": sent,
    "ACKNOWLEDGED": acknowledged,
    "SETTLED": settled,
    "FAILED_REJECTED": lambda: _ended(sent, "REJECTED"),
    "FAILED_RETRYABLE": lambda: _ended(sent, "REJECTED_RETRYABLE"),
    "FAILED_LATE": lambda: _ended(acknowledged, "REJECTED"),
    "FAILED_UNCERTAIN": failed_uncertain,
    "FAILED_CANCELLED": failed_cancelled,
    "FAILED_RECALLED": failed_recalled,
    "FAILED_UNSENT": failed_unsent,
    "EXPIRED_UNSENT": expired_unsent,
    "EXPIRED_RAIL": lambda: _ended(sent, "EXPIRED"),
    "SENT_CONFLICT": sent_conflict,
    "FAILED_CONFLICT": failed_conflict,
    "RETRY_CONFLICT": retry_conflict,
    "FAILED_ALREADY_PAID": failed_already_paid,
}
COLUMNS = [
    name
    for name in SITUATIONS
    if name not in ("NONE",) and "CONFLICT" not in name and "PAID" not in name
]
LIFECYCLE = {kind.__name__ for kind in get_args(e.LifecycleEvent)}
