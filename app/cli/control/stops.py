"""`npp control show|stop`: whether processing is stopped, and stopping it.

A STOP must not depend on the API: with --kafka the control topic is read and written directly.
"""

from __future__ import annotations

from typing import Any

from app.cli.api_client import Call
from app.cli.api_options import (
    ActAs,
    Curl,
    Json,
    Kafka,
    Role,
    Why,
    answer,
    ask_as_admin,
    body,
    fetch,
    without_api,
)
from app.cli.output import as_json, console, print_json
from app.cli.signing import Key, of_control, signer_for_stop
from app.cluster import Cluster, act_id
from app.config import settings
from control.fold import Control
from core.control_records import ProcessingStopped


def show(kafka: Kafka = False, json: Json = False, curl: Curl = False) -> None:
    """Whether processing runs: open stops, requests to resume, the rule set, the last proof."""
    if without_api(kafka, curl):
        with Cluster(settings.load()) as cluster:
            control, _ = cluster.control()
        found = _as_the_api_shows_it(control)
        if json:
            print_json(found)
            return
    else:
        reply = fetch(Call("GET", "/api/control"), json=json, curl=curl)
        if reply is None:
            return
        found = reply.body
    _print(found)


def stop(
    reason: Why,
    operator: ActAs = "",
    key: Key = None,
    role: Role = None,
    kafka: Kafka = False,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Stop processing: inputs wait, nothing is submitted, until two people resume.

    Takes effect within a second. Reads, evidence and verification continue.
    """
    if without_api(kafka, curl):
        with Cluster(settings.load()) as cluster:
            me = signer_for_stop(of_control(cluster.control()[0]), operator, key)
            record = ProcessingStopped(
                stop_id=act_id("stp"),
                reason=reason,
                automatic=False,
                stopped_at=cluster.clock.now_ms(),
                actor=me.person,
            )
            cluster.publish_control(me.sign(record))
        shown = ("stopId", "reason", "stoppedAt", "actor")
        done = {name: as_json(record)[name] for name in shown}
    else:
        path, requested = "/api/control/stop", body(reason=reason)
        result = ask_as_admin(path, requested, operator, role, curl=curl)
        if result is None:
            return
        done = result
    next_steps = "`npp replay verify --publish`, then `npp control resume --request`."
    answer(done, json, f"{done['stopId']}: stopped. {next_steps}")


def _as_the_api_shows_it(control: Control) -> dict[str, Any]:
    """The parts of GET /api/control that people decide by."""
    stops, blocked, latest = control.stops(), control.ready(), control.latest_proof()
    proof = None if latest is None else control.proof(latest)
    return {
        "running": not stops and blocked is None,
        "blocked": blocked,
        "stops": [
            {**as_json(each), "resumeRequest": _request(control, each.stop_id)} for each in stops
        ],
        "ruleSet": as_json(control.rule_set),
        "latestProof": None if proof is None else {"offset": latest, **as_json(proof)},
    }


def _request(control: Control, stop_id: str) -> dict[str, Any] | None:
    offset = control.resume_request(stop_id)
    requested = None if offset is None else control.resume_requested(offset)
    return None if requested is None else {"offset": offset, **as_json(requested)}


def _print(found: dict[str, Any]) -> None:
    out = console()
    out.print("processing runs" if found["running"] else "processing does not run")
    if found["blocked"]:
        out.print(f"blocked: {found['blocked']}")
    for each in found["stops"]:
        out.print(
            f"{each['stopId']}: stopped at {each['stoppedAt']} by {each['actor']}: {each['reason']}"
        )
        requested = each["resumeRequest"]
        if requested is not None:
            out.print(f"  resume requested at {requested['requestedAt']} by {requested['actor']}")
    if found["ruleSet"]:
        out.print(f"rule set {found['ruleSet']['number']} is in force")
    if found["latestProof"]:
        proof = found["latestProof"]
        out.print(f"last proof {proof['passedAt']} by {proof['actor']}, {proof['scope']}")
