"""A real schema registry (Apicurio, with Confluent's API) on loopback.

It keeps its schemas in memory: a restart forgets them, and ids follow the order of registration.
Registering the same schemas in the same order again gives the same ids; the process that starts it
does that, and `ids.lock` beside the data proves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.platform.children import (
    Child,
    end_child,
    free_ports,
    kill_child,
    start_child,
    tail_of,
)
from app.platform.fetch import FetchError, ensure_platform
from app.platform.java import JVM_FAST_START, JavaMissingError, find_java
from engine.clock import Clock, SystemClock

START_WAIT_SECONDS = 180.0  # a loaded machine; one that ended is noticed at once
STOP_WAIT_SECONDS = 10.0
LOOK_EVERY_SECONDS = 0.05
PROBE_SECONDS = 2.0
CONFLUENT_PATH = "/apis/ccompat/v7"


class RegistryError(RuntimeError):
    """The registry did not start; the message carries the end of its log."""


@dataclass
class Registry:
    """One registry process; `folder` holds its log only."""

    folder: Path
    port: int = 0
    heap_mb: int = 256
    clock: Clock = field(default_factory=SystemClock, repr=False)
    _child: Child | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder).absolute()
        self.port = self.port or free_ports(1)[0]

    @property
    def url(self) -> str:
        """What Confluent's client takes as `url`."""
        return f"http://127.0.0.1:{self.port}{CONFLUENT_PATH}"

    @property
    def log_file(self) -> Path:
        return self.folder / "registry.log"

    def pid(self) -> int:
        return self._running().pid

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> Registry:
        """Start it, empty, and return when it answers; raises RegistryError."""
        if self.alive():
            raise RegistryError("the registry is running")
        try:
            home, java = ensure_platform().registry_home, find_java()
        except (FetchError, JavaMissingError) as error:
            raise RegistryError(str(error)) from error
        runner = next(home.glob("*-runner.jar"))
        command = [java, *JVM_FAST_START.arguments(self.heap_mb), "-jar", str(runner)]
        env = {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(self.port)}
        self._child = start_child(command, log_file=self.log_file, env=env, cwd=home)
        try:
            self._await_answer(self._child)
        except BaseException:
            self.stop()
            raise
        return self

    def kill(self) -> None:
        kill_child(self._running())

    def stop(self) -> None:
        """End it. Calling it again does nothing."""
        if self._child is not None:
            end_child(self._child, STOP_WAIT_SECONDS)

    def __enter__(self) -> Registry:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _running(self) -> Child:
        if self._child is None or self._child.poll() is not None:
            raise RegistryError("the registry is not running")
        return self._child

    def _await_answer(self, child: Child) -> None:
        deadline = self.clock.monotonic_s() + START_WAIT_SECONDS
        with httpx.Client(trust_env=False, timeout=PROBE_SECONDS) as http:
            while self.clock.monotonic_s() < deadline:
                if child.poll() is not None:
                    text = tail_of(self.log_file)
                    raise RegistryError(f"the registry ended with {child.returncode}:\n{text}")
                try:
                    if http.get(f"{self.url}/subjects").is_success:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                self.clock.sleep(LOOK_EVERY_SECONDS)
        text = tail_of(self.log_file)
        raise RegistryError(f"the registry did not answer in {START_WAIT_SECONDS} s:\n{text}")
