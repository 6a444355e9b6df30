"""Which build runs: the one that `make native` has compiled, or the Python sources as they are."""

from __future__ import annotations

import platform
import sys
import sysconfig
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Gauge

from app.config.settings import Environment
from app.exits import usage
from core.payment import decide

Build = Literal["native", "pure"]
OPTIMISED: Final = "--enable-optimizations"
SYSTEMS_OWN: Final = "/usr"


def running() -> Build:
    """`native` when the payment core is compiled."""
    return "pure" if str(decide.__file__).endswith(".py") else "native"


def require(environment: Environment) -> None:
    """Raises Problem where NPP_REQUIRE_NATIVE asks for the compiled build and this is not it."""
    if environment.settings.require_native and running() != "native":
        raise usage(
            "NPP_REQUIRE_NATIVE is set, and this is the pure Python build.",
            do="Install the compiled wheel, run from build/native (make native), or unset it.",
        )


def python_is_optimised() -> bool:
    """Whether the interpreter was built with profile-guided optimisation: 12 % of a payment's CPU
    (docs/performance.md). The system's own is: Debian's packages are, and do not list the option.
    """
    listed = OPTIMISED in str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return listed or sys.base_prefix == SYSTEMS_OWN


def show(registry: CollectorRegistry) -> None:
    """The build as a metric of this process."""
    info = Gauge(
        "npp_build_info",
        "1, with the build that runs (native or pure) and the version of Python as labels.",
        ["build", "python"],
        registry=registry,
    )
    info.labels(running(), platform.python_version()).set(1)
