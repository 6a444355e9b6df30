"""The payments processor's I/O outside its transactions: it reads the last signed checkpoints when
partitions are assigned, and writes a STOP if the log has lost records or has a foreign one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from control.fold import Control
from core.control_records import ProcessingStopped
from core.records import Checkpoint
from core.recovery_point import is_void
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clients.reader import LogEnds, read_all
from engine.clock import Clock
from engine.loop.assignment_setup import FOREIGN_RECORD, LOG_TAIL_LOST
from engine.settings import Alarm
from schemas import topology
from schemas.codec import Codec
from schemas.errors import Undecodable

log = structlog.get_logger("npp.payments")

STOPPING: Final = (LOG_TAIL_LOST, FOREIGN_RECORD)  # alarms that stop all processing
CHECKPOINTS_READ_MAX: Final = 100  # the last of a partition is among its last records


def journal_floors(
    connection: Mapping[str, Any], clock: Clock, codec: Codec, control: Control
) -> Callable[[Sequence[int]], dict[int, int]]:
    """A function that gives the smallest end offset that each journal partition may have: the end
    of its last signed checkpoint that no recovery made void.
    """
    topic = topology.CHECKPOINTS
    log_ends = LogEnds(connection, clock)

    def floors(partitions: Sequence[int]) -> dict[int, int]:
        recovery_points = {n: control.recovery_points(n) for n in partitions}
        ends = log_ends.high([(topic, n) for n in partitions])
        found: dict[int, int] = {}
        for batch in read_all(
            connection,
            topic,
            start={n: max(0, ends[topic, n] - CHECKPOINTS_READ_MAX) for n in partitions},
            partitions=partitions,
            clock=clock,
        ):
            for record in batch:
                try:
                    checkpoint = codec.decode(topic, record.value, record.headers)
                except Undecodable:
                    continue  # the verifier's to judge
                if not isinstance(checkpoint, Checkpoint):
                    continue
                if not is_void(checkpoint, recovery_points[record.partition]):
                    found[record.partition] = checkpoint.to_offset + 1
        return found

    return floors


def payments_alarm(
    connection: Mapping[str, Any], clock: Clock, codec: Codec, control: Control, *, instance: str
) -> Alarm:
    """A function that logs an alarm for a person. A lost log tail or a foreign journal record also
    writes a STOP to the control topic, for all processes.

    Only the processor's own store can show that records were lost which no checkpoint covers yet.
    """

    def alarm(name: str, partition: int | None, sentence: str) -> None:
        log.critical("alarm", alarm=name, partition=partition, detail=sentence)
        if name not in STOPPING:
            return
        stop_id = f"payments-{name}-{partition}"
        if control.is_open(stop_id):
            return
        stop = ProcessingStopped(
            stop_id=stop_id,
            reason=f"{name}: partition {partition}: {sentence}",
            automatic=True,
            stopped_at=clock.now_ms(),
            actor=instance,
            cause=name,
        )
        publisher = Publisher(connection, f"{instance}-stop", clock)
        try:
            raw = codec.encode(topology.CONTROL, stop)
            publisher.publish(topology.CONTROL, None, raw, partition=0)
        except NotConfirmed as error:
            # This instance stays halted either way; the verifier may stop the others.
            log.critical("stop not confirmed", stop_id=stop_id, error=str(error))
        else:
            log.critical("processing_stopped", stop_id=stop_id, reason=stop.reason)
        finally:
            publisher.close()

    return alarm
