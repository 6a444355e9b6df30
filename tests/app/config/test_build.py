"""The running build is shown and can be required."""

from __future__ import annotations

import sys
import sysconfig

import pytest
from prometheus_client import CollectorRegistry

from app.cli.cluster.doctor import check_build
from app.config import build, settings
from app.exits import Problem

PURE = build.running() == "pure"


def test_a_required_compiled_build_that_is_missing_is_an_error() -> None:
    """NPP_REQUIRE_NATIVE=1: no process starts on the pure build, and the doctor reports
    the same.
    """
    required = settings.load({"NPP_PROFILE": "test", "NPP_REQUIRE_NATIVE": "1"})
    if not PURE:
        build.require(required)
        return
    with pytest.raises(Problem, match="this is the pure Python build"):
        build.require(required)
    with pytest.raises(Problem, match="this is the pure Python build"):
        list(check_build(required))


def test_without_it_either_build_runs_and_the_doctor_names_it() -> None:
    """`make demo` and `make test` need no compiler."""
    plain = settings.load({"NPP_PROFILE": "test"})
    build.require(plain)
    first, *_ = check_build(plain)
    assert (first.level, first.says) == ("ok", f"the {build.running()} build runs")


def test_the_metrics_name_the_build() -> None:
    registry = CollectorRegistry()
    build.show(registry)
    ((sample,),) = [each.samples for each in registry.collect()]
    assert (sample.name, sample.labels["build"], sample.value) == (
        "npp_build_info", build.running(), 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "prefix", "advised"),
    [
        ("'--enable-shared'", "/opt/python", True),
        ("'--enable-optimizations' '--with-lto'", "/opt/python", False),
        ("'--enable-shared'", "/usr", False),  # Debian's, which is optimised all the same
    ],
)
def test_the_doctor_recommends_an_optimised_interpreter(
    monkeypatch: pytest.MonkeyPatch, options: str, prefix: str, advised: bool
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": options}.get)
    monkeypatch.setattr(sys, "base_prefix", prefix)
    (found,) = check_build(settings.load({"NPP_PROFILE": "test"}))
    assert (build.OPTIMISED in found.do) is advised
