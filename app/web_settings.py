"""Puts the operators' pages before the API, where people can sign in to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog
from cryptography.fernet import Fernet
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.auth.local import PRIVATE_FILE_MODE, LocalIssuer
from app.api_settings import words
from app.platform.fetch import FetchError, ensure_web
from app.settings import Profile, Settings
from engine.clock import Clock
from web.app import WebSettings, with_pages
from web.personas import PEOPLE
from web.site import Personas

log = structlog.get_logger("npp.wiring")

KEY_FILE: Final = "web-session.key"


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
