"""Lists of the API over HTTP: complete, authenticated, and every failure a GatewayError."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import pytest
from support.asset_lists import API_KEY, ORGANIZATION, answer, fetch, items, simulated_api
from support.ports import free_port

from gateway.demo.simulated_answers import Answer
from gateway.demo.simulated_api import SimulatedApi
from gateway.errors import GatewayError, TransientError
from gateway.records import KnownAsset


@pytest.mark.parametrize("pagination", ["lastEvaluatedKey", "nextToken"])
@pytest.mark.parametrize("count", [0, 1, 100, 101, 345])
async def test_every_asset_is_listed_once_in_both_paginations(
    pagination: Literal["lastEvaluatedKey", "nextToken"], count: int
) -> None:
    """Cursors are sent back encoded; no page is skipped or requested twice."""
    listed = SimulatedApi(
        organization=ORGANIZATION, api_key=API_KEY, items=items(count), pagination=pagination
    )
    async with listed as api:
        found = await fetch(api)
    assert [asset.id for asset in found] == [item["id"] for item in items(count)]
    assert len(api.requests) <= 1 + count // 50


async def test_all_fields_of_an_asset_are_read() -> None:
    """All fields of an item are read."""
    async with simulated_api(2) as api:
        found = await fetch(api)
    assert found[1] == KnownAsset(
        id="ast-1",
        name="Room 1",
        asset_type="at-iaq",
        model="Room-1",
        manufacturer="Maker",
        location="loc-1",
        location_id="loc-1",
        online=False,
    )


async def test_a_large_list_leaves_the_loop_free() -> None:
    """Reading 10,000 assets never blocks the event loop for 50 ms."""
    async with simulated_api(10_000) as api:
        fetching = asyncio.create_task(fetch(api))
        turns_s = []
        while not fetching.done():
            begun_s = time.thread_time()
            await asyncio.sleep(0)
            turns_s.append(time.thread_time() - begun_s)
    assert len(await fetching) == 10_000
    # Single turns may have the garbage of all tests collected; what we cause would show in many.
    assert sorted(turns_s)[-3] < 0.05


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Answer(body=b"<html>Bad gateway</html>"), "not JSON.*infodeck.api.*proxy"),
        (Answer(body=b'{"data": [{"id": "ast-'), "not JSON"),
        (Answer(body=b""), "no list"),
        (answer([]), "no list"),
        (answer({"data": {"id": "ast-1"}}), "no list"),
        (answer({"data": [], "nextToken": {"id": 1}}), "`nextToken` is no cursor"),
        (answer({"data": [], "nextToken": "x" * 10_000}), "`nextToken` is no cursor"),
        (answer({"data": [{"id": "a", "name": "x" * (5 << 20)}]}), "larger than 4 MiB"),
        (answer({"message": "Invalid API key"}, status=401), r"401 \(Invalid API key\): .*`idt_live_`"),
        (
            answer({"message": "API access requires Professional plan"}, status=403),
            r"403 .*Professional plan, and a key that may read the organization o-test",
        ),
        (answer({"message": "Not found"}, status=404), r"404 \(Not found\): check .*organization \(o-test\)"),
        (answer({"error": "Invalid\nlimit"}, status=422), r"422 \(Invalid limit\): check"),
        (answer({"error": {"message": "No"}}, status=422), r"422 \(No\): check"),
        (answer({"error": {"message": 7}, "message": ["x"]}, status=422), "422: check"),
        (Answer(status=418), "418: check infodeck.api"),
        (Answer(status=204), "no list"),
        (
            Answer(status=302, headers={"Location": "https://elsewhere.example/"}),
            "302, a redirect to https://elsewhere.example/: infodeck.api must be",
        ),
    ],
)
async def test_lasting_failures_come_with_advice(fault: Answer, message: str) -> None:
    """Each lasting refusal or broken answer has its own message, after one request."""
    async with simulated_api(faults=[fault]) as api:
        with pytest.raises(GatewayError, match=message) as refused:
            await fetch(api)
    assert not isinstance(refused.value, TransientError)
    assert len(api.requests) == 1
    assert API_KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "retry_after_s"),
    [
        (Answer(status=429, headers={"Retry-After": "7"}), 7),
        (Answer(status=429), 60),
        (Answer(status=429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 0),
        (Answer(status=429, headers={"Retry-After": "soon"}), 60),
        (Answer(status=429, headers={"Retry-After": "9" * 400}), 3600),
        (Answer(status=503, headers={"Retry-After": "5"}), 5),
        (Answer(status=500), None),
        (Answer(status=502, body=b"<html>"), None),
        (Answer(body=b'{"data": [', broken_off=True), None),
    ],
)
async def test_passing_failures_are_transient(fault: Answer, retry_after_s: float | None) -> None:
    """429, 5xx and broken connections are transient, with the requested pause."""
    async with simulated_api(faults=[fault]) as api:
        with pytest.raises(TransientError) as away:
            await fetch(api)
        assert away.value.retry_after_s == retry_after_s
        assert len(await fetch(api)) == 1


async def test_an_unreachable_api_is_transient() -> None:
    """The error names the host."""
    with pytest.raises(TransientError, match=r"127\.0\.0\.1 can't be reached"):
        await fetch(SimulatedApi(organization=ORGANIZATION, api_key=API_KEY, items=[], port=free_port()))


async def test_an_endless_list_is_an_error() -> None:
    """A repeated cursor ends the list with an error."""
    again = answer({"data": items(1), "lastEvaluatedKey": "same"})
    async with simulated_api(faults=[again, again, again]) as api:
        with pytest.raises(GatewayError, match="same cursor twice"):
            await fetch(api)
    assert len(api.requests) == 2


@pytest.mark.parametrize("api_key", ["", "idt_live_wrong"])
async def test_a_wrong_key_is_refused(api_key: str) -> None:
    """An empty or wrong key gets 401."""
    async with simulated_api() as api:
        with pytest.raises(GatewayError, match="401"):
            await fetch(api, api_key=api_key)


@pytest.mark.parametrize("api_key", ["idt_live_ä", "idt_live_1\r\nX-Other: 1"])
async def test_an_impossible_key_is_never_sent(api_key: str) -> None:
    """A key with impossible characters is neither sent nor shown."""
    async with simulated_api() as api:
        with pytest.raises(GatewayError, match=r"infodeck\.api_key has characters") as refused:
            await fetch(api, api_key=api_key)
    assert api.requests == []
    assert api_key not in str(refused.value)


async def test_a_refusal_never_shows_the_key() -> None:
    """The key is removed from the API's words."""
    echo = answer({"message": f"Invalid API key {API_KEY}"}, status=401)
    async with simulated_api(faults=[echo]) as api:
        with pytest.raises(GatewayError, match=r"Invalid API key \*\*\*"):
            await fetch(api)


async def test_a_broken_character_does_not_spoil_the_list() -> None:
    """A name cut in the middle of an emoji spoils no other asset."""
    page = b'{"data": [{"id": "ast-1", "name": "Lab \\ud83d"}, {"id": "ast-2", "name": "\\ud83d\\udd2c"}]}'
    async with simulated_api(0, faults=[Answer(body=page)]) as api:
        assert [(one.id, one.name) for one in await fetch(api)] == [("ast-1", "Lab \ufffd"), ("ast-2", "🔬")]
