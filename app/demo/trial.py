"""What the product needs around it, for a trial on this machine: Kafka, a schema registry and the
simulators, in the background. The product's own processes are started by hand, as in production.

`up` starts a process that keeps them (`hold`) and waits until they are there; its file with the
process's id is in the data folder while they run.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from app.config.settings import DEMO_MARK
from app.demo.options import Options
from app.demo.programs import API, SIMULATORS
from app.demo.shell import write_shell_file
from app.demo.stage import LOCK, Stage, ended_by_signals
from app.exits import ExitCode, Problem
from app.platform.children import free_ports, tail_of
from engine.clock import SystemClock
from engine.private_file import rewrite_private
from schemas.strict_json import read_json

FILE: Final = "trial.json"
LOG: Final = "trial.log"
UP_SECONDS_MAX: Final = 180.0
DOWN_SECONDS_MAX: Final = 60.0
LOOK_EVERY_SECONDS: Final = 0.2
BEHAVIOUR: Final = "happy_path"  # a first payment of one's own goes well


def hold(data: Path) -> int:
    """Keep everything up until SIGTERM. Raises Problem when something does not start or stay."""
    api_port = free_ports(1)[0]
    # Processes on one machine cannot share a metrics port, so they get none by default.
    more = {"NPP_METRICS_PORT": "0", "NPP_API_PORT": str(api_port)}
    options = Options(
        payments=1,
        rate=0,
        once=False,
        chaos=False,
        json=False,
        reset=False,
        data=data,
        seed=1,
        api_port=api_port,
        behaviour=BEHAVIOUR,
        more=more,
    )
    with ended_by_signals(), Stage(options) as stage:
        try:
            stage.start_platform().close()
            stage.start_simulators()
            ready = stage.ready()
            line = write_shell_file(stage.data, ready["api"], ready["tokens"])
            simulators = {name: stage.url(name) for name in SIMULATORS}
            rewrite_private(
                stage.data / FILE,
                json.dumps(
                    {
                        "pid": os.getpid(),
                        "eval": line,
                        "api": stage.url(API),
                        "bootstrap": ready["bootstrap"],
                        "registry": ready["registry"],
                        "simulators": simulators,
                    }
                ).encode(),
            )
            while True:
                stage.tend()
                stage.clock.sleep(LOOK_EVERY_SECONDS)
        except KeyboardInterrupt:
            return int(ExitCode.OK)
        finally:
            (stage.data / FILE).unlink(missing_ok=True)


def up(data: Path) -> dict[str, Any]:
    """Start what is not running; return all addresses. Raises Problem when it does not come up."""
    found = status(data)
    if found is not None:
        return found
    log = data / "logs" / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    _mark(data)
    command = [sys.executable, "-m", "app.cli.npp", "trial", "hold", "--data", str(data)]
    with log.open("wb") as output:
        holder = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    clock = SystemClock()
    until = clock.monotonic_s() + UP_SECONDS_MAX
    while holder.poll() is None and clock.monotonic_s() < until:
        found = status(data)
        if found is not None:
            return found
        clock.sleep(LOOK_EVERY_SECONDS)
    if holder.poll() is None:
        holder.terminate()
    raise Problem(
        f"The trial did not come up; its last output:\n{tail_of(log)}",
        means="Kafka, the schema registry or a simulator did not start.",
        do=f"The whole log: {log}",
        code=ExitCode.UNREACHABLE,
    )


def down(data: Path) -> bool:
    """End what is running; return whether anything was. Raises Problem on a timeout."""
    found = status(data)
    if found is None:
        return False
    os.kill(found["pid"], signal.SIGTERM)
    clock = SystemClock()
    until = clock.monotonic_s() + DOWN_SECONDS_MAX
    while _held(data):
        if clock.monotonic_s() > until:
            raise Problem(f"The trial's process {found['pid']} does not end.")
        clock.sleep(LOOK_EVERY_SECONDS)
    return True


def status(data: Path) -> dict[str, Any] | None:
    """Where everything is, or None while no trial is up in this folder."""
    if not _held(data):
        return None  # a file that a killed trial has left says nothing
    try:
        found = read_json((data / FILE).read_bytes())
    except FileNotFoundError:
        return None
    assert isinstance(found, dict)
    return found


def _held(data: Path) -> bool:
    """Whether a trial or demo runs in the folder: its lock is taken."""
    try:
        with (data / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _mark(data: Path) -> None:
    """A new folder with our log in it is a demo's: its own start takes it for one."""
    known = {each.name for each in data.iterdir()}
    if known <= {"logs", LOCK}:
        (data / DEMO_MARK).touch()
