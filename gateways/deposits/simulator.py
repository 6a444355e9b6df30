"""The simulated Deposits Core: docs/deposits-gateway.md over HTTP, with a ledger. Not money.

python -m gateways.deposits.simulator --port 8083
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.values import FUNDS_REF_LENGTH
from core.words import OperationName
from engine.clock import Clock, SystemClock
from gateways import simulator as base
from gateways.deposits.simulator_ledger import (
    DepositsLedger,
    FundsCall,
    FundsEntry,
    described,
    status_of,
)
from gateways.simulator import BadRequestError, Journal, Simulator, json_body

OPERATIONS: Final[dict[str, OperationName]] = {
    "holds": "HOLD",
    "captures": "CAPTURE",
    "releases": "RELEASE",
    "debits": "DEBIT_FORCED",
    "reversals": "REVERSE",
    "credits": "CREDIT",
}
HANG_MILLIS_MAX: Final = 120_000
UNDER_WAY_MAX: Final = 100_000
EXTERNAL_REF_CHARACTERS: Final = FUNDS_REF_LENGTH - 3
DECLINES_OF_1000: Final = 20  # under `mixed`: holds declined for insufficient funds
STUMBLES_OF_1000: Final = 60  # under `mixed`: first tries that fail, see first_try_fails
FIRST_TRY_MILLIS_MAX: Final = 1_500

# Scripted steps. Those of ONCE apply to one try unless `times` says more, the others to each.
ONCE: Final = frozenset({"HTTP", "HANG", "PROXY", "REPEAT"})
KINDS: Final = ONCE | {"DONE", "REFUSE", "DELAY", "DOWN", "SAY", "EXPIRE"}

Step = dict[str, Any]


class Delivery(msgspec.Struct, frozen=True):
    """A request that a proxy holds: Deposits Core gets it at `due_ms` (epoch ms). `anyway`: it then
    carries a HOLD out even after its notAfter or its release.
    """

    due_ms: int
    call: FundsCall
    anyway: bool


class DepositsSimulator(Simulator):
    """Moves its ledger once per reference and repeats the first answer, unless a script says
    otherwise. What is due by the clock happens before the next request is handled.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int = 1,
        behaviour: str = "happy_path",
        journal: Journal | None = None,
    ) -> None:
        super().__init__()
        self.ledger = DepositsLedger(journal or Journal(None))
        self._clock = clock
        self._seed = seed
        self._behaviour = behaviour
        self._tries: dict[str, int] = {}
        self._under_way: list[Delivery] = []

    def routes(self) -> list[Route]:
        return [
            *(Route(f"/{each}", self._operate, methods=["POST"], name=each) for each in OPERATIONS),
            Route("/funds/{ref}", self._state, methods=["GET"]),
            Route("/ledger", self._show_ledger, methods=["GET"]),
        ]

    # -- requests ----------------------------------------------------------------------------------

    async def _operate(self, request: Request) -> Response:
        requested = _funds_call(OPERATIONS[request.url.path.strip("/")], await json_body(request))
        self._catch_up()
        steps = self._steps_of(requested)
        step = self._step(requested, steps)
        kind = None if step is None else step["kind"]
        if step is not None:
            if kind in ("HTTP", "HANG", "DOWN") and not step.get("taken"):
                return await _fail(step)
            if kind == "PROXY":
                self._deliver_later(requested, step)
                return await _fail({"status": 504, **step})
            if kind == "REPEAT":
                self._deliver_later(requested, step)
            if kind == "DELAY":
                await asyncio.sleep(min(HANG_MILLIS_MAX, step.get("afterMillis", 0)) / 1000)
            if kind == "SAY" and not step.get("taken", True):
                return _answer(step, {"fundsRef": requested.funds_ref}, 200)
        entry = self._perform(requested, steps, step)
        if step is not None and kind in ("HTTP", "HANG"):
            return await _fail(step)
        if entry is None:
            answer = {"fundsRef": requested.funds_ref, "code": "NOT_YET_KNOWN"}
            return JSONResponse(answer, status_code=202)
        if step is not None and kind == "SAY":
            return _answer(step, described(entry), status_of(entry))
        return JSONResponse(described(entry), status_code=status_of(entry))

    def _perform(
        self, requested: FundsCall, steps: list[Step], step: Step | None
    ) -> FundsEntry | None:
        now = self._clock.now_ms()
        refused = step is not None and step["kind"] == "REFUSE"
        return self.ledger.perform(
            requested,
            now,
            refusal=step.get("code", "REFUSED") if step is not None and refused else None,
            expires_at=next(
                (now + each["afterMillis"] for each in steps if each["kind"] == "EXPIRE"), None
            ),
        )

    def _deliver_later(self, requested: FundsCall, step: Step) -> None:
        if len(self._under_way) >= UNDER_WAY_MAX:
            raise BadRequestError("too many requests are under way")
        due_ms = self._clock.now_ms() + step.get("afterMillis", 0)
        self._under_way.append(Delivery(due_ms, requested, bool(step.get("anyway"))))

    def _catch_up(self) -> None:
        """What is due by the clock: requests that a proxy delivers now, holds that expire."""
        now = self._clock.now_ms()
        due = [each for each in self._under_way if each.due_ms <= now]
        self._under_way = [each for each in self._under_way if each.due_ms > now]
        for delivery in sorted(due, key=lambda each: each.due_ms):
            requested = delivery.call
            if delivery.anyway and requested.operation == "HOLD":
                self.ledger.hold_against_the_contract(requested, delivery.due_ms)
            else:
                self.ledger.perform(requested, delivery.due_ms, refusal=None, expires_at=None)
        self.ledger.expire(now)

    # -- scripts -----------------------------------------------------------------------------------

    def _steps_of(self, requested: FundsCall) -> list[Step]:
        ref = requested.funds_ref
        steps = self.scripts.find(ref, ref[:EXTERNAL_REF_CHARACTERS], requested.payment_intent_id)
        if steps is None:
            steps = self._drawn(ref, requested.operation)
        return [s for s in steps if s.get("operation", requested.operation) == requested.operation]

    def _step(self, requested: FundsCall, steps: list[Step]) -> Step | None:
        """The first scripted step that still applies to this try."""
        now = self._clock.now_ms()
        for step in steps:
            if step["kind"] == "DOWN" and now < step["untilMs"]:
                return step
        tried = self._tries[requested.funds_ref] = self._tries.get(requested.funds_ref, 0) + 1
        before = 0
        for step in steps:
            if step["kind"] in ("DOWN", "EXPIRE"):
                continue
            before += step.get("times", 1 if step["kind"] in ONCE else 1_000_000)
            if tried <= before:
                return step
        return None

    def _drawn(self, ref: str, operation: str) -> list[Step]:
        if self._behaviour == "happy_path":
            return []
        draw = random.Random(f"{self._seed}:{ref}")
        chosen = draw.random() * 1000
        if chosen < STUMBLES_OF_1000:
            return [first_try_fails(draw)]
        if operation == "HOLD" and chosen < STUMBLES_OF_1000 + DECLINES_OF_1000:
            return [{"kind": "REFUSE", "code": "INSUFFICIENT_FUNDS"}]
        return []

    def check(self, step: Step) -> None:
        """docs/deposits-gateway.md has the kinds."""
        if step["kind"] not in KINDS:
            raise BadRequestError(f"{step['kind']} is none of {', '.join(sorted(KINDS))}")
        if step["kind"] == "DOWN":
            for_millis = step.get("forMillis")
            if type(for_millis) is not int or for_millis < 0:
                raise BadRequestError("forMillis is a whole number")
            step["untilMs"] = self._clock.now_ms() + for_millis
        if step["kind"] == "EXPIRE":
            step.setdefault("afterMillis", 0)

    # -- what tests and the demo ask ---------------------------------------------------------------

    async def _state(self, request: Request) -> Response:
        self._catch_up()
        entry = self.ledger.entries.get(request.path_params["ref"].upper())
        if entry is None:
            answer = {"fundsRef": request.path_params["ref"], "code": "UNKNOWN"}
            return JSONResponse(answer, status_code=404)
        return JSONResponse(described(entry))

    async def _show_ledger(self, _: Request) -> Response:
        self._catch_up()
        return JSONResponse(self.ledger.as_json())


def first_try_fails(draw: random.Random) -> Step:
    """The first try fails or is answered wrongly; a repeated request is answered correctly."""
    after = draw.randint(1, FIRST_TRY_MILLIS_MAX)
    steps: tuple[Step, ...] = (
        {"kind": "HTTP", "status": 503, "taken": draw.random() < 0.5},
        {"kind": "PROXY", "afterMillis": after},
        {"kind": "REPEAT", "afterMillis": after},
        {"kind": "SAY", "raw": "<html>upstream trouble</html>", "times": 1},
        {"kind": "DELAY", "afterMillis": after, "times": 1},
    )
    return draw.choice(steps)


def _funds_call(operation: OperationName, body: dict[str, Any]) -> FundsCall:
    ref, amount = body.get("fundsRef"), body.get("amount")
    if not isinstance(ref, str) or len(ref) != FUNDS_REF_LENGTH:
        raise BadRequestError(f"fundsRef is a text of {FUNDS_REF_LENGTH} characters")
    if type(amount) is not int or amount <= 0:
        raise BadRequestError("amount is positive cents")
    not_after = body.get("notAfter")
    if not_after is not None and type(not_after) is not int:
        raise BadRequestError("notAfter is epoch milliseconds")
    hold_ref, hold_funds_ref = body.get("holdRef"), body.get("holdFundsRef")
    return FundsCall(
        funds_ref=ref,
        operation=operation,
        payment_intent_id=str(body.get("paymentIntentId", "")),
        amount=amount,
        currency=str(body.get("currency")),
        hold_ref=hold_ref if isinstance(hold_ref, str) else None,
        hold_funds_ref=hold_funds_ref if isinstance(hold_funds_ref, str) else None,
        not_after=not_after,
    )


def _answer(step: Step, honest: dict[str, Any], status: int) -> Response:
    """Deposits Core's scripted answer, whatever it did: `raw`, or `fields` over the truth."""
    status_code = int(step.get("status", status))
    if "raw" in step:
        return Response(str(step["raw"]), status_code=status_code)
    return JSONResponse({**honest, **step.get("fields", {})}, status_code=status_code)


async def _fail(step: Step) -> Response:
    if step["kind"] == "HANG" or "millis" in step:
        await asyncio.sleep(min(HANG_MILLIS_MAX, int(step.get("millis", 30_000))) / 1000)
    return Response("upstream trouble", status_code=int(step.get("status", 503)))


def main() -> None:
    """Run the simulator; refuses the production profile."""
    options = base.arguments("deposits").parse_args()
    base.refuse_and_exit("Deposits Core", options.profile)
    simulator = DepositsSimulator(
        clock=SystemClock(),
        seed=options.seed,
        behaviour=options.behaviour,
        journal=Journal(options.journal),
    )
    base.serve(simulator.app(), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
