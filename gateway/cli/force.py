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
from gateway.text import align_columns

if TYPE_CHECKING:
    import argparse


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
        forced = ask(arguments.config, "/forced")["forced"]
        rows = [(_value(one), f"until {_until(one)}", "; ".join(_places(one))) for one in forced]
        print(align_columns(rows, indent="") or "nothing is forced\n", end="")
        return 0
    answer = ask(arguments.config, "/force", _request(arguments))
    print(f"{_value(answer)} holds, forced until {_until(answer)}")
    for line in _places(answer):
        print(f"  {line}")
    print(f"End it earlier: gateway release -c {arguments.config} {answer['point']}")
    return 0


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.value is None:
        raise CommandError("say which point and what value: gateway force POINT VALUE --for 10m, or --list")
    if arguments.duration is None:
        raise CommandError("say for how long: --for 10m, at most 24h; then the measured value is shown again")
    try:
        value = parse_value(arguments.value)
    except ValueError as error:
        raise CommandError(f"{arguments.value}: {error}") from error
    for_s = duration_option("--for", arguments.duration)
    if not 0 < for_s <= LONGEST_OVERRIDE_S:
        raise CommandError(f"--for {arguments.duration}: must be more than 0s and at most 24h")
    return {"point": arguments.point, "value": value, "for_s": for_s}


def _value(override: dict[str, Any]) -> str:
    unit = override["unit_of_measure"]
    return f"{override['point']} = {show(override['value'])}" + (f" {unit}" if unit else "")


def _until(override: dict[str, Any]) -> str:
    """Return the end in this machine's time zone, and in UTC as in logs and MQTT."""
    moment = datetime.fromtimestamp(override["until_ms"] / 1000, UTC)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z} ({moment:%Y-%m-%dT%H:%M:%SZ})"


def _places(override: dict[str, Any]) -> list[str]:
    """Return a line for each topic, register and BACnet object that shows the value."""
    topics = dict.fromkeys(f"MQTT {one['topic']}" for one in override["topics"])
    registers = [
        f"Modbus {one['sink']}: unit {one['unit']}, {one['table']} {one['address']} ({one['modicon']}),"
        f" {one['type'] if one['bit'] is None else 'bit ' + str(one['bit'])}"
        for one in override["registers"]
    ]
    objects = [f"BACnet {one['sink']}: {one['type']} {one['instance']}" for one in override["objects"]]
    return [*topics, *registers, *objects]
