"""Calls of the client library that are forbidden because they can crash the process."""

from __future__ import annotations

import pytest

from tests.rooms import ROOT

PACKAGES = (
    *("core", "schemas", "engine", "gateways", "readmodel", "control", "evidence"),
    *("processors", "api", "app", "bench"),
)


@pytest.mark.parametrize("name", ["list_consumer_group_offsets", "alter_consumer_group_offsets"])
def test_the_admin_client_is_never_asked_for_a_groups_offsets(name: str) -> None:
    """librdkafka 2.16 dereferences a null pointer if the coordinator moves:
    engine/clients/groups.py.
    """
    using = [
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if name in file.read_text(encoding="utf-8")
    ]
    assert using == []
