"""Types of settings: which text each accepts, and how it is normalised."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

SHA256_BYTES: Final = 32


def partition_range(text: str) -> range | None:
    """The partitions FIRST-LAST; None for all of them. Raises ValueError."""
    numbers = re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})", text, re.ASCII)
    if not text:
        return None
    if numbers is None or int(numbers[1]) > int(numbers[2]):
        raise ValueError("is FIRST-LAST, two partition numbers")
    return range(int(numbers[1]), int(numbers[2]) + 1)


def _address(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError("is an http:// or https:// address")
    return text.rstrip("/")


def _trace_address(text: str) -> str:
    if text and not (text.startswith(("http://", "https://")) and "{trace_id}" in text):
        raise ValueError("is an http:// or https:// address with {trace_id} in it")
    return text


def _instance(text: str) -> str:
    if any(c in text for c in "/\\\0 ") or len(text) > 100:
        raise ValueError("has at most 100 characters, no space and no slash")
    return text


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("is DEBUG, INFO, WARNING or ERROR")
    return text.upper()


def _hashes(text: str) -> str:
    for each in filter(None, text.split(",")):
        if len(bytes.fromhex(each.strip())) != SHA256_BYTES:
            raise ValueError("is SHA-256 in hex, comma separated")
    return text


def _partitions(text: str) -> str:
    partition_range(text)
    return text


Address = Annotated[str, AfterValidator(_address)]
TraceAddress = Annotated[str, AfterValidator(_trace_address)]
Instance = Annotated[str, AfterValidator(_instance)]
Level = Annotated[str, AfterValidator(_level)]
Hashes = Annotated[str, AfterValidator(_hashes)]
Partitions = Annotated[str, AfterValidator(_partitions)]
Port = Annotated[int, Field(ge=0, le=65535)]
