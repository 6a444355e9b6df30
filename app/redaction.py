"""Keeps secrets out of output and logs: in addresses, and among the client's options."""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "(set, not shown)"
HIDDEN: Final = "not-shown"

# The Kafka client's options whose values are shown; every other one may hold a secret.
SHOWN_OPTIONS: Final = frozenset(
    {
        "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "client.id",
        "sasl.oauthbearer.method", "sasl.oauthbearer.client.id", "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url", "ssl.ca.location", "ssl.certificate.location",
        "ssl.key.location", "ssl.keystore.location", "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification", "ssl.cipher.suites", "client.dns.lookup",
        "broker.address.family", "log_level", "debug",
    }
)  # fmt: skip
SHOWN_PREFIXES: Final = ("socket.", "reconnect.")

# What is before an @ of an address, up to the last one: a password may hold any character.
_USER: Final = re.compile("([A-Za-z][A-Za-z0-9+.-]*://)[^ \t\r\n\"'<>]*@")
_QUERY: Final = re.compile("([?&;][^ \t\r\n=&#;?\"'<>]+=)[^ \t\r\n&#;\"'<>]*")
_SECRET: Final = re.compile(
    "([A-Za-z0-9_.-]*(?:password|passphrase|secret|token|jaas[.]config|ssl[.]key)[A-Za-z0-9_.-]*"
    "[\"']?[ ]*=[ ]*[\"']?)[^ \t\r\n,;&\"'<>]+",
    re.IGNORECASE,
)
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|$)", re.DOTALL
)


def address(text: str) -> str:
    """An address without user, password and the values behind its `?`; other text unchanged."""
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def option(name: str, value: str) -> str:
    """A value of the Kafka client's option as it may be shown."""
    shown = name in SHOWN_OPTIONS or name.startswith(SHOWN_PREFIXES)
    return address(value) if shown else REDACTED


def text(message: str) -> str:
    """A sentence, of ours or of a library, without the secrets that it quotes."""
    if "://" in message:
        message = _USER.sub(rf"\1{HIDDEN}@", message)
    if "=" in message:
        message = _SECRET.sub(rf"\1{HIDDEN}", message)
    return _PEM.sub(HIDDEN, message) if "PRIVATE KEY" in message else message
