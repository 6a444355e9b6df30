"""The whole product, started once: Kafka, registry, simulators, processors, projector and API.

It is the demo's own stage without its load; everything goes over HTTP, as for users. User names
state their role: `ops_1` is an operator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
from confluent_kafka import Producer

from app.cluster import Cluster
from app.demo.options import Options
from app.demo.programs import API, PROCESSORS, SUBMITTER_CLIENT, SUBMITTER_SOURCE
from app.demo.stage import Stage
from core.values import external_ref, payment_intent_id
from gateways.resolve.policy import DEFAULT_RULES
from tests.rooms import ROOT

WAIT_SECONDS = 150.0  # for background effects on a slow and loaded machine
LOOK_SECONDS = 0.05
NPP_SECONDS_MAX = 120.0
KAFKA_SECONDS_MAX = 60.0
PENDING = 202
TAKEN = ("ACCEPTED", "DUPLICATE", "NO_EFFECT")
ROLE_OF = {
    "view": "viewer",
    "ops": "operator",
    "snr": "senior_operator",
    "apv": "approver",
    "aud": "auditor",
    "adm": "admin",
}
SILENT = [
    {"kind": "ENQUIRY"}
]  # the rail accepts it and never calls back; to an enquiry it answers RECEIVED
ACCEPT = {"kind": "ACCEPTED", "afterMillis": 10}
SETTLE = {"kind": "SETTLED", "afterMillis": 40}
DEBTOR = {"name": "Ada Debtor", "bsb": "062000", "account": "12345678"}
CREDITOR = {"name": "Bo Creditor", "bsb": "082000", "account": "87654321"}


def rejects(code: str, after: int = 20) -> dict[str, Any]:
    return {"kind": "REJECTED", "code": code, "afterMillis": after}


class Place(Protocol):
    """A running product: its folder, its addresses, and who may sign in."""

    @property
    def data(self) -> Path: ...
    def url(self, name: str) -> str: ...
    def token(self, person: str, *roles: str, client_id: str | None = None) -> str: ...
    def tokens(self) -> dict[str, str]: ...
    def rail_entry(self, external_ref: str) -> dict[str, Any] | None: ...
    def tend(self) -> Any: ...


class Product:
    """`ask` returns any response; the other methods expect success."""

    def __init__(self, stage: Place) -> None:
        self.stage = stage
        self.http = httpx.Client(trust_env=False, timeout=40.0)
        self.url = ""
        self._tokens: dict[tuple[str, ...], str] = {}
        self._keys = 0

    # -- requests ----------------------------------------------------------------------------------

    def token(self, person: str, *roles: str, client: str | None = None) -> str:
        """A token for the person whose name states the role, or for these roles."""
        wanted = roles or (ROLE_OF[person.partition("_")[0]],)
        key = (person, client or "", *wanted)
        if key not in self._tokens:
            self._tokens[key] = self.stage.token(person, *wanted, client_id=client)
        return self._tokens[key]

    def submitter(self) -> str:
        return self.token("shop", "submitter", client=SUBMITTER_CLIENT)

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """The response to a call by a person, or with a token (`who` contains dots)."""
        token = who if "." in who else self.token(who)
        given = {"Authorization": f"Bearer {token}", **(headers or {})}
        return self.http.request(
            method,
            self.url + path,
            json=body,
            params={name.rstrip("_"): value for name, value in query.items()} or None,
            headers=given,
        )

    def get(self, path: str, who: str = "view_1", **query: Any) -> Any:
        """The JSON of a successful response."""
        answer = self.ask(who, "GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def payment(self, payment: str, who: str = "view_1") -> dict[str, Any]:
        return dict(self.get(f"/api/payments/{payment}", who))

    def events(self, payment: str, who: str = "view_1") -> list[dict[str, Any]]:
        return list(self.get(f"/api/payments/{payment}/events", who)["items"])

    def types(self, payment: str) -> list[str]:
        return [event["type"] for event in self.events(payment)]

    def act(self, who: str, payment: str, path: str, body: Any) -> httpx.Response:
        """POST below the payment's path."""
        return self.ask(who, "POST", f"/api/payments/{payment}/{path}", body)

    def done(self, who: str, payment: str, path: str, body: Any) -> dict[str, Any]:
        """An action that must be accepted."""
        return self.projected(who, self.decided(who, self.act(who, payment, path, body)))

    def decided(self, who: str, answer: httpx.Response) -> dict[str, Any]:
        """The outcome of a command that must be accepted. If there is none within the seconds that
        the API waits, its response says where it will be.
        """
        if answer.status_code == PENDING:
            where = answer.json()["outcome"]

            def there() -> dict[str, Any] | None:
                now = self.ask(who, "GET", where)
                return now.json() if now.status_code == 200 else None

            found = dict(self.soon(there, what=f"the outcome of {answer.text}"))
            assert found["result"] in TAKEN, found
            return found
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def projected(self, who: str, done: dict[str, Any]) -> dict[str, Any]:
        """An outcome with its events. The API waits 2 s for the read model to have them; after that
        its response says where they can be read.
        """

        def again() -> dict[str, Any] | None:
            found = self.get(done["outcome"], who)
            return found if found["projected"] else None

        return done if done.get("projected", True) else dict(self.soon(again, what="projected"))

    # -- payments -----------------------------------------------------------------------------

    def key(self) -> str:
        self._keys += 1
        return f"acc-{self._keys:04d}"

    def create(
        self, steps: list[dict[str, Any]] | None = None, *, key: str | None = None, **fields: Any
    ) -> str:
        """A payment over HTTP; `steps` are what the rail does with each of its attempts."""
        key = key or self.key()
        payment = payment_intent_id(SUBMITTER_SOURCE, key)
        if steps is not None:
            self.script(payment, steps)
        done = self.decided(self.submitter(), self.submit(key, **fields))
        assert done["paymentIntentId"] == payment
        return payment

    def submit(
        self, key: str, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        body = {
            "amount": 1250,
            "currency": "AUD",
            "debtor": DEBTOR,
            "creditor": CREDITOR,
            "endToEndId": "INV-42",
            "service": "x2p1",
            "remittance": "for the books",
            **fields,
        }
        given = {"Idempotency-Key": key, **(headers or {})}
        return self.ask(self.submitter(), "POST", "/api/payments", body, headers=given)

    def until(self, payment: str, seconds: float = WAIT_SECONDS, **wanted: Any) -> dict[str, Any]:
        """Wait until the payment has these fields."""

        def shows() -> dict[str, Any] | None:
            answer = self.ask("view_1", "GET", f"/api/payments/{payment}")
            found = answer.json()
            same = all(found.get(name) == value for name, value in wanted.items())
            return found if answer.status_code == 200 and same else None

        return dict(self.soon(shows, seconds, f"{payment} {wanted}"))

    def soon(self, look: Callable[[], Any], seconds: float = WAIT_SECONDS, what: str = "") -> Any:
        """The first true result of `look`; fails if there is none in time."""
        until = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            self.stage.tend()
            assert time.monotonic() < until, f"not within {seconds} s: {what}"
            time.sleep(LOOK_SECONDS)

    # -- approvals ----------------------------------------------------------------------------

    def requested(self, who: str, payment: str, action: str, **more: Any) -> str:
        """An approval that was requested and referred to a person; its id."""
        requested = {"action": action, "reason": "harness", **more}
        approval = str(self.done(who, payment, "approvals", requested)["approvalId"])
        waits = ("", "REQUESTED")
        self.soon(lambda: self.status(payment, approval) not in waits, what=f"{approval} waits")
        return approval

    def status(self, payment: str, approval: str) -> str:
        items = self.get("/api/approvals", paymentIntentId=payment)["items"]
        return str(next((e["status"] for e in items if e["approvalId"] == approval), ""))

    def approved(self, who: str, payment: str, action: str, **more: Any) -> str:
        """As `requested`, then approved by a second person."""
        approval = self.requested(who, payment, action, **more)
        self.done("apv_1", payment, f"approvals/{approval}/approve", {"reason": "looked at"})
        return approval

    # -- the outside --------------------------------------------------------------------------

    def script(self, name: str, steps: list[dict[str, Any]], simulator: str = "rail") -> None:
        body = {"for": name, "steps": steps}
        answer = self.http.post(f"{self.stage.url(simulator)}/scripts", json=body)
        assert answer.is_success, answer.text

    def rail_now(self, payment: str, *steps: dict[str, Any], attempt: int = 1) -> None:
        """Apply these steps to a reference once the rail has it.

        SENT is decided before the instruction reaches the rail.
        """
        body = {"for": external_ref(payment, attempt), "steps": list(steps)}

        def happens() -> bool:
            answer = self.http.post(f"{self.stage.url('rail')}/steps", json=body)
            assert answer.is_success or answer.status_code == 404, answer.text
            return answer.is_success

        self.soon(happens, what=f"{body['for']} at the rail")

    def rail_entry(self, payment: str, attempt: int = 1) -> dict[str, Any] | None:
        return self.stage.rail_entry(external_ref(payment, attempt))

    def npp(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of `npp` as a user in the demo's folder runs it."""
        kept = ("NPP_CACHE_DIR", "NPP_JAVA")
        mine = {k: v for k, v in os.environ.items() if not k.startswith("NPP_") or k in kept}
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.npp", *words],
            env=mine | {"NPP_DATA_DIR": str(self.stage.data)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=NPP_SECONDS_MAX,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"npp {words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def npp_json(self, *words: str) -> Any:
        return json.loads(self.npp(*words, "--json").stdout)


class Harness(Product):
    """The demo's stage without its load and its users; every payment succeeds."""

    stage: Stage

    def __init__(
        self, folder: Path, more: Mapping[str, str] | None = None, *, pager: str = ""
    ) -> None:
        """`more`: variables for every process; `pager`: where alerts are posted."""
        options = Options(
            payments=1,
            rate=0,
            once=True,
            chaos=False,
            json=False,
            reset=False,
            data=folder,
            seed=1,
            behaviour="happy_path",
            more={"NPP_RESOLVE_RULES": str(DEFAULT_RULES), **(more or {})},
            pager=pager,
        )
        super().__init__(Stage(options))

    def start(self, processors: Sequence[str] = (*PROCESSORS, API)) -> None:
        self.stage.__enter__()
        self.cluster: Cluster = self.stage.start_platform()
        self.stage.start_programs(processors)
        self.url = self.stage.url(API)
        self.bootstrap = self.cluster.environment.settings.bootstrap_servers

    def producer(self, **config: Any) -> Producer:
        """A Kafka client of another party."""
        return Producer({"bootstrap.servers": self.bootstrap, **config})

    def put(
        self, topic: str, *values: bytes, key: str = "junk", partition: int = 0, **config: Any
    ) -> None:
        """Writes records as given."""
        producer = self.producer(
            **{name.replace("_", "."): given for name, given in config.items()}
        )
        for value in values:
            producer.produce(topic, value, key.encode(), partition)
        assert producer.flush(KAFKA_SECONDS_MAX) == 0

    def close(self) -> None:
        self.http.close()
        if hasattr(self, "cluster"):
            self.cluster.close()
        self.stage.__exit__()
