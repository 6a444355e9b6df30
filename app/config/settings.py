"""Settings of a process, from NPP_* environment variables. Business rules are not among them.

Rules (limits, windows, reason tables) are in core/rules/<n>.yaml and are pinned by number: no
variable changes them. A demo that runs writes `npp.env` into its data folder, and the other
commands find it there: by `--data DIR`, by NPP_DATA_DIR, or in `.npp` of the working folder.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from app.config.kinds import Address, Hashes, Instance, Level, Partitions, Port, TraceAddress
from app.config.secret_files import SUFFIX, with_files_read
from app.exits import ExitCode, Problem, usage
from engine.private_file import rewrite_private
from engine.store.budget import CACHE_BYTES, CACHE_BYTES_MAX, CACHE_BYTES_MIN
from schemas import catalogue

PREFIX: Final = "NPP_"
KAFKA_PREFIX: Final = "NPP_KAFKA_"
ENV_FILE: Final = "npp.env"
DEMO_MARK: Final = "demo-data"  # a folder with this file is a demo's
DEFAULT_DATA_DIR: Final = Path(".npp")
OPERATORS_FOLDER: Final = "operators"  # of the data folder: people of demo and test

# librdkafka options that may come from the environment: how to reach the cluster, never how records
# are handled.
KAFKA_PASS_THROUGH: Final = (
    *("security.protocol", "sasl.", "ssl.", "enable.ssl.certificate.verification"),
    *("client.id", "client.dns.lookup", "broker.address.family", "socket.", "reconnect."),
    *("log_level", "debug"),
)
# Variables of the tools around the product (tests, fetching), not of a process.
NOT_SETTINGS: Final = ("NPP_TEST_", "NPP_CACHE_DIR", "NPP_JAVA", "NPP_WITHOUT", "NPP_REQUIRE_")

_folder: Final[ContextVar[Path | None]] = ContextVar("_folder", default=None)


class Profile(StrEnum):
    """demo and test allow simulators and operator commands by hand; production refuses both."""

    DEMO = "demo"
    TEST = "test"
    PRODUCTION = "production"


class Settings(BaseModel):
    """One process's settings, as `load` read them from the environment. Times are in the unit of
    the name, ports 0 = none.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    profile: Profile = Field(Profile.PRODUCTION, description="demo, test or production")
    bootstrap_servers: str = Field("", description="Kafka, host:port[,host:port]")
    schema_registry_url: Address = Field("", description="schema registry, Confluent's API")
    schema_registry_user_info: SecretStr | None = Field(None, description="user:password of it")
    instance_id: Instance = Field("", description="name among its kind, stable over restarts")
    data_dir: Path = Field(DEFAULT_DATA_DIR, description="folder for the local store and keys")
    cache_bytes: int = Field(
        CACHE_BYTES,
        ge=CACHE_BYTES_MIN,
        le=CACHE_BYTES_MAX,
        description="memory for a process's caches: states and their store, SQLite's pages",
    )
    metrics_port: Port = Field(9400, description="health and metrics")
    metrics_host: str = Field("0.0.0.0", description="address they listen on")  # noqa: S104
    require_native: bool = Field(False, description="start only as the compiled build")
    ids_lock: Path | None = Field(
        None, description="pinned schema ids; default <data_dir>/ids.lock"
    )
    rail_url: Address = Field("", description="the rail's gateway")
    rail_certificate: Path | None = Field(None, description="our client certificate there, PEM")
    rail_key: Path | None = Field(None, description="key of it; unset: in the same file")
    rail_ca: Path | None = Field(
        None, description="authorities of the rail's gateway; unset: the system's"
    )
    rail_token_url: Address = Field("", description="OAuth token endpoint, client credentials")
    rail_client_id: str = Field("", description="client id there")
    rail_client_secret: SecretStr | None = Field(None, description="client secret there")
    rail_scope: str = Field("", description="scope to ask for")
    deposits_url: Address = Field("", description="Deposits Core")
    deposits_certificate: Path | None = Field(None, description="our client certificate there, PEM")
    deposits_key: Path | None = Field(None, description="key of it; unset: in the same file")
    deposits_ca: Path | None = Field(
        None, description="authorities of Deposits Core; unset: the system's"
    )
    deposits_token_url: Address = Field("", description="OAuth token endpoint, client credentials")
    deposits_client_id: str = Field("", description="client id there")
    deposits_client_secret: SecretStr | None = Field(None, description="client secret there")
    deposits_scope: str = Field("", description="scope to ask for")
    notifications_url: Address = Field("", description="the customer notification service")
    resolve_rules: Path | None = Field(None, description="rules of the built-in Resolve, YAML")
    resolve_simulator_url: Address = Field(
        "", description="demo and test: scripts what Resolve says; production refuses it"
    )
    tls_certificate: Path | None = Field(
        None, description="serves this process's own ports over TLS (PEM); unset: plain HTTP"
    )
    tls_key: Path | None = Field(None, description="its key, if it is not in the same file")
    webhook_host: str = Field("127.0.0.1", description="address the rail's callbacks come to")
    webhook_port: Port = Field(8443, description="port of it")
    webhook_secret: SecretStr | None = Field(None, description="signs the rail's callbacks")
    webhook_secret_next: SecretStr | None = Field(
        None, description="accepted too, while the rail changes to it"
    )
    signing_key: Path | None = Field(None, description="verifier's Ed25519 key (PEM)")
    verifier_partitions: Partitions = Field(
        "", description="partitions of this verifier, FIRST-LAST; empty: all of them"
    )
    operators_file: Path | None = Field(
        None, description="persons, roles and public keys (YAML); demo and test make one"
    )
    operators_reset: Hashes = Field(
        "", description="SHA-256 of operators files accepted when keys are lost, comma separated"
    )
    operator_key_file: Path | None = Field(None, description="your own key, for control acts")
    operator_passphrase_file: Path | None = Field(
        None, description="holds the key's passphrase; default: a prompt"
    )
    process_key_file: Path | None = Field(
        None, description="key of this process: replay signs proofs, the redriver its results"
    )
    api_url: Address = Field("", description="the API that commands like `npp payment` call")
    api_token: SecretStr | None = Field(None, description="bearer token that they sign in with")
    api_host: str = Field("127.0.0.1", description="address the API listens on")
    api_port: Port = Field(8080, description="port of it")
    api_hosts: str = Field("", description="host names it answers to, comma separated; empty: any")
    api_proxies: str = Field("", description="addresses whose X-Forwarded-For is trusted")
    jwks: str = Field("", description="public keys of the token issuer: https address or file")
    token_issuer: str = Field("", description="iss of accepted tokens")
    token_audience: str = Field("", description="aud of accepted tokens")
    token_acr: str = Field("", description="acr of accepted tokens, comma separated; empty: any")
    tokens_revoked: Path | None = Field(
        None, description="list of tokens and people whose sessions have ended (JSON)"
    )
    oidc_issuer: str = Field(
        "", description="OpenID provider of the pages' sign-in; unset: no pages"
    )
    oidc_client_id: str = Field("", description="client id of the pages there")
    oidc_client_secret: SecretStr | None = Field(None, description="client secret there")
    oidc_scope: str = Field("openid", description="scopes that give a token for the API")
    web_url: str = Field("", description="where people find the pages, https://…")
    trace_url: TraceAddress = Field(
        "",
        description="where traces are shown, with {trace_id} in it; the payment page links there",
    )
    web_key: SecretStr | None = Field(None, description="seals sessions: 32 bytes, base64url")
    api_clients: str = Field("", description="client=source,… of those who create over HTTP")
    keyring: Path | None = Field(
        None, description="verifier's keyring; default <data_dir>/verifier/keyring.json"
    )
    read_model_url: SecretStr | None = Field(
        None, description="sqlite or postgresql address; default data_dir"
    )
    replay_workers: int = Field(
        0, ge=0, le=64, description="processes of a replay, at most; 0: one for each core"
    )
    log_level: Level = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    crash_at: str = Field("", description="test profile only: POINT:N, where to kill itself")
    transaction_interval_ms: int = Field(
        10, ge=0, le=200, description="payments: at a steady rate a transaction begins so often"
    )
    shutdown_seconds: float = Field(25.0, gt=0, le=300, description="SIGTERM to exit at most")


class Environment:
    """Settings, the pass-through options for the Kafka client, and where they came from."""

    def __init__(self, settings: Settings, kafka: Mapping[str, str], env_file: Path | None) -> None:
        self.settings = settings
        self.kafka = dict(kafka)
        self.env_file = env_file

    def connection(self) -> dict[str, Any]:
        """librdkafka's properties to reach the cluster. Raises Problem when it is not named."""
        if not self.settings.bootstrap_servers:
            raise Problem(
                "No Kafka is configured: NPP_BOOTSTRAP_SERVERS is not set.",
                means="This command needs a cluster.",
                do="Set it (host:port), or name a running demo's folder: --data DIR.",
                code=ExitCode.USAGE,
            )
        return {
            "bootstrap.servers": self.settings.bootstrap_servers,
            "log_level": "3",
            "socket.connection.setup.timeout.ms": "5000",
            **catalogue.load().client_options(),
            **self.kafka,
        }

    def registry_url(self) -> str:
        """The schema registry's address. Raises Problem when it is not named."""
        if not self.settings.schema_registry_url:
            raise usage(
                "No schema registry is configured: NPP_SCHEMA_REGISTRY_URL is not set.",
                do="Set it (Confluent's API), or name a running demo's folder: --data DIR.",
            )
        return self.settings.schema_registry_url

    def instance_id(self, kind: str) -> str:
        """Name of this process: it fences another process of the same name, and names the store.
        Raises Problem if production does not set it.
        """
        if self.settings.instance_id:
            return self.settings.instance_id
        if self.settings.profile is Profile.PRODUCTION:
            raise usage(
                "NPP_INSTANCE_ID is not set; the production profile requires it.",
                do="Give each process its own name that stays over restarts, e.g. payments-1.",
            )
        return f"{kind}-{socket.gethostname()}"

    def operators_folder(self) -> Path:
        """Where demo and test keep their people's keys and their operators file."""
        return self.settings.data_dir / OPERATORS_FOLDER

    def operators_file(self) -> Path | None:
        """The operators file of this process; None when there is none."""
        made = self.operators_folder() / "operators.yaml"
        if self.settings.operators_file is not None:
            return self.settings.operators_file
        production = self.settings.profile is Profile.PRODUCTION
        return None if production or not made.exists() else made

    def keyring_file(self) -> Path:
        """Where the verifier's public keys are listed."""
        return self.settings.keyring or self.settings.data_dir / "verifier" / "keyring.json"

    def ids_lock(self) -> Path:
        return self.settings.ids_lock or self.settings.data_dir / "ids.lock"

    def topics_profile(self) -> str:
        """Profile of topics.yaml: production, or embedded for demo and test."""
        return "production" if self.settings.profile is Profile.PRODUCTION else "embedded"

    def require_not_production(self, what: str) -> None:
        if self.settings.profile is Profile.PRODUCTION:
            raise usage(
                f"{what} is refused under the production profile.",
                do="Set NPP_PROFILE=demo or test if this is one; else people act through the API.",
            )


@contextmanager
def led_by(folder: Path) -> Iterator[None]:
    """Within it, `load` reads this folder (`--data DIR`): what a demo wrote there takes precedence
    over the environment.
    """
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def load(environ: Mapping[str, str] | None = None) -> Environment:
    """Read the environment, and the running demo's `npp.env` where no cluster is named or `led_by`
    names its folder.

    Raises Problem with one line per variable that cannot be used.
    """
    given = dict(os.environ if environ is None else environ)
    env_file = None
    folder = _folder.get() if environ is None else None
    if folder is not None:
        given |= {"NPP_DATA_DIR": str(folder)}
        if (folder / ENV_FILE).is_file():
            env_file = folder / ENV_FILE
            given |= read_env_file(env_file)
        elif (folder / DEMO_MARK).exists():
            raise Problem(
                f"No demo runs in {folder}.",
                means="The folder is a demo's and can be used for nothing else.",
                do=f"npp demo --data {folder}",
                code=ExitCode.UNREACHABLE,
            )
    elif not given.get("NPP_BOOTSTRAP_SERVERS"):
        candidate = Path(given.get("NPP_DATA_DIR") or DEFAULT_DATA_DIR) / ENV_FILE
        if candidate.is_file():
            env_file = candidate
            given = {**read_env_file(candidate), **given}
    given = with_files_read(given, secret_variables(), KAFKA_PREFIX)
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in given.items()
        if name.startswith(PREFIX) and not name.startswith(KAFKA_PREFIX) and value != ""
    }
    try:
        settings = Settings(**values)  # type: ignore[arg-type]  # pydantic converts the strings
    except ValidationError as error:
        lines = [
            f"  {PREFIX}{'_'.join(str(p) for p in e['loc']).upper()}: {e['msg']}"
            for e in error.errors()
        ]
        raise usage(
            "The settings cannot be used:\n" + "\n".join(lines), do="`npp config --help`"
        ) from error
    return Environment(settings, kafka_options(given), env_file)


def kafka_options(environ: Mapping[str, str]) -> dict[str, str]:
    """NPP_KAFKA_SASL_USERNAME → sasl.username, and so on.

    Raises Problem for options that are not passed through.
    """
    options: dict[str, str] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(KAFKA_PREFIX) or value == "":
            continue
        option = name.removeprefix(KAFKA_PREFIX).lower().replace("_", ".")
        option = {"log.level": "log_level"}.get(option, option)
        if not option.startswith(KAFKA_PASS_THROUGH):
            raise usage(
                f"{name} ({option}) is not passed to the Kafka client.",
                do="Only how to reach the cluster: security.protocol, sasl.*, ssl.*, socket.*.",
            )
        options[option] = value
    return options


def secret_variables() -> frozenset[str]:
    """The variables whose values are secrets: each may be given as a file."""
    return frozenset(
        PREFIX + name.upper()
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    )


def is_setting(name: str) -> bool:
    """Whether a variable is for a process, known or not; not for the tools around it."""
    return name.startswith(PREFIX) and not name.startswith(NOT_SETTINGS)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """NPP_* variables that mean nothing to a process: most often a misspelt name."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {name + SUFFIX for name in secret_variables()}
    return sorted(
        name
        for name in environ
        if is_setting(name) and name not in known and not name.startswith(KAFKA_PREFIX)
    )


def read_env_file(path: Path) -> dict[str, str]:
    """Lines NAME=value; comments and empty lines are skipped."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line.startswith(PREFIX) and "=" in line]
    return {name.strip(): value.strip() for name, _, value in pairs}


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Write the file that `load` reads back; only its owner can read it."""
    text = "# Written by a running demo; `npp` reads it by --data, NPP_DATA_DIR, or from .npp.\n"
    lines = [f"{name}={value}\n" for name, value in values.items()]
    rewrite_private(path, "".join([text, *lines]).encode())
