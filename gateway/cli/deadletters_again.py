"""`gateway deadletters retry` and `drop`: what the running gateway is asked to do with dead letters."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cli.control_client import ask
from gateway.cli.deadletters_seen import of_sink, one_line
from gateway.config.value_types import parse_duration
from gateway.errors import CommandError
from gateway.journal.lookup import read_dead_letters
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gateway.records import DeadLetter

_AT_ONCE = 100  # letters handed out before the command waits for what becomes of them
_LOOK_EVERY_S = 0.1
_Subject = tuple[str, str, str]  # sink, point and event that a letter is about


def drop(arguments: argparse.Namespace) -> int:
    """Have letters forgotten; return 0 once all of them are, 1 where a number stands for none."""
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
    """Have letters handed out again; return 0 once all of them are delivered, 1 otherwise."""
    wait_s = _seconds(arguments.wait)
    path = load_settings(arguments.config).require().journal.path
    numbers = _selected(arguments, path)
    asked = _Retry(arguments.config, path, wait_s=wait_s, before=read_dead_letters(path))
    for some in _batches(numbers):
        for line in asked.hand_out(some):
            print(line, flush=True)
    if asked.waits:
        print(
            f"What is still there: gateway deadletters list -c {arguments.config}"
            " (a restart of the gateway forgets this request, not the letters)"
        )
    return 0 if asked.delivered == len(numbers) else 1


def _selected(arguments: argparse.Namespace, path: Path) -> list[int]:
    """Return the numbers that are meant, oldest first; say so where nothing is there."""
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


def _seconds(wait: str) -> float:
    try:
        return parse_duration(wait)
    except ValueError as error:
        raise CommandError(f"--wait {wait}: {error}") from error


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))


@dataclass
class _Retry:
    """Hands letters out, and sees in the journal what becomes of them. `before`: all that there were."""

    config: Path
    path: Path
    wait_s: float
    before: dict[int, DeadLetter]
    delivered: int = 0
    waits: bool = False
    _busy: set[str] = field(default_factory=set)  # sinks that are not waited for any more

    def hand_out(self, numbers: Sequence[int]) -> Iterator[str]:
        """Yield a line for each number: delivered, refused again, still waiting, or why nothing was done."""
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
        """Return all letters once these are gone, but for those of sinks that are away or slow."""
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
            self.waits = True
            return f"{what} waits for {letter.sink or 'a sink'}, which {_state(sinks.get(letter.sink))}"
        again = newer.get((letter.sink, letter.point, letter.event_id))
        if again is not None:
            return f"{what} is refused again, now as dead letter {again}: {one_line(now[again].reason)}"
        self.delivered += 1
        return f"{what} is delivered to {letter.sink or 'the sinks'}"

    def _newer(self, now: dict[int, DeadLetter]) -> dict[_Subject, int]:
        """Return newer letters' numbers by what they are about; any of them tells of an unmapped event."""
        newer = [(number, letter) for number, letter in now.items() if number not in self.before]
        by_event: dict[_Subject, int] = {("", "", letter.event_id): number for number, letter in newer}
        return by_event | {(letter.sink, letter.point, letter.event_id): number for number, letter in newer}


def _state(sink: dict[str, str | None] | None) -> str:
    """Return what is the matter with a sink that has not written what it was handed."""
    if sink is None or sink["state"] == "up":
        return "has not written it yet"
    reason = sink["last_error"]
    return f"is {sink['state']}" + (f": {one_line(reason)}" if reason else "")
