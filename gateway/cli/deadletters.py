"""`gateway deadletters`: what could not be delivered, and why; delivers it again, or deletes it.

Listing works whether the gateway runs or not. To deliver again and to delete, the command asks the running
gateway over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli.arguments import add_actions, run_action
from gateway.cli.deadletters_retry import (
    MAPPING,
    SINK_HELP,
    add_retry_arguments,
    add_selection,
    drop,
    of_sink,
    one_line,
    retry,
    whole_number,
)
from gateway.errors import CommandError
from gateway.events import parse_time
from gateway.journal.lookup import read_dead_letter, read_dead_letters, read_event
from gateway.journal.state_tables import MOST_DEAD_LETTERS
from gateway.settings import load_settings
from gateway.text import align_columns, second_text, time_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.records import DeadLetter, StoredDeadLetter
    from gateway.settings import Settings

_MOST_LISTED = 50

run = run_action


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions."""
    actions = {
        "list": (_list, "the newest ones, the newest last"),
        "show": (_show, "everything about one, with its event"),
        "retry": (retry, "deliver them again, by the point tables in force"),
        "drop": (drop, "delete them for good"),
    }
    parsers = add_actions(parser, actions)
    listing = parsers["list"]
    listing.add_argument("--sink", metavar="NAME", help=SINK_HELP)
    listing.add_argument("--point", metavar="POINT", help="only this point's, such as L03-RM312/ZN-T")
    listing.add_argument(
        "--limit", type=whole_number, default=_MOST_LISTED, metavar="N", help="so many (default: %(default)s)"
    )
    listing.add_argument("--format", choices=("table", "json"), default="table", help="(default: table)")
    showing = parsers["show"]
    showing.add_argument("number", type=whole_number, metavar="N", help="its number")
    showing.add_argument(
        "--body", action="store_true", help="only the event's body, as received, for `gateway explain … -`"
    )
    add_retry_arguments(parsers["retry"])
    add_selection(parsers["drop"])


def _list(arguments: argparse.Namespace) -> int:
    """Print the newest dead letters; return 0, also if there are none."""
    settings = load_settings(arguments.config).require()
    stored = read_dead_letters(settings.journal.path)
    found = stored if arguments.sink is None else of_sink(stored, arguments.sink, settings)
    if arguments.point is not None:
        found = {number: letter for number, letter in found.items() if letter.point == arguments.point}
    shown = dict(list(found.items())[-arguments.limit :])
    if arguments.format == "json":
        document = {"kept": len(stored), "letters": [_document(*each) for each in shown.items()]}
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return 0
    if shown:
        print(_table(shown), end="")
    print(_count(stored=len(stored), found=len(found), shown=len(shown)))
    if shown:
        print(f"All of one: gateway deadletters show -c {arguments.config} {next(reversed(shown))}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    """Print everything about one dead letter, or only its event's body; return 0."""
    settings = load_settings(arguments.config).require()
    stored = read_dead_letter(settings.journal.path, arguments.number)
    if stored is None:
        raise CommandError(
            f"{arguments.number}: there is no dead letter of this number, or it is gone by now"
        )
    if arguments.body:
        if stored.body is None:
            raise CommandError(f"{arguments.number}: {_without_body(stored.letter)}")
        print(stored.body.decode(errors="replace"))
        return 0
    print(_described(stored, settings), end="")
    if stored.body is not None:
        document = _parsed(stored.body)
        print(
            one_line(stored.body.decode(errors="replace"))
            if document is None
            else orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
        )
    print()
    print(_what_next(stored, settings, arguments.config), end="")
    return 0


def _table(letters: Mapping[int, DeadLetter]) -> str:
    rows = [["number", "when", "sink", "point", "event", "reason"]]
    rows += [
        [
            str(number),
            second_text(letter.at_ms),
            letter.sink or MAPPING,
            letter.point or "-",
            one_line(letter.event_id) or "-",
            one_line(letter.reason),
        ]
        for number, letter in letters.items()
    ]
    return align_columns(rows, indent="")


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


def _count(*, stored: int, found: int, shown: int) -> str:
    if not stored:
        return "There are no dead letters."
    counted = f"{stored} dead letter{'' if stored == 1 else 's'}"
    if found < stored:
        counted += f", {found} of them as asked"
    if shown < found:
        counted += f"; these are the newest {shown}, --limit shows more"
    return f"{counted}. The newest {MOST_DEAD_LETTERS:,} are kept."


def _described(stored: StoredDeadLetter, settings: Settings) -> str:
    letter = stored.letter
    rows = [
        ["dead letter", str(stored.number)],
        ["when", time_text(letter.at_ms)],
        ["sink", letter.sink or "none: the event could not be mapped"],
        ["point", letter.point or "none"],
        ["reason", one_line(letter.reason)],
    ]
    if not letter.seq:
        rows.append(["event", "none: the gateway made the value itself, such as an age or a heartbeat"])
        return align_columns(rows, indent="")
    event_id = one_line(letter.event_id) or "its id cannot be read"
    rows.append(["event", f"{event_id}  (number {letter.seq} of the journal)"])
    record = read_event(settings.journal.path, letter.event_id)
    if record is not None:
        rows.append(["received", time_text(record.event.received_ms)])
    if stored.body is None:
        rows.append(["body", _without_body(letter)])
    else:
        document = _parsed(stored.body)
        created_ms = parse_time(document.get("created")) if isinstance(document, dict) else None
        rows.append(["created", time_text(created_ms) if created_ms is not None else "does not say"])
        rows.append(["body", f"{len(stored.body)} bytes, kept with the letter:"])
    return align_columns(rows, indent="")


def _parsed(body: bytes) -> Any:
    """Return the parsed body, None if it was damaged in the journal."""
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _without_body(letter: DeadLetter) -> str:
    if not letter.seq:
        return "it has no body: no event caused it"
    return "its event's body is gone: the journal was full (journal.max_size)"


def _what_next(stored: StoredDeadLetter, settings: Settings, config: Path) -> str:
    """Return the next commands; `explain` takes the event's id only while the journal has it."""
    number, event_id = stored.number, stored.letter.event_id
    rows: list[list[str]] = []
    if stored.body is not None and _parsed(stored.body) is None:
        pass  # it cannot be mapped
    elif stored.body is not None and read_event(settings.journal.path, event_id) is not None:
        rows.append(["its way:", f"gateway explain -c {config} {event_id}"])
    elif stored.body is not None:
        body = f"gateway deadletters show -c {config} {number} --body"
        rows.append(["its way:", f"{body} | gateway explain -c {config} -"])
    if rows or not stored.letter.seq:
        rows.append(["deliver it again:", f"gateway deadletters retry -c {config} {number}"])
    rows.append(["forget it:", f"gateway deadletters drop -c {config} {number}"])
    return align_columns(rows, indent="")
