"""Generation and member id, read from the pinned client's group metadata bytes."""

from __future__ import annotations

import importlib.metadata

import pytest

from engine.loop.groupmeta import GroupMetadata, UnknownFormat, parse


def test_the_group_metadata_format_is_that_of_the_pinned_client() -> None:
    """A new client version must be examined before its group metadata is trusted."""
    assert importlib.metadata.version("confluent-kafka") == "2.16.0"


def test_generation_and_member_are_read_from_the_pinned_format() -> None:
    """`CGMDv2:`, int32 little-endian, group, member."""
    raw = b"CGMDv2:\x03\x01\x00\x00npp-payments\x00rdkafka-1\x00\x01"
    assert parse(raw) == GroupMetadata(259, "rdkafka-1")
    assert parse(raw).is_member


@pytest.mark.parametrize(
    "raw",
    [
        b"CGMDv2:\xff\xff\xff\xffgroup\x00rdkafka-1\x00\x01",
        b"CGMDv2:\x01\x00\x00\x00group\x00\x00\x01",
    ],
)
def test_metadata_without_generation_or_member_id_is_refused(raw: bytes) -> None:
    """A broker would accept a commit with it unfenced."""
    assert not parse(raw).is_member


@pytest.mark.parametrize(
    "raw", [b"", b"CGMDv1:\x01\x00\x00\x00g\x00m\x00", b"CGMDv2:", "text", None]
)
def test_any_other_format_of_group_metadata_is_refused(raw: object) -> None:
    """A commit would be unfenced."""
    with pytest.raises(UnknownFormat):
        parse(raw)
