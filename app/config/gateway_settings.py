"""The gateways that the settings name, and what production refuses of them."""

from __future__ import annotations

from typing import Any

from app.config.settings import Profile, Settings
from app.exits import usage
from engine.clock import Clock
from gateways.connections import Gateway
from gateways.credentials import ClientCredentials, tls
from gateways.ports import Resolve
from gateways.resolve.policy import RULES_DIR, InBoxResolve, RulesRefusedError, load_policy
from gateways.resolve.scripted import ScriptedResolve


def gateway(url: str, variable: str) -> Gateway:
    """The gateway at this address. Raises Problem when none is given."""
    return Gateway(_given(url, variable))


def signed_in_gateway(settings: Settings, name: str) -> Gateway:
    """The rail's or Deposits Core's gateway, and our identity there: a client certificate, client
    credentials, or both. Raises Problem for unusable settings.
    """

    def of(what: str) -> Any:
        return getattr(settings, f"{name}_{what}")

    url, variable = of("url"), f"NPP_{name.upper()}"
    _given(url, f"{variable}_URL")
    try:
        context = tls(of("certificate"), of("key"), of("ca"))
    except (OSError, ValueError) as error:
        raise usage(
            f"{variable}_CERTIFICATE, _KEY or _CA cannot be used: {error}",
            do="Name PEM files: a certificate, its key without a passphrase, and authorities.",
        ) from error
    secret = of("client_secret")
    if not of("token_url"):
        return Gateway(url, tls=context)
    if not of("client_id") or secret is None:
        raise usage(
            f"{variable}_TOKEN_URL is set without {variable}_CLIENT_ID and _CLIENT_SECRET.",
            do="Set all three.",
        )
    endpoint = Gateway(of("token_url"), tls=context)
    tokens = ClientCredentials(endpoint, of("client_id"), secret.get_secret_value(), of("scope"))
    return Gateway(url, tls=context, tokens=tokens)


def _given(url: str, variable: str) -> str:
    if not url:
        raise usage(
            f"{variable} is not set.", do="Set the gateway's address, or run --only others."
        )
    return url


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
    """The secrets with which the rail signs its callbacks: two during a change, none: unsigned.
    Raises Problem if production has none.
    """
    given = (settings.webhook_secret, settings.webhook_secret_next)
    if settings.webhook_secret is None and settings.profile is Profile.PRODUCTION:
        raise usage(
            "NPP_WEBHOOK_SECRET is not set; the production profile requires it.",
            do="Otherwise anyone who can reach the webhook could report a settlement.",
        )
    return [secret.get_secret_value().encode() for secret in given if secret is not None]
