"""`npp payment`: look at payments through the API, create them, and act on one."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from app.cli.api_client import Api, Call, Refused, Reply
from app.cli.api_options import (
    LIMIT,
    Curl,
    Cursor,
    Json,
    Limit,
    PaymentArgument,
    body,
    check_payment,
    fetch,
    open_api,
    outcome_exit,
    print_curl,
    progress,
    query,
    show_fields,
    show_list,
    show_outcome,
    show_verdicts,
    told,
)
from app.cli.output import console, print_json
from app.cli.payment import actions as api_actions
from app.cli.payment.resume import unpark
from app.cli.words import cents, party
from app.exits import ExitCode, Problem
from core.values import CURRENCY
from engine.clock import SystemClock

WATCH_EVERY_SECONDS: Final = 0.5
WATCH_SECONDS_MAX: Final = 600.0
ENDED: Final = ("SETTLED", "FAILED", "EXPIRED")

HEAD: Final = (
    *("paymentIntentId", "state", "reason", "moneyOutcome", "amount", "currency", "source"),
    *("idempotencyKey", "attemptId", "externalRef", "funds", "lastEventAt", "createdAt"),
    *("overdue", "openConflicts", "attention.why", "attention.since", "waitingFor.what", "parked"),
    *("fundsHeld", "fundsReleaseDeferred", "nextActions"),
    *("endToEndId", "service", "uetr", "customerId", "sequence", "headHash", "ruleSet"),
)
LIST: Final = (
    *("paymentIntentId", "state", "reason", "moneyOutcome", "amount", "attemptId", "funds"),
    *("overdue", "needsAttention", "createdAt"),
)
EVENTS: Final = (
    *("sequence", "timestamp", "type", "fromState", "toState", "attemptId", "reason"),
    *("externalRef", "approvalId", "actor.id"),
)
OUTCOMES: Final = (
    *("decidedAt", "inputType", "result", "code", "rule", "sentence", "fromSequence", "toSequence"),
    "commandId",
)

app = typer.Typer(
    help="Payments, through the API (NPP_API_URL, NPP_API_TOKEN).", no_args_is_help=True
)


@app.command()
def show(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """State, money, funds, attempt, reference and marks of one payment."""
    reply = _of_payment(payment, "", json=json, curl=curl)
    if reply is None:
        return
    show_fields(reply.body, HEAD)
    for each in reply.body["conflicts"]:
        show_fields(each, ("conflictId", "kind", "attemptId", "amount"))
        show_verdicts(each["verdicts"])


@app.command("list")
def list_payments(
    source: Annotated[str, typer.Option(help="Of this source.")] = "",
    key: Annotated[str, typer.Option(help="With this idempotency key.")] = "",
    state: Annotated[str, typer.Option(help="CREATED, AUTHORISED, SENT, …")] = "",
    money: Annotated[str, typer.Option(help="OPEN, PAID, NOT_PAID, UNCERTAIN, …")] = "",
    reason: Annotated[str, typer.Option(help="RAIL, TIMEOUT, …")] = "",
    attention: Annotated[bool | None, typer.Option(help="Those that need a person.")] = None,
    since: Annotated[
        str, typer.Option("--from", help="Created at or after; ISO 8601 or epoch ms.")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Created before.")] = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Payments, newest first; all given conditions hold."""
    asked = query(
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
    reply = fetch(Call("GET", "/api/payments", asked), json=json, curl=curl)
    if reply is not None:
        show_list(reply, LIST)


@app.command()
def events(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """The payment's events in order, with states before and after, reasons and references."""
    reply = _of_payment(payment, "/events", json=json, curl=curl)
    if reply is not None:
        show_list(reply, EVENTS)


@app.command()
def outcomes(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """What became of the payment's inputs: refusals, duplicates, operator commands."""
    reply = _of_payment(payment, "/outcomes", json=json, curl=curl)
    if reply is not None:
        show_list(reply, OUTCOMES)


@app.command("event-store")
def event_store(payment: PaymentArgument, json: Json = False, curl: Curl = False) -> None:
    """Whether its PaymentIntentCreated stands in the journal, asked of Kafka itself."""
    reply = _of_payment(payment, "/event-store", json=json, curl=curl)
    if reply is not None:
        show_fields(reply.body, reply.body)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Any identifier, or topic/partition/offset.")],
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Find a payment by id, end-to-end id, externalRef, UETR, rail id, key, or place on the log."""
    reply = fetch(Call("GET", "/api/search", query(q=text)), json=json, curl=curl)
    if reply is not None:
        show_list(reply, ("kind", "paymentIntentId"))


@app.command()
def create(
    key: Annotated[str, typer.Option(help="Idempotency key: the same key is the same payment.")],
    amount: Annotated[str, typer.Option(help="Dollars and cents, e.g. 12.50.")],
    debtor: Annotated[str, typer.Option(help="NAME/BSB/ACCOUNT")] = "A Debtor/062000/12345678",
    creditor: Annotated[
        str, typer.Option(help="NAME/BSB/ACCOUNT, or NAME/TYPE/PAYID with TELI, EMAL, AUBN, ORGN")
    ] = "A Creditor/082000/87654321",
    remittance: Annotated[str | None, typer.Option(help="For the payee.")] = None,
    end_to_end_id: Annotated[str, typer.Option(help="At most 35 characters.")] = "NOTPROVIDED",
    service: Annotated[str, typer.Option(help="x2p1 or sct")] = "x2p1",
    customer: Annotated[str | None, typer.Option(help="The payer's customer reference.")] = None,
    at: Annotated[int | None, typer.Option(help="Execute not before, epoch ms.")] = None,
    expires_at: Annotated[int | None, typer.Option(help="Give up after, epoch ms.")] = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Create a payment, as a submitter; the source is the one that your token's client has."""
    asked = body(
        amount=cents(amount),
        currency=CURRENCY,
        debtor=party(debtor),
        creditor=party(creditor),
        remittance=remittance,
        end_to_end_id=end_to_end_id,
        service=service,
        customer_id=customer,
        requested_execution_time=at,
        expires_at=expires_at,
    )
    call = Call("POST", "/api/payments", body=asked, headers=(("Idempotency-Key", key),))
    if curl:
        print_curl(call)
        return
    with open_api() as api:
        try:
            found = api.command(call, progress).body
        except Refused as refusal:
            raise told(refusal, json) from refusal
    if not json:
        console().print(found.get("paymentIntentId", ""))
    show_outcome(found, json)
    raise typer.Exit(int(outcome_exit(found)))


@app.command()
def watch(
    payment: PaymentArgument,
    seconds: Annotated[float, typer.Option(min=1, max=WATCH_SECONDS_MAX, help="At most.")] = 60,
    json: Json = False,
) -> None:
    """Show a payment's events as they come, until it has ended; exit 5 when it has not by then."""
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


def _of_payment(payment: str, path: str, *, json: bool, curl: bool) -> Reply | None:
    check_payment(payment)
    return fetch(Call("GET", f"/api/payments/{payment}{path}"), json=json, curl=curl)


for _name, _function in api_actions.OF_PAYMENT.items():
    app.command(_name)(_function)
app.command()(unpark)
