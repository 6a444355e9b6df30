"""What the fold of the control topic remembers, bounded: nobody evicts another person's request."""

from __future__ import annotations

from typing import Any, Final

from core.values import same_person

KEPT_MAX: Final = 1_000  # proofs and ended redrives
REQUESTS_OF_ONE_MAX: Final = 100  # of a kind, until confirmed


def remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Bounded: the oldest is forgotten."""
    if len(memory) >= KEPT_MAX:
        del memory[next(iter(memory))]
    memory[key] = value


def ask(memory: dict[Any, Any], key: Any, request: Any) -> None:
    """Bounded for each person and kind: the person's own oldest is forgotten, nobody else's. What
    was asked under this name stands."""
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
