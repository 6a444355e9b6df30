"""`npp control rules|operators|confirm`: what is put in force by two persons: a rule set, an
operators file, and the source map that `npp topics apply` asks for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import rule_files, settings
from app.cli.api_options import ActAs, Json, answer
from app.cli.control import ruling
from app.cli.output import as_json
from app.cli.signing import Key, hand, of_control
from app.cluster import Cluster
from app.control import first_records, operators
from app.exits import ExitCode, Problem, usage
from core.records import ActConfirmed, DispositionRequested

CONFIRM = "A second person: npp control confirm {offset} --as …"


def rules(
    number: Annotated[int, typer.Argument(help="Of core/rules/<number>.yaml; numbers only rise.")],
    operator: ActAs = "",
    key: Key = None,
    json: Json = False,
) -> None:
    """Ask for the next rule set. A second person confirms; then it is in force from the next batch
    of every instance on."""
    environment = settings.load()
    chosen = rule_files.chosen(number, environment.settings.profile)
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        offset = None
        if first_records.next_rules(control, chosen):
            me = hand(of_control(control), operator, key)
            record = first_records.activation(chosen, cluster.clock.now_ms(), me.person)
            offset = cluster.publish_control(me.sign(record)).offset
    sha256 = chosen.sha256.hex()
    answer(
        {"number": number, "sha256": sha256, "offset": offset},
        json,
        f"rule set {number} is in force already"
        if offset is None
        else f"rule set {number} (SHA-256 {sha256[:16]}…) is asked for. "
        + CONFIRM.format(offset=offset),
    )


def operators_file(
    file: Annotated[Path, typer.Argument(help="The next operators file, deployed everywhere.")],
    operator: ActAs = "",
    key: Key = None,
    unsigned: Annotated[
        bool,
        typer.Option(
            "--reset", help="Unsigned: nobody can sign, and NPP_OPERATORS_RESET lets it in."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Ask for the next operators file: persons, roles and keys. A second person confirms.

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
            raise usage(f"The file has to say `previous: {in_force.sha256.hex()}`.")
        actor = "reset" if unsigned else ""
        record: Any = operators.activation(found, cluster.clock.now_ms(), actor)
        if not unsigned:
            record = hand(of_control(control), operator, key).sign(record)
        offset = cluster.publish_control(record).offset
    sha256 = found.sha256.hex()
    said = f"operators file {found.number} (SHA-256 {sha256}) is "
    answer(
        {"number": found.number, "sha256": sha256, "offset": offset},
        json,
        said + "written: it is in force where NPP_OPERATORS_RESET names this hash"
        if unsigned
        else said + "asked for. " + CONFIRM.format(offset=offset),
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
    needs every payments processor to be ended."""
    with Cluster(settings.load()) as cluster:
        control, _ = cluster.control()
        me = hand(of_control(control), operator, key)
        asked = me.asked.request(offset)
        if asked is None:
            raise Problem(f"Nothing waits at control offset {offset}.", code=ExitCode.NOT_FOUND)
        record = me.sign(
            ActConfirmed(
                request_offset=offset, confirmed_at=cluster.clock.now_ms(), actor=me.person
            ),
            asked,
        )
        refusal = control.copied().apply_record(offset + 1, record, cluster.clock.now_ms())
        if refusal is not None:
            raise Problem(f"It is not put in force: {refusal.sentence}.")
        if isinstance(asked, DispositionRequested):
            ruling.carry_out(cluster, control, asked)
        cluster.publish_control(record)
    done = {"type": type(asked).__name__, "asked": as_json(asked), "confirmedBy": me.person}
    answer(done, json, f"{type(asked).__name__}: in force, confirmed by {me.person}")
