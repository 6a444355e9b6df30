"""`npp control rules|operators|confirm`: activation under dual control of a rule set, an operators
file, or the source map that `npp topics apply` requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import rule_files
from app.cli.api_options import ActAs, Json, answer
from app.cli.control import ruling
from app.cli.output import as_json
from app.cli.signing import Key, of_control, signer_of
from app.cluster import Cluster
from app.config import settings
from app.control import first_records, operators
from app.exits import ExitCode, Problem, usage
from core.control_records import ActConfirmed, DispositionRequested


def rules(
    number: Annotated[
        int, typer.Argument(help="Number of core/rules/<number>.yaml; it can only rise.")
    ],
    operator: ActAs = "",
    key: Key = None,
    json: Json = False,
) -> None:
    """Request the next rule set. A second person confirms; then it is in force from every
    instance's next batch on.
    """
    environment = settings.load()
    chosen = rule_files.chosen(number, environment.settings.profile)
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        offset = None
        if first_records.next_rules(control, chosen):
            me = signer_of(of_control(control), operator, key)
            record = first_records.activation(chosen, cluster.clock.now_ms(), me.person)
            offset = cluster.publish_control(me.sign(record)).offset
    sha256 = chosen.sha256.hex()
    answer(
        {"number": number, "sha256": sha256, "offset": offset},
        json,
        f"rule set {number} is in force already"
        if offset is None
        else f"rule set {number} (SHA-256 {sha256[:16]}…) is requested. "
        + ruling.CONFIRM.format(offset=offset),
    )


def operators_file(
    file: Annotated[Path, typer.Argument(help="The next operators file, deployed everywhere.")],
    operator: ActAs = "",
    key: Key = None,
    unsigned: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="Submit unsigned if no valid key is left; accepted only with NPP_OPERATORS_RESET.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Request the next operators file: people, roles and keys. A second person confirms.

    Deploy it first (NPP_OPERATORS_FILE): a process that lacks the file in force takes no partition.
    """
    environment = settings.load()
    found = operators.read(file)
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        in_force = control.operators
        if in_force is not None and found.sha256 == in_force.sha256:
            answer({"number": found.number, "offset": None}, json, "it is in force already")
            return
        if in_force is None or found.number != in_force.number + 1:
            number = 0 if in_force is None else in_force.number
            raise usage(f"Operators file {number} is in force; the next number is {number + 1}.")
        if found.previous != in_force.sha256:
            raise usage(f"The file must contain `previous: {in_force.sha256.hex()}`.")
        actor = "reset" if unsigned else ""
        record: Any = operators.activation(found, cluster.clock.now_ms(), actor)
        if not unsigned:
            record = signer_of(of_control(control), operator, key).sign(record)
        offset = cluster.publish_control(record).offset
    sha256 = found.sha256.hex()
    summary = f"operators file {found.number} (SHA-256 {sha256}) is "
    answer(
        {"number": found.number, "sha256": sha256, "offset": offset},
        json,
        summary + "written: it is in force where NPP_OPERATORS_RESET names this hash"
        if unsigned
        else summary + "requested. " + ruling.CONFIRM.format(offset=offset),
    )


def confirm(
    offset: Annotated[int, typer.Argument(help="Control offset of the request.", min=0)],
    operator: ActAs = "",
    key: Key = None,
    json: Json = False,
) -> None:
    """Agree, as the second person, to what waits at a control offset: a rule set, an operators
    file, a source map, an added input, a ruling on a journal record.

    For a ruling the payment's lifecycle record is published again first, where it is wrong; that
    needs every payments processor to be ended.
    """
    with Cluster(settings.load()) as cluster:
        control, _ = cluster.control()
        me = signer_of(of_control(control), operator, key)
        requested = me.context.request(offset)
        if requested is None:
            raise Problem(f"No request waits at control offset {offset}.", code=ExitCode.NOT_FOUND)
        record = me.sign(
            ActConfirmed(
                request_offset=offset, confirmed_at=cluster.clock.now_ms(), actor=me.person
            ),
            requested,
        )
        refusal = control.copied().apply_record(offset + 1, record, cluster.clock.now_ms())
        if refusal is not None:
            raise Problem(f"It is not put in force: {refusal.sentence}.")
        if isinstance(requested, DispositionRequested):
            ruling.carry_out(cluster, control, requested)
        cluster.publish_control(record)
    done = {"type": type(requested).__name__, "asked": as_json(requested), "confirmedBy": me.person}
    answer(done, json, f"{type(requested).__name__}: in force, confirmed by {me.person}")
