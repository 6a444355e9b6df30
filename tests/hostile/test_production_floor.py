"""A production process with one setting changed or missing does not start below the minimum."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.cluster.doctor import check_settings
from app.config import settings
from app.config.floor import faults, require_floor, require_kafka_floor
from app.exits import Problem
from app.process import ProcessContext
from gateways.resolve.policy import RULES_DIR, RulesRefusedError, load_policy
from tests.gateways.certificates import Authority

LONG = "s" * 32
GOOD = {
    "NPP_DATA_DIR": "/nowhere/npp",  # not the working directory's, which may be a demo's
    "NPP_PROFILE": "production",
    "NPP_INSTANCE_ID": "x-1",
    "NPP_BOOTSTRAP_SERVERS": "kafka:9092",
    "NPP_SCHEMA_REGISTRY_URL": "https://registry.example",
    "NPP_SCHEMA_REGISTRY_USER_INFO": f"npp:{LONG}",
    "NPP_RAIL_URL": "https://rail.example",
    "NPP_RAIL_CERTIFICATE": "/run/secrets/rail.pem",
    "NPP_DEPOSITS_URL": "https://deposits.example",
    "NPP_DEPOSITS_TOKEN_URL": "https://issuer.example/token",
    "NPP_DEPOSITS_CLIENT_ID": "npp",
    "NPP_DEPOSITS_CLIENT_SECRET": LONG,
    "NPP_NOTIFICATIONS_URL": "https://notifications.example",
    "NPP_WEBHOOK_SECRET": LONG,
    "NPP_API_PROXIES": "10.0.0.7,10.1.0.0/24",
    "NPP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "NPP_KAFKA_SASL_PASSWORD": LONG,
}


def found(**changed: str | None) -> list[str]:
    given = {name: value for name, value in (GOOD | changed).items() if value is not None}
    return list(faults(settings.load(given)))


def test_a_complete_set_up_passes() -> None:
    assert found() == []
    require_floor(settings.load(GOOD))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NPP_RAIL_URL", "http://rail.example"),
        ("NPP_DEPOSITS_URL", "http://deposits.example"),
        ("NPP_NOTIFICATIONS_URL", "http://notifications.example"),
        ("NPP_API_URL", "http://api.example"),
        ("NPP_DEPOSITS_TOKEN_URL", "http://issuer.example/token"),
        ("NPP_KAFKA_SECURITY_PROTOCOL", None),
        ("NPP_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
        ("NPP_KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
        ("NPP_KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION", "false"),
        ("NPP_KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION", "False"),
        ("NPP_KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM", "none"),
        ("NPP_WEBHOOK_SECRET", "s" * 31),
        ("NPP_WEBHOOK_SECRET_NEXT", "x"),
        ("NPP_DEPOSITS_CLIENT_SECRET", "x"),
        ("NPP_KAFKA_SASL_PASSWORD", "x"),
        ("NPP_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "x"),
        ("NPP_API_PROXIES", "*"),
        ("NPP_API_PROXIES", "10.0.0.7, 0.0.0.0/0"),
        ("NPP_API_PROXIES", "::/0"),
        ("NPP_API_PROXIES", "proxy.example"),
        ("NPP_RAIL_CERTIFICATE", None),
        ("NPP_DEPOSITS_TOKEN_URL", None),
        ("NPP_SCHEMA_REGISTRY_USER_INFO", None),
        ("NPP_RESOLVE_SIMULATOR_URL", "https://simulator.example"),
        ("NPP_CRASH_AT", "after-commit:1"),
    ],
)
def test_one_setting_below_the_minimum_is_one_fault_that_names_it(
    name: str, value: str | None
) -> None:
    """SEC-10: outside production it is no fault."""
    (fault,) = found(**{name: value})
    assert name.rpartition("_")[0] in fault
    assert LONG not in fault
    given = {n: v for n, v in (GOOD | {name: value}).items() if v is not None}
    with pytest.raises(Problem, match="production profile refuses"):
        require_floor(settings.load(given))
    require_floor(settings.load(given | {"NPP_PROFILE": "test"}))


def test_a_demos_folder_is_refused(tmp_path: Path) -> None:
    """Its keys are public."""
    (tmp_path / settings.DEMO_MARK).touch()
    assert len(found(NPP_DATA_DIR=str(tmp_path))) == 1


def test_no_rule_approves_automatically() -> None:
    with pytest.raises(RulesRefusedError):
        load_policy(RULES_DIR / "demo.yaml", profile="production")


def test_every_process_checks_before_it_connects() -> None:
    given = GOOD | {"NPP_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "NPP_RAIL_URL": "http://rail"}
    with pytest.raises(Problem) as refused:
        ProcessContext(settings.load(given), "rail")
    assert "NPP_RAIL_URL" in refused.value.what
    assert "PLAINTEXT" in refused.value.what


def test_a_command_sends_no_password_unencrypted() -> None:
    given = GOOD | {"NPP_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    with pytest.raises(Problem, match="SASL_PLAINTEXT"):
        require_kafka_floor(settings.load(given))


def test_doctor_reports_in_advance_what_a_process_would_refuse() -> None:
    given = GOOD | {"NPP_RAIL_URL": "http://rail.example", "NPP_API_PROXIES": "*"}
    findings = list(check_settings(settings.load(given)))
    failed = [each.says for each in findings if each.level == "failed"]
    assert failed == found(NPP_RAIL_URL="http://rail.example", NPP_API_PROXIES="*")
    assert len(failed) == 2
    trial = settings.load(given | {"NPP_PROFILE": "test"})
    assert [each for each in check_settings(trial) if each.level == "failed"] == []


# -- secrets as files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(settings.secret_variables()))
def test_every_secret_can_be_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{LONG}\n")
    loaded = settings.load({"NPP_PROFILE": "test", f"{name}_FILE": str(file)}).settings
    value = getattr(loaded, name.removeprefix("NPP_").lower())
    assert value.get_secret_value() == LONG
    assert settings.unknown_variables({f"{name}_FILE": str(file)}) == []


def test_the_kafka_clients_secrets_can_be_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(LONG)
    given = {"NPP_PROFILE": "test", "NPP_KAFKA_SASL_PASSWORD_FILE": str(file)}
    assert settings.load(given).kafka == {"sasl.password": LONG}


def test_a_duplicate_empty_or_missing_secret_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for given in (
        {"NPP_WEBHOOK_SECRET": LONG, "NPP_WEBHOOK_SECRET_FILE": str(empty)},
        {"NPP_WEBHOOK_SECRET_FILE": str(empty)},
        {"NPP_WEBHOOK_SECRET_FILE": str(tmp_path / "none")},
    ):
        with pytest.raises(Problem, match="NPP_WEBHOOK_SECRET_FILE"):
            settings.load({"NPP_PROFILE": "test"} | given)


def test_unusable_certificates_are_named(tmp_path: Path) -> None:
    from app.config.gateway_settings import signed_in_gateway

    authority = Authority("ours")
    certificate = authority.certificate(tmp_path, "client")
    good = {"NPP_PROFILE": "test", "NPP_RAIL_URL": "https://rail.example"}
    assert signed_in_gateway(
        settings.load(good | {"NPP_RAIL_CERTIFICATE": str(certificate)}).settings, "rail"
    )
    bad = good | {"NPP_RAIL_CERTIFICATE": str(tmp_path / "none.pem")}
    with pytest.raises(Problem, match="NPP_RAIL_CERTIFICATE"):
        signed_in_gateway(settings.load(bad).settings, "rail")
    half = good | {"NPP_RAIL_TOKEN_URL": "https://issuer.example"}
    with pytest.raises(Problem, match="NPP_RAIL_TOKEN_URL"):
        signed_in_gateway(settings.load(half).settings, "rail")
