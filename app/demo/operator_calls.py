"""The simulated operators' API calls, a few at a time, each with their own sign-in.

A call without a response (the API was killed, or a command's outcome is late) is repeated, as
people do, and gets the first result.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import msgspec

from app.cli.api_client import Api, Call, Refused
from app.exits import Problem

AT_ONCE_MAX: Final = 6
TRIES_MAX: Final = 20
PAUSE_SECONDS: Final = 1.0  # between two tries; together longer than a restart of the API
UNANSWERED: Final = "unanswered"


class Acknowledged(msgspec.Struct, frozen=True):
    """An outcome that the API gave: it has to be found on the log."""

    payment: str
    command_id: str
    result: str
    to_sequence: int


class OperatorCalls:
    """`ask` returns at once; `close` cancels queued calls and waits for those in progress."""

    def __init__(self, url: str, token: Callable[..., str]) -> None:
        """`token(person, *roles)` issues one."""
        self._url = url
        self._token = token
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, ...], Api] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="people")
        self._waiting: set[Future[None]] = set()
        self._closing = threading.Event()
        self.counts: Counter[str] = Counter()
        self.acknowledged: list[Acknowledged] = []

    def ask(self, payment: str, person: str, roles: tuple[str, ...], call: Call) -> None:
        """Queue this call of this person after the waiting ones."""
        future = self._threads.submit(self._work, payment, self._client(person, roles), call)
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)

    def busy(self) -> bool:
        """Whether a call is queued or in progress."""
        return bool(self._waiting)

    def close(self) -> None:
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def _client(self, person: str, roles: tuple[str, ...]) -> Api:
        key = (person, *roles)
        if key not in self._clients:
            self._clients[key] = Api(self._url, self._token(person, *roles))
        return self._clients[key]

    def _work(self, payment: str, client: Api, call: Call) -> None:
        result = UNANSWERED
        for _ in range(TRIES_MAX):
            answer = self._once(payment, client, call)
            if answer is not None:
                result = answer
                break
            if self._closing.wait(PAUSE_SECONDS):
                break
        with self._lock:
            self.counts[result] += 1

    def _once(self, payment: str, client: Api, call: Call) -> str | None:
        """The result: accepted, duplicate, or the rule of the refusal. None: repeat the call."""
        try:
            found = client.command(call, _quiet).body
        except Refused as refusal:
            rule = refusal.body.get("rule")
            return str(rule) if refusal.status < 500 and rule else None
        except Problem:
            return None
        acknowledged = Acknowledged(
            payment, found["commandId"], found["result"], found["toSequence"]
        )
        with self._lock:
            self.acknowledged.append(acknowledged)
        return str(found["result"]).lower()


def _quiet(_: str) -> None:
    """Nobody watches."""
