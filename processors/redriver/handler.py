"""Puts quarantined records back when two persons said so: the raw bytes, where they came from.

`control.redrive_plan` says what that is. Every confirmed request ends: it is done, or it is
refused with a sentence that says why, and either is written to the control topic. No request stops
another, nor the process.

    CONFIRMED ──▶ planned ──▶ originals read ──▶ published one by one ──▶ RedriveDone
        ▲            │ refused     │ refused           │ refused: the rest is not published
        └── Kafka, or the registry, does not answer: tried again, TRY_S_MAX at most
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from control.act_signature import Signer, signed
from control.acts import REDRIVER
from control.fold import Control
from control.operators_file import public_key
from control.redrive_plan import Planned, RedrivePlan, RefusedError, with_original
from core.records import SENTENCE_MAX, RedriveDone, RedriveRequested
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

# Kafka answers within it, or something is wrong that waiting does not cure; longer than a broker
# takes to be replaced. The people who asked are told then, and ask again.
TRY_S_MAX: Final = 300.0


class QuarantineReader(Protocol):
    """Reads what a redrive needs. Raises EngineError when Kafka does not answer."""

    def quarantined(self, partition: int, offsets: Sequence[int]) -> Iterable[LogRecord]:
        """Those of these offsets, in order, that hold a quarantined record."""

    def original(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        """The record at this place, or None when none is there (any more)."""


class _Progress(msgspec.Struct):
    """How far a request has come in this process."""

    since_s: float
    put_back: int = 0


class Redriver:
    """Obeys confirmed requests of the control topic, one after the other."""

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
        """`origins` are the topics that may be written to, `adapter` the reason table of assigned
        callbacks; `key` signs what was done; `beat` is called between records, since a request may
        hold thousands.
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
        """Why nothing can be carried out, or None: an answer that nobody obeys would leave the
        request open, and put the same records back again after each start.
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
        """Carry out what is confirmed and not done; the number of requests answered.

        Raises what Kafka says when it does not take the answer itself: that is tried again.
        """
        confirmed = dict(self._control.redrives_confirmed)
        waiting = [each for name, each in confirmed.items() if name not in self._answered]
        answered = sum(self._answer(*each) for each in waiting)
        self._answered &= set(self._control.redrives_confirmed)
        return answered

    def _answer(self, request: RedriveRequested, confirmed_by: str) -> bool:
        """False when it has to be tried again."""
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
        except Exception as error:  # a defect of ours is this request's end, not the process's
            log.exception("redrive failed by a defect", request_id=name)
            refused = f"a defect of the redriver: {type(error).__name__}; its log says where"
        if refused is not None and progress.put_back:
            refused = f"{progress.put_back} of its records were put back, in order; then: {refused}"
        self._done(request, confirmed_by, progress.put_back, refused)
        return True

    def _carry_out(self, request: RedriveRequested, confirmed_by: str, progress: _Progress) -> None:
        """Publish what was not published yet. All originals are looked at before the first."""
        planned = self._plan.of(request, confirmed_by)
        for each in planned[progress.put_back :]:
            self._whole(each)
        for each in planned[progress.put_back :]:
            self._publish(self._whole(each))
            progress.put_back += 1
            self._metrics.redriven.inc()

    def _whole(self, planned: Planned) -> Planned:
        """With the original's bytes where the record is quarantined by reference."""
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
