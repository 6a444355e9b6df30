"""How the monitor signs in to Kafka: its client supports fewer settings than the others'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.exits import usage
from processors.monitor.faust_app import credentials


def monitor_credentials(connection: Mapping[str, Any]) -> Any:
    """The client's options as Faust needs them. Raises Problem for one that it does not support."""
    try:
        return credentials(connection)
    except ValueError as error:
        raise usage(
            f"The monitor cannot reach Kafka with these settings: {error}",
            do="Give it a user with SCRAM-SHA-256, or mutual TLS.",
        ) from error
