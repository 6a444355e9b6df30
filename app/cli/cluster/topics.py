"""`npp topics plan|apply|drift|acls|quotas`: topics.yaml and a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
import typer

from app import rule_files
from app.cli.api_options import ActAs
from app.cli.output import as_json, console, error_console, print_json
from app.cli.signing import Key, of_control, signer_of
from app.cluster import Cluster, require_listener
from app.config import settings
from app.config.settings import Environment, Profile
from app.control import first_records
from app.exits import ExitCode, usage
from app.topic_specs import acl_lines, acl_specs, quota_lines, topic_specs
from engine.clients.groups import GroupAdmin
from engine.topics import AclSpec, Difference, TopicAdmin, TopicSpec
from schemas import catalogue

APPLY: Final = "topics-apply"  # the actor in the first control records
AUTHORIZER: Final = "authorizer.class.name"

app = typer.Typer(
    help="Topics, their configuration and access rules, as topics.yaml declares them.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Acls = Annotated[
    bool | None,
    typer.Option(
        "--acls/--no-acls", help="Include access rules; default: if the cluster has an authorizer."
    ),
]


@app.command()
def plan(acls: Acls = None, json: Json = False) -> None:
    """Show what `apply` would change. Changes nothing."""
    _, admin, specs, rules = _open(acls)
    _print(admin.plan(specs, rules), json, "would be changed", "nothing to change")


@app.command()
def drift(acls: Acls = None, json: Json = False) -> None:
    """Show where the cluster differs from topics.yaml; exit 1 when it does."""
    _, admin, specs, rules = _open(acls)
    found = admin.drift(specs, rules)
    _print(found, json, "differs", "the cluster matches topics.yaml")
    raise typer.Exit(int(ExitCode.FAILED if found else ExitCode.OK))


@app.command()
def apply(
    rules: Annotated[
        int | None,
        typer.Option(help="Rule set of a new cluster; default 1, and 9001 in demo and test."),
    ] = None,
    operator: ActAs = "",
    key: Key = None,
    acls: Acls = None,
    json: Json = False,
) -> None:
    """Make missing topics and rules, correct configurations, write the first control records.

    May be repeated: existing topics stay. Partition counts are never changed: they are recorded for
    life. Needs the schemas (`npp schemas register`) for the control records.
    """
    environment, admin, specs, wanted = _open(acls)
    chosen = rule_files.chosen(_rules_number(environment, rules), environment.settings.profile)
    changed = admin.apply(specs, wanted)
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        written = first_records.missing(cluster, control, catalogue.load(), chosen, APPLY)
        for record in written:
            if first_records.has_to_be_signed(control, record):
                record = signer_of(of_control(control), operator, key).sign(record)
            placed = cluster.publish_control(record)
            if getattr(record, "signature", None) is not None:
                error_console().print(
                    f"{type(record).__name__}: requested. A second person: "
                    f"npp control confirm {placed.offset} --as …"
                )
    left = [d for d in admin.drift(specs, wanted) if not d.fixable and d.kind != "acl_extra"]
    _print_applied(changed, written, left, json)
    raise typer.Exit(int(ExitCode.FAILED if left else ExitCode.OK))


@app.command("acls")
def show_acls(json: Json = False) -> None:
    """Print the access rules made from topics.yaml, one per line. Asks no cluster."""
    _print_lines("acls", acl_lines(catalogue.load()), json)


@app.command("quotas")
def show_quotas(json: Json = False) -> None:
    """Print how much upstream systems may write: arguments of kafka-configs. Asks no cluster."""
    _print_lines("quotas", quota_lines(catalogue.load()), json)


def _print_lines(what: str, lines: Iterable[str], json: bool) -> None:
    if json:
        print_json({what: list(lines)})
        return
    for line in lines:
        console().print(line)


def _open(
    acls: bool | None,
) -> tuple[Environment, TopicAdmin, list[TopicSpec], list[AclSpec] | None]:
    environment = settings.load()
    connection = environment.connection()
    require_listener(environment.settings.bootstrap_servers)
    admin = TopicAdmin(connection)
    topics = catalogue.load()
    rules = None if acls is False else acl_specs(topics)
    specs = topic_specs(topics, environment.topics_profile())
    if rules is not None and not has_authorizer(environment):
        if acls:
            raise usage("This cluster has no authorizer, so it accepts no access rules.")
        rules = None
    return environment, admin, specs, rules


def has_authorizer(environment: Environment) -> bool:
    """Whether the cluster enforces access rules."""
    return bool(GroupAdmin(environment.connection()).broker_setting(AUTHORIZER))


def _rules_number(environment: Environment, given: int | None) -> int:
    if given is not None:
        return given
    production = environment.settings.profile is Profile.PRODUCTION
    return rule_files.PRODUCTION_RULES if production else rule_files.DEMO_RULES


def _print(found: Sequence[Difference], json: bool, verb: str, nothing: str) -> None:
    if json:
        print_json({"differences": [as_json(each) for each in found]})
        return
    for each in found:
        console().print(f"{each.kind:<12} {each.name}: wanted {each.wanted}, found {each.found}")
    console().print(f"{len(found)} {verb}" if found else nothing)


def _print_applied(
    changed: Sequence[Difference],
    written: Sequence[msgspec.Struct],
    left: Sequence[Difference],
    json: bool,
) -> None:
    names = [type(each).__name__ for each in written]
    if json:
        print_json(
            {
                "changed": [as_json(each) for each in changed],
                "controlRecords": names,
                "notFixable": [as_json(each) for each in left],
            }
        )
        return
    for each in changed:
        console().print(f"{each.kind:<12} {each.name}: {each.wanted}")
    for name in names:
        console().print(f"control      {name}")
    for each in left:
        console().print(
            f"NOT CHANGED  {each.name}: {each.kind} is {each.found}, declared {each.wanted}; "
            "it cannot change"
        )
    if not changed and not names and not left:
        console().print("nothing to change")
