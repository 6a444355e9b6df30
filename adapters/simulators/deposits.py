"""The simulated Deposits Core: docs/deposits-gateway.md over HTTP, with a ledger. Not money.

python -m adapters.simulators.deposits --port 8083
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.simulators import base
from adapters.simulators.base import BadRequestError, Journal, Scripts, json_body
from core.values import FUNDS_REF_LENGTH
from engine.clock import Clock, SystemClock

OPERATIONS: Final = {
    "holds": "HOLD",
    "captures": "CAPTURE",
    "releases": "RELEASE",
    "debits": "DEBIT_FORCED",
    "reversals": "REVERSE",
    "credits": "CREDIT",
}
HANG_MILLIS_MAX: Final = 120_000
EXTERNAL_REF_CHARACTERS: Final = FUNDS_REF_LENGTH - 3
DECLINES_OF_1000: Final = 20  # under `mixed`: holds refused for want of money
STUMBLES_OF_1000: Final = 30  # under `mixed`: first tries that fail on the wire


class FundsEntry(msgspec.Struct):
    """One reference and what became of it, once and for all. Amount in cents."""

    funds_ref: str
    operation: str
    payment_intent_id: str
    amount: int
    currency: str
    done: bool
    code: str | None
    hold_ref: str | None
    ledger_ref: str
    at: int
    asked: int = 0


class Hold(msgspec.Struct):
    """What is left of a hold. held = captured + released + still held, never negative."""

    amount: int
    captured: int = 0
    released: int = 0
    reversed: int = 0  # of what was captured

    def left(self) -> int:
        return self.amount - self.captured - self.released


class DepositsSimulator:
    """Moves its ledger once per reference, and gives the first answer again."""

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int = 1,
        behaviour: str = "sunny",
        journal: Journal | None = None,
    ) -> None:
        self.entries: dict[str, FundsEntry] = {}
        self.holds: dict[str, Hold] = {}
        self.scripts = Scripts()
        self._clock = clock
        self._seed = seed
        self._behaviour = behaviour
        self._tries: dict[str, int] = {}
        self._journal = journal or Journal(None)
        for raw in self._journal.load().values():
            entry = msgspec.convert(raw, FundsEntry)
            self.entries[entry.funds_ref] = entry
        for entry in sorted(self.entries.values(), key=lambda each: each.at):
            if entry.done:
                self._move(entry)

    def app(self) -> Starlette:
        """The HTTP application."""
        operations = [
            Route(f"/{name}", self._operate, methods=["POST"], name=name) for name in OPERATIONS
        ]
        return Starlette(
            routes=[
                *operations,
                Route("/funds/{ref}", self._state, methods=["GET"]),
                Route("/ledger", self._ledger, methods=["GET"]),
                Route("/scripts", self._put_script, methods=["POST"]),
                Route("/livez", _livez, methods=["GET"]),
            ],
            exception_handlers={BadRequestError: base.bad_request},
        )

    async def _operate(self, request: Request) -> Response:
        operation = OPERATIONS[request.url.path.strip("/")]
        body = await json_body(request)
        ref = _reference(body)
        step = self._step(ref, operation, body.get("paymentIntentId"))
        if step is not None and step["kind"] in ("HTTP", "HANG") and not step.get("taken"):
            return await _fail(step)
        entry = self.entries.get(ref)
        if entry is not None and (entry.operation, entry.amount) != (operation, body["amount"]):
            answer = {"fundsRef": ref, "code": "REFERENCE_REUSED"}
            return JSONResponse(answer, status_code=409)
        if entry is None:
            if step is not None and step["kind"] == "DELAY":
                await asyncio.sleep(min(HANG_MILLIS_MAX, step.get("afterMillis", 0)) / 1000)
            entry = self._decide(ref, operation, body, step)
        entry.asked += 1
        self._journal.append(ref, msgspec.to_builtins(entry))
        if step is not None and step["kind"] in ("HTTP", "HANG"):
            return await _fail(step)
        status_code = 422 if not entry.done else 201 if entry.asked == 1 else 200
        return JSONResponse(_describe(entry), status_code=status_code)

    def _decide(
        self, ref: str, operation: str, body: dict[str, Any], step: dict[str, Any] | None
    ) -> FundsEntry:
        """The one decision about this reference. No waiting between the check and the move."""
        number = hashlib.sha256(ref.encode()).hexdigest()[:16].upper()
        hold_ref = f"HLD{number}" if operation == "HOLD" else self._hold_of(ref, body)
        entry = FundsEntry(
            funds_ref=ref,
            operation=operation,
            payment_intent_id=str(body.get("paymentIntentId", "")),
            amount=body["amount"],
            currency=str(body.get("currency")),
            done=False,
            code=step.get("code", "REFUSED") if step and step["kind"] == "REFUSE" else None,
            hold_ref=hold_ref,
            ledger_ref=f"LED{number}",
            at=self._clock.now_ms(),
        )
        if entry.code is None:
            entry.code = self._obstacle(entry)
        if entry.code is None:
            entry.done = True
            self._move(entry)
        self.entries[ref] = entry
        return entry

    def _hold_of(self, ref: str, body: dict[str, Any]) -> str | None:
        """The hold named in the request, else that of the same payment with something left."""
        given = body.get("holdRef")
        if isinstance(given, str):
            return given
        payment = body.get("paymentIntentId")
        for entry in reversed(self.entries.values()):
            if entry.operation == "HOLD" and entry.done and entry.payment_intent_id == payment:
                return entry.hold_ref
        return None

    def _obstacle(self, entry: FundsEntry) -> str | None:
        hold = self.holds.get(entry.hold_ref or "")
        match entry.operation:
            case "CAPTURE" | "RELEASE":
                if hold is None:
                    return "NO_SUCH_HOLD"
                return "HOLD_TOO_SMALL" if entry.amount > hold.left() else None
            case "REVERSE":
                captured = 0 if hold is None else hold.captured - hold.reversed
                return "NOTHING_CAPTURED" if entry.amount > captured else None
            case _:
                return None

    def _move(self, entry: FundsEntry) -> None:
        if entry.operation == "HOLD" and entry.hold_ref is not None:
            self.holds[entry.hold_ref] = Hold(amount=entry.amount)
        hold = self.holds.get(entry.hold_ref or "")
        if entry.operation == "CAPTURE" and hold is not None:
            hold.captured += entry.amount
        if entry.operation == "RELEASE" and hold is not None:
            hold.released += entry.amount
        if entry.operation == "REVERSE" and hold is not None:
            hold.reversed += entry.amount

    def _step(self, ref: str, operation: str, payment_id: object) -> dict[str, Any] | None:
        """The first scripted step for this operation that still applies to this try."""
        tried = self._tries[ref] = self._tries.get(ref, 0) + 1
        name = payment_id if isinstance(payment_id, str) else None
        steps = self.scripts.find(ref, ref[:EXTERNAL_REF_CHARACTERS], name)
        if steps is None:
            steps = self._drawn(ref, operation)
        before = 0
        for step in steps:
            if step.get("operation", operation) != operation:
                continue
            before += step.get("times", 1 if step["kind"] in ("HTTP", "HANG") else 1_000_000)
            if tried <= before:
                return step
        return None

    def _drawn(self, ref: str, operation: str) -> list[dict[str, Any]]:
        if self._behaviour == "sunny":
            return []
        draw = random.Random(f"{self._seed}:{ref}")
        if draw.random() * 1000 < STUMBLES_OF_1000:
            return [{"kind": "HTTP", "status": 503, "taken": draw.random() < 0.5}]
        if operation == "HOLD" and draw.random() * 1000 < DECLINES_OF_1000:
            return [{"kind": "REFUSE", "code": "INSUFFICIENT_FUNDS"}]
        return []

    async def _state(self, request: Request) -> Response:
        entry = self.entries.get(request.path_params["ref"].upper())
        if entry is None:
            answer = {"fundsRef": request.path_params["ref"], "code": "UNKNOWN"}
            return JSONResponse(answer, status_code=404)
        return JSONResponse(_describe(entry))

    async def _ledger(self, _: Request) -> Response:
        return JSONResponse(
            {
                "entries": [_describe(entry) for entry in self.entries.values()],
                "holds": {
                    ref: {**msgspec.structs.asdict(hold), "left": hold.left()}
                    for ref, hold in self.holds.items()
                },
            }
        )

    async def _put_script(self, request: Request) -> Response:
        """Kinds: REFUSE {code}, HTTP {status, times, taken}, HANG {millis, taken}, DELAY, DONE."""
        self.scripts.put(await json_body(request))
        return JSONResponse({"ok": True})


def _reference(body: dict[str, Any]) -> str:
    ref, amount = body.get("fundsRef"), body.get("amount")
    if not isinstance(ref, str) or len(ref) != FUNDS_REF_LENGTH:
        raise BadRequestError(f"fundsRef is a text of {FUNDS_REF_LENGTH} characters")
    if type(amount) is not int or amount <= 0:
        raise BadRequestError("amount is positive cents")
    return ref


def _describe(entry: FundsEntry) -> dict[str, Any]:
    return {
        "fundsRef": entry.funds_ref,
        "operation": entry.operation,
        "paymentIntentId": entry.payment_intent_id,
        "amount": entry.amount,
        "currency": entry.currency,
        "done": entry.done,
        "code": entry.code,
        "holdRef": entry.hold_ref,
        "ledgerRef": entry.ledger_ref,
        "verifiedAt": entry.at,
        "asked": entry.asked,
    }


async def _fail(step: dict[str, Any]) -> Response:
    if step["kind"] == "HANG":
        await asyncio.sleep(min(HANG_MILLIS_MAX, int(step.get("millis", 30_000))) / 1000)
    return Response("upstream trouble", status_code=int(step.get("status", 503)))


async def _livez(_: Request) -> Response:
    return JSONResponse({"ok": True})


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
