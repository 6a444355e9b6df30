"""Whether a client still reaches the cluster, and how often a lost one may be replaced.

librdkafka forgets each broker that a metadata answer does not name. One answer that names none (all
of them were taken for dead at that moment: the only broker comes back from a pause, the controllers
from an outage) leaves the client with nobody to ask, for minutes or for ever, and no error says so
(librdkafka issue 5301). So whoever hears nothing asks, and a client without an answer is replaced.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer

from engine.clock import Clock
from engine.errors import EngineError, Exit, Step, call

ASK_AFTER_S: Final = 5.0  # of silence, and again so long after each question
ANSWER_S_MAX: Final = 0.5
LOST_AFTER_S: Final = 15.0
CLOSE_S_MAX: Final = 5.0
UNREACHABLE: Final = "UNREACHABLE"
RENEWALS_MAX: Final = 3
RENEWALS_S: Final = 120.0


class Lifeline:
    """One client's. `heard` whenever something came; `lost` when nothing did."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.heard()

    def heard(self) -> None:
        """The client has an answer."""
        self._heard_s = self._asked_s = self._clock.monotonic_s()
        self._unanswered = 0

    def lost(self, ask: Callable[..., Any], *arguments: Any) -> bool:
        """True when silence has lasted LOST_AFTER_S and `ask(*arguments, timeout=)`, a question
        that any broker answers, had no answer more than once: a process that stood still itself
        asks again first. Waits ANSWER_S_MAX at most, every ASK_AFTER_S. Raises Exit when asking is
        forbidden."""
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s < ASK_AFTER_S:
            return False
        self._asked_s = now_s
        try:
            call(Step.READ, ask, *arguments, timeout=ANSWER_S_MAX)
        except Exit:
            raise
        except EngineError:
            self._unanswered += 1
            return self._unanswered > 1 and now_s - self._heard_s >= LOST_AFTER_S
        self.heard()
        return False


class Renewals:
    """Bounds how often a consumer whose place was taken takes it back: two processes that have one
    instance id would take it from each other for ever."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s: deque[float] = deque(maxlen=RENEWALS_MAX)

    def note(self, error: EngineError) -> None:
        """One more, for this reason. Raises Exit beyond RENEWALS_MAX within RENEWALS_S."""
        now_s = self._clock.monotonic_s()
        if len(self._at_s) == RENEWALS_MAX and now_s - self._at_s[0] < RENEWALS_S:
            raise Exit(
                "CONSUMER_LOST",
                f"{RENEWALS_MAX + 1} times within {RENEWALS_S:.0f} s, at last: {error}",
            ) from error
        self._at_s.append(now_s)


def close_aside(consumer: Consumer) -> None:
    """Close a client without waiting longer than CLOSE_S_MAX: one that reaches nobody may take its
    time, and its place in the group is kept or lost whatever it does."""

    def close() -> None:
        with contextlib.suppress(EngineError):  # a lost client says so once more
            call(Step.READ, consumer.close)

    thread = threading.Thread(target=close, name="npp-close", daemon=True)
    thread.start()
    thread.join(CLOSE_S_MAX)
