"""`npp payment show|list|events|…`: look at payments through the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from app.cli.api_client import Api, Call, Refused
from app.cli.api_options import (
    LIMIT,
    Curl,
    Cursor,
    Json,
    Kafka,
    Limit,
    PaymentArgument,
    Since,
    Until,
    check_payment,
    fetch,
    list_of,
    open_api,
    print_curl,
    query,
    show_fields,
    show_list,
    show_verdicts,
    without_api,
)
from app.cli.output import console, print_json
from app.cli.payment import timeline
from app.exits import ExitCode, Problem
from core.values import payment_intent_id
from engine.clock import SystemClock
from schemas import catalogue

WATCH_EVERY_SECONDS: Final = 0.5
WATCH_SECONDS_MAX: Final = 600.0
ENDED: Final = ("SETTLED", "FAILED", "EXPIRED")

HEAD: Final = (
    *("paymentIntentId", "state", "reason", "moneyOutcome", "amount", "currency", "source"),
    *("idempotencyKey", "attemptId", "externalRef", "funds", "lastEventAt", "createdAt"),
    *("overdue", "openConflicts", "attention.why", "attention.since", "waitingFor.what", "parked"),
    *("fundsHeld", "fundsReleaseDeferred", "nextActions"),
    *("endToEndId", "service", "uetr", "customerId", "sequence"),
    *("verifiedThrough", "headHash", "ruleSet"),
)
LIST: Final = (
    *("paymentIntentId", "state", "reason", "moneyOutcome", "amount", "attemptId", "funds"),
    *("overdue", "needsAttention", "createdAt"),
)
EVENTS: Final = (
    *("sequence", "timestamp", "type", "fromState", "toState", "attemptId", "reason"),
    *("externalRef", "approvalId", "actor.id"),
)
RULING: Final = (
    *("ruling", "eventType", "sequence", "partition", "offset", "eventHash", "reason"),
    *("requestedBy", "requestedAt", "confirmedBy", "confirmedAt"),
)
OUTCOMES: Final = (
    *("decidedAt", "inputType", "result", "code", "rule", "sentence", "fromSequence", "toSequence"),
    "commandId",
)


def show(
    payment: PaymentArgument, kafka: Kafka = False, json: Json = False, curl: Curl = False
) -> None:
    """State, money, funds, attempt, reference, marks and timeline of one payment.

    With --kafka from the log itself: the journal, lifecycle and outcomes topics.
    """
    check_payment(payment)
    if without_api(kafka, curl):
        timeline.show(payment, json)
        return
    place = f"/api/payments/{payment}"
    calls = [Call("GET", place + each) for each in ("", "/events", "/outcomes")]
    if curl:
        for call in calls:
            print_curl(call)
        return
    with open_api() as api:
        found, events, outcomes = (api.ask(call).body for call in calls)
    if json:
        print_json({**found, "events": events["items"], "outcomes": outcomes["items"]})
        return
    show_fields(found, HEAD)
    for each in found["conflicts"]:
        show_fields(each, ("conflictId", "kind", "attemptId", "amount"))
        show_verdicts(each["verdicts"])
    for each in found["rulings"]:
        show_fields(each, RULING)
    console().print()
    timeline.print_timeline(events["items"], outcomes["items"])
    if events["next"] or outcomes["next"]:
        console().print("… more: `npp payment events` and `npp payment outcomes`")


def list_payments(
    source: Annotated[str, typer.Option(help="Of this source.")] = "",
    key: Annotated[str, typer.Option(help="With this idempotency key.")] = "",
    state: Annotated[str, typer.Option(help="CREATED, AUTHORISED, SENT, …")] = "",
    money: Annotated[str, typer.Option(help="OPEN, PAID, NOT_PAID, UNCERTAIN, …")] = "",
    reason: Annotated[str, typer.Option(help="RAIL, TIMEOUT, …")] = "",
    attention: Annotated[bool | None, typer.Option(help="Those that need a person.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Payments, newest first; all given conditions hold."""
    requested = query(
        source=source,
        idempotency_key=key,
        state=state,
        money_outcome=money,
        reason=reason,
        attention=attention,
        from_=since,
        to=until,
        limit=limit,
        cursor=cursor,
    )
    list_of(Call("GET", "/api/payments", requested), LIST, json=json, curl=curl)


def events(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """The payment's events in order, with states before and after, reasons and references."""
    check_payment(payment)
    list_of(Call("GET", f"/api/payments/{payment}/events"), EVENTS, json=json, curl=curl)


def outcomes(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """Outcomes of the payment's inputs: refusals, duplicates, operator commands."""
    check_payment(payment)
    list_of(Call("GET", f"/api/payments/{payment}/outcomes"), OUTCOMES, json=json, curl=curl)


def event_store(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """Ask Kafka itself whether the payment's PaymentIntentCreated is in the journal."""
    check_payment(payment)
    call = Call("GET", f"/api/payments/{payment}/event-store")
    reply = fetch(call, json=json, curl=curl)
    if reply is not None:
        show_fields(reply.body, reply.body)


def search(
    text: Annotated[str, typer.Argument(help="Any identifier, or topic/partition/offset.")],
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Find a payment by id, end-to-end id, externalRef, UETR, rail id, key, or place on the log.

    By key also a command that made no payment, with why it was rejected.
    """
    call = Call("GET", "/api/search", query(q=text))
    if curl:
        print_curl(call)
        return
    with open_api() as api:
        reply = api.ask(call)
        if not reply.body["items"]:
            reply.body["items"] = list(_rejected(api, text))
    if json:
        print_json(reply.body)
        return
    columns = ("kind", "paymentIntentId", "state", "moneyOutcome", "code", "rule", "sentence")
    some = [name for name in columns if any(each.get(name) for each in reply.body["items"])]
    show_list(reply, some)


def _rejected(api: Api, key: str) -> Iterator[dict[str, Any]]:
    """Outcomes of commands with this key, of any source; the key gives the payment's id."""
    sources = sorted(s for each in catalogue.load().source_topics().values() for s in each)
    for source in sources:
        try:
            payment = payment_intent_id(source, key)
            found = api.ask(Call("GET", f"/api/payments/{payment}/outcomes")).body["items"]
        except (Refused, ValueError):
            continue  # nothing of this source
        for each in found:
            about = {"kind": "rejectedCommand", "source": source, "paymentIntentId": payment}
            yield {**each, **about}


def attention(
    limit: Limit = LIMIT, cursor: Cursor = "", json: Json = False, curl: Curl = False
) -> None:
    """Payments that need a person, longest waiting first, with why and since when."""
    call = Call("GET", "/api/attention", query(limit=limit, cursor=cursor))
    list_of(
        call,
        ("paymentIntentId", "state", "moneyOutcome", "funds", "attentionSince", "why"),
        json=json,
        curl=curl,
    )


def watch(
    payment: PaymentArgument,
    seconds: Annotated[float, typer.Option(min=1, max=WATCH_SECONDS_MAX, help="At most.")] = 60,
    json: Json = False,
) -> None:
    """Show a payment's events as they come, until it has ended; exit 5 if it has not in time."""
    check_payment(payment)
    clock = SystemClock()
    until = clock.monotonic_s() + seconds
    seen = 0
    with open_api() as api:
        while True:
            known = api.ask(Call("GET", f"/api/payments/{payment}")).body
            for event in _events_after(api, payment, seen):
                seen = event["sequence"]
                _say_event(event, json)
            if known["state"] in ENDED and seen >= known["sequence"]:
                return
            if clock.monotonic_s() > until:
                raise Problem(
                    f"{payment} is {known['state']} after {seconds:.0f} s.", code=ExitCode.UNKNOWN
                )
            clock.sleep(WATCH_EVERY_SECONDS)


def _events_after(api: Api, payment: str, sequence: int) -> list[dict[str, Any]]:
    query = (("cursor", str(sequence)),)
    return list(api.ask(Call("GET", f"/api/payments/{payment}/events", query)).body["items"])


def _say_event(event: dict[str, Any], json: bool) -> None:
    if json:
        print_json(event, indent=False)
        return
    words = [str(event[name]) for name in ("reason", "externalRef") if event.get(name)]
    line = f"{event.get('timestamp')} {event['sequence']:>3} {event['type']:<28} {event['toState']}"
    console().print(" ".join([line, *words]))
