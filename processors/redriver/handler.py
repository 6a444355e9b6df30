"""Redrives quarantined records under dual control: publishes their raw bytes to their origin again.

`control.redrive_plan` computes what to publish. Every confirmed request ends as done or refused,
with the reason; the result is written to the control topic. A failing request stops neither the
others nor the process.

    CONFIRMED ──▶ planned ──▶ originals read ──▶ published one by one ──▶ RedriveDone
        ▲            │ refused     │ refused           │ refused: the rest is not published
        └── Kafka, or the registry, does not answer: tried again, TRY_S_MAX at most
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from control.acts.act_signature import Signer, signed
from control.acts.actors import REDRIVER
from control.acts.operators_file import public_key
from control.fold import Control
from control.redrive_plan import Planned, RedrivePlan, RefusedError, with_original
from core.control_records import RedriveDone, RedriveRequested
from core.records import SENTENCE_MAX
from engine.clients.publisher import NotConfirmed, Refused
from engine.clock import Clock
from engine.errors import EngineError
from engine.records import LogRecord
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher
from schemas import topology
from schemas.codec import Codec
from schemas.errors import RegistryDown

log = structlog.get_logger("processors.redriver.handler")

# Longer than the replacement of a broker takes. Without an answer by then the request is refused,
# and people repeat it.
TRY_S_MAX: Final = 300.0


class QuarantineReader(Protocol):
    """Reads the records of a redrive. Raises EngineError if Kafka does not answer."""

    def quarantined(self, partition: int, offsets: Sequence[int]) -> Iterable[LogRecord]:
        """The quarantined records at these offsets, in order; an offset without one is skipped."""

    def original(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        """The record at this place, or None when none is there (any more)."""


class _Progress(msgspec.Struct):
    """The progress of a request in this process."""

    since_s: float  # the first try, by the monotonic clock
    put_back: int = 0  # records published


class Redriver:
    """Executes confirmed requests of the control topic, one after the other."""

    def __init__(
        self,
        *,
        control: Control,
        records: QuarantineReader,
        publisher: Publisher,
        codec: Codec,
        clock: Clock,
        adapter: str,
        origins: Collection[str],
        metrics: AdapterMetrics,
        key: Signer,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`origins`: the topics that may be written to; `adapter`: the reason table for assigned
        callbacks; `key` signs the result. `beat` is called for each record, because a request may
        have thousands.
        """
        self._control = control
        self._records = records
        self._plan = RedrivePlan(
            read=records.quarantined, codec=codec, clock=clock, adapter=adapter, origins=origins
        )
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._metrics = metrics
        self._key = key
        self._beat = beat
        self._number = 0  # of the last answer signed
        self._answered: set[str] = set()
        self._progress: dict[str, _Progress] = {}

    def unable(self) -> str | None:
        """Why no request can be executed, or None. A result whose signature is invalid would leave
        the request open, and every restart would redrive the same records.
        """
        file = self._control.operators
        entry = None if file is None else file.process(REDRIVER)
        if entry is None or public_key(entry, self._key.key_id) is None:
            return (
                f"key {self._key.key_id} is not {REDRIVER}'s in the operators file in force: list "
                "it there under `processes` (`npp keys show`), or set NPP_PROCESS_KEY_FILE"
            )
        if not entry.is_valid(self._clock.now_ms()):
            return f"{REDRIVER} may sign until {entry.valid_until} only: renew it there"
        return None

    def step(self) -> int:
        """Execute confirmed, open requests; returns the number of completed ones.

        Raises NotConfirmed or EngineError if the result itself cannot be written; the next call
        does it again.
        """
        confirmed = dict(self._control.redrives.confirmed)
        waiting = [each for name, each in confirmed.items() if name not in self._answered]
        answered = sum(self._answer(*each) for each in waiting)
        self._answered &= set(self._control.redrives.confirmed)
        return answered

    def _answer(self, request: RedriveRequested, confirmed_by: str) -> bool:
        """False if it must be retried."""
        name = request.request_id
        progress = self._progress.setdefault(name, _Progress(self._clock.monotonic_s()))
        refused: str | None = None
        try:
            self._carry_out(request, confirmed_by, progress)
        except RefusedError as error:
            refused = str(error)
        except (NotConfirmed, RegistryDown, EngineError) as error:
            tried_s = self._clock.monotonic_s() - progress.since_s
            log.warning("redrive waits", request_id=name, error=str(error), tried_s=round(tried_s))
            if tried_s < TRY_S_MAX:
                return False
            code = getattr(error, "code", type(error).__name__)
            refused = f"given up after {TRY_S_MAX:.0f} s, ask again: {code}"
        except Exception as error:  # a defect ends this request, not the process
            log.exception("redrive failed by a defect", request_id=name)
            refused = f"a defect of the redriver: {type(error).__name__}; its log says where"
        if refused is not None and progress.put_back:
            refused = f"{progress.put_back} of its records were put back, in order; then: {refused}"
        self._done(request, confirmed_by, progress.put_back, refused)
        return True

    def _carry_out(self, request: RedriveRequested, confirmed_by: str, progress: _Progress) -> None:
        """Publish the remaining records. All originals are read before the first is published."""
        planned = self._plan.of(request, confirmed_by)
        for each in planned[progress.put_back :]:
            self._whole(each)
        for each in planned[progress.put_back :]:
            self._publish(self._whole(each))
            progress.put_back += 1
            self._metrics.redriven.inc()

    def _whole(self, planned: Planned) -> Planned:
        """The record to publish, with the original's bytes if it is quarantined by reference."""
        self._beat()
        if planned.reference is None or planned.partition is None:
            return planned
        place = (planned.topic, planned.partition, planned.origin_offset)
        return with_original(planned, self._records.original(*place))

    def _publish(self, planned: Planned) -> None:
        try:
            self._publisher.publish(
                planned.topic, planned.key, planned.value, partition=planned.partition,
                headers=planned.headers,
            )  # fmt: skip
        except Refused as error:
            raise RefusedError(
                f"{planned.topic} does not take the record at quarantine offset {planned.offset} "
                f"({error}): with the header that says where it was put back from it is larger "
                "than the topic's max.message.bytes. Raise that, or its sender publishes it again"
            ) from error

    def _done(
        self, request: RedriveRequested, confirmed_by: str, redriven: int, refused: str | None
    ) -> None:
        now = self._clock.now_ms()
        done = RedriveDone(
            request_id=request.request_id,
            redriven=redriven,
            refused=None if refused is None else refused[:SENTENCE_MAX],
            done_at=now,
            actor=REDRIVER,
        )
        cluster = self._control.cluster
        assert cluster is not None  # a request was confirmed under it
        self._number = max(now, self._number + 1, self._control.last_number(REDRIVER) + 1)
        act = signed(
            done, key=self._key, cluster_id=cluster.cluster_id, number=self._number, signed_at=now
        )
        topic = topology.CONTROL
        self._publisher.publish(topic, None, self._codec.encode(topic, act), partition=0)
        self._answered.add(request.request_id)
        self._progress.pop(request.request_id, None)
        log.warning(
            "redrive done",
            request_id=request.request_id,
            requested_by=request.actor,
            confirmed_by=confirmed_by,
            redriven=redriven,
            refused=refused,
        )
