"""Structured logs: JSON lines, or readable ones on a terminal; never personal data.

Fields whose names belong to party data or secrets are replaced, wherever they are nested;
exceptions are shown as places in the code and a type, since their texts may quote what was sent.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import orjson
import structlog

from app import redaction

HIDDEN: Final = "[hidden]"
_json_lines: Final = ContextVar("_json_lines", default=False)
DEPTH_MAX: Final = 6
VALUE_CHARACTERS_MAX: Final = 2_000
FRAMES_COUNT_MAX: Final = 30

# Compared without case, `_`, `-` and `.`. Party details, free text of customers, raw records,
# secrets.
HIDDEN_FIELDS: Final = frozenset(
    {
        "parties", "party", "debtor", "creditor", "debtorname", "creditorname", "accountname",
        "account", "accountnumber", "bsb", "payid", "payidtype", "remittance", "endtoendid",
        "customer", "customerid", "email", "phone", "address",
        "value", "raw", "body", "payload", "snapshot", "parsed",
        "password", "secret", "token", "authorization", "privatekey", "saslpassword",
    }
)  # fmt: skip
# A name that contains one of these parts names a secret.
SECRET_PARTS: Final = ("password", "passphrase", "secret", "privatekey", "keypem", "jaas")
_WITHOUT_JOINS: Final = str.maketrans("", "", "_-. ")


def for_commands() -> None:
    """A command's output is its own: only critical lines, and on standard error. `set_up` follows
    in a command that becomes a process.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def as_json_lines(wanted: bool) -> None:
    """Whether `set_up` gives JSON lines on a terminal too."""
    _json_lines.set(wanted)


def set_up(level: str = "INFO", *, process: str = "", instance: str = "") -> None:
    """Route structlog and the standard library's logging to standard error; call once, at start."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,  # trace and place of what is at work
        _named(process, instance),
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exceptions_without_texts,
        hide,
    ]
    terminal = sys.stderr.isatty() and not _json_lines.get()
    last: Any = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(_json)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _named(process: str, instance: str) -> Any:
    def add(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if process:
            event["process"] = process
            event["instance"] = instance
        return event

    return add


def hide(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what must not be logged; a structlog processor."""
    for name, value in event.items():
        if not name.startswith("_"):  # the logging machinery's own
            event[name] = HIDDEN if _hidden(name) else _clean(value, DEPTH_MAX)
    return event


def _hidden(name: object) -> bool:
    if not isinstance(name, str):
        return False
    plain = name.lower().translate(_WITHOUT_JOINS)
    return plain in HIDDEN_FIELDS or any(part in plain for part in SECRET_PARTS)


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        value = redaction.text(value[: 2 * VALUE_CHARACTERS_MAX])
        return value if len(value) <= VALUE_CHARACTERS_MAX else value[:VALUE_CHARACTERS_MAX] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if depth == 0:
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(k): HIDDEN if _hidden(k) else _clean(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each, depth - 1) for each in value]
    fields = getattr(value, "__struct_fields__", None)
    if fields is not None:  # one of our records: its fields, not its repr
        return _clean({name: getattr(value, name) for name in fields}, depth - 1)
    return _clean(str(value), depth)


def _exceptions_without_texts(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """exc_info as type and places. The message may quote an input, so it stays out."""
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info if isinstance(info, BaseException) else (
        info[1] if isinstance(info, tuple) else sys.exc_info()[1]
    )  # fmt: skip
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_COUNT_MAX:]
        event["exception"] = type(error).__name__
        event["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
