"""An attacker who reads what the product prints, logs and writes to disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import structlog

from app import logs
from app.config import settings
from app.config.shown import shown as shown_settings
from readmodel.model import open_model
from readmodel.rows import Batch

SECRETS = {
    "NPP_SCHEMA_REGISTRY_URL": "https://reguser:HIDE-1@registry",
    "NPP_RAIL_URL": "https://u:HIDE-2@rail/v1?api_key=HIDE-3",
    "NPP_JWKS": "https://u:HI/DE-4@idp/jwks",
    "NPP_API_URL": "https://u:HIDE-5@api",
    "NPP_DEPOSITS_URL": "https://d?sig=HIDE-6&password=HIDE-7",
    "NPP_WEBHOOK_SECRET": "HIDE-8",
    "NPP_API_TOKEN": "HIDE-9",
    "NPP_READ_MODEL_URL": "postgresql+psycopg://u:HIDE-10@h/db?password=HIDE-11",
    "NPP_KAFKA_SASL_PASSWORD": "HIDE-12",
    "NPP_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "HIDE-13",
    "NPP_KAFKA_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_PASSPHRASE": "HIDE-14",
    "NPP_KAFKA_SASL_OAUTHBEARER_CONFIG": "clientId=x,clientSecret=HIDE-15",
    "NPP_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "https://u:HIDE-16@idp/token?k=HIDE-17",
    "NPP_KAFKA_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_PEM": "HIDE-18",
    "NPP_KAFKA_SSL_KEY_PEM": "HIDE-19",
    "NPP_KAFKA_SSL_KEYSTORE_PASSWORD": "HIDE-20",
}
REACH = {"NPP_BOOTSTRAP_SERVERS": "kafka:9092", "NPP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}


def test_npp_config_shows_no_secret_but_still_the_addresses() -> None:
    shown = shown_settings(settings.load(REACH | SECRETS))
    text = json.dumps(shown)
    assert "HIDE" not in text
    assert "DE-4" not in text
    assert shown["NPP_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert shown["NPP_RAIL_URL"] == "https://not-shown@rail/v1?api_key=not-shown"
    for host in ("registry", "idp/jwks", "h/db"):
        assert host in text


@pytest.mark.parametrize(
    "said",
    [
        "cannot reach https://reguser:SESAME@registry/subjects: refused",
        "cannot reach https://u:SES/AME@registry",
        "bad option sasl.password=SESAME for the client",
        "sasl.oauthbearer.config: clientId=x clientSecret=SESAME",
        "GET https://rail/x?access_token=SESAME&a=1 failed",
        'ssl.key.password = "SESAME" is wrong',
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nSESAME\n-----END ENCRYPTED PRIVATE KEY-----",
    ],
)
def test_a_log_line_repeats_no_secret_that_an_error_quotes(
    said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("INFO", process="payments", instance="p-1")
    log = structlog.get_logger("npp.hostile")
    log.error("failed", error=said, nested={"why": [said]})
    log.error(said)
    written = capsys.readouterr().err
    assert written.count("failed") >= 1
    assert "SESAME" not in written
    assert "AME@" not in written


@pytest.mark.parametrize(
    "name", ["webhook_secret", "sasl.password", "ssl.key.passphrase", "jaas_config", "SSL_KEY_PEM"]
)
def test_a_field_with_a_secrets_name_is_not_logged(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("INFO", process="payments", instance="p-1")
    structlog.get_logger("npp.hostile").error(
        "set up", **{name: "SESAME", "inner": {name: "SESAME"}}
    )
    assert "SESAME" not in capsys.readouterr().err


def test_the_read_models_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "readmodel"
    model = open_model(f"sqlite:///{folder}")
    writer = model.writer()
    writer.apply(Batch())
    files = [each for each in folder.iterdir() if each.suffix.startswith(".db")]
    assert len(files) >= 2  # including the WAL files
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    writer.close()


def test_a_demos_settings_with_their_token_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / settings.ENV_FILE
    file.write_text("old")
    file.chmod(0o666)
    settings.write_env_file(file, {"NPP_API_TOKEN": "t"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert settings.read_env_file(file) == {"NPP_API_TOKEN": "t"}
