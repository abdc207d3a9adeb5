"""`gateway force`: makes a point show a value of yours for some time, whatever is measured (commissioning).

It asks the running gateway over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.cli.control_client import ask
from gateway.cli.loading import add_config_argument
from gateway.cli.send import parse_value
from gateway.config.problems import show
from gateway.config.value_types import parse_duration
from gateway.errors import CommandError
from gateway.state.overrides import LONGEST_OVERRIDE_S

if TYPE_CHECKING:
    import argparse

    from gateway.model import Scalar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument("point", nargs="?", metavar="POINT", help="its name, such as L03-RM312/ZN-T")
    parser.add_argument(
        "value", nargs="?", metavar="VALUE", help="a number, true, false or text, as the point shows it"
    )
    parser.add_argument(
        "--for", dest="duration", metavar="DURATION", help="for how long, such as 10m; at most 24h"
    )
    parser.add_argument("--list", action="store_true", help="show what is forced now, and until when")


def run(arguments: argparse.Namespace) -> int:
    """Force the point, or list what is forced; return 0 once it holds."""
    if arguments.list:
        if arguments.point is not None or arguments.duration is not None:
            raise CommandError("--list shows all forced points; it takes no point and no --for")
        _print_list(ask(arguments.config, "/forced")["forced"])
        return 0
    if arguments.value is None:
        raise CommandError("say which point and what value: gateway force POINT VALUE --for 10m, or --list")
    document = {
        "point": arguments.point,
        "value": _value(arguments.value),
        "for_s": _seconds(arguments.duration),
    }
    answer = ask(arguments.config, "/force", document)
    print(f"{_shown(answer)} holds, forced until {_until(answer['until_ms'])}")
    for line in _places(answer):
        print(f"  {line}")
    print(f"End it earlier: gateway release -c {arguments.config} {answer['point']}")
    return 0


def _value(text: str) -> Scalar:
    try:
        return parse_value(text)
    except ValueError as error:
        raise CommandError(f"{text}: {error}") from error


def _seconds(duration: str | None) -> float:
    if duration is None:
        raise CommandError("say for how long: --for 10m, at most 24h; then the measured value is shown again")
    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        raise CommandError(f"--for {duration}: {error}") from error
    if not 0 < seconds <= LONGEST_OVERRIDE_S:
        raise CommandError(f"--for {duration}: must be more than 0s and at most 24h")
    return seconds


def _print_list(forced: list[dict[str, Any]]) -> None:
    if not forced:
        print("nothing is forced")
        return
    rows = [(_shown(one), f"until {_until(one['until_ms'])}", "; ".join(_places(one))) for one in forced]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(forced: dict[str, Any]) -> str:
    unit = forced["unit_of_measure"]
    return f"{forced['point']} = {show(forced['value'])}" + (f" {unit}" if unit else "")


def _until(time_ms: int) -> str:
    """Return the time on this machine's clock, and in UTC as logs and MQTT have it."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z} ({moment:%Y-%m-%dT%H:%M:%SZ})"


def _places(forced: dict[str, Any]) -> list[str]:
    """Return a line for each place where the building sees the value."""
    topics = [f"MQTT {forced[key]}" for key in ("topic", "asset_topic") if forced[key]]
    return [*topics, *(_place(register) for register in forced["registers"])]


def _place(register: dict[str, Any]) -> str:
    kind = register["type"] if register["bit"] is None else f"bit {register['bit']}"
    return (
        f"Modbus {register['sink']}: unit {register['unit']}, {register['table']} {register['address']}"
        f" ({register['modicon']}), {kind}"
    )
