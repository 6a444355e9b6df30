"""The gateways that the settings name, and what production refuses of them."""

from __future__ import annotations

from app.exits import usage
from app.settings import Profile, Settings
from engine.clock import Clock
from gateways.connections import Gateway
from gateways.ports import Resolve
from gateways.resolve.policy import RULES_DIR, InBoxResolve, RulesRefusedError, load_policy
from gateways.resolve.scripted import ScriptedResolve


def gateway(url: str, variable: str) -> Gateway:
    """The gateway at this address. Raises Problem when none is given."""
    if not url:
        raise usage(
            f"{variable} is not set.", do="Set the gateway's address, or run --only others."
        )
    return Gateway(url)


def resolve_of(settings: Settings, clock: Clock) -> Resolve:
    """The Resolve of these settings. Raises Problem for rules, or a simulator, that the profile
    refuses.
    """
    demo = settings.profile is not Profile.PRODUCTION
    path = settings.resolve_rules or RULES_DIR / ("demo.yaml" if demo else "default.yaml")
    try:
        policy = load_policy(path, profile=settings.profile)
    except (RulesRefusedError, OSError) as error:
        raise usage(str(error), do="NPP_RESOLVE_RULES names the file.") from error
    simulator = settings.resolve_simulator_url
    if not simulator:
        return InBoxResolve(policy)
    if not demo:
        raise usage(
            "NPP_RESOLVE_SIMULATOR_URL is set; the production profile refuses simulators.",
            do="Unset it: a script could approve what needs a person.",
        )
    return ScriptedResolve(policy=policy, gateway=Gateway(simulator), clock=clock)


def webhook_secrets(settings: Settings) -> list[bytes]:
    """What the rail signs its callbacks with; two while it changes from one to the next. Raises
    Problem: production must have one."""
    given = (settings.webhook_secret, settings.webhook_secret_next)
    if settings.webhook_secret is None and settings.profile is Profile.PRODUCTION:
        raise usage(
            "NPP_WEBHOOK_SECRET is not set; the production profile requires it.",
            do="Whoever can reach the webhook could else report a settlement.",
        )
    return [secret.get_secret_value().encode() for secret in given if secret is not None]
