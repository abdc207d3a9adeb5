"""`gateway deadletters list` and `show`: a look into the journal, while the gateway runs or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import CommandError
from gateway.events import parse_time
from gateway.journal.dead_letter_table import MOST_DEAD_LETTERS
from gateway.journal.lookup import read_dead_letter, read_dead_letters, read_event
from gateway.settings import load_settings
from gateway.text import align_columns, second_text, time_text, unknown_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.records import DeadLetter, StoredDeadLetter
    from gateway.settings import Settings

MAPPING = "mapping"
"""What stands in the place of a sink where the event could not be mapped, and so reached none."""


def print_list(arguments: argparse.Namespace) -> int:
    """Print the newest letters; return 0, also where there are none."""
    settings = load_settings(arguments.config).require()
    kept = read_dead_letters(settings.journal.path)
    found = kept if arguments.sink is None else of_sink(kept, arguments.sink, settings)
    if arguments.point is not None:
        found = {number: letter for number, letter in found.items() if letter.point == arguments.point}
    shown = dict(list(found.items())[-arguments.limit :])
    if arguments.format == "json":
        document = {"kept": len(kept), "letters": [_document(*each) for each in shown.items()]}
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return 0
    if shown:
        print(_table(shown), end="")
    print(_count(kept=len(kept), found=len(found), shown=len(shown)))
    if shown:
        print(f"All of one: gateway deadletters show -c {arguments.config} {next(reversed(shown))}")
    return 0


def of_sink(letters: Mapping[int, DeadLetter], sink: str, settings: Settings) -> dict[int, DeadLetter]:
    """Return the letters of one sink, which may be configured no more; refuse an unknown name."""
    names = {sink, ""} if sink == MAPPING else {sink}
    found = {number: letter for number, letter in letters.items() if letter.sink in names}
    if not found and sink not in {MAPPING, *settings.sinks}:
        raise CommandError(f"--sink {sink}: {unknown_name('sink', sink, [*settings.sinks, MAPPING])}")
    return found


def show(arguments: argparse.Namespace) -> int:
    """Print everything about one letter, or its event's body alone; return 0."""
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


def _count(*, kept: int, found: int, shown: int) -> str:
    if not kept:
        return "There are no dead letters."
    counted = f"{kept} dead letter{'' if kept == 1 else 's'}"
    if found < kept:
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
    """Return what the body says, None where it was damaged in the journal."""
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _without_body(letter: DeadLetter) -> str:
    if not letter.seq:
        return "it has no body: no event caused it"
    return "its event's body is gone: the journal was full (journal.max_size)"


def _what_next(stored: StoredDeadLetter, settings: Settings, config: Path) -> str:
    """Return the commands that go on from here; `explain` by the event's id only while that is known."""
    number, event_id = stored.number, stored.letter.event_id
    rows: list[list[str]] = []
    if stored.body is not None and _parsed(stored.body) is None:
        pass  # nothing can be made of it
    elif stored.body is not None and read_event(settings.journal.path, event_id) is not None:
        rows.append(["its way:", f"gateway explain -c {config} {event_id}"])
    elif stored.body is not None:
        body = f"gateway deadletters show -c {config} {number} --body"
        rows.append(["its way:", f"{body} | gateway explain -c {config} -"])
    if rows or not stored.letter.seq:
        rows.append(["deliver it again:", f"gateway deadletters retry -c {config} {number}"])
    rows.append(["forget it:", f"gateway deadletters drop -c {config} {number}"])
    return align_columns(rows, indent="")


def one_line(text: str) -> str:
    """Return what others wrote without line breaks and whatever else a terminal might obey."""
    return "".join(character if character.isprintable() else " " for character in text)
