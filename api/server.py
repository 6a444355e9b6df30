"""The HTTP server of the API, its probes and its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from starlette.types import ASGIApp

from api.actions.commands import KafkaCommands
from api.auth.tokens import Tokens
from api.stream.streams import Streams
from engine.errors import Exit
from engine.health import Answer, Probes, progress
from engine.loop.watch import Health
from engine.serving.metrics import Count, uncounted
from engine.serving.server import Bounds, Certificate, Server, config
from evidence.keyring_file import LiveKeyring
from readmodel.ports import Reader, ReadModelDown

# Streams stay open: at most 200 of them, ten of one person (`api.stream.streams`).
CONNECTIONS_MAX: Final = 1_000
OF_ONE_MAX: Final = 100


class ApiServer(Server):
    """Ends open streams when the process stops."""

    def __init__(
        self,
        app: ASGIApp,
        streams: Streams,
        *,
        host: str,
        port: int,
        proxies: Sequence[str] = (),
        count: Count = uncounted,
        certificate: Certificate | None = None,
    ) -> None:
        """`streams` end when the server does; `proxies`: addresses and networks whose
        X-Forwarded-For counts."""
        bounds = Bounds(CONNECTIONS_MAX, OF_ONE_MAX, proxies=proxies)
        super().__init__(
            config(
                app,
                bounds,
                count,
                certificate,
                host=host,
                port=port,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=list(proxies),
            )
        )
        self._streams = streams
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def serve_until_stopped(self) -> None:
        """Serve until `request_stop`. Raises Exit when the port cannot be bound."""
        try:
            self.run()
        except SystemExit as stopped:  # uvicorn reports it so
            raise Exit("PORT", str(stopped.code)) from stopped

    def request_stop(self) -> None:
        """From a signal handler: no new connections, open requests are finished."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._streams.close)


def api_probes(
    health: Health,
    s_max: float,
    commands: KafkaCommands,
    sign_in: Tokens,
    reader: Reader,
    keyring: LiveKeyring,
) -> Probes:
    """Alive while the event loop runs; ready when everything that a request needs is available.
    `s_max`: seconds without progress after which the process counts as dead.
    """

    def unreadable() -> str | None:
        try:
            reader.projected()
        except ReadModelDown as down:
            return str(down)
        return None

    def ready() -> Answer:
        why = commands.not_ready() or sign_in.ready() or unreadable() or keyring.not_ready()
        return why is None, {"reason": why}

    return Probes(progress(health, s_max), ready, ready)
