"""`gateway force`: overrides a point with a value of yours for some time, whatever is measured.

It asks the running gateway over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.cli.arguments import duration_option
from gateway.cli.control_client import ask
from gateway.cli.loading import add_config_argument
from gateway.cli.send import parse_value
from gateway.config.problems import show
from gateway.errors import CommandError
from gateway.state.overrides import LONGEST_OVERRIDE_S

if TYPE_CHECKING:
    import argparse

    from gateway.model import Scalar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
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
    """Force the point, or list the forced points; return 0 once it is done."""
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
    print(f"{_value_text(answer)} holds, forced until {_until(answer['until_ms'])}")
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
    seconds = duration_option("--for", duration)
    if not 0 < seconds <= LONGEST_OVERRIDE_S:
        raise CommandError(f"--for {duration}: must be more than 0s and at most 24h")
    return seconds


def _print_list(overrides: list[dict[str, Any]]) -> None:
    if not overrides:
        print("nothing is forced")
        return
    rows = [
        (_value_text(one), f"until {_until(one['until_ms'])}", "; ".join(_places(one))) for one in overrides
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _value_text(override: dict[str, Any]) -> str:
    unit = override["unit_of_measure"]
    return f"{override['point']} = {show(override['value'])}" + (f" {unit}" if unit else "")


def _until(time_ms: int) -> str:
    """Return the time in this machine's time zone, and in UTC as in logs and MQTT."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z} ({moment:%Y-%m-%dT%H:%M:%SZ})"


def _places(override: dict[str, Any]) -> list[str]:
    """Return a line for each topic and register that shows the value."""
    topics = [f"MQTT {override[key]}" for key in ("topic", "asset_topic") if override[key]]
    return [*topics, *(_place(register) for register in override["registers"])]


def _place(register: dict[str, Any]) -> str:
    kind = register["type"] if register["bit"] is None else f"bit {register['bit']}"
    return (
        f"Modbus {register['sink']}: unit {register['unit']}, {register['table']} {register['address']}"
        f" ({register['modicon']}), {kind}"
    )
