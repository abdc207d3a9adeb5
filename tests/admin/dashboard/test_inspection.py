"""The dashboard's requests about one point or event, to the real daemon."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support.building import eventually
from support.daemon import Daemon, telemetry
from support.libmodbus import libmodbus
from support.mosquitto import Mosquitto

from gateway.journal.journal_file import id_hash

if TYPE_CHECKING:
    from pathlib import Path

ROOM = "ast-a1b2c3d4"
POINT = "L03-RM312/ZN-T"
MANY = 15_000


def ask(daemon: Daemon, path: str, *, host: str = "localhost") -> tuple[int, Any]:
    """Get a document; return status and answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.admin_port}/api/{path}", headers={"Host": host}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def until_read(daemon: Daemon, point: str, event: str) -> None:
    """Wait until a point's newest reading is that of the event."""
    eventually(lambda: ask(daemon, f"points/{point}")[1].get("event"), event)


def test_the_history_of_a_point_is_read_from_the_journal(daemon: Daemon) -> None:
    """Each reading has time, value, quality and event; the name may be escaped."""
    began_ms = time.time_ns() // 1_000_000 - 60_000
    for number, value in enumerate((21.5, 99, "22")):
        at_ms = began_ms + 1000 * number
        body = telemetry(f"evt_h{number}", ROOM, {"temperature": value}, time_ms=at_ms)
        assert daemon.post(body)[0] == 200
    for name in (POINT, quote(POINT, safe="")):
        code, found = ask(daemon, f"points/{name}/history?from={began_ms}&width=500")
        assert code == 200
        assert [[at - began_ms, *rest] for at, *rest in found["rows"]] == [
            [0, 21.5, "good", "evt_h0"],
            [1000, 99, "bad", "evt_h1"],
            [2000, 22, "good", "evt_h2"],
        ]
        assert (found["readings"], found["since_ms"], found["from_ms"]) == (3, None, began_ms)


@pytest.mark.parametrize(
    ("path", "code", "error"),
    [
        (f"points/{POINT}/history?width=0", 400, "`width` is the number of pixels"),
        (f"points/{POINT}/history?width=20001", 400, "`width` is the number of pixels"),
        (f"points/{POINT}/history?width={'1' * 5000}", 400, "`width` is the number of pixels"),
        (f"points/{POINT}/history?width=%D9%A3", 400, "`width` is the number of pixels"),
        (f"points/{POINT}/history?from=1e999", 400, "`from` is a time"),
        (f"points/{POINT}/history?to=tomorrow", 400, "`to` is a time"),
        (f"points/{POINT}/history?from=2026-01-02&to=2026-01-01", 400, "`from` must be before `to`"),
        ("points/L03-RM312/ZN-X/history", 404, "did you mean `L03-RM312/ZN-T`?"),
        ("points/..%2F..%2Fetc%2Fpasswd", 404, "there is no point of this name"),
        ("points/%00%FF/history", 404, "there is no point of this name"),
        ("points/L03-RM312/AGE/history", 404, "has no readings of its own"),
        ("points/$gateway/heartbeat/history", 404, "has no readings of its own"),
        ("events/evt_nothing", 400, "not in the journal"),
        ("events/%27%20OR%201=1", 400, "not in the journal"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_reason(
    daemon: Daemon, path: str, code: int, error: str
) -> None:
    """Unknown names and impossible parameters do no work and leave no trace in the log."""
    answered, answer = ask(daemon, path)
    assert (answered, error in answer["error"]) == (code, True), answer
    assert "Traceback" not in daemon.log


def test_other_hosts_are_refused(daemon: Daemon) -> None:
    """The rules of the admin server hold for these requests, too."""
    for path in (f"points/{POINT}", f"points/{POINT}/history", "events/evt_1"):
        assert ask(daemon, path, host="evil.example.com")[0] == 403


def test_words_are_those_that_a_controller_reads(daemon: Daemon) -> None:
    """The words of good values and sentinels are the same as over Modbus."""
    for event, readings in (("evt_w1", {"temperature": 21.5}), ("evt_w2", {"temperature": 80})):
        assert daemon.post(telemetry(event, ROOM, readings))[0] == 200
        until_read(daemon, POINT, event)
        (register,) = ask(daemon, f"points/{POINT}")[1]["registers"]
        assert (register["sink"], register["unit"], register["modicon"]) == ("regs", 1, "31001")
        words = [int(word, 16) for word in register["words"].split()]
        with libmodbus(daemon.modbus_port) as controller:
            eventually(lambda: controller.input_registers(1000, 2), words)


@pytest.mark.parametrize(
    ("key", "raw", "name", "reason"),
    [
        ("temperature", 80, "ZN-T", "80 is outside its range, -20 to 60"),
        ("co2", "n/a", "ZN-CO2", '"n/a" is no number'),
        ("co2", None, "ZN-CO2", "the event has no value for it"),
        ("occupancy", "perhaps", "OCC", '"perhaps" is not in its map'),
        ("temperature", {"value": 3, "unit": "bar"}, "ZN-T", "they measure different things"),
    ],
)
def test_a_bad_value_has_its_reason_and_reading(
    daemon: Daemon, key: str, raw: Any, name: str, reason: str
) -> None:
    """The answer has what the sensor sent and why it cannot be used."""
    event = f"evt_{time.time_ns()}"
    assert daemon.post(telemetry(event, ROOM, {key: raw}))[0] == 200
    until_read(daemon, f"L03-RM312/{name}", event)
    shown = ask(daemon, f"points/L03-RM312/{name}")[1]
    assert (shown["quality"], shown["raw"]) == ("bad", raw["value"] if isinstance(raw, dict) else raw)
    assert reason in shown["bad_reason"]


def test_an_event_is_shown_as_received_with_its_way(daemon: Daemon) -> None:
    """The way is the text of `gateway explain`."""
    body = telemetry("evt_shown", ROOM, {"temperature": 21.5})
    assert daemon.post(body)[0] == 200
    code, shown = ask(daemon, "events/evt_shown")
    assert (code, shown["type"], shown["body"]) == (200, "asset.telemetry.updated", body.decode())
    way = " ".join(shown["way"].split())
    assert "L03-RM312/ZN-T from temperature reading 21.5 value 21.5 degC good" in way
    assert "input 1000-1001 31001 float32 ABCD 41AC 0000 = 21.5" in way
    assert "delivery: bms" in way


def fill(journal: Path, count: int) -> None:
    """Store so many events of the room in a closed journal, the last one now, one second apart."""
    now_ms = time.time_ns() // 1_000_000
    rows = []
    for number in range(1, count + 1):
        event, at_ms = f"evt_{number}", now_ms - 1000 * (count - number)
        body = telemetry(event, ROOM, {"temperature": 20 + number % 7}, time_ms=at_ms)
        rows.append((number, id_hash(event), at_ms, body))
    with closing(sqlite3.connect(journal)) as database, database:
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, NULL, NULL)", rows)
        database.execute("DELETE FROM cursors")
        names = ("bms", "regs", "$numbers", "$values")
        database.executemany("INSERT INTO cursors VALUES (?, ?)", [(name, count) for name in names])


def test_a_history_holds_nothing_up(tmp_path: Path) -> None:
    """While three are read one after the other, every other answer comes in far less time than one takes.

    A machine with other work may hold one up, but not each time.
    """
    with Mosquitto(tmp_path) as broker:
        gateway = Daemon(tmp_path, broker.port)
        gateway.start()
        gateway.stop()
        fill(tmp_path / "journal.db", MANY)
        gateway.start()
        try:
            assert any(answers_while_histories_are_read(gateway) for _ in range(5))
        finally:
            gateway.kill()


def answers_while_histories_are_read(gateway: Daemon) -> bool:
    """Read three histories; return whether every other answer took less than a sixth of that time."""
    began_s = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        wide = f"points/{POINT}/history?width=20000"
        running = [threads.submit(ask, gateway, wide) for _ in range(3)]
        waits_s = [0.0]
        while not all(one.done() for one in running):
            asked_s = time.monotonic()
            eventually(gateway.is_ready, expected=True)
            waits_s.append(time.monotonic() - asked_s)
    took_s = time.monotonic() - began_s
    for code, found in (one.result() for one in running):
        assert (code, found["readings"] >= 10_000) == (200, True)
        assert found["rows"][-1][3] == f"evt_{MANY}"
    return max(waits_s) < took_s / 6
