"""A payment's timeline, and `npp payment show --kafka`: the payment as the log itself has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.table import Table

from app.cli.output import as_json, console, print_json, time_of
from app.cluster import Cluster, Entry
from app.config import settings
from app.exits import ExitCode, Problem
from core.records import Outcome, PaymentLifecycle
from core.values import attempt_id, format_amount

# The field that distinguishes events of one type.
TELLING: Final = ("operation", "action", "conflictId", "kind", "verdict", "level")


def show(payment: str, json: bool) -> None:
    """State, outcome, funds, attempts and timeline, from the journal, the lifecycle and outcomes.
    Party details are not shown. Raises Problem.
    """
    cluster = Cluster(settings.load())
    events = cluster.history(payment)
    known = cluster.lifecycle(payment)
    outcomes = cluster.outcomes(payment)
    if known is None and not events and not outcomes:
        raise Problem(
            f"{payment} is not on the log.",
            means="No event, no lifecycle record and no outcome of it was committed.",
            do="Is the id computed from the right source and key? Is `npp run payments` running?",
            code=ExitCode.NOT_FOUND,
        )
    if json:
        print_json(_shown(payment, known, events, outcomes))
        return
    if known is None:
        console().print(f"{payment}: nothing was accepted")
    else:
        _print_head(known)
    print_timeline(
        [_event(each) for each in events],
        [as_json(each.record) for each in outcomes if isinstance(each.record, Outcome)],
    )


def _shown(
    payment: str, known: PaymentLifecycle | None, events: list[Entry], outcomes: list[Entry]
) -> dict[str, Any]:
    head = as_json(known) if known is not None else {"paymentIntentId": payment}
    return {
        **head,
        "events": [
            {"type": type(each.record).__name__, "offset": each.at.offset, **as_json(each.record)}
            for each in events
            if each.record is not None
        ],
        "outcomes": [as_json(each.record) for each in outcomes if each.record is not None],
    }


def _print_head(known: PaymentLifecycle) -> None:
    table = Table(box=None, show_header=False)
    reason = f" ({known.reason})" if known.reason else ""
    waits = "yes" if known.waiting_for_person else "no"
    for name, value in (
        ("payment", known.payment_intent_id),
        ("state", f"{known.state}{reason}"),
        ("money", known.money_outcome),
        ("amount", format_amount(known.amount, known.currency)),
        ("funds", known.funds),
        ("attempt", f"{attempt_id(known.attempt)}  {known.external_ref or ''}"),
        ("open conflicts", str(known.open_conflicts)),
        ("overdue", known.overdue or "no"),
        ("waits for a person", waits),
        ("events", f"{known.sequence}, rule set {known.rule_set}"),
        ("head", known.head_hash.hex()),
    ):
        table.add_row(name, value)
    console().print(table)
    console().print()


def _event(entry: Entry) -> dict[str, Any]:
    """The event as the API shows it; what cannot be read says why."""
    if entry.record is None:
        at = time_of(entry.at.timestamp_ms)
        return {"timestamp": at, "sequence": 0, "type": f"unreadable: {entry.problem}"}
    header = entry.record.header
    return dict(as_json(header)) | {
        "timestamp": time_of(header.decided_at),
        "type": type(entry.record).__name__,
        "toState": header.state_after,
        "attemptId": attempt_id(header.attempt) if header.attempt else "",
        "data": as_json(entry.record),
    }


def print_timeline(events: Iterable[dict[str, Any]], outcomes: Iterable[dict[str, Any]]) -> None:
    """Events and outcomes, as the API shows them, in one table by time."""
    rows = [(each["timestamp"], each["sequence"], _event_row(each)) for each in events] + [
        (each["decidedAt"], each["toSequence"], _outcome_row(each)) for each in outcomes
    ]
    table = Table("when (UTC)", "no.", "what", "state", "attempt", "who", "why", "cause", box=None)
    for at, _, row in sorted(rows, key=lambda row: row[:2]):
        table.add_row(at, *row)
    console().print(table)


def _event_row(event: dict[str, Any]) -> tuple[str, ...]:
    actor, data = event.get("actor", {}), event.get("data", {})
    details = (data.get(name) for name in TELLING)
    detail = next((each for each in details if isinstance(each, str)), "")
    return (
        str(event["sequence"] or ""),
        event["type"],
        event.get("toState", ""),
        event.get("attemptId", ""),
        f"{actor.get('kind', '')} {actor.get('id', '')}".strip(),
        " ".join(filter(None, (event.get("reason"), event.get("approvalId"), detail))),
        _place(event.get("cause")),
    )


def _outcome_row(outcome: dict[str, Any]) -> tuple[str, ...]:
    refusal = (outcome[name] for name in ("code", "rule", "firstDifference"))
    what = f"  {outcome['inputType']}: {outcome['result']}"
    why, cause = " ".join(filter(None, refusal)), _place(outcome["cause"])
    return ("", what, outcome["state"] or "", "", "", why, cause)


def _place(cause: dict[str, Any] | None) -> str:
    return f"{short(cause['topic'])}[{cause['partition']}]@{cause['offset']}" if cause else ""


def short(topic: str) -> str:
    """A topic without the prefix and version that all have."""
    return topic.removeprefix("npp.").removeprefix("payment.").removesuffix(".v1")
