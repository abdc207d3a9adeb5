"""`gateway deadletters list` and `show`, with and without a running gateway."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.commands import gateway
from support.daemon import telemetry
from support.dead_letter_parts import letter, write_letters, write_settings
from support.journal_parts import LONG_AFTER_MS, sqlite_journal, until_pruned

from gateway.records import StateChanges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.records import DeadLetter

LETTERS = (
    letter("R/N", seq=1, reason="70000 is beyond uint16"),
    letter("R/N", seq=2, reason="80000 is beyond uint16"),
    letter("R/T", seq=2, sink="bms", reason="not authorized"),
    letter("", seq=3, sink="", reason="no readings found"),
    letter("$heartbeat"),
)


async def filled(folder: Path, letters: Sequence[DeadLetter] = LETTERS) -> Path:
    """Write a journal with dead letters; return its settings."""
    async with sqlite_journal(folder) as journal:
        await write_letters(journal, letters)
    return write_settings(folder)


def test_without_a_journal_the_list_is_empty(tmp_path: Path) -> None:
    """The exit code is 0, and JSON has an empty list."""
    config = write_settings(tmp_path)
    done = gateway("deadletters", "list", "-c", config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "There are no dead letters.\n", "")
    done = gateway("deadletters", "list", "-c", config, "--format", "json")
    assert json.loads(done.stdout) == {"kept": 0, "letters": []}


async def test_list_shows_the_newest_last_and_how_many_there_are(tmp_path: Path) -> None:
    """Number, time, sink, point, event and reason; a missing one is a dash."""
    config = await filled(tmp_path)
    done = gateway("deadletters", "list", "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=5) for line in done.stdout.splitlines()[:6]] == [
        ["number", "when", "sink", "point", "event", "reason"],
        ["1", "2027-01-15T08:01:00Z", "regs", "R/N", "evt_1", "70000 is beyond uint16"],
        ["2", "2027-01-15T08:02:00Z", "regs", "R/N", "evt_2", "80000 is beyond uint16"],
        ["3", "2027-01-15T08:02:00Z", "bms", "R/T", "evt_2", "not authorized"],
        ["4", "2027-01-15T08:03:00Z", "mapping", "-", "evt_3", "no readings found"],
        ["5", "2027-01-15T08:00:00Z", "regs", "$heartbeat", "-", "no such register"],
    ]
    assert done.stdout.splitlines()[6:] == ["5 dead letters. The newest 10,000 are kept."]


@pytest.mark.parametrize(
    ("options", "numbers", "counted"),
    [
        (["--sink", "regs"], [1, 2, 5], "3 of 5 dead letters."),
        (["--sink", "mapping"], [4], "1 of 5 dead letters."),
        (["--point", "R/N"], [1, 2], "2 of 5 dead letters."),
        (["--point", "R/N", "--sink", "bms"], [], "0 of 5 dead letters."),
        (["--limit", "2"], [4, 5], "2 of 5 dead letters."),
        (["--sink", "regs", "--limit", "1"], [5], "1 of 5 dead letters."),
    ],
)
async def test_list_can_be_narrowed(
    tmp_path: Path, options: list[str], numbers: list[int], counted: str
) -> None:
    """By sink, by point and by number, in both formats."""
    config = await filled(tmp_path)
    document = json.loads(gateway("deadletters", "list", "-c", config, "--format", "json", *options).stdout)
    assert document["kept"] == 5
    assert [each["number"] for each in document["letters"]] == numbers
    printed = gateway("deadletters", "list", "-c", config, *options).stdout
    assert [int(line.split()[0]) for line in printed.splitlines()[1 : len(numbers) + 1]] == numbers
    assert counted in printed


async def test_list_as_json_has_everything_but_the_body(tmp_path: Path) -> None:
    """Missing parts are null, not an empty text or 0."""
    config = await filled(tmp_path)
    letters = json.loads(gateway("deadletters", "list", "-c", config, "--format", "json").stdout)["letters"]
    assert letters[0] == {
        "number": 1,
        "time": "2027-01-15T08:01:00Z",
        "sink": "regs",
        "point": "R/N",
        "event_id": "evt_1",
        "event_number": 1,
        "reason": "70000 is beyond uint16",
    }
    assert (letters[3]["sink"], letters[3]["point"]) == (None, None)
    assert (letters[4]["event_id"], letters[4]["event_number"]) == (None, None)


async def test_an_unknown_sink_is_an_error(tmp_path: Path) -> None:
    """A retired sink with dead letters is accepted; a misspelt one gets a suggestion."""
    config = await filled(tmp_path, [letter("R/N", sink="old")])
    assert gateway("deadletters", "list", "-c", config, "--sink", "old").returncode == 0
    assert gateway("deadletters", "list", "-c", config, "--sink", "bms").returncode == 0
    done = gateway("deadletters", "list", "-c", config, "--sink", "reg")
    assert done.returncode == 1
    assert done.stderr == "gateway: --sink reg: there is no sink of this name, did you mean `regs`?\n"


async def test_reasons_are_sanitised(tmp_path: Path) -> None:
    """Line breaks and escape sequences in a broker's reason become blanks."""
    config = await filled(tmp_path, [letter("R/N", reason="no\n\x1b[31mway")])
    assert "no  [31mway\n" in gateway("deadletters", "list", "-c", config).stdout
    assert "\x1b" not in gateway("deadletters", "show", "-c", config, "1").stdout


async def test_show_has_everything_about_one(tmp_path: Path) -> None:
    """Time, place, reason, event with its body, and the next commands."""
    config = await filled(tmp_path)
    done = gateway("deadletters", "show", "-c", config, "2")
    assert (done.returncode, done.stderr) == (0, "")
    printed = " ".join(done.stdout.split())
    for expected in (
        "number 2 when 2027-01-15T08:02:00Z sink regs point R/N event evt_2 reason 80000 is beyond uint16",
        "body ",
        f"its way: gateway deadletters show -c {config} 2 --body | gateway explain -c {config} -",
        f"deliver it again: gateway deadletters retry -c {config} 2",
        f"forget it: gateway deadletters drop -c {config} 2",
    ):
        assert expected in printed
    body = done.stdout[done.stdout.index("\n{\n") : done.stdout.index("\n}\n") + 2]
    assert json.loads(body)["data"]["object"]["telemetry"] == {"t": 2}
    assert gateway("explain", "-c", config, "evt_2").returncode == 0


async def test_show_of_what_no_event_caused(tmp_path: Path) -> None:
    """There is nothing to explain, but it can be delivered again."""
    printed = gateway("deadletters", "show", "-c", await filled(tmp_path), "5").stdout
    assert "event - reason" in " ".join(printed.split())
    assert "explain" not in printed
    assert "retry" in printed


async def test_show_of_an_event_that_could_not_be_mapped(tmp_path: Path) -> None:
    """It has no sink and no point."""
    printed = " ".join(gateway("deadletters", "show", "-c", await filled(tmp_path), "4").stdout.split())
    assert "sink mapping point - event evt_3" in printed


async def test_the_body_can_be_explained_after_the_retention(tmp_path: Path) -> None:
    """The dead letter keeps the body, and the hint pipes it into explain."""
    async with sqlite_journal(tmp_path, sinks=()) as journal:
        await write_letters(journal, LETTERS[:1])
        journal.save(StateChanges(values_through=journal.head))
    async with sqlite_journal(tmp_path, sinks=(), clock_ms=lambda: LONG_AFTER_MS) as journal:
        await until_pruned(journal)
    config = write_settings(tmp_path)
    printed = gateway("deadletters", "show", "-c", config, "1").stdout
    assert f"gateway deadletters show -c {config} 1 --body | gateway explain -c {config} -\n" in printed
    body = gateway("deadletters", "show", "-c", config, "1", "--body").stdout
    assert json.loads(body)["id"] == json.loads(telemetry("evt_1", "a", {}))["id"]
    assert "evt_1" in gateway("explain", "-c", config, "-", body=body).stdout


async def test_without_its_body_it_cannot_be_retried(tmp_path: Path) -> None:
    """The retry is not offered."""
    config = await filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE dead_letters SET body = NULL")
        database.execute("UPDATE events SET body = NULL")
    printed = gateway("deadletters", "show", "-c", config, "1").stdout
    assert "it has no body: no event caused it, or the journal was full (journal.max_size)" in printed
    assert "retry" not in printed
    done = gateway("deadletters", "show", "-c", config, "1", "--body")
    assert (done.returncode, done.stdout) == (1, "")
    assert "gateway: 1: it has no body" in done.stderr


async def test_an_unknown_number_is_an_error(tmp_path: Path) -> None:
    """Text that is no number is refused by the command line."""
    done = gateway("deadletters", "show", "-c", await filled(tmp_path), "99")
    assert done.returncode == 1
    assert done.stderr == "gateway: 99: there is no dead letter of this number, or it is gone by now\n"
    for word in ("x", "0", "-1", "²", "9" * 30):
        done = gateway("deadletters", "show", "--", word)
        assert done.returncode == 2
        assert "a whole number from 1 is expected" in done.stderr


async def test_both_work_while_the_gateway_runs(tmp_path: Path) -> None:
    """Committed dead letters are shown while the journal is in use."""
    config = write_settings(tmp_path)
    async with sqlite_journal(tmp_path) as journal:
        await write_letters(journal, LETTERS)
        assert "5 dead letters." in gateway("deadletters", "list", "-c", config).stdout
        assert gateway("deadletters", "show", "-c", config, "1").returncode == 0
