"""Who may use the API and its pages, by the settings: sign-in, clients, and what production refuses
of them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from cryptography.fernet import Fernet
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.auth.keys import LOCAL_KEY_PREFIX, KeySource, Read, from_address, from_file
from api.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer
from api.auth.revoked import NoneRevoked, Revoked, RevokedFile
from api.auth.tokens import Tokens, TokenSettings
from app.config.settings import Environment, Profile, Settings
from app.exits import usage
from app.platform.fetch import FetchError, ensure_web
from engine.clock import Clock
from engine.private_file import write_private
from web.app import PagesOff, WebSettings, with_pages
from web.oidc import OidcSettings
from web.personas import PEOPLE
from web.site import Personas

log = structlog.get_logger("npp.wiring")

KEY_FILE: Final = "web-session.key"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def clients(environment: Environment) -> dict[str, str]:
    """Source by client, of those who create payments over HTTP. Raises Problem."""
    found: dict[str, str] = {}
    for part in words(environment.settings.api_clients):
        client, equals, source = (word.strip() for word in part.partition("="))
        if not (client and equals and source) or client in found:
            raise usage(
                f"NPP_API_CLIENTS cannot be used: {part!r}",
                do="Write client=source,client=source; each client once.",
            )
        found[client] = source
    return found


def tokens(environment: Environment, clock: Clock) -> Tokens:
    """The sign-in. Raises Problem: in production issuer, audience and keys must be named, and the
    demo's own issuer is refused.
    """
    settings = environment.settings
    production = settings.profile is Profile.PRODUCTION
    issuer = settings.token_issuer or ("" if production else LOCAL_ISSUER)
    audience = settings.token_audience or ("" if production else LOCAL_AUDIENCE)
    if not issuer or not audience or (production and not settings.jwks):
        raise usage(
            "NPP_JWKS, NPP_TOKEN_ISSUER and NPP_TOKEN_AUDIENCE must be set in production.",
            do="Name the token issuer's keys, its iss, and this API's aud.",
        )
    if production and issuer == LOCAL_ISSUER:
        raise usage(f"{LOCAL_ISSUER} is the demo's issuer and refused in production.")
    read = _read_keys(environment, clock)
    if production:
        _refuse_local_keys(read)
    return Tokens(
        TokenSettings(issuer, audience, frozenset(words(settings.token_acr))),
        KeySource(read, clock, local_keys=not production),
        clock,
        _revoked(settings, clock),
    )


def _revoked(settings: Settings, clock: Clock) -> Revoked:
    if settings.tokens_revoked is None:
        return NoneRevoked()
    try:
        return RevokedFile(settings.tokens_revoked, clock)
    except ValueError as error:
        raise usage(
            f"NPP_TOKENS_REVOKED: {error}",
            do='An empty list is {"tokens": [], "persons": {}}.',
        ) from error


def _read_keys(environment: Environment, clock: Clock) -> Read:
    settings = environment.settings
    if not settings.jwks:
        return from_file(LocalIssuer(settings.data_dir, clock).jwks)
    if "://" not in settings.jwks:
        return from_file(Path(settings.jwks))
    address = urlsplit(settings.jwks)
    loopback = address.hostname in LOOPBACK and settings.profile is not Profile.PRODUCTION
    if address.scheme != "https" and not (address.scheme == "http" and loopback):
        raise usage(
            f"NPP_JWKS is {settings.jwks}: keys come from an https address or a file.",
            do="http is taken from loopback only, in demo and test.",
        )
    return from_address(settings.jwks, clock)


def _refuse_local_keys(read: Read) -> None:
    listed = (read() or {}).get("keys")
    for key in listed if isinstance(listed, list) else []:
        if isinstance(key, dict) and str(key.get("kid", "")).startswith(LOCAL_KEY_PREFIX):
            raise usage(
                "NPP_JWKS lists a key of the demo's issuer, which is refused in production.",
                do="Take it out of the key set.",
            )


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def pages(api: FastAPI, settings: Settings, clock: Clock) -> ASGIApp:
    """The API with its pages; without pages if no sign-in is configured or the browser libraries
    are missing; callers then get the reason. Raises Problem for a sign-in that is half set up.
    """
    chosen = _oidc(settings)
    if chosen is None and (settings.profile is Profile.PRODUCTION or settings.jwks):
        return _no_pages(api, "no sign-in is set up for them (NPP_OIDC_ISSUER)")
    key, personas = _session_key(settings), None
    if chosen is None:
        issuer = LocalIssuer(settings.data_dir, clock)
        personas = Personas(PEOPLE, lambda person: issuer.issue(person.id, [person.role]))
    try:
        return with_pages(
            api,
            WebSettings(
                key=key,
                libraries=ensure_web(),
                https=settings.profile is Profile.PRODUCTION,
                hosts=frozenset(word.lower() for word in words(settings.api_hosts)),
                personas=personas,
                oidc=chosen,
                trace_url=settings.trace_url,
            ),
        )
    except (FetchError, OSError) as error:
        return _no_pages(api, f"what they are made of is not there: {error}")


def _no_pages(api: FastAPI, why: str) -> ASGIApp:
    log.warning("the operators' pages are off", why=why)
    return PagesOff(api, f"The operators' pages are off: {why}.")


def _oidc(settings: Settings) -> OidcSettings | None:
    """The pages' sign-in; None where no provider is named. Raises Problem."""
    if not settings.oidc_issuer:
        return None
    given = {
        "NPP_OIDC_CLIENT_ID": settings.oidc_client_id,
        "NPP_OIDC_CLIENT_SECRET": settings.oidc_client_secret,
        "NPP_WEB_URL": settings.web_url,
        "NPP_WEB_KEY": settings.web_key,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise usage(f"NPP_OIDC_ISSUER is set, but not {', '.join(missing)}.")
    for name, address in (
        ("NPP_OIDC_ISSUER", settings.oidc_issuer),
        ("NPP_WEB_URL", settings.web_url),
    ):
        near = urlsplit(address).hostname in LOOPBACK and settings.profile is not Profile.PRODUCTION
        if urlsplit(address).scheme != "https" and not near:
            raise usage(f"{name} is {address}: it must be an https address.")
    assert settings.oidc_client_secret is not None
    return OidcSettings(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        site_url=settings.web_url,
        scope=settings.oidc_scope,
    )


def _session_key(settings: Settings) -> bytes:
    """The key that seals sessions, the same in all instances. Raises Problem for an invalid one."""
    if settings.web_key is None:
        return session_key(settings.data_dir / KEY_FILE)
    key = settings.web_key.get_secret_value().encode()
    try:
        Fernet(key)
    except ValueError:
        raise usage("NPP_WEB_KEY is no key: 32 bytes in base64url.") from None
    return key


def session_key(file: Path) -> bytes:
    """The key in this file, which is made if missing; only its owner can read it."""
    with contextlib.suppress(FileExistsError):
        write_private(file, Fernet.generate_key())
    return file.read_bytes()
