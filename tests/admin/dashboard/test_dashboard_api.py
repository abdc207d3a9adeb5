"""The requests of the dashboard's page, to the real daemon."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from support.building import eventually
from support.daemon import Daemon, telemetry
from support.event_stream import event_stream
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from pathlib import Path

ROOM = "ast-a1b2c3d4"
TOKEN = "made-up-admin-token-1"
POINT = "L03-RM312/ZN-T"


def ask(
    daemon: Daemon,
    path: str,
    document: object = None,
    *,
    host: str | None = None,
    token: str | None = None,
) -> tuple[int, Any]:
    """Get, or post a document; return status and answer."""
    headers = {} if host is None else {"Host": host}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{daemon.admin_port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


def number_of(daemon: Daemon, name: str) -> int:
    """Return the number of a point."""
    points = ask(daemon, "/api/points")[1]["points"]
    return next(number for number, point in enumerate(points) if point["name"] == name)


def test_points_are_described_with_all_their_places(daemon: Daemon) -> None:
    """Names, unit, topic and register are there before any value is."""
    described = ask(daemon, "/api/points")[1]
    point = described["points"][number_of(daemon, POINT)]
    assert (point["site"], point["unit"], point["asset"]) == ("hq-tower", "degC", ROOM)
    assert point["topics"] == [{"sink": "bms", "topic": "gw/v1/hq-tower/L03-RM312/ZN-T"}]
    (register,) = point["registers"]
    assert (register["sink"], register["unit"], register["table"]) == ("regs", 1, "input")
    assert (register["address"], register["modicon"], register["type"]) == (1000, "31001", "float32")
    assert len(described["points"]) == daemon.status()["tables"]["points"]


async def test_a_value_reaches_the_page_as_it_happens(daemon: Daemon) -> None:
    """The stream has everything first, then changes by the point's number."""
    number = number_of(daemon, POINT)
    async with event_stream(f"http://127.0.0.1:{daemon.admin_port}/api/stream") as stream:
        assert await stream.next("tables") == ask(daemon, "/api/points")[1]["generation"]
        status = await stream.next("status")
        assert status["name"] == "test-box"
        assert status["qualities"].keys() >= {"good", "stale", "waiting"}
        assert isinstance(await stream.next("values"), list)
        assert daemon.post(telemetry("evt_live", ROOM, {"temperature": 22.25}))[0] == 200
        rows = await stream.until("values", lambda rows: any(row[0] == number for row in rows))
        row = next(row for row in rows if row[0] == number)
        assert (row[1], row[2], row[4]) == (22.25, "good", "evt_live")


async def test_recent_numbers_are_kept_without_a_page(daemon: Daemon) -> None:
    """A page that opens later gets them."""
    for step in range(3):
        assert daemon.post(telemetry(f"evt_r{step}", ROOM, {"temperature": 20 + step}))[0] == 200
        eventually(lambda: recent(daemon)[-1:], [20 + step])
    assert recent(daemon)[-3:] == [20, 21, 22]


def recent(daemon: Daemon) -> list[float]:
    """Return the remembered values of the point."""
    found = ask(daemon, f"/api/recent?point={POINT}")[1]
    return list(found.get(POINT, [])[1::2])


def test_the_last_events_say_how_far_they_are(daemon: Daemon) -> None:
    """Each has its asset, tag, whether it is mapped, and the sinks that have it."""
    assert daemon.post(telemetry("evt_way", ROOM, {"temperature": 21.5}))[0] == 200
    assert daemon.post(telemetry("evt_lost", "ast-unknown", {"temperature": 1}))[0] == 200
    eventually(lambda: ask(daemon, "/api/events")[1][0]["sinks"], {"bms": True, "regs": True})
    lost, way = ask(daemon, "/api/events")[1][:2]
    assert (way["id"], way["asset"], way["tags"], way["mapped"]) == ("evt_way", ROOM, ["L03-RM312"], True)
    assert (lost["id"], lost["asset"], lost["tags"], lost["mapped"]) == ("evt_lost", "ast-unknown", [], False)


def test_an_event_without_readings_is_not_shown_as_mapped(daemon: Daemon) -> None:
    """It is a dead letter, although a table names its asset."""
    assert daemon.post(telemetry("evt_none", ROOM, {}))[0] == 200
    assert daemon.post(telemetry("evt_some", ROOM, {"temperature": 21.5}))[0] == 200
    some, none = ask(daemon, "/api/events")[1][:2]
    assert [(each["id"], each["readable"]) for each in (some, none)] == [
        ("evt_some", True),
        ("evt_none", False),
    ]
    eventually(
        lambda: [each["event"] for each in ask(daemon, "/api/deadletters")[1]["letters"]], ["evt_none"]
    )
    number = ask(daemon, "/api/deadletters")[1]["letters"][0]["number"]
    ask(daemon, "/api/actions/deadletters/drop", {"numbers": [number]}, token=TOKEN)


def test_nothing_is_changed_without_the_token(daemon: Daemon) -> None:
    """A missing or wrong token or scheme is answered with 401."""
    override = {"point": POINT, "value": 30, "for_s": 60}
    for token in (None, "wrong", ""):
        code, answer = ask(daemon, "/api/actions/force", override, token=token)
        assert (code, answer) == (401, {"error": "the admin token is missing or wrong"})
    assert daemon.status()["mapping"]["forced"] == {}
    assert TOKEN not in daemon.log


def test_a_point_is_forced_and_released_with_the_token(daemon: Daemon) -> None:
    """As with `gateway force`."""
    override = {"point": POINT, "value": 30, "for_s": 60}
    code, answer = ask(daemon, "/api/actions/force", override, token=TOKEN)
    assert (code, answer["point"], answer["value"]) == (200, POINT, 30)
    assert daemon.status()["mapping"]["forced"].keys() == {POINT}
    code, answer = ask(daemon, "/api/actions/force", override | {"value": 1000}, token=TOKEN)
    assert code == 400
    assert "1000" in answer["error"]
    assert ask(daemon, "/api/actions/release", {"point": POINT}, token=TOKEN) == (200, {"released": [POINT]})
    assert daemon.status()["mapping"]["forced"] == {}


def test_dead_letters_are_listed_and_retried(daemon: Daemon) -> None:
    """They are listed with the reason; `retry` needs the token."""
    assert daemon.post(telemetry("evt_odd", ROOM, {}))[0] == 200
    eventually(lambda: ask(daemon, "/api/deadletters")[1]["total"], 1)
    (letter,) = ask(daemon, "/api/deadletters")[1]["letters"]
    assert (letter["event"], letter["sink"]) == ("evt_odd", "")
    numbers = {"numbers": [letter["number"]]}
    assert ask(daemon, "/api/actions/deadletters/drop", numbers)[0] == 401
    assert (
        ask(daemon, "/api/actions/deadletters/drop", numbers, token=TOKEN)[1]["dropped"] == numbers["numbers"]
    )
    eventually(lambda: ask(daemon, "/api/deadletters")[1]["total"], 0)


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.example.com", "localhost.evil.example"])
def test_dns_rebinding_is_refused(daemon: Daemon, host: str) -> None:
    """A foreign host name that leads to 127.0.0.1 is answered with 403."""
    assert ask(daemon, "/api/status", host=host)[0] == 403
    assert ask(daemon, "/api/status", host=f"localhost:{daemon.admin_port}")[0] == 200


@pytest.mark.parametrize(
    "host", [b"localhost:abc", b"localhost:99999999", b"evil.example:80:90", b"\xff", b""]
)
def test_an_invalid_host_header_is_refused(daemon: Daemon, host: bytes) -> None:
    """It is answered with 403, and nothing is logged."""
    assert raw_status(daemon, b"GET /api/status", b"Host: " + host) == 403
    assert "Traceback" not in daemon.log


def test_a_token_in_another_encoding_is_a_wrong_one(daemon: Daemon) -> None:
    """Latin-1 where UTF-8 is expected is answered with 401, and nothing is logged."""
    header = b"Host: localhost\r\nAuthorization: Bearer gr\xfcn"
    assert raw_status(daemon, b"GET /api/actions/token", header) == 401
    assert "Traceback" not in daemon.log


def raw_status(daemon: Daemon, asked: bytes, headers: bytes) -> int:
    """Return the status of the answer to a request with such headers, byte for byte."""
    with socket.create_connection(("127.0.0.1", daemon.admin_port), timeout=60) as connection:
        connection.sendall(asked + b" HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n\r\n")
        return int(connection.makefile("rb").readline().split()[1])


def test_the_page_is_whole_and_runs_nothing_from_elsewhere(daemon: Daemon) -> None:
    """The policy is strict, no script or style is inline, and all files are served."""
    address = f"http://127.0.0.1:{daemon.admin_port}"
    with urllib.request.urlopen(f"{address}/", timeout=60) as answer:
        page, headers = answer.read().decode(), answer.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    request = urllib.request.Request(f"{address}/", headers={"If-None-Match": headers["ETag"]})
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(request, timeout=60)


def test_actions_without_a_token_in_the_settings_are_refused(tmp_path: Path) -> None:
    """The answer says what to set."""
    with Mosquitto(tmp_path) as broker:
        gateway = Daemon(tmp_path, broker.port)
        gateway.start()
        try:
            code, answer = ask(gateway, "/api/actions/release", {"all": True}, token="")
        finally:
            gateway.kill()
    assert code == 403
    assert answer["error"].startswith("no admin.token is set in gateway.yaml")


async def test_an_open_stream_does_not_delay_the_stop(tmp_path: Path) -> None:
    """The stream ends, and the exit code is 0."""
    with Mosquitto(tmp_path) as broker:
        gateway = Daemon(tmp_path, broker.port)
        gateway.start()
        async with event_stream(f"http://127.0.0.1:{gateway.admin_port}/api/stream") as stream:
            await stream.next("status")
            assert gateway.stop() == 0
            with pytest.raises(EOFError):
                await stream.next("never")
