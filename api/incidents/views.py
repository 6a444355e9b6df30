"""Response bodies of incidents and their summary."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.edge.views import View, iso, iso_or_none
from readmodel import rows


class IncidentView(View):
    """An incident of the monitor. `since`: when the breach started; OPEN until it is RESOLVED."""

    incident_id: str
    rule: str
    status: str
    part: int
    whole: int
    limit_per_mille: int | None
    limit_ms: int | None
    since: str
    opened_at: str
    resolved_at: str | None


class IncidentList(View):
    """Newest first; `next` is passed back as `cursor`."""

    items: list[IncidentView]
    next: str | None


def incident(row: rows.IncidentRow) -> IncidentView:
    """The row as a response body."""
    return IncidentView.of(
        row,
        since=iso(row.since),
        opened_at=iso(row.opened_at),
        resolved_at=iso_or_none(row.resolved_at),
    )


class Fired(BaseModel):
    """One occurrence. `violation`: an invariant was broken, or a request would have broken one."""

    at: str
    kind: str = Field(examples=["CONFLICT"])
    detail: str
    paymentIntentId: str | None = None  # noqa: N815 names on the wire, here and below
    violation: bool = False


class LastEvent(BaseModel):
    type: str
    sequence: int
    decidedAt: str  # noqa: N815


class Concerned(BaseModel):
    """A payment affected by a finding, in its current state."""

    paymentIntentId: str  # noqa: N815
    kinds: list[str]
    state: str
    reason: str | None
    moneyOutcome: str  # noqa: N815
    externalRef: str | None  # noqa: N815
    funds: str
    overdue: str | None
    parked: bool
    openConflicts: int  # noqa: N815
    lastEvent: LastEvent | None  # noqa: N815


class LeftOff(BaseModel):
    """How many entries there are beyond those shown; `unread`: kinds not read to the end."""

    fired: int
    payments: int
    unread: list[str]


class IncidentSummary(BaseModel):
    """`counts` by kind and `violations` of invariants: of all that was found, shown or not."""

    since: str = Field(serialization_alias="from")
    until: str = Field(serialization_alias="to")
    counts: dict[str, int]
    violations: int
    fired: list[Fired]
    payments: list[Concerned]
    leftOff: LeftOff  # noqa: N815
