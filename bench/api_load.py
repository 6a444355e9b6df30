"""How long a POST's outcome takes at a steady rate on one set-up: `python -m bench.api_load`.

Latencies count from the moment the call was due, so that a slow answer is not hidden by calls that
were not made. Creations wait for the read model, operator commands for their outcome and for it.
`creations` have the adapters and the simulated outside at work on the same cores, each payment to
its end; `creationsAlone` come after these have ended.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import urllib3

from app.demo.options import Options
from app.demo.programs import API, SIMULATORS, SUBMITTER_CLIENT
from app.demo.stage import Stage
from app.platform.java import JVM_COMPILED
from bench.rig.answer import give, options_of

AT_ONCE_MAX = 64
CALL_SECONDS_MAX = 30.0
NOTHING: Mapping[str, str] = {}
SETTLE_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.2
WARM_SECONDS = 40.0  # of each kind of call, unjudged: a broker in production is compiled
BODY = {
    "amount": 1250,
    "currency": "AUD",
    "debtor": {"name": "Ada Debtor", "bsb": "062000", "account": "12345678"},
    "creditor": {"name": "Bo Creditor", "bsb": "082000", "account": "87654321"},
    "endToEndId": "BENCH",
    "service": "x2p1",
}


class Caller:
    """Calls of one token over kept connections; threads share it. A light client: it is on the
    same two cores as what it measures."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._pool = urllib3.PoolManager(
            maxsize=AT_ONCE_MAX, block=True, timeout=CALL_SECONDS_MAX, retries=False
        )

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = NOTHING
    ) -> urllib3.BaseHTTPResponse:
        given = {**self._headers, **headers}
        return self._pool.request(method, self._url + path, json=body, headers=given)

    def create(self, key: str) -> tuple[int, str]:
        answer = self.call("POST", "/api/payments", BODY, {"Idempotency-Key": key})
        return answer.status, answer.json().get("paymentIntentId", "")

    def request(self, payment: str) -> tuple[int, str]:
        """An operator command: the request for an approval of a reversal."""
        requested = {"action": "REVERSE", "reason": "bench", "attemptId": "att_001"}
        answer = self.call("POST", f"/api/payments/{payment}/approvals", requested)
        return answer.status, ""

    def show(self, payment: str) -> tuple[int, str]:
        answer = self.call("GET", f"/api/payments/{payment}")
        return answer.status, answer.json().get("state", "")


def at_rate(
    rate: float, work: Sequence[str], call: Callable[[str], tuple[int, str]]
) -> tuple[dict[str, Any], list[str]]:
    """Make each call when it is due; figures in milliseconds, and what the calls gave."""
    begun = time.monotonic()

    def one(number: int) -> tuple[float, int, str]:
        due = begun + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        status, gave = call(work[number])
        return (time.monotonic() - due) * 1000, status, gave

    with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
        done = list(threads.map(one, range(len(work))))
    took = sorted(each[0] for each in done)
    figures = {
        "calls": len(took),
        "perSecond": round(len(took) / (time.monotonic() - begun), 1),
        "statuses": {str(k): n for k, n in sorted(Counter(each[1] for each in done).items())},
        "millis": {
            "p50": round(statistics.median(took), 1),
            "p99": round(took[min(len(took) - 1, int(len(took) * 0.99))], 1),
            "max": round(took[-1], 1),
        },
    }
    return figures, [each[2] for each in done]


def settle(caller: Caller, payments: Sequence[str]) -> float:
    """Seconds until the API shows all of them settled."""
    begun = time.monotonic()
    left = list(payments)
    while left:
        left = [name for name in left if caller.show(name)[1] != "SETTLED"]
        time.sleep(LOOK_SECONDS)
        if time.monotonic() - begun > SETTLE_SECONDS_MAX:
            raise SystemExit(f"{len(left)} payments did not settle")
    return time.monotonic() - begun


def measure(stage: Stage, rate: float, seconds: float) -> dict[str, Any]:
    url = stage.url(API)
    shop = Caller(url, stage.token("bench", "submitter", client_id=SUBMITTER_CLIENT))
    senior = Caller(url, stage.token("snr_bench", "senior_operator"))
    warm_keys = [f"warm-{number}" for number in range(int(rate * WARM_SECONDS))]
    _, warm = at_rate(rate, warm_keys, shop.create)
    settle(senior, warm)
    at_rate(rate, warm, senior.request)
    keys = [f"bench-{number}" for number in range(int(rate * seconds))]
    created, payments = at_rate(rate, keys, shop.create)
    begun = time.time()
    settle(senior, payments)
    commands, _ = at_rate(rate, payments, senior.request)
    reads, _ = at_rate(rate * 4, payments, senior.show)
    figures = {
        "rate": rate,
        "creations": created,
        "commands": commands,
        "reads": reads,
        "endToEndMillis": end_to_end(senior, payments),
        "seconds": round(time.time() - begun, 1),
    }
    for name in ("adapters", *SIMULATORS):
        stage.supervisor.end(name)
    alone, _ = at_rate(
        rate, [f"alone-{number}" for number in range(int(rate * seconds))], shop.create
    )
    return {**figures, "creationsAlone": alone}


def end_to_end(caller: Caller, payments: Sequence[str]) -> dict[str, int]:
    """From PaymentIntentCreated to PaymentSettled, by the events' own times."""
    took = []
    for payment in payments[:: max(1, len(payments) // 200)]:
        items = caller.call("GET", f"/api/payments/{payment}/events").json()["items"]
        at = {e["type"]: datetime.fromisoformat(e["timestamp"]).timestamp() for e in items}
        took.append(round((at["PaymentSettled"] - at["PaymentIntentCreated"]) * 1000))
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}


def main() -> None:
    parser = options_of("bench.api_load", __doc__)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            payments=1,
            rate=0,
            once=True,
            chaos=False,
            json=True,
            reset=False,
            data=Path(folder) / "data",
            seed=1,
            behaviour="happy_path",
        )
        with Stage(options, jvm=JVM_COMPILED) as stage:
            cluster = stage.start_platform()
            stage.start_programs()
            try:
                give(measure(stage, given.rate, given.seconds), as_json=given.json)
            finally:
                cluster.close()


if __name__ == "__main__":
    main()
