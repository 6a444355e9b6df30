"""Who may use the API and its pages, by the settings: sign-in, clients, and what production refuses
of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from cryptography.fernet import Fernet
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.auth.keys import LOCAL_KEY_PREFIX, KeySource, Read, from_address, from_file
from api.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, PRIVATE_FILE_MODE, LocalIssuer
from api.auth.tokens import Tokens, TokenSettings
from app.exits import usage
from app.platform.fetch import FetchError, ensure_web
from app.settings import Environment, Profile, Settings
from engine.clock import Clock
from web.app import WebSettings, with_pages
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
    demo's own issuer is refused."""
    settings = environment.settings
    production = settings.profile is Profile.PRODUCTION
    issuer = settings.token_issuer or ("" if production else LOCAL_ISSUER)
    audience = settings.token_audience or ("" if production else LOCAL_AUDIENCE)
    if not issuer or not audience or (production and not settings.jwks):
        raise usage(
            "NPP_JWKS, NPP_TOKEN_ISSUER and NPP_TOKEN_AUDIENCE must be set in production.",
            do="Name the token issuer's keys, its iss, and the aud that this API has there.",
        )
    if production and issuer == LOCAL_ISSUER:
        raise usage(f"{LOCAL_ISSUER} is the demo's issuer and refused in production.")
    read = _read_keys(environment, clock)
    if production:
        _refuse_local_keys(read)
    return Tokens(
        TokenSettings(issuer, audience), KeySource(read, clock, local_keys=not production), clock
    )


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
    """The API with its pages; the API alone where nobody could sign in, or the browser's libraries
    are not there. The log says which."""
    if settings.profile is Profile.PRODUCTION or settings.jwks:
        log.info("no pages: nobody could sign in to them", do="sign-in needs the demo's issuer")
        return api
    try:
        libraries = ensure_web()
    except FetchError as error:
        log.warning("no pages: the browser's libraries are not there", detail=str(error))
        return api
    hosts = frozenset(word.lower() for word in words(settings.api_hosts))
    issuer = LocalIssuer(settings.data_dir, clock)
    personas = Personas(PEOPLE, lambda person: issuer.issue(person.id, [person.role]))
    key = session_key(settings.data_dir / KEY_FILE)
    return with_pages(api, WebSettings(key, libraries, hosts=hosts, personas=personas))


def session_key(file: Path) -> bytes:
    """The key in this file, made when it is not there; readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    except FileExistsError:
        return file.read_bytes()
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(Fernet.generate_key())
    return file.read_bytes()
