"""The supervisor of child processes, on real processes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from app.platform import supervisor as supervising
from app.platform.supervisor import MOVES, Program, Restart, Status, Supervisor, SupervisorError
from engine.errors import WrongOrder
from tests.clock import HeldClock
from tests.drawings import drawn_moves

WAIT_SECONDS = 20.0


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(0)


@pytest.fixture
def supervisor(tmp_path: Path, clock: HeldClock) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, clock)
    yield made
    made.end_all(5.0)


def program(name: str, code: str, restart: Restart = Restart.ON_FAILURE) -> Program:
    return Program(name, (sys.executable, "-u", "-c", code), {"GREETING": "hello"}, restart)


STAYS = "import os, time; print(os.environ['GREETING'], os.getpid()); time.sleep(60)"
ENDS_WELL = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready")
while True:
    time.sleep(0.05)  # one long sleep could start between the signal and its handler
"""
COUNTS = """
import signal, sys, time
received = 0
def receive(*_):
    global received
    received += 1
signal.signal(signal.SIGTERM, receive)
print("ready")
while not received:
    time.sleep(0.01)
time.sleep(0.3)
sys.exit(received)
"""
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready")
time.sleep(60)
"""


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ends_of(supervisor: Supervisor) -> list[supervising.Ended]:
    """Tend until a child has ended."""
    found: list[supervising.Ended] = []

    def ended() -> bool:
        found.extend(supervisor.tend())
        return bool(found)

    wait_for(ended)
    return found


def test_a_child_has_its_environment_and_its_own_log(supervisor: Supervisor) -> None:
    pid = supervisor.start(program("one", STAYS))
    wait_for(lambda: "hello" in supervisor.log_tail("one"))
    assert supervisor.log_tail("one") == f"hello {pid}"
    assert supervisor.status() == {"one": Status.RUNNING}


def test_a_killed_child_is_restarted_at_once_as_another_process(supervisor: Supervisor) -> None:
    first = supervisor.start(program("one", STAYS))
    assert supervisor.kill("one") == first
    [ended] = supervisor.tend()
    assert (ended.pid, ended.exit_code, ended.killed_by_us) == (first, -signal.SIGKILL, True)
    assert supervisor.pid("one") != first


def test_kills_are_not_counted_as_crashes(supervisor: Supervisor) -> None:
    supervisor.start(program("one", STAYS))
    for _ in range(supervising.RESTARTS_MAX + 2):
        supervisor.kill("one")
        supervisor.tend()
    assert supervisor.status() == {"one": Status.RUNNING}


def test_a_crashed_child_is_restarted_after_growing_waits(
    supervisor: Supervisor, clock: HeldClock
) -> None:
    supervisor.start(program("one", "raise SystemExit(3)"))
    for number in range(supervising.RESTARTS_MAX):
        [ended] = ends_of(supervisor)
        assert (ended.exit_code, ended.killed_by_us) == (3, False)
        assert supervisor.status() == {"one": Status.WAITING}
        wait_ms = int(supervising.BACK_OFF_FIRST_SECONDS * 1000) * 2**number
        clock.advance(wait_ms - 10)
        assert supervisor.tend() == []
        assert supervisor.status() == {"one": Status.WAITING}
        clock.advance(20)
    assert ends_of(supervisor)[0].exit_code == 3
    assert supervisor.status() == {"one": Status.GIVEN_UP}


def test_crashes_far_apart_do_not_add_up(supervisor: Supervisor, clock: HeldClock) -> None:
    supervisor.start(program("one", "raise SystemExit(3)"))
    for _ in range(supervising.RESTARTS_MAX + 2):
        ends_of(supervisor)
        clock.advance(int(supervising.RESTARTS_WINDOW_SECONDS + 1) * 1000)
    supervisor.tend()
    assert supervisor.status() == {"one": Status.RUNNING}


def test_a_child_that_has_finished_is_not_restarted(supervisor: Supervisor) -> None:
    supervisor.start(program("worker", "pass"))
    assert [ended.exit_code for ended in ends_of(supervisor)] == [0]
    supervisor.tend()
    assert supervisor.status() == {"worker": Status.ENDED}


def test_a_child_never_to_be_restarted_stays_down(supervisor: Supervisor) -> None:
    supervisor.start(program("once", "raise SystemExit(1)", Restart.NEVER))
    assert [ended.exit_code for ended in ends_of(supervisor)] == [1]
    supervisor.tend()
    assert supervisor.status() == {"once": Status.ENDED}


def test_ending_all_returns_each_exit_code_and_kills_children_that_ignore_sigterm(
    tmp_path: Path,
) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("good", ENDS_WELL))
        supervisor.start(program("ignoring", IGNORES_SIGTERM))
        supervisor.start(program("plain", STAYS))
        for name in ("good", "ignoring"):
            wait_for(lambda name=name: "ready" in supervisor.log_tail(name))  # type: ignore[misc]
        wait_for(lambda: "hello" in supervisor.log_tail("plain"))
        codes = supervisor.end_all(4.0)
        assert codes == {"good": 0, "ignoring": -signal.SIGKILL, "plain": -signal.SIGTERM}
        assert supervisor.end_all() == {}


def test_a_child_gets_one_sigterm(tmp_path: Path) -> None:
    """A second SIGTERM means "at once" to a processor and would abort its open batch."""
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("counts", COUNTS))
        wait_for(lambda: "ready" in supervisor.log_tail("counts"))
        assert supervisor.end_all(WAIT_SECONDS) == {"counts": 1}


def test_a_paused_child_can_still_be_ended(supervisor: Supervisor) -> None:
    supervisor.start(program("good", ENDS_WELL))
    wait_for(lambda: "ready" in supervisor.log_tail("good"))
    supervisor.pause("good")
    assert supervisor.end("good") == 0


def test_names_are_unique_and_known(supervisor: Supervisor) -> None:
    supervisor.start(program("one", STAYS))
    with pytest.raises(SupervisorError, match="there already"):
        supervisor.start(program("one", STAYS))
    with pytest.raises(SupervisorError, match="no program is named two"):
        supervisor.kill("two")


def test_the_drawing_has_every_allowed_move_and_no_other() -> None:
    allowed = {(before.name, after.name) for before in Status for after in MOVES[before]}
    assert drawn_moves(supervising.__doc__) == allowed


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_only_an_allowed_move_is_made(before: Status, after: Status, tmp_path: Path) -> None:
    child = supervising._Managed(program("one", "pass"), tmp_path / "log")
    child.status = before
    if after in MOVES[before]:
        child.move(after)
        assert child.status is after
    else:
        with pytest.raises(WrongOrder, match=f"one cannot go from {before.name} to {after.name}"):
            child.move(after)
        assert child.status is before


@pytest.mark.parametrize("ended", [Status.ENDED, Status.GIVEN_UP])
def test_a_child_that_is_over_is_never_started_again(ended: Status, tmp_path: Path) -> None:
    child = supervising._Managed(program("one", "pass"), tmp_path / "log")
    child.status = ended
    with pytest.raises(WrongOrder):
        child.start()
    assert child.child is None
