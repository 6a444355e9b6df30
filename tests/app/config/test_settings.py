"""Settings and logs: what may be configured, what is refused, and what is never shown."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest
import structlog

from app import logs
from app.cli.npp import run_cli
from app.config import settings
from app.config.shown import shown as shown_settings
from app.exits import ExitCode, Problem
from app.read_model import read_model
from app.redaction import REDACTED
from core.payment.commands import CreatePayment
from core.rules import Limits, Windows
from engine.clock import SystemClock
from readmodel.ports import ReadModelDown

REACH = {"NPP_BOOTSTRAP_SERVERS": "kafka:9092", "NPP_SCHEMA_REGISTRY_URL": "http://registry:8080/"}


def test_sasl_and_tls_options_reach_the_client_by_their_own_names() -> None:
    environment = settings.load(
        REACH
        | {
            "NPP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "NPP_KAFKA_SASL_USERNAME": "payments",
            "NPP_KAFKA_SASL_PASSWORD": "sesame",
            "NPP_KAFKA_SSL_CA_LOCATION": "/etc/ca.pem",
        }
    )
    connection = environment.connection()
    assert connection["security.protocol"] == "SASL_SSL"
    assert connection["sasl.username"] == "payments"
    assert connection["sasl.password"] == "sesame"
    assert connection["ssl.ca.location"] == "/etc/ca.pem"
    assert connection["bootstrap.servers"] == "kafka:9092"


@pytest.mark.parametrize(
    "variable", ["NPP_KAFKA_ISOLATION_LEVEL", "NPP_KAFKA_ACKS", "NPP_KAFKA_ENABLE_IDEMPOTENCE"]
)
def test_record_handling_cannot_be_configured(variable: str) -> None:
    with pytest.raises(Problem) as refused:
        settings.load(REACH | {variable: "x"})
    assert refused.value.code is ExitCode.USAGE
    assert variable in refused.value.what


def test_no_setting_has_the_name_of_a_rule() -> None:
    rules = {*Limits.__struct_fields__, *Windows.__struct_fields__, "rule_set", "tables"}
    assert rules.isdisjoint(settings.Settings.model_fields)


def test_secrets_are_not_shown() -> None:
    environment = settings.load(
        REACH
        | {
            "NPP_KAFKA_SASL_PASSWORD": "sesame",
            "NPP_WEBHOOK_SECRET": "sesame",
            "NPP_SCHEMA_REGISTRY_USER_INFO": "me:sesame",
        }
    )
    shown = shown_settings(environment)
    assert "sesame" not in json.dumps(shown)
    assert shown["NPP_KAFKA_SASL_PASSWORD"] == REDACTED
    assert "sesame" not in repr(environment.settings)


DATABASE = "postgresql+psycopg://npp:open%40sesame@db.bank:5433/npp?sslmode=require"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (DATABASE, "postgresql+psycopg://npp:***@db.bank:5433/npp?sslmode=require"),
        (
            "postgresql+psycopg://npp@db/npp?sslpassword=sesame&password=sesame",
            "postgresql+psycopg://npp@db/npp?password=not-shown&sslpassword=not-shown",
        ),
        ("postgresql+psycopg://npp:ses/a?me#sesame@db/npp", "postgresql+psycopg://npp:***@db/npp"),
        ("sqlite:////var/lib/npp/readmodel", "sqlite:////var/lib/npp/readmodel"),
        ("postgresql+psycopg://npp:open@sesame@db/npp", REDACTED),
        ("postgresql+psycopg://npp:sesame", REDACTED),
        ("sesame", REDACTED),
    ],
)
def test_the_read_models_url_is_shown_without_its_password(url: str, seen: str) -> None:
    """Server, user and database stay visible."""
    environment = settings.load(REACH | {"NPP_READ_MODEL_URL": url})
    shown = shown_settings(environment)
    assert shown["NPP_READ_MODEL_URL"] == seen
    assert "sesame" not in json.dumps(shown) + repr(environment.settings)
    assert shown_settings(settings.load(REACH))["NPP_READ_MODEL_URL"] == ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://npp:open@sesame@db/npp",
        "postgresql+psycopg://npp:sesame",
        "mysql://npp:sesame@db/npp",
        "sesame",
    ],
)
def test_a_refused_url_is_not_repeated(url: str) -> None:
    environment = settings.load(REACH | {"NPP_READ_MODEL_URL": url})
    with pytest.raises(Problem) as refused:
        read_model(environment, SystemClock())
    output = "".join(traceback.format_exception(refused.value))
    assert "NPP_READ_MODEL_URL" in refused.value.what
    assert "sesame" not in output + refused.value.what + str(refused.value.do)


@pytest.mark.parametrize("place", ["127.0.0.1:1", "nowhere.invalid"])
def test_an_unreachable_database_is_named_without_its_password(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql+psycopg://npp:open%40sesame@{place}/npp"
    environment = settings.load(REACH | {"NPP_READ_MODEL_URL": url, "NPP_LOG_LEVEL": "DEBUG"})
    model = read_model(environment, SystemClock())
    logs.set_up("DEBUG", process="projector", instance="p-1")
    with pytest.raises(ReadModelDown, match="does not answer") as down:
        model.current()
    structlog.get_logger("npp.test").error("down", why=str(down.value), exc_info=down.value)
    output = "".join(traceback.format_exception(down.value))
    assert "sesame" not in output + capsys.readouterr().err


def test_production_is_the_default_and_requires_an_instance_id() -> None:
    environment = settings.load(REACH)
    with pytest.raises(Problem) as refused:
        environment.instance_id("payments-host")
    assert "NPP_INSTANCE_ID" in refused.value.what
    assert settings.load(REACH | {"NPP_PROFILE": "demo"}).instance_id("p").startswith("p-")


def test_every_invalid_variable_is_named() -> None:
    with pytest.raises(Problem) as refused:
        settings.load(REACH | {"NPP_METRICS_PORT": "70000", "NPP_PROFILE": "prod"})
    assert "NPP_METRICS_PORT" in refused.value.what
    assert "NPP_PROFILE" in refused.value.what


def test_a_misspelt_variable_is_reported() -> None:
    found = settings.unknown_variables({"NPP_BOOTSTRAP_SERVER": "x", "NPP_TEST_BOOTSTRAP": "y"})
    assert found == ["NPP_BOOTSTRAP_SERVER"]


def test_a_running_demo_is_found_from_its_folder_and_the_environment_takes_precedence(
    tmp_path: Path,
) -> None:
    settings.write_env_file(
        tmp_path / settings.ENV_FILE, {"NPP_BOOTSTRAP_SERVERS": "demo:1", "NPP_PROFILE": "demo"}
    )
    found = settings.load({"NPP_DATA_DIR": str(tmp_path)})
    assert found.settings.bootstrap_servers == "demo:1"
    assert found.settings.profile == "demo"
    given = settings.load({"NPP_DATA_DIR": str(tmp_path), **REACH})
    assert given.settings.bootstrap_servers == "kafka:9092"
    assert given.settings.profile == "production"


DEMO = {"NPP_BOOTSTRAP_SERVERS": "demo:1", "NPP_PROFILE": "demo"}


def shown_config(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    assert run_cli(["config", "--json", *words]) == ExitCode.OK
    return dict(json.loads(capsys.readouterr().out)["settings"])


def test_data_selects_the_demo_in_that_folder_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The selection ends with the command."""
    settings.write_env_file(tmp_path / settings.ENV_FILE, DEMO)
    monkeypatch.setenv("NPP_BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("NPP_PROFILE", "production")
    found = shown_config(capsys, "--data", str(tmp_path))
    assert found["NPP_BOOTSTRAP_SERVERS"] == "demo:1"
    assert found["NPP_PROFILE"] == "demo"
    assert found["NPP_DATA_DIR"] == str(tmp_path)
    after = shown_config(capsys)
    assert (after["NPP_BOOTSTRAP_SERVERS"], after["NPP_PROFILE"]) == ("kafka:9092", "production")


def test_data_names_the_folder_of_a_process_without_a_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NPP_BOOTSTRAP_SERVERS", "kafka:9092")
    found = shown_config(capsys, "--data", str(tmp_path))
    assert found["NPP_BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert found["NPP_DATA_DIR"] == str(tmp_path)


def test_data_of_a_demo_that_has_ended_selects_no_other_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / settings.DEMO_MARK).touch()
    monkeypatch.setenv("NPP_BOOTSTRAP_SERVERS", "kafka:9092")
    words = ["control", "stop", "--reason", "drill", "--as", "ann", "--data", str(tmp_path)]
    assert run_cli(words) == ExitCode.UNREACHABLE
    assert "No demo runs in" in capsys.readouterr().err


def test_logs_hide_party_details_secrets_and_exception_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.set_up("INFO", process="payments", instance="p-1")
    log = structlog.get_logger("npp.test")
    log.info("one", parties={"debtor": "x"}, nested={"account_number": "12345678", "n": 1})
    log.info("two", command=CreatePayment.__struct_fields__, raw=b"12345678")
    try:
        raise ValueError("account 12345678 is bad")
    except ValueError as error:
        log.critical("three", exc_info=error)
        logging.getLogger("library").exception("four")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["one", "two", "three", "four"]
    assert "12345678" not in json.dumps(lines)
    assert lines[0]["parties"] == logs.HIDDEN
    assert lines[0]["nested"] == {"account_number": logs.HIDDEN, "n": 1}
    assert lines[2]["exception"] == lines[3]["exception"] == "ValueError"
    assert {line["process"] for line in lines} == {"payments"}
