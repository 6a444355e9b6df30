"""The whole product with read model and API, as processes on a real Kafka."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
from confluent_kafka import Consumer, TopicPartition

from api.auth.local import LocalIssuer
from app.platform.children import free_ports
from control.acts import key_file
from control.acts.roles import ADMIN, APPROVER, AUDITOR, OPERATOR, SENIOR, SUBMITTER, VIEWER
from core.values import payment_intent_id
from engine.clock import SystemClock
from evidence.keys import Keyring, write_keyring
from gateways.resolve.policy import DEFAULT_RULES
from tests.broker.harness import Harness
from tests.broker.processes import Process
from tests.broker.rest import end_offsets

T = TypeVar("T")

PEOPLE = {
    "vera": (VIEWER,), "olga": (OPERATOR,), "oskar": (OPERATOR,), "sue": (SENIOR,),
    "anna": (APPROVER,), "aron": (APPROVER,), "ada": (ADMIN,), "adam": (ADMIN,),
    "audra": (AUDITOR,), "both": (OPERATOR, APPROVER), "till": (SUBMITTER,),
}  # fmt: skip
SOURCE = "api-client"
ANSWER_SECONDS = 30.0
SEEN_SECONDS = 60.0  # until a background effect is visible on a loaded machine
POLL_SECONDS = 0.05
ACCEPTED = {"kind": "ACCEPTED", "afterMillis": 20}
REJECTED = {"kind": "REJECTED", "code": "AB03", "afterMillis": 20}
BODY: dict[str, Any] = {
    "amount": 1_250, "currency": "AUD", "endToEndId": "INV-1", "service": "x2p1",
    "debtor": {"name": "Alex Example", "bsb": "062000", "account": "12345678"},
    "creditor": {"name": "Robin Example", "bsb": "082001", "account": "87654321"},
}  # fmt: skip


class ApiHarness(Harness):
    """A Harness with a projector and an API; `post` and `get` act as the users of PEOPLE."""

    def __init__(self, bootstrap: str, registry: str, folder: Path) -> None:
        super().__init__(bootstrap, registry, folder)
        self.api_port = free_ports(1)[0]
        self.env["NPP_API_PORT"] = str(self.api_port)
        self.env["NPP_RESOLVE_RULES"] = str(DEFAULT_RULES)  # every gated action waits for a person
        self.env["NPP_API_CLIENTS"] = f"till={SOURCE}"
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.issuer = LocalIssuer(folder / "data", SystemClock())
        ring = Keyring()  # no verifier runs here; without a keyring the API is not ready
        ring.add(key_file.new().public, 0)
        write_keyring(folder / "data" / "verifier" / "keyring.json", ring)
        self.http = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False)
        self._tokens: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self.http.close()
        super().close()

    def start_all(self) -> None:
        self.apply()
        self.start_simulators()
        self.ready(*self.processes)
        self.payments = self.start_payments()
        adapters, self.projector = self.start_adapters(), self.start_projector()
        self.api = self.start_api()
        self.ready(self.payments, adapters, self.projector)
        until(lambda: self.is_ready() or None)

    def start_projector(self) -> Process:
        return self._run("projector", "projector-1", {"NPP_INSTANCE_ID": "projector-1"})

    def start_api(self) -> Process:
        return self._run("api", "api-1", {"NPP_INSTANCE_ID": "api-1"})

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def npp_api(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command that goes through the API."""
        return self.npp(*words, check=check, more={"NPP_API_URL": self.url})

    # -- HTTP --------------------------------------------------------------------------------------

    def headers(self, person: str) -> dict[str, str]:
        if person not in self._tokens:
            client = "till" if person == "till" else None
            self._tokens[person] = self.issuer.issue(person, PEOPLE[person], client_id=client)
        return {"Authorization": f"Bearer {self._tokens[person]}"}

    def post(self, person: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={**self.headers(person), **headers})

    def get(self, person: str, path: str) -> httpx.Response:
        return self.http.get(path, headers=self.headers(person))

    def act(self, person: str, payment: str, action: str, body: Any) -> httpx.Response:
        return self.post(person, f"/api/payments/{payment}/{action}", body)

    def at_once(self, count: int, ask: Callable[[int], T]) -> list[T]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(ask, range(count)))

    def in_thread(self, ask: Callable[[], T]) -> Callable[[], T | None]:
        """Send the request now; the returned function waits for the answer, or None if
        it was lost.
        """
        pool = ThreadPoolExecutor(1)
        future = pool.submit(ask)

        def answer() -> T | None:
            try:
                return future.result(ANSWER_SECONDS)
            except httpx.TransportError:
                return None
            finally:
                pool.shutdown()

        return answer

    # -- payments ----------------------------------------------------------------------------------

    def create(self, key: str, **changed: Any) -> httpx.Response:
        return self.post("till", "/api/payments", {**BODY, **changed}, **{"Idempotency-Key": key})

    def payment(self, steps: list[dict[str, Any]], state: str) -> str:
        """A payment that the rail treats as given, once it is in that state."""
        key = f"key-{next(self._numbers)}"
        name = payment_intent_id(SOURCE, key)
        self.script(name, steps)
        answer = self.create(key)
        assert answer.status_code == 200, f"{answer.text} | {self.condition()}"
        self.shown(name, lambda p: p["state"] == state)
        return name

    def failed(self) -> str:
        """A rejected payment, once its hold is released: before that no action on it is allowed."""
        payment = self.payment([REJECTED], "FAILED")
        self.shown(payment, lambda p: p["fundsReleased"])
        return payment

    def acknowledged(self) -> str:
        return self.payment([ACCEPTED], "ACKNOWLEDGED")

    def shown(self, payment: str, wanted: Callable[[Any], bool]) -> Any:
        """The payment as the API shows it, once the predicate holds."""

        def look() -> Any:
            answer = self.get("vera", f"/api/payments/{payment}")
            return answer.json() if answer.status_code == 200 and wanted(answer.json()) else None

        return self.until(look)

    def until(self, look: Callable[[], T | None], seconds: float = SEEN_SECONDS) -> T:
        """The first true result of `look`; else the message says how the processes are."""
        try:
            return until(look, seconds)
        except NotInTime as error:
            raise AssertionError(f"{error} | {self.condition()}") from None

    def events(self, payment: str) -> list[str]:
        items = self.get("vera", f"/api/payments/{payment}/events").json()["items"]
        return [item["type"] for item in items]

    def requested(self, payment: str, action: str, by: str = "olga", **more: Any) -> str:
        """An approval that Resolve has referred to a person; its id."""
        requested = self.act(
            by, payment, "approvals", {"action": action, "reason": "please", **more}
        )
        assert requested.status_code == 200, requested.text
        name: str = requested.json()["approvalId"]

        def referred(shown: Any) -> bool:
            return any(
                a["approvalId"] == name and a["status"] == "REFERRED" for a in shown["approvals"]
            )

        self.shown(payment, referred)
        return name

    def approved(self, payment: str, action: str, by: str = "olga", **more: Any) -> str:
        name = self.requested(payment, action, by, **more)
        done = self.act("anna", payment, f"approvals/{name}/approve", {"reason": "looks right"})
        assert done.status_code == 200, done.text
        return name

    # -- the log -----------------------------------------------------------------------------------

    def records(self, topic: str) -> list[bytes]:
        """The values of all committed records of a topic."""
        names = [(topic, n) for n in range(self.partitions(topic))]
        ends = end_offsets(self.bootstrap, names)
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "test-never-commits",
            "enable.auto.commit": False, "isolation.level": "read_committed",
            "enable.partition.eof": True,
        })  # fmt: skip
        left = {n for (_, n), end in ends.items() if end > 0}
        consumer.assign([TopicPartition(topic, n, 0) for n in left])
        values: list[bytes] = []
        try:
            for message in iter(lambda: consumer.poll(10.0) if left else None, None):
                if message.error() is not None:
                    left.discard(message.partition())
                else:
                    values.append(message.value() or b"")
        finally:
            consumer.close()
        return values


class NotInTime(AssertionError):
    """`until` waited in vain."""


def until(look: Callable[[], T | None], seconds: float = SEEN_SECONDS) -> T:
    """The first true result of `look`."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise NotInTime(f"it did not come about in {seconds:g} s")
        time.sleep(POLL_SECONDS)
    return found


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and rule of a problem response."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["sentence"]
    return answer.status_code, body["code"], body["rule"]
