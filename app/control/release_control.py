"""The control topic, obeyed only as far as this release and profile can."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from app import rule_files
from app.config.settings import Profile
from app.control.first_records import EVENT_SCHEMA_VERSION, other_build
from control.fold import Control
from core.records import STATE_VERSION
from core.rules import Rules


class ReleaseControl(Control):
    """Nothing is decided while the rule set in force is not carried by this release, is another
    file, is a demo's in production, or needs a later release.
    """

    def __init__(self, *args: Any, profile: Profile, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._profile = profile

    def ready(self) -> str | None:
        return super().ready() or self._unfit()

    def stopped(self) -> str | None:
        return super().stopped() or (self._unfit() if self.rule_set is not None else None)

    def _unfit(self) -> str | None:
        active = self.rule_set
        if active is None:
            return None
        try:
            rules = rule_files.rules_of(active.number)
        except KeyError:
            return f"rule set {active.number} is in force and this release does not carry it"
        if rules.sha256 != active.sha256:
            problem = other_build(active.number)
            return f"{problem.what} {problem.do}"
        if self._profile is Profile.PRODUCTION and rules.profile != "production":
            return f"rule set {active.number} is for {rules.profile}, this is production"
        if (
            active.state_version > STATE_VERSION
            or active.event_schema_version > EVENT_SCHEMA_VERSION
        ):
            return f"state version {active.state_version} is in force, this release writes older"
        return None


def rules_for(profile: Profile) -> Callable[[int], Rules]:
    """Rule sets by number: a function that raises KeyError for one that this release lacks, and in
    production for a demo's.
    """

    @cache  # asked for each input
    def rules_of(number: int) -> Rules:
        rules = rule_files.rules_of(number)
        if profile is Profile.PRODUCTION and rules.profile != "production":
            raise KeyError(number)
        return rules

    return rules_of
