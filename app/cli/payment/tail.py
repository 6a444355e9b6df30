"""`npp payment tail`: records as they are committed."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app.cli.output import as_json, console, print_json, time_of
from app.cli.payment.timeline import short
from app.cluster import Cluster, Entry
from app.config import settings
from app.exits import usage
from engine.clients.reader import PartitionReader
from schemas import topology

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


def tail(
    topics: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(TAIL_TOPICS)}; default: events")
    ] = None,
    payment: Annotated[str, typer.Option(help="Only this payment.")] = "",
    count: Annotated[int, typer.Option(help="End after so many records; 0 = Ctrl-C.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per record.")] = False,
) -> None:
    """Follow records as they are committed, one line each, until Ctrl-C.

    With --payment its records that are there come first.
    """
    chosen = topics or ["events"]
    unknown = [name for name in chosen if name not in TAIL_TOPICS]
    if unknown:
        raise usage(f"No such topic: {', '.join(unknown)}.", do=f"One of {', '.join(TAIL_TOPICS)}.")
    cluster = Cluster(settings.load())
    readers = []
    for name in chosen:
        topic = TAIL_TOPICS[name]
        names = [(topic, n) for n in range(cluster.partitions(topic))]
        known = cluster.ends.low(names) if payment else cluster.ends.high(names)
        start = {n: offset for (_, n), offset in known.items()}
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
            "time": time_of(at.timestamp_ms),
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
