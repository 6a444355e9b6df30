"""The replay's last published proof state, as the API follows its topic."""

from __future__ import annotations

import structlog

from control.current import Records
from core.monitoring import ProofState
from engine.clients.control_reader import ControlReader
from engine.errors import EngineError
from schemas.codec import Codec
from schemas.errors import RegistryDown, Undecodable
from schemas.topology import PROOFS

log = structlog.get_logger("npp.proofs")


class ProofWatch:
    """Follows the topic of proofs. For one thread at a time; `start` it first, `close` it last."""

    def __init__(self, reader: ControlReader, codec: Codec) -> None:
        """`reader` follows the topic of proofs."""
        self._reader = reader
        self._codec = codec
        self._last: ProofState | None = None
        self._reported = False

    def start(self) -> None:
        self._reader.start()

    def close(self) -> None:
        self._reader.close()

    def now(self) -> ProofState | None:
        """The last state that was read; None if there is none. An error is logged once."""
        records = Records()
        try:
            self._reader.drain(records)
            if records.read:
                _, value, _ = records.read[-1]
                self._last = self._codec.decode(PROOFS, value)
        except (EngineError, Undecodable, RegistryDown) as error:
            if not self._reported:
                log.exception("proofs_not_readable", detail=str(error))
            self._reported = True
        return self._last
