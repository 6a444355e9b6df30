"""uvicorn's HTTP/1.1 plus limits that it has no setting for: deadlines for heads, bodies and
readers, and refusal of ambiguous heads (docs/decisions/0019-a-server-with-deadlines.md).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.errors import check_move
from engine.serving.connections import Connections, Waits
from engine.serving.metrics import Closed, Count

LINGER_S: Final = 2.0  # for discarding the rest of a body that was answered without it
_HEAD_END: Final = b"\r\n\r\n"
_LOOK_BACK: Final = len(_HEAD_END) - 1
# A line end that is not CR LF, or a continued line: intermediaries interpret them differently.
_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\r\n[ \t]")
_LENGTH: Final = re.compile(rb"\ncontent-length[ \t]*:", re.IGNORECASE)
_ENCODING: Final = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, a client may take: for a head from the connection's start or the
    head's first byte; for a body; between two requests; to read what it is sent.
    """

    head_s: float = 10.0
    body_s: float = 35.0
    idle_s: float = 15.0
    write_s: float = 30.0


class Stage(Enum):
    """Of a connection; drawn at BoundedProtocol."""

    MADE = auto()  # not counted yet, or refused
    HEAD = auto()
    BODY = auto()
    WORK = auto()  # the request is complete: the client owes nothing
    LINGER = auto()  # answered before the whole body arrived: the rest is discarded
    IDLE = auto()


MOVES: Final = {
    Stage.MADE: {Stage.HEAD},
    Stage.HEAD: {Stage.BODY},
    Stage.BODY: {Stage.WORK, Stage.LINGER},
    Stage.WORK: {Stage.IDLE},
    Stage.LINGER: {Stage.IDLE},
    Stage.IDLE: {Stage.HEAD},
}
_WAITS: Final[dict[Stage, Waits | None]] = {
    Stage.HEAD: Waits.HEAD,
    Stage.BODY: Waits.BODY,
    Stage.WORK: None,
    Stage.LINGER: Waits.BODY,
    Stage.IDLE: Waits.IDLE,
}


class BoundedProtocol(H11Protocol):
    """One connection.

    MADE   ── there is room ────────────▶ HEAD
    HEAD   ── its end ──────────────────▶ BODY
    BODY   ── its end ──────────────────▶ WORK
    BODY   ── answered before its end ──▶ LINGER
    WORK   ── answered ─────────────────▶ IDLE
    LINGER ── the body's end ───────────▶ IDLE
    IDLE   ── a byte ───────────────────▶ HEAD

    Closed in any stage but WORK when its time is over, or another needs the place.
    """

    def __init__(
        self,
        *args: Any,
        open_connections: Connections,
        patience: Patience,
        count: Count,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._open = open_connections
        self._count = count
        self._head_max: int = self.config.h11_max_incomplete_event_size or 0
        self._head = bytearray()
        self._stage = Stage.MADE
        self._seconds = {
            Stage.HEAD: patience.head_s,
            Stage.BODY: patience.body_s,
            Stage.LINGER: LINGER_S,
            Stage.IDLE: patience.idle_s,
        }
        self._write_s = patience.write_s
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    # -- asyncio's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._open.enter(self, self.client[0] if self.client else ""):
            self._refuse(503, Closed.BUSY)
            return
        self._enter(Stage.HEAD)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # refused: over TLS, asyncio still delivers what had arrived before
        if self._stage in (Stage.HEAD, Stage.IDLE) and not self._read_head(data):
            return
        super().data_received(data)
        if self.conn.their_state is h11.ERROR:
            self._count(Closed.MALFORMED)  # uvicorn has answered 400
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.leave(self)
        self._stop_clock()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self._write_s, self.evict, Closed.UNREAD)

    def resume_writing(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resume_writing()

    # -- uvicorn's side --------------------------------------------------------------------------

    def handle_events(self) -> None:
        if self._stage is Stage.LINGER:
            self._discard()
        else:
            super().handle_events()

    def send_400_response(self, msg: str) -> None:
        """A malformed body of a request whose answer has begun gets no second one."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self.transport.close()  # a pipelined second request: our clients send none
        super().on_response_complete()
        self._look()

    # --------------------------------------------------------------------------------------------

    def evict(self, reason: Closed) -> None:
        """Close at once. Closing one that was idle too long is not counted."""
        if reason is not Closed.LATE or self._stage is not Stage.IDLE:
            self._count(reason)
        self.transport.abort()

    def _read_head(self, data: bytes) -> bool:
        """Whether the head read so far can be passed on."""
        self._enter(Stage.HEAD)
        seen = max(0, len(self._head) - _LOOK_BACK)
        self._head += data
        end = self._head.find(_HEAD_END, seen)
        if end > self._head_max or (end < 0 and len(self._head) > self._head_max):
            self._refuse(431, Closed.MALFORMED)
            return False
        upto = end + len(_HEAD_END) if end >= 0 else len(self._head)
        if _LINE_END.search(self._head, max(0, seen - 1), upto):
            self._refuse(400, Closed.MALFORMED)
            return False
        if end >= 0:
            lengths = len(_LENGTH.findall(self._head, 0, end))
            if lengths + len(_ENCODING.findall(self._head, 0, end)) > 1:
                self._refuse(400, Closed.MALFORMED)
                return False
            self._head.clear()
            self._enter(Stage.BODY)
        return True

    def _discard(self) -> None:
        """Discard what has arrived of an answered request's body. Bytes behind its end are the next
        request's: an honest client sends it as soon as it has read the answer. They go to a parser
        of their own, by the same checks of a head as any other.
        """
        try:
            event = self.conn.next_event()
            while isinstance(event, h11.Data):
                event = self.conn.next_event()
        except h11.RemoteProtocolError:
            self.transport.close()
            return
        if isinstance(event, h11.EndOfMessage):
            behind = self.conn.trailing_data[0]
            if not behind:
                self.conn.start_next_cycle()
                return
            self.conn = h11.Connection(h11.SERVER, self._head_max)
            self._look()
            self.data_received(behind)

    def _look(self) -> None:
        """Update the stage of the request."""
        if self.transport.is_closing() or self._stage in (Stage.HEAD, Stage.IDLE):
            return
        if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
            self._enter(Stage.IDLE)
        elif self.cycle is None or not self.cycle.more_body:
            self._enter(Stage.WORK)
        elif self.cycle.response_complete:
            self._enter(Stage.LINGER)

    def _enter(self, stage: Stage) -> None:
        """A stage's clock runs from its start, whatever arrives during it. Raises WrongOrder for a
        move that is not in MOVES.
        """
        if stage is self._stage:
            return
        check_move("a connection", MOVES, self._stage, stage)
        self._stage = stage
        self._stop_clock()
        seconds = self._seconds.get(stage)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self.evict, Closed.LATE)
        self._open.set_waiting(self, _WAITS[stage])

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, reason: Closed) -> None:
        """Answer and close, whatever else is sent."""
        self._count(reason)
        self._stop_clock()
        line = f"HTTP/1.1 {status} \r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.transport.write(line.encode())
        self.transport.close()
