"""`gateway deadletters retry` and `drop`, and their requests to the running gateway."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.building import ask_socket
from support.dead_letter_parts import letter, serve_dead_letters, write_settings
from support.processes import run_gateway

from gateway.__main__ import parser
from gateway.errors import CommandError
from gateway.records import StateChanges
from gateway.status import SinkStatus

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.dead_letter_parts import ServedDeadLetters

    from gateway.records import StoredDeadLetter

LETTERS = (
    letter("R/A", seq=1, sink="bms"),
    letter("R/A", seq=2, sink="bms"),
    letter("R/B", seq=2),
    letter("", seq=3, sink=""),
    letter("$heartbeat"),
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write the settings."""
    return write_settings(tmp_path)


async def deadletters(config: Path, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command while the socket is served."""
    return await asyncio.to_thread(run_gateway, "deadletters", action, "-c", config, *arguments)


async def remaining(served: ServedDeadLetters) -> list[int]:
    """Return the numbers of the stored dead letters."""
    await served.journal.flush()
    return [each.number for each in await served.journal.dead_letters(range(1, 2000))]


async def test_retried_letters_are_reported_when_delivered(tmp_path: Path, config: Path) -> None:
    """Each has a line; the exit code is 0 once all are gone, and the log names the user."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        with capture_logs() as logs:
            done = await deadletters(config, "retry", "4", "1", "5", "1")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "1: R/A is delivered to bms",
            "4: event evt_3 is delivered to the sinks",
            "5: $heartbeat is delivered to regs",
        ]
        assert served.retries.retried == [[1, 4, 5]]
        assert await remaining(served) == [2, 3]
    line = {"event": "deadletters.retried", "log_level": "info", "numbers": [1, 4, 5], "uid": os.getuid()}
    assert logs == [line]


@pytest.mark.parametrize(
    ("option", "retried"),
    [("--all", [1, 2, 3, 4, 5]), ("--sink=bms", [1, 2]), ("--sink=mapping", [4]), ("--sink=regs", [3, 5])],
)
async def test_letters_are_selected_together(
    tmp_path: Path, config: Path, option: str, retried: list[int]
) -> None:
    """All, those of a sink, or those of events that could not be mapped, oldest first."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        assert (await deadletters(config, "retry", option)).returncode == 0
        assert served.retries.retried == [retried]
        done = await deadletters(config, "retry", option)
        assert (done.returncode, done.stdout, done.stderr) == (0, "There are none.\n", "")


async def test_many_letters_are_retried_in_batches(tmp_path: Path, config: Path) -> None:
    """A hundred at a time, each batch after the one before is delivered."""
    async with serve_dead_letters(tmp_path, [letter(f"R/{n}") for n in range(250)]) as served:
        done = await deadletters(config, "retry", "--all")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 250
        assert [len(numbers) for numbers in served.retries.retried] == [100, 100, 50]
        assert await remaining(served) == []


async def test_a_letter_that_is_refused_again_has_a_new_number(tmp_path: Path, config: Path) -> None:
    """The exit code is 1, and the line has the new number."""

    def refuse(stored: StoredDeadLetter) -> StateChanges:
        return StateChanges(dead_letters=[stored.letter], removed_dead_letters=[stored.number])

    async with serve_dead_letters(tmp_path, LETTERS) as served:
        served.retries.outcome = refuse
        done = await deadletters(config, "retry", "1", "3", "4")
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            "1: R/A is refused again, now as dead letter 6: no such register",
            "3: R/B is refused again, now as dead letter 7: no such register",
            "4: event evt_3 is refused again, now as dead letter 8: no such register",
        ]
        assert await remaining(served) == [2, 5, 6, 7, 8]


async def test_letters_that_cannot_be_retried_have_a_reason(tmp_path: Path, config: Path) -> None:
    """The others are delivered, and the exit code is 1."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        served.retries.left = {2: "the point R/A is not in the tables any more"}
        done = await deadletters(config, "retry", "1", "2", "99")
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            "2: nothing done: the point R/A is not in the tables any more",
            "99: nothing done: there is no dead letter of this number, or it is gone by now",
            "1: R/A is delivered to bms",
        ]
        assert await remaining(served) == [2, 3, 4, 5]


async def test_a_sink_that_is_away_is_not_waited_for(tmp_path: Path, config: Path) -> None:
    """Its letter stays, and its state is shown."""

    def regs_alone(stored: StoredDeadLetter) -> StateChanges:
        return StateChanges(removed_dead_letters=[stored.number] if stored.letter.sink == "regs" else [])

    async with serve_dead_letters(tmp_path, LETTERS) as served:
        served.sinks["bms"] = SinkStatus(type="mqtt", state="away", last_error="connection refused")
        served.retries.outcome = regs_alone
        done = await asyncio.wait_for(deadletters(config, "retry", "1", "3", "--wait", "1h"), timeout=60)
        assert done.returncode == 1
        first, second = done.stdout.splitlines()
        assert first == "1: R/A waits for bms, which is away: connection refused"
        assert second == "3: R/B is delivered to regs"
        assert await remaining(served) == [1, 2, 4, 5]


async def test_a_sink_that_is_slow_is_waited_for_once(tmp_path: Path, config: Path) -> None:
    """Only the first batch waits for the given time."""
    async with serve_dead_letters(tmp_path, [letter("R/A", sink="bms")] * 250) as served:
        served.retries.outcome = lambda _: StateChanges()
        began = time.monotonic()
        done = await deadletters(config, "retry", "--all", "--wait", "4s")
        assert done.returncode == 1
        assert done.stdout.splitlines()[249] == "250: R/A waits for bms, which has not written it yet"
        assert 4 <= time.monotonic() - began < 12  # three batches
        assert [len(numbers) for numbers in served.retries.retried] == [100, 100, 50]


async def test_dropped_letters_are_gone_for_good(tmp_path: Path, config: Path) -> None:
    """They are removed on disk before the answer, and the log names the user."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        with capture_logs() as logs:
            done = await deadletters(config, "drop", "5", "2")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "2: forgotten\n5: forgotten\n"
        assert served.retries.retried == []
        assert [each.number for each in await served.journal.dead_letters(range(1, 100))] == [1, 3, 4]
    line = {"event": "deadletters.dropped", "log_level": "info", "numbers": [2, 5], "uid": os.getuid()}
    assert logs == [line]


async def test_unknown_numbers_are_named_and_the_others_dropped(tmp_path: Path, config: Path) -> None:
    """The exit code is 1, and dropping again changes nothing."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        done = await deadletters(config, "drop", "99", "3")
        assert done.returncode == 1
        assert done.stdout == "3: forgotten\n99: there is no dead letter of this number\n"
        with capture_logs() as logs:
            assert (await deadletters(config, "drop", "3")).returncode == 1
        assert logs == []
        assert await remaining(served) == [1, 2, 4, 5]


async def test_a_drop_that_is_not_on_disk_yet_is_no_success(tmp_path: Path, config: Path) -> None:
    """The command reports it; the letter is gone once the disk accepts writes."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            done = await deadletters(config, "drop", "1")
            assert (done.returncode, done.stdout) == (1, "")
            assert "done, but a restart would forget it, for it can't be written to disk" in done.stderr
        assert await remaining(served) == [2, 3, 4, 5]


async def test_many_letters_are_dropped_together(tmp_path: Path, config: Path) -> None:
    """Those of a sink, then all of them."""
    letters = [*[letter("R/A", sink="bms")] * 150, *LETTERS]
    async with serve_dead_letters(tmp_path, letters) as served:
        assert (await deadletters(config, "drop", "--sink", "bms")).returncode == 0
        assert await remaining(served) == [153, 154, 155]
        assert (await deadletters(config, "drop", "--all")).returncode == 0
        assert await remaining(served) == []
        done = await deadletters(config, "drop", "--all")
        assert (done.returncode, done.stdout) == (0, "There are none.\n")


async def test_large_letters_are_retried_and_dropped(tmp_path: Path) -> None:
    """The journal reads a few megabytes at a time, and still all are handled."""
    letters = [letter("R/A", seq=number) for number in range(1, 5)]
    path = tmp_path / "control.sock"
    async with serve_dead_letters(tmp_path, letters, padding=3 << 20) as served:
        served.retries.outcome = lambda _: StateChanges()
        _, answer = await asyncio.to_thread(
            ask_socket, path, "/deadletters/retry", b'{"numbers": [9, 4, 3, 2, 1]}'
        )
        assert answer["handed_out"] == [1, 2, 3, 4]
        assert [each["number"] for each in answer["left"]] == [9]
        assert len(served.retries.retried) >= 2
        _, answer = await asyncio.to_thread(
            ask_socket, path, "/deadletters/drop", b'{"numbers": [9, 4, 3, 2, 1]}'
        )
        assert answer == {"dropped": [1, 2, 3, 4], "unknown": [9]}


@pytest.mark.parametrize("path", ["/deadletters/retry", "/deadletters/drop"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{}", "`numbers` is missing: a list of one to 1000"),
        (b'{"numbers": []}', "`numbers` is missing"),
        (b'{"numbers": 1}', "`numbers` is missing"),
        (b'{"numbers": [%s1]}' % (b"1," * 1000), "`numbers` is missing"),
        (b'{"numbers": [true]}', "something that is no number"),
        (b'{"numbers": ["1"]}', "something that is no number"),
        (b'{"numbers": [0]}', "something that is no number"),
        (b'{"numbers": [1, 9223372036854775808]}', "something that is no number"),
    ],
)
async def test_bad_requests_do_nothing(tmp_path: Path, path: str, body: bytes, error: str) -> None:
    """Every error is JSON with a text for the user."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        status, answer = await asyncio.to_thread(ask_socket, tmp_path / "control.sock", path, body)
        assert (status, list(answer)) == (400, ["error"])
        assert error in answer["error"]
        assert served.retries.retried == []
        assert len(await remaining(served)) == len(LETTERS)


@pytest.mark.parametrize("action", ["retry", "drop"])
@pytest.mark.parametrize("arguments", ["", "1 --all", "1 --sink bms", "--all --sink bms"])
def test_letters_are_selected_in_one_way_only(action: str, arguments: str) -> None:
    """Numbers together with an option are refused."""
    parsed = parser().parse_args(["deadletters", action, *arguments.split()])
    with pytest.raises(CommandError, match=r"say which: numbers as .* or --sink NAME, or --all$"):
        parsed.run(parsed)


async def test_a_wait_that_is_no_duration_is_refused(tmp_path: Path, config: Path) -> None:
    """Nothing is retried."""
    async with serve_dead_letters(tmp_path, LETTERS) as served:
        done = await deadletters(config, "retry", "--all", "--wait", "soon")
        assert done.returncode == 1
        assert done.stderr.startswith("gateway: --wait soon: a duration is a number and its unit")
        assert served.retries.retried == []


@pytest.mark.parametrize("action", ["retry", "drop"])
async def test_without_a_gateway_nothing_changes(tmp_path: Path, config: Path, action: str) -> None:
    """The command says that no gateway runs, and the journal stays as it is."""
    async with serve_dead_letters(tmp_path, LETTERS):
        pass
    done = await deadletters(config, action, "--all")
    assert (done.returncode, done.stdout) == (1, "")
    assert "control.sock: the gateway is not running" in done.stderr
    assert (await deadletters(config, "list")).stdout.count("evt_") == 4
