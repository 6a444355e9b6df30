"""Live events: resumed where the client was, bounded per client, ended with the session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.edge.problems import Problem
from api.stream.streams import (
    BUFFER_COUNT_MAX,
    WATCHERS_COUNT_MAX,
    WATCHERS_OF_ONE_MAX,
    Offsets,
    Streams,
    from_id,
    to_id,
)
from engine.clock import SystemClock
from tests.api.harness import ApiHarness
from tests.processors.payments.clean_history import PARTITIONS

pytestmark = pytest.mark.slow

FOREVER = 2**60
WAIT_S = 20.0


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def streams_of(harness: ApiHarness) -> Streams:
    return Streams(harness.services.reader, SystemClock(), PARTITIONS)


def parsed(chunk: bytes) -> dict[str, Any]:
    """One server-sent event as a browser reads it, possibly after a retry line."""
    lines = dict(line.split(": ", 1) for line in chunk.decode().strip().split("\n"))
    return {"id": lines["id"], "event": lines["event"], "data": json.loads(lines["data"])}


async def take(stream: AsyncIterator[bytes], count: int) -> list[dict[str, Any]]:
    async def some() -> list[dict[str, Any]]:
        found = []
        async for chunk in stream:
            if not chunk.startswith(b":"):
                found.append(parsed(chunk))
            if len(found) == count:
                break
        return found

    return await asyncio.wait_for(some(), WAIT_S)


def watch(
    streams: Streams, since: Offsets | None = None, payment: str | None = None, who: str = "v"
) -> AsyncIterator[bytes]:
    return streams.watch(streams.admit(who, payment), since, FOREVER)


def test_new_events_come_in_order_of_their_payment(harness: ApiHarness) -> None:
    async def run() -> list[dict[str, Any]]:
        streams = streams_of(harness)
        stream = watch(streams)
        (ready,) = await take(stream, 1)
        assert ready["event"] == "ready"
        payment = harness.harness.world.settled("live")
        harness.harness.project()
        found = await take(stream, 11)
        assert {each["data"]["paymentIntentId"] for each in found} == {payment}
        streams.close()
        assert (await take(stream, 1))[0]["event"] == "closing"
        return found

    found = asyncio.run(run())
    assert [each["data"]["sequence"] for each in found] == list(range(1, 12))
    assert found[-1]["data"]["toState"] == "SETTLED"


def test_a_client_that_resumes_with_an_id_misses_and_repeats_nothing(
    harness: ApiHarness,
) -> None:
    """For every point at which a client may have been disconnected."""
    payments = [harness.harness.world.settled(f"p{n}") for n in range(3)]
    harness.harness.project()

    async def run() -> None:
        start = dict.fromkeys(range(PARTITIONS), 0)
        whole = await take(watch(streams_of(harness), start), 34)
        places = [(e["data"]["partition"], e["data"]["offset"]) for e in whole[1:]]
        assert len(set(places)) == 33
        assert {e["data"]["paymentIntentId"] for e in whole[1:]} == set(payments)
        for seen in range(0, 33, 4):
            since = from_id(whole[seen]["id"], PARTITIONS)
            rest = await take(watch(streams_of(harness), since), 34 - seen)
            again = [(e["data"]["partition"], e["data"]["offset"]) for e in rest[1:]]
            assert sorted(places[:seen] + again) == sorted(places)

    asyncio.run(run())


def test_the_stream_of_one_payment_has_no_other_events(harness: ApiHarness) -> None:
    harness.harness.world.settled("a")
    wanted = harness.harness.world.settled("b")
    harness.harness.project()

    async def run() -> None:
        start = dict.fromkeys(range(PARTITIONS), 0)
        found = await take(watch(streams_of(harness), start, wanted), 12)
        assert {e["data"]["paymentIntentId"] for e in found[1:]} == {wanted}

    asyncio.run(run())


def test_a_slow_client_is_dropped_with_its_position(
    harness: ApiHarness,
) -> None:
    async def run() -> None:
        streams = streams_of(harness)
        slow, quick = streams.admit("slow", None), streams.admit("quick", None)
        stream, other = streams.watch(slow, None, FOREVER), streams.watch(quick, None, FOREVER)
        await take(stream, 1)
        await take(other, 1)
        harness.harness.world.settled("live")
        slow.waiting._maxsize = 5  # type: ignore[attr-defined]
        harness.harness.project()
        assert len(await take(other, 11)) == 11
        (reported,) = await take(stream, 1)
        assert reported["event"] == "dropped"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert streams.count == 1
        again = await take(
            streams.watch(
                streams.admit("slow", None), from_id(reported["id"], PARTITIONS), FOREVER
            ),
            12,
        )
        assert len(again) == 12

    asyncio.run(run())
    assert BUFFER_COUNT_MAX >= 1_000


def test_a_stream_ends_with_the_session(harness: ApiHarness) -> None:
    async def run() -> None:
        streams = streams_of(harness)
        until = SystemClock().now_ms() + 200
        found = await take(streams.watch(streams.admit("v", None), None, until), 2)
        assert [each["event"] for each in found] == ["ready", "signed-out"]

    asyncio.run(run())


def test_the_number_of_streams_is_limited(harness: ApiHarness) -> None:
    streams = streams_of(harness)
    for _ in range(WATCHERS_OF_ONE_MAX):
        streams.admit("one", None)
    with pytest.raises(Problem) as refused:
        streams.admit("one", None)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
    for number in range(WATCHERS_COUNT_MAX - WATCHERS_OF_ONE_MAX):
        streams.admit(f"v{number}", None)
    with pytest.raises(Problem):
        streams.admit("another", None)


def test_an_event_id_is_the_vector_of_offsets_and_nothing_else() -> None:
    assert from_id(to_id({0: 7, 3: 0}), PARTITIONS) == {0: 7, 3: 0}
    for wrong in ("7", "0-", "0-1.", "-1-1", "0-1,1-2", "9-1", "0-1 ", "٠-1", "0-1" * 9_000, "x"):
        with pytest.raises(Problem):
            from_id(wrong, PARTITIONS)


def test_over_http_the_stream_is_an_event_stream(harness: ApiHarness) -> None:
    """The response's head and first event; an invalid id is refused."""
    bad = harness.get("/api/stream", headers={"Last-Event-ID": "x"})
    assert (bad.status_code, bad.json()["field"]) == (400, "Last-Event-ID")
    harness.app.state.streams.close()
    answer = harness.get("/api/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert [line for line in answer.text.split("\n") if line.startswith("event")] == [
        *("event: ready", "event: closing")
    ]
