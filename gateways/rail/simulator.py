"""The simulated rail gateway: docs/rail-gateway.md over HTTP, with a ledger and scripts. Not money.

python -m gateways.rail.simulator --port 8081 --callback-url http://127.0.0.1:8082/callbacks/rail
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.values import payment_id_of_external_ref
from engine import tracing
from engine.clock import Clock, SystemClock
from gateways import ports
from gateways import simulator as base
from gateways.rail import signatures
from gateways.rail.simulator_behaviour import drawn
from gateways.rail.simulator_ledger import PendingStep, RailEntry, RailLedger
from gateways.rail.simulator_messages import TIMED_KINDS, callback, described, scripted
from gateways.simulator import BadRequestError, Journal, Scripts, Simulator, json_body

CALLBACK_TRIES_MAX: Final = 600
CALLBACK_PAUSE_SECONDS_MAX: Final = 2.0
CALLBACK_TIMEOUT_SECONDS: Final = 10.0
CALLBACKS_AT_ONCE_MAX: Final = 32
HANG_MILLIS_MAX: Final = 120_000
TRIES_MAX: Final = 1_000_000  # of a step without `times`: forever
CONTENT_FIELDS: Final = ("amount", "currency", "service", "endToEndId", "debtor", "creditor")


class RailSimulator(Simulator):
    """Takes submissions, moves its ledger by scripted steps, and repeats a callback until it is
    accepted.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int = 1,
        behaviour: str = "happy_path",
        callback_url: str | None = None,
        callback_secret: bytes | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__()
        self.ledger = RailLedger(journal or Journal(None))
        self.callback_url = callback_url
        self._callback_secret = callback_secret
        self._clock = clock
        self._seed = seed
        self._behaviour = behaviour
        self._tries: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Semaphore(CALLBACKS_AT_ONCE_MAX)
        self._client: aiohttp.ClientSession | None = None

    def app(self, **options: Any) -> Starlette:
        """The HTTP application; its lifespan starts what a restart left pending."""
        return super().app(lifespan=self._lifespan, **options)

    def routes(self) -> list[Route]:
        return [
            Route("/payments", self._submit, methods=["POST"]),
            Route("/payments/{ref}", self._status, methods=["GET"]),
            Route("/payments/{ref}/recalls", self._recall, methods=["POST"]),
            Route("/ledger", self._ledger, methods=["GET"]),
            Route("/scripts", self._get_scripts, methods=["GET"]),
            Route("/steps", self._steps_now, methods=["POST"]),
            Route("/callback-url", self._put_callback_url, methods=["POST"]),
        ]

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CALLBACKS_AT_ONCE_MAX),
            timeout=aiohttp.ClientTimeout(total=CALLBACK_TIMEOUT_SECONDS),
            auto_decompress=False,
        ) as client:
            self._client = client
            for entry in self.ledger.entries.values():
                for pending in list(entry.pending):
                    self._spawn(self._happen(entry, pending))
            yield
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what the adapter asks ---------------------------------------------------------------------

    async def _submit(self, request: Request) -> Response:
        body = await json_body(request)
        ref = _reference(body)
        now = self._clock.now_ms()
        steps = self._steps_of(ref)
        trouble = self._trouble(ref, steps)
        if trouble is not None and not trouble.get("taken", False):
            return await _fail(trouble)
        entry = self.ledger.entries.get(ref)
        if entry is None:
            if now > body["submitBefore"]:
                self.ledger.count_too_late(ref)
                return JSONResponse({"externalRef": ref, "status": ports.TOO_LATE}, status_code=410)
            entry = self._take(ref, body, steps, now, request.headers.get(tracing.HEADER))
        elif entry.content != _content(body):
            answer = {"externalRef": ref, "status": ports.REJECTED, "code": "DUPL"}
            return JSONResponse(answer, status_code=409)
        entry.submitted += 1
        self.ledger.keep(entry)
        if trouble is not None:
            return await _fail(trouble)
        if entry.rejected is not None and _first(steps, "SYNC_REJECT") is not None:
            return JSONResponse(described(entry), status_code=422)
        status_code = 202 if entry.submitted == 1 else 200
        answer = scripted(described(entry), _first(steps, "ANSWER"))
        return JSONResponse(answer, status_code=status_code)

    def _take(
        self,
        ref: str,
        body: dict[str, Any],
        steps: list[dict[str, Any]],
        now: int,
        traceparent: str | None,
    ) -> RailEntry:
        entry = RailEntry(
            external_ref=ref,
            amount=body["amount"],
            currency=body["currency"],
            submit_before=body["submitBefore"],
            content=_content(body),
            first_submitted_at=now,
            transaction_id=f"TX{hashlib.sha256(ref.encode()).hexdigest()[:20].upper()}",
            traceparent=traceparent,
        )
        self.ledger.add(entry)
        refusal = _first(steps, "SYNC_REJECT")
        if refusal is not None:
            entry.apply("REJECTED", amount=None, code=refusal.get("code"))
        self._schedule(entry, steps, now)
        return entry

    async def _status(self, request: Request) -> Response:
        ref = request.path_params["ref"].upper()
        self.ledger.count_enquiry(ref)
        step = self._turn(ref, self._steps_of(ref), ("ENQUIRY",))
        if step is not None and (step.get("hang") or "httpStatus" in step):
            return await _fail({"status": step.get("httpStatus", 503), **step})
        entry = self.ledger.entries.get(ref)
        status = None if step is None else step.get("status")
        if status == ports.UNKNOWN or (status is None and entry is None):
            return _unknown(ref)
        shown = {"externalRef": ref} if entry is None else described(entry)
        if step is not None:
            shown |= {k: step[k] for k in ("status", "code", "amount") if k in step}
        return JSONResponse(scripted(shown, step))

    async def _recall(self, request: Request) -> Response:
        ref = request.path_params["ref"].upper()
        step = self._turn(ref, self._steps_of(ref), ("RECALL",)) or {"kind": "RECALL"}
        if step.get("hang") or "httpStatus" in step:
            return await _fail({"status": step.get("httpStatus", 503), **step})
        entry = self.ledger.entries.get(ref)
        if entry is None:
            return _unknown(ref)
        if step.get("ledger", True):
            answer = self._judge_recall(entry, step.get("answer"))
        else:
            answer = step.get("answer", "ACCEPTED")  # the answer only: the ledger does not change
        self.ledger.recalls[ref] = answer
        self.ledger.keep(entry)
        shown = scripted({**described(entry), "recall": answer}, step)
        after = step.get("afterMillis", 0)
        if answer == "PENDING":
            return JSONResponse(shown, status_code=202)
        if after:
            report = {"kind": f"RECALL_{answer}", "afterMillis": after}
            self._schedule(entry, [report], self._clock.now_ms())
            return JSONResponse({**shown, "recall": "PENDING"}, status_code=202)
        return JSONResponse(shown)

    def _judge_recall(self, entry: RailEntry, scripted: str | None) -> str:
        """Paid money is never recalled, whatever the script says."""
        if scripted == "SILENT":
            return "PENDING"
        if entry.settled_amount or scripted == "REFUSED":
            return "REFUSED"
        if not entry.ended_unpaid():
            entry.recalled = True
        return "ACCEPTED"

    # -- what tests and the demo ask ---------------------------------------------------------------

    async def _ledger(self, request: Request) -> Response:
        return JSONResponse(self.ledger.as_json(request.query_params.get("externalRef")))

    async def _get_scripts(self, _: Request) -> Response:
        return JSONResponse(self.scripts.as_json())

    async def _steps_now(self, request: Request) -> Response:
        """{"for": externalRef, "steps": […]}: let these happen to a reference that is known."""
        body = await json_body(request)
        entry = self.ledger.entries.get(str(body.get("for", "")).upper())
        if entry is None:
            return JSONResponse({"error": "no such reference"}, status_code=404)
        check = Scripts()
        check.put(body)
        self._schedule(entry, body["steps"], self._clock.now_ms())
        return JSONResponse({"ok": True})

    async def _put_callback_url(self, request: Request) -> Response:
        body = await json_body(request)
        url = body.get("url")
        if url is not None and not isinstance(url, str):
            raise BadRequestError("url is a string or null")
        self.callback_url = url
        return JSONResponse({"ok": True})

    # -- steps -------------------------------------------------------------------------------------

    def _steps_of(self, ref: str) -> list[dict[str, Any]]:
        scripted = self.scripts.find(ref, payment_id_of_external_ref(ref))
        return drawn(self._seed, ref, self._behaviour) if scripted is None else scripted

    def _trouble(self, ref: str, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The HTTP or HANG step that this try runs into, or None."""
        return self._turn(ref, steps, ("HTTP", "HANG"), times=1)

    def _turn(
        self, ref: str, steps: list[dict[str, Any]], kinds: tuple[str, ...], times: int = TRIES_MAX
    ) -> dict[str, Any] | None:
        """The step of these kinds whose turn this try is: each has `times` tries, in order."""
        tried = self._tries[ref, kinds[0]] = self._tries.get((ref, kinds[0]), 0) + 1
        before = 0
        for step in steps:
            if step["kind"] not in kinds:
                continue
            before += step.get("times", times)
            if tried <= before:
                return step
        return None

    def _schedule(self, entry: RailEntry, steps: list[dict[str, Any]], now: int) -> None:
        for step in steps:
            if step["kind"] in TIMED_KINDS:
                pending = PendingStep(due_ms=now + step.get("afterMillis", 0), step=step)
                entry.pending = [*entry.pending, pending]
                self._spawn(self._happen(entry, pending))
        self.ledger.keep(entry)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _happen(self, entry: RailEntry, pending: PendingStep) -> None:
        """Apply the step to the ledger at its time, then send its message as often as it says."""
        await asyncio.sleep(max(0, pending.due_ms - self._clock.now_ms()) / 1000)
        step = pending.step
        if entry.recalled and step["kind"] in ("ACCEPTED", "SETTLED"):
            entry.pending = [each for each in entry.pending if each is not pending]
            return  # recalled before it happened
        if step.get("ledger", True):
            moved = step.get("amount") if step["kind"] == "RETURNED" else None
            moved = step.get("ledgerAmount", moved)
            code = step.get("code", step.get("prtry"))
            entry.apply(step["kind"], amount=moved, code=code)
            self.ledger.keep(entry)
        if step.get("message", True):
            entry.messages += 1
            number = entry.messages
            for repeat in range(int(step.get("repeat", 1))):
                copy = repeat if step.get("newId") else 0
                message = callback(entry, step, f"{number}.{copy}", self._clock.now_ms())
                await self._tell(message, entry.traceparent)
        entry.pending = [each for each in entry.pending if each is not pending]
        self.ledger.keep(entry)

    async def _tell(self, message: dict[str, Any], traceparent: str | None) -> None:
        """Call back until the message is accepted; after CALLBACK_TRIES_MAX tries it is lost."""
        headers = {"content-type": "application/json"}
        if traceparent is not None:
            headers[tracing.HEADER] = traceparent
        raw = msgspec.json.encode(message)
        digest = hashlib.sha256(raw).hexdigest()
        pause = 0.1
        for _ in range(CALLBACK_TRIES_MAX):
            if self._callback_secret is not None:  # signed for each try: a signature has a time
                now_s = self._clock.now_ms() // 1000
                headers[signatures.HEADER] = signatures.sign([self._callback_secret], digest, now_s)
            if self.callback_url is not None and self._client is not None:
                try:
                    async with (
                        self._sending,
                        self._client.post(self.callback_url, data=raw, headers=headers) as answer,
                    ):
                        if answer.ok:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass  # it may have been accepted; it is sent again, as a rail does
            await asyncio.sleep(pause)
            pause = min(CALLBACK_PAUSE_SECONDS_MAX, pause * 2)


def _reference(body: dict[str, Any]) -> str:
    ref, amount, before = body.get("externalRef"), body.get("amount"), body.get("submitBefore")
    if not isinstance(ref, str) or not 0 < len(ref) <= 35:
        raise BadRequestError("externalRef is a text of up to 35 characters")
    if type(amount) is not int or amount <= 0 or type(before) is not int:
        raise BadRequestError("amount is positive cents, submitBefore epoch milliseconds")
    if not isinstance(body.get("currency"), str):
        raise BadRequestError("currency is missing")
    return ref.upper()


def _content(body: dict[str, Any]) -> str:
    chosen = {name: body.get(name) for name in CONTENT_FIELDS}
    return hashlib.sha256(msgspec.json.encode(chosen, order="deterministic")).hexdigest()


def _first(steps: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return next((step for step in steps if step["kind"] == kind), None)


async def _fail(step: dict[str, Any]) -> Response:
    """An error page, or silence for `millis`, as a broken gateway would give."""
    if step["kind"] == "HANG" or step.get("hang"):
        await asyncio.sleep(min(HANG_MILLIS_MAX, int(step.get("millis", 30_000))) / 1000)
    return Response("upstream trouble", status_code=int(step.get("status", 503)))


def _unknown(ref: str) -> Response:
    return JSONResponse({"externalRef": ref, "status": ports.UNKNOWN}, status_code=404)


def main() -> None:
    """Run the simulator; refuses the production profile."""
    parser = base.arguments("rail")
    parser.add_argument("--callback-url", default=None, help="where the rail's messages go")
    options = parser.parse_args()
    secret = os.environ.get("NPP_WEBHOOK_SECRET")
    base.refuse_and_exit("rail", options.profile)
    simulator = RailSimulator(
        clock=SystemClock(),
        seed=options.seed,
        behaviour=options.behaviour,
        callback_url=options.callback_url,
        callback_secret=secret.encode() if secret else None,
        journal=Journal(options.journal),
    )
    base.serve(simulator.app(), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
