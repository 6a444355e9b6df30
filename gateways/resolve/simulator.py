"""The simulated Resolve: tells its adapter how to answer each request. It decides nothing itself;
without a script the rules' answer is given once.

python -m gateways.resolve.simulator --port 8085
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateways import simulator as base
from gateways.resolve.scripted import CHECK, RULES
from gateways.simulator import SCRIPTS_MAX, BadRequestError, Simulator, json_body

VERDICT_OF_CHECK: Final = {"PASS": "PASSED", "DECLINE": "DECLINED", "RULES": RULES}
VERDICT_OF_APPROVAL: Final = {
    "APPROVE": "APPROVED",
    "REJECT": "REJECTED",
    "REFER": "REFERRED",
    "RULES": RULES,
}
SILENT: Final = "SILENT"
KINDS: Final = {*VERDICT_OF_CHECK, *VERDICT_OF_APPROVAL, SILENT}
TIMES_MAX: Final = 20
TWICE_OF_1000: Final = 50  # under `mixed`: answers given twice
LATE_OF_1000: Final = 50  # under `mixed`: answers up to a second late
LATE_MILLIS_MAX: Final = 1_000

Step = dict[str, Any]


class ResolveSimulator(Simulator):
    """Scripts by payment id or `*`. Counts the questions."""

    def __init__(self, *, seed: int = 1, behaviour: str = "happy_path") -> None:
        super().__init__()
        self.requested: Counter[tuple[str, str]] = Counter()
        self._seed = seed
        self._behaviour = behaviour

    def routes(self) -> list[Route]:
        return [
            Route("/questions", self._answer, methods=["POST"]),
            Route("/questions", self._show, methods=["GET"]),
        ]

    async def _answer(self, request: Request) -> Response:
        body = await json_body(request)
        payment_id, action = body.get("paymentIntentId"), body.get("action")
        if not isinstance(payment_id, str) or not isinstance(action, str):
            raise BadRequestError("paymentIntentId and action are texts")
        if len(self.requested) < SCRIPTS_MAX or (payment_id, action) in self.requested:
            self.requested[payment_id, action] += 1
        steps = self.scripts.find(payment_id)
        if steps is None:
            steps = self._drawn(payment_id, action)
        return JSONResponse({"says": sayings(action, steps)})

    def _drawn(self, payment_id: str, action: str) -> list[Step]:
        if self._behaviour == "happy_path":
            return []
        draw = random.Random(f"{self._seed}:{payment_id}:{action}")
        times = 2 if draw.random() * 1000 < TWICE_OF_1000 else 1
        late = draw.random() * 1000 < LATE_OF_1000
        after = draw.randint(1, LATE_MILLIS_MAX) if late else 0
        return [{"kind": RULES, "times": times, "afterMillis": after}]

    async def _show(self, _: Request) -> Response:
        counted = [
            {"paymentIntentId": payment_id, "action": action, "times": times}
            for (payment_id, action), times in self.requested.items()
        ]
        return JSONResponse({"questions": counted})

    def check(self, step: Step) -> None:
        """{"for": payment or *, "steps": [{"kind", "action"?, "afterMillis"?, "times"?}]}."""
        if step["kind"] not in KINDS:
            raise BadRequestError(f"{step['kind']} is none of {', '.join(sorted(KINDS))}")
        times = step.get("times", 1)
        if type(times) is not int or not 0 < times <= TIMES_MAX:
            raise BadRequestError(f"times is a whole number up to {TIMES_MAX}")


def sayings(action: str, steps: list[Step]) -> list[Step]:
    """The answers to a question about `action`, ordered by time: those of the steps that are for it
    and fit it, or the rules' answer if there are none.
    """
    verdicts = VERDICT_OF_CHECK if action == CHECK else VERDICT_OF_APPROVAL
    fitting = [
        step
        for step in steps
        if step.get("action", action) == action and step["kind"] in (*verdicts, SILENT)
    ]
    if not fitting:
        return [{"verdict": RULES, "afterMillis": 0}]
    answers = []
    for step in fitting:
        after = step.get("afterMillis", 0)
        if step["kind"] == SILENT:
            if after:
                answers.append({"verdict": RULES, "afterMillis": after})
            continue
        one = {
            "verdict": verdicts[step["kind"]],
            "afterMillis": after,
            "reason": step.get("reason"),
            "failureReason": step.get("failureReason", "FRAUD"),
        }
        answers += [one] * step.get("times", 1)
    return sorted(answers, key=lambda each: each["afterMillis"])


def main() -> None:
    """Run the simulator; refuses the production profile."""
    options = base.arguments("resolve").parse_args()
    base.refuse_and_exit("Resolve", options.profile)
    simulator = ResolveSimulator(seed=options.seed, behaviour=options.behaviour)
    base.serve(simulator.app(), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
