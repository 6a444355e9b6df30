"""A clean history made by the product's own code, as evidence for the auditor, without a broker.

The payments processor runs on the engine's driver; `Outside` keeps the simulators' ledgers.
"""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import CollectorRegistry

from control.fold import Control
from core.control_records import ClusterRecorded, RuleSetActivated, SourceMapActivated
from core.header import InputHeader, OperatorHeader
from core.payment import commands as c
from core.payment import instructions as i
from core.records import RailSubmission
from core.rules import parse
from core.values import Cents, Parties, Party, PaymentIntentId, external_ref, payment_intent_id
from evidence.checkpoints import End, Range, build, seal
from processors.payments.handler import PaymentsApplication
from processors.payments.metrics import PaymentsMetrics
from processors.payments.topics import engine_topology
from schemas import catalogue
from schemas import topology as t
from schemas.codec.parties import seal as seal_parties
from schemas.registry import setup as schema_setup
from schemas.registry.client import StaticRegistry
from tests.auditor import Evidence, Record
from tests.auditor.wire import sha256
from tests.control.people import Hands, activated
from tests.engine.driver import Driver
from tests.keys import key_from_seed
from tests.rooms import ROOT

PARTITIONS = 6
CLUSTER = "cluster-of-the-test"
SOURCE = "mobile-app"
AMOUNT = 5_000
RULES = (ROOT / "core/rules/1.yaml").read_bytes()
TOPICS = catalogue.load()
WORK = (
    t.OUTCOMES, t.QUARANTINE, t.RAIL_SUBMISSIONS, t.DEPOSITS_REQUESTS, t.RESOLVE_REQUESTS,
    t.NOTIFICATIONS,
)  # fmt: skip
READ = (
    *(topic.name for topic in TOPICS.inputs()),
    t.EVENTS, t.LIFECYCLE, t.OUTCOMES, t.QUARANTINE, t.RAIL_SUBMISSIONS, t.DEPOSITS_REQUESTS,
)  # fmt: skip


class Outside:
    """The driver, everything outside it, and the ledgers."""

    def __init__(self) -> None:
        self.registry = StaticRegistry()
        registered = schema_setup.register_all(self.registry, TOPICS)
        self.codec = schema_setup.build(self.registry, TOPICS, registered, lambda: 0.0)
        self.control = Control(self.codec.decode, cluster_id=CLUSTER, partitions=PARTITIONS)
        self.hands = Hands(CLUSTER)
        self.rules = parse(RULES)
        self.driver = Driver(self._application, self.control)
        self.messages = 0
        self.rail: dict[str, dict[str, Any]] = {}
        self.deposits: dict[str, dict[str, Any]] = {}
        self.submitted: list[Record] = []
        self.approvals: list[i.ApprovalRequest] = []
        self._control(
            ClusterRecorded(cluster_id=CLUSTER, partitions=PARTITIONS, recorded_at=0, actor="test")
        )
        self._control(
            RuleSetActivated(
                number=self.rules.number,
                sha256=sha256(RULES),
                state_version=1,
                event_schema_version=1,
                activated_at=0,
                actor="test",
            )
        )
        self._control(
            SourceMapActivated(
                number=1, topics=(t.COMMANDS,), sources=(SOURCE,), activated_at=0, actor="test"
            )
        )
        self._control(activated())

    def _application(self) -> PaymentsApplication:
        self.figures = CollectorRegistry()  # of this process instance
        return PaymentsApplication(
            topology=engine_topology(PARTITIONS),
            codec=self.codec,
            control=self.control,
            rules_of={self.rules.number: self.rules}.__getitem__,
            cluster_id=CLUSTER,
            work_partitions=dict.fromkeys(WORK, 1),
            metrics=PaymentsMetrics(self.figures),
        )

    def _control(self, record: Any) -> None:
        signed = self.hands.in_turn(self.control, record, self.driver.clock.now_ms())
        self.driver.pipe_control(self.codec.encode(t.CONTROL, signed))

    # -- inputs -----------------------------------------------------------------------------------

    def give(self, topic: str, record: Any) -> None:
        """One input; then all its consequences, and the answers of Deposits Core."""
        key = record.header.payment_intent_id.encode()
        self.driver.pipe(topic, key, self.codec.encode(topic, record))
        self.settle()

    def settle(self) -> None:
        for _ in range(20):
            self.driver.advance(10)
            if not self._answer():
                return
        raise AssertionError("the outside does not come to rest")

    def create(self, key: str, *, amount: int = AMOUNT) -> str:
        payment = payment_intent_id(SOURCE, key)
        parties = Parties(
            debtor=Party(name="Ada", bsb="062000", account="12345678"),
            creditor=Party(name="Ben", bsb="082001", account="87654321"),
            remittance="invoice",
        )
        self.give(
            t.COMMANDS,
            c.CreatePayment(
                header=self.header(payment),
                source=SOURCE,
                idempotency_key=key,
                amount=Cents(amount),
                currency="AUD",
                parties=seal_parties(parties),
                end_to_end_id="E2E",
                service="sct",
            ),
        )
        return payment

    def header(self, payment: str) -> InputHeader:
        return InputHeader(
            payment_intent_id=PaymentIntentId(payment),
            command_id=f"cmd-{self.driver.clock.now_ms()}",
            sent_at=0,
        )

    def operator(self) -> OperatorHeader:
        until = self.driver.clock.now_ms() + 60_000
        return OperatorHeader(
            operator_id="ops_001",
            roles=("operator", "senior_operator"),
            token_id="token",
            not_after=until,
        )

    def report(self, payment: str, kind: Any, *, attempt: int = 1, **changes: Any) -> None:
        """A message of the rail; the ledger settles what was not rejected before."""
        self.messages += 1
        reference = external_ref(payment, attempt)
        entry = self.rail.get(reference)
        amount = changes.pop("amount", AMOUNT if kind == "SETTLED" else None)
        if entry is not None and kind == "REJECTED":
            entry["rejected"] = changes.get("code")
        if entry is not None and kind == "SETTLED" and entry["rejected"] is None:
            entry["settledAmount"] = amount
        report = c.RailReport(
            header=self.header(payment),
            external_ref=reference,
            kind=kind,
            adapter="simulator",
            amount=amount,
            currency="AUD" if amount else None,
            rail_message_id=f"MSG-{self.messages}",
            **changes,
        )
        self.give(t.RAIL_REPORTS, report)

    def approved(self, payment: str, action: Any, **parameters: Any) -> None:
        request = c.RequestApproval(
            header=self.header(payment),
            operator=self.operator(),
            action=action,
            reason="please",
            **parameters,
        )
        self.give(t.OPERATOR_COMMANDS, request)
        name = self.approvals[-1].approval_id
        verdict = "REFERRED" if action == "RETRY_UNCERTAIN" else "APPROVED"
        answer = c.ApprovalDecision(
            header=self.header(payment),
            approval_id=name,
            verdict=cast(Any, verdict),
            decided_by="apv_002",
            rules_evaluated=("two",),
            policy_version="1",
        )
        self.give(t.RESOLVE_DECISIONS, answer)
        if verdict == "REFERRED":
            until = self.driver.clock.now_ms() + 60_000
            approver = OperatorHeader(
                operator_id="apv_002", roles=("approver",), token_id="token-2", not_after=until
            )
            yes = c.DecideApproval(
                header=self.header(payment),
                operator=approver,
                approval_id=name,
                verdict="APPROVED",
                reason="seen",
            )
            self.give(t.OPERATOR_COMMANDS, yes)

    def retry(self, payment: str, action: str = "RETRY") -> None:
        self.approved(payment, action)
        command = c.RetryPayment(
            header=self.header(payment),
            operator=self.operator(),
            attempt_id="att_002",
            reason="again",
        )
        self.give(t.OPERATOR_COMMANDS, command)

    # -- answers ----------------------------------------------------------------------------------

    def _answer(self) -> int:
        """Play Deposits Core, the policy check and the rail; return the number of answers."""
        answered = 0
        for topic in (t.DEPOSITS_REQUESTS, t.RESOLVE_REQUESTS, t.RAIL_SUBMISSIONS):
            for record in self.driver.take(topic):
                answer = self._one(self.codec.decode(topic, record.value))
                if answer is not None:
                    where, value = answer
                    key = value.header.payment_intent_id.encode()
                    self.driver.pipe(where, key, self.codec.encode(where, value))
                    answered += 1
        return answered

    def _one(self, request: Any) -> tuple[str, Any] | None:
        match request:
            case i.DepositsRequest():
                return t.DEPOSITS_RESULTS, self._deposits(request)
            case i.PolicyCheckRequest():
                header = self.header(request.header.payment_intent_id)
                return t.RESOLVE_DECISIONS, c.PolicyVerdict(
                    header=header,
                    policy_ref=request.policy_ref,
                    verdict="PASSED",
                    phase=request.phase,
                    rules_evaluated=("limits",),
                    policy_version="1",
                )
            case i.ApprovalRequest():
                self.approvals.append(request)
            case i.RailInstruction(kind="SUBMIT"):
                self._submit(request)
        return None

    def _submit(self, request: i.RailInstruction) -> None:
        payment = request.header.payment_intent_id
        entry = {"externalRef": request.external_ref, "submitted": 1, "amount": request.amount}
        self.rail[request.external_ref] = {**entry, "settledAmount": 0, "rejected": None}
        own = RailSubmission(
            external_ref=request.external_ref,
            payment_intent_id=payment,
            phase="SUBMITTED",
            submit_before=request.submit_before,
            at=0,
            tries=1,
        )
        self.submitted.append(
            Record(
                t.RAIL_SUBMITTED, 0, len(self.submitted), request.external_ref.encode(),
                self.codec.encode(t.RAIL_SUBMITTED, own),
            )
        )  # fmt: skip

    def _deposits(self, request: i.DepositsRequest) -> c.DepositsResult:
        self.deposits[request.funds_ref] = {
            "fundsRef": request.funds_ref,
            "operation": request.operation,
            "amount": request.amount,
            "done": True,
        }
        done = {
            "HOLD": "HELD", "CAPTURE": "CAPTURED", "RELEASE": "RELEASED",
            "DEBIT_FORCED": "DEBITED", "REVERSE": "REVERSED", "CREDIT": "CREDITED",
        }[request.operation]  # fmt: skip
        return c.DepositsResult(
            header=self.header(request.header.payment_intent_id),
            funds_ref=request.funds_ref,
            operation=request.operation,
            result=cast(Any, done),
            amount=request.amount,
            hold_ref="HOLD-1",
            ledger_ref="LEDGER-1",
            verified_at=self.driver.clock.now_ms(),
        )

    # -- evidence ---------------------------------------------------------------------------------

    def evidence(self) -> Evidence:
        """What the auditor would read from a cluster, with one checkpoint per partition."""
        records = {
            topic: [
                Record(topic, r.partition, r.offset, r.key, r.value, tuple(r.headers))
                for r in self.driver.committed(topic)
            ]
            for topic in READ
        }
        key = key_from_seed(bytes(32))
        records[t.RAIL_SUBMITTED] = list(self.submitted)
        records[t.CHECKPOINTS] = self._checkpoints(records[t.EVENTS], records[t.OUTCOMES], key)
        count = len({r.value[1:5] for rs in records.values() for r in rs if r.value}) + 200
        schemas = {n: s for n in range(1, count) if (s := self.registry.by_id(n)) is not None}
        ends = {
            (topic, n): len([r for r in records[topic] if r.partition == n])
            for topic in READ
            for n in range(PARTITIONS)
        }
        return Evidence(
            records=records,
            schemas=schemas,
            rail={"payments": list(self.rail.values())},
            deposits={"entries": list(self.deposits.values()), "holds": {}},
            stable={place: (end, end) for place, end in ends.items()},
            positions=ends,
            keys={key.key_id: key.public},
        )

    def _checkpoints(self, events: list[Record], outcomes: list[Record], key: Any) -> list[Record]:
        made = []
        for partition in range(PARTITIONS):
            touched = Range()
            here = [record for record in events if record.partition == partition]
            for record in here:
                event = self.codec.decode(t.EVENTS, record.value)
                header = event.header
                head = sha256(record.value or b"")
                touched.touch(header.payment_intent_id, header.sequence, head)
            for record in outcomes:
                outcome = self.codec.decode(t.OUTCOMES, record.value)
                by = (outcome.cause.topic, outcome.cause.partition)
                if by == (t.OPERATOR_COMMANDS, partition) and outcome.result != "MISROUTED":
                    touched.answer(outcome.payment_intent_id, sha256(record.value or b""))
            if here:
                end = End(here[-1].offset, outcomes[-1].offset if outcomes else -1)
                draft = build(partition, None, touched, end, 1, key.key_id)
                sealed = seal(draft, key, lambda each: self.codec.encode(t.CHECKPOINTS, each))
                made.append(Record(t.CHECKPOINTS, partition, 0, b"", sealed.raw))
        return made


def clean() -> tuple[Evidence, dict[str, str]]:
    """The evidence of a run that covers most cases, and its payments by role."""
    world = Outside()
    paid = world.create("paid")
    world.create("paid")
    world.create("paid", amount=AMOUNT + 1)
    rejected = world.create("rejected")
    retried = world.create("retried")
    conflict = world.create("conflict")
    cancelled = world.create("cancelled")
    uncertain = world.create("uncertain")
    for payment in (paid, retried, uncertain):
        world.report(payment, "RECEIVED", code="RCVD")
    world.report(paid, "SETTLED", code="ACSC")
    world.report(paid, "ACCEPTED", code="ACSP")
    world.report(rejected, "REJECTED", code="AC01")
    world.report(retried, "REJECTED", code="AB08")
    world.retry(retried)
    world.report(retried, "ACCEPTED", attempt=2, code="ACSP")
    world.report(retried, "SETTLED", attempt=2, code="ACSC")
    world.report(conflict, "REJECTED", code="AC01")
    world.report(conflict, "SETTLED", code="ACSC")
    world.approved(cancelled, "CANCEL")
    cancel = c.CancelPayment(
        header=world.header(cancelled), operator=world.operator(), reason="the customer asked"
    )
    world.give(t.OPERATOR_COMMANDS, cancel)
    world.report(cancelled, "WITHDRAWN")
    world.rail.pop(external_ref(cancelled, 1))  # withdrawn in time: the rail never received it
    world.approved(uncertain, "MARK_FAILED", failure_reason="RAIL")
    failed = c.MarkPaymentFailed(
        header=world.header(uncertain),
        operator=world.operator(),
        reason="RAIL",
        details="no answer",
    )
    world.give(t.OPERATOR_COMMANDS, failed)
    world.retry(uncertain, "RETRY_UNCERTAIN")
    world.report(uncertain, "SETTLED", attempt=2, code="ACSC")
    world.report(uncertain, "SETTLED", code="ACSC")
    world.driver.pipe(t.COMMANDS, b"pi_x", b"\x00rubbish")
    world.driver.pipe(t.COMMANDS, None, b"")
    world.settle()
    names = {
        "paid": paid, "rejected": rejected, "retried": retried, "conflict": conflict,
        "cancelled": cancelled, "uncertain": uncertain,
    }  # fmt: skip
    return world.evidence(), names
