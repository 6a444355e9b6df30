"""The bounded memory of the control fold: one person cannot evict another's request (domain §4).
Redrives are kept here, from the request until they are done.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from core import control_records as records
from core.values import same_person

KEPT_MAX: Final = 1_000  # proofs and ended redrives
REQUESTS_OF_ONE_MAX: Final = 100  # of a kind, until confirmed


def remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep an entry; beyond KEPT_MAX the oldest one is dropped."""
    if len(memory) >= KEPT_MAX:
        del memory[next(iter(memory))]
    memory[key] = value


def ask(memory: dict[Any, Any], key: Any, request: Any) -> None:
    """Keep a request. Beyond REQUESTS_OF_ONE_MAX of a person and kind, that person's own oldest one
    is dropped. An earlier request under the same key stays.
    """
    if key in memory:
        return
    mine = [
        name
        for name, each in memory.items()
        if type(each) is type(request) and same_person(each.actor, request.actor)
    ]
    if len(mine) >= REQUESTS_OF_ONE_MAX:
        del memory[mine[0]]
    memory[key] = request


class Redrives:
    """Requests to redrive quarantined records. `confirmed`: the request, and who confirmed it."""

    def __init__(self) -> None:
        self.requests: dict[str, records.RedriveRequested] = {}
        self.confirmed: dict[str, tuple[records.RedriveRequested, str]] = {}
        self.done: dict[str, records.RedriveDone] = {}

    def copied(self) -> Redrives:
        """An independent copy."""
        made = copy.copy(self)
        made.requests, made.confirmed = dict(self.requests), dict(self.confirmed)
        made.done = dict(self.done)
        return made

    def confirm(self, record: records.RedriveConfirmed) -> None:
        """A second person confirms. A request that is done is not carried out again."""
        if record.request_id not in self.done:
            found = (self.requests[record.request_id], record.actor)
            self.confirmed.setdefault(record.request_id, found)

    def end(self, record: records.RedriveDone) -> str | None:
        """The redriver has carried a request out, or refused it. Returns why that does not count,
        or None.
        """
        if self.confirmed.pop(record.request_id, None) is None:
            return f"no confirmed redrive {record.request_id} waits"
        remember(self.done, record.request_id, record)
        return None

    def waiting(self) -> list[records.RedriveRequested]:
        """Requests that no second person has confirmed."""
        ended = self.confirmed.keys() | self.done.keys()
        return [each for name, each in self.requests.items() if name not in ended]
