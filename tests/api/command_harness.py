"""The API's command side over the real core: a driver in place of Kafka, a real read model.
Everything but the broker is the product's own.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import msgspec
from anyio import CapacityLimiter
from fastapi.testclient import TestClient

from api.actions.commands import KafkaCommands
from api.actions.outcome_tail import CommandResult
from api.app import ApiSettings, create_app
from api.audit.writer import KafkaAudit
from api.auth.keys import KeySource, from_file
from api.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer
from api.auth.tokens import Tokens, TokenSettings
from api.services import Services, Stopped
from control import quarantine
from control.acts import act_json
from control.acts.roles import ADMIN, APPROVER, AUDITOR, OPERATOR, SENIOR, SUBMITTER, VIEWER
from control.fold import Control
from core import control_records as records
from core.header import InputHeader, OperatorHeader
from core.payment import commands, instructions
from core.records import OperatorAudit, Outcome
from core.values import PaymentIntentId
from engine.clients.publisher import NotConfirmed, Placed
from engine.clock import SystemClock
from engine.records import LogRecord
from readmodel.reader import DatabaseReader
from schemas import topology
from schemas.errors import Undecodable
from tests.api.nothing_signed import NothingSigned
from tests.clock import HeldClock
from tests.processors.payments.world import CODEC, PARTITIONS, SOURCE, World
from tests.processors.projector.harness import MemorySource, feed_of, model_in, run

Response = Any  # the test client's, whichever library it uses
ROLES = {
    "vera": (VIEWER,), "olga": (OPERATOR,), "oskar": (OPERATOR,), "sue": (SENIOR,),
    "anna": (APPROVER,), "aron": (APPROVER,), "ada": (ADMIN,), "adam": (ADMIN,),
    "audra": (AUDITOR,), "both": (OPERATOR, APPROVER),
}  # fmt: skip
CLIENT = "till-7"
CLIENT_SOURCE = "api-client"
MAPPED = {topology.COMMANDS: SOURCE, topology.API_COMMANDS: CLIENT_SOURCE}
WAIT_S = 0.2
PARKED_REASON = "the defect is mended"


class DriverLog:
    """Where the API publishes: the driver's log. `stalled`: nothing is decided."""

    def __init__(self, harness: ApiHarness) -> None:
        self._harness = harness
        self.lock = threading.RLock()
        self.stalled = False
        self.away = False

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Any = None,
        timeout_s: float = 30.0,
    ) -> Placed:
        with self.lock:
            if self.away:
                raise NotConfirmed("TIMED_OUT", "Kafka is away")
            driver = self._harness.world.driver
            if topic == topology.CONTROL:
                offset = len(driver.committed(topic))
                assert value is not None
                driver.pipe_control(value)
            else:
                offset = driver.pipe(topic, key, value, headers, partition=partition).offset
            if not self.stalled:
                self._harness.work()
            return Placed(topic, partition or 0, offset, driver.clock.now_ms())


class DriverTail:
    """Reports the outcomes on the driver's log to waiting requests."""

    def __init__(self) -> None:
        self._expected: dict[str, Future[CommandResult]] = {}

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def failure(self) -> str | None:
        return None

    def expect(self, payment_id: str, command_id: str) -> Future[CommandResult]:
        return self._expected.setdefault(command_id, Future())

    def forget(self, payment_id: str, command_id: str) -> None:
        self._expected.pop(command_id, None)

    def wait_for(self, record: LogRecord) -> None:
        value = CODEC.decode(topology.OUTCOMES, record.value)
        self._tell(value.cause.command_id, CommandResult(outcome=value))

    def hear_quarantine(self, record: LogRecord) -> None:
        why = quarantine.parse(record.headers)
        try:
            found = CODEC.decode(why.topic, record.value, why.original)
        except Undecodable:
            return
        self._tell(found.header.command_id, CommandResult(quarantined=why.reason))

    def _tell(self, command_id: str | None, answered: CommandResult) -> None:
        future = self._expected.get(command_id or "")
        if future is not None and not future.done():
            future.set_result(answered)


class HarnessClock(SystemClock):
    """The driver's time for decisions, the machine's for waiting."""

    def __init__(self, held: HeldClock) -> None:
        self._held = held

    def now_ms(self) -> int:
        return self._held.now_ms()


class DriverControl:
    """The driver's own fold. `gone`: it cannot be read."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.gone = False

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def unreadable(self) -> str | None:
        return "it is away" if self.gone else None

    def now(self) -> Control:
        if self.gone:
            raise Stopped("Processing counts as stopped: it is away")
        return self._control

    def wait_for(self, offset: int, seconds: float) -> bool:
        return True


class ApiHarness:
    """One set-up: `post`, `get`, and the log's content; `url` is the read model's."""

    def __init__(self, folder: Path, settings: ApiSettings | None = None, url: str = "") -> None:
        self.world = World(sources=MAPPED)
        self.clock = self.world.driver.clock
        self.log = DriverLog(self)
        self.tail = DriverTail()
        self.control = DriverControl(self.world.control)
        topics = (topology.EVENTS, topology.OPERATOR_COMMANDS, topology.CHECKPOINTS)
        self._source = MemorySource([], dict.fromkeys(topics, PARTITIONS))
        self._model = model_in(folder, HarnessClock(self.clock), url=url)
        self._writer = self._model.writer()
        self.reader: DatabaseReader = self._model.reader()
        self._feed = feed_of(self._source, self._writer, CODEC, self.clock)
        self._feed.open(self.reader)
        self._shown: dict[str, int] = {}
        publisher: Any = self.log
        tail, control = cast(Any, self.tail), cast(Any, self.control)
        self.commands = KafkaCommands(
            publisher=publisher, codec=CODEC, reader=self.reader, clock=HarnessClock(self.clock),
            tail=tail, control=control, partitions=PARTITIONS, wait_s=WAIT_S,
        )  # fmt: skip
        self.audit = KafkaAudit(publisher=publisher, codec=CODEC, clock=self.clock, partitions=1)
        self.issuer = LocalIssuer(folder / "keys", self.clock)
        keys = KeySource(from_file(self.issuer.jwks), self.clock, local_keys=True)
        tokens = Tokens(TokenSettings(LOCAL_ISSUER, LOCAL_AUDIENCE), keys, self.clock)
        unused: Any = None
        evidence: Any = NothingSigned()
        services = Services(
            reader=self.reader, commands=self.commands, audit=self.audit, evidence=evidence,
            clock=self.clock, codec=CODEC, journal=unused, sources={CLIENT: CLIENT_SOURCE},
            keyring=unused, partitions=PARTITIONS,
        )  # fmt: skip
        self.app = create_app(services, tokens, settings)
        # Each request of the test client has its own event loop; a limiter wakes one loop only.
        self.app.state.sign_in_threads = CapacityLimiter(math.inf)
        self.http = TestClient(self.app, raise_server_exceptions=True)

    def close(self) -> None:
        self.http.close()
        self.reader.close()
        self._writer.close()
        self._model.close()

    # -- HTTP --------------------------------------------------------------------------------------

    def token(self, person: str) -> str:
        if person == CLIENT:
            return self.issuer.issue(person, [SUBMITTER], client_id=CLIENT)
        return self.issuer.issue(person, ROLES[person])

    def post(self, person: str, path: str, body: Any = None, **headers: str) -> Response:
        signed = {"Authorization": f"Bearer {self.token(person)}", **headers}
        return self.http.post(path, json=body, headers=signed)

    def get(self, person: str, path: str) -> Response:
        return self.http.get(path, headers={"Authorization": f"Bearer {self.token(person)}"})

    def sign(self, record: Any, at: int | None = None) -> Any:
        """The act signed by its actor, as the obeying processes require."""
        now = self.clock.now_ms() if at is None else at
        return self.world.hands.in_turn(self.world.control, record, now)

    def carry(self, path: str, record: Any, person: str | None = None) -> Response:
        """The act delivered by its actor, or by `person`."""
        return self.post(person or record.actor, path, act_json.to_json(self.sign(record)))

    def resume_parked(self, first: str, second: str, payment: str) -> tuple[Response, Response]:
        """Both people sign for a parked payment."""
        path = f"/api/payments/{payment}/resume-requests"
        sequence = self.world.known(payment).payment.sequence
        requested = records.UnparkRequested(
            payment_intent_id=PaymentIntentId(payment), sequence=sequence, reason=PARKED_REASON,
            requested_at=1, actor=first,
        )  # fmt: skip
        one = self.carry(path, requested)
        offset = one.json()["offset"]
        agreed = records.ActConfirmed(request_offset=offset, confirmed_at=1, actor=second)
        return one, self.carry(f"{path}/{offset}/confirm", agreed)

    def act(self, person: str, payment: str, action: str, body: Any) -> Response:
        return self.post(person, f"/api/payments/{payment}/{action}", body)

    # -- the world ---------------------------------------------------------------------------------

    def work(self) -> None:
        """Decide published commands, report them to waiting requests and the read model; Resolve
        refers every request.
        """
        with self.log.lock:
            self.world.driver.run()
            self.resolve_refers()
            self.project()
            for record in self.world.driver.take(topology.QUARANTINE):
                self.tail.hear_quarantine(record)
            for record in self.world.driver.take(topology.OUTCOMES):
                self.tail.wait_for(record)

    def resolve_refers(self) -> None:
        for record in self.world.driver.take(topology.RESOLVE_REQUESTS):
            requested = CODEC.decode(topology.RESOLVE_REQUESTS, record.value)
            header = InputHeader(payment_intent_id=requested.header.payment_intent_id)
            if isinstance(requested, instructions.ApprovalRequest):
                decision = commands.ApprovalDecision(
                    header=header,
                    approval_id=requested.approval_id,
                    verdict="REFERRED",
                    decided_by="policy",
                    rules_evaluated=("a person decides",),
                    policy_version="1",
                )
                self.world.pipe(topology.RESOLVE_DECISIONS, decision)
            else:
                self.world._answer(requested)
        self.world.driver.run()

    def project(self) -> None:
        for topic in {topic for topic, _ in self._source.log}:
            found = self.world.driver.committed(topic)
            known = {
                (r.partition, r.offset)
                for place, held in self._source.log.items()
                if place[0] == topic
                for r in held
            }
            for record in found:
                if (record.partition, record.offset) not in known:
                    self._source.append(record)
        run(self._feed, self.clock)

    def sent(self, key: str, **fields: Any) -> str:
        """A payment whose instruction is with the rail, which does not report."""
        payment = self.world.create(key, **fields)
        for _ in range(4):
            self.world.driver.run()
            for topic in (topology.RESOLVE_REQUESTS, topology.DEPOSITS_REQUESTS):
                for record in self.world.driver.take(topic):
                    self.world._answer(CODEC.decode(topic, record.value))
        self.work()
        assert self.world.known(payment).payment.state == "SENT"
        return payment

    def answer_checks(self) -> None:
        """Policy passes and the funds are held, for every open request."""
        for topic in (topology.DEPOSITS_REQUESTS, topology.RESOLVE_REQUESTS):
            for record in self.world.driver.take(topic):
                self.world._answer(CODEC.decode(topic, record.value))
        self.work()

    def report(self, payment: str, kind: Any, code: str | None = None, **fields: Any) -> None:
        """The rail's report about the payment's last attempt."""
        found = self.world.driver.committed(topology.RAIL_SUBMISSIONS)
        mine = [r.value for r in found if r.key == payment.encode()]
        instruction: instructions.RailInstruction = CODEC.decode(
            topology.RAIL_SUBMISSIONS, mine[-1]
        )
        report = commands.RailReport(
            header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
            external_ref=instruction.external_ref,
            kind=kind,
            adapter="default",
            code=code,
            amount=instruction.amount,
            currency="AUD",
            rail_message_id=f"{kind}-{instruction.external_ref}",
            **fields,
        )
        self.world.pipe(topology.RAIL_REPORTS, report)
        self.work()

    def failed(self, key: str) -> str:
        """A payment that the rail rejected, retry-safe and certain, with its hold released."""
        payment = self.sent(key)
        self.report(payment, "REJECTED", "AB03")
        self.answer_checks()
        assert self.world.known(payment).payment.state == "FAILED"
        return payment

    def park(self, payment: str) -> None:
        """A defect hits the payment's next input."""
        rules_of, now = self.world.rules_of, self.clock.now_ms()
        broken = msgspec.structs.replace(self.world.rules, windows=None)
        self.world.rules_of = lambda number: broken
        operator = OperatorHeader(
            operator_id="olga", roles=("operator",), token_id="t", not_after=now + 60_000
        )
        requested = commands.RequestApproval(
            header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
            operator=operator,
            action="RETRY",
            reason="x",
        )
        self.world.pipe(topology.OPERATOR_COMMANDS, requested)
        self.world.driver.run()
        self.world.rules_of = rules_of

    def approved(
        self, payment: str, action: str, *, by: str = "olga", second: str = "anna", **more: Any
    ) -> str:
        """Request and approve; the approval's id."""
        body = {"action": action, "reason": f"to {action.lower()}", **more}
        requested = self.act(by, payment, "approvals", body)
        assert requested.status_code == 200, requested.text
        approval: str = requested.json()["approvalId"]
        path = f"approvals/{approval}/approve"
        decided = self.act(second, payment, path, {"reason": "looks right"})
        assert decided.status_code == 200, decided.text
        return approval

    # -- the log's content -------------------------------------------------------------------------

    def written(self, topic: str) -> list[Any]:
        return [
            CODEC.decode(topic, record.value, record.headers)
            for record in self.world.driver.committed(topic)
        ]

    def audited(self) -> list[OperatorAudit]:
        return self.written(topology.AUDIT)

    def outcomes(self) -> list[Outcome]:
        return self.written(topology.OUTCOMES)


def problem(answer: Response) -> tuple[int, str, str]:
    """Status, code and rule of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said = answer.json()
    assert said["sentence"]
    return answer.status_code, said["code"], said["rule"]


def as_dict(record: msgspec.Struct) -> dict[str, Any]:
    return dict(msgspec.structs.asdict(record))
