"""`npp payment show --kafka`: a payment as the log has it, read from Kafka itself."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from app import settings
from app.cli.output import as_json, console, print_json, time_of
from app.cluster import Cluster, Entry
from app.exits import ExitCode, Problem
from core.records import Outcome, PaymentLifecycle
from core.values import attempt_id, format_amount


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
    _print_timeline(events, outcomes)


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


def _print_timeline(events: list[Entry], outcomes: list[Entry]) -> None:
    table = Table("when (UTC)", "no.", "what", "state", "attempt", "who", "why", "cause", box=None)
    rows: list[tuple[int, int, tuple[str, ...]]] = []
    for each in events:
        if each.record is None:
            rows.append((each.at.timestamp_ms, 0, (f"unreadable: {each.problem}",)))
            continue
        header = each.record.header
        cause = f"{short(header.cause.topic)}[{header.cause.partition}]@{header.cause.offset}"
        rows.append(
            (
                header.decided_at,
                header.sequence,
                (
                    time_of(header.decided_at),
                    str(header.sequence),
                    type(each.record).__name__,
                    header.state_after,
                    attempt_id(header.attempt) if header.attempt else "",
                    f"{header.actor.kind} {header.actor.id}".strip(),
                    " ".join(filter(None, (header.reason, header.approval_id, _detail(each)))),
                    cause,
                ),
            )
        )
    rows.extend(
        (each.record.decided_at, each.record.to_sequence, _outcome_row(each.record))
        for each in outcomes
        if isinstance(each.record, Outcome)
    )
    for _, _, row in sorted(rows, key=lambda row: row[:2]):
        table.add_row(*row)
    console().print(table)


def _outcome_row(outcome: Outcome) -> tuple[str, ...]:
    refusal = " ".join(filter(None, (outcome.code, outcome.rule, outcome.first_difference)))
    cause = f"{short(outcome.cause.topic)}[{outcome.cause.partition}]@{outcome.cause.offset}"
    what = f"  {outcome.input_type}: {outcome.result}"
    return (time_of(outcome.decided_at), "", what, outcome.state or "", "", "", refusal, cause)


def _detail(entry: Entry) -> str:
    """The one word that tells events of a type apart."""
    record = entry.record
    for name in ("operation", "action", "conflict_id", "kind", "verdict", "level"):
        value = getattr(record, name, None)
        if isinstance(value, str):
            return value
    return ""


def short(topic: str) -> str:
    """A topic without the prefix and version that all have."""
    return topic.removeprefix("npp.").removeprefix("payment.").removesuffix(".v1")
