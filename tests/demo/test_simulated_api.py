"""The simulated REST API over HTTP, compared with the documentation."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import pytest
from support.asset_lists import API_KEY, ORGANIZATION, items
from support.waiting import until

from gateway.demo.simulated_answers import Answer
from gateway.demo.simulated_api import SimulatedApi

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = "eyJ.made.up"
IAQ = {
    "id": "at-iaq",
    "name": "Indoor air",
    "isIotDevice": True,
    "properties": [{"key": "temperature", "name": "Temperature", "type": "float", "unit": "°C"}],
}
ROOM = {"id": "at-room", "name": "Room", "isIotDevice": False, "properties": []}
LOCATIONS = [
    {"id": "loc-hq", "name": "HQ", "parentId": None},
    {"id": "loc-0", "name": "Level 0", "parentId": "loc-hq"},
]


def api_of(assets: list[dict[str, Any]] | None = None, **options: Any) -> SimulatedApi:
    """Return an API with two types and two locations, not yet started."""
    usual: dict[str, Any] = {"types": [IAQ, ROOM], "locations": LOCATIONS, "bearer_token": TOKEN}
    found = items(3) if assets is None else assets
    return SimulatedApi(organization=ORGANIZATION, api_key=API_KEY, items=found, **usual | options)


async def ask(
    api: SimulatedApi,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    document: object = None,
) -> tuple[int, Any, Mapping[str, str]]:
    """Ask once with the API key, or with `headers`; return status, document and headers."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method,
            f"{api.url}/organizations/{ORGANIZATION}{path}",
            headers={"X-Api-Key": API_KEY} if headers is None else headers,
            json=document,
            allow_redirects=False,
        ) as answer,
    ):
        return answer.status, await answer.json(content_type=None), answer.headers


async def manage(
    api: SimulatedApi, path: str, *, method: str = "GET", document: object = None
) -> tuple[int, Any]:
    """Ask once with the Bearer token."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    status, found, _ = await ask(api, path, method=method, headers=token, document=document)
    return status, found


def listed(document: Any) -> list[str]:
    """Return the ids of a list."""
    return [item["id"] for item in document["data"]]


async def test_another_organization_is_not_found_with_the_right_secret() -> None:
    """Another organization is a 404, with key and with token."""
    async with api_of() as api:
        for path, headers in (
            ("/assets", {"X-Api-Key": API_KEY}),
            ("/webhooks", {"Authorization": f"Bearer {TOKEN}"}),
        ):
            status, document, _ = await ask(api, f"-other{path}", headers=headers)
            assert (status, document) == (404, {"message": "Organization not found"})
        assert (await ask(api, "-other/webhooks"))[0] == 401


async def test_shadows_are_those_asked_for() -> None:
    """Shadows are selected by name; the default is DeviceUplink."""
    both: dict[str, Any] = {"DeviceUplink": {"state": {}}, "Settings": {"state": {}}}
    async with api_of([{"id": "ast-0", "shadows": both}]) as api:
        for query, expected in {
            "": ["DeviceUplink"],
            "?shadowNames[]=Settings": ["Settings"],
            "?shadowNames[]=Settings&shadowNames[]=DeviceUplink&shadowNames[]=Other": [
                "Settings",
                "DeviceUplink",
            ],
        }.items():
            _, found, _ = await ask(api, f"/assets{query}")
            assert list(found["data"][0]["shadows"]) == expected


async def test_types_and_locations_are_answered() -> None:
    """Unknown types and paths are a 404."""
    async with api_of() as api:
        assert (await ask(api, "/asset-types/at-iaq"))[1] == IAQ
        assert (await ask(api, "/locations"))[1]["data"] == LOCATIONS
        for path in ("/asset-types/at-none", "/nothing"):
            assert (await ask(api, path))[0] == 404


async def test_the_history_of_a_metric_comes_in_pages_of_its_days() -> None:
    """Pages have the requested days only."""
    now_s = int(time.time())
    history = [{"timestamp": now_s - hours * 3600, "value": hours} for hours in range(60)]
    async with api_of(metrics={("ast-0", "temperature"): history}) as api:
        path = "/assets/ast-0/metrics?metricName=temperature&days=2&maxResults=20"
        _, first, _ = await ask(api, path)
        _, second, _ = await ask(api, f"{path}&nextToken={quote(first['nextToken'], safe='')}")
        _, third, _ = await ask(api, f"{path}&nextToken={quote(second['nextToken'], safe='')}")
        _, other, _ = await ask(api, "/assets/ast-0/metrics?metricName=humidity&days=2")
    values = [item["value"] for page in (first, second, third) for item in page["data"]]
    assert values in (list(range(48)), list(range(49)))
    assert third["nextToken"] is None
    assert other["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        "days=1",
        "metricName=x",
        "metricName=x&days=0",
        "metricName=x&days=33",
        "metricName=x&days=soon",
        "metricName=x&days=1&maxResults=9",
        "metricName=x&days=1&maxResults=101",
        "metricName=x&days=1&nextToken=none",
    ],
)
async def test_invalid_queries_of_a_history_are_refused(query: str) -> None:
    """Queries outside the documented bounds are a 422."""
    async with api_of() as api:
        assert (await ask(api, f"/assets/ast-0/metrics?{query}"))[0] == 422


async def test_key_and_plan_are_checked() -> None:
    """A wrong key and a plan without API are refused in Infodeck's words."""
    async with api_of() as api:
        status, found, _ = await ask(api, "/assets", headers={"X-Api-Key": "idt_live_wrong"})
        assert (status, found["message"]) == (401, "Invalid API key")
        api.plan = "starter"
        status, found, _ = await ask(api, "/locations")
        assert (status, found["message"]) == (403, "API access requires Professional plan")
        assert (await manage(api, "/webhooks"))[0] == 200


async def test_requests_beyond_the_limit_are_refused() -> None:
    """429 says when to ask again."""
    async with api_of(limit=1) as api:
        assert (await ask(api, "/assets"))[0] == 200
        status, _, headers = await ask(api, "/assets")
        assert (status, headers["Retry-After"]) == (429, "1")


async def test_webhooks_are_managed_with_the_token_alone() -> None:
    """A key, no token and a wrong token are refused."""
    async with api_of() as api, api_of(bearer_token=None) as without:
        for headers in ({"X-Api-Key": API_KEY}, {}, {"Authorization": "Bearer wrong"}):
            assert (await ask(api, "/webhooks", headers=headers))[0] == 401
        assert (await manage(without, "/webhooks"))[0] == 401


async def test_a_webhook_shows_its_secret_once_and_gets_another_one() -> None:
    """Lists hide the secret; a rotation returns a new one."""
    tested: list[str] = []
    async with api_of() as api:
        api.send_test = tested.append
        wanted = {"url": "https://gw.example/hook", "events": ["asset.telemetry.updated"], "description": "x"}
        status, made = await manage(api, "/webhooks", method="POST", document=wanted)
        assert status == 201
        assert made == made | wanted
        _, found = await manage(api, "/webhooks")
        assert found["data"] == [{key: made[key] for key in made if key != "signingSecret"}]
        path = f"/webhooks/{made['id']}"
        _, rotated = await manage(api, f"{path}/rotate", method="POST")
        assert rotated["signingSecret"] not in {made["signingSecret"], ""}
        assert (await manage(api, f"{path}/test", method="POST"))[0] == 200
        assert tested == [made["id"]]
        api.deliveries[made["id"]] = [{"id": "dlv-1", "statusCode": 401}]
        assert (await manage(api, f"{path}/deliveries"))[1]["data"] == api.deliveries[made["id"]]
        assert (await manage(api, "/webhooks/wh-none/deliveries"))[0] == 404


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://gw.example/hook", 201),
        ("http://127.0.0.1:8080/hook", 201),
        ("http://gw.example/hook", 422),
        ("ftp://127.0.0.1/hook", 422),
        ("", 422),
        (None, 422),
    ],
)
async def test_a_webhook_leads_to_https_or_to_this_machine(url: str | None, status: int) -> None:
    """Only https and loopback URLs are accepted."""
    async with api_of() as api:
        document = {"url": url, "events": ["asset.created"]}
        assert (await manage(api, "/webhooks", method="POST", document=document))[0] == status


async def test_a_fault_may_be_of_one_path() -> None:
    """A fault waits for its path."""
    async with api_of() as api:
        api.path_faults["/locations"] = deque([Answer(status=503, body=b"{}")])
        assert (await ask(api, "/assets"))[0] == 200
        assert (await ask(api, "/locations"))[0] == 503
        assert (await ask(api, "/locations"))[0] == 200
    organization = f"/api/v2/organizations/{ORGANIZATION}"
    assert api.asked == [f"GET {organization}/{name}" for name in ("assets", "locations", "locations")]


async def test_an_answer_may_be_late_or_slow() -> None:
    """Delayed and dripping answers are complete."""
    async with api_of() as api:
        api.faults.append(Answer(is_usual=True, delay_s=0.2))
        api.faults.append(Answer(body=b'{"data": []}', drip_s=0.02))
        began_s = time.monotonic()
        _, found, _ = await ask(api, "/locations")
        assert (found["data"], time.monotonic() - began_s >= 0.2) == (LOCATIONS, True)
        began_s = time.monotonic()
        async with (
            aiohttp.ClientSession(headers={"X-Api-Key": API_KEY}) as session,
            session.get(f"{api.url}/organizations/{ORGANIZATION}/assets") as answer,
        ):
            assert await answer.read() == b'{"data": []}'
        assert time.monotonic() - began_s >= 0.02 * 11


async def test_it_stops_while_an_answer_hangs() -> None:
    """A late answer does not delay the stop."""
    async with asyncio.timeout(60):
        async with api_of() as api:
            api.faults.append(Answer(is_usual=True, delay_s=600))
            asked = asyncio.create_task(ask(api, "/assets"))
            await until(lambda: len(api.asked) == 1)
        with pytest.raises(aiohttp.ClientError):
            await asked


async def test_it_stops_while_an_answer_drips() -> None:
    """A slow answer does not delay the stop."""
    async with asyncio.timeout(60):
        async with aiohttp.ClientSession(headers={"X-Api-Key": API_KEY}) as session, api_of() as api:
            api.faults.append(Answer(body=b" " * 1000, drip_s=1.0))
            async with session.get(f"{api.url}/organizations/{ORGANIZATION}/assets") as answer:
                assert await answer.content.read(1) == b" "
