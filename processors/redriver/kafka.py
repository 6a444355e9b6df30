"""The redriver's loop."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Final

import structlog

from control.acts.act_signature import Signer
from engine.clients.control_reader import ControlReader
from engine.clients.publisher import NotConfirmed
from engine.errors import Exit
from engine.loop.watch import Phase
from processors.adapter.kafka import KafkaRecords
from processors.adapter.parts import Parts
from processors.redriver.handler import Redriver
from schemas import topology

log = structlog.get_logger("processors.redriver.kafka")

REDRIVE_EVERY_S: Final = 0.5


class RedriverLoop:
    """Follows the control topic and executes confirmed requests until a stop is requested."""

    def __init__(
        self, parts: Parts, *, adapter: str, origins: Collection[str], key: Signer
    ) -> None:
        """See `Redriver` for `adapter`, `origins` and `key`."""
        health = parts.health
        self._reader = ControlReader(
            parts.connection, topology.CONTROL, parts.clock, health.partition_errors
        )
        self._control = parts.control
        self._health = health
        self._redriver = Redriver(
            control=parts.control,
            records=KafkaRecords(parts.connection, parts.clock),
            adapter=adapter,
            origins=origins,
            key=key,
            beat=health.beat,
            **parts.common(),
        )
        self._stopping = threading.Event()

    def request_stop(self) -> None:
        """Stop after the current request; safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Runs until `request_stop`. Raises Exit if Kafka denies access, or if the control topic
        cannot be read at the start.
        """
        self._reader.start()
        try:
            if not self._reader.read_to_end(self._control):
                raise Exit("CONTROL_UNREADABLE", "the control topic could not be read to its end")
            while not self._stopping.is_set():
                self._health.beat()
                self._reader.drain(self._control)
                self._step()
                self._stopping.wait(REDRIVE_EVERY_S)
        finally:
            self._reader.close()

    def _step(self) -> None:
        unable = self._redriver.unable()
        if unable is not None:
            if self._health.reason != unable:
                log.error("the redriver can sign nothing", why=unable)
            self._health.report(Phase.BLOCKED, unable)
            return
        self._health.report(Phase.RUNNING, "")
        try:
            self._redriver.step()
        except NotConfirmed as error:
            log.warning("kafka takes no RedriveDone", error=str(error))
