"""With --json a refusal is JSON, whatever the command and the reason."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.npp import parser, run_cli
from app.exits import ExitCode
from tests.app.cli.test_api_client import FakeApi
from tests.app.cli.test_commands import COMMANDS, PAYMENT, is_group

pytestmark = pytest.mark.slow

REFUSAL = {"code": "FORBIDDEN", "rule": "ROLE_MISSING", "sentence": "no", "status": 403}
STARTS_PROCESSES = {"demo", "broker", "trial", "run"}  # or never ends
# Values for required parameters; any other gets a word.
GIVEN = {
    "payment": PAYMENT, "payments": PAYMENT, "what": PAYMENT, "reason": "RAIL", "amount": "12.50",
    "attempt": "1", "action": "CANCEL", "operation": "CAPTURE", "offset": "1", "partition": "0",
    "number": "1", "topics": "events",
}  # fmt: skip
LOOKS_UP = (
    ["payment", "watch", PAYMENT],
    ["payment", "show", PAYMENT],
    ["payment", "retry", PAYMENT, "--reason", "r"],
    ["conflict", "resolve", PAYMENT, "cnf_001", "--verdict", "RETURNED", "--details", "d"],
    ["payment", "resume", PAYMENT, "--confirm", "--reason", "r"],
    ["control", "resume", "--confirm"],
    ["evidence", "verify", PAYMENT],
    ["evidence", "pack", PAYMENT],
    ["payment", "create", "--key", "k", "--amount", "1.00"],
    ["approval", "approve", PAYMENT, "apr_001", "--reason", "r"],
)
RUNNABLE = [w for w in COMMANDS if not is_group(w) and w[0] not in STARTS_PROCESSES]


def with_what_is_required(words: list[str]) -> list[str]:
    command: Any = parser()
    for word in words:
        command = command.commands[word]
    found = [*words]
    for each in command.params:
        if each.required:
            value = GIVEN.get(each.name, "x")
            found += [value] if each.param_type_name == "argument" else [each.opts[0], value]
    return [*found, "--json"]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> pytest.MonkeyPatch:
    """Kafka and the registry do not listen; no API is configured."""
    monkeypatch.setenv("NPP_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("NPP_SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NPP_PROFILE", "test")
    monkeypatch.delenv("NPP_API_URL", raising=False)
    return monkeypatch


@pytest.fixture
def refusing(nowhere: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """An API that refuses everything."""
    made = FakeApi()
    made.answers = defaultdict(lambda: [(403, REFUSAL)])
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    nowhere.setenv("NPP_API_URL", made.url)
    yield made
    made.shutdown()
    made.server_close()


def refusal_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any] | None:
    """The output of a failed command: exactly one JSON document."""
    code = run_cli(words)
    out, err = capsys.readouterr()
    if code == ExitCode.OK:
        return None
    assert err == ""
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_without_kafka_and_api_every_command_reports_it_in_json(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = refusal_of(with_what_is_required(words), capsys)
    assert found is None or words == ["doctor"] or found["code"] in ExitCode.__members__


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_an_apis_refusal_is_printed_as_json_by_every_command(
    words: list[str], refusing: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal_of(with_what_is_required(words), capsys)


@pytest.mark.parametrize("words", LOOKS_UP, ids=lambda words: " ".join(words[:2]))
def test_a_refused_look_up_prints_the_apis_own_answer(
    words: list[str], refusing: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal_of([*words, "--json"], capsys) == REFUSAL


@pytest.mark.parametrize("words", [["payment", "cancel"], ["no-such-command"]], ids=" ".join)
def test_a_usage_error_is_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = refusal_of([*words, "--json"], capsys)
    assert found is not None
    assert found["code"] == "USAGE"
