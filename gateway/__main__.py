"""`gateway`, also `python -m gateway`: finds the command and lets no traceback reach a user."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.cli import (
    check,
    deadletters,
    demo,
    diff,
    discover,
    doctor,
    explain,
    force,
    import_,
    lock,
    points,
    release,
    run,
    schema,
    send,
    simulate,
    status,
    test,
    webhooks,
)
from gateway.cli.help_format import HelpFormatter
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from types import ModuleType

COMMANDS: dict[str, ModuleType] = {
    "demo": demo,
    "run": run,
    "check": check,
    "test": test,
    "points": points,
    "discover": discover,
    "import": import_,
    "diff": diff,
    "explain": explain,
    "lock": lock,
    "send": send,
    "status": status,
    "doctor": doctor,
    "simulate": simulate,
    "force": force,
    "release": release,
    "deadletters": deadletters,
    "webhooks": webhooks,
    "schema": schema,
}

_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_OUTPUT_CUT = 141  # 128 + SIGPIPE; never 0, or `gateway check 2>&1 | head` would look as if all were well
_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
_EXIT_CODES = (
    "Exit codes: 0 done; 1 not done, or something is wrong: what it is was printed; 2 the command line is not"
    " understood. `gateway COMMAND --help` says more."
)


def main() -> None:
    """Run the command named on the command line, and exit with its code."""
    arguments = parser().parse_args()
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has enough: `gateway points | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _OUTPUT_CUT
    except Exception as error:
        if os.environ.get("GATEWAY_DEBUG"):
            raise
        print(
            f"gateway: internal error: {type(error).__name__}: {error}\n"
            "This is a fault of the gateway, please report it; GATEWAY_DEBUG=1 shows where it happened.",
            file=sys.stderr,
        )
        code = _INTERNAL_ERROR
    sys.exit(code)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="gateway",
        description="Joins Infodeck's signed telemetry webhooks to a building's MQTT and Modbus.",
        epilog=_EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition(": ")[2].splitlines()[0].rstrip(".")
        command = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=HelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


if __name__ == "__main__":
    main()
