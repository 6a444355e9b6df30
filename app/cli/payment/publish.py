"""`npp payment publish|create`: a payment is asked for, on Kafka as upstream does, or over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app import settings
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
from app.cli.output import console, print_json
from app.cli.words import cents, epoch_ms, moment, party
from app.cluster import Cluster, command_id
from app.exits import usage
from core.header import InputHeader
from core.payment.commands import CreatePayment
from core.values import CURRENCY, Cents, Parties, Party, payment_intent_id
from engine.partitioner import partition_of
from schemas import catalogue
from schemas.codec.parties import seal
from schemas.strict_json import UnreadableJson, json_reader

LINES_MAX: Final = 1_000_000
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
    json: Annotated[bool, typer.Option("--json", help="One JSON object a payment.")] = False,
) -> None:
    """Publish one payment from options, or many from a file of JSON lines.

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
    with Cluster(environment) as cluster:
        for line in lines:
            payment_id = _publish_line(cluster, line)
            if json:
                print_json({"paymentIntentId": payment_id, "source": line.source}, indent=False)
            else:
                console().print(payment_id)


def _publish_line(cluster: Cluster, line: Line) -> str:
    topic = _topic_of(line.source)
    try:
        payment_id = payment_intent_id(line.source, line.idempotency_key)
        parties = Parties(
            debtor=msgspec.convert(_snake(line.debtor), Party),
            creditor=msgspec.convert(_snake(line.creditor), Party),
            remittance=line.remittance,
        )
        command = CreatePayment(
            header=InputHeader(
                payment_intent_id=payment_id,
                command_id=command_id(),
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
        cluster.publish(topic, partition, payment_id, command)
    except ValueError as error:
        raise usage(f"This payment cannot be written: {error}") from error
    return payment_id


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
    found = outcome_of(call)
    if not json:
        console().print(found.get("paymentIntentId", ""))
    show_outcome(found, json)
    raise typer.Exit(int(outcome_exit(found)))
