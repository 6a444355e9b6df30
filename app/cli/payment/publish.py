"""`npp payment publish|create`: request a payment, on Kafka as upstream does, or over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app.cli.api_client import Call
from app.cli.api_options import (
    Curl,
    Json,
    body,
    outcome_exit,
    outcome_of,
    print_curl,
    show_outcome,
)
from app.cli.output import console, error_console, print_json
from app.cli.payment import results
from app.cli.words import cents, epoch_ms, moment, party
from app.cluster import Cluster, command_id
from app.config import settings
from app.exits import ExitCode, usage
from core.declared import declared
from core.header import InputHeader
from core.payment.commands import CreatePayment
from core.values import CURRENCY, Cents, Parties, Party, payment_intent_id
from engine.partitioner import partition_of
from schemas import catalogue
from schemas.codec.parties import seal
from schemas.strict_json import UnreadableJson, json_reader

LINES_MAX: Final = 1_000_000
WAIT_SECONDS: Final = 10.0
DONE: Final = ("ACCEPTED", "DUPLICATE")
DEBTOR: Final = "A Debtor/062000/12345678"
CREDITOR: Final = "A Creditor/082000/87654321"

Debtor = Annotated[str, typer.Option(help="NAME/BSB/ACCOUNT")]
Creditor = Annotated[
    str, typer.Option(help="NAME/BSB/ACCOUNT, or NAME/TYPE/PAYID with TELI, EMAL, AUBN, ORGN")
]
Remittance = Annotated[str | None, typer.Option(help="For the payee.")]
EndToEndId = Annotated[str, typer.Option(help="At most 35 characters.")]
Service = Annotated[str, typer.Option(help="x2p1 or sct")]
At = Annotated[
    str | None, typer.Option(help="Execute not before: ISO 8601 with zone.", callback=moment)
]
ExpiresAt = Annotated[
    str | None, typer.Option(help="Give up after: ISO 8601 with zone.", callback=moment)
]


class Line(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One payment of a file. `amount` in cents; parties as in Parties.avsc, camelCase; times as ISO
    8601 with their zone.
    """

    idempotency_key: str
    amount: int
    debtor: dict[str, Any]
    creditor: dict[str, Any]
    source: str = "mobile-app"
    end_to_end_id: str = "NOTPROVIDED"
    remittance: str | None = None
    service: str = "x2p1"
    currency: str = CURRENCY
    uetr: str | None = None
    customer_id: str | None = None
    requested_execution_time: str | None = None
    expires_at: str | None = None


_read_line: Final = json_reader(Line)


def publish(
    file: Annotated[
        Path | None, typer.Option(help="JSON lines, one payment each; - reads standard input.")
    ] = None,
    source: Annotated[str, typer.Option(help="Source; its topic is chosen.")] = "mobile-app",
    key: Annotated[str, typer.Option(help="Idempotency key; default: a new one.")] = "",
    amount: Annotated[str, typer.Option(help="Dollars and cents, e.g. 12.50.")] = "",
    debtor: Debtor = DEBTOR,
    creditor: Creditor = CREDITOR,
    remittance: Remittance = None,
    end_to_end_id: EndToEndId = "NOTPROVIDED",
    service: Service = "x2p1",
    at: At = None,
    expires_at: ExpiresAt = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for their outcomes.")
    ] = WAIT_SECONDS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per payment.")] = False,
) -> None:
    """Publish one payment from options, or many from a file of JSON lines.

    Exit 1 when one was rejected or quarantined. A payment undecided after --wait seconds is on
    Kafka, will be decided, and ends with 0.

    A line: {"source": "mobile-app", "idempotencyKey": "k1", "amount": 1250, "debtor": {"name": …,
    "bsb": …, "account": …}, "creditor": {…}, "endToEndId": …, "service": "x2p1"}; amounts in cents,
    `requestedExecutionTime` and `expiresAt` as ISO 8601 with their zone.
    The same key of the same source is the same payment, however often it is published.
    """
    environment = settings.load()
    if file is None:
        line = Line(
            idempotency_key=key or command_id(),
            amount=cents(amount),
            debtor=party(debtor),
            creditor=party(creditor),
            source=source,
            end_to_end_id=end_to_end_id,
            remittance=remittance,
            service=service,
            requested_execution_time=at,
            expires_at=expires_at,
        )
        lines = [line]
    else:
        lines = _read_lines(file)
    with Cluster(environment) as cluster, results.opened(cluster) as readable:
        published = [_publish_line(cluster, line) for line in lines]
        ids = {command for _, command in published}
        found = readable.of(ids, wait) if readable is not None else {}
    for line, (payment_id, command) in zip(lines, published, strict=True):
        result = found.get(command, {})
        if json:
            whole = {"paymentIntentId": payment_id, "source": line.source, **result}
            print_json({k: v for k, v in whole.items() if v is not None}, indent=False)
        else:
            console().print(payment_id)
            _say_result(payment_id, result)
    if readable is None:
        _note("Published. Your access rules do not allow reading its outcome.")
    elif wait and len(found) < len(ids):
        left = len(ids) - len(found)
        _note(f"Published; {left} not decided within {wait:.0f} s. `npp payment show` looks again.")
    if any(result["result"] not in DONE for result in found.values()):
        raise typer.Exit(int(ExitCode.FAILED))


def _say_result(payment_id: str, result: results.Result) -> None:
    """On standard error, unless it was accepted: standard output has the ids alone."""
    if result.get("result") in (None, results.ACCEPTED):
        return
    words = " ".join(str(result[name]) for name in ("result", "code", "rule") if result.get(name))
    _note(f"{payment_id}: {words}. {result.get('sentence') or ''}".rstrip())


def _note(sentence: str) -> None:
    error_console().print(sentence)


def _party(content: dict[str, Any]) -> Party:
    """One side of a payment. Raises msgspec.ValidationError."""
    return Party(**msgspec.structs.asdict(msgspec.convert(_snake(content), declared(Party))))


def _publish_line(cluster: Cluster, line: Line) -> tuple[str, str]:
    """The payment's id and the command's. Raises Problem."""
    command = command_id()
    topic = _topic_of(line.source)
    try:
        payment_id = payment_intent_id(line.source, line.idempotency_key)
        parties = Parties(
            debtor=_party(line.debtor),
            creditor=_party(line.creditor),
            remittance=line.remittance,
        )
        record = CreatePayment(
            header=InputHeader(
                payment_intent_id=payment_id,
                command_id=command,
                sent_at=cluster.clock.now_ms(),
            ),
            source=line.source,
            idempotency_key=line.idempotency_key,
            amount=Cents(line.amount),
            currency=line.currency,
            parties=seal(parties),
            end_to_end_id=line.end_to_end_id,
            service=line.service,
            uetr=line.uetr,
            customer_id=line.customer_id,
            requested_execution_time=_ms(line.requested_execution_time, "requestedExecutionTime"),
            expires_at=_ms(line.expires_at, "expiresAt"),
        )
        partition = partition_of(payment_id.encode(), cluster.partitions(topic))
        cluster.publish(topic, partition, payment_id, record)
    except ValueError as error:
        raise usage(f"This payment cannot be written: {error}") from error
    return payment_id, command


def _ms(given: str | None, field: str) -> int | None:
    return None if given is None else epoch_ms(given, field)


def _topic_of(source: str) -> str:
    for topic, sources in catalogue.load().source_topics().items():
        if source in sources:
            return topic
    known = sorted(s for each in catalogue.load().source_topics().values() for s in each)
    raise usage(f"No topic carries source {source}.", do=f"Known sources: {', '.join(known)}.")


def _read_lines(file: Path) -> list[Line]:
    raw = sys.stdin.buffer.read() if str(file) == "-" else _bytes_of(file)
    lines: list[Line] = []
    for number, text in enumerate(raw.splitlines(), 1):
        if number > LINES_MAX:
            raise usage(f"{file}: more than {LINES_MAX} lines.")
        if not text.strip():
            continue
        try:
            lines.append(_read_line(text))
        except UnreadableJson as error:
            raise usage(
                f"{file}, line {number}: {error}", do="`npp payment publish --help`"
            ) from error
    return lines


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise usage(f"{file} cannot be read: {error.strerror}") from error


def _snake(party: dict[str, Any]) -> dict[str, Any]:
    names = {"payIdType": "pay_id_type", "payId": "pay_id"}
    return {names.get(name, name): value for name, value in party.items()}


def create(
    key: Annotated[str, typer.Option(help="Idempotency key: the same key is the same payment.")],
    amount: Annotated[str, typer.Option(help="Dollars and cents, e.g. 12.50.")],
    debtor: Debtor = DEBTOR,
    creditor: Creditor = CREDITOR,
    remittance: Remittance = None,
    end_to_end_id: EndToEndId = "NOTPROVIDED",
    service: Service = "x2p1",
    customer: Annotated[str | None, typer.Option(help="The payer's customer reference.")] = None,
    at: At = None,
    expires_at: ExpiresAt = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Create a payment, as a submitter; the source is the one that your token's client has."""
    requested = body(
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
    call = Call("POST", "/api/payments", body=requested, headers=(("Idempotency-Key", key),))
    if curl:
        print_curl(call)
        return
    found = outcome_of(call)
    if not json:
        console().print(found.get("paymentIntentId", ""))
    show_outcome(found, json)
    raise typer.Exit(int(outcome_exit(found)))
