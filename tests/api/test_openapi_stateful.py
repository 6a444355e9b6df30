"""The links in the OpenAPI document work: schemathesis follows them from call to call over the real
core, and makes each call without sign-in first.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hypothesis
import pytest
from schemathesis import GenerationMode, openapi
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.app import ApiSettings
from api.edge import openapi_links
from api.edge.limits import LimitSettings, Rate
from api.payments import routes as payments
from control.acts.roles import ADMIN, SUBMITTER
from engine.records import LogRecord
from evidence.log import Later
from evidence.packs.service import PackService
from processors.payments.packing import Known
from schemas import topology
from schemas.codec.written import WrittenSchemas
from tests.api.command_harness import CLIENT, ApiHarness
from tests.api.harness import Journal
from tests.evidence.harness import fingerprints, keyring
from tests.processors.payments.world import CODEC

pytestmark = pytest.mark.slow

SCENARIOS_COUNT = 8
WALKS_MAX = 12  # which calls a walk reaches also depends on ids that are new each time
STEPS_COUNT = 40
WIDE = Rate(per_s=1e6, burst=1e6)
QUICK = hypothesis.settings(
    max_examples=SCENARIOS_COUNT,
    stateful_step_count=STEPS_COUNT,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)
SECOND = {"approve": "anna", "reject": "aron", "confirmResume": "adam", "confirmRedrive": "adam"}
PARTY = {"name": "Alex Example", "bsb": "062000", "account": "12345678"}
PAYMENT = {
    "amount": 1_250, "currency": "AUD", "endToEndId": "INV-1", "service": "x2p1",
    "debtor": PARTY, "creditor": PARTY,
}  # fmt: skip
# All operations about payments; a stop would end the walk, and redrives need quarantined records.
WALKED = {each for link in openapi_links.LINKS for each in (link[0], link[2])} - {
    *("stop", "requestResume", "confirmResume", "requestRedrive", "confirmRedrive"),
    *("quarantine", "quarantined", "attention", "conflicts", "resolveReconciliation"),
}
FITS = {"SENT": "CANCEL", "FAILED": "RETRY"}
SAID_BY_THE_SERVER = ("cursor", "from", "to", "asOf")  # see test_api_openapi
# What must have happened for the walk to prove anything: (operation, status).
COME_ABOUT = {
    ("createPayment", 200), ("payment", 200), ("paymentEvents", 200), ("paymentOutcomes", 200),
    ("paymentEventStore", 200), ("outcome", 200), ("requestApproval", 200), ("approve", 200),
    ("reject", 200), ("makeEvidencePack", 200), ("downloadEvidencePack", 200),
    ("verifyEvidencePack", 200), ("retry", 403), ("cancel", 403), ("retry", 200), ("cancel", 200),
}  # fmt: skip


class DriverEvidence:
    """An EvidenceLog over the driver's log."""

    def __init__(self, harness: ApiHarness) -> None:
        self._driver = harness.world.driver

    def at(self, topic: str, partition: int, offsets: Sequence[int]) -> Mapping[int, LogRecord]:
        found = self._driver.committed(topic)
        return {r.offset: r for r in found if r.partition == partition and r.offset in offsets}

    def control(self) -> Sequence[LogRecord]:
        return self._driver.committed(topology.CONTROL)

    def later(self, topic: str, partition: int, key: bytes, start: int) -> Later:
        found = [r for r in self._driver.committed(topic) if r.partition == partition]
        end = found[-1].offset + 1 if found else 0
        mine = [(r.offset, r.value or b"") for r in found if r.key == key and r.offset >= start]
        return Later(mine, end, end)


@pytest.fixture
def harness(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiHarness]:
    monkeypatch.setattr(payments, "WAIT_S_MAX", 0.1)  # for a sequence that never arrives
    made = ApiHarness(tmp_path_factory.mktemp("api"), ApiSettings(LimitSettings(WIDE, WIDE, WIDE)))
    ring = keyring()
    schemas = WrittenSchemas(fingerprints())
    log: Any = DriverEvidence(made)
    world: Any = made
    made.app.state.services = dataclasses.replace(
        made.app.state.services,
        evidence=PackService(
            reader=made.reader, codec=CODEC, schemas=schemas, keyring=lambda: ring, log=log
        ),
        journal=Journal(world),
        keyring=ring,
    )
    yield made
    made.close()


def person_of(case: Any) -> str:
    """A user who may do it; the second person where one is needed."""
    operation = case.operation.definition.raw
    roles = operation["x-roles"]
    if operation["operationId"] in SECOND:
        return SECOND[operation["operationId"]]
    return CLIENT if roles == [SUBMITTER] else "ada" if roles == [ADMIN] else "sue"


def make_possible(harness: ApiHarness, case: Any) -> None:
    """Replaces what the schema allows by values that only somebody who knows the
    payment can give.
    """
    name = case.operation.definition.raw["operationId"]
    if name == "createPayment":
        case.body = PAYMENT
    elif name == "requestApproval":
        fits = FITS.get(state_of(harness, case.path_parameters["payment_intent_id"]) or "")
        case.body = {"action": fits or case.body["action"], "reason": "requested"}
    elif name in openapi_links.ACTIONS:
        case.body = {k: v for k, v in case.body.items() if k not in ("operatorId", "approvalId")}
        if name == "retry":
            case.body["attemptId"] = "att_002"


def state_of(harness: ApiHarness, payment: str) -> str | None:
    known = harness.world.driver.state(payment)
    return known.payment.state if isinstance(known, Known) else None


def test_the_walk_along_the_links_matches_the_document_signed_in_and_not(
    harness: ApiHarness,
) -> None:
    """API-01: create → read → request an approval → second person's decision → act → outcome →
    pack, in any order that the links allow, with all checks. Before each call the same call is made
    without sign-in: it is refused and leaves no command.
    """
    schema: Any = openapi.from_asgi("/openapi.json", harness.app).include(operation_id=list(WALKED))
    schema.config.phases.stateful.inference.algorithms = []  # only the document's own links
    schema.config.generation.update(modes=[GenerationMode.POSITIVE], with_security_parameters=False)
    # It would take customerId for a resource that no operation creates, and the creation for no
    # start.
    schema.analysis.dependency_graph.operations.pop("POST /api/payments")
    seen: Counter[tuple[str, int]] = Counter()
    versions: dict[str, int] = {}
    base: Any = schema.as_state_machine()

    class Walk(base):  # type: ignore[misc]  # made at run time
        def before_call(self, case: Any) -> None:
            make_possible(harness, case)
            before = commands_on(harness)
            answer = case.call(headers={"Authorization": "Bearer none"})
            assert answer.status_code in (400, 401, 404, 405), answer.text
            assert commands_on(harness) == before

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {harness.token(person_of(case))}"}}

        def after_call(self, response: Any, case: Any) -> None:
            super().after_call(response, case)
            name = case.operation.definition.raw["operationId"]
            seen[name, response.status_code] += 1
            if response.status_code == 200 and name == "payment":
                body = response.json()
                assert body["sequence"] >= versions.get(body["paymentIntentId"], 0)
                versions[body["paymentIntentId"]] = body["sequence"]
            if response.status_code == 200 and name == "createPayment":
                go_on(harness, response.json()["paymentIntentId"], seen[name, 200] % 2 == 1)

        def validate_response(self, response: Any, case: Any, *_: Any, **kwargs: Any) -> None:
            excluded = []
            if response.status_code == 400 and said_by_the_server(response.json()):
                excluded.append(positive_data_acceptance)
            case.validate_response(
                response, excluded_checks=excluded, transport_kwargs=kwargs, recorder=self.recorder
            )

    for number in range(WALKS_MAX):
        hypothesis.seed(number)(Walk).run(settings=QUICK)
        if not COME_ABOUT - set(seen):
            break
    assert not COME_ABOUT - set(seen), seen


def said_by_the_server(problem: dict[str, Any]) -> bool:
    """Whether it refuses what no schema can express; `commandId` is issued by the engine."""
    return problem.get("field") in SAID_BY_THE_SERVER or "commandId" in problem


def commands_on(harness: ApiHarness) -> int:
    driver = harness.world.driver
    topics = (topology.OPERATOR_COMMANDS, topology.API_COMMANDS, topology.CONTROL)
    return sum(len(driver.committed(topic)) for topic in topics)


def go_on(harness: ApiHarness, payment: str, refused: bool) -> None:
    """The created payment is sent; every second one is rejected by the rail."""
    harness.answer_checks()
    if refused and state_of(harness, payment) == "SENT":
        harness.report(payment, "REJECTED", "AB03")
