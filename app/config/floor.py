"""The floor of the production profile: settings with which no production process starts.

Each fault is one sentence, and all are reported at once. A process checks itself what it needs
beyond this.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from app.config.settings import DEMO_MARK, Environment, Profile, Settings
from app.exits import usage

SECRET_BYTES_MIN: Final = 32
KAFKA_PROTOCOLS: Final = frozenset({"SSL", "SASL_SSL"})
OFF: Final = frozenset({"false", "0", "no", "off", "none", ""})
TLS_ONLY: Final = ("rail_url", "deposits_url", "notifications_url", "api_url")
SECRETS: Final = (
    "webhook_secret",
    "webhook_secret_next",
    "rail_client_secret",
    "deposits_client_secret",
)
KAFKA_SECRETS: Final = ("sasl.password", "sasl.oauthbearer.client.secret")


def require_floor(environment: Environment) -> None:
    """Raises Problem with every fault; does nothing outside of production."""
    if environment.settings.profile is not Profile.PRODUCTION:
        return
    found = list(faults(environment))
    if found:
        raise usage(
            "The production profile refuses these settings:\n"
            + "\n".join(f"  {each}" for each in found),
            do="SECURITY.md says what each is for. For a trial set NPP_PROFILE=demo or test.",
        )


def require_kafka_floor(environment: Environment) -> None:
    """As `require_floor`, but only for the connection to Kafka; for commands."""
    if environment.settings.profile is not Profile.PRODUCTION:
        return
    found = list(_kafka(environment.kafka))
    if found:
        raise usage(
            "The production profile refuses this way to Kafka:\n"
            + "\n".join(f"  {each}" for each in found),
            do="For a trial set NPP_PROFILE=demo or test.",
        )


def faults(environment: Environment) -> Iterator[str]:
    """What production refuses of these settings, one sentence each."""
    settings = environment.settings
    yield from _addresses(settings)
    yield from _kafka(environment.kafka)
    yield from _short_secrets(environment)
    yield from _proxies(settings.api_proxies)
    for name in ("rail", "deposits"):
        yield from _credentials(settings, name)
    if settings.schema_registry_url and settings.schema_registry_user_info is None:
        yield "NPP_SCHEMA_REGISTRY_USER_INFO is not set: anyone who reaches the registry may write."
    if settings.resolve_simulator_url:
        yield "NPP_RESOLVE_SIMULATOR_URL: a script could approve what needs a person."
    if settings.crash_at:
        yield "NPP_CRASH_AT: for tests only."
    if (settings.data_dir / DEMO_MARK).exists():
        yield f"NPP_DATA_DIR: {settings.data_dir} is a demo's, whose keys are public."


def _addresses(settings: Settings) -> Iterator[str]:
    for name in TLS_ONLY:
        if str(getattr(settings, name)).startswith("http://"):
            yield f"NPP_{name.upper()} is http: use https."


def _kafka(options: dict[str, str]) -> Iterator[str]:
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in KAFKA_PROTOCOLS:
        yield f"NPP_KAFKA_SECURITY_PROTOCOL is {protocol}: use SASL_SSL or SSL."
    if options.get("enable.ssl.certificate.verification", "true").lower() in OFF:
        yield "NPP_KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION: certificates must be checked."
    if options.get("ssl.endpoint.identification.algorithm", "https").lower() in OFF:
        yield "NPP_KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM: names must be checked."


def _short_secrets(environment: Environment) -> Iterator[str]:
    for name in SECRETS:
        secret = getattr(environment.settings, name)
        if secret is not None and len(secret.get_secret_value().encode()) < SECRET_BYTES_MIN:
            yield f"NPP_{name.upper()} has less than {SECRET_BYTES_MIN} bytes."
    for option in KAFKA_SECRETS:
        given = environment.kafka.get(option)
        if given is not None and len(given.encode()) < SECRET_BYTES_MIN:
            variable = "NPP_KAFKA_" + option.upper().replace(".", "_")
            yield f"{variable} has less than {SECRET_BYTES_MIN} bytes."


def _proxies(proxies: str) -> Iterator[str]:
    for word in (each.strip() for each in proxies.split(",") if each.strip()):
        try:
            everybody = ipaddress.ip_network(word, strict=False).prefixlen == 0
        except ValueError:
            everybody = True  # `*`, or a name: uvicorn would trust unverifiable addresses
        if everybody:
            yield f"NPP_API_PROXIES has {word}: name the addresses of the proxy."


def _credentials(settings: Settings, name: str) -> Iterator[str]:
    if not getattr(settings, f"{name}_url"):
        return
    certificate = getattr(settings, f"{name}_certificate")
    token_url = getattr(settings, f"{name}_token_url")
    if certificate is None and not token_url:
        yield (
            f"{name}: neither a client certificate (NPP_{name.upper()}_CERTIFICATE) nor client "
            f"credentials (NPP_{name.upper()}_TOKEN_URL) are set."
        )
    if str(token_url).startswith("http://"):
        yield f"NPP_{name.upper()}_TOKEN_URL is http: use https."
