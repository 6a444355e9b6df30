"""What happened in a period, for a post-mortem: what fired, the payments affected, their last
events; and the monitor's incidents.

It is read from the read model, except STOPs that the read model lacks. Lists are limited and say
what they left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response

from api.auth.guard import router as guarded
from api.auth.sign_in import Use
from api.edge.params import LIMIT, Cursor, From, Limit, To, gives, list_answer, time_of
from api.edge.problems import invalid
from api.edge.views import iso
from api.incidents.views import (
    Concerned,
    Fired,
    IncidentList,
    IncidentSummary,
    LastEvent,
    LeftOff,
    incident,
)
from api.services import Services, Stopped
from control import quarantine
from core import refusals
from core.control_records import ProcessingStopped, UnparkRequested
from engine.clock import MS_PER_S
from readmodel import rows
from readmodel.ports import AuditFilter, Page, Reader, Row
from schemas import topology
from schemas.errors import Undecodable

router = guarded()

SPAN_S_DEFAULT: Final = 3_600
SPAN_S_MAX: Final = 31 * 24 * 3_600
PAGE_COUNT: Final = 200
PAGES_MAX: Final = 25  # of one kind: 5,000 entries are looked at
FIRED_MAX: Final = 500
PAYMENTS_MAX: Final = 200
Payments = Annotated[
    int,
    Query(
        ge=1,
        le=PAYMENTS_MAX,
        description="Maximum number of payments; the latest ones are returned.",
    ),
]
CONTROL_KINDS: Final = {
    "ProcessingStopped": "STOP",
    "ResumeRequested": "RESUME_REQUESTED",
    "ResumeConfirmed": "RESUMED",
    "RedriveRequested": "REDRIVE_REQUESTED",
    "RedriveConfirmed": "REDRIVE_CONFIRMED",
    "RecoverRequested": "RECOVER_REQUESTED",
    "RecoverConfirmed": "RECOVERED",
    "RuleSetActivated": "RULE_SET",
    "UnparkRequested": "UNPARK_REQUESTED",
    "DispositionRequested": "DISPOSITION_REQUESTED",
}


@router.get(
    "/api/incidents/summary",
    operation_id="incidentSummary",
    summary="What fired in a period, the payments affected, their last events",
)
def incident_summary(
    use: Use, since: From = None, until: To = None, payments: Payments = PAYMENTS_MAX
) -> IncidentSummary:
    """Stops, quarantine, conflicts, parked and overdue payments. `violation` marks every broken
    invariant: refused inputs of whatever origin, conflicts, automatic stops (a failed proof, a lost
    log tail) and what a defect or a history that does not fit has parked. `to` is exclusive;
    without times it is the last hour."""
    end = time_of(until, "to")
    end = use.clock.now_ms() + 1 if end is None else end
    begin = time_of(since, "from")
    begin = max(0, end - SPAN_S_DEFAULT * MS_PER_S) if begin is None else begin
    if not 0 <= end - begin <= SPAN_S_MAX * MS_PER_S:
        raise invalid("from", "is not before to, or more than 31 days before it")
    look = _Look(use, begin, end)
    fired = sorted(look.everything(), key=lambda each: each.at)
    kinds: dict[str, set[str]] = {}
    for each in fired:
        if each.paymentIntentId is not None:
            kinds.setdefault(each.paymentIntentId, set()).add(each.kind)
    shown = list(kinds.items())[-payments:]
    found = [_concerned(use.reader, name, sorted(of)) for name, of in shown]
    return IncidentSummary(
        since=iso(begin),
        until=iso(end),
        counts=dict(sorted(Counter(each.kind for each in fired).items())),
        violations=sum(each.violation for each in fired),
        fired=fired[-FIRED_MAX:],
        payments=[each for each in found if each is not None],
        leftOff=LeftOff(
            fired=max(0, len(fired) - FIRED_MAX),
            payments=max(0, len(kinds) - payments),
            unread=sorted(look.unread),
        ),
    )


@router.get(
    "/api/incidents",
    operation_id="incidents",
    summary="Incidents of the monitor: exceeded limits of the runbook, newest first",
    **gives(IncidentList),
)
async def incidents(
    services: Use,
    open_only: Annotated[bool, Query(alias="open", description="Only open ones.")] = False,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """`part` of `whole` against `limitPerMille` is a rate; for latency `part` of the last `whole`
    rail requests took longer than `limitMs`."""
    return await list_answer(
        IncidentList, incident, lambda: services.reader.incidents(open_only, limit, cursor)
    )


class _Look:
    """Reads what fired between two times (epoch ms, the second exclusive)."""

    def __init__(self, use: Services, since: int, until: int) -> None:
        self._use = use
        self._reader = use.reader
        self._since = since
        self._until = until
        self.unread: set[str] = set()
        self._stops: set[str] = set()  # that the read model has

    def everything(self) -> Iterator[Fired]:
        yield from self._control()
        yield from self._quarantine()
        yield from self._conflicts()
        yield from self._attention()
        yield from self._violations()
        yield from self._refused_at_the_edge()

    def _within(self, at: int | None) -> bool:
        return at is not None and self._since <= at < self._until

    def _pages(self, kind: str, ask: Callable[[int, str | None], Page[Row]]) -> Iterator[Row]:
        """The entries of a list, page by page; a list that is too long is named in `unread`."""
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = ask(PAGE_COUNT, cursor)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return
        self.unread.add(kind)

    def _control(self) -> Iterator[Fired]:
        after = -1
        for _ in range(PAGES_MAX):
            found = self._reader.control(after, PAGE_COUNT)
            for row in found:
                kind = CONTROL_KINDS.get(row.type)
                if kind is not None and self._within(row.at):
                    yield self._of_control(kind, row)
            if len(found) < PAGE_COUNT:
                break
            after = found[-1].offset
        else:
            self.unread.add("control")
        yield from self._unprojected_stops()

    def _unprojected_stops(self) -> Iterator[Fired]:
        """Stops that the read model lacks: it halts at a history that does not fit, which is when
        these stops matter most."""
        try:
            stops = self._use.commands.control().stops()
        except Stopped:
            self.unread.add("control")
            return
        for stop in stops:
            if stop.stop_id not in self._stops and self._within(stop.stopped_at):
                yield Fired(
                    at=iso(stop.stopped_at),
                    kind="STOP",
                    detail=f"{_stop_words(stop)}: {stop.reason}",
                    violation=stop.automatic,
                )

    def _of_control(self, kind: str, row: rows.ControlRow) -> Fired:
        words = f"{row.type} by {row.actor or 'nobody'}"
        if row.refused is not None:
            return Fired(
                at=iso(row.at), kind="REFUSED", detail=f"{words}, not obeyed: {row.refused}"
            )
        try:
            record = self._use.codec.decode(topology.CONTROL, row.raw)
        except Undecodable:
            return Fired(at=iso(row.at), kind=kind, detail=words)
        automatic = isinstance(record, ProcessingStopped) and record.automatic
        if isinstance(record, ProcessingStopped):
            self._stops.add(record.stop_id)
            words = _stop_words(record)
        reason = getattr(record, "reason", None)
        payment_id = record.payment_intent_id if isinstance(record, UnparkRequested) else None
        return Fired(
            at=iso(row.at),
            kind=kind,
            detail=f"{words}: {reason}" if isinstance(reason, str) else words,
            paymentIntentId=payment_id,
            violation=automatic,
        )

    def _quarantine(self) -> Iterator[Fired]:
        ask = partial(self._reader.quarantine, None, None)
        for row in self._pages("quarantine", ask):
            if row.at < self._since:
                return  # newest first
            if self._within(row.at):
                place = f"{row.origin_topic}[{row.origin_partition}]@{row.origin_offset}"
                yield Fired(
                    at=iso(row.at),
                    kind="PARKED_INPUT" if row.reason == quarantine.PARKED else "QUARANTINED",
                    detail=f"{row.reason} at {place}: {row.detail}",
                    paymentIntentId=row.payment_intent_id,
                    violation=row.reason == quarantine.PARKED,
                )

    def _conflicts(self) -> Iterator[Fired]:
        ask = partial(self._reader.conflicts, None, False)
        for row in self._pages("conflicts", ask):
            if self._within(row.opened_at):
                yield Fired(
                    at=iso(row.opened_at),
                    kind="CONFLICT",
                    detail=f"{row.conflict_id} {row.kind}: {row.detail}",
                    paymentIntentId=row.payment_intent_id,
                    violation=True,
                )
            if self._within(row.resolved_at):
                yield Fired(
                    at=iso(row.resolved_at),
                    kind="CONFLICT_RESOLVED",
                    detail=f"{row.conflict_id} {row.verdict}",
                    paymentIntentId=row.payment_intent_id,
                )

    def _attention(self) -> Iterator[Fired]:
        """Payments that need attention now, and already did before the end of the period."""
        for row in self._pages("attention", self._reader.attention):
            at = row.attention_since or row.decided_at
            if at >= self._until:
                continue
            for kind, holds in (
                ("PARKED", row.parked),
                ("OVERDUE", bool(row.overdue)),
                ("ATTENTION", not (row.parked or row.overdue or row.open_conflicts)),
            ):
                if holds:
                    words = f"{row.state}, money {row.money_outcome}, funds {row.funds}"
                    detail = f"{words}, {row.overdue}" if row.overdue else words
                    yield Fired(
                        at=iso(at),
                        kind=kind,
                        detail=detail,
                        paymentIntentId=row.payment_intent_id,
                        violation=row.parked,
                    )

    def _violations(self) -> Iterator[Fired]:
        """Inputs of any origin that were refused because they would have broken an invariant."""
        ask = partial(self._reader.violations, self._since, self._until)
        for row in self._pages("violations", ask):
            place = f"{row.cause_topic}[{row.cause_partition}]@{row.cause_offset}"
            yield Fired(
                at=iso(row.decided_at),
                kind=refusals.INVARIANT_VIOLATION,
                detail=f"{row.rule}: {row.input_type} at {place}: {row.sentence}",
                paymentIntentId=row.payment_intent_id or None,
                violation=True,
            )

    def _refused_at_the_edge(self) -> Iterator[Fired]:
        """Requests that the API itself refused for an invariant, so that they became no input."""
        ask = partial(self._reader.audit, AuditFilter(since=self._since, until=self._until))
        for row in self._pages("audit", ask):
            if row.code == refusals.INVARIANT_VIOLATION and row.command_id is None:
                yield Fired(
                    at=iso(row.at),
                    kind=refusals.INVARIANT_VIOLATION,
                    detail=f"{row.rule}: {row.action} by {row.operator_id}",
                    paymentIntentId=row.payment_intent_id,
                    violation=True,
                )


def _stop_words(stop: ProcessingStopped) -> str:
    how = "automatic" if stop.automatic else "by hand"
    return f"ProcessingStopped by {stop.actor}, {how}, {stop.stop_id}"


def _concerned(reader: Reader, payment_id: str, kinds: list[str]) -> Concerned | None:
    row = reader.payment(payment_id)
    if row is None:
        return None
    last = reader.events(payment_id, row.sequence - 1, 1)
    return Concerned(
        paymentIntentId=payment_id,
        kinds=kinds,
        state=row.state,
        reason=row.reason,
        moneyOutcome=row.money_outcome,
        externalRef=row.external_ref,
        funds=row.funds,
        overdue=row.overdue,
        parked=row.parked,
        openConflicts=row.open_conflicts,
        lastEvent=LastEvent(
            type=last[0].type, sequence=last[0].sequence, decidedAt=iso(last[0].decided_at)
        )
        if last
        else None,
    )
