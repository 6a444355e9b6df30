"""The state of the control topic: stops, requests to end them, rule set, sources, proofs."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from api.auth.guard import router as guarded
from api.auth.sign_in import Use
from api.edge.params import gives, in_thread, json_answer
from api.edge.views import View, iso
from api.services import Services
from control.acts import act_json
from control.acts.act_signature import key_id_of
from control.fold import Control
from core import control_records as records

router = guarded()

HISTORY_COUNT_MAX: Final = 100
READ_COUNT: Final = 1_000
ROWS_COUNT_MAX: Final = 100_000


class ResumeRequestView(View):
    """The last request to end a stop; `offset` names it when it is confirmed."""

    offset: int
    reason: str
    requested_at: str
    actor: str
    proof_offset: int


class StopView(View):
    """The first open stop of a cause; all of one cause are ended together, by two people and a
    passed replay.
    """

    stop_id: str
    reason: str
    automatic: bool
    stopped_at: str
    actor: str
    resume_request: ResumeRequestView | None


class RuleSetView(View):
    """The rule set in force."""

    number: int
    sha256: str
    state_version: int
    event_schema_version: int
    activated_at: str
    actor: str


class SourcesView(View):
    """Which sources each command topic may carry."""

    number: int
    topics: dict[str, list[str]]
    activated_at: str
    actor: str


class ProofView(View):
    """A replay that passed. `offsets` are the journal's ends that it covers, by partition."""

    offset: int
    scope: str
    fold: bool
    chain: bool
    redecide: bool
    identity: bool
    money: bool
    offsets: list[int]
    passed_at: str
    actor: str


class OperatorView(View):
    """A person of the operators file in force; `lastNumber` is the highest that the person has used
    in a signature.
    """

    id: str
    roles: list[str]
    key_ids: list[str]
    valid_until: str | None
    last_number: int


class OperatorsView(View):
    """The operators file in force: who may sign control acts."""

    number: int
    sha256: str
    persons: list[OperatorView]


class RequestView(View):
    """An act that waits for a second person: whole, since the second signature covers its hash.
    `offset` is -1 where the act's own id names it.
    """

    offset: int
    act: dict[str, Any]


class ControlRecordView(View):
    """A control record, by name. `refused`: the rule by which it was refused, or null."""

    offset: int
    type: str
    at: str
    actor: str | None
    refused: str | None


class ControlView(View):
    """`running`: inputs are processed. `blocked`: why no partition may be taken, or null. `records`
    are the last ones that the read model has, newest first.
    """

    running: bool
    blocked: str | None
    stops: list[StopView]
    rule_set: RuleSetView | None
    sources: SourcesView | None
    latest_proof: ProofView | None
    cluster_id: str | None
    partitions: int | None
    operators: OperatorsView | None
    requests: list[RequestView]
    records: list[ControlRecordView]


@router.get(
    "/api/control",
    operation_id="control",
    summary="Stops, rule set, proofs and requests",
    **gives(ControlView),
)
async def control(services: Use) -> Response:
    """Usually at most a second old; 503 when the control topic could not be read for 5 s."""
    return json_answer(await in_thread(lambda: view(services)))


def view(services: Services) -> ControlView:
    """The current state of the topic. Raises Stopped if it cannot be read."""
    found = services.commands.control()
    stops = found.stops()
    blocked = found.ready()
    return ControlView(
        running=not stops and blocked is None,
        blocked=blocked,
        stops=[_stop(found, stop) for stop in stops],
        rule_set=_rule_set(found.rule_set),
        sources=_sources(found.source_map),
        latest_proof=_proof(found),
        cluster_id=found.cluster.cluster_id if found.cluster else None,
        partitions=found.cluster.partitions if found.cluster else None,
        operators=_operators(found),
        requests=[RequestView(at, act_json.to_json(each)) for at, each in found.requests()],
        records=_records(services),
    )


def _stop(found: Control, stop: records.ProcessingStopped) -> StopView:
    offset = found.resume_request(stop.stop_id)
    request_record = found.resume_requested(offset) if offset is not None else None
    request = None
    if offset is not None and request_record is not None:
        request = ResumeRequestView.of(
            request_record, offset=offset, requested_at=iso(request_record.requested_at)
        )
    return StopView.of(stop, stopped_at=iso(stop.stopped_at), resume_request=request)


def _rule_set(active: records.RuleSetActivated | None) -> RuleSetView | None:
    if active is None:
        return None
    return RuleSetView.of(active, sha256=active.sha256.hex(), activated_at=iso(active.activated_at))


def _sources(active: records.SourceMapActivated | None) -> SourcesView | None:
    if active is None:
        return None
    topics = {
        topic: [source for source in sources.split(",") if source]
        for topic, sources in zip(active.topics, active.sources, strict=True)
    }
    return SourcesView(active.number, topics, iso(active.activated_at), active.actor)


def _operators(found: Control) -> OperatorsView | None:
    file = found.operators
    if file is None:
        return None
    persons = [
        OperatorView(
            each.id,
            list(each.roles),
            [key_id_of(bytes.fromhex(key)) for key in each.public_keys],
            None if each.valid_until is None else each.valid_until.isoformat(),
            found.last_number(each.id),
        )
        for each in file.persons
    ]
    return OperatorsView(file.number, file.sha256.hex(), persons)


def _proof(found: Control) -> ProofView | None:
    offset = found.latest_proof()
    proof = found.proof(offset) if offset is not None else None
    if offset is None or proof is None:
        return None
    return ProofView.of(
        proof, offset=offset, offsets=list(proof.offsets), passed_at=iso(proof.passed_at)
    )


def _records(services: Services) -> list[ControlRecordView]:
    """The last control records, newest first. The topic is short, so it is read from its start."""
    kept: list[ControlRecordView] = []
    after = -1
    for _ in range(ROWS_COUNT_MAX // READ_COUNT):
        found = services.reader.control(after, READ_COUNT)
        kept += [ControlRecordView(r.offset, r.type, iso(r.at), r.actor, r.refused) for r in found]
        kept = kept[-HISTORY_COUNT_MAX:]
        if len(found) < READ_COUNT:
            break
        after = found[-1].offset
    return kept[::-1]
