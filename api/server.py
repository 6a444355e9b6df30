"""The HTTP server of the API, its probes and its limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from api.actions.commands import KafkaCommands
from api.auth.tokens import Tokens
from api.stream.streams import Streams
from engine.errors import Exit
from engine.health import Answer, Probes, progress
from engine.loop.watch import Health
from readmodel.ports import Reader, ReadModelDown

HEADER_BYTES_MAX: Final = 32_768  # of all headers of a request; a token may have 8 KiB
CONNECTIONS_MAX: Final = 2_000
BACKLOG: Final = 1_024
KEEP_ALIVE_S: Final = 15
DRAIN_S_MAX: Final = 15  # open requests and streams, after SIGTERM


class ApiServer(uvicorn.Server):
    """Signals are `stop_on_signals`' own: open streams are told to end when one comes."""

    def __init__(self, app: ASGIApp, streams: Streams, **settings: Any) -> None:
        """`streams` end when the server does. `settings` are uvicorn's; what is bounded here need
        not be given."""
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=HEADER_BYTES_MAX,
                limit_concurrency=CONNECTIONS_MAX,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S_MAX,
                ws="none",
                **settings,
            )
        )
        self._streams = streams
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def serve_until_stopped(self) -> None:
        """Raises Exit when the port cannot be taken."""
        try:
            self.run()
        except SystemExit as stopped:  # uvicorn's way to say so
            raise Exit("PORT", str(stopped.code)) from stopped

    def request_stop(self) -> None:
        """From a signal handler: no new connections, what is open is finished."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._streams.close)


def api_probes(
    health: Health, s_max: float, commands: KafkaCommands, sign_in: Tokens, reader: Reader
) -> Probes:
    """Alive while the event loop turns; ready when everything that a call needs is there."""

    def unreadable() -> str | None:
        try:
            reader.projected()
        except ReadModelDown as down:
            return str(down)
        return None

    def ready() -> Answer:
        why = commands.not_ready() or sign_in.ready() or unreadable()
        return why is None, {"reason": why}

    return Probes(progress(health, s_max), ready, ready)
