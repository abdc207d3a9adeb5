"""`gateway deadletters retry` and `drop`: asks the running gateway to deliver again or to delete."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cli.arguments import duration_option
from gateway.cli.control_client import ask
from gateway.errors import CommandError
from gateway.journal.lookup import read_dead_letters
from gateway.settings import load_settings
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.records import DeadLetter
    from gateway.settings import Settings

MAPPING = "mapping"
"""Stands in the place of a sink if the event could not be mapped, and so reached no sink."""
SINK_HELP = "only this sink's; mapping: events that could not be mapped"
_AT_ONCE = 100  # dead letters handed out before the command waits for their delivery
_LOOK_EVERY_S = 0.1
_Subject = tuple[str, str, str]  # sink, point and event of a dead letter


def add_retry_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `retry`."""
    add_selection(parser)
    parser.add_argument(
        "--wait", metavar="DURATION", default="10s", help="for their delivery (default: %(default)s)"
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add arguments that select dead letters."""
    parser.add_argument("numbers", nargs="*", type=whole_number, metavar="N", help="their numbers")
    parser.add_argument("--sink", metavar="NAME", help=SINK_HELP)
    parser.add_argument("--all", action="store_true", help="all of them")


def whole_number(text: str) -> int:
    """Return a number from 1 that the journal can store; for argparse."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 is expected")
    return int(text)


def drop(arguments: argparse.Namespace) -> int:
    """Delete dead letters; return 0 once all are deleted, 1 if a number does not exist."""
    numbers = _selected(arguments, load_settings(arguments.config).require().journal.path)
    unknown: list[int] = []
    for some in _batches(numbers):
        answer = ask(arguments.config, "/deadletters/drop", {"numbers": some})
        unknown += answer["unknown"]
        for number in some:
            gone = number in answer["unknown"]
            print(f"{number}: " + ("there is no dead letter of this number" if gone else "forgotten"))
    return 1 if unknown else 0


def retry(arguments: argparse.Namespace) -> int:
    """Deliver dead letters again; return 0 once all are delivered, 1 otherwise."""
    wait_s = duration_option("--wait", arguments.wait)
    path = load_settings(arguments.config).require().journal.path
    numbers = _selected(arguments, path)
    request = _Retry(arguments.config, path, wait_s=wait_s, before=read_dead_letters(path))
    for some in _batches(numbers):
        for line in request.hand_out(some):
            print(line, flush=True)
    if request.is_waiting:
        print(
            f"What is still there: gateway deadletters list -c {arguments.config}"
            " (a restart of the gateway forgets this request, not the letters)"
        )
    return 0 if request.delivered == len(numbers) else 1


def _selected(arguments: argparse.Namespace, path: Path) -> list[int]:
    """Return the selected numbers, oldest first; print it if there are none."""
    if bool(arguments.numbers) + arguments.all + (arguments.sink is not None) != 1:
        raise CommandError(
            "say which: numbers as `gateway deadletters list` shows them, or --sink NAME, or --all"
        )
    if arguments.numbers:
        return sorted(set(arguments.numbers))
    letters = read_dead_letters(path)
    if arguments.sink is not None:
        letters = of_sink(letters, arguments.sink, load_settings(arguments.config).require())
    if not letters:
        print("There are none.")
    return list(letters)


def of_sink(letters: Mapping[int, DeadLetter], sink: str, settings: Settings) -> dict[int, DeadLetter]:
    """Return the dead letters of one sink, which may be retired; refuse an unknown name."""
    names = {sink, ""} if sink == MAPPING else {sink}
    found = {number: letter for number, letter in letters.items() if letter.sink in names}
    if not found and sink not in {MAPPING, *settings.sinks}:
        raise CommandError(f"--sink {sink}: {unknown_name('sink', sink, [*settings.sinks, MAPPING])}")
    return found


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))


@dataclass
class _Retry:
    """Requests delivery, and reads the outcome from the journal. `before`: all dead letters at the start."""

    config: Path
    path: Path
    wait_s: float
    before: dict[int, DeadLetter]
    delivered: int = 0
    is_waiting: bool = False
    _busy: set[str] = field(default_factory=set)  # sinks that the command waits for no more

    def hand_out(self, numbers: Sequence[int]) -> Iterator[str]:
        """Yield a line for each number: delivered, refused again, waiting, or why nothing was done."""
        answer = ask(self.config, "/deadletters/retry", {"numbers": numbers})
        for left in answer["left"]:
            yield f"{left['number']}: nothing done: {left['reason']}"
        handed_out = [number for number in answer["handed_out"] if number in self.before]
        self._busy.update(name for name, sink in answer["sinks"].items() if sink["state"] != "up")
        now = self._wait(handed_out)
        newer = self._newer(now)
        for number in handed_out:
            yield f"{number}: {self._outcome(number, now, newer, answer['sinks'])}"

    def _wait(self, numbers: Iterable[int]) -> dict[int, DeadLetter]:
        """Return all dead letters once these are gone, without waiting for sinks that are away or slow."""
        deadline = time.monotonic() + self.wait_s
        while True:
            now = read_dead_letters(self.path)
            waiting = {self.before[number].sink for number in numbers if number in now} - self._busy
            if not waiting or time.monotonic() > deadline:
                self._busy |= waiting
                return now
            time.sleep(_LOOK_EVERY_S)

    def _outcome(
        self, number: int, now: dict[int, DeadLetter], newer: dict[_Subject, int], sinks: dict[str, Any]
    ) -> str:
        letter = self.before[number]
        what = letter.point or f"event {one_line(letter.event_id)}"
        if number in now:
            self.is_waiting = True
            return f"{what} waits for {letter.sink or 'a sink'}, which {_state(sinks.get(letter.sink))}"
        again = newer.get((letter.sink, letter.point, letter.event_id))
        if again is not None:
            return f"{what} is refused again, now as dead letter {again}: {one_line(now[again].reason)}"
        self.delivered += 1
        return f"{what} is delivered to {letter.sink or 'the sinks'}"

    def _newer(self, now: dict[int, DeadLetter]) -> dict[_Subject, int]:
        """Return the numbers of newer dead letters by subject; of an unmapped event, any of its own."""
        newer = [(number, letter) for number, letter in now.items() if number not in self.before]
        by_event: dict[_Subject, int] = {("", "", letter.event_id): number for number, letter in newer}
        return by_event | {(letter.sink, letter.point, letter.event_id): number for number, letter in newer}


def _state(sink: dict[str, str | None] | None) -> str:
    """Return why a sink has not written a dead letter yet."""
    if sink is None or sink["state"] == "up":
        return "has not written it yet"
    reason = sink["last_error"]
    return f"is {sink['state']}" + (f": {one_line(reason)}" if reason else "")


def one_line(text: str) -> str:
    """Return a text from elsewhere without line breaks and other unprintable characters."""
    return "".join(character if character.isprintable() else " " for character in text)
