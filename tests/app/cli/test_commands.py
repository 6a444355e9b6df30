"""The command line without a broker: help, usage, refusals, exit codes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from app.cli.npp import parser, run_cli
from app.cli.output import time_of
from app.cli.words import cents, epoch_ms
from app.exits import ExitCode, Problem
from app.topic_specs import acl_specs, topic_specs
from schemas import catalogue

SCREEN_LINES = 40
SCREEN_COLUMNS = 100
PAYMENT = "pi_pdkz22ub6ujnprx6nas575vbxy"


def every_command() -> list[list[str]]:
    """Every visible command, groups included."""
    found: list[list[str]] = [[]]

    def walk(group: object, words: list[str]) -> None:
        for name, command in sorted(getattr(group, "commands", {}).items()):
            if command.hidden:
                continue
            found.append([*words, name])
            walk(command, [*words, name])

    walk(parser(), [])
    return found


COMMANDS = every_command()


def test_the_products_commands_exist() -> None:
    wanted = (
        "run payments;run adapters;run verifier;run projector;run monitor;run api;run replay;"
        "top;trial up;trial status;trial down;"
        "broker start;topics plan;topics apply;topics drift;topics acls;topics quotas;"
        "schemas register;schemas check;replay verify;replay rebuild;config;doctor;demo;token;"
        "payment show;payment list;payment events;payment outcomes;payment search;payment watch;"
        "payment attention;payment event-store;payment tail;payment publish;payment create;"
        "payment retry;payment cancel;payment mark-failed;payment expire;payment release;"
        "payment reverse;payment debit;payment repeat-funds;payment resume;"
        "approval list;approval request;approval approve;approval reject;"
        "conflict list;conflict show;conflict resolve;audit;incident summary;"
        "quarantine list;quarantine show;quarantine preview;quarantine redrive;quarantine redrives;"
        "control show;control stop;control resume;control recover;control rules;control operators;"
        "control ruling;control confirm;keys new;keys show;"
        "evidence pack;evidence packs;evidence verify;evidence keys;evidence limit-key"
    )
    assert set(wanted.split(";")) == {" ".join(words) for words in COMMANDS if not is_group(words)}


def is_group(words: list[str]) -> bool:
    command: Any = parser()
    for word in words:
        command = command.commands[word]
    return hasattr(command, "commands")


def test_the_help_of_npp_fits_one_screen_and_says_where_to_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Section 5."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    assert run_cli(["--help"]) == 0
    lines = capsys.readouterr().out.strip("\n").splitlines()
    assert len(lines) <= SCREEN_LINES
    assert max(len(line) for line in lines) <= SCREEN_COLUMNS
    assert "Start with `npp demo`" in " ".join(lines)


@pytest.mark.parametrize("words", [w for w in COMMANDS if not is_group(w)], ids=" ".join)
def test_every_command_has_json_and_a_data_folder(words: list[str]) -> None:
    command: Any = parser()
    for word in words:
        command = command.commands[word]
    options = [name for each in command.params for name in each.opts]
    for wanted in ("--json", "--data"):
        assert options.count(wanted) == 1


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([*words, "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> pytest.MonkeyPatch:
    """No cluster is configured, and no demo runs."""
    monkeypatch.delenv("NPP_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("NPP_SCHEMA_REGISTRY_URL", raising=False)
    monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NPP_PROFILE", "test")
    return monkeypatch


def test_without_a_cluster_the_message_names_the_variable_to_set(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["payment", "show", PAYMENT]) == ExitCode.USAGE
    assert "NPP_BOOTSTRAP_SERVERS" in capsys.readouterr().err


def test_an_unreachable_cluster_is_reported_at_once(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere.setenv("NPP_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    for command in (["payment", "show", PAYMENT], ["topics", "plan"], ["doctor"]):
        assert run_cli(command) == ExitCode.UNREACHABLE
    assert "127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["payment", "cancel", PAYMENT, "--as", "a", "--reason", "r"],
        ["approval", "request", PAYMENT, "--action", "RETRY", "--as", "a", "--reason", "r"],
        ["approval", "approve", PAYMENT, "apr_001", "--as", "a", "--reason", "r"],
        ["payment", "mark-failed", PAYMENT, "--reason", "RAIL", "--details", "d", "--as", "a"],
    ],
)
def test_payment_commands_over_kafka_are_refused_in_production(
    words: list[str], nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere.setenv("NPP_PROFILE", "production")
    nowhere.setenv("NPP_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run_cli(words) == ExitCode.USAGE
    assert "production" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["payment", "show", "pi_short"],
        ["payment", "cancel", PAYMENT],
        ["control", "resume", "--as", "a"],
        ["payment", "tail", "nothing"],
        ["control", "rules", "7", "--as", "a"],
        ["run", "adapters", "--only", "nobody"],
        ["payment", "publish", "--amount", "12.345"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_meaningless_arguments_are_a_usage_error(
    words: list[str], nowhere: pytest.MonkeyPatch
) -> None:
    assert run_cli(words) == ExitCode.USAGE


def test_the_demo_rule_set_is_refused_in_production(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere.setenv("NPP_PROFILE", "production")
    assert run_cli(["control", "rules", "9001", "--as", "a"]) == ExitCode.USAGE
    assert "9001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"idempotencyKey": "k", "amount": 1, "amount": 100}', "key 'amount' is given twice"),
        (b'{"idempotencyKey": "k", "debtor": {"bsb": "1", "bsb": "2"}}', "key 'bsb' is given"),
        (b'{"idempotencyKey": "\xe4"}', "not UTF-8"),
        (b"[" * 60_000, "nested too deep"),
        (b"{", "not valid JSON"),
        (b'{"idempotencyKey": 1}', "another form"),
    ],
)
def test_an_unreadable_line_is_refused_with_its_number_and_reason(
    nowhere: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    line: bytes,
    says: str,
) -> None:
    """A duplicate key is refused and named; a non-text value gives no traceback."""
    file = tmp_path / "payments.jsonl"
    file.write_bytes(b"\n" + line + b"\n")
    nowhere.setenv("NPP_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run_cli(["payment", "publish", "--file", str(file)]) == ExitCode.USAGE
    output = " ".join(capsys.readouterr().err.split())
    assert "line 2" in output
    assert says in output


def test_amounts_are_parsed_to_cents_without_a_float() -> None:
    assert cents("12.50") == 1250
    assert cents("0.29") == 29
    assert cents("90071992547409.93") == 9007199254740993
    for wrong in ("", "1.005", "twelve", "NaN", "Infinity"):
        with pytest.raises(Problem):
            cents(wrong)


ACTIONS: list[tuple[str, str, dict[str, object]]] = [
    (f"payment retry {PAYMENT} --reason r --attempt 2", "retry", {"attemptId": "att_002"}),
    (f"payment release {PAYMENT} --reason r --attempt 1", "release", {"attemptId": "att_001"}),
    (f"payment reverse {PAYMENT} --reason r --attempt att_003", "reverse",
     {"attemptId": "att_003"}),
    (f"payment debit {PAYMENT} --reason r --attempt 2", "debit", {"attemptId": "att_002"}),
    (f"payment repeat-funds {PAYMENT} --reason r --operation CAPTURE --attempt 1", "funds/repeat",
     {"attemptId": "att_001", "operation": "CAPTURE"}),
    (f"approval request {PAYMENT} --reason r --action DEBIT_AGAIN --attempt 02", "approvals",
     {"action": "DEBIT_AGAIN", "attemptId": "att_002"}),
    ((f"approval request {PAYMENT} --reason r --action RESOLVE_RECONCILIATION --conflict cnf_001 "
     "--verdict RETURNED --amount 50.00"), "approvals", {"verdict": "RETURNED", "amount": 5000}),
    ((f"conflict resolve {PAYMENT} cnf_001 --verdict RETURNED --details d --attempt 1 "
     "--amount 50.00"), "conflicts/cnf_001/resolve",
     {"attemptId": "att_001", "verdict": "RETURNED", "amount": 5000}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "path", "body"), ACTIONS, ids=lambda each: str(each)[:40])
def test_an_action_accepts_an_attempt_by_number_or_name_and_amounts_in_dollars(
    nowhere: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    path: str,
    body: dict[str, object],
) -> None:
    """`npp conflict resolve --attempt 1` is in the docs."""
    assert run_cli([*words.split(), "--curl"]) == ExitCode.OK
    line = shlex.split(capsys.readouterr().out)
    assert line[line.index("POST") + 1].endswith(f"/{path}")
    given = json.loads(line[line.index("-d") + 1])
    assert {name: given[name] for name in body} == body


@pytest.mark.parametrize("attempt", ["0", "²", "att_", "one", "1000", "-1", "1 "])
def test_an_invalid_attempt_is_a_usage_error(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], attempt: str
) -> None:
    """Findings 10 and 16."""
    words = ["payment", "reverse", PAYMENT, "--reason", "r", "--attempt", attempt, "--curl"]
    assert run_cli(words) == ExitCode.USAGE
    assert "1 or att_001" in capsys.readouterr().err


@pytest.mark.parametrize("words", [each for each, _, _ in ACTIONS if "request" not in each])
def test_no_command_defaults_to_the_first_attempt(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """Silently meaning att_001 could move the funds of another attempt."""
    without = re.sub(r" --attempt \S+", "", words)
    assert run_cli([*without.split(), "--curl"]) == ExitCode.USAGE
    assert "--attempt" in capsys.readouterr().err


def test_times_are_sent_to_the_api_as_iso_8601_in_utc(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["payment", "list", "--from", "2026-03-01T09:30:00+11:00", "--curl"]
    assert run_cli(words) == ExitCode.OK
    assert "from=2026-02-28T22%3A30%3A00.000Z" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "payment list --from",
        "payment list --to",
        "audit --from",
        "incident summary --to",
        "replay verify --to-time",
        "payment create --key k --amount 1.00 --at",
        "payment publish --amount 1.00 --expires-at",
    ],
)
@pytest.mark.parametrize(
    "given", ["1772317800000", "2026-03-01", "2026-03-01T09:30:00", "yesterday", "12:00Z"]
)
def test_an_invalid_time_is_a_usage_error_with_the_format(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, given: str
) -> None:
    nowhere.setenv("NPP_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run_cli([*words.split(), given]) == ExitCode.USAGE
    output = capsys.readouterr().err
    assert words.split()[-1] in output
    assert "2026-02-28T22:30:00Z" in output


@pytest.mark.parametrize(
    "words", [["--payment", ""], ["--payment="], ["--to-time", ""], ["--keyring", ""]]
)
def test_an_empty_value_is_a_usage_error_and_never_means_all(
    nowhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """With an unset variable, the replay of one payment would become the replay of the
    whole log.
    """
    nowhere.setenv("NPP_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run_cli(["replay", "verify", *words]) == ExitCode.USAGE
    assert f"The value of {words[0].rstrip('=')} is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T10:00:00.0019+10:00", 1),
        ("2026-03-01T09:30:00.999999+11:00", 1_772_317_800_999),
    ],
)
def test_a_time_is_parsed_to_milliseconds_without_a_float(text: str, ms: int) -> None:
    assert epoch_ms(text, "--at") == ms


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (1_772_317_800_999, "2026-02-28T22:30:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**63 - 1, str(2**63 - 1)),
    ],
)
def test_a_time_is_shown_as_iso_8601_or_as_a_number_beyond_any_calendar(
    ms: int, shown: str
) -> None:
    assert time_of(ms) == shown


def test_access_rules_let_only_the_processor_write_the_journal() -> None:
    rules = acl_specs(catalogue.load())
    writers = {
        rule.principal
        for rule in rules
        if rule.resource == "topic" and rule.operation == "WRITE" and "events" in rule.name
    }
    assert writers == {"payments"}
    everywhere = {rule.principal for rule in rules if rule.name == "*"}
    assert everywhere == {"admin", "installer", "recovery"}


def test_every_declared_topic_has_partitions_in_both_profiles() -> None:
    topics = catalogue.load()
    for profile, payments in (("embedded", 6), ("production", 48)):
        specs = {spec.name: spec for spec in topic_specs(topics, profile)}
        assert len(specs) == len(topics.topics)
        assert specs["npp.payment.events.v1"].partitions == payments
        assert specs["npp.payment.events.v1"].config["retention.ms"] == "-1"


def test_a_resume_is_either_requested_or_confirmed(nowhere: pytest.MonkeyPatch) -> None:
    """SEC-02: each is an act of its own."""
    resume = ["payment", "resume", PAYMENT, "--reason", "mended"]
    for wrong in ([], ["--request", "--confirm"]):
        assert run_cli([*resume, *wrong]) == ExitCode.USAGE
