"""`npp doctor` and the operators file: what would keep operators from acting, reported
in advance.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from app.cli.cluster import doctor_operators as doctor
from app.config.settings import load
from control.acts.operators_file import parse
from tests.control.log import ControlLog
from tests.control.people import file_text, key_of

NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
NOW_MS: Final = int(NOW.timestamp() * 1_000)


def person(name: str, days: int) -> str:
    until = (NOW + timedelta(days=days)).isoformat()
    return (
        f"  - {{id: {name}, roles: [admin], publicKeys: [{key_of(name).public.hex()}], "
        f"validUntil: {until}}}"
    )


def findings(tmp_path: Path, content: bytes, mode: int = 0o644) -> list[tuple[str, str]]:
    path = tmp_path / "operators.yaml"
    path.write_bytes(content)
    path.chmod(mode)
    found = doctor.of_file(path, parse(content), NOW_MS)
    assert all(each.check == "operators" for each in found)
    return [(each.level, each.says) for each in doctor.of_file(path, parse(content), NOW_MS)]


def with_people(*lines: str) -> bytes:
    return file_text("ann", lines=lines)


def test_two_people_with_lasting_keys_are_ok(tmp_path: Path) -> None:
    assert findings(tmp_path, with_people(person("bob", 400))) == [
        ("ok", "file 1: 2 admins can sign")
    ]


@pytest.mark.parametrize(
    ("lines", "level", "says"),
    [
        ((), "failed", "1 admins can sign: acts under dual control need 2"),
        ((person("bob", -1),), "failed", "1 admins can sign: acts under dual control need 2"),
        ((person("bob", 20),), "failed", "in 30 days only 1 admins can still sign"),
        ((person("bob", 20), person("carl", 90)), "warning", "bob may act until"),
        ((person("bob", -1), person("carl", 90)), "ok", "bob may act until"),
    ],
)
def test_the_number_of_people_who_can_sign_now_and_soon(
    tmp_path: Path, lines: tuple[str, ...], level: str, says: str
) -> None:
    found = findings(tmp_path, with_people(*lines))
    assert any(each[0] == level and says in each[1] for each in found), found
    worst = "failed" if level == "failed" else level
    assert {each[0] for each in found} <= {worst, "ok", "warning"}


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_writable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    found = findings(tmp_path, with_people(person("bob", 400)), mode)
    assert found[0][0] == "failed"
    assert f"can be written by others than its owner (0{mode:o})" in found[0][1]


def test_a_signing_process_that_is_not_listed_is_named(tmp_path: Path) -> None:
    content = with_people(person("bob", 400)).split(b"processes:")[0]
    found = findings(tmp_path, content)
    named = [says for level, says in found if level == "warning"]
    assert [says.split()[0] for says in named] == ["replay", "redriver"]


def test_a_key_without_an_end_is_named() -> None:
    (found,) = doctor.without_an_end(parse(with_people(person("bob", 400))))
    assert (found.level, found.says) == ("warning", "no validUntil: ann")


def test_the_file_is_the_one_in_force_or_the_next() -> None:
    first = parse(file_text("ann", "bob"))
    log = ControlLog(content=first.content)
    second = parse(file_text("ann", "bob", number=2, previous=first.sha256.hex()))
    other = parse(file_text("ann", "bob", "carl", number=2, previous="ab" * 32))
    assert doctor.of_control(first, log.control).level == "ok"
    waiting = doctor.of_control(second, log.control)
    assert (waiting.level, "deployed, not yet in force" in waiting.says) == ("warning", True)
    assert doctor.of_control(other, log.control).level == "failed"
    log.written = []
    assert doctor.of_control(first, log.obeyer()).says == "no operators file is in force"


@pytest.mark.parametrize(("profile", "level"), [("production", "failed"), ("test", "warning")])
def test_a_missing_file_is_reported(tmp_path: Path, profile: str, level: str) -> None:
    environment = load({"NPP_PROFILE": profile, "NPP_DATA_DIR": str(tmp_path)})
    (found,) = doctor.check_operators(environment)
    assert (found.level, "no act can be verified" in found.says) == (level, True)
