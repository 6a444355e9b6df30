"""Payments and records in which every free text is markup: a customer's, the rail's, an
operator's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.values import Parties, Party
from schemas import topology
from schemas.codec.parties import seal
from tests.api.acting import TEXT
from tests.api.command_harness import ApiHarness

MARK: Final = "<img src=x onerror=window.hit=1>"  # fits an end-to-end id, and a code of the rail
CANARY: Final = f"{MARK}<script>window.hit=1</script>{TEXT}"
PARTIES: Final = Parties(
    debtor=Party(name=f"{MARK} debtor", bsb="062000", account="12345678"),
    creditor=Party(name=f"{MARK} creditor", bsb="082001", account="87654321"),
    remittance=f"{MARK} remittance",
)
RECORD: Final = f"{MARK} record".encode()


@dataclass(frozen=True, slots=True)
class Hostile:
    """Payments by state; `conflict` was settled by the rail after a rejection; the quarantined
    record 0/0 is undecodable.
    """

    failed: str
    conflict: str
    sent: str
    approval: str  # of `failed`


def hostile(harness: ApiHarness) -> Hostile:
    """Each kind once, published and projected."""
    failed, conflict = (
        harness.sent(
            name, parties=seal(PARTIES), end_to_end_id=MARK, customer_id=f"{MARK} customer"
        )
        for name in ("failed", "conflict")
    )
    for payment in (failed, conflict):
        harness.report(payment, "REJECTED", "AB03", details=f"{MARK} details")
        harness.answer_checks()
    harness.report(conflict, "SETTLED", MARK, transaction_id=f"{MARK} transaction")
    harness.world.driver.pipe(topology.COMMANDS, MARK.encode(), RECORD, partition=0)
    harness.work()
    requested = {"action": "RETRY", "reason": CANARY}
    approval = harness.act("olga", failed, "approvals", requested).json()["approvalId"]
    harness.work()
    return Hostile(failed, conflict, harness.sent("sent"), approval)
