"""The shipped set-up matches the product: settings, commands, users, ports."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from sqlalchemy.engine import make_url

from app.cli.npp import parser
from app.config import settings
from app.config.api_settings import clients
from app.config.settings import Profile, Settings
from app.wiring import ADAPTERS
from control.acts.operators_file import parse
from readmodel.model import POSTGRES
from schemas import catalogue
from tests.rooms import ROOT

DEPLOY: Final = ROOT / "deploy"
COMPOSE_TEXT: Final = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)
PROXY: Final = (DEPLOY / "proxy" / "nginx.conf").read_text(encoding="utf-8")
PROMETHEUS: Final[dict[str, Any]] = yaml.safe_load(
    (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
)
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
EXAMPLE: Final = (DEPLOY / "compose.env.example").read_text(encoding="utf-8")
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = {n: s for n, s in SERVICES.items() if s["image"].startswith("npp-orchestrator")}
RUNNING: Final = {n: s for n, s in OURS.items() if "command" in s}
FROM_OUTSIDE: Final = re.compile(r"\$\{(\w+)(?::\?[^}]*|:-([^}]*))?\}")
KAFKA: Final[dict[str, Any]] = SERVICES["kafka-1"]["environment"]
LOGIN: Final = KAFKA["KAFKA_LISTENER_NAME_SASL__SSL_PLAIN_SASL_JAAS_CONFIG"]
SUPER_USER: Final = "broker"
RETENTION_MINUTES_MIN: Final = 10 * 365 * 24 * 60  # RET-01


def environment(service: dict[str, Any]) -> dict[str, str]:
    """A container's environment, with a value for each external variable and a 32-byte secret for
    each file that holds one.
    """
    found = {
        name: FROM_OUTSIDE.sub(
            lambda found: "https://gateway" if found[1].endswith("_URL") else "filled-in",
            str(value),
        )
        for name, value in service["environment"].items()
    }
    for name, value in list(found.items()):
        own = name.removeprefix("NPP_").lower() in settings.Settings.model_fields
        if name.endswith("_FILE") and name.startswith("NPP_") and not own:
            assert Path(value).name in service["secrets"], f"{value} is not mounted"
            if name.lower().removeprefix("npp_") in settings.Settings.model_fields:
                continue  # a setting that names a file itself
            del found[name]
            found[name.removesuffix("_FILE")] = "name:" + "s" * 32
    return found


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_of_a_service_is_a_setting_that_loads(name: str) -> None:
    given = environment(OURS[name])
    loaded = settings.load(given)
    assert settings.unknown_variables(given) == []
    assert loaded.settings.profile is Profile.PRODUCTION
    assert loaded.topics_profile() == "production"
    assert loaded.connection()["sasl.username"]
    assert loaded.registry_url()


@pytest.mark.parametrize("name", sorted(RUNNING))
def test_every_command_exists_and_has_its_own_name(name: str) -> None:
    command: Any = parser()
    words = list(RUNNING[name]["command"])
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    with command.make_context("npp", words) as context:
        assert context.params is not None
    assert settings.load(environment(RUNNING[name])).settings.instance_id != ""


def test_the_topics_job_registers_then_applies() -> None:
    assert SERVICES["topics"]["entrypoint"][2] == "npp schemas register && npp topics apply"


def test_instances_share_neither_name_nor_data_nor_the_signing_key() -> None:
    names = [s["environment"]["NPP_INSTANCE_ID"] for s in RUNNING.values()]
    data = [v for s in RUNNING.values() for v in s["volumes"] if v.endswith(":/var/lib/npp")]
    assert len(set(names)) == len(names)
    assert len(set(data)) == len(data) == len(RUNNING)
    assert [n for n, s in RUNNING.items() if "verifier-key" in s["secrets"]] == ["verifier"]


def test_every_process_reads_the_same_file_of_schema_ids() -> None:
    folder = Path(environment(OURS["topics"])["NPP_IDS_LOCK"]).parent
    assert f"ids:{folder}" in OURS["topics"]["volumes"]
    for service in RUNNING.values():
        assert environment(service)["NPP_IDS_LOCK"] == f"{folder}/ids.lock"
        assert f"ids:{folder}:ro" in service["volumes"]
    assert f"-g npp {folder}" in DOCKERFILE


def test_every_process_has_the_operators_file() -> None:
    """SEC-02: who may sign control acts, the same for all; an example to copy is shipped."""
    mounted = f"./operators.yaml:{environment(OURS['api'])['NPP_OPERATORS_FILE']}:ro"
    assert all(mounted in service["volumes"] for service in OURS.values())
    example = parse((DEPLOY / "operators.example.yaml").read_bytes())
    assert example.usable(0) == 2
    assert [each.id for each in example.processes] == ["replay", "redriver"]


def test_users_are_principals_and_each_process_is_its_own() -> None:
    """SEC-04: only the one-shot job runs as the super user."""
    users = set(re.findall(r"user_([\w-]+)=", LOGIN))
    declared = set(catalogue.load().principals)
    elsewhere = {"upstream"}
    assert users == (declared - elsewhere) | {SUPER_USER}
    assert KAFKA["KAFKA_SUPER_USERS"] == f"User:{SUPER_USER}"
    assert KAFKA["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"] == "false"
    assert "StandardAuthorizer" in KAFKA["KAFKA_AUTHORIZER_CLASS_NAME"]
    expected = {
        "payments-1": "payments",
        "payments-2": "payments",
        "rail": "rail-adapter",
        "deposits": "deposits-adapter",
        "resolve": "resolve",
        "notifications": "notifications",
        "redriver": "redriver",
        "verifier": "verifier",
        "projector": "projector",
        "monitor": "monitor",
        "replay": "verifier",
        "api": "api",
    }
    found = {n: s["environment"]["NPP_KAFKA_SASL_USERNAME"] for n, s in RUNNING.items()}
    assert found == expected


def test_kafkas_retention_settings_are_the_required_ones() -> None:
    profile = catalogue.load().profiles["production"]
    kafkas = [n for n, s in SERVICES.items() if s["image"].startswith("apache/kafka")]
    assert len(kafkas) == profile.replication
    assert int(KAFKA["KAFKA_MIN_INSYNC_REPLICAS"]) == profile.min_insync_replicas
    assert int(KAFKA["KAFKA_OFFSETS_RETENTION_MINUTES"]) >= RETENTION_MINUTES_MIN
    assert KAFKA["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"
    assert KAFKA["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment(OURS["topics"])["NPP_BOOTSTRAP_SERVERS"] == ",".join(
        f"{name}:9092" for name in kafkas
    )


def test_the_example_lists_every_external_variable_and_no_other() -> None:
    requested = {found[1] for found in FROM_OUTSIDE.finditer(COMPOSE_TEXT) if found[2] is None}
    named = set(re.findall(r"^(\w+)=", EXAMPLE, flags=re.M))
    assert named == requested
    assert all(line.endswith("=") for line in EXAMPLE.splitlines() if line[:1] not in ("", "#"))


def test_every_volume_is_declared_and_used() -> None:
    mounts = [v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", ())]
    used = {name for name in mounts if not name.startswith(".")}
    assert used == set(COMPOSE["volumes"])


def test_the_webhook_is_reachable_and_signed() -> None:
    rail = RUNNING["rail"]
    loaded = settings.load(environment(rail)).settings
    assert loaded.webhook_host == "0.0.0.0"
    assert loaded.webhook_secret is not None
    assert "ports" not in rail
    assert f"server rail:{loaded.webhook_port};" in PROXY


def test_every_runnable_process_has_a_service() -> None:
    """Otherwise an alert on a missing process would fire from the first minute."""
    command: Any = parser().commands["run"]
    assert all(service["command"][0] == "run" for service in RUNNING.values())
    assert {service["command"][1] for service in RUNNING.values()} == set(command.commands)
    adapters = {s["command"][3] for s in RUNNING.values() if s["command"][1] == "adapters"}
    assert adapters == set(ADAPTERS)


def test_projector_and_api_share_one_database_and_no_url_contains_its_password() -> None:
    """Each has its own role: the API's can only read."""
    database = SERVICES["read-model"]
    given = database["environment"]
    roles = {"projector": given["POSTGRES_USER"], "api": "npp_reader"}
    files = (given["POSTGRES_PASSWORD_FILE"], given["READER_PASSWORD_FILE"])
    assert {Path(file).name for file in files} == set(database["secrets"])
    for volume in database["volumes"][1:]:
        assert (DEPLOY / volume.split(":")[0]).is_file()
    for name, user in roles.items():
        service = environment(RUNNING[name])
        url = make_url(service["NPP_READ_MODEL_URL"])
        assert (url.drivername, url.host, url.password) == (POSTGRES, "read-model", None)
        assert (url.username, url.database) == (user, given["POSTGRES_DB"])
        assert service["PGPASSFILE"] == f"/run/secrets/{name}-pgpass"
        assert f"{name}-pgpass" in RUNNING[name]["secrets"]
        assert RUNNING[name]["depends_on"]["read-model"] == {"condition": "service_healthy"}
        assert RUNNING[name]["depends_on"]["topics"] == RUNNING["rail"]["depends_on"]["topics"]
    others = [n for n, s in RUNNING.items() if "PGPASSFILE" in s["environment"]]
    assert sorted(others) == ["api", "projector"]
    assert "pg_isready" in database["healthcheck"]["test"]
    assert "ports" not in database


def test_the_api_is_reachable_signs_users_in_and_has_the_verifiers_public_keys() -> None:
    api = RUNNING["api"]
    given = environment(api) | {"NPP_API_CLIENTS": "till=api-client"}
    loaded = settings.load(given)
    found = loaded.settings
    assert found.api_host == "0.0.0.0"
    assert "ports" not in api
    assert f"server api:{found.api_port};" in PROXY
    assert found.api_proxies == SERVICES["proxy"]["networks"]["inside"]["ipv4_address"]
    assert "" not in (found.jwks, found.token_issuer, found.token_audience)
    assert "" not in (found.api_hosts, found.api_proxies)
    assert clients(loaded) == {"till": "api-client"}
    assert found.keyring == Path("/var/lib/npp-verifier/verifier/keyring.json")
    assert "verifier:/var/lib/npp-verifier:ro" in api["volumes"]
    assert "verifier:/var/lib/npp" in RUNNING["verifier"]["volumes"]
    assert "/var/lib/npp-verifier" in DOCKERFILE
    assert environment(RUNNING["verifier"])["NPP_SIGNING_KEY"].startswith("/run/secrets/")


def test_users_sign_in_to_the_pages_and_alerts_link_there() -> None:
    """DEP-05, MET-12: without a sign-in there are no pages, and no pages for alerts."""
    found = settings.load(environment(RUNNING["api"])).settings
    assert "" not in (found.oidc_issuer, found.oidc_client_id, found.web_url)
    assert None not in (found.oidc_client_secret, found.web_key)
    address = RUNNING["api"]["environment"]["NPP_WEB_URL"]
    assert SERVICES["prometheus"]["environment"] == {"NPP_WEB_URL": address}
    assert PROMETHEUS["global"]["external_labels"] == {"runbooks": "${NPP_WEB_URL}/runbooks"}


@pytest.mark.parametrize("path", ["/api/stream", "/live", "/payments/pi_x/live"])
def test_the_proxy_passes_live_events_on_at_once(path: str) -> None:
    """Its timeout is longer than the heartbeat interval."""
    (pattern, rules) = next(
        found for found in re.findall(r"location ~ (\S+) \{(.*?)\}", PROXY, re.DOTALL)
        if re.search(found[0], path)
    )  # fmt: skip
    assert "proxy_buffering off;" in rules, pattern
    assert "proxy_read_timeout 60s;" in rules, pattern


def test_prometheus_scrapes_every_process_at_its_port() -> None:
    jobs = PROMETHEUS["scrape_configs"]
    targets = {t for job in jobs for group in job["static_configs"] for t in group["targets"]}
    ports = {
        name: settings.load(environment(service)).settings.metrics_port
        for name, service in RUNNING.items()
    }
    assert targets == {f"{name}:{port}" for name, port in ports.items()}


def test_the_image_has_every_package_and_the_files_they_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, flags=re.M))
    assert copied == {*packages, "native", "bench", "tests"}
    for name in ("topics.yaml", "pyproject.toml", "README.md", "requirements/run.lock"):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", DOCKERFILE, flags=re.M), name
    assert (project["project"]["scripts"]["npp"]) == "app.cli.npp:main"
    assert "from app.cli.npp import main\\n\\nmain()" in DOCKERFILE
    assert 'ENTRYPOINT ["npp"]' in DOCKERFILE


def test_the_image_is_the_compiled_build_and_its_services_require_it() -> None:
    """docs/decisions/0023: compiled in the build stage; the compiler stays there."""
    made, image = DOCKERFILE.split("\nFROM ")[1:]
    assert "-m native.build --into /srv/built" in made
    assert "COPY --from=build /srv/built /srv/npp" in image
    assert "gcc" not in image
    # The benches train it; neither they nor the tests go along.
    assert "COPY bench bench" in made
    assert "rm -r /srv/built/.cache /srv/built/bench" in made
    assert {environment(name).get("NPP_REQUIRE_NATIVE") for name in RUNNING.values()} == {"1"}


def test_the_build_context_includes_everything_that_the_image_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.M):
        for name in copied.split():
            assert (ROOT / name).exists(), name
            assert not {name, f"{name}/", name.split("/")[0]} & set(ignored), name


def test_the_images_variables_and_ports_are_the_products() -> None:
    fields = Settings.model_fields
    known = {f"NPP_{name.upper()}" for name in fields}
    ports = [fields[f"{name}_port"].default for name in ("metrics", "webhook", "api")]
    assert set(re.findall(r"\bNPP_[A-Z_]+", DOCKERFILE)) <= known
    assert f"EXPOSE {' '.join(map(str, ports))}\n" in DOCKERFILE
    assert "USER 10001:10001" in DOCKERFILE
    assert "/livez" in DOCKERFILE


def test_no_password_is_in_the_compose_file() -> None:
    """Every password of the compose file comes from outside and has no default."""
    lines = [line for line in COMPOSE_TEXT.splitlines() if "/run/secrets/" not in line]
    text = "\n".join(line.partition("#")[0] for line in lines)
    given = re.findall(r'(?:password=|PASSWORD: |user_[\w-]+=)"?([^"\s;]+)', text)
    assert len(given) > 15
    assert [value for value in given if not re.fullmatch(r"\$\{NPP_\w+_PASSWORD:\?\}", value)] == []
