"""Request rates per caller: token buckets by principal and by address, limited in memory.

Signed-in callers are counted by name only, regardless of their address. A refused sign-in counts
only against its address and the key that its token names. The rail's callbacks go to another
process and are not counted here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from api.edge.problems import rate_limited
from api.services import Principal
from engine.clock import Clock
from engine.serving.addresses import block_of

BUCKETS_COUNT_MAX: Final = 20_000  # about 4 MB; the one least recently used makes room


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` tokens come each second, up to `burst`."""

    per_s: float
    burst: float


class Buckets:
    """A token bucket for each name. For the event loop only."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, cost: float = 1.0) -> float:
        """Take `cost` tokens; returns 0. If there are too few, returns the seconds until then."""
        now = self._clock.monotonic_s()
        level = self._level(name, now)
        enough = level >= cost
        self._levels[name] = (level - cost if enough else level, now)
        self._levels.move_to_end(name)
        if len(self._levels) > BUCKETS_COUNT_MAX:
            self._levels.popitem(last=False)
        return 0.0 if enough else (cost - level) / self._rate.per_s

    def wait_s(self, name: str) -> float:
        """As `take`, without taking."""
        level = self._level(name, self._clock.monotonic_s())
        return 0.0 if level >= 1.0 else (1.0 - level) / self._rate.per_s

    def _level(self, name: str, now: float) -> float:
        level, at = self._levels.get(name, (self._rate.burst, now))
        return min(self._rate.burst, level + (now - at) * self._rate.per_s)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """`principal` for signed-in callers, `address` for everybody else from one address, `refused`
    for refused sign-ins by one key from one address.
    """

    principal: Rate = Rate(per_s=1_000.0, burst=5_000.0)
    address: Rate = Rate(per_s=4_000.0, burst=20_000.0)
    refused: Rate = Rate(per_s=2.0, burst=60.0)


class Limits:
    """The buckets of one process."""

    def __init__(self, settings: LimitSettings, clock: Clock) -> None:
        self._principals = Buckets(settings.principal, clock)
        self._addresses = Buckets(settings.address, clock)
        self._refused = Buckets(settings.refused, clock)

    def check(self, principal: Principal) -> None:
        """Raises Problem (429) when the principal sends too many requests."""
        _raise_for(self._principals.take(principal.id))

    def check_address(self, request: Request) -> None:
        """For callers that are not signed in. Raises Problem (429) when their address sends too
        many requests.
        """
        _raise_for(self._addresses.take(_address(request)))

    def check_sign_in(self, request: Request, key_id: str, person: str | None) -> str:
        """Call it before a token is verified; returns the name under which a refusal counts.
        `key_id`: the key that the token names, empty for an unknown one; `person`: the person that
        it names, if they have signed in before. When the key's bucket is empty, such a person has a
        separate one, so others' refused tokens do not lock them out.

        Raises Problem (429) if too many were refused.
        """
        name = f"{_address(request)} {key_id}"
        wait_s = self._refused.wait_s(name)
        if wait_s > 0.0 and person is not None:
            name = f"{name} {person}"
            wait_s = self._refused.wait_s(name)
        _raise_for(wait_s)
        return name

    def refused_sign_in(self, name: str) -> None:
        """A sign-in was refused; `name` is what `check_sign_in` gave."""
        self._refused.take(name)


def _address(request: Request) -> str:
    client = request.client
    return block_of(client.host) if client is not None else ""


def _raise_for(seconds: float) -> None:
    if seconds <= 0.0:
        return
    wait_s = max(1, math.ceil(seconds))
    raise rate_limited("TOO_MANY_REQUESTS", f"Too many requests: wait {wait_s} s.", wait_s)
