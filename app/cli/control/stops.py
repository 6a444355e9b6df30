"""`npp control show|stop`: whether processing is stopped, and stopping it.

A STOP must not depend on the API: with --kafka the control topic is read and written directly.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from app import settings
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
from app.cli.signing import Key, hand_of_who_stops, of_control
from app.cluster import Cluster
from control.fold import Control
from core.records import ProcessingStopped

ID_BYTES: Final = 4


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
    """Stop processing: inputs wait, nothing is submitted, until two persons resume.

    Takes effect within a second. Reading, evidence and verification go on.
    """
    if without_api(kafka, curl):
        with Cluster(settings.load()) as cluster:
            me = hand_of_who_stops(of_control(cluster.control()[0]), operator, key)
            record = ProcessingStopped(
                stop_id="stp_" + secrets.token_hex(ID_BYTES),
                reason=reason,
                automatic=False,
                stopped_at=cluster.clock.now_ms(),
                actor=me.person,
            )
            cluster.publish_control(me.sign(record))
        shown = ("stopId", "reason", "stoppedAt", "actor")
        done = {name: as_json(record)[name] for name in shown}
    else:
        path, asked = "/api/control/stop", body(reason=reason)
        said = ask_as_admin(path, asked, operator, role, curl=curl)
        if said is None:
            return
        done = said
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
    asked = None if offset is None else control.resume_requested(offset)
    return None if asked is None else {"offset": offset, **as_json(asked)}


def _print(found: dict[str, Any]) -> None:
    out = console()
    out.print("processing runs" if found["running"] else "processing does not run")
    if found["blocked"]:
        out.print(f"blocked: {found['blocked']}")
    for each in found["stops"]:
        out.print(
            f"{each['stopId']}: stopped at {each['stoppedAt']} by {each['actor']}: {each['reason']}"
        )
        asked = each["resumeRequest"]
        if asked is not None:
            out.print(f"  resume requested at {asked['requestedAt']} by {asked['actor']}")
    if found["ruleSet"]:
        out.print(f"rule set {found['ruleSet']['number']} is in force")
    if found["latestProof"]:
        proof = found["latestProof"]
        out.print(f"last proof {proof['passedAt']} by {proof['actor']}, {proof['scope']}")
