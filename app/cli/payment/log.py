"""`npp publish`, `npp show` and `npp tail`: put a payment in, and look at payments on the log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from app import settings
from app.cli.api_options import PAYMENT_ID, PaymentArgument
from app.cli.output import as_json, console, print_json, time_of
from app.cli.words import cents, party
from app.cluster import Cluster, Entry, command_id
from app.exits import ExitCode, Problem, usage
from core.header import InputHeader
from core.payment.commands import CreatePayment
from core.records import Outcome, PaymentLifecycle
from core.values import CURRENCY, Parties, Party, format_amount, payment_intent_id
from engine.clients.reader import PartitionReader
from engine.partitioner import partition_of
from schemas import catalogue, topology
from schemas.codec.parties import seal
from schemas.strict_json import UnreadableJson, json_reader

LINES_MAX: Final = 1_000_000
TAIL_WAIT_SECONDS: Final = 0.5
READ_COUNT: Final = 1_000
TAIL_TOPICS: Final = {
    "events": topology.EVENTS,
    "lifecycle": topology.LIFECYCLE,
    "outcomes": topology.OUTCOMES,
    "quarantine": topology.QUARANTINE,
    "control": topology.CONTROL,
    "reports": topology.RAIL_REPORTS,
    "submissions": topology.RAIL_SUBMISSIONS,
    "deposits": topology.DEPOSITS_RESULTS,
    "decisions": topology.RESOLVE_DECISIONS,
    "operators": topology.OPERATOR_COMMANDS,
    "checkpoints": topology.CHECKPOINTS,
}


class Line(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One payment of a file. `amount` in cents; parties as in Parties.avsc, camelCase."""

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
    requested_execution_time: int | None = None
    expires_at: int | None = None


_read_line: Final = json_reader(Line)


def register(app: typer.Typer) -> None:
    app.command("publish", rich_help_panel="Payments")(publish)
    app.command("show", rich_help_panel="Payments")(show)
    app.command("tail", rich_help_panel="Payments")(tail)


# -- publish ---------------------------------------------------------------------------------------


def publish(
    file: Annotated[
        Path | None, typer.Option(help="JSON lines, one payment each; - reads standard input.")
    ] = None,
    source: Annotated[str, typer.Option(help="Source; its topic is chosen.")] = "mobile-app",
    key: Annotated[str, typer.Option(help="Idempotency key; default: a new one.")] = "",
    amount: Annotated[str, typer.Option(help="Dollars and cents, e.g. 12.50.")] = "",
    debtor: Annotated[str, typer.Option(help="NAME/BSB/ACCOUNT")] = "A Debtor/062000/12345678",
    creditor: Annotated[
        str, typer.Option(help="NAME/BSB/ACCOUNT, or NAME/TYPE/PAYID with TELI, EMAL, AUBN, ORGN")
    ] = "A Creditor/082000/87654321",
    remittance: Annotated[str | None, typer.Option(help="For the payee.")] = None,
    end_to_end_id: Annotated[str, typer.Option(help="At most 35 characters.")] = "NOTPROVIDED",
    service: Annotated[str, typer.Option(help="x2p1 or sct")] = "x2p1",
    at: Annotated[int | None, typer.Option(help="Execute not before, epoch ms.")] = None,
    expires_at: Annotated[int | None, typer.Option(help="Give up after, epoch ms.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a payment.")] = False,
) -> None:
    """Publish one payment from options, or many from a file of JSON lines.

    A line: {"source": "mobile-app", "idempotencyKey": "k1", "amount": 1250, "debtor": {"name": …,
    "bsb": …, "account": …}, "creditor": {…}, "endToEndId": …, "service": "x2p1"}; amounts in cents.
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
            header=InputHeader(payment_id, command_id(), cluster.clock.now_ms()),
            source=line.source,
            idempotency_key=line.idempotency_key,
            amount=line.amount,
            currency=line.currency,
            parties=seal(parties),
            end_to_end_id=line.end_to_end_id,
            service=line.service,
            uetr=line.uetr,
            customer_id=line.customer_id,
            requested_execution_time=line.requested_execution_time,
            expires_at=line.expires_at,
        )
        partition = partition_of(payment_id.encode(), cluster.partitions(topic))
        cluster.publish(topic, partition, payment_id, command)
    except ValueError as error:
        raise usage(f"This payment cannot be written: {error}") from error
    return payment_id


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
            raise usage(f"{file}, line {number}: {error}", do="`npp publish --help`") from error
    return lines


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise usage(f"{file} cannot be read: {error.strerror}") from error


def _snake(party: dict[str, Any]) -> dict[str, Any]:
    names = {"payIdType": "pay_id_type", "payId": "pay_id"}
    return {names.get(name, name): value for name, value in party.items()}


# -- show ------------------------------------------------------------------------------------------


def show(
    payment: PaymentArgument,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """State, outcome, funds, attempts and timeline of a payment, read from Kafka.

    Reads the journal, the lifecycle and the outcomes topic. Party details are not shown.
    """
    if not PAYMENT_ID.fullmatch(payment):
        raise usage(f"{payment} is no paymentIntentId.", do="It is pi_ and 26 characters a-z, 2-7.")
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
        ("attempt", f"{known.attempt}  {known.external_ref or ''}"),
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
                    str(header.attempt),
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


# -- tail ------------------------------------------------------------------------------------------


def tail(
    topics: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(TAIL_TOPICS)}; default: events")
    ] = None,
    payment: Annotated[str, typer.Option(help="Only this payment.")] = "",
    count: Annotated[int, typer.Option(help="End after so many records; 0 = Ctrl-C.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a record.")] = False,
) -> None:
    """Follow records as they are committed, one line each, until Ctrl-C."""
    chosen = topics or ["events"]
    unknown = [name for name in chosen if name not in TAIL_TOPICS]
    if unknown:
        raise usage(f"No such topic: {', '.join(unknown)}.", do=f"One of {', '.join(TAIL_TOPICS)}.")
    cluster = Cluster(settings.load())
    readers = []
    for name in chosen:
        topic = TAIL_TOPICS[name]
        names = [(topic, n) for n in range(cluster.partitions(topic))]
        start = {n: offset for (_, n), offset in cluster.ends.high(names).items()}
        readers.append(PartitionReader(cluster.connection, topic, start))
    seen = 0
    try:
        while not count or seen < count:
            for reader in readers:
                batches, _ = reader.read(READ_COUNT, TAIL_WAIT_SECONDS / len(readers))
                for records in batches.values():
                    for at in records:
                        if payment and at.key != payment.encode():
                            continue
                        seen += 1
                        _print_record(cluster.entry(at), json)
                        if count and seen >= count:
                            return
    finally:
        for reader in readers:
            reader.close()


def _print_record(entry: Entry, json: bool) -> None:
    at = entry.at
    if json:
        value = {
            "topic": at.topic,
            "partition": at.partition,
            "offset": at.offset,
            "time": at.timestamp_ms,
            "type": type(entry.record).__name__ if entry.record is not None else None,
            "problem": entry.problem,
            "record": as_json(entry.record),
        }
        print_json(value, indent=False)
        return
    what = type(entry.record).__name__ if entry.record is not None else f"({entry.problem})"
    header = getattr(entry.record, "header", None)
    state = getattr(header, "state_after", None) or getattr(entry.record, "state", "") or ""
    key = (at.key or b"").decode(errors="replace")
    place = f"{short(at.topic)}[{at.partition}]@{at.offset}"
    console().print(f"{time_of(at.timestamp_ms)} {place:<28} {key:<29} {what} {state}".rstrip())
