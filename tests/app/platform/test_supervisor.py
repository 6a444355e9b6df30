"""The supervisor of child processes, on real processes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.platform import supervisor as supervising
from app.platform.supervisor import Program, Restart, Status, Supervisor, SupervisorError
from engine.clock import HeldClock

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
    time.sleep(0.05)  # one long sleep could begin between the signal and its handler
"""
COUNTS = """
import signal, sys, time
heard = 0
def hear(*_):
    global heard
    heard += 1
signal.signal(signal.SIGTERM, hear)
print("ready")
while not heard:
    time.sleep(0.01)
time.sleep(0.3)
sys.exit(heard)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready")
time.sleep(60)
"""


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def ends_of(supervisor: Supervisor) -> list[supervising.Ended]:
    """Tend until something has ended."""
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


def test_a_killed_child_comes_back_at_once_as_another_process(supervisor: Supervisor) -> None:
    first = supervisor.start(program("one", STAYS))
    assert supervisor.kill("one") == first
    [ended] = supervisor.tend()
    assert (ended.pid, ended.exit_code, ended.killed_by_us) == (first, -signal.SIGKILL, True)
    assert supervisor.pid("one") != first


def test_any_number_of_kills_is_not_counted_as_falls(supervisor: Supervisor) -> None:
    supervisor.start(program("one", STAYS))
    for _ in range(supervising.RESTARTS_MAX + 2):
        supervisor.kill("one")
        supervisor.tend()
    assert supervisor.status() == {"one": Status.RUNNING}


def test_a_fallen_child_is_started_again_after_a_growing_wait(
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


def test_falls_far_apart_do_not_add_up(supervisor: Supervisor, clock: HeldClock) -> None:
    supervisor.start(program("one", "raise SystemExit(3)"))
    for _ in range(supervising.RESTARTS_MAX + 2):
        ends_of(supervisor)
        clock.advance(int(supervising.RESTARTS_WINDOW_SECONDS + 1) * 1000)
    supervisor.tend()
    assert supervisor.status() == {"one": Status.RUNNING}


def test_a_child_that_has_done_its_work_is_not_started_again(supervisor: Supervisor) -> None:
    supervisor.start(program("worker", "pass"))
    assert [ended.exit_code for ended in ends_of(supervisor)] == [0]
    supervisor.tend()
    assert supervisor.status() == {"worker": Status.ENDED}


def test_a_child_never_to_be_restarted_stays_down(supervisor: Supervisor) -> None:
    supervisor.start(program("once", "raise SystemExit(1)", Restart.NEVER))
    assert [ended.exit_code for ended in ends_of(supervisor)] == [1]
    supervisor.tend()
    assert supervisor.status() == {"once": Status.ENDED}


def test_ending_all_gives_each_exit_code_and_kills_the_deaf(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("good", ENDS_WELL))
        supervisor.start(program("deaf", DEAF))
        supervisor.start(program("plain", STAYS))
        for name in ("good", "deaf"):
            wait_for(lambda name=name: "ready" in supervisor.log_tail(name))  # type: ignore[misc]
        wait_for(lambda: "hello" in supervisor.log_tail("plain"))
        codes = supervisor.end_all(4.0)
        assert codes == {"good": 0, "deaf": -signal.SIGKILL, "plain": -signal.SIGTERM}
        assert supervisor.end_all() == {}


def test_a_child_that_is_asked_to_end_hears_it_once(tmp_path: Path) -> None:
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
