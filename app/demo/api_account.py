"""Compares the API with Kafka at the end: payments (I9), audit, answers to operators.

Kafka is read again; the API has some seconds to catch up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from app.cli.api_client import Api, Call
from app.cluster import Cluster
from app.demo.operator_calls import Acknowledged
from core.records import Outcome, PaymentLifecycle
from core.values import attempt_id
from engine.clients.reader import read_all
from schemas import topology
from schemas.errors import Undecodable

PAGE_COUNT: Final = "200"
PAGES_MAX: Final = 5_000  # a million entries
CATCH_UP_SECONDS_MAX: Final = 60.0
ASK_EVERY_SECONDS: Final = 0.5
NAMED_MAX: Final = 5


class ApiAccount:
    """Commands and outcomes are read in the constructor, the rest when it is compared."""

    def __init__(self, cluster: Cluster, api: Api, tend: Callable[[], object]) -> None:
        """`tend` is called while waiting for the API."""
        self._cluster = cluster
        self._api = api
        self._tend = tend
        self.lifecycle: dict[str, PaymentLifecycle] = {}
        self.commands = dict(_commands(cluster))
        self.outcomes = dict(_outcomes(cluster))

    def problems(self, acknowledged: Iterable[Acknowledged]) -> list[str]:
        """Every difference, the worst first. Raises Problem when the API does not answer."""
        return [
            *self._reported(acknowledged),
            *self._settling(self._payments),
            *self._settling(self._audit),
        ]

    def _settling(self, differences: Callable[[], list[str]]) -> list[str]:
        """The read model is eventual, and others may continue: only a lasting difference counts."""
        clock = self._cluster.clock
        until = clock.monotonic_s() + CATCH_UP_SECONDS_MAX
        found = differences()
        while True:
            if not found or clock.monotonic_s() > until:
                return _some(found)
            self._tend()
            clock.sleep(ASK_EVERY_SECONDS)
            stays = {_subject(each) for each in found}
            found = [each for each in differences() if _subject(each) in stays]

    def _payments(self) -> list[str]:
        """I9: each payment in the API's list as the lifecycle topic has it."""
        self.lifecycle = dict(_lifecycle(self._cluster))
        shown = {item["paymentIntentId"]: item for item in self._list("/api/payments")}
        wrong = [
            f"{name}: the API shows {_of_api(shown[name])}, the lifecycle topic {_of_topic(record)}"
            if name in shown
            else f"{name}: the API does not show it"
            for name, record in self.lifecycle.items()
            if name not in shown or _of_api(shown[name]) != _of_topic(record)
        ]
        extra = [f"{name}: only the API has it" for name in shown.keys() - self.lifecycle.keys()]
        return wrong + extra

    def _audit(self) -> list[str]:
        """AUD-01, AUD-02: each operator command with its outcome, and its operator."""
        noted = {
            item["commandId"]: item
            for item in self._list("/api/audit")
            if item.get("commandId") is not None
        }
        wrong = []
        for command_id, command in self.commands.items():
            item = noted.get(command_id)
            outcome = self.outcomes.get(command_id)
            if item is None:
                wrong.append(f"{command_id} is not in the audit log")
            elif item["operatorId"] != command.operator.operator_id:
                wrong.append(f"{command_id}: the audit log names another operator")
            elif outcome is not None and item["result"] != outcome.result:
                result = f"{item['result']}, its outcome {outcome.result}"
                wrong.append(f"{command_id}: the audit log says {result}")
        return wrong

    def _reported(self, acknowledged: Iterable[Acknowledged]) -> list[str]:
        """I7: every result acknowledged over HTTP is on the log, unchanged."""
        wrong = []
        for each in acknowledged:
            outcome = self.outcomes.get(each.command_id)
            if outcome is None:
                wrong.append(f"{each.command_id} was acknowledged, and has no outcome on the log")
            elif (outcome.result, outcome.to_sequence) != (each.result, each.to_sequence):
                wrong.append(f"{each.command_id}: people were told {each.result}, not the outcome")
        return _some(wrong)

    def _list(self, path: str) -> Iterator[dict[str, Any]]:
        cursor = ""
        for _ in range(PAGES_MAX):
            query = (("limit", PAGE_COUNT), *((("cursor", cursor),) if cursor else ()))
            page = self._api.ask(Call("GET", path, query)).body
            yield from page["items"]
            cursor = page.get("next") or ""
            if not cursor:
                return


def _of_api(item: Mapping[str, Any]) -> dict[str, Any]:
    names = ("state", "reason", "moneyOutcome", "amount", "attemptId", "externalRef", "funds")
    return {name: item[name] for name in (*names, "overdue", "openConflicts", "sequence")}


def _of_topic(record: PaymentLifecycle) -> dict[str, Any]:
    return {
        "state": record.state,
        "reason": record.reason,
        "moneyOutcome": record.money_outcome,
        "amount": record.amount,
        "attemptId": attempt_id(record.attempt),
        "externalRef": record.external_ref,
        "funds": record.funds,
        "overdue": record.overdue,
        "openConflicts": record.open_conflicts,
        "sequence": record.sequence,
    }


def _subject(difference: str) -> str:
    """The payment or the command that it is about."""
    return difference.partition(" ")[0].rstrip(":")


def _some(found: list[str]) -> list[str]:
    """A few by name, and how many more."""
    more = len(found) - NAMED_MAX
    return found[:NAMED_MAX] + ([f"… and {more} more like the last"] if more > 0 else [])


def _records(cluster: Cluster, topic: str) -> Iterator[Any]:
    for batch in read_all(cluster.connection, topic, clock=cluster.clock):
        for at in batch:
            try:
                if at.value is not None:
                    yield cluster.codec.decode(topic, at.value, at.headers)
            except Undecodable:
                continue  # in quarantine, and accounted for there


def _lifecycle(cluster: Cluster) -> Iterator[tuple[str, PaymentLifecycle]]:
    for record in _records(cluster, topology.LIFECYCLE):
        yield record.payment_intent_id, record


def _commands(cluster: Cluster) -> Iterator[tuple[str, Any]]:
    for record in _records(cluster, topology.OPERATOR_COMMANDS):
        yield record.header.command_id, record


def _outcomes(cluster: Cluster) -> Iterator[tuple[str, Outcome]]:
    for record in _records(cluster, topology.OUTCOMES):
        if record.cause.command_id is not None:
            yield record.cause.command_id, record
