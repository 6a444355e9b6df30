"""`npp doctor`: is this set-up fit to carry payments, and if not, what to do."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final

import typer

from app import rule_files
from app.cli.cluster.doctor_keys import check_keys
from app.cli.cluster.doctor_operators import check_operators
from app.cli.cluster.doctor_reading import check_reading, groups
from app.cli.cluster.findings import Finding, Level
from app.cli.cluster.topics import has_authorizer
from app.cli.output import as_json, console, print_json
from app.cluster import Cluster
from app.config import build, settings
from app.config.floor import faults
from app.config.settings import Environment
from app.exits import ExitCode, Problem
from app.recovery import GROUP
from app.topic_specs import acl_specs, topic_specs
from engine.clients.first_answer import first_answer
from engine.clients.groups import GroupAdmin
from engine.clients.reader import read_all
from engine.errors import EngineError, Retry
from engine.loop.transaction import TransactionalProducer, TransactionSettings
from engine.ports import TopicPartition
from engine.topics import TopicAdmin
from schemas import catalogue, topology

OFFSETS_RETENTION_MINUTES_MIN: Final = 43_200  # 30 days: longer than any outage planned for
CLOCK_DIFFERENCE_MS_MAX: Final = 60_000
CLOCK_DIFFERENCE_MS_GOOD: Final = 1_000

TRANSACTION_S_MAX: Final = 15.0  # ours are aborted by the broker after 10 s
LOOK_AGAIN_S: Final = 0.5
ANSWER_S_MAX: Final = 10.0  # of the broker to the first question
COUNTED_OFFSETS_MAX: Final = 10_000  # a larger lag is given in offsets
KAFKA_HELPS: Final = (
    "NPP_BOOTSTRAP_SERVERS, NPP_KAFKA_*: does this port speak NPP_KAFKA_SECURITY_PROTOCOL, and are "
    "certificates, user and password right?"
)
GROUPS: Final[tuple[tuple[Level, str], ...]] = (
    ("failed", "FAILED  "),
    ("warning", "WARNING "),
    ("ok", "ok      "),
)


def doctor(
    as_one_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check this set-up, and say how to fix each problem.

    Settings, broker, topics, access, schemas, keys, operators file, control, clock, offsets,
    reading, transactions.
    Exit 1 when a check failed, 3 when the broker does not answer.
    """
    environment = settings.load()
    findings: list[Finding] = []
    for check in CHECKS:
        findings += _checked(check, environment)
        if any(f.level == "failed" and f.check == "broker" for f in findings):
            break
    if as_one_json:
        print_json({"findings": [as_json(each) for each in findings]})
    else:
        _print(findings)
    raise typer.Exit(int(_code(findings)))


def _print(findings: list[Finding]) -> None:
    """Failures first, then warnings, then passed checks; each in the order of checks."""
    for level, mark in GROUPS:
        for each in findings:
            if each.level == level:
                console().print(f"{mark} {each.check:<12} {each.says}", soft_wrap=True)
                if each.do:
                    console().print(f"{'':<21} → {each.do}", soft_wrap=True)
    counts = Counter(each.level for each in findings)
    console().print(f"{counts['failed']} failed, {counts['warning']} warnings, {counts['ok']} ok")


def _code(findings: list[Finding]) -> ExitCode:
    failed = [each for each in findings if each.level == "failed"]
    if any(each.check == "broker" for each in failed):
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if failed else ExitCode.OK


def _checked(
    check: Callable[[Environment], Iterator[Finding]], environment: Environment
) -> list[Finding]:
    """The findings of a check; one that cannot be made has failed."""
    name = check.__name__.removeprefix("check_")
    try:
        return list(check(environment))
    except Problem as problem:
        return [Finding(name, "failed", problem.what, problem.do)]
    except EngineError as error:
        return [Finding(name, "failed", f"Kafka: {error}", KAFKA_HELPS)]
    except (OSError, ValueError) as error:  # a setting names what cannot be used
        return [Finding(name, "failed", str(error), "`npp config` shows the settings in force")]


def check_settings(environment: Environment) -> Iterator[Finding]:
    unknown = settings.unknown_variables(os.environ)
    if unknown:
        yield Finding("settings", "warning", f"mean nothing: {', '.join(unknown)}", "misspelt?")
    profile = environment.settings.profile
    if profile is settings.Profile.PRODUCTION:
        for fault in faults(environment):
            yield Finding("settings", "failed", fault, "no process starts with it: SECURITY.md")
    yield Finding("settings", "ok", f"profile {profile}, data in {environment.settings.data_dir}")


def check_build(environment: Environment) -> Iterator[Finding]:
    build.require(environment)
    helps = [] if build.running() == "native" else ["make native: less CPU per payment"]
    if not build.python_is_optimised():
        helps.append(
            f"{sys.executable} was not configured with {build.OPTIMISED}: one that was, such as "
            "the official image's, needs up to 12 % less CPU"
        )
    yield Finding("build", "ok", f"the {build.running()} build runs", "; ".join(helps))


def check_broker(environment: Environment) -> Iterator[Finding]:
    cluster = Cluster(environment)
    found = first_answer(cluster.connection, cluster.clock, ANSWER_S_MAX)
    yield Finding("broker", "ok", f"cluster {found} answers")


def check_clock(environment: Environment) -> Iterator[Finding]:
    cluster = Cluster(environment)
    producer = TransactionalProducer(
        cluster.connection, f"{GROUP}-doctor", cluster.clock, TransactionSettings()
    )
    try:
        producer.init()
        difference = producer.probe_clock(topology.QUARANTINE)
    except Retry as unknown:
        yield Finding(
            "clock", "failed", f"the broker did not report its time: {unknown}",
            "No partition is taken until it does: npp topics apply; is the broker healthy?",
        )  # fmt: skip
        return
    finally:
        producer.destroy()
    off = abs(difference)
    level: Level = "ok" if off <= CLOCK_DIFFERENCE_MS_GOOD else "warning"
    if off > CLOCK_DIFFERENCE_MS_MAX:
        level = "failed"
    do = "" if level == "ok" else "Set both clocks by NTP; over 60 s no partition is taken."
    yield Finding("clock", level, f"{off} ms from the broker's", do)


def check_topics(environment: Environment) -> Iterator[Finding]:
    topics = catalogue.load()
    admin = TopicAdmin(environment.connection())
    found = admin.drift(topic_specs(topics, environment.topics_profile()))
    for each in found:
        says = f"{each.kind} {each.name}: wanted {each.wanted}, found {each.found}"
        do = "npp topics apply" if each.fixable else "cannot change: this is another cluster"
        yield Finding("topics", "failed", says, do)
    if not found:
        yield Finding("topics", "ok", f"{len(topics.topics)} topics as declared")


def check_access(environment: Environment) -> Iterator[Finding]:
    if not has_authorizer(environment):
        level: Level = "failed" if environment.topics_profile() == "production" else "ok"
        yield Finding(
            "access", level, "the broker has no authorizer: every client may do everything"
        )
        return
    found = TopicAdmin(environment.connection()).drift([], acl_specs(catalogue.load()))
    missing = [each for each in found if each.kind == "acl_missing"]
    extra = [each for each in found if each.kind == "acl_extra"]
    if missing:
        yield Finding("access", "failed", f"{len(missing)} rules are missing", "npp topics apply")
    if extra:
        yield Finding("access", "warning", f"{len(extra)} undeclared rules", "npp topics drift")
    if not missing:
        yield Finding("access", "ok", "every declared rule is there")


def check_schemas(environment: Environment) -> Iterator[Finding]:
    _ = Cluster(environment).codec
    yield Finding("schemas", "ok", f"registered; ids as in {environment.ids_lock()}")


def check_control(environment: Environment) -> Iterator[Finding]:
    control, _ = Cluster(environment).control()
    reason = control.ready()
    if reason is not None:
        yield Finding("control", "failed", reason, "npp topics apply")
        return
    assert control.rule_set is not None
    number = control.rule_set.number
    if number not in rule_files.carried():
        yield Finding("control", "failed", f"this release has no rule set {number}", "upgrade")
    elif rule_files.rules_of(number).sha256 != control.rule_set.sha256:
        yield Finding("control", "failed", f"core/rules/{number}.yaml was changed", "restore it")
    else:
        yield Finding("control", "ok", f"rule set {number} is in force")
    if control.unreadable:
        yield Finding("control", "warning", f"{control.unreadable} records cannot be read")
    for stop in control.stops():
        yield Finding(
            "control", "failed", f"stopped by {stop.actor}: {stop.reason} ({stop.stop_id})",
            "npp replay verify --publish, then npp control resume",
        )  # fmt: skip


def check_offsets(environment: Environment) -> Iterator[Finding]:
    cluster = Cluster(environment)
    admin = GroupAdmin(cluster.connection, cluster.clock)
    minutes = int(admin.broker_setting("offsets.retention.minutes") or 0)
    if minutes < OFFSETS_RETENTION_MINUTES_MIN:
        level: Level = "failed" if environment.topics_profile() == "production" else "warning"
        yield Finding(
            "offsets", level, f"offsets.retention.minutes is {minutes}",
            f"at least {OFFSETS_RETENTION_MINUTES_MIN}: an idle group must find its offsets",
        )  # fmt: skip
    ends = cluster.ends
    for group, names in groups().items():
        committed = {n: at for n, at in admin.committed(group).items() if n[0] in names}
        if not committed:
            yield Finding("offsets", "ok", f"{group} has not run yet")
            continue
        stable = ends.stable(list(committed))
        lag = _to_read(cluster, {n: (at, stable[n]) for n, at in committed.items()})
        members = admin.members(group)
        level = "ok" if members else "warning"
        do = "" if members else "no members: start the process"
        yield Finding("offsets", level, f"{group}: {members} members, {lag}", do)


def _to_read(cluster: Cluster, places: Mapping[TopicPartition, tuple[int, int]]) -> str:
    """How many records a group has not read. Offsets of transaction markers are none."""
    behind = {name: (at, end) for name, (at, end) in places.items() if at < end}
    if sum(end - at for at, end in behind.values()) > COUNTED_OFFSETS_MAX:
        return f"over {COUNTED_OFFSETS_MAX} offsets behind"
    count = 0
    for topic in {name for name, _ in behind}:
        of_topic = {n: each for (name, n), each in behind.items() if name == topic}
        batches = read_all(
            cluster.connection,
            topic,
            start={n: at for n, (at, _) in of_topic.items()},
            ends={n: end for n, (_, end) in of_topic.items()},
            partitions=list(of_topic),
            clock=cluster.clock,
        )
        count += sum(len(batch) for batch in batches)
    return f"{count} records to read" if count else "nothing left to read"


def check_transactions(environment: Environment) -> Iterator[Finding]:
    """A transaction that stays open longer than any may is hanging: the broker did not abort it."""
    cluster = Cluster(environment)
    counts = cluster.ends.partition_counts([topic.name for topic in catalogue.load().topics])
    names = [(topic, number) for topic, count in counts.items() for number in range(count)]
    high, stable = cluster.ends.high(names), cluster.ends.stable(names)
    left = {name: at for name, at in stable.items() if at < high[name]}
    deadline_s = cluster.clock.monotonic_s() + TRANSACTION_S_MAX
    while left and cluster.clock.monotonic_s() < deadline_s:
        cluster.clock.sleep(LOOK_AGAIN_S)
        stable = cluster.ends.stable(list(left))
        left = {name: at for name, at in left.items() if stable[name] == at}
    for (topic, number), at in sorted(left.items()):
        yield Finding(
            "transactions", "failed",
            f"{topic} {number}: open at offset {at} for over {TRANSACTION_S_MAX:.0f} s, "
            "nothing after it is read",
            "kafka-transactions.sh find-hanging, then abort: docs/runbook.md, Stalled processing",
        )  # fmt: skip
    if not left:
        yield Finding("transactions", "ok", "none hangs")


CHECKS: Final = (
    check_settings,
    check_build,
    check_broker,
    check_topics,
    check_access,
    check_schemas,
    check_keys,
    check_operators,
    check_control,
    check_clock,
    check_offsets,
    check_reading,
    check_transactions,
)
