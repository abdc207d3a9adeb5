"""`gateway deadletters`: what could not be delivered, and why; delivers it again, or deletes it.

Listing works whether the gateway runs or not. To deliver again and to delete, the command asks the running
gateway over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli.arguments import add_actions, duration_option, run_action
from gateway.cli.control_client import ask
from gateway.errors import CommandError
from gateway.journal.lookup import read_dead_letter, read_dead_letters
from gateway.journal.state_tables import MOST_DEAD_LETTERS
from gateway.settings import load_settings
from gateway.text import align_columns, count_text, sanitise_line, second_text, time_text, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.records import DeadLetter

run = run_action

_MAPPING = "mapping"  # in the place of a sink: the event could not be mapped, and so reached no sink
_COLUMNS = ("number", "when", "sink", "point", "event", "reason")
_NO_BODY = "it has no body: no event caused it, or the journal was full (journal.max_size)"
_DELIVERED = "is delivered to"
_MOST_LISTED = 50
_LONGEST = 1000  # characters of a reason or an id
_AT_ONCE = 100  # dead letters requested before the command waits for their delivery
_LOOK_EVERY_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions."""
    actions = {
        "list": (_list, "the newest ones, the newest last"),
        "show": (_show, "everything about one, with its event"),
        "retry": (_retry, "deliver them again, by the point tables in force"),
        "drop": (_drop, "delete them for good"),
    }
    parsers = add_actions(parser, actions)
    for name in ("list", "retry", "drop"):
        parsers[name].add_argument(
            "--sink", metavar="NAME", help="only this sink's; mapping: events that could not be mapped"
        )
    listing = parsers["list"]
    listing.add_argument("--point", metavar="POINT", help="only this point's, such as L03-RM312/ZN-T")
    listing.add_argument(
        "--limit", type=_number, default=_MOST_LISTED, metavar="N", help="so many (default: %(default)s)"
    )
    listing.add_argument("--format", choices=("table", "json"), default="table", help="(default: table)")
    parsers["show"].add_argument("number", type=_number, metavar="N", help="its number")
    parsers["show"].add_argument(
        "--body", action="store_true", help="only the event's body, as received, for `gateway explain … -`"
    )
    for name in ("retry", "drop"):
        parsers[name].add_argument("numbers", nargs="*", type=_number, metavar="N", help="their numbers")
        parsers[name].add_argument("--all", action="store_true", help="all of them")
    parsers["retry"].add_argument(
        "--wait", metavar="DURATION", default="10s", help="for their delivery (default: %(default)s)"
    )


def _number(text: str) -> int:
    """Return a number from 1 that the journal can store; for argparse."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 is expected")
    return int(text)


def _list(arguments: argparse.Namespace) -> int:
    path = _journal(arguments)
    stored = read_dead_letters(path)
    found = _of_sink(stored, arguments)
    if arguments.point is not None:
        found = {number: letter for number, letter in found.items() if letter.point == arguments.point}
    shown = dict([*found.items()][-arguments.limit :])
    if arguments.format == "json":
        document = {"kept": len(stored), "letters": [_document(*each) for each in shown.items()]}
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    elif stored:
        rows = [_cells(*each) for each in shown.items()]
        print(align_columns([_COLUMNS, *rows], indent="") if rows else "", end="")
        only = "" if len(shown) == len(stored) else f"{len(shown)} of "
        print(f"{only}{count_text(len(stored), 'dead letter')}. The newest {MOST_DEAD_LETTERS:,} are kept.")
    else:
        print("There are no dead letters.")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    number = arguments.number
    stored = read_dead_letter(_journal(arguments), number)
    if stored is None:
        raise CommandError(f"{number}: there is no dead letter of this number, or it is gone by now")
    letter, body = stored.letter, stored.body
    if arguments.body:
        if body is None:
            raise CommandError(f"{number}: {_NO_BODY}")
        print(body.decode(errors="replace"))
        return 0
    rows = [*zip(_COLUMNS, _cells(number, letter), strict=True)]
    rows.append(("body", _NO_BODY if body is None else f"{len(body)} bytes:\n{_indented(body)}"))
    here = f"-c {arguments.config}"
    if body is not None:
        explain = f"gateway deadletters show {here} {number} --body | gateway explain {here} -"
        rows.append(("its way:", explain))
    if body is not None or not letter.seq:
        rows.append(("deliver it again:", f"gateway deadletters retry {here} {number}"))
    rows.append(("forget it:", f"gateway deadletters drop {here} {number}"))
    print(align_columns(rows, indent=""), end="")
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    """Deliver dead letters again; return 0 once all are delivered, 1 otherwise."""
    wait_s = duration_option("--wait", arguments.wait)
    path = _journal(arguments)
    numbers, before = _selected(arguments), read_dead_letters(path)
    delivered = 0
    for some in _batches(numbers):
        answer = ask(arguments.config, "/deadletters/retry", {"numbers": some})
        for left in answer["left"]:
            print(f"{left['number']}: nothing done: {left['reason']}")
        away = {name: sink for name, sink in answer["sinks"].items() if sink["state"] != "up"}
        queued = {number: before[number] for number in answer["handed_out"] if number in before}
        expected = [number for number, letter in queued.items() if letter.sink not in away]
        now = _wait_gone(path, expected, wait_s=wait_s)
        if not now.keys().isdisjoint(expected):
            wait_s = 0.0  # once is enough for a slow sink
        for number, letter in queued.items():
            outcome = _outcome(number, letter, before, now, away)
            delivered += outcome.startswith(_DELIVERED)
            what = letter.point or f"event {_line(letter.event_id)}"
            print(f"{number}: {what} {outcome}", flush=True)
    return 0 if delivered == len(numbers) else 1


def _outcome(
    number: int,
    letter: DeadLetter,
    before: dict[int, DeadLetter],
    now: dict[int, DeadLetter],
    away: dict[str, Any],
) -> str:
    if number in now:
        sink = away.get(letter.sink)
        state = f"is {sink['state']}: {_line(sink['last_error'] or '')}" if sink else "has not written it yet"
        return f"waits for {letter.sink or 'a sink'}, which {state}"
    for newer in now.keys() - before.keys():
        found = now[newer]
        is_same_point = (found.sink, found.point) == (letter.sink, letter.point) or not letter.sink
        if found.event_id == letter.event_id and is_same_point:
            return f"is refused again, now as dead letter {newer}: {_line(found.reason)}"
    return f"{_DELIVERED} {letter.sink or 'the sinks'}"


def _wait_gone(path: Path, numbers: Sequence[int], *, wait_s: float) -> dict[int, DeadLetter]:
    """Return all dead letters once these are gone, or the time is over."""
    deadline = time.monotonic() + wait_s
    while True:
        now = read_dead_letters(path)
        if now.keys().isdisjoint(numbers) or time.monotonic() > deadline:
            return now
        time.sleep(_LOOK_EVERY_S)


def _drop(arguments: argparse.Namespace) -> int:
    """Delete dead letters; return 0 once all are deleted, 1 if a number does not exist."""
    code = 0
    for some in _batches(_selected(arguments)):
        unknown = ask(arguments.config, "/deadletters/drop", {"numbers": some})["unknown"]
        for number in some:
            gone = number in unknown
            print(f"{number}: {'there is no dead letter of this number' if gone else 'forgotten'}")
        code = code or int(bool(unknown))
    return code


def _selected(arguments: argparse.Namespace) -> list[int]:
    """Return the selected numbers, oldest first; print it if there are none."""
    if bool(arguments.numbers) + arguments.all + (arguments.sink is not None) != 1:
        raise CommandError(
            "say which: numbers as `gateway deadletters list` shows them, or --sink NAME, or --all"
        )
    if arguments.numbers:
        return sorted(set(arguments.numbers))
    letters = _of_sink(read_dead_letters(_journal(arguments)), arguments)
    if not letters:
        print("There are none.")
    return [*letters]


def _batches(numbers: list[int]) -> Iterator[list[int]]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))


def _journal(arguments: argparse.Namespace) -> Path:
    return load_settings(arguments.config).require().journal.path


def _of_sink(letters: dict[int, DeadLetter], arguments: argparse.Namespace) -> dict[int, DeadLetter]:
    """Return the dead letters of the sink in the arguments, which may be retired; all if there is none."""
    sink = arguments.sink
    if sink is None:
        return letters
    found = {number: letter for number, letter in letters.items() if (letter.sink or _MAPPING) == sink}
    known = [*load_settings(arguments.config).require().sinks, _MAPPING]
    if not found and sink not in known:
        raise CommandError(f"--sink {sink}: {unknown_name('sink', sink, known)}")
    return found


def _cells(number: int, letter: DeadLetter) -> list[str]:
    return [
        str(number),
        second_text(letter.at_ms),
        letter.sink or _MAPPING,
        letter.point or "-",
        _line(letter.event_id) or "-",
        _line(letter.reason),
    ]


def _document(number: int, letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": number,
        "time": time_text(letter.at_ms),
        "sink": letter.sink or None,
        "point": letter.point or None,
        "event_id": letter.event_id or None,
        "event_number": letter.seq or None,
        "reason": letter.reason,
    }


def _indented(body: bytes) -> str:
    """Return the body as indented JSON; as one line if it is damaged."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except ValueError:
        return _line(body.decode(errors="replace"))


def _line(text: str) -> str:
    """Return a text from elsewhere as one line."""
    return sanitise_line(text, longest=_LONGEST)
