"""Settings and logs: what the environment may say, what is refused, and what is never shown."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import structlog

from app import logs, settings
from app.exits import ExitCode, Problem
from core.payment.commands import CreatePayment
from core.rules import Limits, Windows

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
def test_how_records_are_handled_can_not_be_set_by_environment(variable: str) -> None:
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
    shown = settings.shown(environment)
    assert "sesame" not in json.dumps(shown)
    assert shown["NPP_KAFKA_SASL_PASSWORD"] == settings.REDACTED
    assert "sesame" not in repr(environment.settings)


def test_production_is_the_default_and_requires_an_instance_id() -> None:
    environment = settings.load(REACH)
    with pytest.raises(Problem) as refused:
        environment.instance_id("payments-host")
    assert "NPP_INSTANCE_ID" in refused.value.what
    assert settings.load(REACH | {"NPP_PROFILE": "demo"}).instance_id("p") == "p"


def test_every_variable_that_can_not_be_used_is_named() -> None:
    with pytest.raises(Problem) as refused:
        settings.load(REACH | {"NPP_METRICS_PORT": "70000", "NPP_PROFILE": "prod"})
    assert "NPP_METRICS_PORT" in refused.value.what
    assert "NPP_PROFILE" in refused.value.what


def test_a_misspelt_variable_is_noticed() -> None:
    found = settings.unknown_variables({"NPP_BOOTSTRAP_SERVER": "x", "NPP_TEST_BOOTSTRAP": "y"})
    assert found == ["NPP_BOOTSTRAP_SERVER"]


def test_a_running_demo_is_found_from_its_folder_and_the_environment_wins(tmp_path: Path) -> None:
    settings.write_env_file(
        tmp_path / settings.ENV_FILE, {"NPP_BOOTSTRAP_SERVERS": "demo:1", "NPP_PROFILE": "demo"}
    )
    found = settings.load({"NPP_DATA_DIR": str(tmp_path)})
    assert found.settings.bootstrap_servers == "demo:1"
    assert found.settings.profile == "demo"
    given = settings.load({"NPP_DATA_DIR": str(tmp_path), **REACH})
    assert given.settings.bootstrap_servers == "kafka:9092"
    assert given.settings.profile == "production"


def test_logs_hide_party_details_secrets_and_the_texts_of_exceptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = logging.getLogger().handlers
    try:
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
    finally:
        logging.getLogger().handlers = before
        structlog.reset_defaults()
    assert [line["event"] for line in lines] == ["one", "two", "three", "four"]
    assert "12345678" not in json.dumps(lines)
    assert lines[0]["parties"] == logs.HIDDEN
    assert lines[0]["nested"] == {"account_number": logs.HIDDEN, "n": 1}
    assert lines[2]["exception"] == lines[3]["exception"] == "ValueError"
    assert {line["process"] for line in lines} == {"payments"}
