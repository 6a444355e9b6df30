"""The settings in force, for people: secrets are replaced."""

from __future__ import annotations

from pydantic import SecretStr

from app import redaction
from app.config.settings import KAFKA_PREFIX, PREFIX, Environment, Settings
from app.redaction import REDACTED


def shown(environment: Environment) -> dict[str, str]:
    """Every setting by variable name, secrets replaced; for `npp config` and the log of a start."""
    rows: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(environment.settings, name)
        if name == "read_model_url" and isinstance(value, SecretStr):
            rows[PREFIX + name.upper()] = _database(value)
        elif isinstance(value, SecretStr):
            rows[PREFIX + name.upper()] = REDACTED
        else:
            rows[PREFIX + name.upper()] = "" if value is None else redaction.address(str(value))
    for option, value in environment.kafka.items():
        name = KAFKA_PREFIX + option.upper().replace(".", "_")
        rows[name] = redaction.option(option, value)
    return rows


def _database(url: SecretStr) -> str:
    """Where the database is, without its password."""
    from readmodel.database import address  # only here: a driver takes its time to load

    try:
        return address.shown(url.get_secret_value())
    except ValueError:
        return REDACTED
